"""Decision constants: documented, frozen, and moved only within a block and a thread."""

import threading
from dataclasses import FrozenInstanceError, dataclass

import pytest

from msr.errors import ConfigError
from msr.thresholds import Current, Meaning, meanings, threshold


@dataclass(frozen=True)
class Limits:
    weakest: float = threshold(
        0.1, unit="share of the largest weight", reason="weaker ones look alike", calibrated="by hand"
    )
    draws: int = threshold(9, unit="draws", reason="more cost time", calibrated="by hand")


def test_a_moved_constant_holds_within_its_block():
    limits = Current(Limits())
    with limits.moved(weakest=0.2) as now:
        assert now == limits() == Limits(weakest=0.2)
        with limits.moved(draws=3):
            assert limits() == Limits(weakest=0.2, draws=3)
        assert limits() == Limits(weakest=0.2)
    assert limits() == limits.standard == Limits()


def test_an_error_in_the_block_puts_the_standard_back():
    limits = Current(Limits())
    with pytest.raises(ZeroDivisionError), limits.moved(weakest=0.2):
        raise ZeroDivisionError
    assert limits() == Limits()


def test_other_threads_keep_the_standard():
    limits = Current(Limits())
    seen = []
    with limits.moved(draws=3):
        thread = threading.Thread(target=lambda: seen.append(limits().draws))
        thread.start()
        thread.join()
    assert seen == [9]


def test_constants_are_frozen_and_say_what_they_mean():
    assert meanings(Limits)["draws"] == Meaning("draws", "more cost time", "by hand")
    with pytest.raises(FrozenInstanceError):
        Limits().draws = 3


def test_a_name_that_is_no_constant():
    with (
        pytest.raises(ConfigError, match="Limits has no drawz; it has draws, weakest"),
        Current(Limits()).moved(drawz=3),
    ):
        pass
