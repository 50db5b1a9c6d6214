"""Exact forms: torch functions written out, where the fused one has wrong derivatives, or none.

Meta-learning differentiates a derivative, under ``vmap`` and in forward mode too. Some of torch's fused operations give
wrong numbers there with no warning (norms, ``weight_norm``, determinants), others have no second derivative or no rule
for ``vmap`` (attention, distances, recurrent layers). While a problem predicts, and while its loss is computed, such a
function is replaced by the same formula in elementary operations, whether a layer calls it or a network's own forward.
What is replaced is in the tables :data:`~msr.meta.exact.forms.FORMS`; all else of torch is left alone.
"""

from msr.meta.exact.faults import explain
from msr.meta.exact.hooks import refuse_backward_hooks
from msr.meta.exact.mode import Exact
from msr.meta.exact.norms import fused_norms, set_norm
from msr.meta.exact.plain import KnownFunction, is_plain_module

__all__ = ["Exact", "KnownFunction", "explain", "fused_norms", "is_plain_module", "refuse_backward_hooks", "set_norm"]
