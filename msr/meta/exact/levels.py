"""Which of torch's function transforms (``grad``, ``vmap``, ``jvp``) are running."""

import torch

try:
    from torch._C._functorch import TransformType
    from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters
except ImportError:  # not public, so a torch may lack them
    retrieve_all_functorch_interpreters = None  # type: ignore[assignment]

__all__ = ["gradients_alone", "in_forward_mode"]


def _known() -> bool:
    """Whether the running transforms can be listed: not by every torch, and not while its compiler reads the code."""
    return retrieve_all_functorch_interpreters is not None and not torch.compiler.is_compiling()


def in_forward_mode() -> bool:
    """Whether a forward-mode derivative is being taken; true too where that cannot be known."""
    if not _known() or torch.autograd.forward_ad._current_level >= 0:
        return True
    return any(level.key() == TransformType.Jvp for level in retrieve_all_functorch_interpreters())


def gradients_alone() -> bool:
    """Whether no transform is running, or one or two reverse-mode gradients alone; false where that cannot be known."""
    if not _known() or torch.autograd.forward_ad._current_level >= 0:
        return False
    levels = [level.key() for level in retrieve_all_functorch_interpreters()]
    gradients = levels.count(TransformType.Grad)
    # Functionalize only rewrites writes in place, and leaves derivatives as they are.
    return gradients <= 2 and gradients + levels.count(TransformType.Functionalize) == len(levels)
