"""What an encoder has learned of a context, what that is worth for tasks, and what a context is worth without one."""

from msr.contexture.measures.encoders import Captured as Captured
from msr.contexture.measures.encoders import captured as captured
from msr.contexture.measures.encoders import mutual_neighbours as mutual_neighbours
from msr.contexture.measures.encoders import principal_angle as principal_angle
from msr.contexture.measures.encoders import squared_correlation as squared_correlation
from msr.contexture.measures.encoders import trace_gap as trace_gap
from msr.contexture.measures.intervals import ValueIntervals as ValueIntervals
from msr.contexture.measures.intervals import value_intervals as value_intervals
from msr.contexture.measures.targets import compatibility as compatibility
from msr.contexture.measures.targets import probe_error as probe_error
from msr.contexture.measures.targets import trace_gap_bound as trace_gap_bound
from msr.contexture.measures.targets import worst_error as worst_error
from msr.contexture.measures.targets import worst_error_bound as worst_error_bound
from msr.contexture.measures.tau import Usefulness as Usefulness
from msr.contexture.measures.tau import usefulness as usefulness

__all__ = [
    "Captured", "Usefulness", "ValueIntervals", "captured", "compatibility", "mutual_neighbours", "principal_angle",
    "probe_error", "squared_correlation", "trace_gap", "trace_gap_bound", "usefulness", "value_intervals",
    "worst_error", "worst_error_bound",
]  # fmt: skip
