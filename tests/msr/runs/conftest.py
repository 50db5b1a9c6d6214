"""What the tests of runs share."""

import pytest

from tests.support.processes import Pool
from tests.support.runs import RUNS


@pytest.fixture(scope="package")
def pool():
    """Forks processes that make tiny runs: one pool for all tests of runs, since to start it takes seconds."""
    with Pool(**RUNS) as pool:
        yield pool
