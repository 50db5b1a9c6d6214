"""Pointwise activations, and the representations that they commute with."""

from torch import nn

from msr.representations import AnyRepresentation

__all__ = ["pointwise_warnings"]

# Odd functions, f(−x) = −f(x): they commute with changes of sign too.
_ODD = (nn.Tanh, nn.Softsign, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink)
_NOT_ODD = (
    nn.ReLU, nn.ReLU6, nn.PReLU, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid,
    nn.Softplus, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.Threshold,
)  # fmt: skip


def pointwise_warnings(module: nn.Module, *reps: AnyRepresentation) -> list[str]:
    """A warning for each representation that a pointwise activation does not commute with; none for other modules.

    A function applied to each number commutes with permutations; an odd one with signed permutations too; with other
    matrices only if it is linear (Godfrey et al., arXiv:2205.14258). Only a module that is itself an activation is
    looked at: inside a network the representations of the activations are not known.
    """
    if isinstance(module, nn.Hardtanh):  # and ReLU6, which is one from 0 to 6
        odd = module.min_val == -module.max_val
    elif isinstance(module, (*_ODD, *_NOT_ODD)):
        odd = not isinstance(module, _NOT_ODD)
    else:
        return []
    kind = type(module).__name__
    fits = "signed permutations" if odd else "permutations"
    return [
        f"{kind} acts on each number alone and commutes with {fits} only, but {rep} mixes numbers"
        for rep in dict.fromkeys(reps)
        if not (rep.is_trivial or (rep.is_signed_permutation if odd else rep.is_permutation or _is_unsigned(rep)))
    ]


def _is_unsigned(rep: AnyRepresentation) -> bool:
    """Whether a representation by matrices is one by permutation matrices: signed permutations without a minus."""
    if not rep.is_signed_permutation:
        return False
    # The products of matrices without a minus have none either, so the generators are enough.
    return all(bool((rep.matrix(g) > -1e-8).all()) for g in rep.group.generators)
