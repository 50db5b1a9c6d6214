"""A small Kronecker filter keeps the dense weight out of memory, forward and backward; and the counter that says so."""

import json
from functools import partial

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness.memory import Allocations, available_bytes, resident_peak, total_bytes
from benchmarks.layers import forward_backward, linear, memory
from msr.layers import ReparamLinear
from msr.sharing import KroneckerSharing
from tests.support.forks import in_a_fork

N, ROWS, FILTER = 1024, 256, 64
WEIGHT_BYTES = 4 * N * N


def layer(path="auto", n=N) -> ReparamLinear:
    sharing = partial(KroneckerSharing, filter_shape=(FILTER, FILTER))
    return ReparamLinear(n, n, sharing=sharing, generator=torch.Generator().manual_seed(0), path=path)


def step(made: nn.Module, n=N) -> Allocations:
    x, slope = torch.ones(ROWS, n, requires_grad=True), torch.ones(ROWS, n)
    with Allocations() as allocations:
        forward_backward(made, x, slope)
    return allocations


@pytest.mark.parametrize("n", [N, 4096])
def test_the_dense_weight_is_never_made(n):
    allocations = step(layer(n=n), n)
    assert allocations.largest < 4 * n * n
    assert allocations.largest == 4 * ROWS * n  # an activation: nothing larger than input and output


@pytest.mark.parametrize(
    "made", [lambda: layer("materialize"), lambda: linear("plain", N)], ids=["materialize", "plain"]
)
def test_a_dense_weight_is_seen(made):
    # The negative control: where a tensor of the weight's size is made (a weight, a weight's gradient), it shows.
    allocations = step(made())
    assert allocations.largest >= WEIGHT_BYTES
    assert allocations.peak >= WEIGHT_BYTES


@pytest.mark.parametrize("kind", ["small filter", "square factors", "dense, k = 16", "plain"])
def test_peak_memory_is_the_sum_of_the_parts(kind):
    # Parts: factors, activations, and the gradients of both. Some are gone when others are made, so less is fine.
    counted = memory(kind, N)
    assert 0.9 < counted["peak"] / counted["parts"] <= 1.0


def test_peak_memory_of_the_small_filter_at_4096():
    counted, plain = memory("small filter", 4096), memory("plain", 4096)
    assert counted["peak"] <= 1.2 * counted["parts"]
    assert counted["peak"] < counted["weight"] / 2
    assert counted["largest"] == 4 * ROWS * 4096
    assert plain["peak"] > 2 * plain["weight"]


def test_materialising_breaks_the_peak(monkeypatch):
    monkeypatch.setattr("benchmarks.layers.linear", lambda kind, n: layer("materialize", n))
    counted = memory("small filter", N)
    assert counted["peak"] > 1.2 * counted["parts"]


class TestCounter:
    def test_views_count_once_and_the_dead_not_at_all(self):
        with Allocations() as allocations:
            a = torch.ones(1000)
            b = (a * 2)[::2]
            assert (allocations.alive, allocations.peak) == (8000, 8000)
            del b
            assert allocations.alive == 4000
            a.view(10, 100).add_(1)
            torch.ones(500)
        assert (allocations.alive, allocations.peak, allocations.largest) == (4000, 8000, 4000)

    def test_saved_activations_live_with_their_graph(self):
        x = torch.ones(100, requires_grad=True)
        with Allocations() as allocations:
            y = x.exp().sum()
            assert allocations.alive == 400 + 4  # exp saves its result
            y.backward()
            assert x.grad is not None
        assert allocations.peak >= 800

    def test_what_existed_before_does_not_count(self):
        x = torch.ones(100)
        with Allocations() as allocations:
            x.view(10, 10).mul_(2)
        assert allocations.peak == 0

    def test_an_address_used_again_is_a_new_tensor(self):
        with Allocations() as allocations:
            for _ in range(20):
                torch.ones(1000)
        assert (allocations.alive, allocations.peak) == (0, 4000)


def test_the_allocator_agrees(tmp_path, monkeypatch):
    """What operations return, against what torch's CPU allocator reports, scratch space inside kernels included."""
    monkeypatch.setenv("KINETO_LOG_LEVEL", "5")

    def trace():
        made, x, slope = layer(), torch.ones(ROWS, N, requires_grad=True), torch.ones(ROWS, N)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            forward_backward(made, x, slope)
        profiled.export_chrome_trace(str(tmp_path / "trace.json"))

    in_a_fork(trace)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    events = sorted((event for event in events if event["name"] == "[memory]"), key=lambda event: event["ts"])
    sizes = [event["args"]["Bytes"] for event in events]
    alive = peak = 0
    for size in sizes:
        alive += size
        peak = max(peak, alive)
    assert max(sizes) < WEIGHT_BYTES
    assert peak == pytest.approx(step(layer()).peak, rel=0.02)


def test_resident_memory_sees_an_allocation():
    torch.ones(64 * 2**20).sum()  # a higher mark before, which must not count
    grown = resident_peak(lambda: torch.ones(32 * 2**20).sum())
    if grown is None:
        pytest.skip("this kernel keeps no resettable high-water mark")
    assert 100 * 2**20 < grown < 200 * 2**20
    assert available_bytes() > 0
    assert total_bytes([torch.ones(3), None, torch.ones(2, dtype=torch.float64)]) == 12 + 16
