"""One question a file; ``python -m benchmarks`` asks them all and writes ``benchmarks/results/README.md``.

A benchmark is a module of this folder; what benchmarks share lies in the folders within. Its docstring's first line is
the question. It defines, with nothing done at import and no optional package imported there:

- ``run(*, quick: bool, ...) -> dict``: measures, prints progress, and returns what JSON can hold. ``quick`` means a few
  seconds, to see that it works. Its other options are keywords with a default.
- ``tables(results) -> {caption: (header, rows)}``: what was measured, as strings, from ``run``'s dictionary after JSON.
- ``headlines(results) -> [Headline(what, ours, beside, ratio), ...]``: its lines in the one table of all benchmarks;
  ``beside`` is what ours is compared with, and may be empty, as may ``ratio``.
- ``figures(results) -> {name: matplotlib figure}``: may be missing.

The types stand in :mod:`benchmarks.harness.contract`. A benchmark ends with
``if __name__ == "__main__": command(__file__)`` (:func:`benchmarks.harness.command.command`), which gives every
benchmark the same command line, ``python -m benchmarks.NAME [--quick] [--out FOLDER] [its own options]``, and writes
``FOLDER/NAME.json`` with the machine's description. ``python -m benchmarks`` and its test find a new file themselves.

``--device cuda`` (layers, scaling) waits for the device before it reads the clock. No GPU was at hand yet, so that
path has not been run.
"""
