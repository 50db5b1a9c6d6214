"""A runner with many settings and seeds: ``python -m experiments.sweep NAME --seeds 5 --grid inner_rate=0.1,0.4``.

Every run is a process of its own, ``python -m experiments.NAME`` with a folder of its own, so threads, signals, locks
and continuing are those of a run that was started by hand. joblib starts the processes here, submitit on Slurm.

:mod:`~experiments.sweep.flags` reads the command line, :mod:`~experiments.sweep.plan` makes runs of it and checks them
all, :mod:`~experiments.sweep.job` is one run, :mod:`~experiments.sweep.engines` start many, and
:mod:`~experiments.sweep.summary` makes one table of what they found.
"""
