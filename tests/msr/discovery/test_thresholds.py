"""The decision constants of a discovery: documented, each read somewhere, and asked for when the decision is made."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch

import msr.discovery
from msr.discovery.data.tasks import prepare
from msr.discovery.thresholds import THRESHOLDS, Thresholds
from msr.thresholds import meanings

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
