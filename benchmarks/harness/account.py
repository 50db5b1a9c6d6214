"""What a computation has to do: operations, flops and bytes counted, and the least time this machine needs for them."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from scipy.special import stdtrit
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.harness.timing import alternate

try:
    import resource
except ModuleNotFoundError:  # only Unix has it
    resource = None  # type: ignore[assignment]

__all__ = [
    "Account", "Alone", "Machine", "Operation", "exponent", "measure_machine", "page_faults", "products_alone",
    "waiting",
]  # fmt: skip


@dataclass
class Operation:
    """One operation as it ran: flops where torch knows a formula (products, convolutions) and else 0, bytes, seconds.

    ``bytes`` are read and written together, and ``shapes`` are those of the tensors that went in.
    """

    name: str
    flops: int
    bytes: int
    seconds: float
    shapes: tuple[torch.Size, ...] = ()


@dataclass
class Account(TorchDispatchMode):
    """Every operation inside the ``with`` block that is more than a view.

    Bytes are those of all tensors that go in and come out, each address once, expanded axes not at all: what must move
    if nothing stays in cache from one operation to the next. Seconds include the counting, so only their shares mean
    something.
    """

    operations: list[Operation] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, append it to ``operations`` unless it is a view, and return what it gives."""
        kwargs = kwargs or {}
        start = time.perf_counter()
        out = func(*args, **kwargs)
        seconds = time.perf_counter() - start
        given = _tensors((args, kwargs))
        made = _tensors(out)
        storages = {tensor.untyped_storage()._cdata for tensor in given}
        is_view = bool(made) and not func._schema.is_mutable
        is_view = is_view and all(tensor.untyped_storage()._cdata in storages for tensor in made)
        if not is_view:
            count = flop_registry.get(func.overloadpacket)
            flops = count(*args, **kwargs, out_val=out) if count else 0
            bytes_at: dict[int, int] = {}
            for tensor in (*given, *made):
                place = tensor.data_ptr()
                bytes_at[place] = max(bytes_at.get(place, 0), _extent(tensor))
            shapes = tuple(tensor.shape for tensor in given)
            self.operations.append(Operation(str(func.overloadpacket), flops, sum(bytes_at.values()), seconds, shapes))
        return out

    @property
    def flops(self) -> int:
        """Floating-point operations of all operations together."""
        return sum(operation.flops for operation in self.operations)

    @property
    def bytes(self) -> int:
        """Bytes read and written by all operations together."""
        return sum(operation.bytes for operation in self.operations)


@dataclass
class Alone(TorchDispatchMode):
    """Times every product and convolution inside the ``with`` block by itself, on the very tensors that it got.

    Attributes:
        seconds: of all of them together, each the least of four runs, when its tensors are in the cache.
    """

    seconds: float = 0.0

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and once more to be timed if torch knows how many flops it has."""
        kwargs = kwargs or {}
        if func.overloadpacket in flop_registry:
            laps = []
            for _ in range(4):
                start = time.perf_counter()
                func(*args, **kwargs)
                laps.append(time.perf_counter() - start)
            self.seconds += min(laps)
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Machine:
    """What the machine did on the plainest things, in this run.

    ``products``: flops a second of ``n × n`` matrix products, by ``n``. ``copies``: bytes a second, read and written,
    of a copy, by its bytes. ``dispatch``: seconds of an addition of two numbers. ``fault``: seconds that the kernel
    needs to hand out a page of memory at its first touch, which large tensors, always made anew, pay each time.
    """

    products: dict[int, float]
    copies: dict[int, float]
    dispatch: float
    fault: float

    def copy_rate(self, size: int) -> float:
        """Bytes a second of the fastest copy of at least this size, in bytes, or of the largest copy of all.

        Smaller copies may stay in the cache.
        """
        return max((rate for length, rate in self.copies.items() if length >= size), default=self._rate_of_largest)

    @property
    def _rate_of_largest(self) -> float:
        """Bytes a second of the largest copy."""
        return self.copies[max(self.copies)]

    def least_seconds(self, operations: Sequence[Operation], faults: float) -> dict[str, float]:
        """The least seconds for some operations, by what binds each: its flops, its bytes, or that it is called.

        Each operation counts at the best rate seen, under the one of ``flops``, ``bytes`` and ``calls`` that takes it
        the longest. ``pages`` has the seconds for ``faults`` fresh pages of memory.
        """
        best = max(self.products.values())
        seconds = {"flops": 0.0, "bytes": 0.0, "calls": 0.0, "pages": faults * self.fault}
        for op in operations:
            parts = {
                "flops": op.flops / best,
                "bytes": op.bytes / self.copy_rate(op.bytes),
                "calls": self.dispatch,
            }
            reason = max(parts, key=lambda key: parts[key])
            seconds[reason] += parts[reason]
        return seconds


def waiting(call: Callable[[], object], device: str) -> Callable[[], None]:
    """A call that returns when its work is done: on a GPU work goes on after a call has returned."""

    def waited() -> None:
        call()
        if device == "cuda":
            torch.cuda.synchronize()

    return waited


def measure_machine(device: str = "cpu", *, quick: bool = False) -> Machine:
    """Measure what a device does on matrix products, copies, a call of an operation, and fresh pages of memory."""
    sizes = (64, 256) if quick else (64, 256, 1024)
    lengths = (2**16, 2**20) if quick else (2**16, 2**18, 2**20, 2**22, 2**24, 2**26)  # bytes read and written
    if device == "cuda" and not quick:
        sizes = (*sizes, 8192)
        lengths = (*lengths, 2**30)
    generator = torch.Generator(device).manual_seed(0)
    calls: dict[str, Callable[[], object]] = {}
    for n in sizes:
        a, b = torch.randn(2, n, n, generator=generator, device=device)
        out = torch.empty_like(a)
        calls[f"product {n}"] = waiting(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), device)  # type: ignore[misc]
    for length in lengths:
        source = torch.randn(length // 8, generator=generator, device=device)
        target = torch.empty_like(source)
        calls[f"copy {length}"] = waiting(lambda s=source, t=target: t.copy_(s), device)  # type: ignore[misc]
    number = torch.ones(1, device=device)
    total = torch.ones(1, device=device)
    calls["call"] = lambda: torch.add(number, number, out=total)
    fresh = torch.ones(1 if device == "cuda" or quick else 2**24, device=device)
    calls["old"] = lambda: fresh.fill_(1)
    calls["new"] = lambda: torch.empty_like(fresh).fill_(1)
    best = {name: min(laps) for name, laps in alternate(calls, rounds=2 if quick else 5, seconds=0.05).items()}
    pages = page_faults(calls["new"])
    return Machine(
        {n: 2 * n**3 / best[f"product {n}"] for n in sizes},
        {length: length / best[f"copy {length}"] for length in lengths},
        best["call"],
        max(best["new"] - best["old"], 0.0) / pages if pages > 1 else 0.0,
    )


def products_alone(operations: Sequence[Operation], device: str = "cpu") -> float:
    """Seconds of the matrix products among some operations, each run by itself on contiguous matrices of its shapes.

    It is the least of four runs, and its result goes into memory that is there.
    """
    plain = {"aten.mm": torch.mm, "aten.bmm": torch.bmm}
    generator = torch.Generator(device).manual_seed(0)
    known: dict[Any, float] = {}
    total = 0.0
    for op in operations:
        if op.name not in plain:
            continue
        if (op.name, op.shapes) not in known:
            a, b = (torch.randn(shape, generator=generator, device=device) for shape in op.shapes[:2])
            multiply = partial(plain[op.name], a, b, out=plain[op.name](a, b))
            call = waiting(multiply, device)
            laps = []
            for _ in range(4):
                start = time.perf_counter()
                call()
                laps.append(time.perf_counter() - start)
            known[op.name, op.shapes] = min(laps)
        total += known[op.name, op.shapes]
    return total


def page_faults(call: Callable[[], object], times: int = 3) -> float:
    """Pages that the kernel handed out during a call, on average; 0 where it does not say."""
    if resource is None:
        return 0.0
    call()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        call()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / times


def exponent(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """The slope of ``log value`` against ``log size`` by least squares, and half of its 95% t-interval.

    It needs three sizes at least.
    """
    x = torch.tensor(sizes, dtype=torch.float64).log()
    y = torch.tensor(values, dtype=torch.float64).log()
    x = x - x.mean()
    y = y - y.mean()
    slope = float((x @ y) / (x @ x))
    free = len(sizes) - 2
    spread = float((y - slope * x).square().sum() / free / (x @ x)) ** 0.5
    return slope, float(stdtrit(free, 0.975)) * spread


def _tensors(tree: Any) -> list[Tensor]:
    """All tensors in nested containers."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _extent(tensor: Tensor) -> int:
    """Bytes that the tensor's elements lie on; axes of stride 0 repeat the same ones."""
    own = math.prod(size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)
    return own * tensor.element_size()
