"""What every test stands on: shapes that are checked at run time, one thread, and a garbage collector that is quick."""

from jaxtyping import install_import_hook

# Before anything imports samlite: from here on every jaxtyping annotation in it is checked on every call.
# An int is welcome where a float is asked for, as Python's own typing rules say.
install_import_hook("samlite", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import gc  # noqa: E402
import random  # noqa: E402
import signal  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts us in the background has it ignored
torch.set_num_threads(1)  # the tests' tensors are small: threads would wait for each other longer than they work


@pytest.fixture(autouse=True)
def the_same_chance():
    """What a test draws does not depend on which tests its worker has run before."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def what_is_imported_is_no_garbage():
    """A million objects of modules stay: `gc.collect`, which benches call often, need not look at them each time."""
    gc.freeze()
