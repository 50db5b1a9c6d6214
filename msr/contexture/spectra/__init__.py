"""The exact spectrum of a context, and its functions at new points."""

from msr.contexture.spectra.decomposition import Solver as Solver
from msr.contexture.spectra.decomposition import spectrum as spectrum
from msr.contexture.spectra.extension import extend as extend
from msr.contexture.spectra.values import Spectrum as Spectrum

__all__ = ["Solver", "Spectrum", "extend", "spectrum"]
