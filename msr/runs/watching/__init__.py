"""Watching a run: bars on a terminal, a line now and then elsewhere, events for TensorBoard, refreshed figures.

What a run tells of itself is in :mod:`msr.runs.watching.watch`; each of the other modules shows it in one way, and
:mod:`msr.runs.watching.opening` chooses among them by the flags of a run. Nothing that looks on can end a run.
"""
