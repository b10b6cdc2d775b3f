"""What every test stands on: shapes that are checked at run time, and a fixed number of threads."""

import os

from jaxtyping import install_import_hook

# Before anything imports samlite: from here on every jaxtyping annotation in it is checked on every call.
# An int is welcome where a float is asked for, as Python's own typing rules say.
install_import_hook("samlite", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import torch  # noqa: E402

torch.set_num_threads(min(2, os.cpu_count() or 1))
