"""Sphinx extension: "chapter 07" in a page of the book is a link to that chapter, once the chapter is there.

So the glossary may speak of all chapters while some are still being written. In "chapters 00 and 05" both numbers are
links. Pages that are notebooks keep their text as it is: they must read the same in JupyterLab.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx

NUMBERS = re.compile(r"\bchapters? (\d\d[a-z]?\b(?:(?:, | and |, and )\d\d[a-z]?\b)*)")


def link_chapters(app: Sphinx, document: nodes.document) -> None:
    here = app.env.docname
    if here.startswith("notebooks/"):
        return
    found = (re.match(r"notebooks/(\d\d[a-z]?)_", name) for name in app.env.found_docs)
    chapters = {match[1]: match.string for match in found if match}
    for text in list(document.findall(nodes.Text)):
        if isinstance(text.parent, (nodes.reference, nodes.title, nodes.literal, nodes.literal_block)):
            continue
        pieces: list[nodes.Node] = []
        end = 0
        for numbers in NUMBERS.finditer(text):
            for number in re.finditer(r"\d\d[a-z]?", numbers[0]):
                if number[0] in chapters:
                    start = numbers.start() + number.start()
                    address = "../" + chapters[number[0]] + ".html"
                    link = nodes.reference("", number[0], refuri=address, internal=True)
                    pieces += [nodes.Text(text[end:start]), link]
                    end = start + len(number[0])
        if pieces:
            text.parent.replace(text, [*pieces, nodes.Text(text[end:])])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", link_chapters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
