"""Words: what can be said about a scene of coloured shapes, and how a phrase becomes numbers.

Letters: X phrases, W words of the longest phrase.
"""

import difflib
import re
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

COLOURS = ("red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink")
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")
FILLERS = ("a", "an", "the")
WORDS = ("", *FILLERS, *COLOURS, *SHAPES)  # number 0 is no word: it fills up short phrases

PAIRS = tuple((colour, shape) for colour in range(len(COLOURS)) for shape in range(len(SHAPES)))
# One pair of every colour is never shown in training. The shapes take turns, so each is seen in most colours.
HELD_OUT = tuple((colour, (2 * colour + colour // 3) % len(SHAPES)) for colour in range(len(COLOURS)))
SEEN = tuple(pair for pair in PAIRS if pair not in HELD_OUT)


def describe(pair: tuple[int, int], form: int = 0) -> str:
    """(colour, shape) → "red star"; form 1 says "a red star" (or "an …"), form 2 "the red star"."""
    colour, shape = COLOURS[pair[0]], SHAPES[pair[1]]
    article = ("", "an " if colour[0] in "aeiou" else "a ", "the ")[form]
    return f"{article}{colour} {shape}"


class Tokenizer:
    """Phrases → word numbers. It knows ``WORDS`` and nothing else."""

    words = WORDS

    def __call__(self, phrases: str | Sequence) -> Int[Tensor, "x w"]:
        """X phrases → (X, W): the number of every word, 0 where a phrase is shorter than the longest.

        Case and punctuation do not count. Raises TypeError when a phrase is no string; ValueError that lists the known
        words when one has a word that is not among them, or no word at all.
        """
        phrases = [phrases] if isinstance(phrases, str) else list(phrases)
        if not phrases:
            raise ValueError("there is no phrase: give a string, or a list of at least one")
        rows = [self._numbers(phrase) for phrase in phrases]
        longest = max(map(len, rows))
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows])

    def _numbers(self, phrase: Any) -> list[int]:
        if not isinstance(phrase, str):
            raise TypeError(f"a phrase must be a string, not {type(phrase).__name__} ({phrase!r:.40})")
        words = re.findall(r"[^\W_]+", phrase.lower())
        unknown = [word for word in words if word not in WORDS]
        meaningful = [word for word in words if word not in FILLERS]
        if unknown or not meaningful:
            problem = f"does not know {', '.join(map(repr, unknown))}" if unknown else "finds no word to go by"
            close = difflib.get_close_matches(unknown[0], WORDS[1:], n=1) if unknown else []
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(
                f"this text model {problem} in {phrase!r}{hint}: it knows the colours {', '.join(COLOURS)}, the shapes "
                f"{', '.join(SHAPES)}, and the articles {', '.join(FILLERS)}"
            )
        return [WORDS.index(word) for word in words]
