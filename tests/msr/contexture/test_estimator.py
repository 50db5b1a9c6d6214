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

from msr.contexture import PoolContext, SamplerContext, spectrum
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
    encoder = ContextureEncoder("labels", 2, max_steps=500, random_state=0).fit(ROWS, SPECIES)
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
    with pytest.warns(UserWarning, match=r"has \d+ functions to give, of 20 that were asked for"):
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
