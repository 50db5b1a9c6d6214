"""Contexts as values: by a table, on a pool of points, by a kernel, of a group, by a sampler."""

from msr.contexture.contexts.base import Context as Context
from msr.contexture.contexts.groups import GroupContext as GroupContext
from msr.contexture.contexts.kernels import KernelContext as KernelContext
from msr.contexture.contexts.pools import PoolContext as PoolContext
from msr.contexture.contexts.samplers import SamplerContext as SamplerContext
from msr.contexture.contexts.tables import JointContext as JointContext
from msr.contexture.contexts.tables import TableContext as TableContext

__all__ = [
    "Context", "GroupContext", "JointContext", "KernelContext", "PoolContext", "SamplerContext", "TableContext",
]  # fmt: skip
