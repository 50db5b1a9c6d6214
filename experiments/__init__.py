"""Runners: one file for each published claim, each with a config, a run and its figures.

``figures/`` holds the figures and tables of the two runners that have most, ``shared/`` what several runners use.
"""

import sys

from msr.runs import signals as _signals

# While ``python -m`` imports a package, Python puts "-m" in the place of the program's name.
if sys.argv[:1] == ["-m"]:
    _signals.quiet_start()
