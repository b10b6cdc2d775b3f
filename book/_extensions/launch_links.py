"""Sphinx extension: links that open a chapter on somebody else's computer, once the public address is known.

The one place for the address is `repository: url:` in `_config.yml`. Without one there are no buttons, for they would
lead nowhere. The directive `{launch-links}` says on its page which of the two is the case, and what to type.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective

NOT_YET = """\
This copy of the book does not know a public address of its repository, so its pages have no such button. To switch
them on, write the address of the repository on GitHub into `book/_config.yml`, after `url:` under `repository:`, and
build the book again. That is the only place.
"""
LINKS = """\
Every chapter of this copy has a rocket at its top, with a link to Binder and one to Colab. The chapters come from
<{url}>, branch `{branch}`.

In Colab, run this in a cell of its own before the first cell of the chapter:

    !git clone --quiet --depth 1 --branch {branch} {url} samlite_repository
    %pip install --quiet -e "samlite_repository[notebook]"
    %cd samlite_repository/notebooks

It brings the figures that some chapters read, too. Restart the kernel afterwards, and run the `%cd` line again.
"""


def without_an_address_no_buttons(app: Sphinx, config: Config) -> None:
    if not config.html_theme_options.get("repository_url"):
        config.html_theme_options.pop("launch_buttons", None)


class LaunchLinks(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        options = self.config.html_theme_options
        url, branch = options.get("repository_url"), options.get("repository_branch")
        return self.parse_text_to_nodes(LINKS.format(url=url, branch=branch) if url else NOT_YET)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", without_an_address_no_buttons)
    app.add_directive("launch-links", LaunchLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
