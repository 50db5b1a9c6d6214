"""Modules that other people wrote, each with what theory says of it; a file a library, run by a Python that has it.

``python -m benchmarks.foreign NAME`` judges the cases of ``cases_NAME.py`` and prints a line of JSON for each. A case
is a question to the checkers (a function, its group, how the group moves inputs and outputs) and the answer that the
authors of the module, or a proof of a line, give. ``benchmarks/foreign_modules.py`` collects the answers.
"""
