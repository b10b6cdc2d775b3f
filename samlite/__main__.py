"""``python -m samlite COMMAND``: see `samlite.command_line`.

This file and `samlite/__init__.py` can be read by any Python 3: that is how an old one can say that it is too old.
"""

import shutil
import sys

MINIMUM_PYTHON = (3, 10)


def too_old():
    """One sentence when this Python is too old, with a newer one of this machine where there is one; else None."""
    if sys.version_info[:2] >= MINIMUM_PYTHON:
        return None
    newer = [name for name in ("python3.{}".format(minor) for minor in range(14, 9, -1)) if shutil.which(name)]  # noqa: UP032
    hint = "use `" + newer[0] + " -m samlite` instead" if newer else "install a newer one from python.org"
    return "samlite needs Python 3.10 or newer and this is " + sys.version.split()[0] + ": " + hint + "."


if __name__ == "__main__":
    if too_old():
        sys.exit(too_old())

    from samlite.command_line import main

    sys.exit(main())
