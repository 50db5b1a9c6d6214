"""egnn-pytorch: the E(n) equivariant graph network of Satorras, Hoogeboom and Welling 2021.

Features and positions of each point lie one after the other in a vector.
"""

import torch
from egnn_pytorch import EGNN, EGNN_Network
from torch import nn

from benchmarks.foreign.judge import Cases, Question
from msr.groups import euclidean, orthogonal, so, symmetric
from msr.representations import defining, direct_sum, natural, outer_product, trivial

PACKAGES = ["egnn-pytorch", "torch"]
CASES = Cases()

N, D = 5, 4
SO3, SYM = so(3), symmetric(N)
ROTATED = trivial(SO3, N * D) + (trivial(SO3, N) * defining(SO3)).reshape(3 * N)
NUMBERED = (natural(SYM) * trivial(SYM, D)).reshape(N * D) + (natural(SYM) * trivial(SYM, 3)).reshape(3 * N)
O3 = orthogonal(3)
BOTH = direct_sum(
    outer_product(natural(SYM) * trivial(SYM, D), trivial(O3)).reshape(N * D),
    outer_product(natural(SYM), defining(O3)).reshape(3 * N),
)
"""Features and positions under a new numbering of the points, turns and mirrors at once: S_n x O(3)."""

AUTHORS = "E(n) equivariant (Satorras et al. 2021, section 3.1 and appendix A)"


class Points(nn.Module):
    """A layer of features and positions on one vector of both; ``places`` may change the positions before it."""

    def __init__(self, layer, places=lambda at: at):
        super().__init__()
        self.layer, self.places = layer, places

    def forward(self, x):
        """New features and new positions, one after the other: ``(batch, N · D + 3 N)``, as in ``x``."""
        features, at = self.layer(x[:, : N * D].reshape(-1, N, D), self.places(x[:, N * D :].reshape(-1, N, 3)))
        return torch.cat([features.flatten(1), at.flatten(1)], dim=1)


def alive(layer):
    """The layer in evaluation mode, its weights moved in place to an ordinary size from the library's thousandth."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return layer.eval()


LAYERS = {
    "EGNN": {},
    "EGNN with normed coordinates": {"norm_coors": True, "norm_coors_scale_init": 1.0},
    "EGNN with Fourier features of distances": {"fourier_features": 2},
    "EGNN with normed features": {"norm_feats": True},
    "EGNN with soft edges and means": {"soft_edges": True, "m_pool_method": "mean"},
    "EGNN with nearest neighbours": {"num_nearest_neighbors": 3},
}
for _name, _options in LAYERS.items():
    for _kind, _group, _rep in (("turns", SO3, ROTATED), ("numbers", SYM, NUMBERED), ("both", BOTH.group, BOTH)):

        def _asked(options=_options, group=_group, rep=_rep):
            return Question(Points(alive(EGNN(D, **options).double())), group, rep, rep, dtype=torch.float64)

        _asked.__name__ = f"{_name}_under_{_kind}".replace(" ", "_")
        CASES.equivariant(AUTHORS)(_asked)


@CASES.equivariant(AUTHORS)
def EGNN_Network_under_turns():
    net = alive(EGNN_Network(depth=2, dim=D, norm_coors=True).double())
    return Question(Points(net), SO3, ROTATED, ROTATED, dtype=torch.float64)


@CASES.broken("a table of features by a point's number is added")
def EGNN_Network_with_positions_under_numbers():
    net = alive(EGNN_Network(depth=1, dim=D, num_positions=N).double())
    return Question(Points(net), SYM, NUMBERED, NUMBERED, dtype=torch.float64)


@CASES.broken("one axis of the positions is 5% longer before the layer")
def EGNN_on_stretched_positions_under_turns():
    stretch = torch.tensor([1.05, 1, 1], dtype=torch.float64)
    net = Points(alive(EGNN(D).double()), lambda at: at * stretch)
    return Question(net, SO3, ROTATED, ROTATED, dtype=torch.float64)


@CASES.broken("positions are given to the layer as features")
def EGNN_with_positions_among_its_features():
    layer = alive(EGNN(D).double())

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            features, at = x[:, : N * D].reshape(-1, N, D), x[:, N * D :].reshape(-1, N, 3)
            features, at = self.layer(features + at[..., :1], at)
            return torch.cat([features.flatten(1), at.flatten(1)], dim=1)

    return Question(Mixed(), SO3, ROTATED, ROTATED, dtype=torch.float64)


SEVERAL = trivial(O3, N * D).reshape(N, D), trivial(O3, N) * defining(O3)


@CASES.equivariant(AUTHORS)
def EGNN_of_features_and_places_as_it_is():
    return Question(alive(EGNN(D).double()), O3, SEVERAL, SEVERAL, dtype=torch.float64)


@CASES.broken("features take up a coordinate, which the places beside them do not show")
def EGNN_of_features_and_places_that_leak():
    layer = alive(EGNN(D).double())

    def f(features, at):
        features, at = layer(features, at)
        return features + 0.01 * at[..., :1], at

    return Question(f, O3, SEVERAL, SEVERAL, dtype=torch.float64)


# ---------------------------------------------------------------------------------- turns, mirrors and shifts of space

E3 = euclidean(3)
PLACES = trivial(E3, N) * defining(E3)
"""Places as (x, y, z, 1), which a matrix of 4 x 4 turns and shifts."""


def places(n, generator):
    """``n`` random clouds of points ``(n, N, 4)``, each point with the 1 that shifts need."""
    at = torch.randn(n, N, 3, generator=generator, dtype=torch.float64)
    return torch.cat([at, torch.ones(n, N, 1, dtype=torch.float64)], dim=-1)


class Moved(nn.Module):
    """The places that a layer makes of places; with ``centre`` it sees the points' distances to the origin too."""

    def __init__(self, layer, centre):
        super().__init__()
        self.layer, self.centre = layer, centre

    def forward(self, x):
        """New places ``(batch, N, 4)``. Features are ones, or the distance to the origin, which shifts change."""
        at = x[..., :3]
        features = torch.ones(len(x), N, D, dtype=x.dtype)
        if self.centre:
            features = features * at.norm(dim=-1, keepdim=True)
        return torch.cat([self.layer(features, at)[1], torch.ones_like(x[..., 3:])], dim=-1)


@CASES.equivariant(AUTHORS)
def EGNN_under_turns_mirrors_and_shifts():
    layer = alive(EGNN(D, norm_coors=True, norm_coors_scale_init=1.0).double())
    return Question(Moved(layer, False), E3, PLACES, PLACES, inputs=places)


@CASES.broken("features are distances to the origin, which is no place of the points' own")
def EGNN_with_distances_to_the_origin_under_shifts():
    layer = alive(EGNN(D, norm_coors=True, norm_coors_scale_init=1.0).double())
    return Question(Moved(layer, True), E3, PLACES, PLACES, inputs=places)


@CASES.equivariant("distances to the origin do not change under turns")
def EGNN_with_distances_to_the_origin_under_turns():
    layer = alive(EGNN(D, norm_coors=True, norm_coors_scale_init=1.0).double())

    def f(x):
        return layer(torch.ones(len(x), N, D, dtype=x.dtype) * x.norm(dim=-1, keepdim=True), x)[1]

    rep = trivial(O3, N) * defining(O3)
    return Question(f, O3, rep, rep, dtype=torch.float64)
