"""Episodes of several inputs and targets, of arrays, and of what they are not."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from msr.episodes import Episodes
from msr.errors import ConfigError, DataError, ModelError, ShapeError
from msr.meta import SGD, GaussNewton, Learner, OuterLoop, Problem, Ridge, evaluate, from_module
from msr.trees import assembled, leaves_of, mapped, structure_of
from tests.support.cases import seeded


class Two(nn.Module):
    """Two inputs, of which one passes a layer of its own."""

    def __init__(self, bend=torch.tanh):
        super().__init__()
        self.first, self.second, self.bend = nn.Linear(3, 4), nn.Linear(2, 4), bend
        self.double()

    def forward(self, points, colours):
        return self.bend(self.first(points)) + self.second(colours)


class Joined(Two):
    """The same of one tensor that holds both."""

    def forward(self, x):
        return super().forward(x[..., :3], x[..., 3:])


FORMS = {
    "tuple": lambda x: (x[..., :3], x[..., 3:]),
    "dict": lambda x: {"colours": x[..., 3:], "points": x[..., :3]},
}
SOLVERS = {
    "sgd": SGD(2, rate=0.3),
    "ridge": Ridge(0.1),
    "dense": GaussNewton(2),
    "cg": GaussNewton(1, system="cg", cg_steps=4),
    "implicit": GaussNewton(2, gradient="implicit"),
}
WAYS = {
    "vmap": {"batching": "vmap"},
    "chunks": {"batching": "vmap", "chunk_size": 2},
    "loop": {"batching": "loop"},
    "recorded": {"batching": "vmap", "trace": True},
    "workers": {"batching": "loop", "trace": True, "workers": 2},
}


def data(gen, tasks=3):
    x = torch.randn(tasks, 7, 5, generator=gen, dtype=torch.float64)
    return x, torch.randn(tasks, 7, 4, generator=gen, dtype=torch.float64)


def test_examples_are_the_support_followed_by_the_query(gen):
    x, y = data(gen)
    joined_x, joined_y = Episodes.split(x, y, 4).examples()
    assert torch.equal(joined_x, x)
    assert torch.equal(joined_y, y)
    for form in FORMS.values():
        parts, _ = Episodes.split(form(x), y, 4).examples()
        assert type(parts) is type(form(x))
        assert all(map(torch.equal, leaves_of(parts), leaves_of(form(x))))
    nested, _ = Episodes.split({"a": (x.numpy(), y.numpy())}, y, 4).examples()
    assert torch.equal(nested["a"][0], x)
    episodes = Episodes.split(x, y, 4)
    with pytest.raises(ShapeError, match=r"support_x and query_x may differ .* got \(3, 4, 5\) and \(3, 3, 4\)"):
        episodes._replace(query_x=episodes.query_y).examples()
    with pytest.raises(ShapeError, match="support_y and query_y hold different parts"):
        episodes._replace(query_y=(episodes.query_y,)).examples()


def gradient(make, x, y, solver, way):
    shared = (lambda name: name.startswith("first")) if isinstance(solver, Ridge) else None
    problem, held, initial = from_module(seeded(make), shared=shared)
    learner = Learner(problem, solver, **way)
    params, episodes = learner.init(held, initial), Episodes.split(x, y, 4)
    found = learner.meta_gradient(params, episodes)
    return [
        found.losses,
        *found.gradient.leaves(),
        *learner.adapt(params, episodes.support_x, episodes.support_y).values(),
        learner.losses(params, episodes),
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("solver", "way"),
    [*(("sgd", way) for way in WAYS), *((solver, "vmap") for solver in ("ridge", "dense", "cg", "implicit"))],
)
def test_tuples_and_dictionaries_of_inputs_give_the_gradient_of_one_joined_input(form, solver, way, gen):
    x, y = data(gen)
    got = gradient(Two, FORMS[form](x), y, SOLVERS[solver], WAYS[way])
    torch.testing.assert_close(got, gradient(Joined, x, y, SOLVERS[solver], WAYS[way]), rtol=1e-9, atol=1e-11)


def test_engines_of_libraries_take_several_inputs(backend, gen):
    x, y = data(gen)
    got, want = (gradient(Two, FORMS["dict"](x), y, SGD(2), {"engine": e}) for e in (backend, "torch"))
    torch.testing.assert_close(got, want)


def test_a_record_of_a_tuple_is_not_replayed_for_a_dictionary(gen):
    x, y = data(gen)
    halves = {"first": x[..., :2], "second": x[..., 2:4]}

    def predict(params, x):
        return (x["first"] - x["second"] if isinstance(x, dict) else x[0] + x[1]) @ params["w"]

    learner = Learner(Problem(predict), SGD(1), batching="vmap", trace=True)
    params = learner.init({}, {"w": torch.ones(2, 4, dtype=torch.float64)})
    losses = [
        learner.meta_gradient(params, Episodes.split(part, y, 4)).losses for part in (halves, tuple(halves.values()))
    ]
    assert not torch.allclose(*losses)
    plain = Learner(Problem(predict), SGD(1), batching="loop")
    torch.testing.assert_close(
        losses[1], plain.losses(params, Episodes.split(tuple(halves.values()), y, 4), training=True)
    )


def test_several_targets_reach_the_criterion_as_they_were_given(gen):
    x, y = data(gen)
    targets = {"value": y[..., :3], "kind": torch.randint(4, (3, 7), generator=gen)}

    def criterion(prediction, y):
        return F.mse_loss(prediction[:, :3], y["value"]) + F.cross_entropy(prediction, y["kind"])

    problem, shared, initial = from_module(seeded(Joined), criterion)
    found = []
    for batching in ("vmap", "loop"):
        learner = Learner(problem, SGD(1), batching=batching)
        params = learner.init(shared, initial)
        found.append(learner.meta_gradient(params, Episodes.split(x, targets, 4)).gradient.leaves())
        assert evaluate(learner, params, [Episodes.split(x, targets, 4)]).n == 3
    torch.testing.assert_close(*found)
    for solver, name in ((Ridge(), "Ridge"), (GaussNewton(), "GaussNewton")):
        loop = OuterLoop(Learner(problem, solver), params, torch.optim.SGD)
        with pytest.raises(ModelError, match=f"{name} fits a squared error of one tensor, but y is a dict; use SGD"):
            loop.step(Episodes.split(x, targets, 4))


def test_parts_of_episodes_keep_their_form(gen):
    x, y = data(gen)
    for form in FORMS.values():
        episodes = Episodes.split(form(x), y, 4).check()
        assert episodes.n_tasks == 3
        one = episodes.select(slice(1, 2)).to("cpu").check()
        assert one.n_tasks == 1
        parts = leaves_of(one.query_x)
        assert sorted(tuple(p.shape) for p in parts) == [(1, 3, 2), (1, 3, 3)]
        assert type(one.support_x) is type(form(x))
        chosen = episodes.select(torch.tensor([2]))
        assert torch.equal(leaves_of(chosen.support_x)[0], leaves_of(form(x))[0][2:, :4])


def test_trees_are_taken_apart_and_put_together():
    tree = {"b": (1, {"a": 2}), "a": 3}
    assert leaves_of(tree) == [1, 2, 3]
    structure = structure_of((tree, torch.ones(1)))
    assert assembled(structure, [1, 2, 3, 4]) == (tree, 4)
    assert structure_of((torch.ones(1),)) is None
    pair = Episodes(1, 2, 3, 4)
    assert mapped(lambda n: n + 1, pair) == Episodes(2, 3, 4, 5)
    assert isinstance(mapped(lambda n: n, pair), Episodes)


def test_arrays_become_tensors(gen):
    x, y = data(gen)
    got = gradient(Two, (x[..., :3].numpy(), x[..., 3:].numpy()), y.numpy(), SGD(1), WAYS["vmap"])
    torch.testing.assert_close(got, gradient(Joined, x, y, SGD(1), WAYS["vmap"]))
    direct = Episodes(*(part.numpy() for part in Episodes.split(x, y, 4))).check()
    assert all(isinstance(part, torch.Tensor) for part in direct)
    listed = Episodes.split(list(x), list(y), 4)
    assert torch.equal(listed.support_x, x[:, :4])


RAGGED = {
    "list": lambda parts: parts,
    "arrays": lambda parts: [part.numpy() for part in parts],
    "nested": lambda parts: torch.nested.nested_tensor(parts, layout=torch.jagged),
    "strided nested": lambda parts: torch.nested.as_nested_tensor(parts, layout=torch.strided),
    "in a dict": lambda parts: {"points": parts},
}


@pytest.mark.parametrize("form", RAGGED)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_unequal_tasks_are_named_with_their_counts(form):
    parts = [torch.ones(n, 3) for n in (5, 7, 6)]
    with pytest.raises(ShapeError, match=r"x holds tasks of unequal numbers of examples \(5, 7, 6\); pad each to 7"):
        Episodes.split(RAGGED[form](parts), RAGGED[form](parts), 2)
    with pytest.raises(ShapeError, match=r"support_x holds tasks of unequal numbers of examples \(5, 7, 6\)"):
        Episodes(RAGGED[form](parts), parts, parts, parts).check()


def test_padding_with_a_criterion_that_leaves_it_out_is_exact(gen):
    """The remedy of the message above: each task has the loss and the fit of its own examples alone."""

    def criterion(prediction, y):
        known = ~y.isnan()
        return torch.where(known, prediction - y.nan_to_num(), 0).square().sum() / known.sum()

    problem, shared, initial = from_module(seeded(lambda: nn.Linear(3, 1)), criterion)
    learner = Learner(problem, SGD(2), batching="vmap")
    params = learner.init(shared, initial)
    counts = (2, 4, 3)
    tasks = [(torch.randn(n, 3, generator=gen), torch.randn(n, 1, generator=gen)) for n in counts]
    x = torch.stack([F.pad(x, (0, 0, 0, 4 - len(x))) for x, _ in tasks])
    y = torch.stack([F.pad(y, (0, 0, 0, 4 - len(y)), value=torch.nan) for _, y in tasks])
    padded = learner.losses(params, Episodes(x, y, x, y))
    alone = torch.cat([learner.losses(params, Episodes(*(p[None] for p in (x, y, x, y)))) for x, y in tasks])
    torch.testing.assert_close(padded, alone)


@pytest.mark.parametrize(
    ("parts", "said", "kind"),
    [
        ((torch.ones(3), torch.ones(3)), r"x must be \(tasks, examples, ...\)", ShapeError),
        (({}, torch.ones(2, 3)), "x is an empty dict", ShapeError),
        ((None, torch.ones(2, 3)), "x must be a tensor", DataError),
        (("text", torch.ones(2, 3)), "x must be a tensor", DataError),
        ((np.array([["a"]]), torch.ones(2, 3)), "x must hold numbers", DataError),
    ],
)
def test_what_is_no_batch_of_tasks_is_refused(parts, said, kind):
    with pytest.raises(kind, match=said):
        Episodes.split(*parts, 1)


def test_the_parts_of_a_tuple_have_the_same_tasks_and_examples():
    x, y = torch.ones(2, 3, 4), torch.ones(2, 3, 1)
    with pytest.raises(ShapeError, match=r"support_x must be .* with 2 tasks"):
        Episodes((x, x[:1]), y, x, y).check()
    with pytest.raises(ShapeError, match="support_x has 3 examples a task, support_x has 2"):
        Episodes((x, x[:, :2]), y, x, y).check()
    with pytest.raises(ShapeError, match="query_x has 3 examples a task, query_y has 2"):
        Episodes(x, y, x, {"a": y, "b": y[:, :2]}).check()


def test_batches_of_other_sizes_are_steps_of_their_own(gen):
    problem, shared, initial = from_module(seeded(lambda: nn.Linear(3, 1)))
    learner = Learner(problem, SGD(1), batching="vmap")
    params = learner.init(shared, initial)
    batches = [Episodes.split(torch.ones(2, n, 3), torch.ones(2, n, 1), 2) for n in (4, 6)]
    for call in (learner.meta_gradient, learner.losses):
        with pytest.raises(ConfigError, match=r"one msr\.Episodes; got a list.*a step of their own"):
            call(params, batches)
        for batch in batches:
            call(params, batch)
    with pytest.raises(ConfigError, match=r"one msr\.Episodes; got a list"):
        OuterLoop(learner, params, torch.optim.SGD).step(batches)
    with pytest.raises(ConfigError, match="give it a list, of one batch"):
        evaluate(learner, params, batches[0])
    assert evaluate(learner, params, batches).n == 4
