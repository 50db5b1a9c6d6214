"""The span that the weights of all tasks share: found in closed form, its dimension chosen, two spans compared."""

from msr.span.angles import orthonormal_basis as orthonormal_basis
from msr.span.angles import principal_cosines as principal_cosines
from msr.span.angles import span_cosine as span_cosine
from msr.span.chunks import Chunks as Chunks
from msr.span.chunks import in_chunks as in_chunks
from msr.span.chunks import patches as patches
from msr.span.rank_cut import RankCut as RankCut
from msr.span.shared_span import SharedSpan as SharedSpan
from msr.span.shared_span import find_span as find_span
from msr.span.spectral import SpectralStart as SpectralStart
from msr.span.spectral import spectral_start as spectral_start

__all__ = [
    "Chunks",
    "RankCut",
    "SharedSpan",
    "SpectralStart",
    "find_span",
    "in_chunks",
    "orthonormal_basis",
    "patches",
    "principal_cosines",
    "span_cosine",
    "spectral_start",
]
