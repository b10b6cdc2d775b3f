"""Follow one prediction through the model, tensor by tensor: each step as a picture, with its shape and its meaning.

`TensorFollower` is a slider over the steps of one prediction, in the order in which they happened. What a hand does
with the slider, code does with `look`; `picture` is what a page without a kernel shows.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
from einops import rearrange
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from samlite.notebook import style
from samlite.notebook.ledger import Entry, ShapeLedger, shape_ledger, steps_of
from samlite.notebook.live_picture import LivePicture
from samlite.notebook.plots import components_as_colours, to_photo
from samlite.notebook.style import DIVERGING, PAPER, SEQUENTIAL
from samlite.predictor import SamPredictor

if TYPE_CHECKING:
    from IPython.display import Image as ShownImage

DRAWN_AS = {  # where the shape does not tell
    "input": "photo", "grid": "grid", "image_positions": "map",
    "low_res_logits": "planes", "input_frame_logits": "planes", "masks": "planes",
}  # fmt: skip
SECTION_PARTS = {"1.5": "image encoder", "1.7": "prompt encoder", "1.8": "mask decoder"}


def follow(predictor: SamPredictor, photo: Any, **prompt: Any) -> ShapeLedger:
    """One prediction with every tensor kept: ``photo`` is encoded, ``prompt`` (as for ``predict``) is decoded."""
    with shape_ledger(predictor.model, keep=steps_of(predictor.model)) as ledger:
        predictor.set_image(photo)
        predictor.predict(**prompt)
    return ledger


def how_it_is_drawn(name: str, shape: tuple[int, ...], grid: int) -> str:
    """The kind of picture for the tensor of a step: "photo", "grid", "map", "sequence", "tokens", "planes" or
    "numbers"."""
    if name in DRAWN_AS:
        return DRAWN_AS[name]
    if len(shape) == 4:
        return "planes" if shape[1] <= 3 else "map"
    if len(shape) == 3 and shape[1] == grid * grid:
        return "sequence"
    return "tokens" if len(shape) == 3 else "numbers"


def draw_tensor(axes: Axes, entry: Entry, grid: int) -> str:
    """One kept tensor into ``axes``; returns in words how it is drawn. Raises ValueError if the tensor was not kept."""
    if entry.tensor is None:
        raise ValueError(f"the ledger did not keep {entry.name!r}: make it with keep={entry.name!r}")
    kind = how_it_is_drawn(entry.name, entry.shape, grid)
    tensor = entry.tensor if entry.name == "image_positions" else entry.tensor[0]
    tensor = tensor.detach().float().cpu()
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if kind == "photo":
        axes.imshow(to_photo(tensor))
        return "as colours, the normalisation undone"
    if kind in ("grid", "map", "sequence"):
        order = {"grid": "y x d -> y x d", "map": "d y x -> y x d", "sequence": "(y x) d -> y x d"}[kind]
        laid_out = rearrange(tensor, order, **({"x": grid} if kind == "sequence" else {}))
        if laid_out.std() < 1e-8:
            axes.imshow(np.zeros(laid_out.shape[:2]), cmap=SEQUENTIAL)
            return "all values are equal"
        axes.imshow(components_as_colours(laid_out))
        return "the three main directions of its vectors, as red, green and blue"
    if kind == "planes":
        limit = float(tensor.abs().max()) or 1.0
        side_by_side = rearrange(tensor, "k y x -> y (k x)").numpy()
        axes.imshow(side_by_side, cmap=DIVERGING, vmin=-limit, vmax=limit)
        return "side by side; light is zero, one colour above it and one below"
    if not tensor.numel():
        axes.text(0.5, 0.5, "nothing", ha="center", va="center", transform=axes.transAxes)
        return "there are none of these in this prompt"
    rows = tensor if tensor.ndim == 2 else tensor[None]
    limit = float(rows.abs().max()) or 1.0
    axes.imshow(rows.numpy(), cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    if kind == "numbers":
        for place, value in enumerate(rows.flatten().tolist()):
            axes.text(place, 0, f"{value:.2f}", ha="center", va="center", fontsize=15,
                      bbox={"facecolor": PAPER, "edgecolor": "none"})  # fmt: skip
        return "numbers"
    axes.set_ylabel("tokens")
    axes.set_xlabel("channels")
    return "one row a token"


def tensor_figure(entry: Entry, meaning: str, grid: int, place: str = "") -> Figure:
    """A kept tensor with its name, section, shape in numbers and letters, and ``meaning``."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    drawn = draw_tensor(axes, entry, grid)
    letters = entry.symbols.replace("*", "·")
    section = f" (§{entry.section})" if entry.section else ""
    axes.set_title(f"{place}{entry.name.replace('_', ' ')}{section}\n"
                   f"{' × '.join(map(str, entry.shape))}   =   {letters.replace(', ', ' × ')}")  # fmt: skip
    figure.supxlabel(f"{meaning}\n({drawn})", fontsize=12)
    return figure


class TensorFollower(ipywidgets.VBox):
    """A slider over the steps of a prediction.

    Args:
        ledger: of one prediction, with its tensors kept, as `follow` makes it.
        grid: cells along a side of the model's grid.
        name: what the ledger is called where ``code`` will run.

    Raises ValueError when the ledger has kept nothing.
    """

    def __init__(self, ledger: ShapeLedger, grid: int, name: str = "ledger") -> None:
        self.entries = [entry for entry in ledger if entry.tensor is not None]
        if not self.entries:
            raise ValueError("the ledger kept no tensor: make it with `follow`, or with keep=…")
        self.name, self.grid, self.steps = name, grid, ledger.steps
        self._slider = ipywidgets.IntSlider(
            0, 0, len(self.entries) - 1, description="step", readout=False, continuous_update=False,
            layout=ipywidgets.Layout(width="95%"),
        )  # fmt: skip
        self._shown = LivePicture()
        self._words = ipywidgets.HTML()
        self._slider.observe(lambda _: self._show(), "value")
        super().__init__([self._slider, self._shown, self._words])
        self._show()

    @property
    def number(self) -> int:
        """Which step is shown, from 0."""
        return self._slider.value

    @property
    def entry(self) -> Entry:
        """The step that is shown."""
        return self.entries[self.number]

    @property
    def code(self) -> str:
        """The Python that gives the tensor which is shown."""
        same = [entry for entry in self.entries if entry.name == self.entry.name]
        nth = next(i for i, entry in enumerate(same) if entry is self.entry)
        step = repr(self.entry.name)
        return f"{self.name}.all({step})[{nth}].tensor" if len(same) > 1 else f"{self.name}[{step}].tensor"

    def look(self, step: int | str) -> None:
        """Go to a step: its number, or its name (the last of that name). Raises ValueError when there is none."""
        if isinstance(step, str):
            names = [entry.name for entry in self.entries]
            if step not in names:
                raise ValueError(f"no step is called {step!r}; there are {', '.join(dict.fromkeys(names))}")
            step = len(names) - 1 - names[::-1].index(step)
        if step not in range(len(self.entries)):
            raise ValueError(f"step must be 0 … {len(self.entries) - 1}, {step} was given")
        self._slider.value = step

    def figure(self) -> Figure:
        """The step that is shown, as a figure."""
        meaning = self.steps[self.entry.name].meaning
        return tensor_figure(self.entry, meaning, self.grid, f"step {self.number + 1} of {len(self.entries)}: ")

    def describe(self) -> str:
        """The step in words."""
        part = SECTION_PARTS.get(self.entry.section[:3], "")
        shape = " × ".join(map(str, self.entry.shape))
        return (
            f"Step {self.number + 1} of {len(self.entries)}, {self.entry.name.replace('_', ' ')}"
            f"{f', in the {part}' if part else ''}: {shape}, {self.steps[self.entry.name].meaning}."
        )

    def picture(self) -> ShownImage:
        """The same as a picture for a page without a kernel."""
        return style.picture(self.figure(), self.describe())

    def __repr__(self) -> str:
        return f"TensorFollower: {self.describe()}"

    def _show(self) -> None:
        self._shown.show(self.figure(), self.describe())
        self._words.value = f"<code>{self.code}</code>"


def changed_steps(
    first: ShapeLedger, second: ShapeLedger, tolerance: float = 1e-6, each_time: bool = False
) -> dict[str, bool]:
    """For every step that both ledgers kept: did its tensor change (in shape, or by more than ``tolerance``)?

    The tolerance is relative to the largest value. Of a step that happens several times all are compared; with
    ``each_time`` every time stands for itself, in the order in which they happened: "token_mlp 1", "token_mlp 2".
    """
    changed: dict[str, bool] = {}
    times: Counter[str] = Counter()
    for entry in first:
        number = times[entry.name]
        times[entry.name] += 1
        if entry.name not in second or number >= len(second.all(entry.name)):
            continue
        other = second.all(entry.name)[number]
        if entry.tensor is None or other.tensor is None:
            continue
        repeated = each_time and len(first.all(entry.name)) > 1
        name = f"{entry.name} {number + 1}" if repeated else entry.name
        changed[name] = changed.get(name, False) or _differ(entry.tensor, other.tensor, tolerance)
    return changed


def _differ(a: Float[Tensor, "*any"], b: Float[Tensor, "*other"], tolerance: float) -> bool:
    if a.shape != b.shape:
        return True
    if not a.numel():
        return False  # no tokens here and none there
    return bool((a - b).abs().max() > tolerance * a.abs().max().clamp(min=1e-12))
