"""Memory is measured in a process of its own: a peak is that of a whole process, and includes what came before."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def numbers(code: str, *arguments: str) -> list[list[float]]:
    """What a program prints, line by line.

    Arrays from 64 KiB on are asked from the system one by one, and given back. By its own rules the C library keeps
    some and cuts them up: by chance a tenth of what is to be measured, or four times as much.
    """
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**16)}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    return [list(map(float, line.split())) for line in done.stdout.splitlines()]
