"""The exercises of all chapters, as the tests see them."""

import pkgutil
import re
from importlib import import_module

import samlite.notebook

MODULES = [
    import_module(f"samlite.notebook.{module.name}")
    for module in pkgutil.iter_modules(samlite.notebook.__path__)
    if re.fullmatch(r"exercises_\d\d[a-z]?", module.name)
]
EXERCISES = [exercise for module in MODULES for exercise in module.EXERCISES]
