"""Change the assumptions: sliders for a `Plan`, the same in code, and a picture of what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import ipywidgets
from matplotlib.figure import Figure

from samlite.notebook import style
from samlite.notebook.cost_model import ModelCost, Plan
from samlite.notebook.live_picture import LivePicture
from samlite.notebook.scale_plots import where_it_goes
from samlite.notebook.sliders import check_on

if TYPE_CHECKING:
    from IPython.display import Image as ShownImage


class ScaleExplorer(ipywidgets.VBox):
    """Sliders over the assumptions of a `Plan`.

        explorer = ScaleExplorer([released, document])
        explorer                                            # the widget
        explorer.assume(photos=1e6, devices=64)             # the same in code
        explorer.plan                                       # what it comes to
        explorer.picture()                                  # the same for the printed page

    Raises ValueError for an assumption that is not on its slider.
    """

    def __init__(self, models: Sequence[ModelCost], **assumptions: float) -> None:
        self.models = {model.name: model for model in models}
        wide = {"layout": {"width": "480px"}, "style": {"description_width": "170px"}, "continuous_update": False}
        plan = Plan(models[0], **assumptions)
        log, whole = ipywidgets.FloatLogSlider, ipywidgets.IntSlider
        self.controls = {
            "model": ipywidgets.Dropdown(options=list(self.models), description="model", style=wide["style"]),
            "photos": log(plan.photos, min=2, max=9, step=0.05, description="photos", readout_format=".2s", **wide),
            "points_per_side": whole(plan.points_per_side, min=1, max=64, description="points along a side", **wide),
            "crop_layers": whole(plan.crop_layers, min=0, max=3, description="layers of crops", **wide),
            "points_downscale": whole(plan.points_downscale, min=1, max=4, description="fewer points in crops", **wide),
            "device_flops": log(
                plan.device_flops, min=9, max=16, step=0.01, description="FLOP/s of a device", readout_format=".3s",
                **wide,
            ),
            "share": ipywidgets.FloatSlider(
                plan.share, min=0.01, max=1, step=0.01, description="share that is reached", readout_format=".0%",
                **wide,
            ),
            "devices": log(plan.devices, min=0, max=5, step=0.01, description="devices", readout_format=".0f", **wide),
            "masks_a_photo": whole(round(plan.masks_a_photo), min=1, max=500, description="masks a photo", **wide),
            "bytes_a_mask": whole(round(plan.bytes_a_mask), min=20, max=20000, description="bytes a mask", **wide),
        }  # fmt: skip
        for name, value in assumptions.items():  # a slider would take its nearest value; measured means are rounded
            check_on(self.controls[name], name, round(value) if name in ("masks_a_photo", "bytes_a_mask") else value)
        self.shown, self.words = LivePicture(), ipywidgets.HTML()
        self._several = False
        super().__init__([*self.controls.values(), self.shown, self.words])
        for control in self.controls.values():
            control.observe(self._show, names="value")
        self._show()

    def __repr__(self) -> str:
        return f"ScaleExplorer({', '.join(f'{name}={control.value!r}' for name, control in self.controls.items())})"

    def assume(self, **changes: float | str) -> None:
        """Set some of the assumptions; the others stay."""
        for name, value in changes.items():
            if name not in self.controls:
                raise ValueError(f"there is no assumption {name!r}: choose from {', '.join(self.controls)}")
            check_on(self.controls[name], name, value)
        self._several = True  # several changes, one picture
        try:
            for name, value in changes.items():
                self.controls[name].value = value
        finally:
            self._several = False
        self._show()

    @property
    def plan(self) -> Plan:
        """The assumptions as they are now."""
        values = {name: control.value for name, control in self.controls.items()}
        values["devices"] = round(values["devices"])
        return replace(Plan(self.models[values.pop("model")]), **values)

    @property
    def code(self) -> str:
        """The Python that gives the same."""
        values = (f"{name}={control.value!r}" for name, control in self.controls.items() if name != "devices")
        return f"explorer.assume({', '.join([*values, f'devices={self.plan.devices}'])})"

    def describe(self) -> str:
        """What comes out, in words."""
        plan = self.plan
        one = plan.encoder_flop + plan.decoder_flop
        return (
            f"One photo through {plan.model.name}: {one / 1e12:.3g} TFLOP, {plan.decoder_flop / one:.0%} of them for "
            f"the clicks. {plan.photos:,.0f} photos, {plan.crops} encoder run"
            f"{'s' * (plan.crops > 1)} and {plan.clicks:,} clicks each: {plan.total_flop:.2e} FLOP, "
            f"{plan.device_hours:,.3g} hours of one device, {plan.days:,.3g} days with {plan.devices:,}; the masks "
            f"take {plan.terabytes:,.3g} TB."
        )

    def figure(self) -> Figure:
        """Where the operations of one photo go."""
        return where_it_goes({self.plan.model.name: self.plan})

    def picture(self) -> ShownImage:
        """``figure`` as a picture for the page, with ``describe`` as its alternative text."""
        return style.picture(self.figure(), self.describe())

    def _show(self, _change: object = None) -> None:
        if self._several:
            return
        self.shown.show(self.figure(), self.describe())
        self.words.value = f"{self.describe()}<pre style='white-space:pre-wrap'>{self.code}</pre>"
