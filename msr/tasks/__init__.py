"""Families of related tasks: linear tasks of any group, controls that have none, task files, and samples to try.

A family is an endless or finite supply of episodes (:class:`TaskFamily`). Problems of published work, such as
translation, rotation and Omniglot, are built on these in the repository's own ``tasks`` folder.
"""

from msr.tasks.attention import AttentionTasks as AttentionTasks
from msr.tasks.attention import AttentionTruth as AttentionTruth
from msr.tasks.attention import attention_controls as attention_controls
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
from msr.tasks.feature_menu import HiddenFeatures as HiddenFeatures
from msr.tasks.feature_menu import hidden_features as hidden_features
from msr.tasks.files import FileTasks as FileTasks
from msr.tasks.files import read_arrays as read_arrays
from msr.tasks.files import write_tasks as write_tasks
from msr.tasks.finite_group import FiniteGroupTasks as FiniteGroupTasks
from msr.tasks.finite_group import Truth as Truth
from msr.tasks.kept import KeptTasks as KeptTasks
from msr.tasks.linear import LinearTasks as LinearTasks
from msr.tasks.locally_connected import locally_connected_weight as locally_connected_weight
from msr.tasks.locally_connected import span_of_filters as span_of_filters
from msr.tasks.permutation_scores import TokenScores as TokenScores
from msr.tasks.permutation_scores import token_scores as token_scores
from msr.tasks.sampling import Sample as Sample
from msr.tasks.sampling import sample_group as sample_group
from msr.tasks.sampling import sample_translation as sample_translation

__all__ = [
    "AttentionTasks", "AttentionTruth", "FileTasks", "FiniteGroupTasks", "HiddenFeatures", "KeptTasks", "LinearTasks",
    "Sample", "SpanTasks", "Split", "TaskFamily", "TokenScores", "Truth", "almost_symmetry", "attention_controls",
    "broken_span", "broken_symmetry", "generator_for", "hidden_features", "interior_symmetry",
    "locally_connected_weight", "no_symmetry", "read_arrays", "sample_group", "sample_translation", "span_of_filters",
    "token_scores", "write_tasks", "wrong_symmetry",
]  # fmt: skip
