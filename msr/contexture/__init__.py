"""Contexts, and what a representation learns from one: exact spectra, losses with known optima, measures."""

from msr.contexture.contexts import Context as Context
from msr.contexture.contexts import GroupContext as GroupContext
from msr.contexture.contexts import JointContext as JointContext
from msr.contexture.contexts import KernelContext as KernelContext
from msr.contexture.contexts import PoolContext as PoolContext
from msr.contexture.contexts import SamplerContext as SamplerContext
from msr.contexture.contexts import TableContext as TableContext
from msr.contexture.mixing import convex as convex
from msr.contexture.mixing import convolve as convolve
from msr.contexture.mixing import joint as joint
from msr.contexture.notation import parse_context as parse_context
from msr.contexture.spectra import Spectrum as Spectrum
from msr.contexture.spectra import extend as extend
from msr.contexture.spectra import spectrum as spectrum

__all__ = [
    "Context", "GroupContext", "JointContext", "KernelContext", "PoolContext", "SamplerContext", "Spectrum",
    "TableContext", "convex", "convolve", "extend", "joint", "parse_context", "spectrum",
]  # fmt: skip
