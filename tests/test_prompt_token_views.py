"""Prompt tokens seen one by one: summands, likeness of codes; the explorer without a browser; the pictures of §1.7."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from samlite.notebook import prompt_plots, style
from samlite.notebook.ledger import shape_ledger
from samlite.notebook.prompt_diagram import diagram_in_words, prompt_encoder_diagram, token_names
from samlite.notebook.prompt_token_explorer import PromptTokenExplorer
from samlite.notebook.prompt_token_views import TERMS, PromptTokenViews
from samlite.prompt_encoder import POINT_TYPES
from samlite.sam import document_sam

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
SIZES = {"image_size": 96, "patch_size": 8, "width": 32, "depth": 1, "heads": 4, "channels": 16}


@pytest.fixture(scope="module")
def views():
    torch.manual_seed(0)
    return PromptTokenViews(document_sam(**SIZES, decoder_heads=2, decoder_mlp=16).eval(), PHOTO)


def test_a_pixel_has_a_place_and_a_cell(views):
    # 90 pixels become 96: x = 45 lies at 48 of the input frame, half a pixel into column 6
    assert torch.allclose(views.place(45, 15), torch.tensor([[[48.5 / 96, 16.5 / 96]]]))
    assert views.cell_at(45, 15) == (2, 6) == views.patches.patch_at(45, 15)
    with pytest.raises(ValueError, match="is no pixel of this photo"):
        views.place(90, 0)


@pytest.mark.parametrize("kind", POINT_TYPES)
def test_the_summands_add_up_to_the_models_token(views, kind):
    x, y = 30, 20
    parts = views.summands(x, y, kind)
    assert len(parts) == 3 and all(part.shape == (16,) for part in parts.values()) and f"type: {kind}" in parts
    point, encoder = torch.tensor([[[x * 96 / 90, y * 96 / 90]]]), views.encoder
    with torch.no_grad():
        if kind.endswith("point"):
            token = encoder.encode_points(point, torch.tensor([[POINT_TYPES.index(kind)]]))[0, 0]
        else:
            token = encoder.encode_boxes(point.repeat(1, 1, 2))[0, POINT_TYPES.index(kind) - 2]
    torch.testing.assert_close(views.token(x, y, kind), token)


def test_the_code_of_a_cells_centre_is_most_like_that_cell(views):
    x, y = (6 * 8 + 3.5) * 90 / 96, (2 * 8 + 3.5) * 90 / 96  # the centre of row 2, column 6
    for term in TERMS:
        similarity = views.similarity(x, y, term)
        assert similarity.shape == (12, 12) and similarity.max() <= 1.0001
        assert similarity[2, 6] == pytest.approx(1, abs=1e-4)
    together = views.similarity(x, y)
    assert divmod(int(together.argmax()), 12) == (2, 6)


def test_what_is_not_there_is_refused(views):
    with pytest.raises(ValueError, match="kind is 'circle': choose one of background point"):
        views.summands(1, 1, "circle")
    with pytest.raises(ValueError, match="term is 'type': choose one of position code"):
        views.similarity(1, 1, "type")


# The explorer, driven as the browser drives it


def test_a_choice_of_the_browser_is_answered(views):
    explorer = PromptTokenExplorer(views, 10, 10)
    before = explorer.reply
    explorer.set_state({"x": 45, "y": 15, "kind": "first corner", "term": TERMS[2]})
    reply = explorer.reply
    assert reply["similarity"] != before["similarity"] and len(reply["similarity"]) == 12 * 12 * 4
    assert [len(strip["colours"]) for strip in reply["strips"]] == [16 * 4] * 4
    assert [strip["name"] for strip in reply["strips"]][-2:] == ["type: first corner", "token, their sum"]
    assert reply["cell"] == [2, 6] and reply["place"] == pytest.approx([48.5 / 96, 16.5 / 96])
    assert explorer.describe().startswith("First corner at x = 45, y = 15. By learned position,")
    assert not reply["error"]


def test_its_code_gives_what_is_shown(views):
    explorer = PromptTokenExplorer(views, 33, 44, kind="background point", term=TERMS[1])
    parts, similarity = (eval(line, {"views": views}) for line in explorer.code.splitlines())
    assert list(parts) == list(views.summands(33, 44, "background point"))
    assert torch.equal(similarity, views.similarity(33, 44, TERMS[1]))


def test_a_hand_and_the_code_do_the_same(views):
    by_hand, by_code = PromptTokenExplorer(views), PromptTokenExplorer(views)
    by_hand.set_state({"x": 45.0, "y": 10.0, "kind": "second corner"})
    by_code.look(45, 10, kind="second corner")
    assert by_hand.reply == by_code.reply
    by_code.look(term=TERMS[1])
    assert (by_code.x, by_code.y, by_code.kind, by_code.term) == (45, 10, "second corner", TERMS[1])


def test_an_error_is_shown_in_the_widget_and_goes_away(views):
    explorer = PromptTokenExplorer(views)
    explorer.set_state({"x": 900})
    assert explorer.reply["error"].startswith("ValueError: x=900")
    explorer.set_state({"x": 9})
    assert not explorer.reply["error"] and "x = 9," in explorer.describe()
    for wrong in ({"x": 90}, {"kind": "circle"}, {"term": "type"}):
        with pytest.raises(ValueError):
            explorer.look(**wrong)
    assert (explorer.x, explorer.y) == (9, 0)  # a refused look changes nothing


def test_a_picture_carries_its_words(views):
    for kind in POINT_TYPES:
        picture = PromptTokenExplorer(views, 20, 20, kind=kind).picture()
        data, metadata = picture._repr_mimebundle_()
        assert metadata[f"image/{picture.format}"]["alt"].startswith(f"{kind.capitalize()} at x = 20, y = 20.")


# Pictures


@pytest.fixture
def ledger(views):
    sam = views.sam
    with torch.no_grad(), shape_ledger(sam) as ledger:
        sam.decode_masks(
            views.predictor.features,
            torch.ones(1, 2, 2),
            torch.ones(1, 2, dtype=torch.long),
            torch.ones(1, 1, 4),
            torch.zeros(1, 1, 96, 96),
        )
    return ledger


def test_the_diagram_says_what_the_ledger_says(views, ledger):
    figure = prompt_encoder_diagram(ledger)
    texts = [text.get_text() for text in figure.axes[0].texts]
    names = ["point 0", "point 1", "corner 0.0", "corner 0.1", "mask 0", "mask 1", "mask 2", "IoU"]
    assert token_names(ledger) == names == [text for text in texts if text in names]
    assert {"1 × 2 × 16", "1 × 4 × 24 × 24", "1 × 16 × 12 × 12"} <= set(texts)
    assert "token sequence 1 × 8 × 16  §1.7.4" in texts and "zeros: no mask" not in texts
    assert "point tokens 1 × 2 × 16 and box tokens" in diagram_in_words(ledger)
    assert np.ptp(np.asarray(style.drawn(figure))) > 200


def test_the_diagram_leaves_out_what_was_not_given(views):
    with torch.no_grad(), shape_ledger(views.sam) as ledger:
        views.sam.decode_masks(views.predictor.features, boxes=torch.ones(1, 1, 4))
    texts = [text.get_text() for text in prompt_encoder_diagram(ledger).axes[0].texts]
    assert "zeros: no mask" in texts and "points" not in texts and "mask prompt" not in texts
    assert token_names(ledger) == ["corner 0.0", "corner 0.1", "mask 0", "mask 1", "mask 2", "IoU"]


def test_every_plot_draws_what_it_is_given(views):
    strips = prompt_plots.summands(views.summands(5, 5), "a token")
    labels = [axes.get_yticklabels()[0].get_text() for axes in strips.axes[:4]]
    assert labels[1].startswith("+ learned position") and labels[3].startswith("= token, their sum")
    weight = views.encoder.type_embedding.weight
    matrix = prompt_plots.likeness_matrix(weight, POINT_TYPES)
    numbers = [text.get_text() for text in matrix.axes[0].texts]
    assert len(numbers) == 16 and numbers[0] == numbers[5] == "1.00"
    maps = prompt_plots.maps([torch.ones(4, 4), torch.zeros(2, 2), torch.ones(1, 3)], "abc", columns=2)
    assert [axes.get_title() for axes in maps.axes] == ["a", "b", "c", ""]
    assert [axes.get_visible() for axes in maps.axes] == [True, True, True, False]
    curves = prompt_plots.curves([0, 1], {"a": [0, 1], "b": [1, 0]}, "x", "y")
    assert len({line.get_marker() for line in curves.axes[0].lines[:2]}) == 2
    for figure in (strips, matrix, curves):
        assert np.ptp(np.asarray(style.drawn(figure))) > 200


def test_every_kind_of_point_has_a_mark_of_its_own():
    axes = Figure().subplots()
    for kind in POINT_TYPES:
        prompt_plots.mark(axes, 1, 2, kind)
    forms = [(axes.lines[i + 1].get_marker(), axes.lines[i + 2].get_marker()) for i in range(0, 12, 3)]
    assert len(set(forms)) == 4
