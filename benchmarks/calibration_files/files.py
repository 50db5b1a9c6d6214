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
    """All of them, by name."""
    return {cell.name: cell for cell in [*null_cells(), *power_cells(), *family_cells()]}


@functools.cache
def problem_of(name: str, variant: int) -> Problem:
    """The distribution that a cell's files of this variant are drawn from."""
    return cells()[name].make(variant)


def file_of(name: str, number: int) -> tuple[File, Problem]:
    """A file of a cell, always the same for the same number."""
    problem = problem_of(name, number % cells()[name].variants)
    return problem.file(np.random.default_rng([zlib.crc32(name.encode()), number])), problem
