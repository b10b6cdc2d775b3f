"""The explorers made of sliders, menus and fields, in one JupyterLab: a hand moves one, and picture and words change.

Of chapters 04, 06, 10, 11, 12, 15 and 16. The models are as small as can be: what is computed is tested elsewhere.
"""

import pytest

SETUP = """
from types import SimpleNamespace

import numpy as np
import torch
from disc_predictor import DiscPredictor
from test_evaluation_explorer import report

from samlite import SamPredictor, document_sam
from samlite.learning.pretraining import build_autoencoder
from samlite.learning.text import TextImageModel, measure
from samlite.learning.text.vocabulary import SEEN
from samlite.notebook.annotating import AnnotatorCanvas
from samlite.notebook.automatic_explorer import AutomaticExplorer
from samlite.notebook.cost_model import ModelCost
from samlite.notebook.evaluation_explorer import EvaluationExplorer
from samlite.notebook.loss_explorer import LossExplorer
from samlite.notebook.masking_slider import MaskingSlider
from samlite.notebook.scale_explorer import ScaleExplorer
from samlite.notebook.text_views import TextPromptBox

torch.manual_seed(0)
tiny = {"image_size": 32, "patch_size": 8, "width": 16, "depth": 1}
photo = np.random.default_rng(0).integers(60, 120, (120, 160, 3), dtype=np.uint8)


def disc(x, y, radius):
    rows, columns = np.ogrid[:120, :160]
    return np.hypot(columns - x, rows - y) <= radius


def record(x, y, radius, iou):
    mask = disc(x, y, radius)
    return {"segmentation": mask, "area": int(mask.sum()), "bbox": [x - radius, y - radius, 2 * radius, 2 * radius],
            "predicted_iou": iou, "stability_score": 0.9}


autoencoder = build_autoencoder(tiny | {"heads": 2, "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2})
words = TextImageModel(width=8, crop_size=16).eval()
sam = document_sam(**tiny, heads=1, channels=16, decoder_heads=2, decoder_mlp=16, text_width=8).eval()
sam.prompt_encoder.trained_on_text = words.name
explorers = {
    "masking": MaskingSlider(autoencoder.eval(), 0.5 * torch.randn(2, 3, 32, 32)),
    "loss": LossExplorer(),
    "evaluation": EvaluationExplorer({"tiny": report(), "discs": report(-0.1)}),
    "automatic": AutomaticExplorer(photo, SimpleNamespace(automatic_thresholds=(0.5, 0.5)), 2, [
        record(40, 40, 20, 0.9), record(110, 60, 40, 0.7), record(60, 90, 15, 0.4)
    ]),
    "text": TextPromptBox(words, SamPredictor(sam), measure.held_out_scenes(SEEN, 3, 48)),
    "scale": ScaleExplorer([ModelCost("toy", 1000, 10), ModelCost("other", 2000, 10)], photos=1e6),
    "annotator": AnnotatorCanvas(photo, disc(80, 60, 40), good_enough=0.9, predictor=DiscPredictor()),
}
display(*explorers.values())
"""
NAMES = ("masking", "loss", "evaluation", "automatic", "text", "scale", "annotator")


@pytest.fixture(scope="module")
def page(open_notebook):
    page = open_notebook("explorers.ipynb", SETUP)
    page.wait_for_selector(".samlite-canvas[data-replies]", timeout=120_000)  # the last of them
    return page


class Shown:
    """One explorer on the page: its picture, the words beside it, and its hands."""

    def __init__(self, page, name):
        self.page = page
        outputs = page.locator(".jp-OutputArea-output:has(.jupyter-widgets, .samlite-canvas)")
        assert outputs.count() == len(NAMES)
        self.root = outputs.nth(NAMES.index(name))
        self.root.scroll_into_view_if_needed()

    def look(self):
        """The words of the picture and its pixels."""
        picture = self.root.locator("img")
        picture.wait_for()
        assert picture.evaluate("(img) => img.decode().then(() => img.naturalWidth)") > 100
        return picture.get_attribute("alt"), picture.get_attribute("src")

    def after(self, act):
        """The words, once both they and the picture have changed by what a hand does."""
        words, pixels = self.look()
        act()
        for _ in range(400):
            now = self.look()
            if now[0] != words and now[1] != pixels and now[0] in self.root.inner_text().replace("\n", " "):
                return now[0]  # words for everybody: they stand beside the picture, too, and come a moment later
            self.page.wait_for_timeout(50)
        raise AssertionError(f"picture or words have not changed: {now[0]!r}")

    def slide(self, number, key):
        """A key on the handle of one slider."""
        return self.after(lambda: self.root.locator(".noUi-handle").nth(number).press(key))


@pytest.fixture
def shown(request, page, screenshots):
    explorer = Shown(page, request.param)
    yield explorer
    explorer.root.screenshot(path=screenshots / f"explorer_{request.param}.png")


of = lambda name: pytest.mark.parametrize("shown", [name], indirect=True)  # noqa: E731


@of("masking")
def test_chapter_06_hides_less(shown, python):
    assert "12 of its 16 patches" in shown.look()[0]
    assert "11 of its 16 patches" in shown.slide(1, "ArrowLeft")
    assert python(shown.page, "explorers['masking']") == "MaskingSlider(number=0, percent=70, seed=0)"


@of("loss")
def test_chapter_10_learns_by_another_loss(shown, python):
    shown.slide(3, "End")
    assert "mean_share=1" in shown.root.locator("pre").inner_text()
    assert "mean_share=1," in python(shown.page, "explorers['loss']")


@of("evaluation")
def test_chapter_11_counts_other_prompts_and_another_threshold(shown, python):
    assert "1 click on 3 of 3 images" in shown.look()[0]
    assert shown.after(lambda: shown.root.locator("select").nth(1).select_option("box")).count("box on 3 of 3 images")
    assert "threshold 0.7:" in shown.slide(0, "ArrowLeft")
    assert python(shown.page, "explorers['evaluation'].threshold, explorers['evaluation'].prompt") == "(0.7, 'box')"


@of("automatic")
def test_chapter_12_filters_more_and_less(shown, python):
    assert shown.look()[0].startswith("2 of 3 candidates are left")
    assert shown.slide(0, "Home").startswith("3 of 3 candidates")
    assert shown.slide(3, "End").startswith("1 of 3 candidates")
    assert "r['area'] >= 0.1 * photo.size / 3" in shown.root.locator("pre").inner_text()
    assert python(shown.page, "len(explorers['automatic'].kept)") == "1"


@of("text")
def test_chapter_15_reads_a_phrase(shown, python):
    field = shown.root.locator("input[type=text]")

    def type_it(phrase):
        field.fill(phrase)
        field.press("Enter")

    assert shown.after(lambda: type_it("red star")).startswith("“red star” in scene 0")
    assert "in scene 2" in shown.after(lambda: shown.root.locator("select").select_option("scene 2"))
    type_it("red dog")
    shown.root.get_by_text("does not know 'dog'").wait_for()
    assert python(shown.page, "explorers['text']") == "TextPromptBox('red star', scene=2)"


@of("scale")
def test_chapter_16_takes_other_assumptions(shown, python):
    assert "through toy" in shown.look()[0]
    assert "through other" in shown.after(lambda: shown.root.locator("select").select_option("other"))
    assert "961 clicks" in shown.slide(1, "ArrowLeft")  # 31 · 31
    assert python(shown.page, "explorers['scale'].plan.points_per_side") == "31"


@of("annotator")
def test_chapter_04_measures_the_annotators_click(shown, python):
    canvas = shown.root.locator(".samlite-photo canvas")
    assert canvas.get_attribute("aria-label")
    look = "(canvas) => Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).join()"
    before, area = canvas.evaluate(look), canvas.bounding_box()
    shown.page.mouse.click(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
    shown.root.get_by_text("go on to 0.9").or_(shown.root.get_by_text("good enough")).first.wait_for()
    assert canvas.evaluate(look) != before
    assert python(shown.page, "explorers['annotator'].work.clicks") == "1"
    iou = float(python(shown.page, "explorers['annotator'].iou"))
    assert f"IoU {iou:.2f}" in shown.root.inner_text()


def test_no_explorer_asks_another_machine(page):
    assert all("127.0.0.1" in address or address.startswith(("data:", "blob:")) for address in page.requests)
    assert page.problems == []
