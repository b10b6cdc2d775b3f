"""``python -m samlite lab``: JupyterLab, open on the first chapter. Standard library only."""

from __future__ import annotations

import argparse
import os
from typing import NoReturn

from samlite import environment

FIRST_CHAPTER = "notebooks/00_start_here.ipynb"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--port", type=int, help="the port to listen on (8888, or the next free one)")
    parser.add_argument("--cpu", action="store_true", help="install PyTorch's smaller build without CUDA (Linux)")


def jupyter_arguments(browser: bool = True, port: int | None = None) -> list[str]:
    """What follows `python` to open JupyterLab on the first chapter, with the whole repository in its file browser."""
    arguments = [
        "-m", "jupyterlab",
        f"--ServerApp.root_dir={environment.ROOT}",
        f"--LabApp.default_url=/lab/tree/{FIRST_CHAPTER}",  # in the printed address too, unlike a file's name
    ]  # fmt: skip
    if not browser:
        arguments.append("--no-browser")
    if port is not None:
        arguments.append(f"--port={port}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--allow-root")  # a container; Jupyter listens on this machine alone, behind its token
    return arguments


def run(arguments: argparse.Namespace) -> NoReturn:
    """Makes sure that all is installed, then becomes JupyterLab. Raises `SetupError`."""
    python = environment.python_for("lab", cpu=arguments.cpu)
    print(f"Opening {FIRST_CHAPTER} in JupyterLab. Ctrl+C here stops it.", flush=True)
    environment.replace_process(python, jupyter_arguments(not arguments.no_browser, arguments.port))
