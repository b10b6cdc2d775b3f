"""``python -m samlite COMMAND``: one table of commands, and the way from a command to the code that carries it out.

A command's module is imported when the command is called, so that those that set things up run without PyTorch.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from samlite import __version__, environment


class Command(NamedTuple):
    """Where a command lives: a module, and the names of two functions in it."""

    summary: str
    module: str
    add_arguments: str = "add_arguments"  # (parser) -> None
    run: str = "run"  # (parsed arguments) -> exit code
    needs: str = ""  # a key of `environment.NEEDS`: what must be installed before its module can be imported


COMMANDS = {
    "lab": Command("open JupyterLab on the first chapter, after installing what is missing", "samlite.lab"),
    "test": Command("run every check, after installing what is missing", "samlite.checks"),
    "book": Command("bind the chapters into pages, and say where they are", "samlite.book"),
    "doctor": Command("say what this machine has and what is missing", "samlite.doctor"),
    "segment": Command("cut an object out of a photo by points and boxes", "samlite.segment_command", needs="run"),
    "automatic": Command(
        "find every object of a photo, or of a folder of photos", "samlite.automatic_command", needs="run"
    ),
    "download": Command("fetch one of Meta's checkpoints, and check it", "samlite.download_command", needs="run"),
    "export": Command("write a model as ONNX files, and check them", "samlite.export_command", needs="run"),
    "annotate": Command(
        "automatic masks for a folder of photos, on one machine or many", "samlite.annotate_command", needs="run"
    ),
    "parity": Command(
        "compare the released model with other people's numbers, stage by stage",
        "samlite.parity_command", needs="run",
    ),
    "bench": Command("measure every stage beside other packages", "samlite.bench_command", needs="compute"),
    "train": Command(
        "train a small model from nothing",
        "samlite.learning.commands", "add_train_arguments", "run_train", needs="compute",
    ),
    "pretrain": Command(
        "train an image encoder without labels, as a masked autoencoder",
        "samlite.learning.pretrain_command", needs="run",
    ),
    "evaluate": Command(
        "measure a model on generated scenes and on photos",
        "samlite.learning.commands", "add_evaluate_arguments", "run_evaluate", needs="run",
    ),
    "fine-tune": Command(
        "teach a model what you mean by an object, from a few photos with masks",
        "samlite.learning.fine_tuning_command", needs="run",
    ),
    "engine": Command(
        "annotate and train in turns: the data engine of §1.4 in small",
        "samlite.learning.engine_command", needs="run",
    ),
    "vit-h": Command(
        "measure the full ViT-H, the document's and the released one", "samlite.full_size_command", needs="compute"
    ),
    "handout": Command(
        "write a homework notebook with numbers of its own",
        "samlite.teaching_commands", "add_handout_arguments", "run_handout", needs="lab",
    ),
    "grade": Command(
        "run notebooks that were handed in and give points",
        "samlite.teaching_commands", "add_grade_arguments", "run_grade", needs="lab",
    ),
    "slides": Command(
        "write a chapter as slides that open without a network",
        "samlite.teaching_commands", "add_slides_arguments", "run_slides", needs="lab",
    ),
}  # fmt: skip
LONG = ("train", "pretrain", "engine", "fine-tune")  # nobody clicks meanwhile: spinning saves a third of the time


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The parser that lists every command and knows the arguments of `chosen`."""
    parser = argparse.ArgumentParser(
        prog="python3 -m samlite",
        description="The Segment Anything Model, built and trained tensor by tensor.",
        epilog="`python3 -m samlite COMMAND --help` says more about one command.",
    )
    parser.add_argument("--version", action="version", version=f"samlite {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        summary = command.summary
        subparser = subparsers.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == chosen:
            getattr(import_module(command.module), command.add_arguments)(subparser)
    return parser


def positive(text: str) -> int:
    """A whole number from 1 on, for argparse."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number, at least 1, is expected")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Carries out one command. Errors that the user can mend become one sentence and exit code 2."""
    argv = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in argv if not word.startswith("-")), None)
    if chosen not in LONG:
        # Read by OpenMP when PyTorch is loaded, here or in a kernel: threads that wait sleep. By default they spin, and
        # where a browser keeps a core busy, a click that needs milliseconds takes a quarter of a second.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        if chosen in COMMANDS and chosen not in ("lab", "test", "book"):
            _go_where_it_runs(COMMANDS[chosen], argv)
        arguments = build_parser(chosen).parse_args(argv)
        command = COMMANDS[arguments.command]
        return getattr(import_module(command.module), command.run)(arguments)
    except (environment.SetupError, ValueError, OSError, MemoryError) as error:
        if os.environ.get("SAMLITE_TRACEBACK"):
            raise
        print(f"samlite: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("samlite: stopped", file=sys.stderr)
        return 130


def _go_where_it_runs(command: Command, argv: list[str]) -> None:
    """Goes on in `.venv` when this interpreter lacks something and `.venv` has it.

    Raises `SetupError` when neither has it and the command cannot do without.
    """
    lacking = environment.lacking(command.needs or "run")
    if not lacking:
        return
    if environment.environment_is_ready("run") and not environment.inside_own_environment():
        environment.replace_process(environment.environment_python(), ["-m", "samlite", *argv])
    if command.needs:
        raise environment.SetupError(
            f"{lacking[0]} for {sys.executable}: `python3 -m samlite lab` installs everything into .venv, "
            "`pip install -r requirements.txt` into the environment that you are in."
        )
