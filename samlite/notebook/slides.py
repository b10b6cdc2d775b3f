"""``python -m samlite slides 05``: a chapter as slides, in one file that opens without a network.

The chapter's structure is the rule, and authors need do nothing for it. ``##`` begins a slide, ``###`` and whatever
would be too much for one slide goes below it. A cell stands on the slide of the text before it. The code of a picture
is folded, and so is code of more than 12 lines, or of more than 17 together with what it printed. The exercises and
what follows them are left out.
"""

from __future__ import annotations

import argparse
import base64
import html
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbconvert.filters.highlight import Highlight2HTML
from nbconvert.filters.markdown_mistune import markdown2html_mistune
from PIL import Image
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "book" / "_static" / "vendor"
PAGE = Path(__file__).with_name("slides.html")
LINES_SHOWN, LINES_TOGETHER = 12, 17  # of code; of code and of what it printed
WORDS_A_SLIDE = 75
WIDE = 1.9  # width over height of a picture that would be too small beside its text
_LINK = re.compile(r"\[([^\]]+)\]\((?:\.\./|#|\w+\.ipynb)[^)]*\)")  # to the glossary, to chapters: no use in one file
_WIDGET = "application/vnd.jupyter.widget-view+json"


class Slide(NamedTuple):
    """``opens``: begins a new column; the others stand below the one before."""

    opens: bool
    title: str
    text: str = ""
    shown: str = ""  # code and what came out of it

    @property
    def body(self) -> str:
        """Text beside a picture, above a wide one and above anything else."""
        if self.text and "<img" in self.shown:
            return f'{self.title}<div class="pair"><div>{self.text}</div><div>{self.shown}</div></div>'
        return self.title + self.text + self.shown


def find_chapter(chapter: str) -> Path:
    """ "05" → notebooks/05_image_encoder.ipynb; a notebook's whole name is understood, too. Raises ValueError."""
    notebooks = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    found = [path for name, path in notebooks.items() if chapter in (name, name.split("_")[0])]
    if len(found) != 1:
        raise ValueError(f"there is no chapter {chapter!r}: there are {', '.join(notebooks)}")
    return found[0]


def slides_of(notebook: nbformat.NotebookNode) -> list[Slide]:
    """The slides of a chapter, up to its exercises."""
    slides: list[Slide] = []
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for level, title, text in _sections(cell.source):
                if level == 2 and title.startswith("Exercises"):
                    return slides
                heading = title or heading
                for number, part in enumerate(_portions(text) or [""]):
                    if part or title:
                        opens = bool(level) and level < 3 and number == 0
                        title_here = _titled(heading, level if number == 0 else 0)
                        slides.append(Slide(opens, title_here, _markdown(part)))
        elif cell.cell_type == "code" and cell.source.strip():
            for shown in _code_slides(cell):
                if slides and not slides[-1].shown:  # the text that led to this cell
                    slides[-1] = slides[-1]._replace(shown=shown)
                else:
                    slides.append(Slide(False, _titled(heading, 0), shown=shown))
    return slides


def _sections(source: str) -> Iterator[tuple[int, str, str]]:
    """A cell of text, cut at its headings: (level or 0, title, what follows)."""
    parts = re.split(r"^(#{1,6}) +(.*)$", _outside_code(source), flags=re.MULTILINE)
    if parts[0].strip():
        yield 0, "", parts[0]
    for marks, title, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        yield len(marks), _LINK.sub(r"\1", title), text


def _outside_code(source: str) -> str:
    """A # in a fenced block is a comment, no heading: a space in front hides it."""
    return re.sub(r"^```.*?^```", lambda found: found[0].replace("\n#", "\n #"), source, flags=re.DOTALL | re.MULTILINE)


def _portions(text: str) -> list[str]:
    """Text in portions for one slide each, cut between paragraphs, and between the points of a long list."""
    blocks = re.split(r"\n\s*\n|\n(?=[-*] |\d+\. )", text.strip())
    portions: list[list[str]] = [[]]
    for block in blocks:
        if portions[-1] and len(" ".join([*portions[-1], block]).split()) > WORDS_A_SLIDE:
            portions.append([])
        portions[-1].append(block)
    joined = ["\n".join(("" if _is_point(block) else "\n") + block for block in portion) for portion in portions]
    return [portion.strip() for portion in joined if portion.strip()]


def _is_point(block: str) -> bool:
    return re.match(r"[-*] |\d+\. ", block) is not None


def _markdown(text: str) -> str:
    return markdown2html_mistune(_LINK.sub(r"\1", text)) if text else ""


def _titled(title: str, level: int) -> str:
    """The heading of a slide; small where a slide goes on with what an earlier one began."""
    tag, kind = (f"h{min(level, 3)}", "") if level else ("p", ' class="goes-on"')
    inner = markdown2html_mistune(title).strip().removeprefix("<p>").removesuffix("</p>")
    return f"<{tag}{kind}>{inner}</{tag}>" if title else ""


def _code_slides(cell: nbformat.NotebookNode) -> Iterator[str]:
    """Code with what it printed; then each picture and each table."""
    outputs = [output for output in cell.get("outputs", []) if output.output_type != "error"]
    pictures = [shown for output in outputs if (shown := _picture(output))]
    tables = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    texts = [text for output in outputs if (text := _text(output))]
    widget = any(_WIDGET in output.get("data", {}) for output in outputs)
    shown = "".join(f'<pre class="printed">{html.escape(text)}</pre>' for text in texts)
    if widget:
        shown += "<p class='note'>Here the chapter is interactive: run this cell in JupyterLab.</p>"
    lines = len(cell.source.splitlines())
    together = lines + sum(len(text.splitlines()) for text in texts)
    code = _code(cell.source, folded=bool(pictures) or lines > LINES_SHOWN or together > LINES_TOGETHER)
    if pictures:
        yield pictures[0] + code + shown
        yield from pictures[1:]
    else:
        yield code + shown
    yield from (f'<div class="table">{table}</div>' for table in tables)


def _code(source: str, folded: bool) -> str:
    coloured = f'<div class="code">{Highlight2HTML()(source, language="python")}</div>'
    count = len(source.splitlines())
    return f"<details><summary>code, {count} lines</summary>{coloured}</details>" if folded else coloured


def _picture(output: nbformat.NotebookNode) -> str:
    for kind in ("image/png", "image/jpeg"):
        if data := output.get("data", {}).get(kind):
            about = output.get("metadata", {}).get(kind, {})
            alt = html.escape(about.get("alt", ""), quote=True)
            data = "".join(data).strip()
            width, height = Image.open(BytesIO(base64.b64decode(data))).size
            wide = ' class="wide"' if width > WIDE * height else ""
            return f'<img{wide} alt="{alt}" src="data:{kind};base64,{data}">'
    if svg := output.get("data", {}).get("image/svg+xml"):
        return "".join(svg)
    return ""


def _text(output: nbformat.NotebookNode) -> str:
    if output.output_type == "stream":
        return output.text if output.name == "stdout" else ""
    data = output.get("data", {})
    if "text/markdown" in data or set(data) != {"text/plain"}:
        return ""
    return data["text/plain"]


def page(notebook: nbformat.NotebookNode) -> str:
    """The slides as one page, with everything that they need inside it."""
    slides = slides_of(notebook)
    columns: list[list[str]] = []
    for slide in slides:
        if slide.opens or not columns:
            columns.append([])
        columns[-1].append(f'<section><div class="slide">{slide.body}</div></section>')
    body = "\n".join(f"<section>{''.join(column)}</section>" for column in columns)
    title = re.sub(r"^#+ *", "", notebook.cells[0].source.splitlines()[0])
    text = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    formulas = re.search(r"\$[^$]+\$", text)
    parts = {
        "title": html.escape(title),
        "reveal_css": (VENDOR / "reveal" / "reveal.css").read_text(encoding="utf-8"),
        "code_css": HtmlFormatter(style="default").get_style_defs(".highlight"),
        "reveal_js": _script((VENDOR / "reveal" / "reveal.js").read_text(encoding="utf-8")),
        "mathjax": _script((VENDOR / "mathjax" / "tex-svg-full.js").read_text(encoding="utf-8")) if formulas else "",
        "slides": body,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], PAGE.read_text(encoding="utf-8"))


def _script(text: str) -> str:
    return text.replace("</script", "<\\/script")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("chapter", metavar="CHAPTER", help="its number or its notebook's name: 05, failure_gallery")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.html", help="default: slides_CHAPTER.html")


def write(chapter: str, output: Path | None = None) -> tuple[Path, int]:
    """Write the slides of a chapter; returns where they are and how many. Raises ValueError for an unknown chapter."""
    notebook = nbformat.read(find_chapter(chapter), as_version=4)
    path = output or Path(f"slides_{chapter}.html")
    path.write_text(page(notebook), encoding="utf-8")
    return path, len(slides_of(notebook))
