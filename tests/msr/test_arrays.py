"""NumPy arrays wherever tensors are taken: the same answer, or an error of the package."""

import functools
import importlib
import inspect

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from msr.arrays import as_tensor, takes_arrays
from msr.discovery import discover
from msr.episodes import Episodes
from msr.equivariance import (
    assert_equivariant,
    certify,
    certify_network,
    equivariance_error,
    localise,
    pattern_error,
    specificity,
    turn_images,
    turning_error,
    weight_error,
)
from msr.errors import DataError, MSRError, ShapeError
from msr.groups import cyclic, so
from msr.kron import apply_factors, is_identity, kron, nearest_kronecker, pinv, solve_factors, unvec, vec
from msr.layers import calibrate, fold
from msr.meta import SGD, GaussNewton, InTurn, Learner, OuterLoop, Problem, Ridge, RidgeHead, load_params
from msr.representations import defining, from_matrices, grid_rotations, regular
from msr.representations.commutant import commutant, continuous, skew_pairs
from msr.sharing import DenseSharing, GroupSharing, KroneckerSharing
from msr.span import find_span, in_chunks, patches, spectral_start
from msr.span.angles import orthonormal_basis, principal_cosines, span_cosine
from msr.statistics import Mean, Tail, ZeroFailure
from msr.statistics.estimate import Estimate
from msr.tasks.controls import broken_span
from msr.tasks.files import read_arrays, write_tasks
from msr.tasks.locally_connected import locally_connected_weight, span_of_filters
from msr.tasks.sampling import sample_group
from tasks.augmentation import augment, augmented, turn_and_flip
from tasks.rotation import rotation_defect
from tasks.translation import TranslationTasks
from tests.laws.test_surface import SURFACE
from tests.support.cases import seeded

PLACES = torch.tensor([2, 0])
C4 = regular(cyclic(4))
PLANE = defining(so(2))


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def draws(*shapes):
    return [draw(*shape) for shape in shapes]


def circulant(taps):
    return torch.stack([taps.roll(i) for i in range(len(taps))])


W = circulant(draw(4))
SHIFTS = torch.stack([torch.eye(4, dtype=torch.float64).roll(i, 1).flatten() for i in range(4)], 1)
NET = seeded(lambda: nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh()).double())
KRONECKER = KroneckerSharing((2, 3), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
SMALL = KroneckerSharing((2, 3), (2, 1), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
DENSE = DenseSharing.from_matrix(SHIFTS, (4, 4))
GROUP = GroupSharing(C4, C4, dtype=torch.float64)
TASKS = sample_group(C4, C4, n_tasks=60, noise=0.1)


def squared(params, x):
    return x @ params["w"]


def stepped(x, y, w, tasks):
    """An outer step on arrays; the tasks' own indices are asked for only where a loss is not finite."""
    learner = Learner(Problem(squared), SGD(1), batching="loop")
    loop = OuterLoop(learner, learner.init({}, {"w": w}), functools.partial(torch.optim.SGD, lr=0.1))
    try:
        loop.step(Episodes.split(x, y, 2), tasks)
    except MSRError as error:
        return str(error)
    return loop.params.initial["w"]


def normed():
    return nn.Sequential(nn.BatchNorm1d(3).double())


def calibrated(x):
    net = normed()
    return calibrate(net, x), net[0].running_mean


def loaded(weight):
    return load_params(seeded(lambda: nn.Linear(3, 2)), {"weight": weight}).weight


def written(tmp_path, **arrays):
    write_tasks(tmp_path / "tasks.npz", **arrays)
    return read_arrays(tmp_path / "tasks.npz")


def families():
    return TranslationTasks(length=8)


WALK = {
    "msr.kron.vec weight": (vec, [draw(3, 2)]),
    "msr.kron.unvec vector": (lambda v: unvec(v, (3, 2)), [draw(6)]),
    "msr.kron.kron factors": (kron, [draw(3, 2), draw(2, 2)]),
    "msr.kron.apply_factors factors v": (lambda a, b, v: apply_factors([a, b], v), draws((3, 2), (4, 3), (2, 3))),
    "msr.kron.solve_factors factors w": (lambda a, b, w: solve_factors([a, b], w), draws((3, 2), (4, 3), (3, 4))),
    "msr.kron.nearest_kronecker matrix": (lambda m: nearest_kronecker(m, (2, 2), (3, 1)), [draw(6, 2)]),
    "msr.kron.is_identity factor": (is_identity, [torch.eye(3, dtype=torch.float64)]),
    "msr.kron.pinv matrix": (pinv, [draw(3, 2)]),
    "msr.span.orthonormal_basis matrix": (orthonormal_basis, [draw(4, 2)]),
    "msr.span.principal_cosines a b": (principal_cosines, [draw(4, 2), draw(4, 3)]),
    "msr.span.span_cosine learned truth": (span_cosine, [draw(4, 3), draw(4, 2)]),
    "msr.statistics.Estimate.of values": (Estimate.of, [draw(9)]),
    "msr.Estimate.of values": (Estimate.of, [draw(9)]),
    "msr.episodes.Episodes.select tasks": (
        lambda x, i: Episodes(x, x, x, x).select(i).check(),
        [draw(3, 2, 4), PLACES],
    ),
    "msr.Episodes.select tasks": (lambda x, i: Episodes.split(x, x, 1).select(i), [draw(3, 2, 4), PLACES]),
    "msr.sharing.DenseSharing.from_matrix U": (lambda U: DenseSharing.from_matrix(U, (4, 4)).matrix(), [SHIFTS]),
    "msr.sharing.DenseSharing.materialize v": (DENSE.materialize, [draw(4)]),
    "msr.sharing.DenseSharing.project weight": (DENSE.project, [draw(4, 4)]),
    "msr.sharing.GroupSharing.materialize v": (GROUP.materialize, [draw(4)]),
    "msr.sharing.GroupSharing.project weight": (GROUP.project, [draw(4, 4)]),
    "msr.sharing.GroupSharing.share_bias bias": (GROUP.share_bias, [draw(4)]),
    "msr.sharing.KroneckerSharing.materialize v": (KRONECKER.materialize, [draw(2, 3)]),
    "msr.sharing.KroneckerSharing.project weight": (KRONECKER.project, [draw(2, 3)]),
    "msr.sharing.Sharing.materialize v": (KRONECKER.materialize, [draw(2, 3)]),
    "msr.sharing.Sharing.project weight": (KRONECKER.project, [draw(2, 3)]),
    "msr.sharing.Sharing.share_bias bias": (KRONECKER.share_bias, [draw(2)]),
    "msr.sharing.Sharing.residual weight bias": (GROUP.residual, [draw(4, 4), draw(4)]),
    "msr.sharing.Sharing.residual_at v weight bias": (GROUP.residual_at, [draw(4), draw(4, 4), draw(4)]),
    "msr.sharing.KroneckerSharing.residual_at v weight bias": (SMALL.residual_at, [draw(2, 1), draw(2, 3), draw(2)]),
    "msr.layers.calibrate x": (calibrated, [draw(9, 3)]),
    "msr.layers.fold statistics": (lambda x: fold(normed(), statistics=x)[0].running_mean, [draw(9, 3)]),
    "msr.meta.GaussNewton.init initial": (lambda w: GaussNewton().init({"w": w}), [draw(2)]),
    "msr.meta.InTurn.init initial": (lambda w: InTurn(SGD(), Ridge()).init({"w": w}), [draw(2)]),
    "msr.meta.RidgeHead.init initial": (lambda w: RidgeHead(max, "w", "b").init({"w": w}), [draw(2)]),
    "msr.meta.Ridge.init initial": (lambda w: Ridge().init({"w": w}), [draw(2)]),
    "msr.meta.SGD.init initial": (lambda w: SGD(learn="per_parameter").init({"w": w}), [draw(2)]),
    "msr.meta.Learner.init shared initial": (
        lambda a, b: Learner(Problem(squared), SGD()).init({"a": a}, {"b": b}),
        [draw(2), draw(3)],
    ),
    "msr.meta.OuterLoop.step tasks": (stepped, [draw(2, 5, 3), draw(2, 5, 3), draw(3, 3), torch.tensor([7, 9])]),
    "msr.meta.OuterLoop.step of nan": (
        stepped,
        [draw(2, 5, 3), torch.full((2, 5, 3), torch.nan, dtype=torch.float64), draw(3, 3), torch.tensor([7, 9])],
    ),
    "msr.span.find_span start": (
        lambda x, y, start: find_span(in_chunks(x, y), k=4, start=start).U,
        [TASKS.x, TASKS.y, SHIFTS],
    ),
    "msr.span.find_span chunks": (lambda x, y: find_span(lambda: [(x, y)], k=4).U, [TASKS.x, TASKS.y]),
    "msr.span.spectral_start chunks": (lambda x, y: spectral_start(lambda: [(x, y)], k=4).basis, [TASKS.x, TASKS.y]),
    "msr.span.in_chunks x y": (lambda x, y: list(in_chunks(x, y)()), [draw(2, 3, 4), draw(2, 3, 4)]),
    "msr.meta.load_params groups": (loaded, [draw(2, 3)]),
    "msr.span.patches x y": (lambda x, y: patches(x, y, 3), [draw(2, 3, 1, 6), draw(2, 3, 2, 4)]),
    "msr.representations.Representation.act x": (lambda x: C4.act(1, x), [draw(3, 4)]),
    "msr.representations.Representation.act_flat x": (lambda x: C4.act_flat(1, x), [draw(3, 4)]),
    "msr.representations.Representation.check_shape x": (lambda x: grid_rotations(4).check_shape(x), [draw(3, 4, 4)]),
    "msr.representations.LieRepresentation.act x": (lambda x: PLANE.act([0.3], x), [draw(3, 2)]),
    "msr.representations.LieRepresentation.act_flat x": (lambda x: PLANE.act_flat([0.3], x), [draw(3, 2)]),
    "msr.representations.LieRepresentation.check_shape x": (PLANE.check_shape, [draw(3, 2)]),
    "msr.representations.from_matrices matrices": (
        lambda m: from_matrices(cyclic(4), m).act(1, draw(4)),
        [torch.stack([torch.eye(4, dtype=torch.float64).roll(i, 0) for i in range(4)])],
    ),
    "msr.equivariance.assert_equivariant x mask": (
        lambda x, mask: assert_equivariant(lambda x: x @ W.T, cyclic(4), C4, C4, x=x, mask=mask),
        [draw(3, 4), torch.ones(4, dtype=torch.bool)],
    ),
    "msr.equivariance.certify f": (lambda f: certify(f, cyclic(4), C4, C4, eps=0.01).verdict, [W]),
    "msr.equivariance.certify mask": (
        lambda mask: certify(nn.Tanh(), cyclic(4), C4, C4, eps=0.2, mask=mask).verdict,
        [torch.ones(4, dtype=torch.bool)],
    ),
    "msr.equivariance.certify_network masks mask": (
        lambda mask: certify_network(
            nn.Sequential(nn.Tanh()), cyclic(4), C4, C4, [C4, C4], eps=0.01, masks={"0": mask}, mask=mask
        ).whole.verdict,
        [torch.ones(4, dtype=torch.bool)],
    ),
    "msr.equivariance.equivariance_error x mask": (
        lambda x, mask: equivariance_error(NET, x, C4, C4, mask=mask).values,
        [draw(3, 4), torch.ones(4, dtype=torch.bool)],
    ),
    "msr.equivariance.localise x masks": (
        lambda x, mask: localise(NET, x, [C4] * 3, masks={"0": mask}).values,
        [draw(3, 4), torch.ones(4, dtype=torch.bool)],
    ),
    "msr.statistics.Mean.judge defects": (lambda d: Mean().judge(d, 0.5, 0.1), [draw(50).abs()]),
    "msr.statistics.Tail.judge defects": (lambda d: Tail(0.1).judge(d, 0.5, 0.1), [draw(50).abs()]),
    "msr.statistics.ZeroFailure.judge defects": (lambda d: ZeroFailure(0.1).judge(d, 0.5, 0.1), [draw(50).abs()]),
    "msr.equivariance.pattern_error U": (lambda U: pattern_error(U, C4, C4).values, [SHIFTS]),
    "msr.equivariance.specificity f x": (
        lambda f, x: specificity(f, C4, C4, x=x, generator=torch.Generator().manual_seed(0)),
        [W, draw(8, 4)],
    ),
    "msr.equivariance.turn_images x": (lambda x: turn_images(x, 30.0), [draw(2, 1, 5, 5)]),
    "msr.equivariance.turning_error x": (lambda x: turning_error(torch.tanh, x), [draw(2, 1, 5, 5)]),
    "msr.equivariance.weight_error weight bias mask": (
        lambda w, b, mask: weight_error(w, C4, C4, bias=b, mask=mask).values,
        [draw(4, 4), draw(4), torch.ones(4, dtype=torch.bool)],
    ),
    "msr.representations.commutant.commutant matrices": (commutant, [torch.stack([W, W @ W])]),
    "msr.representations.commutant.continuous W": (continuous, [torch.stack([W, W @ W])]),
    "msr.representations.commutant.skew_pairs W": (skew_pairs, [torch.stack([W, W @ W])]),
    "msr.discovery.discover x y fresh": (lambda x, y: str(discover(x, y)), [TASKS.x, TASKS.y]),
    "msr.tasks.controls.broken_span U": (lambda U: broken_span(U, 0.3, torch.Generator().manual_seed(0)), [SHIFTS]),
    "tasks.augmentation.augment images uniform": (augment, [draw(2, 1, 6, 6), draw(2, 7).abs() % 1]),
    "tasks.augmentation.augmented images uniform": (
        lambda images, uniform: augmented(images, uniform, "square"),
        [draw(2, 1, 6, 6), draw(2, 7).abs() % 1],
    ),
    "tasks.augmentation.turn_and_flip images uniform": (turn_and_flip, [draw(2, 1, 6, 6), draw(2, 7).abs() % 1]),
    "tasks.rotation.rotation_defect filters": (
        lambda f: rotation_defect(f, "c4", 1, 1),
        [draw(4, 1, 5, 5)],
    ),
    "msr.tasks.locally_connected.locally_connected_weight filters": (
        lambda f: locally_connected_weight(f, 8),
        [draw(2, 6, 3)],
    ),
    "msr.tasks.locally_connected.span_of_filters filters": (lambda f: span_of_filters(f, 8), [draw(2, 6, 3)]),
    "tasks.translation.TranslationTasks.episodes tasks": (lambda i: families().episodes("train", i), [torch.arange(2)]),
    "tasks.translation.TranslationTasks.filters tasks": (lambda i: families().filters("train", i), [torch.arange(2)]),
}  # fmt: skip


def outcome(call, arguments):
    try:
        return None, call(*arguments)
    except MSRError as error:
        return error, None


def as_sparse(t):
    return t.to_sparse() if t.is_floating_point() and t.ndim == 2 else t


KINDS = {"array": lambda t: t.numpy(), "list": lambda t: t.tolist(), "sparse": as_sparse}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WALK)
def test_arrays_lists_and_sparse_tensors_give_the_answer_of_tensors(name, kind):
    call, tensors = WALK[name]
    torch.set_default_dtype(torch.float64)  # in which lists of numbers are read
    try:
        wanted = call(*tensors)
        refused, got = outcome(call, [KINDS[kind](t) for t in tensors])
    finally:
        torch.set_default_dtype(torch.float32)
    assert refused is None, refused
    torch.testing.assert_close(comparable(got), comparable(wanted), rtol=0, atol=0, equal_nan=True)


def comparable(answer):
    if isinstance(answer, (tuple, list)):
        return [comparable(part) for part in answer]
    if isinstance(answer, dict):
        return {key: comparable(part) for key, part in answer.items()}
    return answer if isinstance(answer, torch.Tensor) else torch.tensor([float(ord(c)) for c in str(answer)])


@pytest.mark.parametrize("wrong", ["text", None, {"a": 1}, object(), [object()], np.array(["a"]), np.array([None])])
@pytest.mark.parametrize("name", ["vec", "span_cosine", "discover", "in_chunks", "weight_error", "act"])
def test_what_is_no_tensor_is_refused_by_name(name, wrong):
    call = {
        "vec": lambda: vec(wrong),
        "span_cosine": lambda: span_cosine(wrong, draw(4, 2)),
        "discover": lambda: discover(wrong, draw(2, 3, 4)),
        "in_chunks": lambda: in_chunks(wrong, draw(2, 3, 4)),
        "weight_error": lambda: weight_error(wrong, C4, C4),
        "act": lambda: C4.act(0, wrong),
    }[name]
    with pytest.raises(MSRError, match=r"^(weight|learned|x) "):
        call()


PART_OF_FORWARD = "a part of a layer's forward, which says what torch's own do of an array"
OF_CONTEXTS = "walked in tests/msr/contexture/test_arrays.py"
OF_FLOW = "walked in tests/msr/flow/test_arrays.py"
PART_OF_FLOW = "a part of a flow, which has checked its tokens"
OF_CATEGORY = "walked in tests/msr/category/test_arrays.py"
LEFT_OUT = {
    "msr.flow.AttentionFlow.velocity": OF_FLOW,
    "msr.flow.AttentionFlow.slowness": OF_FLOW,
    "msr.flow.AttentionFlow.flow": OF_FLOW,
    "msr.flow.AttentionFlow.rescaled": OF_FLOW,
    "msr.flow.AttentionFlow.attention": OF_FLOW,
    "msr.flow.AttentionFlow.log_partition": OF_FLOW,
    "msr.flow.AttentionFlow.partition": OF_FLOW,
    "msr.flow.AttentionFlow.energy": OF_FLOW,
    "msr.flow.energy_rate": OF_FLOW,
    "msr.flow.hemisphere_margin": OF_FLOW,
    "msr.flow.hemisphere_pole": OF_FLOW,
    "msr.flow.mean_rate": OF_FLOW,
    "msr.flow.mode_rates": OF_FLOW,
    "msr.flow.noether_matrix": OF_FLOW,
    "msr.flow.on_sphere": OF_FLOW,
    "msr.flow.support_function": OF_FLOW,
    "msr.flow.token_group": OF_FLOW,
    "msr.flow.turning": OF_FLOW,
    "msr.flow.network.BlockWeights.layer": OF_FLOW,
    "msr.flow.network.BlockWeights.tokens": OF_FLOW,
    "msr.flow.network.BlockWeights.flow": OF_FLOW,
    "msr.flow.network.BlockWeights.ideal": OF_FLOW,
    "msr.flow.network.BlockWeights.lifted": OF_FLOW,
    "msr.flow.network.follow": OF_FLOW,
    "msr.flow.Mlp.output": PART_OF_FLOW,
    "msr.flow.network.FeedForward.output": PART_OF_FLOW,
    "msr.flow.network.TokenNorm.seen": PART_OF_FLOW,
    "msr.flow.network.TokenNorm.output": PART_OF_FLOW,
    "msr.category.ideality_score": OF_CATEGORY,
    "msr.category.index_column_features": OF_CATEGORY,
    "msr.category.index_column_product": OF_CATEGORY,
    "msr.category.row_column_features": OF_CATEGORY,
    "msr.category.surrogate": OF_CATEGORY,
    "msr.category.PartialMap.components": OF_CATEGORY,
    "msr.category.PartialMap.signal_error": OF_CATEGORY,
    "msr.category.PartialMap.pair_error": OF_CATEGORY,
    "msr.category.PretextTable.of_counts": OF_CATEGORY,
    "msr.category.structure_transfer": OF_CATEGORY,
    "msr.category.VectFunctor.known": "matrices that its callers have checked",
    "msr.contexture.Context.smoothed": OF_CONTEXTS,
    "msr.contexture.Context.on_points": OF_CONTEXTS,
    "msr.contexture.Context.operator": OF_CONTEXTS,
    "msr.contexture.SamplerContext.draw": OF_CONTEXTS,
    "msr.contexture.TableContext.expectation": OF_CONTEXTS,
    "msr.contexture.TableContext.adjoint": OF_CONTEXTS,
    "msr.contexture.TableContext.draw": OF_CONTEXTS,
    "msr.contexture.learning.learn": OF_CONTEXTS,
    "msr.contexture.measures.captured": OF_CONTEXTS,
    "msr.contexture.measures.compatibility": OF_CONTEXTS,
    "msr.contexture.measures.mutual_neighbours": OF_CONTEXTS,
    "msr.contexture.measures.principal_angle": OF_CONTEXTS,
    "msr.contexture.measures.probe_error": OF_CONTEXTS,
    "msr.contexture.measures.squared_correlation": OF_CONTEXTS,
    "msr.contexture.measures.trace_gap_bound": OF_CONTEXTS,
    "msr.contexture.measures.value_intervals": OF_CONTEXTS,
    "msr.contexture.measures.worst_error": OF_CONTEXTS,
    "msr.contexture.objectives.balanced_regression": OF_CONTEXTS,
    "msr.contexture.objectives.batch_moments": OF_CONTEXTS,
    "msr.contexture.objectives.exact_moments": OF_CONTEXTS,
    "msr.contexture.objectives.exact_pair_moments": OF_CONTEXTS,
    "msr.contexture.objectives.kernel_batch_moments": OF_CONTEXTS,
    "msr.contexture.objectives.pair_batch_moments": OF_CONTEXTS,
    "msr.contexture.comparison.compared": OF_CONTEXTS,
    "msr.contexture.comparison.known_share": OF_CONTEXTS,
    "msr.equivariance.Mean.judge": "the class of msr.statistics, handed on",
    "msr.equivariance.Tail.judge": "the class of msr.statistics, handed on",
    "msr.equivariance.ZeroFailure.judge": "the class of msr.statistics, handed on",
    "msr.layers.ReparamLinear.forward": "a torch layer, which says what torch's own do of an array",
    "msr.sharing.Sharing.apply_linear": PART_OF_FORWARD,
    "msr.sharing.Sharing.apply_convolution": PART_OF_FORWARD,
    "msr.sharing.DenseSharing.apply_linear": PART_OF_FORWARD,
    "msr.sharing.GroupSharing.apply_linear": PART_OF_FORWARD,
    "msr.sharing.KroneckerSharing.apply_linear": PART_OF_FORWARD,
    "msr.sharing.KroneckerSharing.apply_convolution": PART_OF_FORWARD,
    "msr.sharing.Convolution.mix_channels": PART_OF_FORWARD,
    "msr.sharing.GroupSharing.set_extra_state": "what state_dict holds",
    "msr.permutations.orbit_means": "arithmetic on tensors that its callers have checked",
    "msr.permutations.reynolds_operator": "arithmetic on tensors that its callers have checked",
    "msr.meta.InnerSolver.init": "an interface",
    "msr.meta.ClassMeans.init": "looks at nothing",
    "msr.meta.MetaParameters.with_leaves": "holds what it is given",
    "msr.meta.Problem.criterion": "the user's own function",
    "msr.meta.Problem.loss": "the user's own functions",
    "msr.tasks.files.write_tasks": "below",
    "tasks.rotation.RotationTasks.from_filters": "reads a file of filters or takes their tensor",
}


def test_the_walk_misses_no_public_argument_that_is_a_tensor():
    walked = {name.partition(" ")[0] for name in WALK}
    missing = []
    for module, names in SURFACE.items():
        for name in names:
            for full, function in public_functions(f"{module}.{name}", getattr(importlib.import_module(module), name)):
                last = full.rpartition(".")[2]
                takes = any(_is_tensor(p.annotation) for p in inspect.signature(function).parameters.values())
                elsewhere = module in ("msr.report.figures", "tasks", "msr.tasks") or (
                    module.startswith(("tasks", "msr.tasks")) and last in TASKS_OWN
                )
                if takes and full not in walked and full not in LEFT_OUT and not elsewhere and last != "act_flat":
                    missing.append(full)
    assert not missing


def public_functions(name, thing):
    if inspect.isclass(thing):
        members = {k: getattr(v, "__func__", v) for k, v in vars(thing).items() if not k.startswith("_")}
        return [(f"{name}.{k}", v) for k, v in members.items() if inspect.isfunction(v)]
    return [(name, thing)] if inspect.isfunction(thing) else []


TASKS_OWN = {"episodes", "true_weights", "filters", "weights_from", "respond"}


def _is_tensor(annotation) -> bool:
    text = str(annotation)
    return "Tensor" in text and not text.startswith("collections.abc.Callable")


def test_written_tasks(tmp_path):
    x, y = draw(3, 4, 2), draw(3, 4, 2)
    for part in (tmp_path / "a", tmp_path / "b"):
        part.mkdir()
    want, got = written(tmp_path / "a", x=x, y=y), written(tmp_path / "b", x=x.numpy(), y=y.numpy())
    assert all(np.array_equal(want[name], got[name]) for name in ("x", "y"))


def test_arrays_of_every_layout():
    base = np.arange(12.0).reshape(3, 4)
    frozen = base.copy()
    frozen.flags.writeable = False
    for array in (base, base[::-1], base.T, np.asfortranarray(base), base.astype(">f8"), base.astype("<f4"), frozen):
        assert np.array_equal(as_tensor(array, "x").numpy(), array)
    assert as_tensor(base, "x").data_ptr() == base.ctypes.data
    assert as_tensor([[1, 2], [3, 4]], "x").dtype == torch.int64
    assert as_tensor([1.0], "x").dtype == torch.get_default_dtype()
    assert torch.equal(as_tensor([torch.ones(2), torch.zeros(2)], "x"), torch.tensor([[1.0, 1], [0, 0]]))
    assert as_tensor(np.float64(3), "x").shape == ()
    learned = torch.ones(2, requires_grad=True) * 2
    assert as_tensor(learned, "x") is learned


@pytest.mark.parametrize(
    ("value", "said", "kind"),
    [
        (np.array(["a"]), "must hold numbers", DataError),
        (np.ones(2, dtype=np.longdouble), "must hold numbers", DataError),
        (np.ma.masked_array([1.0, 2.0], [True, False]), "masked array", DataError),
        ([torch.ones(2), torch.ones(3)], r"unequal lengths \(2, 3\).*pad to 3", ShapeError),
        ([[1.0], [1.0, 2.0]], r"unequal lengths \(1, 2\)", ShapeError),
        ([torch.ones(2, 1), torch.ones(2, 3)], "different shapes", ShapeError),
        (torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged), r"\(2, 3\)", ShapeError),
        (None, "got a NoneType", DataError),
        (torch.ones, "must be a tensor", DataError),
    ],
)
def test_what_has_no_numbers_is_refused(value, said, kind):
    with pytest.raises(kind, match=f"^a thing .*{said}"):
        as_tensor(value, "a thing")


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=4), st.booleans())
def test_the_decorator_takes_arguments_however_they_are_given(values, by_keyword):
    @takes_arrays("x", "more")
    def function(x, other, *more, flag=False):
        return x, other, more

    array = np.array(values)
    x, other, more = function(other=values, x=array) if by_keyword else function(array, values, array, array)
    assert isinstance(x, torch.Tensor)
    assert other is values
    assert all(isinstance(part, torch.Tensor) for part in more)
    assert len(more) == (0 if by_keyword else 2)
    assert list(inspect.signature(function).parameters) == ["x", "other", "more", "flag"]
