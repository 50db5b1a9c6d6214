"""All cells by name, and their files by number."""

import functools
import zlib

import numpy as np

from benchmarks.calibration_files.finding import family_cells, power_cells
from benchmarks.calibration_files.nulls import null_cells
from benchmarks.calibration_files.problems import Cell, File, Problem

__all__ = ["cells", "file_of", "problem_of"]


@functools.cache
def cells() -> dict[str, Cell]:
    """The cells of all three parts, by name; made once."""
    return {cell.name: cell for cell in [*null_cells(), *power_cells(), *family_cells()]}


@functools.cache
def problem_of(name: str, variant: int) -> Problem:
    """The distribution that files of the cell ``name`` and of this variant are drawn from; made once."""
    return cells()[name].make(variant)


def file_of(name: str, number: int) -> tuple[File, Problem]:
    """A file of the cell ``name``, always the same for the same number, and the distribution that it was drawn from."""
    problem = problem_of(name, number % cells()[name].variants)
    return problem.file(np.random.default_rng([zlib.crc32(name.encode()), number])), problem
