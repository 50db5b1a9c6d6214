"""Translation tasks: the data against its formula, determinism, and the truth they carry."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from msr.errors import ConfigError, ShapeError
from msr.span.angles import orthonormal_basis, span_cosine
from msr.tasks.base import generator_for
from msr.tasks.locally_connected import locally_connected_weight, span_of_filters
from tasks import TranslationTasks


@given(
    rank=st.integers(1, 5),
    kernel=st.integers(1, 4),
    length=st.integers(4, 12),
    circular=st.booleans(),
    shots=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_data_is_its_formula(rank, kernel, length, circular, shots, seed):
    family = TranslationTasks(
        rank, kernel, length, "circular" if circular else "valid", shots=shots, queries=2, seed=seed
    )
    tasks = torch.tensor([0, 7])
    e = family.episodes("train", tasks).check()
    W = locally_connected_weight(family.filters("train", tasks), length)
    for x, y in ((e.support_x, e.support_y), (e.query_x, e.query_y)):
        torch.testing.assert_close(torch.einsum("tij,tecj->teci", W, x), y)
    assert e.support_x.shape == (2, shots, 1, length)
    assert e.query_y.shape == (2, 2, 1, family.out_length)


@pytest.mark.parametrize("boundary", ["valid", "circular"])
@pytest.mark.parametrize("rank", [1, 2, 5])
def test_true_span_holds_every_task_and_no_more(rank, boundary):
    family = TranslationTasks(rank=rank, length=20, boundary=boundary)
    span = family.true_span()
    filters = family.filters("test", torch.arange(60))
    weights = locally_connected_weight(filters, 20).flatten(1).mT  # float32: its rank is judged at that precision
    assert span.shape[1] == 3 * rank
    assert span_cosine(span, weights) == pytest.approx(1, abs=1e-6)
    assert span_cosine(weights, span) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(span.mT @ span, torch.eye(3 * rank, dtype=torch.float64), atol=1e-6, rtol=0)


def test_rank_one_is_a_convolution_and_circular_is_circulant():
    family = TranslationTasks(rank=1, length=8, boundary="circular")
    W = locally_connected_weight(family.filters("train", torch.tensor([3])), 8)[0]
    torch.testing.assert_close(W.roll((1, 1), (0, 1)), W)
    valid = TranslationTasks(rank=1, length=8)
    x = valid.episodes("train", torch.tensor([3])).query_x[0]
    kernel = valid.filters("train", torch.tensor([3]))[0, :1].unsqueeze(0)
    torch.testing.assert_close(
        torch.nn.functional.conv1d(x, kernel), valid.episodes("train", torch.tensor([3])).query_y[0]
    )


def test_a_task_is_a_function_of_seed_split_and_index():
    family, again, other = TranslationTasks(seed=1), TranslationTasks(seed=1), TranslationTasks(seed=2)
    alone = family.episodes("train", torch.tensor([5]))
    among = again.episodes("train", torch.tensor([4, 5, 6])).select(slice(1, 2))
    for a, b in zip(alone, among, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(alone.query_x, family.episodes("test", torch.tensor([5])).query_x)
    assert not torch.equal(alone.query_x, other.episodes("train", torch.tensor([5])).query_x)
    assert not torch.equal(alone.query_x, family.episodes("train", torch.tensor([6])).query_x)


def test_moments_are_those_of_the_reference():
    """x is standard normal, rank-1 filters too, so y has variance 3; noise adds its own square."""
    e = TranslationTasks(queries=9).episodes("train", torch.arange(400))
    assert float(e.query_x.var()) == pytest.approx(1, rel=0.03)
    assert float(e.query_y.var()) == pytest.approx(3, rel=0.15)
    noisy = TranslationTasks(queries=9, noise=2.0).episodes("train", torch.arange(400))
    W = locally_connected_weight(TranslationTasks(noise=2.0).filters("train", torch.arange(400)), 70)
    left = noisy.query_y - torch.einsum("tij,tecj->teci", W, noisy.query_x)
    assert float(left.std()) == pytest.approx(2, rel=0.02)


def test_connectivity_is_shared_by_all_tasks_and_sums_to_one():
    family = TranslationTasks(rank=5, seed=3)
    torch.testing.assert_close(family.connectivity.sum(1), torch.ones(68))
    assert torch.equal(family.connectivity, TranslationTasks(rank=5, seed=3).connectivity)
    assert not torch.equal(family.connectivity, TranslationTasks(rank=5, seed=4).connectivity)


def test_draws_are_streamed_or_with_replacement():
    endless = TranslationTasks(n_train=None)
    assert endless.draw("train", 3, 4).tolist() == [12, 13, 14, 15]
    finite = TranslationTasks(n_train=10)
    drawn = torch.cat([finite.draw("train", step, 32) for step in range(20)])
    assert drawn.min() == 0
    assert drawn.max() == 9
    assert torch.equal(finite.draw("train", 3, 32), finite.draw("train", 3, 32))
    assert not torch.equal(finite.draw("train", 3, 32), finite.draw("train", 4, 32))


def test_generators_of_neighbouring_keys_are_unrelated():
    draws = torch.stack([torch.randn(2000, generator=generator_for(0, "train", i)) for i in range(20)])
    correlation = torch.corrcoef(draws) - torch.eye(20)
    assert correlation.abs().max() < 0.12  # 190 pairs, each N(0, 1/2000)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: TranslationTasks(rank=0), "rank must be at least 1; got 0"),
        (lambda: TranslationTasks(length=2), "length must be at least the kernel's 3; got 2"),
        (lambda: TranslationTasks(boundary="open"), "valid or circular; got 'open'"),
        (lambda: TranslationTasks(noise=-1.0), "noise must not be negative"),
        (lambda: TranslationTasks(n_train=0), "at least one train task; got 0"),
        (lambda: TranslationTasks(n_test=5).episodes("test", torch.tensor([5])), "holds 5 tasks; index 5"),
        (
            lambda: TranslationTasks().episodes("test", torch.tensor([], dtype=torch.long)),
            "no test task was asked for",
        ),
        (lambda: TranslationTasks().draw("train", 0, 0), "at least one task; got 0"),
    ],
)
def test_errors(call, says):
    with pytest.raises(ConfigError, match=says):
        call()


def test_misfit_filters_are_refused():
    with pytest.raises(ShapeError, match=r"5 positions; an input of length 8 needs 8 \(circular\) or 6 \(valid\)"):
        locally_connected_weight(torch.ones(5, 3), 8)


def test_span_of_filters_is_the_span_of_their_weights(gen):
    filters = torch.randn(4, 6, 3, generator=gen, dtype=torch.float64)
    dense = orthonormal_basis(locally_connected_weight(filters, 8).flatten(1).mT)
    assert span_cosine(span_of_filters(filters, 8), dense) == pytest.approx(1)
