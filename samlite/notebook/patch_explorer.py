"""Touch a patch: its values, its attention and its likeness to all others, as a widget, as code and as a picture.

The kernel computes and colours, `patch_explorer.js` draws. A choice travels as five small traits, the answer as one
dict whose maps are a few kilobytes: it stays fast whatever the size of the model (document §1.5).
"""

from __future__ import annotations

import traitlets
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from samlite.notebook import plots, style
from samlite.notebook.explorer import MEAN_OF_HEADS, Explorer, browser_side, coloured, png_of
from samlite.notebook.patch_views import STEPS_TO_COMPARE, PatchViews


class PatchExplorer(Explorer):
    """A photo whose patches can be picked: by mouse, by touch, by arrow keys, or by ``look`` in code.

        views = PatchViews(sam, photo)
        explorer = PatchExplorer(views, row=4, column=5)
        explorer                                        # the widget
        explorer.look(x=220, y=130, block=2, head=0)    # the same in code; x, y in pixels of the photo
        explorer.picture()                              # the same for the printed page

    ``row``, ``column`` are a place of the grid, ``block`` and ``head`` choose the attention (``head`` None is the mean
    of all heads), ``step`` is one of ``STEPS_TO_COMPARE``, where likeness is measured.
    Raises ValueError for a place, block, head or step that is not there.
    """

    _CHOICES = ("row", "column", "block", "head", "step")
    _esm = browser_side("patch_explorer.js")

    picture_file = traitlets.Bytes().tag(sync=True)
    row = traitlets.Int(0).tag(sync=True)
    column = traitlets.Int(0).tag(sync=True)
    block = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(MEAN_OF_HEADS).tag(sync=True)
    step = traitlets.Unicode("image_embedding").tag(sync=True)

    def __init__(
        self,
        views: PatchViews,
        row: int = 0,
        column: int = 0,
        block: int = 0,
        head: int | None = None,
        step: str = "image_embedding",
    ) -> None:
        super().__init__()
        self.views = views
        self.picture_file = png_of(views.input_picture)
        self.sizes = {
            "grid": views.grid_size,
            "blocks": views.blocks,
            "heads": views.heads,
            "steps": list(STEPS_TO_COMPARE),
        }
        self.look(row, column, block=block, head=head, step=step)
        self._listen()

    def look(
        self,
        row: int | None = None,
        column: int | None = None,
        *,
        x: float | int | None = None,
        y: float | int | None = None,
        block: int | None = None,
        head: int | None = None,
        step: str | None = None,
    ) -> None:
        """Choose a patch, by its place or by a pixel (x, y) of the photo, and what to see of it.

        What is not given stays as it is, except ``head``: without it the mean of all heads is shown.
        """
        if (x is None) != (y is None):
            raise ValueError("x and y come together: a pixel of the photo has both")
        if head is not None and head < 0:
            raise ValueError(f"there is no head {head}: heads count from 0, and None is their mean")
        if x is not None and y is not None:
            row, column = self.views.patch_at(x, y)
        self._choose(
            {
                "row": self.row if row is None else row,
                "column": self.column if column is None else column,
                "block": self.block if block is None else block,
                "head": MEAN_OF_HEADS if head is None else head,
                "step": self.step if step is None else step,
            }
        )

    def __repr__(self) -> str:  # ipywidgets would write out every byte of the photo
        return f"PatchExplorer(row={self.row}, column={self.column}, block={self.block}, head={self.chosen_head})"

    @property
    def chosen_head(self) -> int | None:
        return None if self.head == MEAN_OF_HEADS else self.head

    def figure(self) -> Figure:
        """What is shown, as a figure: photo, attention and likeness above, the patch and its planes below."""
        views, patch = self.views, (self.row, self.column)
        figure = Figure(figsize=(10.2, 6.6), layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=[3.4, 2.4])
        photo, attention, likeness = above.subplots(1, 3)
        photo.imshow(views.input_picture)
        photo.set(xticks=[], yticks=[], title=f"row {self.row}, column {self.column}")
        photo.spines[:].set_visible(False)
        plots.frame_patch(photo, *patch, views.patch_size)
        heads = "mean of heads" if self.chosen_head is None else f"head {self.head}"
        weights = views.attention(*patch, self.block, self.chosen_head)
        plots.map_over_photo(attention, views.input_picture, weights, patch, f"attention, block {self.block}, {heads}")
        similarity = views.similarity(*patch, self.step, self.block)
        title = f"likeness, {_named(self.step, self.block)}"
        plots.map_over_photo(likeness, views.input_picture, similarity, patch, title, diverging=True)
        plots.draw_planes(below, views.vector(*patch), views.pixels(*patch))
        return figure

    def _see(self, row: int, column: int, block: int, head: int, step: str) -> dict[str, object]:
        views, chosen_head = self.views, None if head == MEAN_OF_HEADS else head
        attention = views.attention(row, column, block, chosen_head)
        similarity = views.similarity(row, column, step, block)
        vector = views.vector(row, column)
        peak = [int(place) for place in divmod(int(attention.argmax()), views.grid_size)]
        here = float(attention[row, column])
        rows, columns = views.photo_grid
        padding = row >= rows or column >= columns
        of_block = f", block={block}" if step == "encoder_block" else ""
        of_head = "all heads" if chosen_head is None else f"head {head}"
        return {
            "attention": coloured((attention / attention.max()).sqrt(), style.SEQUENTIAL),
            "similarity": coloured(similarity / 2 + 0.5, style.DIVERGING),
            "planes": [coloured(plane, style.DIVERGING) for plane in _planes(vector, views.patch_size)],
            "side": views.patch_size,
            "peak": peak,
            "words": (
                f"Patch in row {row}, column {column}{' (padding, no part of the photo)' if padding else ''}. In block "
                f"{block}, {of_head}, it attends most to row {peak[0]}, column {peak[1]}, with "
                f"{float(attention.max()):.1%} of its attention; to itself with {here:.1%}. By "
                f"{_named(step, block)}, {float((similarity[:rows, :columns] > 0.5).float().mean()):.0%} of the "
                "photo's patches are like it (cosine above 0.5)."
            ),
            "code": (
                f"views.vector({row}, {column})\n"
                f"views.attention({row}, {column}, block={block}, head={chosen_head})\n"
                f"views.similarity({row}, {column}, step={step!r}{of_block})"
            ),
            "error": "",
        }


def _named(step: str, block: int) -> str:
    """A step of ``STEPS_TO_COMPARE`` in words: "encoder block 2", "image embedding"."""
    return f"encoder block {block}" if step == "encoder_block" else step.replace("_", " ")


def _planes(vector: Float[Tensor, " values"], side: int) -> Float[Tensor, "3 p p"]:
    """Red, green and blue plane of a patch vector, 0…1 with zero in the middle."""
    planes = vector.reshape(3, side, side)
    return planes / (2 * planes.abs().max() + 1e-12) + 0.5
