"""The stages of a discovery, as they are shown on a terminal and in a log."""

import sys

from msr.runs.watching.stages import stages
from tests.support.screens import WIDTH, screen


def test_on_a_terminal_there_is_one_line_that_is_gone_in_the_end():
    with screen() as seen:
        with stages("msr discover", quiet=False) as tell:
            tell("reading", 1, None)
            tell("learning", 2, 6)
            tell("naming " * 40, 1, None)
        print("the end", file=sys.stderr)
    parts = [part.removesuffix("\x1b[K") for part in seen.text.split("\r")[1:]]
    assert parts[:2] == ["msr discover: reading", "msr discover: learning, split 2 of at most 6"]
    assert len(parts[2]) == WIDTH - 1
    assert seen.shown() == ["the end"]


def test_elsewhere_there_is_nothing_before_half_a_minute(capsys):
    now = 100.0
    said = []
    with stages("msr discover", quiet=False, clock=lambda: now) as tell:
        for second in range(0, 700, 5):
            now = 100.0 + second
            tell("testing", 2, 6)
            if text := capsys.readouterr().err:
                said.append((second, text))
    assert said[0] == (30, "msr discover: testing, split 2 of at most 6, 30 s after the start\n")
    assert [second for second, _ in said][:10] == list(range(30, 301, 30))
    assert len(said) < 20


def test_quiet_is_quiet(capsys):
    with screen() as seen, stages("msr discover", quiet=True) as tell:
        tell("reading", 1, None)
    assert seen.text == ""
    with stages("msr discover", quiet=True, clock=iter(range(0, 10**6, 1000)).__next__) as tell:
        tell("reading", 1, None)
    assert capsys.readouterr().err == ""
