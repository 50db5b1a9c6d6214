"""Batch norms of meta-trained networks: their running statistics are refused, or taken from examples."""

import copy

import pytest
import torch
from torch import nn

from msr.errors import ConfigError, ModelError
from msr.layers import calibrate, fold, reparameterize
from msr.meta import SGD, Learner, from_module, load_params
from tests.support.cases import randomize, seeded


def network():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3),
        nn.BatchNorm2d(6, momentum=None),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 16, 3),
    )


def fitted(gen):
    """A network with a task's parameters, its support set, and what was evaluated on a set."""
    net = reparameterize(seeded(network)).module
    problem, shared, initial = from_module(net)
    learner = Learner(problem, SGD(steps=3, rate=0.1), batching="loop")
    params = learner.init(shared, initial)
    x = 8 * torch.randn(1, 20, 1, 6, 6, generator=gen) + 5
    adapted = learner.adapt(params, x, torch.randn(1, 20, 3, generator=gen))
    own = {name: tensor[0] for name, tensor in adapted.items()}
    load_params(net, params.shared, own)
    return net, x[0], lambda batch: problem.predict({**params.shared, **own}, batch)


def distance(ours, right):
    return float((ours - right).detach().norm() / right.detach().norm())


def test_folding_a_network_with_stale_statistics_is_refused(gen):
    net, x, evaluated = fitted(gen)
    right = evaluated(x)
    assert distance(copy.deepcopy(net).eval()(x), right) > 0.7  # what eval() would silently have been
    for same in (net, net.eval(), copy.deepcopy(net)):
        with pytest.raises(ModelError, match=r"batch norm '1' and 1 more .*give fold\(\.\.\., statistics=x\)"):
            fold(same)


@pytest.mark.parametrize("training", [True, False])
def test_statistics_are_taken_from_examples(training, gen):
    net, x, evaluated = fitted(gen)
    folded = fold(net.train(training), statistics=x)
    assert folded.training is training
    assert list(folded.state_dict()) == list(seeded(network).state_dict())
    assert distance(folded.eval()(x), evaluated(x)) < 1e-5
    # On another set the statistics of this one stand in for its own: far nearer than none, and no nearer than the two
    # sets' statistics are to each other.
    other = 8 * torch.randn(20, 1, 6, 6, generator=gen) + 5
    assert distance(folded(other), evaluated(other)) < 0.3
    assert not any("counted_when_loaded" in vars(part) for part in folded.modules())
    fold(folded)  # there is nothing to refuse any more
    with pytest.raises(ModelError, match="batch norm"):
        fold(net)  # a copy was made


def test_folded_norms_can_use_the_set_at_hand(gen):
    net, x, evaluated = fitted(gen)
    folded = fold(net, statistics="set").eval()
    for given in (x, x[:7] - 1):
        torch.testing.assert_close(folded(given), evaluated(given), rtol=1e-4, atol=1e-4)
    assert not [key for key in folded.state_dict() if "running" in key or "tracked" in key]


def test_calibrate_changes_nothing_but_running_statistics(gen):
    net, x, evaluated = fitted(gen)
    net[2].eval()
    before = {name: p.clone() for name, p in net.named_parameters()}
    modes = [part.training for part in net.modules()]
    assert calibrate(net, (x,)) < 1e-5
    assert [part.training for part in net.modules()] == modes
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert int(net[1].num_batches_tracked) == 1
    y = net.eval()(x)
    assert distance(y, evaluated(x)) < 1e-5
    torch.testing.assert_close(fold(net)(x), y)


def test_statistics_kept_before_meta_training_are_stale_too(gen):
    """They belong to the weights that were there before."""
    net = seeded(network)
    net(torch.randn(8, 1, 6, 6, generator=gen))
    fold(net)
    load_params(net, {name: p + 0.1 for name, p in from_module(net).initial.items()})
    with pytest.raises(ModelError, match="batch norm '1'"):
        fold(net.eval())
    net.train()(torch.randn(8, 1, 6, 6, generator=gen))  # statistics are kept again
    fold(net)


def test_weights_that_changed_while_no_set_was_counted_are_stale(gen):
    """As when they come from a functional call without ``load_params``; a new network in training mode is no such."""
    net = seeded(network)
    fold(net)
    randomize(net, gen)
    with pytest.raises(ModelError, match="batch norm '1' and 1 more"):
        fold(net)
    fold(net.eval())  # in eval() a copy is what it was


def test_norms_without_running_statistics_are_never_stale(gen):
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)))
    load_params(net, {"0.bias": torch.ones(3)})
    x = torch.randn(5, 4, generator=gen)
    torch.testing.assert_close(fold(net).eval()(x), net(x))
    with pytest.raises(ConfigError, match="no batch norm with running statistics"):
        calibrate(net, x)
    with pytest.raises(ConfigError, match="'set' or None; got 'sets'"):
        fold(net, statistics="sets")


def test_calibrate_returns_the_difference_for_a_norm_used_twice(gen):
    norm = seeded(lambda: nn.BatchNorm1d(3))
    net = nn.Sequential(norm, nn.Softplus(), norm)
    x = 5 * torch.randn(30, 3, generator=gen)
    off = calibrate(net, x)
    assert off > 0.1
    assert off == pytest.approx(distance(net.eval()(x), from_module(net).problem.predict({}, x)), rel=1e-3)
