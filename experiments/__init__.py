"""Runners: one file for each published claim, each with a config, a run and its figures."""

import sys

from msr.runs import signals as _signals

if sys.argv[:1] == ["-m"]:  # what Python puts there while ``python -m`` imports a package
    _signals.quiet_start()
