"""The decision constants of a discovery: documented, each read somewhere, and asked for when the decision is made."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch

import msr.discovery
from msr.discovery import discover
from msr.discovery.data.tasks import prepare
from msr.discovery.thresholds import THRESHOLDS, Thresholds
from msr.representations.commutant.values import MOST_RTOL
from msr.thresholds import meanings
from tests.msr.discovery.test_discovery_cases import linear_tasks, orbits_of, ring, same_partition

SOURCES = [
    path.read_text()
    for path in Path(msr.discovery.__file__).parent.rglob("*.py")
    if path.stem not in ("thresholds", "task_thresholds")
]


@pytest.mark.parametrize("name", [field.name for field in fields(Thresholds)])
def test_a_threshold_is_documented_and_read(name):
    meaning = meanings(Thresholds)[name]
    assert len(meaning.unit) > 3
    assert meaning.reason.endswith(".")
    assert meaning.calibrated
    assert any(f"limits.{name}" in source or f"THRESHOLDS().{name}" in source for source in SOURCES)


def test_the_error_rate_is_shared_out_once():
    now = THRESHOLDS()
    shares = now.preferred_share + now.other_share + now.against_share + 2 * now.certificate_share
    assert shares == pytest.approx(1)


def test_a_moved_threshold_moves_the_decision(gen):
    x, y = (torch.randn(90, 8, 2, generator=gen) for _ in range(2))
    with THRESHOLDS.moved(fewest_tasks=100):
        assert prepare(x, y).too_few == "got 90 different tasks; at least 100 are needed"
    assert prepare(x, y).too_few is None


def test_tasks_of_two_examples_are_taken_in_where_a_study_lets_them():
    """Two examples leave none beside a pair of them: the fit of the others is empty, and no error."""
    x, y = linear_tasks(ring(5), tasks=120)
    pairs = [(a[:2], b[:2]) if place < 8 else (a, b) for place, (a, b) in enumerate(zip(x, y, strict=True))]
    with THRESHOLDS.moved(fewest_examples=1):
        found = discover(pairs)
    assert found.n_tasks == len(pairs)
    assert found.verdict == "found"
    assert same_partition(orbits_of(found), ring(5))


def test_no_tolerance_of_a_study_is_too_large_for_continuous_symmetries():
    x, y = linear_tasks(ring(5), noise=0.5, tasks=80, examples=12)
    with THRESHOLDS.moved(continuous_tolerance_most=2 * MOST_RTOL):
        wide = discover(x, y)
    assert wide.continuous == discover(x, y).continuous
    assert wide.continuous.rtol == MOST_RTOL
