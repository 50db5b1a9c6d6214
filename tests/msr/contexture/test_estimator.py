"""The estimator: scikit-learn's own checks, exact and trained functions, held-out rows, and what it says of itself."""

import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from msr.contexture import PoolContext, SamplerContext, TableContext, spectrum
from msr.contexture.estimator import ContextureEncoder
from msr.errors import ConfigError, DataError

ROWS = StandardScaler().fit_transform(load_iris().data)
SPECIES = load_iris().target


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_scikit_learns_own_checks_pass(backend):
    encoder = ContextureEncoder(backend=backend, n_components=1, max_steps=20)
    before = np.random.get_state()  # noqa: NPY002  # scikit-learn's checks seed the global generator
    for estimator, check in estimator_checks_generator(encoder):
        if getattr(check, "func", check).__name__ == "check_array_api_input":
            continue  # it asks for an environment variable, and skips itself without
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(estimator)
    np.random.set_state(before)  # noqa: NPY002


def test_the_exact_backend_gives_the_singular_functions():
    encoder = ContextureEncoder("rbf:auto", 4).fit(ROWS)
    found = spectrum(PoolContext.rbf(ROWS))
    values = torch.from_numpy(encoder.transform(ROWS))
    overlap = values.mT @ found.functions[:, :4] / len(ROWS)
    torch.testing.assert_close(overlap.abs(), torch.eye(4, dtype=torch.float64), atol=1e-8, rtol=0)
    assert encoder.captured_ == 100
    assert encoder.beyond_ == pytest.approx(100 * (1 - float(found.squares[:4].sum()) / found.energy))
    assert list(encoder.get_feature_names_out()) == [f"contextureencoder{i}" for i in range(4)]
    assert encoder.score(ROWS) == pytest.approx(1, abs=1e-9)


def test_functions_hold_on_rows_that_were_not_fitted():
    order = np.random.default_rng(0).permutation(len(ROWS))
    train, test = ROWS[order[:120]], ROWS[order[120:]]
    encoder = ContextureEncoder("rbf:auto", 3).fit(train)
    assert 0.8 < encoder.score(test) <= 1
    # A negative control: functions of shuffled rows hold nothing of the context of the rows as they are.
    shuffled = np.random.default_rng(1).permuted(ROWS, axis=0)
    assert encoder.score(test) > ContextureEncoder("rbf:auto", 3, backend="torch", max_steps=1, random_state=0).fit(
        shuffled
    ).score(test)


def test_a_network_learns_nearly_all_and_says_how_much():
    encoder = ContextureEncoder("knn:15", 3, backend="torch", max_steps=800, random_state=0).fit(ROWS)
    assert 98 < encoder.captured_ <= 100
    assert encoder.n_steps_ <= 800
    values = encoder.transform(ROWS)
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(values.T @ values / len(values), np.eye(3), atol=1e-6)
    again = ContextureEncoder("knn:15", 3, backend="torch", max_steps=800, random_state=0).fit(ROWS)
    np.testing.assert_array_equal(again.transform(ROWS), values)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(encoder)).transform(ROWS), values)


def test_labels_and_mixtures_are_learned_by_networks():
    encoder = ContextureEncoder("labels", 2, max_steps=800, random_state=0).fit(ROWS, SPECIES)
    assert encoder.captured_ > 95
    assert encoder.beyond_ == pytest.approx(0, abs=1e-6)
    mixed = ContextureEncoder("labels + knn:10", 2, max_steps=200, random_state=0).fit(ROWS, SPECIES)
    assert mixed.captured_ > 80
    assert 0 < mixed.score(ROWS, SPECIES) <= 1


def test_a_sampler_has_no_known_energy():
    noise = SamplerContext(lambda x, generator: x + 0.2 * torch.randn(x.shape, generator=generator), "noise")
    encoder = ContextureEncoder(noise, 2, max_steps=50, random_state=0).fit(ROWS)
    assert math.isnan(encoder.captured_)
    assert math.isnan(encoder.beyond_)
    assert encoder.transform(ROWS).shape == (150, 2)
    with pytest.raises(ConfigError, match="is not known"):
        encoder.score(ROWS)


def test_it_stands_in_a_pipeline_and_speaks_when_asked(capsys):
    pipe = make_pipeline(
        StandardScaler(), ContextureEncoder("rbf:auto", 2, backend="torch", max_steps=100, verbose=True, random_state=0)
    )
    assert pipe.fit_transform(load_iris().data).shape == (150, 2)
    assert "step 100 of 100, " in capsys.readouterr().err


def test_functions_that_do_not_exist_are_not_invented():
    with pytest.warns(UserWarning, match=r"the context knn:140 has \d+ functions to give, of 20 that were asked for"):
        encoder = ContextureEncoder("knn:140", 20).fit(ROWS)
    assert encoder.transform(ROWS).shape[1] == len(encoder.get_feature_names_out()) < 20


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_components": 0}, "n_components must be"),
        ({"n_components": 150}, "149 functions of mean 0"),
        ({"backend": "fast"}, "backend must be"),
        ({"objective": "best"}, "objective must be one of"),
        ({"context": 3}, "context must be"),
        ({"context": "labels"}, "looks at the target"),
        ({"context": "nothing"}, "no context is written"),
        ({"context": lambda rows, _: spectrum, "backend": "exact"}, "is no context"),
        ({"context": lambda rows, _: PoolContext.rbf(rows[:9])}, "is of 9 points, and there are 150 rows"),
        ({"n_components": True}, "n_components must be a whole number"),
        ({"max_steps": 0}, "max_steps must be a whole number from 1"),
        ({"n_draws": 1}, "n_draws must be a whole number from 2"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"objective": "svme", "backend": "exact"}, "are of the torch backend"),
        ({"context": "mask:0.3 + knn:5", "objective": "spectral"}, "on a pool only"),
    ],
)
def test_options_that_cannot_work_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        ContextureEncoder(**options).fit(ROWS)


def test_it_must_be_fitted_and_have_rows():
    with pytest.raises(NotFittedError):
        ContextureEncoder().transform(ROWS)
    with pytest.raises(DataError, match="at least 3 rows"):
        ContextureEncoder().fit(ROWS[:2])


@pytest.mark.parametrize("objective", ["svme", "low-rank"])
def test_units_and_offsets_of_columns_do_not_matter(objective):
    rows = ROWS[:60, :3]
    context = TableContext(PoolContext.rbf(rows, 0.5).conditional, of_points=True)
    # So few steps want smaller ones than those of a whole training.
    options = {"objective": objective, "max_steps": 150, "learning_rate": 3e-3, "random_state": 0}
    encoder = ContextureEncoder(lambda *_: context, 3, **options)
    plain = encoder.fit(rows).captured_
    assert plain > 95
    assert encoder.fit(rows * 1000 + 5e4).captured_ == pytest.approx(plain, abs=0.1)


def test_a_context_in_other_units_than_the_rows_is_refused():
    with pytest.raises(ConfigError, match="scale the rows before the estimator"):
        ContextureEncoder(lambda rows, _: PoolContext.rbf(rows / rows.std(0) * 3, 0.5)).fit(ROWS)
    assert ContextureEncoder(lambda rows, _: PoolContext.rbf(rows, 0.5)).fit(ROWS).captured_ == 100


def test_contexts_are_averaged_at_new_rows():
    options = {"objective": "spectral", "max_steps": 300, "random_state": 0}
    encoder = ContextureEncoder("knn:8", 3, **options).fit(ROWS[::2])
    assert encoder.encoder_ is not None
    assert encoder.captured_ > 95
    assert encoder.score(ROWS[::2]) == pytest.approx(encoder.captured_ / 100, abs=1e-4)
    assert encoder.transform(ROWS[1::2]).shape == (75, 3)


def test_a_network_that_collapses_says_so():
    class Single(torch.nn.Module):
        def __init__(self, inputs):
            super().__init__()
            self.line = torch.nn.utils.skip_init(torch.nn.Linear, inputs, 1)
            torch.nn.init.ones_(self.line.weight)
            torch.nn.init.zeros_(self.line.bias)

        def forward(self, x):
            return self.line(x).expand(-1, 2)

    options = {"network": lambda inputs, *_: Single(inputs), "max_steps": 20, "random_state": 0}
    encoder = ContextureEncoder("labels", 2, **options)
    with pytest.warns(UserWarning, match="the network, which collapsed, has 1 functions"):
        encoder.fit(ROWS, SPECIES)
    assert encoder.score(ROWS, SPECIES) == pytest.approx(encoder.captured_ / 100, abs=1e-4)
    assert encoder.captured_ < 51


def test_one_function_of_a_sampler_and_random_states():
    noise = SamplerContext(lambda x, generator: x + 0.2 * torch.randn(x.shape, generator=generator), "noise")
    state = np.random.RandomState(3)  # what scikit-learn takes
    encoder = ContextureEncoder(noise, 1, max_steps=20, random_state=state).fit(ROWS)
    assert encoder.transform(ROWS).shape == (150, 1)
    assert encoder.n_steps_ == 20
    with pytest.raises(ValueError, match="seed"):
        ContextureEncoder(noise, 1, random_state="a").fit(ROWS)
