"""egnn-pytorch: the E(n) equivariant graph network of Satorras, Hoogeboom and Welling 2021.

Features and positions of each point lie one after the other in a vector.
"""

import torch
from egnn_pytorch import EGNN, EGNN_Network
from torch import nn

from benchmarks._foreign._judge import Cases, Question
from msr.groups import orthogonal, so, symmetric
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
"""New numbers and turns, mirrors at once: S_n x O(3)."""

AUTHORS = "E(n) equivariant (Satorras et al. 2021, section 3.1 and appendix A)"


class Points(nn.Module):
    """A layer that takes and returns features and positions."""

    def __init__(self, layer, places=lambda at: at):
        super().__init__()
        self.layer, self.places = layer, places

    def forward(self, x):
        """Both in one vector."""
        features, at = self.layer(x[:, : N * D].reshape(-1, N, D), self.places(x[:, N * D :].reshape(-1, N, 3)))
        return torch.cat([features.flatten(1), at.flatten(1)], dim=1)


def alive(layer):
    """With weights of an ordinary size; the library starts them at a thousandth."""
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
