"""``python -m msr``: the ``msr`` command."""

import sys

from msr.cli import main

if __name__ == "__main__":
    sys.exit(main())
