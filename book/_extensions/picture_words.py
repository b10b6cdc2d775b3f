"""Sphinx extension: a picture that a cell shows keeps its alternative text on the page.

`IPython.display.Image(..., alt="…")` stores the text in the output's metadata, where JupyterLab finds it; MyST-NB reads
width and height from there and leaves the text behind.
"""

from docutils import nodes
from myst_nb.core.render import MimeData, NbElementRenderer
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    without_words = NbElementRenderer.render_image

    def render_image(self: NbElementRenderer, data: MimeData) -> list[nodes.Element]:
        pictures = without_words(self, data)
        words = data.output_metadata.get(data.mime_type, {}).get("alt")
        for picture in pictures if words else []:
            picture["alt"] = words
        return pictures

    NbElementRenderer.render_image = render_image
    return {"parallel_read_safe": True, "parallel_write_safe": True}
