"""The mask decoder seen stage by stage: weights, maps, pictures, the explorer and the editor without a browser."""

import numpy as np
import pytest
import torch
from einops import rearrange
from matplotlib.figure import Figure

from samlite.notebook import attention_views, style
from samlite.notebook.decoder_diagram import NEEDED, PLACES, decoder_diagram, describe_diagram
from samlite.notebook.decoder_explorer import DecoderExplorer
from samlite.notebook.decoder_views import ATTENTION_STAGES, DecoderViews
from samlite.notebook.ledger import shape_ledger
from samlite.notebook.mask_vectors import MaskVectorEditor, draw_scores, scores_in_photo, vector_figure
from samlite.sam import document_sam

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
SELF, TO_IMAGE, TO_TOKEN = ATTENTION_STAGES
BOX = [20, 10, 60, 50]
T, L, G = 1 + 2 + 4, 144, 12


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    sizes = {"image_size": 96, "patch_size": 8, "width": 32, "depth": 1, "heads": 4}
    return document_sam(**sizes, channels=16, decoder_heads=2, decoder_mlp=16).eval()


@pytest.fixture
def views(sam):
    seen = DecoderViews(sam, PHOTO)
    seen.prompt([[30, 20]], [1], box=BOX)
    return seen


def test_every_attention_has_one_row_a_query(views):
    sizes = {SELF: (T, T), TO_IMAGE: (T, L), TO_TOKEN: (L, T)}
    for block in range(views.blocks):
        for stage, size in sizes.items():
            weights = views.weights(block, stage)
            assert weights.shape == (2, *size)
            assert torch.allclose(weights.sum(-1), torch.ones(2, size[0]), atol=1e-5)
    assert views.token_names == ["point 0 (+)", "corner 0", "corner 1", "mask 0", "mask 1", "mask 2", "IoU"]


def test_the_weights_are_those_that_the_ledger_saw_at_work(views):
    """Weights times values, projected, added and normalised give the very tensor of the ledger, in every block."""
    for number, block in enumerate(views.sam.mask_decoder.blocks):
        tokens, image = views.before(number)
        came_in = {SELF: tokens, TO_IMAGE: views.tensor(SELF, number), TO_TOKEN: image}
        values = {SELF: tokens, TO_IMAGE: image, TO_TOKEN: views.tensor("token_mlp", number)}
        for stage, name in ATTENTION_STAGES.items():
            layer = views.layer(number, stage)
            with torch.no_grad():
                v = rearrange(layer.value_projection(values[stage]), "s (h d) -> h s d", h=2)
                context = rearrange(views.weights(number, stage) @ v, "h t d -> t (h d)")
                norm = getattr(block, f"{name}_norm")
                result = norm(came_in[stage] + layer.output_projection(context))
            assert torch.allclose(result, views.tensor(stage, number), atol=1e-5), (number, stage)


def test_maps_are_rows_and_columns_of_the_weights(views):
    looks, listens = views.weights(1, TO_IMAGE), views.weights(1, TO_TOKEN)
    assert torch.equal(views.map(1, TO_IMAGE, 3, head=1), looks[1, 3].reshape(G, G))
    assert torch.equal(views.map(1, TO_IMAGE, 3), looks.mean(0)[3].reshape(G, G))
    assert torch.equal(views.map(1, TO_TOKEN, 3, head=0), listens[0, :, 3].reshape(G, G))
    assert torch.equal(views.matrix(0, 1), views.weights(0, SELF)[1])
    values = torch.zeros(G, G)
    values[7, 11], values[8, 0] = 3, 1  # 8 rows of 12 hold photo
    assert views.outside(values) == pytest.approx(0.25)


def test_a_mask_vector_gives_its_mask(views):
    for k, vector in enumerate(views.tensor("mask_vectors")):
        assert torch.allclose(views.logits_of(vector), views.tensor("low_res_logits")[k], atol=1e-5)
        assert (views.mask_of(vector) == views.masks[k]).mean() > 0.999
    assert sorted(views.channel_order(vector)) == list(range(16))
    upscaled = views.upscaled()
    views.prompt([[70, 40]], [0])
    assert not torch.equal(views.upscaled(), upscaled) and views.token_names[0] == "point 0 (−)"


def test_what_is_not_there_is_refused(views):
    for call, words in (
        (lambda: views.weights(2, SELF), "there is no block 2: this decoder has blocks 0…1"),
        (lambda: views.weights(0, "token_mlp"), "those that attend are token_self_attention"),
        (lambda: views.map(0, SELF, 0), "has no map"),
        (lambda: views.map(0, TO_IMAGE, 7), "there is no token 7: this prompt has tokens 0…6"),
        (lambda: views.map(0, TO_IMAGE, 0, head=2), "there is no head 2"),
        (lambda: views.prompt([[900, 20]], [1]), "point"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


# Pictures


def test_every_picture_draws_what_it_is_given(views):
    maps = attention_views.token_maps(views)
    assert len(maps.axes) == 2 * T and maps.axes[3].get_title().startswith("mask 0\nmax ")
    heads = attention_views.head_maps(views, TO_TOKEN, token=2)
    assert [axes.get_title() for axes in heads.axes[:3]] == ["mean of heads", "head 0", "head 1"]
    matrices = attention_views.matrices(views)
    assert matrices.axes[0].images[0].get_array().shape == (T, T)
    assert [label.get_text() for label in matrices.axes[0].get_yticklabels()] == views.token_names
    listening = attention_views.listening(views)
    assert [axes.get_title() for axes in listening.axes] == ["block 0", "block 1"]
    vectors = vector_figure(views, views.tensor("mask_vectors"), ["a", "b", "c"])
    for figure in (maps, heads, matrices, listening, vectors):
        assert np.ptp(np.asarray(style.drawn(figure))) > 200  # something is on the page


def test_many_heads_go_on_in_a_second_line(views, monkeypatch):
    monkeypatch.setattr(DecoderViews, "weights", lambda self, block, stage: torch.rand(8, T, T if stage == SELF else L))
    views.heads = 8
    heads = attention_views.head_maps(views, TO_IMAGE, token=0)
    shown = [axes.get_title() for axes in heads.axes if axes.get_visible()]
    assert shown == 2 * ["mean of heads", *(f"head {head}" for head in range(8))] and len(heads.axes) == 4 * 5
    matrices = attention_views.matrices(views)
    labelled = [axes.get_title() for axes in matrices.axes if axes.get_visible() and len(axes.get_xticks()) == T]
    assert labelled == [f"block 1, head {head}" for head in range(4, 8)]


def test_a_map_lies_on_the_photo_edge_on_edge(views):
    left, right, bottom, top = attention_views.extent_of(views)
    assert (left, right, bottom, top) == (-0.5, 89.5, 89.5, -0.5)  # 96 cells of the frame are 90 pixels of this photo
    values = torch.zeros(G, G)
    values[3, 5], values[10, 0] = 1, 9  # the larger one lies in the padding
    assert views.in_photo(values).max() == 1 and views.in_photo(values).shape == (8, G)
    axes = Figure().subplots()
    attention_views.draw_map(axes, views, values)
    drawn = axes.images[-1].get_array()
    assert drawn[3, 5] == 1  # the scale ends at the largest value on the photo
    x, y = attention_views.peak_of(views, values)
    assert (5 + 0.5) * 7.5 - 0.5 == pytest.approx(x, abs=0.5) and (3 + 0.5) * 7.5 - 0.5 == pytest.approx(y, abs=0.5)


def test_scores_of_the_padding_do_not_count(views):
    logits = torch.ones(48, 48)
    logits[32:] = -1
    scores = scores_in_photo(views, logits)
    assert scores.shape == (32 * 48,) and scores.eq(1).all()
    figure = Figure()
    draw_scores(axes := figure.subplots(), torch.tensor([-1.0, 2.0, 3.0, 4.0]))
    assert axes.get_title() == "75.0% above 0"


def test_the_diagram_says_what_the_model_did(sam):
    with torch.no_grad(), shape_ledger(sam) as ledger:
        logits, _ = sam.decode_masks(torch.zeros(1, 16, 12, 12), torch.zeros(1, 1, 2), torch.ones(1, 1).long())
        bare = decoder_diagram(ledger)
        sam.resize_masks(logits, (64, 96), (60, 90))
    texts = [text.get_text() for text in bare.axes[0].texts]
    assert "1 × 5 × 16" in texts and "1 × 16 × 48 × 48" in texts and "two-way block, 2 times" in texts
    more = [text.get_text() for text in decoder_diagram(ledger).axes[0].texts]
    assert "1 × 3 × 60 × 90" in more and "masks" in more and "masks" not in texts
    assert set(NEEDED) < set(PLACES)
    assert "which runs 2 times" in describe_diagram(ledger) and "iou predictions 1 × 3." in describe_diagram(ledger)
    with shape_ledger(sam) as empty, pytest.raises(KeyError, match="did not happen"):
        decoder_diagram(empty)


# The explorer, driven as the browser drives it


def test_a_choice_of_the_browser_is_answered(views):
    explorer = DecoderExplorer(views, 30, 20, box=BOX)
    assert explorer.sizes["tokens"] == views.token_names and explorer.sizes["box"] == BOX
    before = explorer.reply
    explorer.set_state({"x": 50.0, "y": 30.0, "block": 1, "token": 4, "head": 1})
    reply = explorer.reply
    assert views.points == [[50, 30]] and views.box == BOX
    assert reply["map"] != before["map"] and reply["logits"] != before["logits"] and reply["mask"] == 1
    assert len(reply["map"]) == G * G * 4 and len(reply["logits"]) == (4 * G) ** 2 * 4 and reply["over_photo"]
    assert "Block 1, token to image attention, head 1, token mask 1" in explorer.describe() and not reply["error"]
    explorer.set_state({"stage": SELF})
    assert len(explorer.reply["map"]) == T * T * 4 and not explorer.reply["over_photo"]


@pytest.mark.parametrize("stage", ATTENTION_STAGES)
def test_its_code_gives_what_is_shown(views, stage):
    explorer = DecoderExplorer(views, 40, 25, block=1, stage=stage, token=5, head=1, box=BOX)
    prompt, attention, mask = explorer.code.splitlines()
    views.prompt([[1, 1]], [1])  # something else comes between
    exec(prompt, {"views": views})
    values = eval(attention, {"views": views})
    assert torch.equal(values, views.matrix(1, 1)[5] if stage == SELF else views.map(1, stage, 5, 1))
    assert np.array_equal(eval(mask, {"views": views}), views.masks[2])
    assert f"covers {views.masks[2].mean():.0%}" in explorer.describe()


def test_a_hand_and_the_code_do_the_same(views):
    by_hand, by_code = DecoderExplorer(views, 30, 20), DecoderExplorer(views, 30, 20)
    by_hand.set_state({"x": 60.0, "block": 1, "head": 0, "stage": TO_TOKEN})
    by_code.look(60, 20, block=1, head=0, stage=TO_TOKEN)
    assert by_hand.reply == by_code.reply
    by_code.look(block=0)
    assert by_code.chosen_head is None and "mean of all heads" in by_code.describe()


def test_an_error_is_shown_in_the_widget_and_goes_away(views):
    explorer = DecoderExplorer(views, 30, 20)
    explorer.set_state({"block": 77})
    assert explorer.reply["error"] == "ValueError: there is no block 77: this decoder has blocks 0…1"
    explorer.set_state({"block": 1})
    assert not explorer.reply["error"] and "Block 1" in explorer.describe()
    for wrong in ({"block": 9}, {"head": 9}, {"token": 9}, {"x": 1}, {"x": 900, "y": 1}, {"stage": "masks"}):
        with pytest.raises(ValueError):
            explorer.look(**wrong)
    assert (explorer.x, explorer.block) == (30, 1)  # a refused look changes nothing


@pytest.mark.parametrize("stage", ATTENTION_STAGES)
def test_its_picture_carries_its_words(views, stage):
    explorer = DecoderExplorer(views, 30, 20, stage=stage, box=BOX)
    picture = explorer.picture()
    _, metadata = picture._repr_mimebundle_()
    assert metadata[f"image/{picture.format}"]["alt"] == explorer.describe()
    assert "head=None" in repr(explorer) and len(repr(explorer)) < 200


# The editor


def test_the_sliders_and_the_code_give_the_same_vector(views):
    editor = MaskVectorEditor(views)
    assert torch.equal(editor.vector, views.tensor("mask_vectors")[0])
    before = editor.shown.value
    editor.edit(mix=0.5, scale=-1, kept=5, moved=True)
    names = {"torch": torch, "views": views}
    exec(editor.code, names)
    assert torch.equal(names["vector"], editor.vector) and int((editor.vector != 0).sum()) == 5
    assert editor.shown.value != before and "5 of 16 channels" in editor.words.value
    assert f"{names['mask'].mean():.1%}" in editor.describe()
    editor.controls["mix"].value = 1.0  # by hand
    assert "mix=1.0" in repr(editor) and "at 100%" in editor.describe()
    picture = editor.picture()
    assert picture._repr_mimebundle_()[1][f"image/{picture.format}"]["alt"] == editor.describe()


def test_the_editor_keeps_its_own_prompt(views):
    """A view that others share has seen another prompt since: the editor asks its own again."""
    points, labels, box = views.points, views.labels, views.box
    editor = MaskVectorEditor(views)
    kept, shown = editor.vector.clone(), editor.code.splitlines()[0]
    views.prompt([[3, 4]], [0])
    assert not torch.equal(views.tensor("mask_vectors")[0], kept)
    assert torch.equal(editor.vector, kept) and (views.points, views.labels, views.box) == (points, labels, box)
    assert shown.startswith("views.prompt(")


def test_the_editor_refuses_what_is_on_no_slider(views):
    editor = MaskVectorEditor(views)
    for wrong in ({"mix": 2}, {"kept": 99}, {"first": 3}, {"colour": 1}):
        with pytest.raises(ValueError, match="is not on its slider|there is no"):
            editor.edit(scale=0.5, **wrong)
    assert editor.controls["scale"].value == 1  # a refused edit changes nothing


def test_what_the_chapter_says_of_mask_vectors(views):
    """Scores are linear in the vector; a positive factor leaves the mask alone, a negative one turns it over."""
    first, second, _ = views.tensor("mask_vectors")
    mixed = views.logits_of(0.25 * first + 0.75 * second)
    assert torch.allclose(mixed, 0.25 * views.logits_of(first) + 0.75 * views.logits_of(second), atol=1e-5)
    assert np.array_equal(views.mask_of(3 * first), views.mask_of(first))
    assert np.array_equal(views.mask_of(-first), ~views.mask_of(first))
