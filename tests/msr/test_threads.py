"""The number of threads: chosen by what is seen, put back in the end."""

from types import SimpleNamespace

import pytest
import torch

from msr.discovery import discover, find
from msr.discovery.data.tasks import prepare
from msr.discovery.data.threads import threads_for
from msr.errors import ConfigError
from msr.threads import chosen_threads, using_threads


@pytest.fixture(autouse=True)
def two():
    """As on a machine of two cores, whatever this one has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def work(monkeypatch):
    """A step that takes so long with one thread and with two, by a clock of its own; it counts its calls by threads."""
    now, calls = [0.0], []
    monkeypatch.setattr("msr.threads.time", SimpleNamespace(perf_counter=lambda: now[0]))

    def made(one, two):
        def step():
            calls.append(torch.get_num_threads())
            now[0] += one if calls[-1] == 1 else two

        return step, calls

    return made


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [((0.02, 0.01), 2), ((0.02, 0.0185), 1), ((0.01, 0.01), 1), ((0.01, 0.02), 1), ((0.0002, 0.0001), 2)],
    ids=["twice as fast", "hardly faster", "alike", "slower", "short and faster"],
)
def test_more_threads_are_taken_where_they_gain(seconds, wanted, work):
    step, _ = work(*seconds)
    assert chosen_threads(step) == wanted
    assert torch.get_num_threads() == 2


def test_a_loss_is_not_measured_twice(work):
    """On a busy machine a step with two threads may take seventy times as long."""
    step, calls = work(0.01, 0.7)
    assert chosen_threads(step) == 1
    assert calls.count(2) == 1


def test_with_one_thread_nothing_is_measured():
    seen = []
    assert chosen_threads(lambda: seen.append(1), most=1) == 1
    with using_threads(1):
        assert chosen_threads(lambda: seen.append(1)) == 1
    assert not seen


def test_threads_are_put_back():
    with using_threads(1) as count:
        assert count == torch.get_num_threads() == 1
        with using_threads(None) as inner:
            assert inner == torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), using_threads(1):
        raise KeyError
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("count", [0, -1, 4097, 1.0, True, "2"])
def test_what_is_no_count_is_refused(count):
    with pytest.raises(ConfigError, match="threads must be a whole number from 1 to 4096; got"), using_threads(count):
        pass
    with pytest.raises(ConfigError, match="threads must be"):
        discover(torch.zeros(90, 4, 2), torch.zeros(90, 4, 2), threads=count)


def test_small_layers_have_one_thread_unless_told(monkeypatch, gen):
    """Asked with too few tasks, of which nothing is learned with any number of threads."""
    x, y = (torch.randn(40, 4, 2, generator=gen) for _ in range(2))
    seen = []
    searched = find.search

    def watched(question, **how):
        seen.append(torch.get_num_threads())
        return searched(question, **how)

    monkeypatch.setattr(find, "search", watched)
    alone, together = discover(x, y), discover(x, y, threads=2)
    assert seen == [1, 2] == [alone.threads, together.threads]
    assert alone.as_dict()["threads"] == 1
    assert torch.get_num_threads() == 2
    assert alone.verdict == together.verdict == "cannot tell"


def test_large_layers_are_measured(monkeypatch, gen):
    """What is measured is a step of the fit: it runs, and what is chosen from it is taken."""
    steps = []
    monkeypatch.setattr("msr.discovery.data.threads.chosen_threads", lambda step: steps.append(step()) or 2)
    large = prepare(torch.randn(90, 4, 32, generator=gen), torch.randn(90, 4, 32, generator=gen))
    small = prepare(torch.randn(90, 4, 8, generator=gen), torch.randn(90, 4, 8, generator=gen))
    assert threads_for(large) == 2
    assert len(steps) == 1
    assert threads_for(small) == 1
    assert len(steps) == 1
