"""What the explorers share is written once: in `explorer.py`, and in `explorer_parts.js`, which is put before each."""

from itertools import combinations
from pathlib import Path

import pytest
import traitlets

from samlite import notebook
from samlite.notebook.decoder_explorer import DecoderExplorer
from samlite.notebook.explorer import Explorer, browser_side
from samlite.notebook.frames_explorer import FramesExplorer
from samlite.notebook.patch_explorer import PatchExplorer
from samlite.notebook.prompt_token_explorer import PromptTokenExplorer

FOLDER = Path(notebook.__file__).parent
NAMES = ("patch", "prompt_token", "decoder", "frames")
EXPLORERS = (PatchExplorer, PromptTokenExplorer, DecoderExplorer, FramesExplorer)


def lines(file):
    text = (FOLDER / file).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip(" {}()[];,")]


@pytest.mark.parametrize("ending", ["py", "js"])
@pytest.mark.parametrize("one, other", list(combinations(NAMES, 2)))
def test_no_two_explorers_share_more_than_a_few_lines_in_a_row(one, other, ending):
    first, second = (lines(f"{name}_explorer.{ending}") for name in (one, other))
    longest = {(i, -1): 0 for i in range(-1, len(first))} | {(-1, j): 0 for j in range(len(second))}
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            longest[i, j] = longest[i - 1, j - 1] + 1 if a == b else 0
    (i, _), run = max(longest.items(), key=lambda item: item[1])
    assert run < 10, "in both: " + "\n".join(first[i - run + 1 : i + 1])


@pytest.mark.parametrize("name, kind", list(zip(NAMES, EXPLORERS, strict=True)))
def test_the_browser_gets_one_file_that_needs_no_other(name, kind):
    code = kind._esm
    assert str(code) == browser_side(f"{name}_explorer.js") and "function live(" in str(code)
    assert "import " not in str(code) and str(code).count("export default") == 1
    assert "http" not in str(code)  # nothing is fetched


class Doubling(Explorer):
    """The smallest explorer: it doubles, and counts how often it was asked."""

    _CHOICES = ("first", "second")
    _esm = "export default { render() {} };"
    first = traitlets.Int(0).tag(sync=True)
    second = traitlets.Int(0).tag(sync=True)

    def __init__(self):
        super().__init__()
        self.asked = 0
        self._choose({"first": 1, "second": 2})
        self._listen()

    def _see(self, first, second):
        self.asked += 1
        if first > 9:
            raise ValueError("first is at most 9")
        return {"words": f"{2 * first} and {2 * second}", "code": f"2 * {first}, 2 * {second}", "error": ""}


def test_a_choice_in_code_is_answered_once():
    explorer = Doubling()
    assert explorer.describe() == "2 and 4" and explorer.code == "2 * 1, 2 * 2" and explorer.asked == 1
    explorer._choose({"first": 3, "second": 4})
    assert explorer.describe() == "6 and 8" and explorer.asked == 2


def test_a_choice_in_the_browser_is_answered_and_its_error_is_shown():
    explorer = Doubling()
    explorer.set_state({"second": 5})
    assert explorer.describe() == "2 and 10"
    explorer.set_state({"first": 10})
    assert explorer.reply["error"] == "ValueError: first is at most 9" and explorer.describe() == "2 and 10"
    explorer.set_state({"first": 9})
    assert explorer.reply["error"] == "" and explorer.describe() == "18 and 10"


def test_a_choice_that_is_not_there_changes_nothing():
    explorer = Doubling()
    with pytest.raises(ValueError, match="at most 9"):
        explorer._choose({"first": 10, "second": 0})
    assert (explorer.first, explorer.second, explorer.describe()) == (1, 2, "2 and 4")
