"""Meta-gradients through all kinds of layers against central differences, and exact forms against torch's functions."""

import inspect
import threading
import warnings

import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import nn

from benchmarks import derivatives
from benchmarks.harness.operations import LOSSES, OPERATIONS
from msr.errors import ModelError
from msr.meta import SGD, GaussNewton, Learner, Problem, evaluate, from_module
from msr.meta.exact import Exact, fused_norms, mode
from msr.meta.exact.forms import FORMS, REVERSE_ONLY
from msr.meta.setnorm import SetNorm
from tests.support.cases import random_episodes, seeded

KINDS = [*OPERATIONS, *LOSSES]
# Recording takes a second each.
RECORDED = [
    "LayerNorm", "InstanceNorm2d affine", "weight_norm", "MultiheadAttention no weights", "GRU", "cdist",
    "EmbeddingBag mean", "multi_margin_loss",
]  # fmt: skip


def short(*kinds_solvers_ways):
    """What falls short of a product of kinds, solvers and ways, by the finer difference alone where that will do."""
    rows = derivatives.walk(*kinds_solvers_ways, extrapolated=False)
    return [f"{row.kind}, {row.solver}, {row.way}: {row.error or row.said}" for row in rows if not row.holds]


@pytest.fixture(autouse=True)
def _nothing_kept():
    yield
    derivatives.forget()


@pytest.mark.parametrize("part", range(6))
def test_the_walk_gradient_steps(part):
    """Every kind side by side and in a loop; the norms among them were off by up to 10%."""
    assert len(OPERATIONS) >= 120
    assert len(LOSSES) >= 15
    assert not short(KINDS[part::6], ["SGD"], ["vmap", "loop"])


@pytest.mark.parametrize(("place", "solver"), [(i, name) for i, name in enumerate(derivatives.SOLVERS) if i])
def test_the_walk_other_solvers(place, solver):
    """Every third kind each, and of conjugate gradients, which take half a second, every twelfth.

    The whole product is the benchmark.
    """
    step = 12 if solver == "conjugate gradients" else 3
    assert not short(KINDS[place % 3 :: step], [solver], ["vmap"])


def test_the_walk_norms_in_forward_mode():
    norms = [kind for kind in KINDS if "norm" in kind.lower()]
    assert len(norms) > 25
    assert not short(norms[::3], ["conjugate gradients"], ["vmap"])


def test_the_walk_recorded():
    rows = derivatives.walk(RECORDED, ["SGD"], ["recorded"], extrapolated=False)
    assert all(row.error is not None and row.holds for row in rows), rows


def test_recording_in_forward_mode_leaves_torch_as_it_was():
    """The forward mode of quantiles, recorded, ends inside torch and spoils its transforms for all that comes after."""
    assert not short(["quantile", "erf"], ["ridge head"], ["recorded", "loop"])


def test_the_walk_sees_a_wrong_derivative(monkeypatch):
    """The negative control: without forms layer norm is wrong side by side, and distances have no second derivative."""
    monkeypatch.setattr(mode, "FORMS", {})
    (wrong,) = derivatives.walk(["torch.layer_norm"], ["SGD"], ["vmap"])
    assert wrong.error > 1e-3
    assert not wrong.holds
    (refused,) = derivatives.walk(["cdist"], ["SGD"], ["vmap"])
    if refused.error is None:  # torch 2.14 has one
        assert "no second derivative of cdist" in refused.said
    assert not derivatives.Row("a", "b", "c", None, "RuntimeError: no").holds
    assert not derivatives.Row("a", "b", "c", float("nan")).holds
    assert derivatives.Row("a", "b", "c", None, "refused: no").holds


def agree(call, *tensors):
    """Value and slope of a call, with exact forms and without."""
    results = []
    for function in (call, Exact(call)):
        leaves = [t.detach().clone().requires_grad_() for t in tensors]
        y = function(*leaves)
        results.append([y, *torch.autograd.grad(y.square().sum(), leaves)])
    for plain, exact in zip(*results, strict=True):
        torch.testing.assert_close(exact, plain, rtol=1e-7, atol=1e-7)  # torch's hardsigmoid has 1/6 in float32


MASK = torch.tensor([[0.0, -torch.inf, 0.3], [0.0, 0.0, 0.0], [-torch.inf] * 3]).double()
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 3.0]).double()
BAG, OFFSETS = torch.tensor([0, 3, 3, 1, 2, 0]), torch.tensor([0, 4])
CLASSES = torch.tensor([[3, 0, -1, 1], [1, -1, 0, 2], [-1] * 4])
CALLS = {
    "layer_norm": lambda x: F.layer_norm(x, (3, 4), eps=0.1),
    "rms_norm": lambda x: F.rms_norm(x, (4,), x[0, 0]),
    "rms_norm_eps": lambda x: F.rms_norm(x, (3, 4), eps=0.1),
    "batch_norm_running": lambda x: F.batch_norm(x, torch.ones(3).double(), torch.ones(3).double() * 2),
    "instance_norm": lambda x: F.instance_norm(x, eps=0.1),
    "weight_norm": lambda x: torch._weight_norm(x, x[:, :1, :1], 0),
    "weight_norm_last": lambda x: torch._weight_norm(x, x[:1, :1], 2),
    "weight_norm_whole": lambda x: torch._weight_norm(x, x.sum(), -1),
    "attention": lambda x: F.scaled_dot_product_attention(x, x + 1, x.tanh()),
    "attention_mask": lambda x: F.scaled_dot_product_attention(x, x + 1, x, attn_mask=MASK),
    "attention_bool": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=MASK > -1),
    "attention_causal": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True, scale=0.3),
    "attention_groups": lambda x: F.scaled_dot_product_attention(
        x.repeat(2, 1, 1).view(1, 4, 3, 4), x[None], x[None], enable_gqa=True
    ),
    "hardsigmoid": lambda x: F.hardsigmoid(4 * x),
    "prelu": lambda x: F.prelu(x, x[0, :, 0]),
    "glu": lambda x: F.glu(x, 2),
    "cdist": lambda x: torch.cdist(x, x + 0.5),
    "cdist_itself": lambda x: torch.cdist(x, x, p=3.0),
    "cdist_1": lambda x: torch.cdist(x, x.flip(0), p=1.0),
    "cdist_max": lambda x: torch.cdist(x, x.flip(0), p=float("inf")),
    "pdist": lambda x: F.pdist(x.flatten(0, 1), 1.5),
    "embedding": lambda x: F.embedding(BAG, x[0].repeat(2, 1), padding_idx=3),
    "embedding_negative": lambda x: F.embedding(BAG, x[0].repeat(2, 1), padding_idx=-1),
    "bag_sum": lambda x: F.embedding_bag(BAG.view(2, 3), x[0].repeat(2, 1), mode="sum", padding_idx=3),
    "bag_mean": lambda x: F.embedding_bag(BAG, x[0].repeat(2, 1), torch.tensor([0, 2, 2])),
    "bag_mean_last": lambda x: F.embedding_bag(
        BAG, x[0].repeat(2, 1), torch.tensor([0, 2, 6]), include_last_offset=True, padding_idx=3
    ),
    "bag_max": lambda x: F.embedding_bag(BAG.view(2, 3), x[0].repeat(2, 1), mode="max"),
    "bag_weighted": lambda x: F.embedding_bag(
        BAG, x[0].repeat(2, 1), OFFSETS, mode="sum", per_sample_weights=x[0, 0, 0] * BAG
    ),
    "multi_margin": lambda x: F.multi_margin_loss(x[0], torch.tensor([0, 3, 1]), p=2, margin=0.4, weight=WEIGHTS),
    "multi_margin_sum": lambda x: F.multi_margin_loss(x[0], torch.tensor([0, 3, 1]), reduction="sum"),
    "multilabel_margin": lambda x: F.multilabel_margin_loss(x[0], CLASSES),
    "gaussian_nll": lambda x: F.gaussian_nll_loss(x, x.flip(0), x[..., 0].square() - 0.0, full=True, eps=0.2),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_form_gives_what_torch_gives(name, gen):
    """Values and first derivatives, options included."""
    agree(CALLS[name], torch.randn(2, 3, 4, generator=gen, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("how", [{}, {"bias": False}, {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("packed", [False, True])
def test_recurrent_layers_give_what_torch_gives(kind, how, packed, gen):
    layer = seeded(lambda: getattr(nn, kind)(4, 3, dtype=torch.float64, **how))

    def call(x):
        if not packed:
            return layer(x)[0]
        sequences = nn.utils.rnn.pack_padded_sequence(x, [3, 2, 1, 1])
        y, state = layer(sequences)
        state = state if isinstance(state, tuple) else (state,)
        return torch.cat([y.data.flatten(), *(s.flatten() for s in state)])

    agree(call, torch.randn(3, 4, 4, generator=gen, dtype=torch.float64))


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_running_statistics_move_as_torch_moves_them(kind, gen):
    ours, theirs = (kind(3, momentum=0.3, track_running_stats=True) for _ in range(2))
    for _ in range(2):
        x = torch.randn(4, 3, 5, 5, generator=gen) + 2
        torch.testing.assert_close(Exact(ours)(x), theirs(x))
    torch.testing.assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()))


def test_no_python_function_of_torch_calls_a_replaced_operation_unseen():
    """While such a function runs, the mode is off: one that calls a replaced operation needs a form of its own."""
    names = {getattr(f, "__name__", "") for f in FORMS if not isinstance(f, torch._ops.OpOverload)}
    for name, function in inspect.getmembers(F, inspect.isfunction):
        if function.__module__ == F.__name__ and not name.startswith("_") and function not in FORMS:
            assert not names & set(function.__code__.co_names), name


REFUSED = {
    "layer_norm": lambda x: F.layer_norm(x, (5,)),
    "rms_norm": lambda x: F.rms_norm(x, (5,)),
    "glu": lambda x: F.glu(x[:, :3]),
    "prelu": lambda x: F.prelu(x, x[0, :3]),
    "cdist": lambda x: torch.cdist(x, x[:, :2]),
    "embedding": lambda x: F.embedding(torch.tensor([1]), x, padding_idx=9),
    "one_hot": lambda x: F.one_hot(torch.tensor([7]), 3),
    "gaussian_nll": lambda x: F.gaussian_nll_loss(x, x, -x.abs()),
    "multi_margin": lambda x: F.multi_margin_loss(x, torch.tensor([0, 1, 2]), p=3),
    "batch_norm": lambda x: F.batch_norm(x, None, None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_torch_refuses_a_form_refuses(name, gen):
    x = torch.randn(3, 4, generator=gen)
    refusals = (RuntimeError, ValueError, AssertionError, IndexError)
    with pytest.raises(refusals):
        REFUSED[name](x)
    with pytest.raises(refusals):
        Exact(REFUSED[name])(x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("make", [nn.BatchNorm1d, nn.LayerNorm, nn.InstanceNorm1d, nn.GroupNorm, nn.RMSNorm], ids=str)
def test_norms_in_half_precision_keep_statistics_in_float32(make, dtype, gen):
    """Squares of numbers above 256 overflow in float16: every output was zero."""
    layer = make(3, 3) if make is nn.GroupNorm else make(3)
    x = 300 * torch.randn(*((4, 3, 9) if make is nn.InstanceNorm1d else (16, 3)), generator=gen)
    right = layer(x)
    half = layer.to(dtype)
    call = SetNorm(half) if make is nn.BatchNorm1d else half
    for y in (Exact(call)(x.to(dtype)), torch.func.vmap(Exact(call))(x.to(dtype)[None])[0]):
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), right, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("batching", ["vmap", "loop"])
def test_training_and_evaluation_agree_in_half_precision(batching, gen):
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2)))
    problem, shared, initial = from_module(net)
    learner = Learner(problem, SGD(1, rate=0.1), batching=batching)
    params = learner.init(shared, initial)
    episodes = random_episodes(gen, 3, 6, 6, (4,), (2,), dtype=torch.float32)
    episodes = episodes._replace(support_x=episodes.support_x * 1000, query_x=episodes.query_x * 1000)
    with torch.autocast("cpu", torch.float16):
        trained = float(learner.meta_gradient(params, episodes).losses.mean())
        judged = evaluate(learner, params, [episodes]).mean
    wide = evaluate(learner, params, [episodes]).mean
    assert trained == pytest.approx(judged, rel=1e-3)
    assert judged == pytest.approx(wide, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layer_norm_under_autocast_and_vmap(dtype, gen):
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 2)))
    problem, shared, initial = from_module(net)
    episodes = random_episodes(gen, 3, 6, 6, (4,), (2,), dtype=torch.float32)
    losses = []
    for how in ({"batching": "loop"}, {"batching": "vmap"}):
        learner = Learner(problem, SGD(1, rate=0.1), **how)
        with torch.autocast("cpu", dtype):
            losses.append(learner.meta_gradient(learner.init(shared, initial), episodes).losses)
    torch.testing.assert_close(losses[0].float(), losses[1].float(), rtol=0.02, atol=0.02)


def test_fused_norms_run_where_they_are_right_and_nowhere_else(gen):
    """Outside of a permission, under vmap, in forward mode and in third derivatives the norm is written out."""
    seen = []
    x, w = torch.randn(5, 4, generator=gen), torch.ones(4)

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            seen.append(getattr(function, "__name__", ""))
            return function(*args, **(kwargs or {}))

    call = Exact(lambda x: F.layer_norm(x, (4,), w).sum())

    def fused(run):
        seen.clear()
        with Watch(), fused_norms(True):
            run(x)
        return "layer_norm" in seen

    grad, vmap = torch.func.grad, torch.func.vmap
    assert fused(call)
    assert fused(grad(call))
    assert fused(grad(lambda x: grad(call)(x).sum()))
    assert not fused(vmap(call))
    assert not fused(lambda x: torch.func.jvp(call, (x,), (x,)))
    assert not fused(grad(lambda x: grad(lambda x: grad(call)(x).sum())(x).sum()))
    with torch.autograd.forward_ad.dual_level():
        assert not fused(call)
    with Watch():
        seen.clear()
        call(x)
    assert "layer_norm" not in seen


def test_a_padding_row_stays_a_constant_for_every_task(gen):
    """Under vmap torch finds it in the first task's table alone."""
    net = nn.Sequential(seeded(lambda: nn.Embedding(4, 3, padding_idx=1, dtype=torch.float64)), nn.Flatten())
    problem, shared, initial = from_module(net)
    x = torch.randint(4, (3, 6, 2), generator=gen)
    x[..., 0] = 1
    y = torch.randn(3, 6, 6, generator=gen, dtype=torch.float64)
    for batching in ("vmap", "loop"):
        learner = Learner(problem, SGD(1, rate=0.3), batching=batching)
        adapted = learner.adapt(learner.init(shared, initial), x, y)["0.weight"]
        assert torch.equal(adapted[:, 1], initial["0.weight"][1].expand(3, -1))
        assert not torch.equal(adapted[:, 0], initial["0.weight"][0].expand(3, -1))


def test_an_embedding_that_writes_into_its_weights_is_refused():
    with pytest.raises(ModelError, match="max_norm=None"):
        Exact(seeded(lambda: nn.Embedding(3, 2, max_norm=1.0)))(torch.tensor([0]))


def test_operations_whose_forward_mode_is_wrong_take_the_reverse(gen):
    """More numbers than unknowns, so the Jacobian is taken in forward mode; its derivative was off by 28%."""
    assert torch.linalg.det in REVERSE_ONLY
    problem = Problem(lambda p, x: torch.linalg.det(p["a"].view(2, 2) + x.view(-1, 2, 2)).unsqueeze(-1))
    initial = {"a": torch.randn(4, generator=gen, dtype=torch.float64)}
    episodes = random_episodes(gen, 2, 8, 3, (4,), (1,), dtype=torch.float64)
    way = torch.randn(4, generator=gen, dtype=torch.float64)
    for system in ("dense", "cg"):
        learner = Learner(problem, GaussNewton(1, penalty=0.1, damping=1.0, learn=False, system=system))
        params = learner.init({}, initial)
        slope = float(learner.meta_gradient(params, episodes).gradient.initial["a"] @ way)
        up, down = (
            float(learner.losses(learner.init({}, {"a": initial["a"] + h * way}), episodes, training=True).mean())
            for h in (1e-5, -1e-5)
        )
        assert slope == pytest.approx((up - down) / 2e-5, rel=1e-6)


def test_the_native_batch_norm_is_right_side_by_side(gen):
    """Under vmap its slope was several times the right one."""
    problem = Problem(
        lambda p, x: torch.native_batch_norm(x * p["w"][1], p["w"][0], p["w"][1], None, None, True, 0.1, 1e-5)[0].tanh()
    )
    start, way = (torch.randn(2, 4, generator=gen, dtype=torch.float64) for _ in range(2))
    episodes = random_episodes(gen, 2, 5, 5, (4,), (4,), dtype=torch.float64)
    learner = Learner(problem, SGD(1, rate=0.3, learn="fixed"), batching="vmap")
    slope = learner.meta_gradient(learner.init({}, {"w": start}), episodes).gradient.initial["w"]
    up, down = (
        float(learner.losses(learner.init({}, {"w": start + h * way}), episodes).mean().detach()) for h in (1e-5, -1e-5)
    )
    assert float((slope * way).sum()) == pytest.approx((up - down) / 2e-5, rel=1e-6)


def test_a_cumulative_logsumexp_has_a_gradient_of_its_jacobian(gen):
    """More unknowns than numbers, so the Jacobian is taken row by row: zeros beside each, where the slope was nan."""
    problem = Problem(lambda p, x: torch.logcumsumexp(x @ p["w"], -1) @ p["w"][:, :3])
    start = torch.randn(6, 6, generator=gen, dtype=torch.float64)
    episodes = random_episodes(gen, 2, 3, 3, (6,), (3,), dtype=torch.float64)
    learner = Learner(problem, GaussNewton(1, penalty=0.1, damping=1.0, learn=False), batching="loop")

    def loss(w):
        return float(learner.losses(learner.init({}, {"w": w}), episodes, training=True).mean())

    way = torch.randn(6, 6, generator=gen, dtype=torch.float64)
    slope = learner.meta_gradient(learner.init({}, {"w": start}), episodes).gradient.initial["w"]
    difference = (loss(start + 1e-5 * way) - loss(start - 1e-5 * way)) / 2e-5
    assert float((slope * way).sum()) == pytest.approx(difference, rel=1e-6)
    x = episodes.support_x[0]
    assert torch.allclose(problem.predict({"w": start}, x), torch.logcumsumexp(x @ start, -1) @ start[:, :3])


class Wrong(torch.autograd.Function):
    """The square, with a slope that is 10% off under vmap."""

    @staticmethod
    def forward(x):
        return x.square()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g

    @staticmethod
    def vmap(info, dims, x):
        return x.square() * 1.1, dims[0]


def test_auto_takes_the_loop_where_the_gradients_differ(gen):
    initial = {"a": torch.randn(3, generator=gen)}
    episodes = random_episodes(gen, 3, 4, 4, (3,), (3,), dtype=torch.float32)
    learner = Learner(Problem(lambda p, x: Wrong.apply(p["a"] * x)), SGD(1, rate=0.1, learn="fixed"))
    with pytest.warns(UserWarning, match=r"disagree.*the gradient of a differs by"):
        assert learner.choose_batching(learner.init({}, initial), episodes) == "loop"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        right = Learner(Problem(lambda p, x: (p["a"] * x).square()), SGD(1, rate=0.1, learn="fixed"))
        right.choose_batching(right.init({}, initial), episodes)


class TestRemedies:
    """An error names the operation and a way that works; each is tried here again."""

    @staticmethod
    def learners(net, gen, shape, **how):
        problem, shared, initial = from_module(net, F.mse_loss)
        episodes = random_episodes(gen, 2, 4, 4, shape, (2,), dtype=torch.float32)

        def run(**more):
            learner = Learner(problem, **{"solver": SGD(1, rate=0.1), **how, **more})
            return learner.meta_gradient(learner.init(shared, initial), episodes)

        return run

    def test_no_second_derivative(self, gen):
        class Sums(nn.Module):
            def __init__(self):
                super().__init__()
                self.line = nn.Linear(3, 4)

            def forward(self, x):
                return torch.segment_reduce(self.line(x), "sum", lengths=torch.tensor([[2, 2]] * len(x)), axis=1)

        run = self.learners(seeded(Sums), gen, (3,), batching="loop")
        with pytest.raises(ModelError, match=r"second derivative of segment_reduce.*first_order=True works"):
            run()
        assert run(solver=SGD(1, rate=0.1, first_order=True)).losses.isfinite().all()

    def test_what_vmap_and_the_recorder_cannot_run(self, gen):
        class Looks(nn.Module):
            def __init__(self):
                super().__init__()
                self.line = nn.Linear(3, 2)

            def forward(self, x):
                y = self.line(x)
                return y if y.sum() > 0 else 2 * y

        run = self.learners(seeded(Looks), gen, (3,))
        with pytest.raises(ModelError, match=r'vmap cannot.*batching="loop" works'):
            run(batching="vmap")
        with pytest.raises(ModelError, match=r"cannot be traced.*trace=False works"):
            run(batching="loop", trace=True)
        with pytest.raises(ModelError, match=r'trace=False and batching="loop" works'):
            run(batching="vmap", trace=True)
        assert run(batching="loop").losses.isfinite().all()

    def test_an_error_of_the_network_is_its_own(self, gen):
        run = self.learners(seeded(lambda: nn.Linear(5, 2)), gen, (3,))
        for how in ({"batching": "vmap"}, {"batching": "loop"}):
            with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
                run(**how)


def run_hand_written(predict, gen, batching):
    """The meta-gradient of a problem with one weight, ``(2, 2)``."""
    learner = Learner(Problem(predict), SGD(1), batching=batching)
    params = learner.init({}, {"w": torch.randn(2, 2, generator=gen, dtype=torch.float64)})
    return learner.meta_gradient(params, random_episodes(gen, 2, 3, 3, (2,), (2,), dtype=torch.float64))


class TestHooksAndCheckpoints:
    def test_a_backward_hook_is_named_and_removing_it_works(self):
        net = seeded(lambda: nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
        for register in (net[0].register_full_backward_hook, net[0].register_full_backward_pre_hook):
            handle = register(lambda module, *slopes: None)
            with pytest.raises(ModelError, match=r"^0 has a backward hook.*remove\(\)"):
                from_module(net)
            handle.remove()
        handle = net[0].weight.register_hook(lambda slope: slope * 0)
        with pytest.raises(ModelError, match=r"^0\.weight has a backward hook"):
            from_module(net)
        handle.remove()
        from_module(net)

    @pytest.mark.parametrize("batching", ["loop", "vmap"])
    @pytest.mark.parametrize("asks_first", [False, True])
    def test_a_hook_that_the_forward_hangs_on_a_tensor_is_named(self, batching, asks_first, gen):
        def predict(params, x):
            h = x @ params["w"]
            if h.requires_grad or not asks_first:
                h.register_hook(lambda slope: slope * 2)
            return h.tanh()

        with pytest.raises(ModelError, match=r"Tensor\.register_hook\(\).*autograd\.Function"):
            run_hand_written(predict, gen, batching)

    @pytest.mark.parametrize("name", ["requires_grad_", "retain_grad"])
    def test_what_no_transform_allows_is_named(self, name, gen):
        def predict(params, x):
            h = x @ params["w"]
            getattr(h, name)()
            return h.tanh()

        with pytest.raises(ModelError, match=rf"calls Tensor\.{name}\(\).*torch\.func\.grad"):
            run_hand_written(predict, gen, "loop")

    def test_checkpoints_are_left_as_they_were(self):
        library = torch.utils.checkpoint
        before = library.CheckpointFunction, library._checkpoint_without_reentrant_generator
        with pytest.raises(ZeroDivisionError):
            Exact(lambda: 1 / 0)()
        assert before == (library.CheckpointFunction, library._checkpoint_without_reentrant_generator)

    def test_another_thread_keeps_its_checkpoints(self):
        """While one thread is inside, the function of another still runs again in the backward pass."""
        calls, inside, done = [], threading.Event(), threading.Event()

        def wait():
            inside.set()
            done.wait(10)

        thread = threading.Thread(target=Exact(wait))
        thread.start()
        inside.wait(10)

        def square(x):
            calls.append(1)
            return x.square()

        for reentrant in (False, True):
            x = torch.ones(2, requires_grad=True)
            torch.utils.checkpoint.checkpoint(square, x, use_reentrant=reentrant).sum().backward()
            assert torch.equal(x.grad, 2 * x.detach())
        done.set()
        thread.join()
        assert len(calls) == 4


class Packed(nn.Module):
    """Reads lengths off its input, as numbers."""

    def __init__(self):
        super().__init__()
        self.cell, self.last = nn.GRU(2, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x):
        lengths = (x[..., 0] > -9).sum(1).tolist()
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.last(self.cell(packed)[1][0])


def test_what_reads_memory_is_named_with_a_remedy(gen):
    problem, shared, initial = from_module(seeded(Packed).double())
    episodes = random_episodes(gen, 2, 3, 2, (4, 2), (3,))
    learner = Learner(problem, SGD(1), batching="vmap")
    with pytest.raises(ModelError, match=r"reads a tensor.s memory"):
        learner.meta_gradient(learner.init(shared, initial), episodes)
