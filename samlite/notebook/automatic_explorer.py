"""The thresholds of automatic masks as sliders: the model runs once, the filters as often as a slider moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
from jaxtyping import Bool, Int, UInt8

from samlite.automatic import SamAutomaticMaskGenerator
from samlite.boxes import non_maximum_suppression
from samlite.notebook import automatic_views, style
from samlite.notebook.live_picture import LivePicture
from samlite.notebook.sliders import check_on
from samlite.sam import Sam

if TYPE_CHECKING:
    from IPython.display import Image as ShownImage

SLIDERS = {  # argument of the generator: what the slider says, and its largest value
    "pred_iou_thresh": ("predicted IoU above", 1.0),
    "stability_score_thresh": ("stability at least", 1.0),
    "box_nms_thresh": ("box IoU of duplicates above", 1.0),
    "smallest_area": ("area in % (not SAM's)", 10.0),
}


class AutomaticExplorer(ipywidgets.VBox):
    """All candidate masks of a photo and a slider for each filter that they pass.

    ``records``: every candidate, unfiltered; found here when they are not given. ``look`` does in code what the
    sliders do; ``kept`` holds the indices of the masks that are left, ``picture()`` shows them, ``code`` is the
    generator's call that gives the same.
    """

    def __init__(
        self,
        photo: UInt8[np.ndarray, "height width 3"],
        model: Sam,
        points_per_side: int = 12,
        records: list[dict[str, Any]] | None = None,
    ) -> None:
        self.photo, self.points_per_side = photo, points_per_side
        if records is None:
            records = SamAutomaticMaskGenerator(
                model, points_per_side, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1.0
            ).generate(photo)
        self.records = records
        self._iou = np.array([record["predicted_iou"] for record in records])
        self._stability = np.nan_to_num(np.array([record["stability_score"] for record in records]))
        self._boxes = np.array([record["bbox"] for record in records]) @ np.array(  # XYWH → XYXY
            [[1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]
        )
        self._areas = np.array([record["area"] for record in records])
        starts = {
            "pred_iou_thresh": model.automatic_thresholds[0],
            "stability_score_thresh": model.automatic_thresholds[1],
            "box_nms_thresh": 0.7,
            "smallest_area": 0,
        }
        self.sliders = {
            name: ipywidgets.FloatSlider(
                starts[name], min=0, max=most, step=most / 100, description=text, continuous_update=False,
                style={"description_width": "15em"}, layout=ipywidgets.Layout(width="34em"),
            )
            for name, (text, most) in SLIDERS.items()
        }  # fmt: skip
        self._picture = LivePicture("36em")
        self._words = ipywidgets.HTML()
        self._at_rest = True
        for slider in self.sliders.values():
            slider.observe(lambda _: self._update(), names="value")
        super().__init__([*self.sliders.values(), self._picture, self._words])
        self._update()

    def look(self, **thresholds: float | int) -> AutomaticExplorer:
        """Set some of the sliders by name. Raises ValueError for a name or a value that none has."""
        for name in thresholds:
            if name not in self.sliders:
                raise ValueError(f"no slider is called {name!r}: there are {', '.join(self.sliders)}")
            check_on(self.sliders[name], name, thresholds[name])
        self._at_rest = False  # one picture for all of them
        try:
            for name, value in thresholds.items():
                self.sliders[name].value = value
        finally:
            self._at_rest = True
        self._update()
        return self

    @property
    def thresholds(self) -> dict[str, float]:
        """What the sliders say."""
        return {name: slider.value for name, slider in self.sliders.items()}

    @property
    def kept(self) -> Int[np.ndarray, " n"]:
        """Indices of the records that pass all filters, the one with the highest predicted IoU first."""
        return self.kept_at(**self.thresholds)

    def kept_at(
        self,
        pred_iou_thresh: float | int = 0,
        stability_score_thresh: float | int = 0,
        box_nms_thresh: float | int = 1,
        smallest_area: float | int = 0,
    ) -> Int[np.ndarray, " n"]:
        """The same at thresholds of your own; without any, every candidate. ``smallest_area`` in % of the photo."""
        passed = (self._iou > pred_iou_thresh) | (pred_iou_thresh == 0)
        passed = np.flatnonzero(passed & (self._stability >= stability_score_thresh))
        kept = passed[non_maximum_suppression(self._boxes[passed], self._iou[passed], box_nms_thresh)]
        return kept[self._areas[kept] >= smallest_area / 100 * self.photo.shape[0] * self.photo.shape[1]]

    @property
    def masks(self) -> Bool[np.ndarray, "n height width"]:
        """The masks that are left, the large ones first."""
        return automatic_views.masks_of([self.records[index] for index in self.kept], self.photo.shape[:2])

    @property
    def code(self) -> str:
        """The call that gives these masks; a limit on the area is not among its arguments, so it follows after."""
        at = self.thresholds
        numbers = ", ".join(f"{name}={at[name]:g}" for name in list(SLIDERS)[:3])
        call = f"records = SamAutomaticMaskGenerator(model, {self.points_per_side}, {numbers}).generate(photo)"
        if at["smallest_area"]:
            call += f"\nrecords = [r for r in records if r['area'] >= {at['smallest_area'] / 100:g} * photo.size / 3]"
        return call

    @property
    def words(self) -> str:
        """The picture in a sentence."""
        masks = self.masks
        covered = f"{masks.any(0).mean():.0%}" if len(masks) else "nothing"
        return f"{len(masks)} of {len(self.records)} candidates are left; they cover {covered} of the photo."

    def picture(self) -> ShownImage:
        """What the explorer shows, for the page."""
        title = f"{len(self.kept)} of {len(self.records)} candidates"
        return style.picture(automatic_views.everything(self.photo, {title: self.masks}, panel=6), alt=self.words)

    def _update(self) -> None:
        if not self._at_rest:
            return
        self._picture.show(automatic_views.everything(self.photo, {"": self.masks}, panel=6), self.words)
        self._words.value = f"<p>{self.words}</p><pre>{self.code}</pre>"
