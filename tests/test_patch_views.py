"""Patches seen one by one: places, values, attention and likeness; the explorer without a browser; plots."""

import numpy as np
import pytest
import skimage.data
import torch
from matplotlib.figure import Figure
from torch.nn import functional as F

from samlite.notebook import plots, style
from samlite.notebook.ledger import shape_ledger
from samlite.notebook.patch_explorer import PatchExplorer
from samlite.notebook.patch_views import STEPS_TO_COMPARE, PatchViews
from samlite.sam import document_sam

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def views():
    torch.manual_seed(0)
    sam = document_sam(
        image_size=96, patch_size=8, width=32, depth=3, heads=4, channels=16, decoder_heads=2, decoder_mlp=16
    )
    return PatchViews(sam.eval(), PHOTO)


def test_the_input_frame_is_the_resized_photo_and_padding_in_the_mean_colour(views):
    height, width = views.photo_size
    assert (height, width) == (64, 96) and views.photo_grid == (8, 12) and views.input_picture.shape == (96, 96, 3)
    resized = views.predictor.transform.apply_image(PHOTO)
    assert np.array_equal(views.input_picture[:height, :width], resized)
    assert np.array_equal(np.unique(views.input_picture[height:].reshape(-1, 3), axis=0), [[124, 116, 104]])


def test_a_pixel_of_the_photo_lies_in_its_patch(views):
    assert views.patch_at(0, 0) == (0, 0)
    assert views.patch_at(89, 59) == (7, 11)
    assert views.patch_at(x=45, y=10) == (1, 6)  # 45 · 96/90 = 48, the first pixel of column 6
    assert views.index(1, 6) == 18
    for x, y in ((90, 0), (0, 60), (-1, 0)):
        with pytest.raises(ValueError, match="is no pixel of this photo"):
            views.patch_at(x, y)
    for row, column in ((12, 0), (0, -1)):
        with pytest.raises(ValueError, match="is not on the grid"):
            views.index(row, column)


def test_the_vector_is_the_normalised_patch(views):
    row, column = 3, 7
    vector, pixels = views.vector(row, column), views.pixels(row, column)
    assert vector.shape == (3 * 8 * 8,) and pixels.shape == (8, 8, 3)
    back = vector.reshape(3, 8, 8) * views.sam.pixel_std + views.sam.pixel_mean
    assert np.abs(back.permute(1, 2, 0).numpy() - pixels).max() < 0.51


def test_attention_is_that_of_the_model(views):
    row, column = 2, 5
    for block in range(views.blocks):
        heads = views.attention_of_heads(row, column, block)
        assert heads.shape == (4, 12, 12) and torch.allclose(heads.sum((1, 2)), torch.ones(4))
        layer = views.sam.image_encoder.blocks[block]
        before = views.ledger.all("encoder_block")[block - 1] if block else views.ledger["positioned_patches"]
        with torch.no_grad(), shape_ledger(layer, keep="self_attention") as ledger:
            layer(before.tensor)
            values = layer.attention.value_projection(layer.attention_norm(before.tensor))[0].reshape(144, 4, 8)
            context = torch.einsum("hl,lhd->hd", heads.flatten(1), values).flatten()
            output = layer.attention.output_projection(context)
        assert torch.allclose(output, ledger["self_attention"].tensor[0, views.index(row, column)], atol=1e-5)
        assert torch.equal(views.attention(row, column, block), heads.mean(0))
        assert torch.equal(views.attention(row, column, block, head=2), heads[2])
    with pytest.raises(ValueError, match="there is no block 3: this model has blocks 0…2"):
        views.attention(row, column, 3)
    with pytest.raises(ValueError, match="there is no head 4: this model has heads 0…3"):
        views.attention(row, column, 0, head=4)


@pytest.mark.parametrize("step", STEPS_TO_COMPARE)
def test_a_patch_is_most_like_itself(views, step):
    similarity = views.similarity(4, 9, step)
    assert similarity.shape == (12, 12) and similarity.max() <= 1.0001
    assert similarity[4, 9] == pytest.approx(1, abs=1e-4)


def test_likeness_of_the_embedding_reads_the_right_place(views):
    embedding = views.predictor.get_image_embedding()[0]
    embedding = embedding - embedding[:, :8].mean((1, 2), keepdim=True)  # 8 rows hold the photo, 4 are padding
    expected = F.cosine_similarity(embedding[:, 4, 9], embedding[:, 1, 2], dim=0)
    assert views.similarity(4, 9)[1, 2] == pytest.approx(float(expected), abs=1e-5)
    first, last = views.similarity(4, 9, "encoder_block", block=0), views.similarity(4, 9, "encoder_block")
    assert not torch.equal(first, last)
    with pytest.raises(ValueError, match="choose one of patches"):
        views.similarity(0, 0, "masks")


# The explorer, driven as the browser drives it


def test_a_choice_of_the_browser_is_answered(views):
    explorer = PatchExplorer(views, row=1, column=2)
    assert "Patch in row 1, column 2. In block 0, all heads" in explorer.describe()
    before = explorer.reply
    explorer.set_state({"row": 3, "column": 4, "block": 2, "head": 1, "step": "patches"})
    reply = explorer.reply
    assert reply["attention"] != before["attention"] and reply["similarity"] != before["similarity"]
    assert len(reply["attention"]) == len(reply["similarity"]) == 12 * 12 * 4
    assert [len(plane) for plane in reply["planes"]] == [8 * 8 * 4] * 3
    attention = views.attention(3, 4, 2, 1)
    assert divmod(int(attention.argmax()), 12) == tuple(reply["peak"])
    assert explorer.code.splitlines()[1] == "views.attention(3, 4, block=2, head=1)"
    assert "in block 2, head 1" in explorer.describe().lower() and not reply["error"]


def test_likeness_by_encoder_block_follows_the_block(views):
    explorer = PatchExplorer(views, row=3, column=2, block=0, step="encoder_block")
    maps = [explorer.reply["similarity"]]
    explorer.look(block=2)
    maps.append(explorer.reply["similarity"])
    assert maps[0] != maps[1] and "By encoder block 2, " in explorer.describe()
    shown = eval(explorer.code.splitlines()[2], {"views": views})
    assert torch.equal(shown, views.similarity(3, 2, "encoder_block", 2))
    assert explorer.figure().subfigs[0].axes[2].get_title() == "likeness, encoder block 2"


def test_its_code_gives_what_is_shown(views):
    explorer = PatchExplorer(views, row=6, column=1, block=1, head=3)
    vector, attention, similarity = (eval(line, {"views": views}) for line in explorer.code.splitlines())
    assert torch.equal(vector, views.vector(6, 1))
    assert torch.equal(attention, views.attention(6, 1, 1, 3)) and torch.equal(similarity, views.similarity(6, 1))


def test_a_hand_and_the_code_do_the_same(views):
    by_hand, by_code = PatchExplorer(views), PatchExplorer(views)
    by_hand.set_state({"row": 1, "column": 6, "block": 1, "head": 2})
    by_code.look(x=45, y=10, block=1, head=2)
    assert by_hand.reply == by_code.reply and (by_code.row, by_code.column) == (1, 6)
    by_code.look(block=0)
    assert by_code.chosen_head is None and "all heads" in by_code.describe()


def test_an_error_is_shown_in_the_widget_and_goes_away(views):
    explorer = PatchExplorer(views)
    explorer.set_state({"block": 77})
    assert explorer.reply["error"] == "ValueError: there is no block 77: this model has blocks 0…2"
    explorer.set_state({"block": 1})
    assert not explorer.reply["error"] and "block 1" in explorer.describe()
    for wrong in ({"block": 9}, {"head": 9}, {"row": 12}, {"x": 1}, {"x": 900, "y": 1}, {"step": "masks"}):
        with pytest.raises(ValueError):
            explorer.look(**wrong)
    assert (explorer.row, explorer.block) == (0, 1)  # a refused look changes nothing


def test_padding_is_called_padding(views):
    assert "padding" not in PatchExplorer(views, row=7, column=0).describe()
    assert "(padding, no part of the photo)" in PatchExplorer(views, row=8, column=0).describe()


# Pictures


def test_a_picture_carries_its_words(views):
    picture = PatchExplorer(views, row=2, column=2).picture()
    data, metadata = picture._repr_mimebundle_()
    assert metadata[kind := f"image/{picture.format}"]["alt"].startswith("Patch in row 2, column 2.") and kind in data
    with pytest.raises(ValueError, match="does not say what the picture shows"):
        style.picture(Figure(), alt="a picture")


def test_a_diagram_is_exact_and_a_large_photo_is_small():
    diagram = style.picture(plots.bars({"a": 1.0}, "s"), alt="one long blue bar")
    photo = style.picture(plots.pictures_in_a_row([skimage.data.chelsea()], ["cat"], panel=6), alt="a photo of a cat")
    assert diagram.format == "png" and diagram.data.startswith(b"\x89PNG")
    assert photo.format == "jpeg" and photo.data.startswith(b"\xff\xd8")
    assert photo.width == 6 * 72


def test_every_plot_draws_what_it_is_given(views):
    picture, patch = views.input_picture, (2, 3)
    grid = plots.photo_with_grid(picture, 8, [patch], "photo")
    assert len(grid.axes[0].lines) == 2 * 11 and grid.axes[0].get_title() == "photo"
    maps = plots.maps_over_photo(picture, views.attention_of_heads(*patch, 1), "abcd", patch, columns=3)
    assert [axes.get_visible() for axes in maps.axes] == [True] * 4 + [False] * 2
    assert [axes.get_title() for axes in maps.axes[:4]] == list("abcd")
    row, column = divmod(int(views.attention_of_heads(*patch, 1)[0].argmax()), 12)
    assert maps.axes[0].lines[0].get_xydata().tolist() == [[column * 8 + 3.5, row * 8 + 3.5]]  # the cross
    vector = plots.patch_vector(views.vector(*patch), views.pixels(*patch))
    assert vector.axes[1].images[0].get_array().shape == (8, 8)
    assert vector.axes[-1].images[0].get_array().shape == (1, 192)
    table = views.sam.image_encoder.position_embedding
    assert len(plots.position_similarity(table, shown=3).axes) == 9 + 1
    assert len(plots.filters(views.sam.image_encoder.patch_projection.weight, shown=8, columns=4).axes) == 8
    flow = plots.flow(views.ledger.folded())
    text = [text.get_text() for text in flow.axes[0].texts]
    assert "1 × 144 × 192" in text and "encoder block ×3" in text
    for figure in (grid, maps, vector, flow, plots.token_strip(torch.randn(3, 16)), plots.bars({"a": 1.0}, "s")):
        assert np.ptp(np.asarray(style.drawn(figure))) > 200  # something is on the page


def test_colours_are_alike_where_tokens_are_alike():
    tokens = torch.cat([torch.randn(1, 7).expand(8, 7), torch.randn(1, 7).expand(8, 7)])
    colours = plots.components_as_colours(tokens.reshape(2, 8, 7)).reshape(16, 3)
    assert len(np.unique(colours, axis=0)) == 2 and (colours[:8] == colours[0]).all()


def test_masks_have_a_rim_and_points_a_sign():
    mask = np.zeros((2, 60, 90), bool)
    mask[0, 10:30, 20:50] = True
    figure = plots.masks_over_photo(PHOTO, mask, ["one", "empty"], [(30, 20, 1), (80, 50, 0)])
    assert [len(axes.collections) for axes in figure.axes] == [2, 0]  # black and white rim; none around nothing
    assert [line.get_marker() for line in figure.axes[0].lines] == ["o", "+", "s", "_"]


def test_importing_the_style_changes_nothing(monkeypatch):
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        before = dict(matplotlib.rcParams)
        from importlib import reload

        reload(style)
        assert dict(matplotlib.rcParams) == before
        style.apply()
        assert matplotlib.rcParams["font.size"] == style.SETTINGS["font.size"]
