"""Holm's correction."""

from msr.statistics.holm import holm_rejected


def test_holm_steps_down_and_stops():
    assert holm_rejected({"a": 0.04, "b": 0.001, "c": 0.02}, 0.05) == ("a", "b", "c")
    assert holm_rejected({"a": 0.04, "b": 0.001, "c": 0.03}, 0.05) == ("b",)
    assert holm_rejected({"a": 0.2}, 0.05) == ()
