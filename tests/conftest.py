"""Guards and generators for every test."""

import hypothesis
import pytest
import torch

from tests.engines import ENGINES, need

torch.set_num_threads(2)
# Correctness, never wall time; the same examples in every run.
hypothesis.settings.register_profile("msr", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("msr")


@pytest.fixture(autouse=True)
def _no_hidden_randomness(request):
    """A test must leave torch's global generator and default dtype as it found them."""
    state, dtype = torch.get_rng_state(), torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)
    assert torch.equal(state, torch.get_rng_state()), "drew from the global generator; pass generator="


@pytest.fixture
def gen() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["f32", "f64"])
def dtype(request) -> torch.dtype:
    return request.param


@pytest.fixture(params=ENGINES)
def backend(request) -> str:
    """An engine whose library is here."""
    need(request.param)
    return request.param
