"""Touch a prompt: move a point over a photo, see what its token is made of and which cells have a like code (§1.7.1).

The kernel computes and colours, `prompt_token_explorer.js` draws. A choice travels as four small traits, the answer as
one dict of a few kilobytes. What the hand does, `look` does in code and `picture` on the printed page.
"""

from __future__ import annotations

import traitlets
from matplotlib.figure import Figure

from samlite.notebook import plots, prompt_plots, style
from samlite.notebook.explorer import Explorer, browser_side, coloured, png_of
from samlite.notebook.prompt_token_views import TERMS, PromptTokenViews
from samlite.prompt_encoder import POINT_TYPES

ALIKE = 0.5  # the cosine above which two codes count as alike in the words


class PromptTokenExplorer(Explorer):
    """A photo with one prompt point that can be moved: by mouse, by touch, by arrow keys, or by ``look`` in code.

        views = PromptTokenViews(sam, photo)
        explorer = PromptTokenExplorer(views, x=220, y=130)
        explorer                                                # the widget
        explorer.look(x=230, kind="first corner")               # the same in code; x, y in pixels of the photo
        explorer.picture()                                      # the same for the printed page

    ``kind`` is one of ``POINT_TYPES``; ``term`` is one of ``TERMS``, the part of the code by which likeness is
    measured. Raises ValueError for a pixel, a kind or a term that is not there.
    """

    _CHOICES = ("x", "y", "kind", "term")
    _esm = browser_side("prompt_token_explorer.js")

    picture_file = traitlets.Bytes().tag(sync=True)
    x = traitlets.Float(0.0).tag(sync=True)
    y = traitlets.Float(0.0).tag(sync=True)
    kind = traitlets.Unicode("foreground point").tag(sync=True)
    term = traitlets.Unicode(TERMS[0]).tag(sync=True)

    def __init__(
        self,
        views: PromptTokenViews,
        x: float | int = 0,
        y: float | int = 0,
        kind: str = "foreground point",
        term: str = TERMS[0],
    ) -> None:
        super().__init__()
        self.views = views
        self.picture_file = png_of(views.patches.input_picture)
        height, width = views.predictor.frames.original_size
        input_height, input_width = views.predictor.frames.input_size
        self.sizes = {
            "grid": views.grid_size,
            "channels": views.channels,
            "side": views.encoder.image_size,
            "photo": [width, height],
            "scale": [input_width / width, input_height / height],
            "kinds": list(POINT_TYPES),
            "terms": list(TERMS),
        }
        self.look(x, y, kind=kind, term=term)
        self._listen()

    def look(
        self,
        x: float | int | None = None,
        y: float | int | None = None,
        *,
        kind: str | None = None,
        term: str | None = None,
    ) -> None:
        """Move the point to a pixel (x, y) of the photo, and choose its kind and the term. What is not given stays."""
        self._choose(
            {
                "x": self.x if x is None else float(x),
                "y": self.y if y is None else float(y),
                "kind": self.kind if kind is None else kind,
                "term": self.term if term is None else term,
            }
        )

    def __repr__(self) -> str:  # ipywidgets would write out every byte of the photo
        return f"PromptTokenExplorer(x={self.x:g}, y={self.y:g}, kind={self.kind!r}, term={self.term!r})"

    def figure(self) -> Figure:
        """What is shown, as a figure: photo and likeness above, the summands of the token below."""
        views = self.views
        picture, cell = views.patches.input_picture, views.cell_at(self.x, self.y)
        figure = Figure(figsize=(10, 8.4), layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=[4.6, 3.8])
        photo, likeness = above.subplots(1, 2)
        photo.imshow(picture)
        photo.set(xticks=[], yticks=[], title=f"{self.kind} at x = {self.x:g}, y = {self.y:g}")
        photo.spines[:].set_visible(False)
        prompt_plots.mark(photo, *(side * views.encoder.image_size - 0.5 for side in self.reply["place"]), self.kind)
        similarity = views.similarity(self.x, self.y, self.term)
        plots.map_over_photo(likeness, picture, similarity, cell, f"likeness by {self.term}", diverging=True)
        prompt_plots.draw_summands(below, views.summands(self.x, self.y, self.kind))
        return figure

    def _see(self, x: float, y: float, kind: str, term: str) -> dict[str, object]:
        views = self.views
        parts, similarity = views.summands(x, y, kind), views.similarity(x, y, term)
        strips = {**parts, "token, their sum": views.token(x, y, kind)}
        limit = max(float(strip.abs().max()) for strip in strips.values()) or 1.0
        row, column = views.cell_at(x, y)
        best = [int(place) for place in divmod(int(similarity.argmax()), views.grid_size)]
        where = "the one that it lies in" if best == [row, column] else f"it lies in row {row}, column {column}"
        lengths = {name: f"{float(strip.norm()):.1f}" for name, strip in strips.items()}
        colours = {name: coloured(strip[None] / limit / 2 + 0.5, style.DIVERGING) for name, strip in strips.items()}
        return {
            "place": views.place(x, y)[0, 0].tolist(),
            "cell": [row, column],
            "similarity": coloured(similarity / 2 + 0.5, style.DIVERGING),
            "strips": [{"name": name, "length": length, "colours": colours[name]} for name, length in lengths.items()],
            "words": (
                f"{kind.capitalize()} at x = {x:g}, y = {y:g}. By {term}, it is most like the cell in row {best[0]}, "
                f"column {best[1]}, with a cosine of {float(similarity.max()):.2f}; {where}. "
                f"{float((similarity > ALIKE).float().mean()):.0%} of all cells are like it (cosine above {ALIKE}). "
                f"Lengths: {', '.join(f'{name} {length}' for name, length in lengths.items())}."
            ),
            "code": f"views.summands({x:g}, {y:g}, kind={kind!r})\nviews.similarity({x:g}, {y:g}, term={term!r})",
            "error": "",
        }
