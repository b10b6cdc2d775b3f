"""What every chapter costs: seconds and memory, written when it is executed, read by the page of run times.

One small file for each chapter, ``book/results/run_times/05_image_encoder.json``, so that two chapters that run side by
side do not touch the same file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "book" / "results" / "run_times"

# Runs in the chapter's kernel after its last cell. The processor time counts all threads; unlike the seconds it does
# not grow when other programs are busy on the machine.
PROBE = """
import json as _json, os as _os, platform as _platform, sys as _sys

_told = {"cpu_seconds": None, "peak_megabytes": None, "device": "cpu"}
_told["cores"] = len(_os.sched_getaffinity(0)) if hasattr(_os, "sched_getaffinity") else _os.cpu_count()
try:
    import resource as _resource  # not on Windows

    _used = _resource.getrusage(_resource.RUSAGE_SELF)
    _unit = 2**20 if _sys.platform == "darwin" else 2**10  # bytes there, kilobytes elsewhere
    _told["peak_megabytes"] = round(_used.ru_maxrss / _unit)
    if _os.path.exists("/proc/self/status"):  # the figure above begins with what the program that started this held
        _told["peak_megabytes"] = round(int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 2**10)
    _told["cpu_seconds"] = round(_used.ru_utime + _used.ru_stime, 1)
except ImportError:
    pass
_told["system"] = f"{_platform.system()} {_platform.machine()}"
_told["python"] = _platform.python_version()
_torch = _sys.modules.get("torch")
_told["torch"] = _torch.__version__ if _torch else None
_told["threads"] = _torch.get_num_threads() if _torch else 1
if _torch and _torch.cuda.is_initialized():
    _told["device"] = _torch.cuda.get_device_name()
print(_json.dumps(_told))
"""


def load() -> float | None:
    """How many programs wanted a core in the last minute, None where the system does not say."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def keep(path: Path, cost: dict[str, Any], folder: Path = FOLDER) -> None:
    """Write down what a run of the notebook at ``path`` cost; only chapters of this repository are kept."""
    if path.resolve().parent != ROOT / "notebooks":
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{path.stem}.json").write_text(json.dumps(cost, indent=2) + "\n", encoding="utf-8")


def kept(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Chapter → what its last run cost, in the order of the chapters."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
