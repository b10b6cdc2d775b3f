"""samlite: the Segment Anything Model, made to be read.

Names are imported when they are first used (PEP 562), so that ``python -m samlite`` can set up a machine that has
nothing but Python: ``import samlite`` alone does not need PyTorch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# Read when PyTorch is loaded: an operation that Apple's GPU lacks in some versions (antialiased resizing of a tensor)
# is done by the CPU, with a warning, in place of an error.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

# Public name -> the module that defines it.
_HOME_OF = {
    "Sam": "samlite.sam",
    "SamAutomaticMaskGenerator": "samlite.automatic",
    "SamPredictor": "samlite.predictor",
    "document_sam": "samlite.sam",
    "released_sam": "samlite.released.sam",
    "sam_model_registry": "samlite.registry",
    "shape_ledger": "samlite.notebook.ledger",
}

__all__ = [
    "Sam",
    "SamAutomaticMaskGenerator",
    "SamPredictor",
    "document_sam",
    "released_sam",
    "sam_model_registry",
    "shape_ledger",
]

if TYPE_CHECKING:  # what editors and type checkers read instead of `__getattr__`
    from samlite.automatic import SamAutomaticMaskGenerator
    from samlite.notebook.ledger import shape_ledger
    from samlite.predictor import SamPredictor
    from samlite.registry import sam_model_registry
    from samlite.released.sam import released_sam
    from samlite.sam import Sam, document_sam


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'samlite' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value  # the next access is a plain look-up
    return value


def __dir__() -> "list[str]":  # quoted for the old Pythons that must reach `__main__`
    return sorted([*__all__, "__doc__", "__version__"])
