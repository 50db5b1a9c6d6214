"""Pointwise activations and the representations they respect."""

from torch import nn

from msr.representations import AnyRepresentation

__all__ = ["pointwise_warnings"]

_ODD = (nn.Tanh, nn.Softsign, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink)
_ANY = (
    nn.ReLU, nn.ReLU6, nn.PReLU, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid,
    nn.Softplus, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.Threshold,
)  # fmt: skip


def pointwise_warnings(module: nn.Module, *reps: AnyRepresentation) -> list[str]:
    """What a pointwise activation does to representations that are not permutations.

    A function applied to each number commutes with permutations; an odd one with signed permutations too; with other
    matrices only if it is linear (Godfrey et al., arXiv:2205.14258). A module that is itself an activation is judged by
    the representations given. For a network whose inner representations are not known, nothing is said.
    """
    if isinstance(module, nn.Hardtanh):  # and ReLU6, which is one from 0 to 6
        odd = module.min_val == -module.max_val
    elif isinstance(module, (*_ODD, *_ANY)):
        odd = not isinstance(module, _ANY)
    else:
        return []
    kind, fits = type(module).__name__, "signed permutations" if odd else "permutations"
    return [
        f"{kind} acts on each number alone and commutes with {fits} only, but {rep} mixes numbers"
        for rep in dict.fromkeys(reps)
        if not (rep.is_trivial or (rep.is_signed_permutation if odd else rep.is_permutation or _moves_only(rep)))
    ]


def _moves_only(rep: AnyRepresentation) -> bool:
    """Whether matrices are permutations in disguise."""
    if not rep.is_signed_permutation:
        return False
    return all(bool((rep.matrix(g) > -1e-8).all()) for g in rep.group.generators)
