"""Finding the shared span without gradients: examples, the spectral start, alternating least squares, the rank cut."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.groups import cyclic, dihedral, symmetric
from msr.layers import ReparamLinear
from msr.meta import Learner, Ridge, evaluate, from_module
from msr.representations import grid_rotations, natural, regular
from msr.sharing import DenseSharing
from msr.span import alternation, find_span, in_chunks, patches, spectral_start
from msr.span import moments as moments_module
from msr.span.alternation import Alternation
from msr.span.angles import orthonormal_basis, span_cosine
from msr.span.dimension import half_filters
from msr.span.extrapolation import extrapolated
from msr.span.filters import Filters
from msr.span.moments import Moments, covered, half_moments, halves, joined
from msr.span.rank_cut import rank_cut
from msr.span.spectral import SecondMoment
from msr.span.thresholds import THRESHOLDS, Thresholds
from msr.tasks import FiniteGroupTasks
from tasks import TranslationTasks


def drawn(family, n_tasks=300, examples=20):
    """All examples of a family's training tasks."""
    e = family.episodes("train", torch.arange(n_tasks))
    x, y = e.examples()
    return x[:, :examples], y[:, :examples]


def group_tasks(rep, **options):
    return FiniteGroupTasks(rep_in=rep, rep_out=rep, **options)


def span_tasks(gen, k=3, m=4, n=5, tasks=200, examples=8, noise=0.0, mix=None, mean=0.0):
    """``y = U v x + noise`` with a random span, in float64; ``mix`` makes inputs correlated."""
    U = torch.linalg.qr(torch.randn(m * n, k, generator=gen, dtype=torch.float64))[0]
    v = torch.randn(tasks, k, generator=gen, dtype=torch.float64) + mean
    x = torch.randn(tasks, examples, n, generator=gen, dtype=torch.float64)
    x = x if mix is None else x @ mix
    y = x @ (v @ U.mT).view(tasks, m, n).mT
    return U, v, x, y + noise * torch.randn(y.shape, generator=gen, dtype=torch.float64)


# ---------------------------------------------------------------------------------------------------------- examples


@given(
    axes=st.sampled_from([1, 2]),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    channels=st.integers(1, 3),
)
def test_patches_make_a_convolution_a_matrix_product(axes, kernel, stride, padding, dilation, channels):
    gen = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, channels, *(7, 6)[:axes], generator=gen, dtype=torch.float64)
    weight = torch.randn(2, 4, channels, *(kernel,) * axes, generator=gen, dtype=torch.float64)
    convolve = F.conv1d if axes == 1 else F.conv2d
    how = {"stride": stride, "padding": padding, "dilation": dilation}
    y = torch.stack([convolve(task, w, **how) for task, w in zip(x, weight, strict=True)])
    windows, targets = patches(x, y, kernel, **how)
    torch.testing.assert_close(windows @ weight.flatten(2).mT, targets)


def test_patches_refuse_what_does_not_fit():
    x, y = torch.zeros(2, 3, 1, 8), torch.zeros(2, 3, 4, 7)
    with pytest.raises(ShapeError, match=r"makes \[6\] positions"):
        patches(x, y, 3)
    with pytest.raises(ShapeError, match="one or two spatial axes"):
        patches(x[:, :, 0], y[:, :, 0], 3)
    with pytest.raises(ShapeError, match="1 sizes of at least 1 are needed"):
        patches(x, y, (2, 2))
    with pytest.raises(ShapeError, match="at least 1 are needed"):
        patches(x, y, 3, stride=0)


def test_chunks_that_cannot_be_used_are_named(gen):
    _, _, x, y = span_tasks(gen)
    bad = y.clone()
    bad[17, 2, 1] = math.nan
    with pytest.raises(NonFiniteError, match="task 17:"):
        spectral_start(in_chunks(x, bad, 10))
    with pytest.raises(ShapeError, match=r"msr\.span\.patches"):
        spectral_start(lambda: [(x[0], y[0])])
    with pytest.raises(DataError, match="no task"):
        spectral_start(list)
    with pytest.raises(ShapeError, match="task 200"):
        spectral_start(lambda: [(x, y), (x[:, :, :3], y)])
    with pytest.raises(DataError, match="two examples"):
        spectral_start(in_chunks(x[:, :1], y[:, :1]))
    with pytest.raises(DataError, match="two examples"):
        find_span(in_chunks(x[:, :1], y[:, :1]), k=2, start=torch.eye(20, 2))
    with pytest.raises(ShapeError, match="at least one task"):
        in_chunks(x, y, 0)


# ---------------------------------------------------------------------------------------------------------- spectrum


def second_moment_of(chunks):
    """The estimator, and the second moment that it gives for standardised inputs and outputs."""
    second = SecondMoment(chunks)
    return second, second.products([None], lambda tasks: torch.ones(len(tasks), 1))[0]


@pytest.mark.parametrize("examples", [(2,), (3,), (4,), (9,), (2, 20)])
def test_the_second_moment_has_no_bias_from_few_examples_or_noise(examples, gen):
    """Its scale along the truth, for odd halves and for tasks with different numbers of examples too."""
    U = torch.linalg.qr(torch.randn(20, 3, generator=gen, dtype=torch.float64))[0]
    pieces = []
    for n in examples:
        v = torch.randn(20_000, 3, generator=gen, dtype=torch.float64)
        x = torch.randn(20_000, n, 5, generator=gen, dtype=torch.float64)
        y = x @ (v @ U.mT).view(-1, 4, 5).mT
        pieces.append((x, y + 0.5 * torch.randn(y.shape, generator=gen, dtype=torch.float64)))
    second, moment = second_moment_of(lambda: pieces)
    truth = second.tasks.standardise(U)
    truth = truth @ truth.mT
    assert float((truth * moment).sum() / truth.square().sum()) == pytest.approx(1, abs=0.03)


def test_inputs_of_different_size_count_equally(gen):
    mix = torch.diag(torch.tensor([3.0, 1.0, 1.0, 0.5, 1e-4], dtype=torch.float64))
    U, _, x, y = span_tasks(gen, tasks=2000, examples=8, mix=mix)
    result = find_span(in_chunks(x, y))
    assert result.k == result.start.k == 3
    assert span_cosine(result.U, U) > 0.9999
    plain = (torch.linalg.pinv(x[:, :3]) @ y[:, :3]).mT.flatten(1)  # estimates as they are, stacked
    assert span_cosine(torch.linalg.svd(plain, full_matrices=False)[2][:3].mT, U) < 0.9


def test_units_do_not_matter(gen):
    _U, _, x, y = span_tasks(gen, noise=0.2)
    a, b = find_span(in_chunks(x, y)), find_span(in_chunks(1e20 * x, 1e-12 * y))
    assert a.k == b.k == 3
    assert span_cosine(a.U, b.U) > 1 - 1e-9
    assert b.noise == pytest.approx(1e-24 * a.noise)
    torch.testing.assert_close(a.start.spectrum, b.start.spectrum)


def test_passes_that_differ_are_refused(gen):
    _, _, x, y = span_tasks(gen)
    shuffle = torch.Generator().manual_seed(0)

    def shuffled():
        order = torch.randperm(len(x), generator=shuffle)
        yield x[order[:50]], y[order[:50]]

    calls = []

    def shrinking():
        calls.append(0)
        yield x[:60], y[:60]
        if len(calls) == 1:
            yield x[60:], y[60:]

    once = iter([(x, y)])
    for chunks in (shuffled, shrinking, lambda: once):
        with pytest.raises(DataError, match="same tasks in the same order"):
            find_span(chunks)
    with pytest.raises(DataError, match="must be a function"):
        find_span([(x, y)])
    with pytest.raises(ShapeError, match="same tasks and examples"):
        in_chunks(x[:50], y)
    with pytest.raises(ShapeError, match="same tasks and examples"):
        in_chunks(x, y[:, :, 0])


def test_tensors_with_gradients_and_of_half_precision_are_read(gen):
    _U, _, x, y = span_tasks(gen)
    assert find_span(in_chunks(x.clone().requires_grad_(), y)).k == 3
    assert find_span(in_chunks(x.bfloat16(), y.float())).k == 3


def test_the_sketch_agrees_with_the_full_matrix(gen):
    _, _, x, y = span_tasks(gen, k=4, m=6, n=7, tasks=1000, noise=0.1)
    chunks = in_chunks(x, y, 128)
    full = spectral_start(chunks)
    with THRESHOLDS.moved(dense_weights=0):
        sketch = spectral_start(chunks, passes=8)
    assert (full.k, sketch.k) == (4, 4)
    assert sketch.basis.shape[1] < 42
    torch.testing.assert_close(sketch.spectrum[:4], full.spectrum[:4], rtol=1e-4, atol=0)
    assert span_cosine(sketch.span(), full.span()) > 0.9999
    assert sketch.null == pytest.approx(full.null, rel=0.3)
    torch.testing.assert_close(sketch.stability, full.stability, atol=1e-3, rtol=0)


def test_the_sketch_grows_until_it_holds_the_signal(gen):
    U, _, x, y = span_tasks(gen, k=24, m=9, n=8, tasks=1000, examples=16)
    with THRESHOLDS.moved(dense_weights=0):
        start = spectral_start(in_chunks(x, y))
        bounded = spectral_start(in_chunks(x, y), max_k=12)
    assert start.k == 24
    assert span_cosine(start.span(), U) > 0.98
    assert bounded.k == 12


def test_the_size_of_a_chunk_does_not_matter(gen):
    _, _, x, y = span_tasks(gen, noise=0.3)
    a, b = (spectral_start(in_chunks(x, y, size)) for size in (7, 200))
    torch.testing.assert_close(a.spectrum, b.spectrum, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(a.stability, b.stability, rtol=1e-5, atol=1e-5)
    assert a.null == pytest.approx(b.null, rel=1e-4)
    one, two = (find_span(in_chunks(x, y, size)) for size in (7, 200))
    assert one.k == two.k
    assert span_cosine(one.U, two.U) > 1 - 1e-8


def test_gap_stability_and_edge_tell_signal_from_noise(gen):
    _, _, x, y = span_tasks(gen, k=2, noise=0.2)
    clear = spectral_start(in_chunks(x, y))
    assert clear.k == 2
    assert clear.gap > 5
    assert clear.stability.min() > 0.99
    assert -float(clear.spectrum.min()) * 1.1 <= clear.edge
    # A third direction that is mostly noise is not stable.
    assert spectral_start(in_chunks(x, y), k=3).stability.min() < 0.9
    bare = spectral_start(in_chunks(x, y), evidence=False)
    assert math.isnan(bare.null)
    assert bare.stability.isnan().all()
    torch.testing.assert_close(bare.spectrum, clear.spectrum)


def test_noise_alone_has_no_dimension(gen):
    x, y = (torch.randn(400, 6, n, generator=gen) for n in (5, 4))
    dimensions = [spectral_start(in_chunks(x[i : i + 200], y[i : i + 200]), seed=i).k for i in (0, 200)]
    assert max(dimensions) <= 1
    with pytest.raises(DataError, match="none of 4 directions is used"):
        find_span(in_chunks(x, y))


def test_inputs_that_never_vary_are_named(gen):
    _, _, x, y = span_tasks(gen)
    dead = x.clone()
    dead[:, :, 3] = 0
    with pytest.raises(DataError, match="input coordinates 3 are always zero"):
        spectral_start(in_chunks(dead, y))
    with pytest.raises(DataError, match="all outputs are zero"):
        find_span(in_chunks(x, 0 * y))
    twin = x.clone()
    twin[:, :, 1] = twin[:, :, 4]
    with pytest.raises(DataError, match="4 of 5 directions only"):
        find_span(in_chunks(twin, y))


# ------------------------------------------------------------------------------------------------- alternating squares


def test_filters_are_least_squares(gen):
    U, _, x, y = span_tasks(gen, noise=0.5)
    y = y[:50]
    x = x[:50]
    J = torch.einsum("tsn,mnk->tsmk", x, U.view(4, 5, 3)).flatten(1, 2)
    dense = torch.linalg.lstsq(J, y.flatten(1).unsqueeze(2)).solution.squeeze(2)
    filters, moments = Filters(U, 4, 5), Moments.of(x, y)
    v, residual = filters.fit(moments)
    torch.testing.assert_close(v, dense, rtol=1e-7, atol=1e-8)
    dense_residual = (y.flatten(1) - (J @ dense.unsqueeze(2)).squeeze(2)).square().sum()
    assert residual == pytest.approx(float(dense_residual), rel=1e-9)
    far, worse = filters.fit(moments, 0.5)  # damped: v is no minimum, so all three terms of the residual count
    rest = y.flatten(1) - (J @ far.unsqueeze(2)).squeeze(2)
    assert worse == pytest.approx(float(rest.square().sum()), rel=1e-9)
    assert worse > 1.01 * residual
    gram = J.mT @ J
    damped = torch.linalg.inv(gram + 1e-3 * gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(3))
    got, reach = filters.damped(moments)
    torch.testing.assert_close(got, (damped @ (J.mT @ y.flatten(1).unsqueeze(2))).squeeze(2))
    torch.testing.assert_close(reach, (damped @ gram).sum(0))


def test_one_iteration_is_least_squares_in_the_span(gen):
    _U, _, x, y = span_tasks(gen, noise=0.5)
    start = torch.linalg.qr(torch.randn(20, 3, generator=gen, dtype=torch.float64))[0]
    alternation = Alternation(in_chunks(x, y, 30), 1e-3, 5)
    x = x / alternation.tasks.scale_x
    y = y / alternation.tasks.scale_y
    fitted = alternation.filters(start, alternation.moments, 1e-10)
    better = alternation.better(start, alternation.moments, fitted.filters)
    v = Filters(start, 4, 5).fit(Moments.of(x, y))[0]
    features = (x.unsqueeze(3) * v[:, None, None]).flatten(0, 1).flatten(1)  # (examples, n k)
    dense = torch.linalg.lstsq(features, y.flatten(0, 1)).solution.mT.reshape(20, 3)
    assert span_cosine(better, dense) > 1 - 1e-12
    torch.testing.assert_close(better.mT @ better, torch.eye(3, dtype=torch.float64))
    assert (fitted.numbers, fitted.n_tasks) == (200 * 8 * 4, 200)
    assert fitted.energy == pytest.approx(float(y.square().sum()))
    assert alternation.filters(better, alternation.moments, 1e-10).residual < fitted.residual


def test_the_iteration_that_settles_looks_for_no_further_span(gen, monkeypatch):
    """What it would find is not used, and to find it costs as much as all else of an iteration."""
    _, _, x, y = span_tasks(gen, noise=0.5)
    made = []
    better = Alternation.better
    monkeypatch.setattr(Alternation, "better", lambda *args: made.append(1) or better(*args))
    alternation = Alternation(in_chunks(x, y, 30), 1e-3, 30)
    alternation.fit(torch.randn(20, 3, generator=gen, dtype=torch.float64))
    assert alternation.converged
    assert len(made) == len(alternation.residuals) - 1


def test_without_stability_all_else_is_the_same():
    x, y = drawn(FAMILIES["C8"](noise=0.3, seed=1))
    whole = find_span(in_chunks(x, y), seed=3)
    bare = find_span(in_chunks(x, y), seed=3, stability=False)
    assert torch.equal(bare.U, whole.U)
    assert bare.noise == whole.noise
    assert bare.start.null == whole.start.null
    assert bare.start.stability.isnan().all()
    assert not whole.start.stability.isnan().any()


FAMILIES = {
    "C8": lambda **o: group_tasks(regular(cyclic(8)), **o),
    "D4": lambda **o: group_tasks(regular(dihedral(4)), **o),
    "D4 on a 4x4 grid": lambda **o: group_tasks(grid_rotations(4, flips=True), **o),
    "S6": lambda **o: group_tasks(natural(symmetric(6)), **o),
    "rank 1": lambda **o: TranslationTasks(rank=1, length=24, **o),
    "rank 2": lambda **o: TranslationTasks(rank=2, length=24, **o),
}


def test_the_last_residual_is_that_of_the_returned_span():
    x, y = drawn(FAMILIES["C8"](noise=0.3, seed=1))
    result = find_span(in_chunks(x, y))
    x, y = x.double(), y.double()
    residual = 0.0
    for inputs, target in zip(x, y, strict=True):
        features = torch.einsum("en,mnk->emk", inputs, result.U.view(8, 8, -1)).flatten(0, 1)
        residual += float(torch.linalg.lstsq(features, target.flatten()[:, None], driver="gelsd")[1].sum())
    assert result.residuals[-1] == pytest.approx(residual / float(y.square().sum()), rel=1e-3)
    assert result.residuals[0] > result.residuals[-1]


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_dimension_and_the_span_of_known_families(name, noise):
    family = FAMILIES[name](noise=noise, seed=1)
    truth = family.true_span()
    result = find_span(in_chunks(*drawn(family)))
    assert result.k == truth.shape[1]
    assert result.converged
    assert span_cosine(result.U, truth) > (0.995 if noise else 1 - 1e-9)
    if noise:
        assert result.noise == pytest.approx(noise**2, rel=0.05)
    assert result.cut.k == result.k
    assert (result.cut.p_value[: result.k] == 1e-4).all()  # the least that random signs can give
    assert (result.cut.energy[: result.k] > 0).all()


def test_an_extrapolation_solves_a_linear_iteration(gen):
    """Of ``x ← A x + b`` in three dimensions, four points and their steps give the fixed point."""
    A = torch.diag(torch.tensor([0.9, 0.5, -0.3], dtype=torch.float64))
    b = torch.randn(3, 1, generator=gen, dtype=torch.float64)
    x, history = torch.zeros(3, 1, dtype=torch.float64), []
    for _ in range(4):
        history.append((x, A @ x + b - x))
        x = A @ x + b
    torch.testing.assert_close(
        extrapolated(history), torch.linalg.solve(torch.eye(3).double() - A, b), rtol=1e-5, atol=0
    )
    assert torch.equal(extrapolated(history[:1]), history[1][0])


class TestExtrapolatedAlternation:
    """Few examples a task, where alternating alone is slow."""

    def spans(self, monkeypatch, replacement=None):
        U, _, x, y = span_tasks(torch.Generator().manual_seed(5), k=6, m=5, n=6, tasks=300, examples=2)
        if replacement is not None:
            monkeypatch.setattr("msr.span.alternation.extrapolated", replacement)
        return U, find_span(in_chunks(x, y), k=6, max_iterations=300)

    def test_it_takes_fewer_iterations_to_the_same_span(self, monkeypatch):
        U, fast = self.spans(monkeypatch)
        _, slow = self.spans(monkeypatch, lambda history: sum(history[-1]))
        assert fast.converged
        assert slow.converged
        assert fast.iterations < 0.7 * slow.iterations
        assert min(span_cosine(fast.U, U), span_cosine(slow.U, U)) > 1 - 1e-9

    def test_only_a_plain_step_counts_as_settled(self):
        """Random starts and noise, where an extrapolation can land just below the residual before it."""
        gen = torch.Generator().manual_seed(0)
        _, _, x, y = span_tasks(gen, k=6, m=5, n=6, tasks=300, examples=2, noise=0.1)
        settled = 0
        for seed in range(20):
            start = torch.randn(30, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            result = find_span(in_chunks(x, y), k=6, start=start, max_iterations=200)
            if result.converged:
                continued = find_span(in_chunks(x, y), k=6, start=result.U, max_iterations=10)
                settled += 1
                assert continued.noise > 0.98 * result.noise
        assert settled >= 3

    def test_one_direction_that_converges_at_once(self, gen):
        x = torch.randn(60, 5, 1, generator=gen, dtype=torch.float64)
        y = 2 * x + torch.randn(60, 5, 1, generator=gen, dtype=torch.float64)
        assert find_span(in_chunks(x, y), k=1).U.shape == (1, 1)

    def test_an_extrapolation_that_raises_the_residual_is_taken_back(self, monkeypatch):
        far = torch.randn(30, 6, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
        U, result = self.spans(monkeypatch, lambda history: sum(history[-1]) if len(history) < 3 else far)
        assert result.converged
        assert span_cosine(result.U, U) > 1 - 1e-9


def test_convolutions_by_their_windows(gen):
    U = orthonormal_basis(torch.randn(3 * 2 * 9, 5, generator=gen))
    weight = (torch.randn(200, 5, generator=gen, dtype=torch.float64) @ U.mT).view(200, 3, 2, 3, 3)
    x = torch.randn(200, 2, 2, 6, 6, generator=gen, dtype=torch.float64)
    y = torch.stack([F.conv2d(images, w) for images, w in zip(x, weight, strict=True)])
    result = find_span(in_chunks(*patches(x, y, 3)))
    assert result.k == 5
    assert span_cosine(result.U, U) > 1 - 1e-9


@pytest.mark.parametrize("n_tasks", [80, 240])
def test_wrong_dimensions_are_rare(n_tasks):
    """Forty families whose dimension is 2, few tasks included."""
    dimensions = []
    for seed in range(40):
        family = group_tasks(natural(symmetric(5)), noise=0.3, seed=seed)
        dimensions.append(find_span(in_chunks(*drawn(family, n_tasks, 10))).k)
    assert dimensions.count(2) >= 39


def test_the_level_of_the_rank_cut(gen):
    """Directions that no task uses are counted with probability alpha: the judges alone, on a span that is exact."""
    U, _, x, y = span_tasks(gen, k=2, tasks=8000, examples=6, noise=1.0)
    extra = torch.linalg.qr(torch.cat([U, torch.randn(20, 3, generator=gen, dtype=torch.float64)], 1))[0]
    wrong = 0
    for start in range(0, 8000, 80):
        alternation = Alternation(in_chunks(x[start : start + 80], y[start : start + 80]), 1e-3, 5)
        span = torch.linalg.qr(alternation.tasks.standardise(extra))[0]
        a, b = half_filters(alternation, span[:, 2:])
        wrong += int((rank_cut(a[3::4], b[3::4], 0.1, 0).p_value[0] <= 0.1).item())
    assert 2 <= wrong <= 19  # of 100: 10 on average, 3 standard deviations


def test_a_dimension_beyond_what_tasks_can_tell_is_refused(gen):
    _, _, x, y = span_tasks(gen, k=10, m=2, n=8, tasks=1000, examples=6)
    with pytest.raises(DataError, match=r"all 9 directions .* so they cannot tell the dimension"):
        find_span(in_chunks(x, y))
    assert find_span(in_chunks(x, y), k=10).noise < 1e-5


def test_a_family_that_shares_nothing_has_the_full_dimension(gen):
    _, _, x, y = span_tasks(gen, k=12, m=3, n=4, tasks=400, examples=20)
    assert find_span(in_chunks(x, y)).k == 12


def weak_tasks(gen, noise=0.0, sizes=(1, 0.3, 0.05, 0.01, 0.003), tasks=300, examples=24, outputs=6):
    """Tasks whose directions differ in size; noise in units of the outputs."""
    U = torch.linalg.qr(torch.randn(6 * outputs, len(sizes), generator=gen, dtype=torch.float64))[0]
    v = torch.randn(tasks, len(sizes), generator=gen, dtype=torch.float64) * torch.tensor(sizes, dtype=torch.float64)
    x = torch.randn(tasks, examples, 6, generator=gen, dtype=torch.float64)
    y = x @ (v @ U.mT).view(tasks, outputs, 6).mT
    return x, y + noise * y.std() * torch.randn(y.shape, generator=gen, dtype=torch.float64)


@pytest.mark.parametrize(("noise", "k"), [(0, 5), (1e-3, 5), (0.01, 5), (0.3, 3)])
def test_every_direction_above_noise_is_counted(noise, k, gen):
    """A direction of 0.01 in size is lost at a noise of 30%, but not at one of 1%."""
    x, y = weak_tasks(gen, noise)
    result = find_span(in_chunks(x, y))
    assert result.k == k
    assert (result.cut.p_value[k:] > 0.001).all()
    assert find_span(in_chunks(x.float(), y.float())).k == k  # rounding of data is noise


def test_tasks_may_differ_in_their_number_of_examples(gen):
    x, y = weak_tasks(gen, 1e-3)
    counts = torch.randint(12, 25, (300,), generator=gen).tolist()
    centred = [[part[i : i + 1, :n] - part[i, :n].mean(0) for part in (x, y)] for i, n in enumerate(counts)]
    assert find_span(lambda: map(tuple, centred)).k == 5


def test_weak_couplings_between_neighbours_are_counted(gen):
    """Each output is its input times a number, and 1% of its ring's neighbours."""
    size = torch.tensor([1, 0.01, 0, 0], dtype=torch.float64)
    steps = (torch.arange(6) - torch.arange(6)[:, None]) % 6
    away = torch.minimum(steps, 6 - steps)
    weight = torch.randn(300, 4, generator=gen, dtype=torch.float64)[:, away] * size[away]
    x = torch.randn(300, 24, 6, generator=gen, dtype=torch.float64)
    assert find_span(in_chunks(x, x @ weight.mT)).k == 2


@pytest.mark.parametrize(("tasks", "examples"), [(40, 24), (40, 7), (44, 7), (84, 7)])
def test_few_noise_free_tasks_give_the_dimension(tasks, examples, gen):
    """Seven examples of six inputs leave ten judges of forty tasks, so all signs have to be looked at."""
    for sizes in ((1, 0.8, 0.6), (1, 0.3, 0.05), (1, 1, 1)):
        x, y = weak_tasks(gen, sizes=sizes, tasks=tasks, examples=examples)
        result = find_span(in_chunks(x, y))
        assert result.k == 3
        assert result.cut.n_tasks == (tasks // 4 if examples == 7 else tasks // 2)


def test_few_noisy_tasks_give_dimensions_up_to_their_limit(gen):
    for k in (5, 9):
        assert find_span(in_chunks(*weak_tasks(gen, 0.1, (1,) * k, tasks=40))).k == k


def test_all_signs_of_few_judges_are_enumerated(gen):
    """The sign tests themselves are tested in ``tests/msr/statistics/test_symmetry.py``; here, with the thresholds."""
    a = torch.rand(10, 1, generator=gen, dtype=torch.float64) + 0.1
    b = torch.ones_like(a)
    assert rank_cut(a, b, 0.01, 0).p_value.tolist() == [1 / 1024]
    b[3] *= -1e-3  # one small negative product: two of all choices of signs give at least this sum
    assert rank_cut(a, b, 0.01, 0).p_value.tolist() == [2 / 1024]
    with THRESHOLDS.moved(all_signs=9, random_signs=99):
        assert (100 * rank_cut(a, b, 0.01, 0).p_value).tolist() == [1.0]


def test_a_surplus_direction_that_leans_on_true_ones_is_not_counted(gen):
    """Its axis has an error, with as many tasks giving the axes as judging: eight strong directions, 300 times."""

    def halves_of(tasks):
        strong = torch.randn(tasks, 8, generator=gen, dtype=torch.float64)
        true = torch.cat([strong, torch.zeros(tasks, 4, dtype=torch.float64)], 1)
        return [true + 0.5 * torch.randn(true.shape, generator=gen, dtype=torch.float64) for _ in range(2)]

    wrong = 0
    for _ in range(300):
        a, b = halves_of(40)
        axes = torch.linalg.eigh(a.mT @ b + b.mT @ a)[1].flip(1)
        a, b = halves_of(40)
        wrong += int(rank_cut(a @ axes, b @ axes, 0.1, 0).p_value[8] <= 0.1)
    assert wrong <= 45  # 30 on average at the level, 3 standard deviations


def test_noise_free_tasks_with_inputs_of_any_size_and_shape(gen):
    """Where tasks have similar inputs, the residual of a fit that is not quite exact looks like a direction."""
    for _ in range(5):
        x, y = weak_tasks(gen, sizes=(1,) * 8, tasks=80, outputs=5)
        mix = torch.eye(6, dtype=torch.float64) + 0.3 * torch.randn(80, 6, 6, generator=gen, dtype=torch.float64)
        weight = torch.linalg.lstsq(x, y).solution
        x = x @ mix * torch.randn(80, 1, 1, generator=gen, dtype=torch.float64).exp()
        assert find_span(in_chunks(x, x @ weight)).k == 8


def test_surplus_directions_that_hide_where_inputs_are_missing_are_not_counted():
    """With fewer examples than inputs, a surplus direction can lie where a fitting task has no inputs."""
    family = TranslationTasks(rank=1, shots=1, queries=19, n_train=500, n_test=None, seed=0)
    assert find_span(in_chunks(*drawn(family, 500))).k == 3


def test_the_limit_on_directions_grows_with_the_number_of_tasks(gen):
    """Mirrored pairs of nine points have 41 orbits; 150 tasks tell 37 directions apart."""
    weight = torch.randn(200, 9, 9, generator=gen, dtype=torch.float64)
    weight = weight + weight.flip(1, 2)
    x = torch.randn(200, 20, 9, generator=gen, dtype=torch.float64)
    y = x @ weight.mT
    y = y + 0.1 * y.std() * torch.randn(y.shape, generator=gen, dtype=torch.float64)
    assert find_span(in_chunks(x, y)).k == 41
    with pytest.raises(DataError, match=r"all 37 directions .* cannot tell"):
        find_span(in_chunks(x[:150], y[:150]))


def test_tasks_whose_inputs_miss_a_direction_are_recognised(gen):
    x = torch.randn(4, 10, 4, generator=gen, dtype=torch.float64)
    x[1, :, 2] = 1e-3 * x[1, :, 2]
    x[2] = x[2, :3].repeat(4, 1)[:10]
    moments = half_moments(x, x)
    assert covered(moments, 4, 4).tolist() == [True, False, False, True]
    assert not covered(half_moments(x[:, :4], x[:, :4]), 4, 4).any()


def test_small_pieces_are_joined_in_order(monkeypatch, gen):
    monkeypatch.setattr(moments_module, "_JOINED_NUMBERS", 100)
    pieces = [tuple(torch.randn(n, 3, generator=gen) for _ in range(2)) for n in (1, 5, 2, 30, 4)]
    items = list(joined(pieces))
    assert [len(a) for a, _ in items] == [8, 30, 4]
    for side in (0, 1):
        torch.testing.assert_close(torch.cat([item[side] for item in items]), torch.cat([p[side] for p in pieces]))
    moments = Moments.of(*(torch.randn(3, 4, 2, generator=gen, dtype=torch.float64) for _ in range(2)))
    (both,) = joined([moments, moments])
    assert isinstance(both, Moments)
    assert len(both.energy) == 6


def test_too_small_a_start_is_doubled(gen):
    U, _, x, y = span_tasks(gen, k=6, tasks=300, examples=10)
    result = find_span(in_chunks(x, y), start=U[:, :2])
    assert result.k == 6
    assert len(result.cut.energy) == 8
    assert result.start is None
    assert span_cosine(result.U, U) > 1 - 1e-9


def test_the_gauge_is_the_prior(gen):
    U, v, x, y = span_tasks(gen, tasks=2000, noise=0.3, mean=2.0)
    result = find_span(in_chunks(x, y), k=3)
    own = (v @ U.mT) @ torch.linalg.pinv(result.U).mT
    torch.testing.assert_close(own.mean(0), result.v0, atol=0.15, rtol=0)
    assert result.v0.norm() > 3
    torch.testing.assert_close(own.mT.cov(), torch.eye(3, dtype=torch.float64), atol=0.15, rtol=0)
    assert result.noise == pytest.approx(0.09, rel=0.03)
    assert result.penalty(8) == pytest.approx(result.noise / 8)
    assert find_span(in_chunks(x, x @ torch.ones(5, 4, dtype=torch.float64)), k=1).penalty(8) == 1e-10
    # Many unknowns: the gauge of the span is free, and the noise is not overrated for it.
    _, _, x, y = span_tasks(gen, k=8, m=2, n=4, tasks=2000, examples=6, noise=1.0)
    estimates = [find_span(in_chunks(x[i : i + 40], y[i : i + 40]), k=8).noise for i in range(0, 2000, 40)]
    assert sum(estimates) / len(estimates) == pytest.approx(1, abs=0.1)


def test_the_known_penalty_beats_others():
    """With the prior's gauge and penalty, ridge on one example is the posterior mean, so no other penalty is better."""
    family = TranslationTasks(rank=2, length=24, noise=0.5)
    result = find_span(in_chunks(*drawn(family, 400)))
    pattern = DenseSharing.from_matrix(result.U.float(), (22, 24))
    layer = ReparamLinear(24, 22, bias=False, sharing=pattern, generator=torch.Generator())
    with torch.no_grad():
        layer.v.copy_(result.v0)
    problem, shared, initial = from_module(layer)
    test = [family.episodes("test", torch.arange(300))]

    def mse(penalty):
        learner = Learner(problem, Ridge(penalty=penalty, learn=False), batching="vmap")
        return evaluate(learner, learner.init(shared, initial), test).mean

    best = result.penalty(22)
    assert mse(best) < mse(best * 5)
    assert mse(best) < mse(best / 5)


def test_what_cannot_be_fitted_is_refused(gen):
    U, _, x, y = span_tasks(gen)
    chunks = in_chunks(x, y)
    for start in (U[:5], U[:, :0]):
        with pytest.raises(ShapeError, match=r"start must be \(20, k\)"):
            find_span(chunks, start=start)
    with pytest.raises(NonFiniteError, match="start holds nan"):
        find_span(chunks, start=U * math.nan)
    assert span_cosine(find_span(chunks, start=U.float()).U, U) > 1 - 1e-9
    with pytest.raises(ConfigError, match="k must be between 1 and 3"):
        find_span(chunks, start=U, k=4)
    with pytest.raises(ConfigError, match="between 1 and the 20 numbers"):
        find_span(chunks, k=21)
    for k in ("Auto", 2.0, 0):
        with pytest.raises(ConfigError, match="k must be a count"):
            find_span(chunks, k=k)
    for alpha in (0, 2, math.nan):
        with pytest.raises(ConfigError, match="alpha must lie"):
            find_span(chunks, alpha=alpha)
    with pytest.raises(DataError, match="8 output numbers and 9 unknowns"):
        find_span(in_chunks(x[:, :2], y[:, :2]), k=9)
    with pytest.raises(DataError, match="8 examples in all"):
        find_span(in_chunks(x[:2, :4], y[:2, :4]), k=3)
    with pytest.raises(DataError, match="too many for 15 examples"):
        find_span(in_chunks(x[:3, :5], y[:3, :5]), k=3)
    with pytest.raises(DataError, match="at least 40 tasks"):
        find_span(in_chunks(x[:39], y[:39]))
    with pytest.raises(ConfigError, match="at least one iteration"):
        find_span(chunks, max_iterations=0)
    with pytest.raises(ConfigError, match="passes"):
        spectral_start(chunks, passes=0)
    with pytest.raises(ConfigError, match="sketch holds 20"):
        spectral_start(chunks).span(21)
    with pytest.raises(ConfigError, match="at least one output number"):
        find_span(chunks, k=3).penalty(0)


def test_each_threshold_is_read_where_it_decides(gen):
    """A constant that is moved changes the answer, and its old value comes back after the block."""
    _, _, x, y = span_tasks(gen, noise=0.3)
    chunks = in_chunks(x, y)
    standard = find_span(chunks)
    moves = {
        "rough_ridge": 0.2,
        "edge_margin": 2.2,
        "least_surplus": 8,
        "most_damping": 0.1,
        "slope_share": 1.0,
        "random_signs": 4999,
        "rounding": 0.5,
    }
    for name, value in moves.items():
        with THRESHOLDS.moved(**{name: value}):
            other = find_span(chunks)
        evidence = [
            (s.start.edge, s.cut.floor, *s.cut.energy.tolist(), *s.cut.p_value.tolist()) for s in (standard, other)
        ]
        assert evidence[0] != evidence[1], name
    with THRESHOLDS.moved(fewest_tasks=201), pytest.raises(DataError, match="at least 201 tasks"):
        find_span(chunks)
    assert THRESHOLDS() == Thresholds()
    assert torch.equal(find_span(chunks).cut.energy, standard.cut.energy)


def test_a_row_with_more_unknowns_than_fit_in_memory_is_refused(gen, monkeypatch):
    _, _, x, y = span_tasks(gen, noise=0.3)
    monkeypatch.setattr(alternation, "MAX_UNKNOWNS", 10)
    with pytest.raises(ConfigError, match="more than 10"):
        find_span(in_chunks(x, y), k=3)


def test_a_factor_of_one_still_makes_sketches_and_spans_wider(gen):
    """A study may halve the factors by which they grow; an unchanged width would be tried for ever."""
    U = torch.randn(30, 20, generator=gen, dtype=torch.float64)
    U[:, 2:] *= 0.15
    x = torch.randn(400, 8, 6, generator=gen, dtype=torch.float64)
    W = (torch.randn(400, 20, generator=gen, dtype=torch.float64) @ U.mT).view(400, 5, 6)
    chunks = in_chunks(x, x @ W.mT)
    with THRESHOLDS.moved(widening=1, sketch_growth=1, dense_weights=0, sketch_guess=2, sketch_surplus=2):
        assert find_span(chunks).k > 1


def test_halves_share_no_example(gen):
    x = torch.randn(2, 5, 3, generator=gen)
    (xa, ya), (xb, yb) = halves(x, 2 * x)
    assert (xa.shape[1], xb.shape[1]) == (2, 3)
    torch.testing.assert_close(torch.cat([xa, xb], 1), x)
    torch.testing.assert_close(torch.cat([ya, yb], 1), 2 * x)
