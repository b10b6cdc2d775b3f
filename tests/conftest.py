"""What every test stands on: shapes that are checked at run time, and a fixed number of threads."""

import os

from jaxtyping import install_import_hook

# Before anything imports samlite: from here on every jaxtyping annotation in it is checked on every call.
install_import_hook("samlite", "beartype.beartype")

import torch  # noqa: E402

torch.set_num_threads(min(2, os.cpu_count() or 1))
