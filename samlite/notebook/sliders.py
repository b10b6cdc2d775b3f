"""Widgets that are set by code: a value that its slider or menu does not have is an error, not the nearest one."""

from __future__ import annotations

from typing import Any

import ipywidgets


def check_on(control: ipywidgets.ValueWidget, name: str, value: Any) -> None:
    """Raises ValueError, naming the range or the choices, for a value that ``control`` cannot take as it is."""
    if isinstance(control, ipywidgets.Dropdown):
        if value not in control.options:
            raise ValueError(f"there is no {name} {value!r}: choose from {', '.join(control.options)}")
    elif hasattr(control, "min"):
        log = isinstance(control, ipywidgets.FloatLogSlider)
        low, high = (10**control.min, 10**control.max) if log else (control.min, control.max)
        if not low <= value <= high:
            raise ValueError(f"{name}={value:g} is not on its slider, which goes from {low:g} to {high:g}")
        if isinstance(control, ipywidgets.IntSlider) and value != int(value):
            raise ValueError(f"{name}={value:g} is not on its slider, which has whole numbers only")
