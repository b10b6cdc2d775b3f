"""``python -m samlite book``: the chapters as pages, and as one PDF on request. Standard library only."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path

from samlite import environment

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC_BROWSER = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
# Virtual milliseconds in which the formulas of all chapters are drawn before the page goes to the printer.
TIME_FOR_FORMULAS = 300_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pdf", type=Path, metavar="FILE", help="also print the whole book into one PDF (needs Chromium)"
    )
    parser.add_argument("--cpu", action="store_true", help="install PyTorch's smaller build without CUDA (Linux)")


def build_arguments(output: Path | str = "book", builder: str = "html") -> list[str]:
    """What follows `python`, at the root of the repository, to build the book; a warning is an error."""
    start = "from jupyter_book.cli.main import main; main()"  # version 1 has no `python -m jupyter_book`
    places = ["--config", "book/_config.yml", "--toc", "book/_toc.yml", "--path-output", str(output)]
    return ["-c", start, "build", ".", *places, "--builder", builder, "--all", "-W"]


def build(python: Path, output: Path | str = "book", builder: str = "html") -> Path:
    """Build the book; returns the folder of its pages. Raises `SetupError` with the end of what the builder said."""
    done = subprocess.run(
        [str(python), *build_arguments(output, builder)],
        cwd=environment.ROOT, env=environment.child_variables(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    if done.returncode != 0:
        raise environment.SetupError(f"the book could not be built:\n{done.stdout[-3000:]}")
    return environment.ROOT / output / "_build" / builder


def one_page(python: Path, output: Path | str = "book") -> Path:
    """The whole book as one page, for printing."""
    folder = build(python, output, "singlehtml")
    # The builder names styles and pictures as seen from `folder`, but puts the page where the first chapter lies.
    return Path(shutil.copy(folder / "book" / "index.html", folder / "whole-book.html"))


def browser() -> str | None:
    """The path of a Chromium or Chrome: of `SAMLITE_CHROMIUM`, of the search path, or where a Mac has it."""
    found = os.environ.get("SAMLITE_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    return found or (MAC_BROWSER if Path(MAC_BROWSER).is_file() else None)


def print_pdf(page: Path, pdf: Path) -> None:
    """Print a page into a PDF with its headings as bookmarks.

    Raises `SetupError` without a browser, or when it prints nothing.
    """
    program = browser()
    if program is None:
        raise environment.SetupError(
            "--pdf needs Chromium or Chrome: install one, or name its program in SAMLITE_CHROMIUM. "
            "Without it, open a page in any browser and print it there."
        )
    pdf.unlink(missing_ok=True)
    command = [
        program, "--headless", "--disable-gpu", "--no-pdf-header-footer", f"--print-to-pdf={pdf.resolve()}",
        "--generate-pdf-document-outline", f"--virtual-time-budget={TIME_FOR_FORMULAS}",
    ]  # fmt: skip
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--no-sandbox")  # a container
    said = subprocess.run([*command, page.resolve().as_uri()], capture_output=True, text=True, errors="replace")
    if not pdf.is_file():
        raise environment.SetupError(f"{program} printed nothing:\n{said.stderr[-1000:]}")


def run(arguments: argparse.Namespace) -> int:
    """Builds the book and says where it lies. Raises `SetupError`."""
    python = environment.python_for("book", cpu=arguments.cpu)
    print("Building the book (the chapters are not run again)…", flush=True)
    first = build(python) / "index.html"
    print(f"Open {first}\nor, in a browser's address line, {first.as_uri()}", flush=True)
    if arguments.pdf:
        print("Printing…", flush=True)
        print_pdf(one_page(python), arguments.pdf)
        print(f"Open {arguments.pdf.resolve()}", flush=True)
    return 0
