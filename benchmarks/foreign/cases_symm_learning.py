"""symm-learning (Ordoñez-Apraez et al.): layers for vectors that a finite group of escnn moves."""

import numpy as np
import torch
from escnn.group import CyclicGroup, DihedralGroup, directsum
from symm_learning.models.emlp import eMLP, iMLP
from symm_learning.nn.activation import eMultiheadAttention
from symm_learning.nn.conv import eConv1d
from symm_learning.nn.linear import eAffine, eLinear
from symm_learning.nn.normalization import eBatchNorm1d, eLayerNorm, eRMSNorm
from symm_learning.nn.pooling import IrrepSubspaceNormPooling

from benchmarks.foreign.judge import Cases, Question
from msr.groups import FiniteGroup
from msr.representations import from_matrices, trivial

PACKAGES = ["symm-learning", "escnn", "torch"]
CASES = Cases()
AUTHORS = "equivariant by construction (the library's tests)"

C5, D4 = CyclicGroup(5), DihedralGroup(4)


def regulars(library, n=2):
    """Copies of the regular representation."""
    return directsum([library.regular_representation] * n)


def irreps(library):
    """The direct sum of all irreps of a group of the library, each once."""
    return directsum(list(library.irreps()))


def ours(library, *reps):
    """A group of the library as one of ours, by its table, followed by representations of it, by its own matrices."""
    elements = sorted(library.elements, key=lambda g: g != library.identity)
    index = {g: k for k, g in enumerate(elements)}
    group = FiniteGroup([[index[a @ b] for b in elements] for a in elements], library.name)
    return group, *(from_matrices(group, np.stack([rep(g) for g in elements]), rep.name) for rep in reps)


def ask(f, rep_in, rep_out):
    """A question about a module, put into evaluation mode, between representations of the library."""
    return Question(f.eval(), *ours(rep_in.group, rep_in, rep_out))


def moved(module):
    """The module, with noise added to its parameters in place, so that they are not where they start."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


for _name, _library in (("C5", C5), ("D4", D4)):

    def _linear(library=_library):
        return ask(moved(eLinear(regulars(library), irreps(library))), regulars(library), irreps(library))

    def _mlp(library=_library):
        rep = regulars(library, 1)
        return ask(eMLP(rep, rep, [16, 16]), rep, rep)

    def _invariant(library=_library):
        rep = irreps(library)
        question = ask(iMLP(rep, 3, [16]), rep, rep)
        question.rep_out = trivial(question.group, 3)
        return question

    for _what, _make in (("eLinear", _linear), ("eMLP", _mlp), ("iMLP", _invariant)):
        _make.__name__ = f"{_what}_{_name}"
        CASES.equivariant(AUTHORS)(_make)


@CASES.equivariant(AUTHORS)
def eAffine_of_irreps():
    return ask(moved(eAffine(irreps(D4))), irreps(D4), irreps(D4))


@CASES.equivariant(AUTHORS)
def eLayerNorm_of_a_regular_representation():
    return ask(moved(eLayerNorm(regulars(D4))), regulars(D4), regulars(D4))


@CASES.equivariant(AUTHORS)
def eRMSNorm_of_irreps():
    return ask(moved(eRMSNorm(irreps(D4))), irreps(D4), irreps(D4))


@CASES.equivariant("means and variances of irreps, after training")
def eBatchNorm1d_after_training():
    norm = moved(eBatchNorm1d(irreps(C5)))
    norm(torch.randn(64, 5) * 3 + 1)
    return ask(norm, irreps(C5), irreps(C5))


@CASES.equivariant("norms of irreps do not change")
def IrrepSubspaceNormPooling_is_invariant():
    rep = regulars(D4)
    pool = IrrepSubspaceNormPooling(rep)
    question = ask(pool, rep, rep)
    question.rep_out = trivial(question.group, pool.out_rep.size)
    return question


@CASES.equivariant(AUTHORS)
def eMultiheadAttention_of_three_tokens():
    rep = regulars(C5)
    attention = eMultiheadAttention(rep, 2, bias=True)

    class Tokens(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = attention

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0]

    group, one = ours(C5, rep)
    return Question(Tokens().eval(), group, trivial(group, 3) * one, trivial(group, 3) * one)


@CASES.equivariant(AUTHORS)
def eConv1d_of_a_signal():
    rep = regulars(D4, 1)
    group, one = ours(D4, rep)
    return Question(eConv1d(rep, rep, 3, padding=1).eval(), group, one * trivial(group, 6), one * trivial(group, 6))


# ------------------------------------------------------------------------------------------------------------- broken


@CASES.broken("an ordinary linear map")
def torch_Linear_between_regular_representations():
    return ask(torch.nn.Linear(16, 16), regulars(D4), regulars(D4))


@CASES.broken("a pointwise function of components that mix")
def ReLU_of_irreps():
    return ask(torch.nn.ReLU(), irreps(D4), irreps(D4))


@CASES.broken("torch's scales, one for each component")
def torch_LayerNorm_with_scales():
    return ask(moved(torch.nn.LayerNorm(16)), regulars(D4), regulars(D4))


@CASES.broken("one weight of the dense matrix is moved by 0.02")
def eLinear_with_one_weight_moved():
    made = eLinear(regulars(C5), regulars(C5)).eval()
    with torch.no_grad():
        at_zero, eye = made(torch.zeros(1, 10)), torch.eye(10)
        dense = torch.nn.Linear(10, 10)
        dense.weight.copy_((made(eye) - at_zero).mT)
        dense.bias.copy_(at_zero[0])
        dense.weight[2, 7] += 0.02
    return ask(dense, regulars(C5), regulars(C5))
