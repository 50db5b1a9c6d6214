"""torch_geometric (Fey and Lenssen 2019): graph layers under a new numbering of the nodes, point layers under turns.

A graph is given as its features and its adjacency matrix, one after the other in a vector; the layers get edges. A
batch is one large graph, so the number of examples does not matter.
"""

import torch
from torch import nn
from torch_geometric import nn as gnn
from torch_geometric.utils import degree

from benchmarks.foreign.judge import Cases, Question
from msr.groups import so, symmetric
from msr.representations import defining, natural, trivial

PACKAGES = ["torch_geometric", "torch"]
CASES = Cases()

N, D = 6, 4
GROUP = symmetric(N)
"""All new numberings of a graph's ``N`` nodes, each of which has ``D`` features."""

AUTHORS = "sums of messages over neighbours do not know their numbers (Gilmer et al. 2017; Bronstein et al. 2021)"


def graphs(n, generator):
    """``n`` random undirected graphs without loops, features and adjacency matrix in a vector: ``(n, N · D + N²)``."""
    features = torch.randn(n, N * D, generator=generator)
    upper = (torch.rand(n, N, N, generator=generator) < 0.5).float().triu(1)
    return torch.cat([features, (upper + upper.mT).flatten(1)], dim=1)


def edges(x):
    """Node features ``(batch · N, D)`` and edges ``(2, e)`` of one graph that holds the whole batch ``x``."""
    adjacency = x[:, N * D :].reshape(-1, N, N) > 0.5
    graph, i, j = adjacency.nonzero().T
    return x[:, : N * D].reshape(-1, D), torch.stack([graph * N + i, graph * N + j])


class OnGraphs(nn.Module):
    """A layer on features and edges, as a module of plain tensors; ``call(layer, features, edges)`` calls it."""

    def __init__(self, layer, call=None):
        super().__init__()
        self.layer, self.call = layer, call or (lambda layer, x, e: layer(x, e))

    def forward(self, x):
        """What the layer gives for each graph of the batch, ``(batch, numbers)``; of nodes, one after the other."""
        return self.call(self.layer, *edges(x)).reshape(len(x), -1)


NODES = natural(GROUP)
REP_IN = (NODES * trivial(GROUP, D)).reshape(N * D) + (NODES * NODES).reshape(N * N)


def nodes(layer, call=None, features=D, training=False):
    """A question about a layer that gives ``features`` new features for each node, in evaluation mode by default."""
    f = OnGraphs(layer, call).train(training)
    return Question(f, GROUP, REP_IN, (NODES * trivial(GROUP, features)).reshape(N * features), inputs=graphs)


def whole(layer, call, numbers=D):
    """A question about a layer that gives so many numbers for a whole graph, which no new numbering changes."""
    return Question(OnGraphs(layer, call).eval(), GROUP, REP_IN, trivial(GROUP, numbers), inputs=graphs)


def mlp(n=D, m=D):
    """A small network from ``n`` features of a node to ``m``."""
    return nn.Sequential(nn.Linear(n, 8), nn.Tanh(), nn.Linear(8, m))


LAYERS = {
    "GCNConv": lambda: gnn.GCNConv(D, D),
    "ChebConv": lambda: gnn.ChebConv(D, D, 3),
    "SAGEConv": lambda: gnn.SAGEConv(D, D),
    "SAGEConv of maxima": lambda: gnn.SAGEConv(D, D, aggr="max"),
    "GATConv": lambda: gnn.GATConv(D, 2, heads=2),
    "GATv2Conv": lambda: gnn.GATv2Conv(D, 2, heads=2),
    "TransformerConv": lambda: gnn.TransformerConv(D, 2, heads=2),
    "GINConv": lambda: gnn.GINConv(mlp(), train_eps=True),
    "GraphConv": lambda: gnn.GraphConv(D, D),
    "GatedGraphConv": lambda: gnn.GatedGraphConv(D, 2),
    "ResGatedGraphConv": lambda: gnn.ResGatedGraphConv(D, D),
    "TAGConv": lambda: gnn.TAGConv(D, D),
    "SGConv": lambda: gnn.SGConv(D, D, K=2),
    "APPNP": lambda: gnn.APPNP(3, 0.1),
    "ARMAConv": lambda: gnn.ARMAConv(D, D, num_stacks=2),
    "EdgeConv": lambda: gnn.EdgeConv(mlp(2 * D, D)),
    "EGConv": lambda: gnn.EGConv(D, D, num_heads=2),
    "LEConv": lambda: gnn.LEConv(D, D),
    "ClusterGCNConv": lambda: gnn.ClusterGCNConv(D, D),
    "FiLMConv": lambda: gnn.FiLMConv(D, D),
    "GENConv": lambda: gnn.GENConv(D, D),
    "SuperGATConv": lambda: gnn.SuperGATConv(D, 2, heads=2),
    "PNAConv": lambda: gnn.PNAConv(D, D, ["mean", "max", "std"], ["identity"], deg=torch.tensor([1, 4, 8, 8, 4, 1])),
    "MFConv": lambda: gnn.MFConv(D, D),
}
for _name, _make in LAYERS.items():

    def _asked(make=_make):
        return nodes(make())

    _asked.__name__ = _name.replace(" ", "_")
    CASES.equivariant(AUTHORS)(_asked)


def dense(n, generator):
    """Random features ``(n, N, D)`` and adjacency matrices ``(n, N, N)`` of graphs."""
    x = graphs(n, generator)
    return x[:, : N * D].reshape(n, N, D), x[:, N * D :].reshape(n, N, N)


DENSE = {
    "DenseGCNConv": lambda: gnn.DenseGCNConv(D, D),
    "DenseSAGEConv": lambda: gnn.DenseSAGEConv(D, D),
    "DenseGraphConv": lambda: gnn.DenseGraphConv(D, D),
    "DenseGINConv": lambda: gnn.DenseGINConv(mlp()),
}
for _name, _make in DENSE.items():

    def _asked(make=_make):
        each = NODES * trivial(GROUP, D)
        return Question(make().eval(), GROUP, (each, NODES * NODES), each, inputs=dense)

    _asked.__name__ = f"{_name}_as_it_is"
    CASES.equivariant(AUTHORS)(_asked)


@CASES.broken("the graph is read with its nodes moved on by one")
def DenseGCNConv_of_a_graph_whose_nodes_are_moved_on():
    layer, each = gnn.DenseGCNConv(D, D), NODES * trivial(GROUP, D)
    return Question(lambda x, a: layer(x.roll(1, 1), a), GROUP, (each, NODES * NODES), each, inputs=dense)


def which(x):
    """The number in the batch of each node's graph."""
    return torch.arange(len(x)) // N


READINGS = {
    "global_add_pool": lambda: gnn.SumAggregation(),
    "global_max_pool": lambda: gnn.MaxAggregation(),
    "MedianAggregation": lambda: gnn.MedianAggregation(),
    "SoftmaxAggregation": lambda: gnn.SoftmaxAggregation(learn=True),
    "AttentionalAggregation": lambda: gnn.AttentionalAggregation(nn.Linear(D, 1)),
    "Set2Set": lambda: gnn.Set2Set(D, 3),
    "DeepSetsAggregation": lambda: gnn.DeepSetsAggregation(mlp(), mlp()),
    "SetTransformerAggregation": lambda: gnn.SetTransformerAggregation(D, heads=2),
}
for _name, _make in READINGS.items():

    def _reading(make=_make, name=_name):
        numbers = 2 * D if name == "Set2Set" else D
        return whole(make(), lambda layer, x, e: layer(x, which(x)), numbers)

    _reading.__name__ = _name
    CASES.equivariant("a symmetric function of a set (Zaheer et al. 2017; Vinyals et al. 2016; Lee 2019)")(_reading)


@CASES.equivariant(AUTHORS)
def GCN_of_three_layers_and_a_mean():
    net = gnn.GCN(D, 8, 3, D)
    return whole(net, lambda layer, x, e: gnn.global_mean_pool(layer(x, e), which(x)))


@CASES.equivariant("scales by feature; running statistics after training")
def GIN_with_BatchNorm_after_training():
    norm = gnn.BatchNorm(D)
    norm(torch.randn(64, D) * 3 + 1)
    net = nn.ModuleList([gnn.GINConv(mlp()), norm])
    return nodes(net, lambda layers, x, e: layers[1](layers[0](x, e)))


@CASES.refused("mixes the examples of a batch")
def GIN_with_BatchNorm_in_training_mode():
    net = nn.ModuleList([gnn.GINConv(mlp()), gnn.BatchNorm(D)])
    return nodes(net, lambda layers, x, e: layers[1](layers[0](x, e)), training=True)


@CASES.equivariant("statistics of each graph")
def GraphNorm():
    norm = gnn.GraphNorm(D)
    return nodes(norm, lambda layer, x, e: layer(x, which(x)))


@CASES.equivariant("degrees move with their nodes")
def degrees_as_features():
    return nodes(nn.Linear(1, D), lambda layer, x, e: layer(degree(e[0], len(x)).unsqueeze(1)))


# ------------------------------------------------------------------------------------------------------------- broken


@CASES.broken("an LSTM reads the nodes by their numbers (the library says so)")
def LSTMAggregation():
    return whole(gnn.LSTMAggregation(D, D), lambda layer, x, e: layer(x, which(x)))


@CASES.broken("a GRU reads the nodes by their numbers (the library says so)")
def GRUAggregation():
    return whole(gnn.GRUAggregation(D, D), lambda layer, x, e: layer(x, which(x)))


@CASES.broken("an MLP on the nodes in their order (the library says so)")
def MLPAggregation():
    made = gnn.MLPAggregation(D, D, N, num_layers=1)
    return whole(made, lambda layer, x, e: layer(x, which(x), dim_size=len(x) // N))


@CASES.broken("an encoding of a node's number is added")
def GCNConv_after_PositionalEncoding():
    net = nn.ModuleList([gnn.PositionalEncoding(D), gnn.GCNConv(D, D)])
    return nodes(net, lambda layers, x, e: layers[1](x + layers[0](torch.arange(len(x)) % N), e))


@CASES.broken("a table of features by a node's number is added")
def GCNConv_after_an_Embedding_of_numbers():
    net = nn.ModuleList([nn.Embedding(N, D), gnn.GCNConv(D, D)])
    return nodes(net, lambda layers, x, e: layers[1](x + layers[0](torch.arange(len(x)) % N), e))


@CASES.broken("only edges to a node with a larger number are kept")
def GCNConv_of_edges_one_way():
    return nodes(gnn.GCNConv(D, D), lambda layer, x, e: layer(x, e[:, e[0] < e[1]]))


@CASES.broken("a dense map across the numbers of nodes")
def Linear_of_the_adjacency_matrix():
    def call(layer, x, e):
        rows = torch.zeros(len(x), N).index_put((e[0], e[1] % N), torch.tensor(1.0))
        return layer(rows)

    return nodes(nn.Linear(N, D), call)


@CASES.broken("the first node is weighed by 1% more")
def GCNConv_with_one_node_weighed_by_1_percent_more():
    def call(layer, x, e):
        return layer(x * (1 + 0.01 * (torch.arange(len(x)) % N == 0).float()).unsqueeze(1), e)

    return nodes(gnn.GCNConv(D, D), call)


# ---------------------------------------------------------------------------------------------------- points of space

SO3 = so(3)
POINTS = 5
PLACES = trivial(SO3, POINTS) * defining(SO3)


def pairs(n):
    """All ordered pairs of different points of one cloud, ``(2, pairs)``, in ``n`` clouds numbered through."""
    i, j = (~torch.eye(POINTS, dtype=torch.bool)).nonzero().T
    start = POINTS * torch.arange(n)[:, None]
    return torch.stack([(start + i).flatten(), (start + j).flatten()])


class OnPoints(nn.Module):
    """A layer on positions, as a module of plain tensors; ``call(layer, positions, pairs)`` calls it."""

    def __init__(self, layer, call):
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, x):
        """What ``call`` makes of positions ``(batch, points, 3)``, flat for each cloud: ``(batch, numbers)``."""
        return self.call(self.layer, x.reshape(-1, 3), pairs(len(x))).reshape(len(x), -1)


def energy(layer, at, pair):
    """SchNet's energy of each cloud of carbon atoms at ``at (atoms, 3)``; ``pair`` is not used."""
    return layer(torch.full((len(at),), 6), at, torch.arange(len(at)) // POINTS)


def schnet():
    """A small SchNet that takes all pairs as neighbours, since the library's search for them is an extension."""

    class Pairs(nn.Module):
        def forward(self, at, batch):
            pair = pairs(len(at) // POINTS)
            return pair, (at[pair[0]] - at[pair[1]]).norm(dim=-1)

    torch.manual_seed(0)
    return gnn.SchNet(8, 8, 2, 8, interaction_graph=Pairs()).double()


@CASES.equivariant("a function of distances (Schütt et al. 2017)")
def SchNet_energy():
    return Question(OnPoints(schnet(), energy).eval(), SO3, PLACES, trivial(SO3))


@CASES.equivariant("forces are the gradient of an energy of distances (Schütt et al. 2017)")
def SchNet_forces():
    def forces(layer, at, pair):
        at = at.requires_grad_()
        return torch.autograd.grad(energy(layer, at, pair).sum(), at)[0]

    return Question(OnPoints(schnet(), forces).eval(), SO3, PLACES, PLACES.reshape(3 * POINTS))


@CASES.broken("forces with one axis scaled by 1%")
def SchNet_forces_with_an_axis_scaled_by_1_percent():
    def forces(layer, at, pair):
        at = at.requires_grad_()
        return torch.autograd.grad(energy(layer, at, pair).sum(), at)[0] * torch.tensor([1.01, 1, 1])

    return Question(OnPoints(schnet(), forces).eval(), SO3, PLACES, PLACES.reshape(3 * POINTS))


@CASES.broken("an MLP of relative positions (Qi et al. 2017): commutes with shifts, not with turns")
def PointNetConv_under_turns():
    layer = gnn.PointNetConv(mlp(3, D))
    return Question(OnPoints(layer, lambda m, at, e: m(None, at, e)).eval(), SO3, PLACES, trivial(SO3, POINTS * D))


@CASES.broken("an MLP of relative positions (Zhao et al. 2021)")
def PointTransformerConv_under_turns():
    layer = gnn.PointTransformerConv(1, D)
    call = lambda m, at, e: m(torch.ones(len(at), 1), at, e)  # noqa: E731
    return Question(OnPoints(layer, call).eval(), SO3, PLACES, trivial(SO3, POINTS * D))


@CASES.equivariant("pairs of points by their distances (Deng et al. 2018: four numbers that turns do not change)")
def PPFConv_with_normals_along_the_points():
    layer = gnn.PPFConv(mlp(4, D), add_self_loops=False)
    call = lambda m, at, e: m(None, at, nn.functional.normalize(at, dim=-1), e)  # noqa: E731
    return Question(OnPoints(layer, call).eval(), SO3, PLACES, trivial(SO3, POINTS * D), tolerance=1e-3, eps=5e-3)
