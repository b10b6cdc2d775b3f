"""What every chapter does first and last: set the style and check shapes; say how long it took and how much memory."""

from __future__ import annotations

import os
import time

from jaxtyping import install_import_hook


class Chapter:
    """One run of one chapter; made by ``begin``."""

    def __init__(self) -> None:
        self.started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since ``begin``."""
        return time.perf_counter() - self.started

    @property
    def peak_megabytes(self) -> float | None:
        """The most memory that this kernel has held at once, None where the system does not say."""
        from samlite.free_memory import peak_megabytes  # not before `begin`: its shapes would stay unchecked

        return peak_megabytes()

    def __repr__(self) -> str:
        memory = "" if self.peak_megabytes is None else f"; the kernel held {self.peak_megabytes:.0f} MB at most"
        return f"This chapter took {self.seconds:.0f} seconds{memory}."


def begin() -> Chapter:
    """Start a chapter: its clock runs, pictures get the book's style, and every shape annotation is checked.

    Call it before anything else of samlite is imported: modules that are imported already stay unchecked.
    """
    chapter = Chapter()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads sleep while they wait for each other
    install_import_hook("samlite", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
    from samlite.notebook import style

    style.apply()
    return chapter
