"""The benchmark of contexts: its problem is the study's, rivals are written right, and a wrong one is told."""

import numpy as np
import pytest
import torch

from benchmarks import contexture
from benchmarks.harness import context_rivals
from experiments.contexture import noisy_turns
from msr.contexture import JointContext, PoolContext, spectrum


@pytest.fixture(scope="module")
def problem():
    return contexture.Problem()


@pytest.fixture
def near(gen):
    return PoolContext.rbf(torch.randn(40, 3, generator=gen))


def test_the_problem_is_that_of_the_study(problem):
    context, found = noisy_turns()
    np.testing.assert_allclose(problem.context.conditional, context.conditional, atol=1e-15)
    assert problem.angle(found.functions[:, : contexture.FUNCTIONS]) < 1e-6
    assert problem.exact.whole(contexture.FUNCTIONS) == contexture.FUNCTIONS  # no eigenspace is cut


def test_pairs_come_from_the_joint_distribution(problem, gen):
    pairs = problem.pairs(200_000, gen)
    counts = torch.zeros(64, 64).index_put_((pairs[:, 0], pairs[:, 1]), torch.ones(()), accumulate=True)
    expected = 200_000 * torch.from_numpy(problem.context.joint)
    # Each of 4,096 counts is within six of its standard deviations, but with a chance of about 1e-5.
    assert ((counts - expected).abs() < 6 * expected.sqrt() + 6).all()


class TestSpectra:
    def test_kernel_pca_and_svds_agree_with_ours(self, near):
        exact = spectrum(near)
        kernel = near.dual_kernel().numpy()
        assert max(contexture.differences(exact, context_rivals.kernel_pca(kernel, None))) < contexture.AGREE
        first = spectrum(near, 12, solver="iterative")
        for found in (context_rivals.kernel_pca(kernel, 12), context_rivals.svds_of(near.root, 12)):
            assert max(contexture.differences(first, found)) < contexture.AGREE

    def test_a_rival_that_differs_is_an_error(self, monkeypatch):
        def wrong(kernel, k):
            found = context_rivals.kernel_pca(kernel, k)
            return found._replace(squares=found.squares * (1 + 1e-6))

        monkeypatch.setattr(contexture, "kernel_pca", wrong)
        with pytest.raises(ArithmeticError, match="KernelPCA differs by"):
            contexture.compare_spectra(30, None, 1)

    def test_another_span_is_told(self, near):
        exact = spectrum(near)
        found = context_rivals.kernel_pca(near.dual_kernel().numpy(), None)
        turned = found._replace(vectors=np.roll(found.vectors, 1, axis=1))
        assert contexture.differences(exact, turned)[1] == pytest.approx(1)

    def test_vamp_agrees_from_covariances_and_from_weighted_pairs(self):
        decomposition = pytest.importorskip("deeptime.decomposition")
        counts = np.random.default_rng(0).integers(1, 9, (6, 5))
        context = JointContext(counts, counts=True)
        exact = spectrum(context)
        found = context_rivals.vamp(context_rivals.covariances(context))
        np.testing.assert_allclose(found.squares[:4], exact.squares[:4], atol=1e-12)
        x, a = (index.ravel() for index in np.indices(counts.shape))
        # deeptime wants as many numbers of a context as of a point; the sixth context never occurs.
        pairs = (np.eye(6)[x], np.eye(6)[a])
        estimator = decomposition.VAMP(lagtime=1, epsilon=1e-10).partial_fit(
            pairs, weights=counts.ravel().astype(float)
        )
        np.testing.assert_allclose(estimator.fetch_model().singular_values[:4], exact.values[:4], atol=1e-10)


class TestLosses:
    def test_ncp_is_the_loss_of_its_paper(self, gen):
        """Over all ordered pairs of pairs of a table of counts, the mean is the loss in the whole distribution."""
        counts = torch.tensor([[2, 1], [1, 3], [0, 2]])
        pairs = torch.nonzero(counts).repeat_interleave(counts[counts > 0], dim=0)
        n = len(pairs)
        batch = torch.cat([pairs.repeat_interleave(n, dim=0), pairs.repeat(n, 1)])
        u, v = (torch.randn(rows, 4, generator=gen, dtype=torch.float64) for rows in counts.shape)
        free = torch.randn(4, generator=gen, dtype=torch.float64)
        joint = counts.double() / n
        px, pa, scale = joint.sum(1), joint.sum(0), torch.exp(-free.square())
        expected = ((u * scale) @ v.mT).square().mul(torch.outer(px, pa)).sum()
        expected -= 2 * (scale * ((u.mT @ joint @ v).diagonal() - (px @ u) * (pa @ v))).sum()
        for values, weights in ((u, px), (v, pa)):
            second = values.mT @ (weights[:, None] * values)
            apart = (second - torch.eye(4)).square().sum() + 2 * (weights @ values).square().sum()
            expected += 0.3 * apart
        assert context_rivals.ncp(0.3)(u, v, batch, free) == pytest.approx(float(expected))

    def test_every_loss_gets_the_same_pairs_and_the_same_start(self, problem):
        (arm, *_) = contexture.our_arms(problem)
        before = torch.get_rng_state()
        (one, other), counts = contexture.train(problem, [arm, arm], 7, 64, 3)
        assert torch.equal(torch.get_rng_state(), before)
        assert one.angles == other.angles
        assert counts.sum() == 7 * 64

    def test_the_start_is_no_odd_function(self, problem, gen):
        network = contexture._network(4, gen)
        even = (network(problem.inputs) + network(-problem.inputs)).abs().max()
        assert even > 0.1

    def test_a_library_that_is_missing_is_a_row(self, problem, monkeypatch):
        monkeypatch.setattr(context_rivals, "why_not", lambda module: f"{module} is needed here")
        monkeypatch.setattr(contexture, "why_not", lambda module: f"{module} is needed here")
        arms, missing = context_rivals.rivals(4)
        assert list(arms) == ["NCP's loss, from its paper"]
        assert set(missing) == {f"kooplearn {name}Loss" for name in ("Vamp", "SpectralContrastive", "Energy")}
        row = contexture.compare_spectra(30, None, 1)
        assert row["missing"] == {"VAMP": "not run: deeptime.decomposition is needed here"}
        results = {"rounds": 1, "spectra": [row], **contexture.compare_losses(1, 8, 128)}
        cells = [cell for _, rows in contexture.tables(results).values() for line in rows for cell in line]
        assert "not run: kooplearn.torch.nn is needed here" in cells
        assert any("VAMP not run: deeptime" in line.beside for line in contexture.headlines(results))

    def test_a_library_that_is_not_there_is_named_with_what_installs_it(self):
        assert "pip install 'msr[bench]'" in context_rivals.why_not("no_such_library.part")
        assert context_rivals.why_not("sklearn.decomposition") == ""


def test_the_first_look_within_an_angle():
    runs = [
        {"angles": [9.0, 4.0, 6.0], "seconds": [1.0, 2.0, 3.0]},
        {"angles": [80.0, 70.0, 60.0], "seconds": [1, 2, 3]},
    ]
    assert contexture.reached(runs, 5.0, 120) == [(100, 2.0)]
    assert contexture.reached(runs, 60.0, 120) == [(50, 1.0), (120, 3)]
    assert contexture.reached(runs, 1.0, 120) == []
