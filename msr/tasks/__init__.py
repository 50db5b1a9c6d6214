"""Families of related tasks: linear tasks of any group, controls that have none, task files, and samples to try.

A family is an endless or finite supply of episodes (:class:`TaskFamily`). Problems of published work, such as
translation, rotation and Omniglot, are built on these in the repository's own ``tasks`` folder.
"""

from msr.tasks.base import Split as Split
from msr.tasks.base import TaskFamily as TaskFamily
from msr.tasks.base import generator_for as generator_for
from msr.tasks.controls import SpanTasks as SpanTasks
from msr.tasks.controls import almost_symmetry as almost_symmetry
from msr.tasks.controls import broken_span as broken_span
from msr.tasks.controls import broken_symmetry as broken_symmetry
from msr.tasks.controls import interior_symmetry as interior_symmetry
from msr.tasks.controls import no_symmetry as no_symmetry
from msr.tasks.controls import wrong_symmetry as wrong_symmetry
from msr.tasks.files import FileTasks as FileTasks
from msr.tasks.files import read_arrays as read_arrays
from msr.tasks.files import write_tasks as write_tasks
from msr.tasks.finite_group import FiniteGroupTasks as FiniteGroupTasks
from msr.tasks.finite_group import Truth as Truth
from msr.tasks.kept import KeptTasks as KeptTasks
from msr.tasks.linear import LinearTasks as LinearTasks
from msr.tasks.locally_connected import locally_connected_weight as locally_connected_weight
from msr.tasks.locally_connected import span_of_filters as span_of_filters
from msr.tasks.sampling import Sample as Sample
from msr.tasks.sampling import sample_group as sample_group
from msr.tasks.sampling import sample_translation as sample_translation

__all__ = [
    "FileTasks", "FiniteGroupTasks", "KeptTasks", "LinearTasks", "Sample", "SpanTasks", "Split", "TaskFamily", "Truth",
    "almost_symmetry", "broken_span", "broken_symmetry", "generator_for", "interior_symmetry",
    "locally_connected_weight", "no_symmetry", "read_arrays", "sample_group", "sample_translation", "span_of_filters",
    "write_tasks", "wrong_symmetry",
]  # fmt: skip
