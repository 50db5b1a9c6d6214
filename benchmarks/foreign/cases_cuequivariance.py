"""cuequivariance (NVIDIA): irreps of O(3), by its own generators, under so(3) and under O(3)."""

import cuequivariance as cue
import cuequivariance_torch as cuet
import numpy as np
import torch
from scipy.linalg import block_diag

from benchmarks.foreign.judge import Cases, Question
from msr.groups import LieAlgebra, MatrixGroup
from msr.representations import LieRepresentation, from_matrices

PACKAGES = ["cuequivariance", "cuequivariance-torch", "torch"]
CASES = Cases()
AUTHORS = "equivariant by construction (the library's tests)"

SO3 = LieAlgebra(cue.O3(1, -1).X, "so(3)")
O3 = MatrixGroup({"P": -np.eye(3)}, SO3, "O(3)")


def generators(words):
    """The matrices of a list of irreps: generators of three rotations ``(3, n, n)``, and the inversion ``(n, n)``.

    ``words`` are the library's irreps, as pairs of a count and an irrep.
    """
    each = [irrep for count, irrep in words for _ in range(count)]
    turns = np.stack([block_diag(*(irrep.X[k] for irrep in each)) for k in range(3)])
    return turns, block_diag(*(irrep.H[0] for irrep in each))


def representation(words, group):
    """The representation of ``group``, so(3) or O(3), on a list of irreps, from the library's own generators."""
    turns, inversion = generators(words)
    if group is SO3:
        return LieRepresentation(SO3, turns, str(words))
    return from_matrices(O3, inversion[None], str(words), infinitesimal=turns)


def ask(f, words_in, words_out, group):
    """A question about a map from one list of irreps to another, both as texts, in float64."""
    reps = [representation(cue.Irreps("O3", words), group) for words in (words_in, words_out)]
    return Question(f, group, *reps, dtype=torch.float64)


def both(expected, theory):
    """A decorator that adds two cases: a module under rotations, and under rotations with inversion.

    It is for functions that return a map and the irreps of its inputs and outputs, as texts.
    """
    return CASES.under((SO3, O3), expected, theory, ask)


OPTIONS = {"layout": cue.mul_ir, "dtype": torch.float64}


@both("equivariant", AUTHORS)
def Linear():
    a, b = "2x0e + 2x1o + 1x2e", "1x0e + 3x1o + 2x2e"
    return cuet.Linear(cue.Irreps("O3", a), cue.Irreps("O3", b), **OPTIONS), a, b


@both("equivariant", AUTHORS)
def FullyConnectedTensorProduct_with_itself():
    a, b = cue.Irreps("O3", "2x0e + 2x1o"), cue.Irreps("O3", "1x0e + 1x1o + 1x1e + 1x2e")
    product = cuet.FullyConnectedTensorProduct(a, a, b, **OPTIONS)
    return lambda x: product(x, x), str(a), str(b)


@both("equivariant", AUTHORS)
def ChannelWiseTensorProduct_with_itself():
    a, b = cue.Irreps("O3", "2x0e + 2x1o"), cue.Irreps("O3", "0e + 1o")
    product = cuet.ChannelWiseTensorProduct(a, b, shared_weights=True, internal_weights=True, **OPTIONS)
    pair = lambda x: product(x[:, :8], x[:, 8:])  # noqa: E731
    return pair, f"{a} + {b}", str(product.irreps_out)


@both("equivariant", AUTHORS)
def SphericalHarmonics():
    return cuet.SphericalHarmonics([0, 1, 2, 3]), "1o", "0e + 1o + 2e + 3o"


@CASES.broken("harmonics of odd degree change their sign under inversion")
def SphericalHarmonics_all_declared_even():
    return ask(cuet.SphericalHarmonics([0, 1, 2, 3]), "1o", "0e + 1e + 2e + 3e", O3)


@both("broken", "one weight of the dense matrix is moved by 0.02")
def Linear_with_one_weight_moved():
    words = "2x0e + 2x1o"
    linear = cuet.Linear(cue.Irreps("O3", words), cue.Irreps("O3", words), **OPTIONS)
    matrix = linear(torch.eye(8, dtype=torch.float64)).detach()
    matrix[3, 4] += 0.02
    return lambda x: x @ matrix, words, words


@both("broken", "multiplicities declared where components lie: the other layout")
def Linear_of_the_other_layout():
    words = cue.Irreps("O3", "2x1o + 2x2e")
    options = {**OPTIONS, "layout": cue.ir_mul}
    return cuet.Linear(words, words, **options), str(words), str(words)
