"""What does a reparameterised layer cost beside the plain one, in time and in memory, and the folded one?

Forward, and forward with backward to the input and all parameters, batch 256; the plain layer, the folded one and the
patterns take turns. Bytes are those of one forward and backward, see ``memory``.
"""

import gc
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness.command import command, duration, say
from benchmarks.harness.contract import Headline, Tables
from benchmarks.harness.memory import Allocations, available_bytes, resident_peak, total_bytes
from benchmarks.harness.timing import alternate, ratio
from msr.layers import ReparamConv2d, ReparamLinear
from msr.report import figures as draw
from msr.sharing import DenseSharing, KroneckerSharing

BATCH = 256
FILTER = 64  # inputs and outputs of a small filter, at most
K = 16  # columns of a dense pattern
SIZES = (64, 128, 256, 512, 1024, 2048, 4096)
KINDS = ("small filter", "square factors", "dense, k = 16")


def linear(kind: str, n: int, device: str = "cpu") -> nn.Module:
    """A linear layer of ``n`` inputs and outputs: ``plain``, or with a pattern of one of :data:`KINDS`."""
    generator = torch.Generator(device).manual_seed(0)
    if kind == "plain":
        return filled(nn.utils.skip_init(nn.Linear, n, n, device=device), generator)
    sharing: Any = {
        "small filter": partial(KroneckerSharing, filter_shape=(min(FILTER, n),) * 2),
        "square factors": KroneckerSharing,
        "dense, k = 16": partial(DenseSharing, k=K),
    }[kind]
    return ReparamLinear(n, n, sharing=sharing, generator=generator, device=device)


def convolution(kind: str, channels: int, device: str = "cpu") -> nn.Module:
    """A 3 × 3 convolution that keeps the size of its images: ``plain``, or with one of the first two :data:`KINDS`."""
    generator = torch.Generator(device).manual_seed(0)
    if kind == "plain":
        return filled(nn.utils.skip_init(nn.Conv2d, channels, channels, 3, padding=1, device=device), generator)
    small = (channels // 4, channels // 4, 9)
    sharing: Any = KroneckerSharing if kind == "square factors" else partial(KroneckerSharing, filter_shape=small)
    return ReparamConv2d(channels, channels, 3, padding=1, sharing=sharing, generator=generator, device=device)


def filled(layer: nn.Module, generator: torch.Generator) -> nn.Module:
    """The layer, its parameters filled in place with noise from a generator; torch's own start uses the global one."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.02, generator=generator)
    return layer


def fits(kind: str, n: int, device: str) -> bool:
    """Whether an ``n × n`` layer of a kind, its gradient and as much again go into half of the memory that is free.

    True for small patterns, and where free memory is not known.
    """
    if kind != "dense, k = 16":
        return True
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else available_bytes()
    return free is None or 3 * dense_bytes(n, K) < free / 2


def dense_bytes(n: int, k: int) -> int:
    """Bytes of a dense ``U`` with ``k`` columns of an ``n × n`` layer in float32."""
    return 4 * n * n * k


def forward(layer: nn.Module, x: Tensor) -> Tensor:
    """The output of a layer, without gradients, as in evaluation."""
    with torch.no_grad():
        return layer(x)


def forward_backward(layer: nn.Module, x: Tensor, slope: Tensor) -> None:
    """Put the gradients of one forward and backward into ``x`` and the layer's parameters; those before it are dropped.

    ``slope`` is the gradient at the output, of its shape.
    """
    x.grad = None
    for parameter in layer.parameters():
        parameter.grad = None
    layer(x).backward(slope)


def compare(layers: dict[str, nn.Module], shape: tuple[int, ...], device: str, rounds: int) -> dict[str, Any]:
    """Median seconds of layers on one input shape, and ratios to the first layer's, by mode and name.

    The modes are ``forward`` and ``both``, forward with backward. A ratio is a median, least and greatest over rounds.
    All layers keep the shape of their input.
    """
    generator = torch.Generator(device).manual_seed(1)
    x = torch.randn(shape, generator=generator, device=device).requires_grad_()
    slope = torch.randn(shape, generator=generator, device=device)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def waited(call: Callable[[], object]) -> None:
        """Call, and wait until the device has finished."""
        call()
        wait()

    modes: dict[str, dict[str, Callable[[], object]]] = {
        "forward": {name: partial(waited, partial(forward, layer, x)) for name, layer in layers.items()},
        "both": {name: partial(waited, partial(forward_backward, layer, x, slope)) for name, layer in layers.items()},
    }
    first = next(iter(layers))
    result: dict[str, Any] = {}
    for mode, calls in modes.items():
        times = alternate(calls, rounds=rounds, seconds=0.1 if rounds > 2 else 0.02)
        result[mode] = {
            name: {"seconds": statistics.median(laps), "ratio": ratio(laps, times[first])}
            for name, laps in times.items()
        }
    return result


def memory(kind: str, n: int) -> dict[str, int]:
    """Bytes of one forward and backward of an ``n × n`` layer.

    ``parts`` is the sum of what a layer of this kind has to make at some time: its parameters and their gradients;
    input, hidden activations, output and the gradients of these. ``peak`` is what was alive at most at once:
    parameters, input and the output's gradient, which exist before, and all that the operations made. ``largest`` is
    the largest single tensor that they made.
    """
    layer = linear(kind, n)
    x = torch.ones(BATCH, n, requires_grad=True)
    slope = torch.ones(BATCH, n)
    parameters = total_bytes(layer.parameters())
    hidden = {"small filter": 2 * min(FILTER, n), "square factors": 2 * n}.get(kind, 0)
    # A dense pattern's weight is an activation: it is made in the forward, and its gradient in the backward.
    made = n * n if kind == "dense, k = 16" else 0
    with Allocations() as allocations:
        forward_backward(layer, x, slope)
    activations = 4 * (BATCH * (2 * n + hidden) + made)
    return {
        "parameters": parameters,
        "weight": 4 * n * n,
        "parts": 2 * parameters + 2 * activations,
        "peak": parameters + total_bytes([x, slope]) + allocations.peak,
        "extra": allocations.peak,
        "largest": allocations.largest,
    }


def resident(kind: str, n: int) -> int | None:
    """By how many bytes a fresh process grows in one forward and backward; None where the kernel cannot say.

    It is ``extra`` of :func:`memory`, seen from outside.
    """
    code = f"from benchmarks.layers import grow; print(grow({kind!r}, {n}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return None if out.strip() == "None" else int(out)


def grow(kind: str, n: int) -> int | None:
    """The part of :func:`resident` that runs in the fresh process, with the same result."""
    small = torch.ones(BATCH, 64, requires_grad=True)
    forward_backward(linear(kind, 64), small, torch.ones(BATCH, 64))  # loads what torch loads late
    layer = linear(kind, n)
    x = torch.ones(BATCH, n, requires_grad=True)
    slope = torch.ones(BATCH, n)
    return resident_peak(lambda: forward_backward(layer, x, slope))


def run(*, quick: bool = False, device: str = "cpu", rounds: int = 7, largest: int = SIZES[-1]) -> dict[str, Any]:
    """Measure time and memory at all sizes up to ``largest``.

    On a GPU times are of finished work, and memory is counted on the CPU, where it is the same.
    """
    sizes = [n for n in SIZES if n <= (128 if quick else largest)]
    rounds = 2 if quick else rounds
    rows = []
    bytes_rows = []
    for n in sizes:
        kinds = [kind for kind in KINDS if fits(kind, n, device)]
        layers = {kind: linear(kind, n, device) for kind in ("plain", *kinds)}
        layers["folded"] = layers["small filter"].fold()  # type: ignore[operator]
        times = compare(layers, (BATCH, n), device, rounds)
        rows.append({"layer": "linear", "size": n, **times})
        say(f"linear {n}: small filter {times['both']['small filter']['ratio'][0]:.2f}x of plain")
        del layers
        gc.collect()
        for kind in ("plain", *kinds):
            bytes_rows.append({"kind": kind, "size": n, **memory(kind, n)})
            if n == sizes[-1] and not quick:
                bytes_rows[-1]["resident"] = resident(kind, n)
            gc.collect()
    for channels in (16,) if quick else (16, 64, 128):
        layers = {kind: convolution(kind, channels, device) for kind in ("plain", *KINDS[:2])}
        layers["folded"] = layers["small filter"].fold()  # type: ignore[operator]
        times = compare(layers, (8 if quick else 32, channels, 16, 16), device, rounds)
        rows.append({"layer": "conv", "size": channels, **times})
        say(f"convolution, {channels} channels: small filter {times['both']['small filter']['ratio'][0]:.2f}x of plain")
    return {"device": device, "batch": BATCH, "rounds": rounds, "rows": rows, "memory": bytes_rows}


def _times(entry: dict[str, Any] | None) -> str:
    """The ratio of an entry as a table shows it, median and range; "no memory" for None, a layer that was not run."""
    if entry is None:
        return "no memory"
    middle, least, most = entry["ratio"]
    return f"{middle:.2f} ({least:.2f} to {most:.2f})" if middle >= 0.1 else f"{middle:.3f} ({least:.3f} to {most:.3f})"


def _mebibytes(n: float | None) -> str:
    """A number of bytes in MiB, for a table; empty for None."""
    return "" if n is None else f"{n / 2**20:,.1f}" if n < 100 * 2**20 else f"{n / 2**20:,.0f}"


def tables(results: dict[str, Any]) -> Tables:
    """Times as ratios to the plain layer, and bytes by size."""
    shown = {}
    for mode, words in {"forward": "Forward", "both": "Forward and backward"}.items():
        header = ["layer", "plain", *(f"{kind}: of plain" for kind in (*KINDS, "folded"))]
        cells = []
        for row in results["rows"]:
            conv = row["layer"] == "conv"
            name = f"conv 3×3, {row['size']} channels" if conv else f"linear {row['size']}"
            kinds = [_times(row[mode].get(kind)) if not (conv and kind == KINDS[2]) else "" for kind in KINDS]
            plain = duration(row[mode]["plain"]["seconds"])
            cells.append([name, plain, *kinds, _times(row[mode]["folded"])])
        shown[
            f"{words}, batch {results['batch']} (convolutions: 32 images of 16 × 16); time as a multiple of the plain "
            f"layer's, median and range over {results['rounds']} rounds. The small filter is {FILTER} × {FILTER}, or a "
            f"quarter of the channels"
        ] = (header, cells)
    header = ["layer", "parameters", "parts", "peak", "peak / parts", "largest tensor made", "fresh process grew by"]
    cells = []
    for row in results["memory"]:
        sizes = [_mebibytes(row[key]) for key in ("parameters", "parts", "peak")]
        share = f"{row['peak'] / row['parts']:.3f}"
        last = [_mebibytes(row["largest"]), _mebibytes(row.get("resident"))]
        cells.append([f"{row['kind']}, {row['size']}", *sizes, share, *last])
    n = max(row["size"] for row in results["memory"])
    k = min(FILTER, n) ** 2
    shown[
        "Memory of one forward and backward, MiB, float32. Parts: the sum of parameters, activations (input, hidden, "
        "output) and the gradients of both. Peak: the most that was alive at once. The last column is the growth of "
        f"resident memory during the step, without what existed before it. A dense U with the filter of the small "
        f"pattern ({k} numbers) would take {dense_bytes(n, k) / 2**30:,.3g} GiB at {n}, its gradient as much again"
    ] = (header, cells)
    return shown


def headlines(results: dict[str, Any]) -> list[Headline]:
    """Time of each kind, and peak memory of the small filter, at the largest size of linear layer."""
    rows = [row for row in results["rows"] if row["layer"] == "linear"]
    row = max(rows, key=lambda row: row["size"])
    n = row["size"]
    both = row["both"]
    lines = []
    for kind in (*KINDS, "folded"):
        if kind in both:
            times = duration(both[kind]["seconds"]), f"plain {duration(both['plain']['seconds'])}"
            middle, least, most = both[kind]["ratio"]
            share = f"{_times(both[kind])} times the time"
            if most < 1 / 1.5:
                share = f"{1 / middle:.1f}x faster ({1 / most:.1f} to {1 / least:.1f})"
            lines.append(Headline(f"linear {n}, {kind}, forward and backward", *times, share))
    peaks = {row["kind"]: row for row in results["memory"] if row["size"] == n}
    small = peaks["small filter"]
    plain = peaks["plain"]
    share = f"{small['peak'] / small['parts']:.3f} of factors, activations and gradients"
    lines.append(
        Headline(
            f"linear {n}, small filter, peak memory",
            f"{_mebibytes(small['peak'])} MiB",
            f"plain {_mebibytes(plain['peak'])} MiB",
            share,
        )
    )
    return lines


def figures(results: dict[str, Any]) -> dict[str, Any]:
    """Times of linear layers as multiples of the plain one, by size; and their peak memory by size."""
    rows = [row for row in results["rows"] if row["layer"] == "linear"]
    series = {}
    for kind in (*KINDS, "folded"):
        points = [(row["size"], *row["both"][kind]["ratio"]) for row in rows if kind in row["both"]]
        if points:
            series[kind] = tuple(map(list, zip(*points, strict=True)))
    time = draw.scaling(
        series,
        xlabel="size of the square layer",
        ylabel="time, as a multiple of nn.Linear",
        title=f"Forward and backward, batch {results['batch']}",
        reference=1.0,
    )
    bytes_of = {}
    for kind in ("plain", *KINDS):
        points = [(row["size"], row["peak"] / 2**20) for row in results["memory"] if row["kind"] == kind]
        if points:
            bytes_of[kind] = tuple(map(list, zip(*points, strict=True)))
    space = draw.scaling(
        bytes_of,
        xlabel="size of the square layer",
        ylabel="MiB alive at most",
        title="Memory of one forward and backward",
    )
    return {"layer_time": time, "layer_memory": space}


if __name__ == "__main__":
    command(__file__)
