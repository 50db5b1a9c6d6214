"""e3nn (Geiger and Smidt 2022): irreps of O(3), judged under so(3), where parity says nothing, and under O(3).

e3nn makes its constants in the default precision, so that is float64 here.
"""

import numpy as np
import torch
from e3nn import io, nn, o3
from e3nn.math import soft_one_hot_linspace

from benchmarks.foreign.judge import Cases, Question
from msr.groups import LieAlgebra, MatrixGroup, orthogonal
from msr.representations import LieRepresentation, direct_sum, from_matrices, irrep

PACKAGES = ["e3nn", "torch"]
CASES = Cases()
torch.set_default_dtype(torch.float64)

SO3 = LieAlgebra(o3.so3_generators(1).numpy(), "so(3)")
O3 = MatrixGroup({"P": -np.eye(3)}, SO3, "O(3)")


def irreps(words, group=SO3):
    """The representation of ``group`` that a text such as ``2x0e + 1o`` names, by e3nn's own matrices."""
    words = o3.Irreps(words)
    blocks = [o3.so3_generators(ir.l).numpy() for count, ir in words for _ in range(count)]
    at = np.cumsum([0, *(len(block[0]) for block in blocks)])
    matrices = np.zeros((3, at[-1], at[-1]))
    for start, block in zip(at, blocks, strict=False):
        matrices[:, start : start + len(block[0]), start : start + len(block[0])] = block
    if group is SO3:
        return LieRepresentation(SO3, matrices, str(words))
    inversion = words.D_from_matrix(-torch.eye(3)).numpy()
    return from_matrices(O3, inversion[None], str(words), infinitesimal=matrices)


def ask(f, words_in, words_out, group=SO3, **options):
    """A question about a function from one list of irreps, a text, to another; ``options`` are its further fields."""
    return Question(f, group, irreps(words_in, group), irreps(words_out, group), **options)


def both(expected, theory):
    """A decorator that adds two cases: a module under rotations, and under rotations with inversion.

    It is for functions that return a module and the irreps of its inputs and outputs.
    """
    return CASES.under((SO3, O3), expected, theory, ask)


AUTHORS = "equivariant by construction (Geiger and Smidt 2022; the library's own assert_equivariant)"
MIXED = "3x0e + 2x0o + 3x1o + 2x1e + 2x2e"


@both("equivariant", AUTHORS)
def Linear():
    return o3.Linear(MIXED, "2x0e + 4x1o + 1x1e + 3x2e"), MIXED, "2x0e + 4x1o + 1x1e + 3x2e"


@both("equivariant", AUTHORS)
def Linear_of_high_degree():
    return o3.Linear("2x3o + 2x4e + 2x6e", "3x3o + 1x4e + 2x6e"), "2x3o + 2x4e + 2x6e", "3x3o + 1x4e + 2x6e"


def pair(product, first, second):
    """A product of two inputs as a module of one, in which both lie side by side; with its irreps before and after."""
    n = o3.Irreps(first).dim

    class Product(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.product = product

        def forward(self, x):
            return self.product(x[:, :n], x[:, n:])

    return Product(), o3.Irreps(first) + o3.Irreps(second), product.irreps_out


@both("equivariant", AUTHORS)
def FullyConnectedTensorProduct():
    a, b, c = "2x0e + 2x1o", "1x0e + 2x1o + 1x2e", "2x0e + 2x1o + 1x1e + 1x2e"
    return pair(o3.FullyConnectedTensorProduct(a, b, c), a, b)


@both("equivariant", AUTHORS)
def FullTensorProduct():
    return pair(o3.FullTensorProduct("1x1o + 1x2e", "1x1o"), "1x1o + 1x2e", "1x1o")


@both("equivariant", AUTHORS)
def ElementwiseTensorProduct():
    return pair(o3.ElementwiseTensorProduct("2x1o + 1x2e", "2x1o + 1x2e"), "2x1o + 1x2e", "2x1o + 1x2e")


@both("equivariant", AUTHORS)
def TensorSquare():
    square = o3.TensorSquare("1x0e + 2x1o")
    return square, "1x0e + 2x1o", square.irreps_out


@both("equivariant", AUTHORS)
def SphericalHarmonics():
    out = o3.Irreps.spherical_harmonics(5)
    return o3.SphericalHarmonics(out, normalize=True), "1x1o", out


@both("equivariant", AUTHORS)
def SphericalHarmonics_of_axial_vectors():
    out = o3.Irreps("0e + 1e + 2e")
    return o3.SphericalHarmonics(out, normalize=False, irreps_in="1e"), "1x1e", out


@both("equivariant", AUTHORS)
def Norm():
    norm = o3.Norm("2x0o + 3x1o + 1x2e")
    return norm, "2x0o + 3x1o + 1x2e", norm.irreps_out


@both("equivariant", AUTHORS)
def Gate():
    gate = nn.Gate("3x0e", [torch.tanh], "3x0e", [torch.sigmoid], "2x1o + 1x2e")
    return gate, gate.irreps_in, gate.irreps_out


@both("equivariant", AUTHORS)
def Gate_with_odd_scalars():
    gate = nn.Gate("3x0o", [torch.tanh], "3x0o", [torch.abs], "2x1o + 1x2e")
    return gate, gate.irreps_in, gate.irreps_out


@both("equivariant", AUTHORS)
def Activation():
    activation = nn.Activation("3x0e + 2x0o", [torch.nn.functional.silu, torch.tanh])
    return activation, activation.irreps_in, activation.irreps_out


@both("equivariant", AUTHORS)
def NormActivation():
    activation = nn.NormActivation(o3.Irreps("2x0e + 3x1o + 1x2e"), torch.sigmoid, bias=True)
    return activation, activation.irreps_in, activation.irreps_out


@both("equivariant", AUTHORS)
def BatchNorm_after_training():
    norm = nn.BatchNorm("3x0e + 2x1o")
    norm(torch.randn(64, 9) * 3 + 1)
    with torch.no_grad():
        norm.weight.add_(torch.rand(5))
        norm.bias.add_(torch.rand(3))
    return norm.eval(), "3x0e + 2x1o", "3x0e + 2x1o"


@both("equivariant", "the identity")
def Dropout_in_evaluation_mode():
    return nn.Dropout("3x0e + 2x1o", 0.5).eval(), "3x0e + 2x1o", "3x0e + 2x1o"


@both("equivariant", AUTHORS)
def ReducedTensorProducts_of_a_symmetric_matrix():
    products = o3.ReducedTensorProducts("ij=ji", i="1o")

    class Split(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.products = products

        def forward(self, x):
            return self.products(x[:, :3], x[:, 3:])

    return Split(), "2x1o", products.irreps_out


@both("equivariant", "a signal on the sphere of degree 4 is known from a grid of 10 by 9 points (sampling theorem)")
def ToS2Grid_and_back():
    words = o3.Irreps.spherical_harmonics(4)
    to = o3.ToS2Grid(4, (10, 9), normalization="integral")
    back = o3.FromS2Grid((10, 9), 4, normalization="integral")
    return torch.nn.Sequential(to, back), words, words


@both("equivariant", "the square of a signal of degree 2 has degree 4, and 10 by 11 points are enough for it")
def square_on_the_sphere():
    words, out = o3.Irreps.spherical_harmonics(2), o3.Irreps.spherical_harmonics(4)
    to = o3.ToS2Grid(2, (10, 11), normalization="integral")
    back = o3.FromS2Grid((10, 11), 4, normalization="integral")
    return lambda x: back(to(x) ** 2), words, out


@both("equivariant", "a sum of spherical harmonics of points (the library's SphericalTensor)")
def SphericalTensor_of_points():
    tensor = io.SphericalTensor(3, 1, -1)

    def f(x):
        return torch.stack([tensor.with_peaks_at(points) for points in x.reshape(len(x), 2, 3)])

    return f, "2x1o", tensor


class Convolution(torch.nn.Module):
    """The point convolution of e3nn's guide: a tensor product of features and harmonics, weights from distances."""

    def __init__(self, words_in, words_out, points):
        super().__init__()
        self.points, self.features = points, o3.Irreps(words_in)
        self.harmonics = o3.Irreps.spherical_harmonics(2)
        self.product = o3.FullyConnectedTensorProduct(words_in, self.harmonics, words_out, shared_weights=False)
        self.weights = nn.FullyConnectedNet([6, 8, self.product.weight_numel], torch.nn.functional.silu)

    def forward(self, x):
        """New features of all points, ``(batch, points · features)``; ``x`` holds positions, then features of each."""
        n = self.points
        at, features = x[:, : 3 * n].reshape(-1, n, 3), x[:, 3 * n :].reshape(-1, n, self.features.dim)
        i, j = (~torch.eye(n, dtype=torch.bool)).nonzero().T
        edge = at[:, j] - at[:, i]
        harmonics = o3.spherical_harmonics(self.harmonics, edge, normalize=True, normalization="component")
        lengths = soft_one_hot_linspace(edge.norm(dim=-1), 0.0, 4.0, 6, basis="gaussian", cutoff=False)
        messages = self.product(features[:, j], harmonics, self.weights(lengths))
        return torch.zeros(len(x), n, messages.shape[-1]).index_add(1, i, messages).flatten(1)


@both("equivariant", "the point convolution of the library's guide (Thomas et al. 2018, tensor field networks)")
def point_convolution_on_4_points():
    words_in, words_out = "1x0e + 1x1o", "2x0e + 1x1o + 1x1e"
    return Convolution(words_in, words_out, 4), "4x1o" + " + 0e + 1o" * 4, " + ".join([words_out] * 4)


@both("equivariant", "a network of linear maps and gates")
def Linear_Gate_Linear():
    gate = nn.Gate("4x0e", [torch.tanh], "4x0e", [torch.sigmoid], "4x1o")
    f = torch.nn.Sequential(o3.Linear("3x0e + 3x1o", gate.irreps_in), gate, o3.Linear(gate.irreps_out, "1x0e + 2x1o"))
    return f, "3x0e + 3x1o", "1x0e + 2x1o"


@CASES.equivariant(AUTHORS)
def FullyConnectedTensorProduct_of_two_inputs_as_it_is():
    a, b, c = "2x0e + 2x1o", "1x0e + 2x1o + 1x2e", "2x0e + 2x1o + 1x1e + 1x2e"
    product = o3.FullyConnectedTensorProduct(a, b, c)
    return Question(product, O3, (irreps(a, O3), irreps(b, O3)), irreps(c, O3))


# ------------------------------------------------------------------------------------------------------------- broken


def cross():
    """A function that gives the cross product of the two vectors in ``x (batch, 6)``."""
    return lambda x: torch.linalg.cross(x[:, :3], x[:, 3:])


@CASES.equivariant("rotations keep orientation: parity is not seen")
def cross_product_declared_polar_under_rotations():
    return ask(cross(), "2x1o", "1x1o")


@CASES.broken("the cross product of polar vectors is axial: inversion keeps it")
def cross_product_declared_polar_under_inversion():
    return ask(cross(), "2x1o", "1x1o", O3)


@CASES.equivariant("the cross product of polar vectors is axial")
def cross_product_declared_axial_under_inversion():
    return ask(cross(), "2x1o", "1x1e", O3)


@CASES.broken("harmonics of odd degree change their sign under inversion")
def SphericalHarmonics_all_declared_even():
    out = o3.Irreps.spherical_harmonics(3)
    return ask(o3.SphericalHarmonics(out, True), "1x1o", "0e + 1e + 2e + 3e", O3)


@CASES.broken("a sigmoid of an odd scalar is neither odd nor even")
def sigmoid_of_odd_scalars_under_inversion():
    return ask(torch.sigmoid, "3x0o", "3x0o", O3)


@CASES.broken("a triple product is odd")
def triple_product_declared_even():
    return ask(lambda x: torch.linalg.det(x.reshape(-1, 3, 3)).unsqueeze(1), "3x1o", "1x0e", O3)


@CASES.equivariant("a triple product is odd")
def triple_product_declared_odd():
    return ask(lambda x: torch.linalg.det(x.reshape(-1, 3, 3)).unsqueeze(1), "3x1o", "1x0o", O3)


@both("broken", "cuts components off")
def ReLU_of_components():
    return torch.nn.ReLU(), "2x1o + 1x2e", "2x1o + 1x2e"


@both("broken", "takes the mean of all components away")
def LayerNorm_of_components():
    return torch.nn.LayerNorm(8), "2x0e + 2x1o", "2x0e + 2x1o"


def leaking(share):
    """A linear map with its irreps, in which a share of a scalar leaks into one component of a vector."""
    linear = o3.Linear("2x0e + 2x1o", "2x0e + 2x1o")

    def f(x):
        y = linear(x)
        return torch.cat([y[:, :2], y[:, 2:3] + share * y[:, :1], y[:, 3:]], 1)

    return f, "2x0e + 2x1o", "2x0e + 2x1o"


@both("broken", "a scalar leaks into a vector, 10%")
def Linear_with_a_leak_of_10_percent():
    return leaking(0.1)


@both("broken", "a scalar leaks into a vector, 1%")
def Linear_with_a_leak_of_1_percent():
    return leaking(0.01)


@both("broken", "one weight of the dense matrix is moved by 0.05")
def Linear_with_one_weight_moved():
    linear = o3.Linear("2x0e + 2x1o", "2x0e + 2x1o")
    matrix = linear(torch.eye(8)).detach()
    matrix[3, 4] += 0.05
    return lambda x: x @ matrix, "2x0e + 2x1o", "2x0e + 2x1o"


@both("broken", "a tensor of degree 2 multiplied entry by entry")
def square_of_components():
    return lambda x: x**2, "1x2e", "1x2e"


@CASES.refused("mixes the examples of a batch")
def BatchNorm_in_training_mode():
    return ask(nn.BatchNorm("3x0e + 2x1o"), "3x0e + 2x1o", "3x0e + 2x1o")


@CASES.refused("draws at random")
def Dropout_in_training_mode():
    return ask(nn.Dropout("3x0e + 2x1o", 0.5), "3x0e + 2x1o", "3x0e + 2x1o")


@CASES.equivariant("exact, outputs of size 100,000")
def Linear_with_large_outputs():
    linear = o3.Linear("2x0e + 2x1o", "2x0e + 2x1o")
    return ask(lambda x: 1e5 * linear(x), "2x0e + 2x1o", "2x0e + 2x1o", O3)


@CASES.broken("scalars where a vector was declared, outputs of size 0.00001")
def small_outputs_fully_broken():
    return ask(lambda x: 1e-5 * x.roll(1, 1), "1x0e + 1x1o", "1x0e + 1x1o", O3)


# -------------------------------------------------------------------------------------- the same numbers by our names

NAMED = orthogonal(3)


def named(f, words_in, words_out):
    """A question about a map between lists of irreps, which are taken from our own irreps by degree and parity.

    Their basis, (y, z, x) and so on by degree, is what the library calls (x, y, z).
    """
    parts = [
        [irrep(NAMED, ir.l, parity=ir.p) for count, ir in o3.Irreps(words) for _ in range(count)]
        for words in (words_in, words_out)
    ]
    return Question(f, NAMED, *(direct_sum(*each) for each in parts))


@CASES.equivariant(AUTHORS)
def SphericalHarmonics_to_degree_6_by_our_names():
    out = o3.Irreps.spherical_harmonics(6)
    return named(o3.SphericalHarmonics(out, normalize=True), "1x1o", out)


@CASES.equivariant(AUTHORS)
def Linear_by_our_names():
    return named(o3.Linear(MIXED, "2x0e + 4x1o + 3x2e"), MIXED, "2x0e + 4x1o + 3x2e")


@CASES.equivariant(AUTHORS)
def FullTensorProduct_by_our_names():
    return named(*pair(o3.FullTensorProduct("1x1o + 1x3o", "1x2e"), "1x1o + 1x3o", "1x2e"))


@CASES.broken("harmonics of degree 3 are odd")
def SphericalHarmonics_of_degree_3_declared_even_by_our_names():
    return named(o3.SphericalHarmonics("3o", normalize=True), "1x1o", "3e")
