"""Task files with a known truth: does the truth hold, to the last digit that float32 keeps?"""

import pytest
import torch

from msr.errors import ConfigError, DataError
from msr.groups import cyclic, dihedral, quaternion, symmetric
from msr.representations import equivariant_basis, grid_rotations, natural, planar, regular, sign, trivial
from msr.span.angles import orthonormal_basis
from msr.tasks.controls import broken_span
from msr.tasks.sampling import sample_group, sample_translation

PAIRS = {
    "D4 regular": (lambda: regular(dihedral(4)),) * 2,
    "D4 regular to corners": (lambda: regular(dihedral(4)), lambda: natural(dihedral(4))),
    "Q8": (lambda: regular(quaternion()),) * 2,
    "S4": (lambda: natural(symmetric(4)),) * 2,
    "images": (lambda: grid_rotations(3, flips=True), lambda: regular(dihedral(4))),
    "plane": (lambda: regular(cyclic(5)), lambda: planar(5)),
}
pairs = pytest.mark.parametrize(("rep_in", "rep_out"), PAIRS.values(), ids=PAIRS)


def commutation_error(rep_in, rep_out, w):
    """``‖ρ_out(g) W − W ρ_in(g)‖ / ‖W‖`` of each task, the largest over the group."""
    w = w.double()
    left, right = rep_out.matrices(), rep_in.matrices()
    differences = left[:, None] @ w - w @ right[:, None]
    return differences.flatten(2).norm(dim=2).amax(0) / w.flatten(1).norm(dim=1)


def share_outside(rep_in, rep_out, w):
    """``‖W − P W‖ / ‖W‖`` of each task, ``P`` the mean over the group."""
    w = w.double()
    inverse = torch.linalg.inv(rep_out.matrices())
    mean = (inverse[:, None] @ w @ rep_in.matrices()[:, None]).mean(0)
    return (w - mean).flatten(1).norm(dim=1) / w.flatten(1).norm(dim=1)


def dimension(w):
    return orthonormal_basis(w.double().flatten(1).mT, rtol=1e-5).shape[1]


@pairs
def test_each_task_is_equivariant(rep_in, rep_out):
    rep_in, rep_out = rep_in(), rep_out()
    x, y, w = sample_group(rep_in, rep_out, n_tasks=60, examples=3)
    assert x.shape == (60, 3, *rep_in.shape)
    assert y.shape == (60, 3, *rep_out.shape)
    assert w.shape == (60, rep_out.dim, rep_in.dim)
    assert commutation_error(rep_in, rep_out, w).max() < 1e-5
    assert dimension(w) == equivariant_basis(rep_in, rep_out).orthonormal().shape[1]
    torch.testing.assert_close(y.flatten(2), x.flatten(2) @ w.mT, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("breaking", [0.0, 0.05, 0.3, 1.0])
@pairs
def test_broken_tasks_are_broken_by_what_was_asked(rep_in, rep_out, breaking):
    rep_in, rep_out = rep_in(), rep_out()
    k = equivariant_basis(rep_in, rep_out).orthonormal().shape[1]
    w = sample_group(rep_in, rep_out, truth="broken", breaking=breaking, n_tasks=60).w
    torch.testing.assert_close(
        share_outside(rep_in, rep_out, w), torch.full((60,), breaking, dtype=torch.float64), atol=1e-6, rtol=0
    )
    assert dimension(w) == k
    assert (w.double() ** 2).sum((1, 2)).mean() / rep_out.dim == pytest.approx(1, rel=0.5)


@pairs
def test_no_symmetry_keeps_the_dimension_alone(rep_in, rep_out):
    rep_in, rep_out = rep_in(), rep_out()
    U = equivariant_basis(rep_in, rep_out).orthonormal()
    w = sample_group(rep_in, rep_out, truth="none", n_tasks=60).w
    assert dimension(w) == U.shape[1]
    # A random map lies outside by what is left of the space, give or take.
    share = (1 - U.shape[1] / U.shape[0]) ** 0.5
    assert share_outside(rep_in, rep_out, w).mean() == pytest.approx(share, rel=0.2)


@pytest.mark.parametrize("truth", ["group", "none", "broken"])
def test_outputs_have_mean_square_one_and_noise_its_size(truth):
    rep = regular(dihedral(4))
    clean = sample_group(rep, rep, truth=truth, n_tasks=2000, examples=5)
    noisy = sample_group(rep, rep, truth=truth, n_tasks=2000, examples=5, noise=0.5)
    assert (clean.y**2).mean() == pytest.approx(1, rel=0.05)
    assert (clean.x**2).mean() == pytest.approx(1, rel=0.05)
    assert torch.equal(clean.w, noisy.w)
    assert torch.equal(clean.x, noisy.x)
    added = noisy.y - clean.y
    assert added.std() == pytest.approx(0.5, rel=0.02)
    assert abs(float(added.mean())) < 0.01


def test_samples_repeat_and_differ_by_seed():
    rep = natural(symmetric(3))
    one, two, other = (sample_group(rep, rep, n_tasks=3, noise=0.1, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.x, other.x)
    assert not torch.equal(one.w, other.w)
    assert all(value.dtype == torch.float32 for value in one)


@pytest.mark.parametrize(("length", "kernel", "circular"), [(8, 3, True), (8, 3, False), (5, 5, False), (5, 1, True)])
def test_convolutions(length, kernel, circular):
    x, y, w = sample_translation(length, kernel, circular=circular, n_tasks=40, examples=4)
    m = length if circular else length - kernel + 1
    assert (x.shape, y.shape, w.shape) == ((40, 4, length), (40, 4, m), (40, m, length))
    psi = w[:, 0, :kernel]
    signal = torch.cat([x, x[..., : kernel - 1]], -1) if circular else x
    expected = torch.nn.functional.conv1d(signal.transpose(0, 1), psi[:, None], groups=40).transpose(0, 1)
    torch.testing.assert_close(y, expected, atol=1e-4, rtol=1e-4)
    assert dimension(w) == kernel
    if circular:
        shift = torch.roll(w, (1, 1), (1, 2))
        assert torch.equal(shift, w)
    elif m > 1:
        assert torch.equal(w[:, 1:, 1:], w[:, :-1, :-1])
        assert (w[:, 0, kernel:] == 0).all()


@pytest.mark.parametrize("circular", [True, False])
def test_convolutions_have_mean_square_one_and_noise_its_size(circular):
    clean = sample_translation(10, 3, circular=circular, n_tasks=2000, examples=4)
    noisy = sample_translation(10, 3, circular=circular, n_tasks=2000, examples=4, noise=0.25)
    assert (clean.y**2).mean() == pytest.approx(1, rel=0.06)
    assert (noisy.y - clean.y).std() == pytest.approx(0.25, rel=0.02)


def test_one_task_of_one_example_is_enough():
    rep = regular(cyclic(4))
    assert sample_group(rep, rep, n_tasks=1, examples=1).x.shape == (1, 1, 4)
    assert sample_translation(4, 2, n_tasks=1, examples=1).w.shape == (1, 3, 4)


def test_a_span_of_nothing_cannot_be_broken(gen):
    with pytest.raises(ConfigError, match="fill 0 of 6 dimensions"):
        broken_span(torch.zeros(6, 0, dtype=torch.float64), 0.3, gen)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"truth": "maybe"}, "group, none or broken; got 'maybe'"),
        ({"truth": "broken", "breaking": 1.5}, "between 0 and 1; got 1.5"),
        ({"truth": "broken", "breaking": float("nan")}, "got nan"),
        ({"n_tasks": 0}, "number of tasks must be at least 1; got 0"),
        ({"examples": -1}, "number of examples must be at least 1; got -1"),
        ({"noise": -0.1}, "noise must be finite and not negative; got -0.1"),
        ({"noise": float("inf")}, "got inf"),
        ({"noise": float("nan")}, "got nan"),
    ],
)
def test_impossible_options_are_refused(options, says):
    rep = regular(cyclic(4))
    with pytest.raises(ConfigError, match=says):
        sample_group(rep, rep, **options)


def test_impossible_truths_are_refused():
    S3 = symmetric(3)
    with pytest.raises(ConfigError, match=r"only the zero map is equivariant.*share a part"):
        sample_group(trivial(S3), sign(S3))
    with pytest.raises(ConfigError, match="every map is equivariant"):
        sample_group(trivial(S3, 2), trivial(S3, 2), truth="none")
    with pytest.raises(ConfigError, match="fill 4 of 4 dimensions: there is no room"):
        sample_group(trivial(S3, 2), trivial(S3, 2), truth="broken")
    C2 = cyclic(2)
    assert dimension(sample_group(regular(C2), regular(C2), truth="broken").w) == 2  # exactly half: there is room
    with pytest.raises(ConfigError, match="length 4 must be 1 to 4 long; got 5"):
        sample_translation(4, 5)
    with pytest.raises(ConfigError, match="got 0"):
        sample_translation(4, 0)
    with pytest.raises(ConfigError, match="number of tasks"):
        sample_translation(4, 2, n_tasks=0)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: sample_group(trivial(cyclic(2), 3000), trivial(cyclic(2), 3000), n_tasks=1),
        lambda: sample_group(regular(cyclic(4)), regular(cyclic(4)), n_tasks=10**12),
        lambda: sample_translation(10**6, 10**5),
        lambda: sample_translation(2**31, 3, examples=2**31),
    ],
)
def test_what_outgrows_memory_is_refused_before_it_is_drawn(draw):
    with pytest.raises(
        DataError, match=r"would take about .*B of memory, and .*: give fewer tasks, examples or points"
    ):
        draw()
