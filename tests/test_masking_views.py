"""The pictures of chapter 06: grey is hidden, what is visible stays as it was, and the slider says what it did."""

import numpy as np
import pytest
import torch

from samlite.learning.pretraining import build_autoencoder
from samlite.notebook.masking_slider import MaskingSlider
from samlite.notebook.masking_views import HIDDEN_GREY, lines, rebuild, rebuilds
from samlite.notebook.plots import to_photo
from samlite.notebook.style import drawn

MODEL = {
    "image_size": 32, "patch_size": 8, "width": 16, "depth": 1, "heads": 2,
    "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(0)
    return build_autoencoder(MODEL).eval()


@pytest.fixture
def image():
    return torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(1)) * 0.5


def test_visible_patches_stay_and_hidden_ones_are_rebuilt(autoencoder, image):
    rebuilt = rebuild(autoencoder, image, seed=2)
    assert len(rebuilt.visible) == 4 and len(rebuilt.hidden) == 12
    assert np.array_equal(rebuilt.original, to_photo(image))
    for place in range(16):
        cut = np.s_[place // 4 * 8 : place // 4 * 8 + 8, place % 4 * 8 : place % 4 * 8 + 8]
        if place in rebuilt.visible:
            for picture in (rebuilt.shown, rebuilt.rebuilt, rebuilt.guessed):
                assert np.array_equal(picture[cut], rebuilt.original[cut])
        else:
            assert (rebuilt.shown[cut] == HIDDEN_GREY).all()
            assert not np.array_equal(rebuilt.rebuilt[cut], rebuilt.original[cut])
            assert len(np.unique(rebuilt.guessed[cut].reshape(-1, 3), axis=0)) == 1  # one colour


def test_figures_are_drawn(autoencoder, image):
    rows = [rebuild(autoencoder, image, share) for share in (0.5, 0.9)]
    assert drawn(rebuilds(rows)).size[0] > 500
    assert drawn(lines({"a": ([1, 2], [3, 4])}, "x", "y", {"level": 2.0})).size[0] > 500


def test_the_slider_does_what_code_does(autoencoder, image):
    slider = MaskingSlider(autoencoder, torch.stack([image, image.flip(-1)]))
    before = slider.shown.value
    slider.hide(number=1, percent=50, seed=3)
    assert slider.shown.value != before and repr(slider) == "MaskingSlider(number=1, percent=50, seed=3)"
    names = {"rebuild": rebuild, "autoencoder": autoencoder, "pictures": slider.pictures}
    again = eval(slider.code, names)
    assert again.error == slider.rebuilt.error and len(again.hidden) == 8
    assert "8 of its 16 patches" in slider.describe() and slider.code in slider.words.value
    assert slider.shown.alt == slider.describe()
    assert slider.picture().data


@pytest.mark.parametrize(
    "change, message",
    [({"percent": 100}, "from 5 to 95 in steps of 5"), ({"percent": 51}, "is not on its slider"),
     ({"number": 1}, "from 0 to 0"), ({"colour": 1}, "there is no 'colour'")],
)  # fmt: skip
def test_what_is_not_on_the_slider_is_refused(autoencoder, image, change, message):
    with pytest.raises(ValueError, match=message):
        MaskingSlider(autoencoder, image[None]).hide(**change)
