"""Recordings: rewritten and replayed they give what the function gives, in fewer operations, and nothing is shared."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from msr.errors import ModelError
from msr.layers import ReparamLinear
from msr.meta import SGD, Learner, OuterLoop, Problem, Ridge, from_module
from msr.meta.record.recording import record
from msr.sharing import DenseSharing
from tests.support.cases import random_episodes, seeded

aten = torch.ops.aten


def operations(module):
    return [n for n in module.graph.nodes if n.op in ("call_function", "call_method")]


def names(module):
    return [n.target if n.op == "call_method" else getattr(n.target, "__name__", "") for n in operations(module)]


def agree(function, *arguments):
    """The rewritten recording, after it has been compared with the plain one and with the function."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the recording is replayed as it is")  # a rule failed
        rewritten, plain = record(function, *arguments), record(function, *arguments, rewrite=False)
    torch.testing.assert_close(rewritten(*arguments), list(function(*arguments)))
    torch.testing.assert_close(plain(*arguments), list(function(*arguments)))
    moved = [t + torch.arange(t.numel(), dtype=t.dtype).view(t.shape) / 7 for t in arguments]
    torch.testing.assert_close(rewritten(*moved), list(function(*moved)))  # no value was frozen into the record
    return rewritten


def draw(gen, *shape):
    return torch.randn(*shape, generator=gen, dtype=torch.float64)


# Each function is one rule's: what the rewritten record must hold, and what it must not.
RULES = {
    "views": (lambda x, y: [x.view(6, 2).view(3, 4).mT.mT * y], {"mul"}, {"reshape", "permute", "view"}),
    "size-1 axes": (lambda x, y: [x.unsqueeze(1).transpose(0, 1).squeeze(0) * y], {"mul"}, {"permute"}),
    "copies": (lambda x, y: [x.clone().contiguous() + y], {"add"}, {"clone"}),
    "ones": (lambda x, y: [x * torch.ones_like(x) * y], {"mul"}, {"ones_like"}),
    "zeros": (lambda x, y: [x + torch.zeros_like(x) - y, torch.zeros_like(x) + y], {"sub"}, {"add", "zeros_like"}),
    "scales": (lambda x, y: [-(x * 3.0) / 2 * y], {"mul"}, {"neg", "div"}),
    "sums of views": (lambda x, y: [x.mT + y.mT], {"add"}, set()),
    "expansions": (lambda x, y: [x[:1].expand(3, 4) * y[:1].expand(3, 4) + x], {"addcmul"}, {"expand"}),
    "reductions": (lambda x, y: [(x * y).sum(0, keepdim=True).sum(1), x.sum(0).sum(0)], {"sum"}, set()),
    "squared errors": (lambda x, y: [F.mse_loss(x, y, reduction="none")], {"sub", "mul"}, {"mse_loss"}),
    "equal operations": (lambda x, y: [(x @ y.mT).sin() + 1, (x @ y.mT).cos()], {"mm"}, set()),
    "added products": (lambda x, y: [x + y * x, x - x * y, x + 3.0 * y], {"addcmul"}, {"mul"}),
    "mean squares": (
        lambda x, y: [(x * x).mean(-1, keepdim=True), (y * y).sum((0, 1))],
        {"linalg_vector_norm"},
        {"mean", "sum"},
    ),
    "transposed products": (lambda x, y: [(x @ y.mT).mT.reshape(9) * 2], {"mm"}, {"clone"}),
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_keeps_the_values_and_does_its_work(rule, gen):
    function, has, lacks = RULES[rule]
    found = names(agree(function, draw(gen, 3, 4), draw(gen, 3, 4)))
    assert has <= set(found)
    assert not lacks & set(found)


def test_equal_operations_are_merged(gen):
    x, y, z = draw(gen, 5, 6), draw(gen, 6, 4), draw(gen, 6, 4)
    assert names(agree(lambda x, y, z: [x @ y + x @ z], x, y, z)).count("mm") == 1
    assert names(agree(lambda x, y, z: [y.mT @ x.mT + z.mT @ x.mT], x, y, z)).count("mm") == 1
    assert names(agree(lambda x, y, z: [x @ y, x @ y], x, y, z)).count("mm") == 1
    assert names(agree(lambda x, y, z: [y.sum(0, keepdim=True).sum(1, keepdim=True)], x, y, z)).count("sum") == 1
    assert names(agree(lambda x, y, z: [(y * 2.0) * 0.5], x, y, z)).count("mul") == 0


def test_different_operations_are_not_merged(gen):
    x, y = draw(gen, 3, 4), draw(gen, 3, 4)
    # A factor from the right, sums over a kept and a dropped axis, numbers of another dtype, an added one.
    agree(lambda x, y: [x @ y.mT + y @ x.mT, x.sum(1).sum(0), x.sum(0).unsqueeze(0).sum(0)], x, y)
    agree(lambda x, y: [x.float() * torch.ones_like(x), x + torch.ones_like(x), x - 2.0 * torch.ones_like(y)], x, y)
    agree(
        lambda x, y: [torch.zeros_like(x) - y, torch.add(x, y, alpha=2), torch.div(x, y, rounding_mode="floor")], x, y
    )
    agree(lambda x, y: [(x * 0.0) * y, x[:, 1:3] * 1.0, x.expand(2, 3, 4) * 1.0, x.sum(), x / 3, 3 / x, 1.0 * x], x, y)
    torch.testing.assert_close(record(lambda x: [x / 0.0], x)(x), [x / 0.0])


@pytest.mark.parametrize(("m", "inner", "n"), [(300, 32, 3), (32, 300, 3), (300, 9, 8), (5, 300, 3), (300, 32, 9)])
def test_thin_products(m, inner, n, gen):
    a, b = draw(gen, m, inner), draw(gen, inner, n)
    agree(lambda a, b: [a @ b, (a @ b).mT.reshape(-1), b.mT.reshape(-1, 2 if inner % 2 == 0 else 1) * 2], a, b)
    agree(lambda a, b: torch.autograd.functional.vjp(torch.mm, (a, b), a @ b)[1], a, b)


def test_outer_products_are_entry_by_entry(gen):
    x, y = draw(gen, 4, 5, 1), draw(gen, 4, 1, 3)
    found = names(agree(lambda x, y: [torch.bmm(x, y)], x, y))
    assert "bmm" not in found
    assert "bmm" in names(agree(lambda x, y: [torch.bmm(x.mT, x)], x, y))


def test_a_factor_moves_to_the_fewest_numbers(gen):
    a, b, v = draw(gen, 4, 30, 20), draw(gen, 4, 20, 25), draw(gen, 3, 4)

    def function(a, b, v):
        products = torch.bmm(a * 0.3, b)
        return [v @ products.reshape(4, 750), products.reshape(4, 750).mT @ v.mT]

    module = agree(function, a, b, v)
    scaled = [n for n in operations(module) if n.target is torch.mul]
    assert [tuple(n.meta["rewritten"][0]) for n in scaled] in ([(3, 4), (4, 3)], [(4, 3), (3, 4)])
    # Where it stands well, or something else reads the scaled factor or the product, nothing moves (and it ends).
    agree(lambda a: [torch.bmm((a * 0.3).mT, a), torch.bmm(a * 0.7, a.mT)], draw(gen, 2, 3, 3))
    agree(lambda a, b: [torch.bmm(a * 0.3, b), a * 0.3], a, b)
    agree(lambda a, b, v: [(x := torch.bmm(a * 0.3, b)), v @ x.reshape(4, 750)], a, b, v)


def test_few_rows_are_transposed_before_many_matrices_are_made_of_them(gen):
    x, v, rows = draw(gen, 16, 5, 7), draw(gen, 16, 3), draw(gen, 3, 42)

    def function(x, v, rows):
        return [torch.bmm(x, (v @ rows).reshape(16, 6, 7).mT)]

    module = agree(function, x, v, rows)
    copies = [n for n in operations(module) if n.target == "copy_"]
    assert [tuple(getattr(module.module, n.args[0].target).shape) for n in copies] == [(3, 7, 6)]
    agree(lambda x, v, rows: [torch.bmm(x, (w := (v @ rows).reshape(16, 6, 7)).mT), w], x, v, rows)


class TestBuffers:
    """Small replays write into memory of their own, which no caller may see."""

    def function(self, x, y):
        z = (x @ y).reshape(6, 6)
        return [z.mT * 2.0, (z.mT @ z).sum(0), z.reshape(4, 9).mT + 1.0]

    def test_results_stay_when_it_runs_again(self, gen):
        x, y = draw(gen, 4, 5), draw(gen, 5, 9)
        replay = record(self.function, x, y)
        assert replay._another is not None
        first = replay(x, y)
        kept = [t.clone() for t in first]
        replay(y.mT[:4, :5].contiguous(), y)
        torch.testing.assert_close(first, kept, rtol=0, atol=0)
        assert all(not t.is_inference() and t.is_contiguous() for t in first)

    def test_views_are_made_once(self, gen):
        x, y = draw(gen, 4, 5), draw(gen, 5, 9)
        views = [names(record(self.function, x, y, rewrite=rewrite)) for rewrite in (True, False)]
        assert not {"permute", "transpose", "view"} & set(views[0])
        assert len(views[0]) < len(views[1])

    def test_threads_do_not_share_them(self, gen):
        y = draw(gen, 60, 60)
        many = [draw(gen, 60, 60) for _ in range(24)]

        def function(x, y):
            for _ in range(12):
                x = (x @ y).mT.reshape(30, 120).reshape(60, 60) / 60
            return [x]

        replay = record(function, many[0], y)
        alone = [replay(x, y)[0] for x in many]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda x: replay(x, y)[0], many))
        torch.testing.assert_close(together, alone, rtol=0, atol=0)

        # Threads seldom meet in a call this short: what must hold is that buffers in use are not there to be taken.
        (own,) = replay._idle[:1]
        others = []
        replay._idle[:] = [lambda *arguments: others.append(list(replay._idle)) or own(*arguments)]
        replay(many[0], y)
        assert others == [[]]
        assert len(replay._idle) == 1

    def test_what_is_large_or_random_keeps_none(self, gen, monkeypatch):
        with torch.random.fork_rng():
            assert record(lambda x: [torch.bernoulli(x.sigmoid()) @ x], draw(gen, 5, 5))._another is None
        monkeypatch.setattr("msr.meta.record.buffers.MOST_BYTES", 8 * 36)
        assert record(self.function, draw(gen, 4, 5), draw(gen, 5, 9))._another is None


def test_random_numbers_are_drawn_each_time(gen):
    with torch.random.fork_rng():  # recording draws, too
        noise = record(lambda x: [torch.bernoulli(x.sigmoid()), torch.bernoulli(x.sigmoid())], draw(gen, 50))
        a, b = noise(draw(gen, 50))
    assert not torch.equal(a, b)


def test_results_share_no_memory_and_lie_row_by_row(gen):
    x, y = draw(gen, 300, 3), draw(gen, 32, 300)

    def function(x, y):
        z = x + 1
        return [
            z,
            z.mT,
            z.view(-1),
            x,
            x.mT,
            x[:2],
            torch.ones_like(x).mT,
            y @ x,
            y @ x,
            z.expand(2, 300, 3),
            *z.split(200),
        ]

    results = agree(function, x, y)(x, y)
    before = [t.clone() for t in results]
    for i, result in enumerate(results):
        assert result.is_contiguous(), i
        result.add_(100)  # were memory shared, another result or an argument would move
        others = [t for j, t in enumerate(results) if j > i]
        torch.testing.assert_close(others, before[i + 1 :], rtol=0, atol=0)
    torch.testing.assert_close(record(function, x, y)(x, y), before, rtol=0, atol=0)


def test_strides_are_respected(gen):
    strided = draw(gen, 4, 3).mT
    agree(lambda x: [x.contiguous().view(12), x.contiguous().as_strided((2, 2), (4, 1)) + 1], strided)
    assert record(lambda x: [x.sin()], strided)(strided)[0].is_contiguous()


def test_what_looks_at_values_is_refused(gen):
    with pytest.raises(ModelError, match="cannot be traced"):
        record(lambda x: [x if x.sum() > 0 else -x], draw(gen, 3))


def linear(gen, rows=1, dtype=torch.float64):
    layer = ReparamLinear(70, 68, bias=False, dtype=dtype, sharing=partial(DenseSharing, k=3), generator=gen)
    return from_module(layer), random_episodes(gen, 4, rows, 5, (70,), (68,))


@pytest.mark.parametrize("solver", [SGD(1, rate=0.3), SGD(3, rate=0.3), Ridge(1e-2)], ids=["sgd-1", "sgd-3", "ridge"])
@pytest.mark.parametrize("rows", [1, 4])
def test_the_translation_problem_is_rewritten_into_the_same_gradient(solver, rows, gen):
    (problem, shared, initial), e = linear(gen, rows)
    plain, traced = (Learner(problem, solver, batching="vmap", trace=trace) for trace in (False, True))
    params = plain.init(shared, initial)
    (a_losses, a), (b_losses, b) = (way.meta_gradient(params, e) for way in (plain, traced))
    torch.testing.assert_close(b_losses, a_losses)
    torch.testing.assert_close(b.leaves(), a.leaves())


def test_three_steps_share_their_products_with_the_pattern(gen):
    """What made it fast: however many steps, ``x Uᵀ`` once forward and once back."""
    (problem, shared, initial), e = linear(gen)
    counts = []
    for steps in (1, 3):
        learner = Learner(problem, SGD(steps), batching="vmap", trace=True)
        learner.meta_gradient(learner.init(shared, initial), e)
        (graph,) = (entry[0] for entry in learner._records.entries.values())
        counts.append(names(graph).count("mm"))
    assert counts[0] == counts[1] <= 5


def image_problem(gen):
    conv = partial(nn.Conv2d, kernel_size=3, padding=1, dtype=torch.float64)
    norm = partial(nn.BatchNorm2d, 4, dtype=torch.float64)
    head = partial(nn.Linear, 16, 3, dtype=torch.float64)
    block = [nn.ReLU(), nn.MaxPool2d(2)]
    net = seeded(
        lambda: nn.Sequential(conv(1, 4), norm(), *block, conv(4, 4), norm(), *block, nn.Flatten(), head())
    )  # fmt: skip
    e = random_episodes(gen, 3, 3, 6, (1, 8, 8), ())
    labels = [torch.randint(3, (3, n), generator=gen) for n in (3, 6)]
    return from_module(net, F.cross_entropy), e._replace(support_y=labels[0], query_y=labels[1])


@pytest.mark.parametrize(
    "how", [{"trace": True}, {"channels_last": True}, {"trace": True, "channels_last": True, "workers": 2}], ids=str
)
def test_a_recorded_loop_over_images_gives_the_plain_gradient(how, gen):
    (problem, shared, initial), e = image_problem(gen)
    reference, fast = Learner(problem, SGD(2), batching="vmap"), Learner(problem, SGD(2), batching="loop", **how)
    params, threads = reference.init(shared, initial), torch.get_num_threads()
    (a_losses, a), (b_losses, b) = (way.meta_gradient(params, e) for way in (reference, fast))
    torch.testing.assert_close(b_losses, a_losses)
    torch.testing.assert_close(b.leaves(), a.leaves(), rtol=1e-6, atol=1e-9)
    assert torch.get_num_threads() == threads
    again = fast.meta_gradient(params, e).gradient
    torch.testing.assert_close(again.leaves(), b.leaves(), rtol=0, atol=0)


def test_a_record_keeps_the_channels_innermost(gen):
    """The rewriting may drop copies and reshape; images must still reach each operation in the layout asked for."""
    (problem, shared, initial), e = image_problem(gen)
    learner = Learner(problem, SGD(1), batching="loop", trace=True, channels_last=True)
    learner.meta_gradient(params := learner.init(shared, initial), e)
    (graph,) = (entry[0] for entry in learner._records.entries.values())
    layouts = []

    class Watch(torch.fx.Interpreter):
        def run_node(self, n):
            result = super().run_node(n)
            if n.target is aten.convolution.default and result.shape[2:] != (3, 3):  # not the slope of a filter
                layouts.append(result.is_contiguous(memory_format=torch.channels_last))
            return result

    Watch(graph.module).run(*params.leaves(), *next(learner._chunks(e)))
    assert len(layouts) > 4
    assert all(layouts)


def test_channels_are_innermost_where_asked(gen):
    (problem, shared, initial), e = image_problem(gen)
    seen = []

    def watched(params, x):
        seen.append(x.stride())
        return problem.predict(params, x)

    for batching, wanted in (("loop", (64, 1, 8, 1)), ("vmap", (64, 64, 8, 1))):
        learner = Learner(type(problem)(watched, F.cross_entropy), SGD(1), batching=batching, channels_last=True)
        seen.clear()
        learner.meta_gradient(learner.init(shared, initial), e)
        assert set(seen) == {wanted}


@pytest.mark.parametrize(
    "how", [{"batching": "vmap"}, {"batching": "vmap", "trace": True}, {"batching": "loop"}], ids=str
)
def test_fused_optimisers_see_gradients_in_their_parameters_layout(how, gen):
    """torch's fused optimisers misread others, silently: the step must be the plain optimiser's."""
    e = random_episodes(gen, 4, 2, 3, (4, 5), (4, 5))
    problem, initial = Problem(lambda params, x: x * params["v"].mT), {"v": draw(gen, 5, 4)}  # its slope is a transpose
    after = []
    for fused in (False, True):
        learner = Learner(problem, SGD(2), **how)
        loop = OuterLoop(learner, learner.init({}, initial), partial(torch.optim.SGD, lr=0.1, fused=fused))
        loop.step(e)
        after.append(loop.params.leaves())
        slopes = learner.meta_gradient(loop.params, e).gradient.leaves()
        assert [s.stride() for s in slopes] == [p.stride() for p in loop.params.leaves()]
    torch.testing.assert_close(after[1], after[0])


CLOSED = torch.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: [(x * y) @ CLOSED],
        lambda x, y: [x.expand(3, 4) + CLOSED.mT, (x @ CLOSED) * CLOSED[0]],
        lambda x, y: [x * CLOSED.sum(0).sum(0)],
        lambda x, y: [x.sum(0).sum(-1), y.sum(dim=None, keepdim=True).sum(0)],
        lambda x, y: [x * torch.full((4,), 2.7, dtype=torch.long)],
        lambda x, y: [(x @ torch.ones(4, 300)) @ torch.ones(300, 2)],
    ],
)
def test_what_a_function_closes_over_is_read_right(function, gen):
    x, y = (torch.randn(3, 4, generator=gen) for _ in range(2))
    got = record(function, x, y)(x, y)
    torch.testing.assert_close(list(got), list(function(x, y)))


def test_a_rule_that_fails_costs_only_speed(monkeypatch, gen):
    x = torch.randn(3, 4, generator=gen)

    def broken(graph):
        raise KeyError("a rule")

    monkeypatch.setattr("msr.meta.record.recording.simplify", broken)
    with pytest.warns(UserWarning, match="rewriting it failed"):
        replay = record(lambda x: [x.sin() * 2, x], x)
    one, two = replay(x)
    torch.testing.assert_close(one, x.sin() * 2)
    assert two.data_ptr() != x.data_ptr()  # results are still tensors of their own


def slope_of(network):
    """``(w, x) -> network(w x)`` and the slope of its square, as a recording of a training step has them."""

    def function(w, x):
        value, pull = torch.func.vjp(lambda w: network(w * x), w)
        return [value, *pull(2 * value)]

    return function


class TestPooling:
    def images(self, gen):
        w, x = draw(gen, 2, 3, 8, 8), draw(gen, 2, 3, 8, 8)
        x[0, 0, :4] = -w[0, 0, :4].abs().sign() * w[0, 0, :4].sign()  # windows without a positive entry
        x[1, 1, :, :3] = 0  # and with equal ones
        return w, x

    @pytest.mark.parametrize(
        "pool", [{}, {"stride": 1}, {"stride": 2, "padding": 1}, {"ceil_mode": True, "stride": 3}], ids=str
    )
    @pytest.mark.parametrize("normed", [True, False])
    def test_the_relu_comes_after_the_pooling(self, pool, normed, gen):
        def network(x):
            x = F.batch_norm(x, None, None, training=True) if normed else x.sin()
            return F.max_pool2d(x.relu(), 3, **pool)

        w, x = self.images(gen)
        assert {bool(value > 0) for value in network(w * x).flatten()} == {True, False}
        module = agree(slope_of(network), w, x)
        shape_of = {n.name: tuple(n.meta["tensor_meta"].shape) for n in operations(module) if "tensor_meta" in n.meta}
        gates = [n for n in operations(module) if "relu" in str(n.target) or "threshold" in str(n.target)]
        small = tuple(network(w * x).shape)
        assert [shape_of[gate.name] for gate in gates] == [small, small]

    def test_the_slopes_are_the_same_to_the_bit(self, gen):
        function, (w, x) = slope_of(lambda x: F.max_pool2d(x.relu(), 2)), self.images(gen)
        for got, want in zip(record(function, w, x)(w, x), function(w, x), strict=True):
            assert torch.equal(got, want)

    @pytest.mark.parametrize(
        "network",
        [
            lambda x: F.max_pool2d(x, 2) + x[..., ::2, ::2],
            lambda x: F.max_pool2d(x, 2) * x.detach().mean(),
            lambda x: F.max_pool2d(x, 2) * F.max_pool2d(x, 3, stride=2, padding=1),
        ],
        ids=["also read as it is", "also read as a constant", "two poolings"],
    )
    def test_a_relu_that_others_read_stays(self, network, gen):
        w, x = self.images(gen)
        module = agree(slope_of(lambda x: network(x.relu())), w, x)
        pools = [n for n in operations(module) if "max_pool2d_with_indices.default" in str(n.target)]
        assert all("relu" in str(n.args[0].target) for n in pools)

    def test_a_pooling_whose_places_others_read_stays(self, gen):
        def function(w, x):
            value, places = F.max_pool2d((w * x).relu(), 2, return_indices=True)
            return [F.max_unpool2d(value + 1, places, 2), places]

        w, x = self.images(gen)
        agree(function, -w.abs() - 1, x.abs() + 1)  # no entry is positive

    def test_windows_in_the_padding_alone(self, gen):
        one = torch.randn(2, 3, 1, 1, generator=gen, dtype=torch.float64)
        agree(slope_of(lambda x: F.max_pool2d(x.relu(), 2, padding=1, dilation=2).clamp_min(-1)), one, one)

    def test_pooling_of_which_only_the_slope_is_used(self, gen):
        w, x = self.images(gen)

        def function(w, x, g):
            return list(torch.func.vjp(lambda w: F.max_pool2d((w * x).relu(), 2), w)[1](g))

        module = agree(function, w, x, torch.randn(2, 3, 4, 4, generator=gen, dtype=torch.float64))
        pooled = next(n for n in operations(module) if "max_pool2d_with_indices.default" in str(n.target))
        assert "relu" not in str(pooled.args[0])
