"""``python -m samlite COMMAND``: see `samlite.command_line`."""

import sys

from samlite.command_line import main

if __name__ == "__main__":
    sys.exit(main())
