"""Record a function of tensors as a flat list of operations, and rewrite it into few and cheap ones."""

import operator
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from msr.errors import ModelError, first_line
from msr.meta.record.buffers import with_buffers
from msr.meta.record.nodes import CONTIGUOUS, PERMUTE, RESHAPE, is_transpose, shape_of
from msr.meta.record.pooling import pool_before_relu
from msr.meta.record.products import transposed_copy
from msr.meta.record.replay import Replay, numbers_as_tensors
from msr.meta.record.rewriting import simplify

__all__ = ["NotRecorded", "has_channels_innermost", "record"]

# Operations whose torch.NAME takes the recorded arguments as they are. Calling that costs half as much as calling the
# operation itself (1.6 against 1.1 µs for a product, 2.0 against 0.8 for a view), and a recording is hundreds of them.
_NAMES = (
    "abs add addcmul addmm amax baddbmm bmm cat cos div eq exp expm1 ge gt index_select le log log1p lt maximum mean "
    "minimum mm mul mv ne neg pow reciprocal relu rsqrt select sigmoid sign sin sqrt square stack sub sum tanh where"
)
_DIRECT = {f"aten::{name}": getattr(torch, name) for name in _NAMES.split()}
_DIRECT["aten::linalg_vector_norm"] = torch.linalg.vector_norm


class NotRecorded(ModelError):
    """A function cannot be recorded. Whether it can run unrecorded is not known by that."""


def record(function: Callable[..., Sequence[Tensor]], *arguments: Tensor, rewrite: bool = True) -> Replay:
    """The function, for arguments of these shapes and strides, as a replay that returns a list of tensors.

    The function runs once or more on ``arguments`` to see its operations; whatever else it reads stays as it was then.
    In-place operations become operations that return a new tensor. No result shares memory with another or with an
    argument. ``rewrite=False`` keeps the operations as they were recorded, for comparison; so does a rewriting that
    fails, with a warning. On a CPU the process keeps more of the memory that it frees from then on.

    Raises: NotRecorded if the function looks at a value, since another value might lead to other operations.
    """

    def listed(*tensors: Tensor) -> list[Tensor]:
        return list(function(*tensors))

    on_cpu = all(t.device.type == "cpu" for t in arguments)
    if on_cpu:
        _keep_freed_memory()
    module = _traced(listed, arguments)
    if rewrite:
        try:
            pool_before_relu(module.graph)
            rewritten = simplify(module.graph)
            _own_results(module.graph)
            if rewritten and any(has_channels_innermost(t) for t in arguments):
                _keep_channels_innermost(module.graph)
            if rewritten and on_cpu:
                numbers_as_tensors(module)
            planned = with_buffers(module, arguments) if rewritten and on_cpu else None
            if planned is not None:
                # For a further thread the graph is prepared anew, on zeros, since the arguments are not kept.
                like = [torch.zeros_like(t) for t in arguments]
                return Replay(_compiled(planned), lambda: _compiled(with_buffers(module, like) or module))
            return Replay(_compiled(module))
        except Exception as fault:  # a rule may fail on a graph in any way; that costs speed, not the run
            warnings.warn(f"the recording is replayed as it is; rewriting it failed: {fault!r}", stacklevel=2)
            module = _traced(listed, arguments)
            _own_results(module.graph)
    module.recompile()
    return Replay(module)


def _keep_freed_memory() -> None:
    """Make glibc keep memory that the process frees from now on, up to 62 MiB in each of its arenas.

    When a block is freed, glibc raises the size up to which it keeps freed blocks to the size of that one, to 32 MiB at
    most (``M_MMAP_THRESHOLD`` in mallopt(3)). So a block of 31 MiB is taken and freed here. Without that, each large
    result of a replay takes fresh pages from the system, which costs more than the operation that fills them, and still
    more with two threads (conv-4 on two workers: 0.17 against 0.11 s an outer step).
    """
    torch.empty(31 << 20, dtype=torch.uint8, device="cpu")


def _traced(function: Callable, arguments: tuple[Tensor, ...]) -> GraphModule:
    """The operations of a function on these arguments, without in-place ones, as a module. Raises: NotRecorded."""
    try:
        with _one_fake_mode():
            try:
                module = make_fx(torch.func.functionalize(function))(*arguments)
            except RuntimeError:
                # functionalize cannot handle custom autograd functions, but a recording no longer contains them.
                module = make_fx(torch.func.functionalize(make_fx(function)(*arguments)))(*arguments)
    except RuntimeError as error:
        raise NotRecorded(f"this problem cannot be traced ({first_line(error)})") from error
    module.graph.eliminate_dead_code()
    return module


def _one_fake_mode() -> AbstractContextManager:
    """A context, to be entered once, in which make_fx notes the shapes of all results by one FakeTensorMode.

    On its own it makes a new one for each operation, and each reads the source lines of the whole call stack. That was
    half of the time of a recording, and more under a deep stack. The graphs are the same. The mode stands in torch's
    TracingContext of this thread, which is put back at the end; nothing is patched. These names of torch are not
    public: where a version has moved them the context does nothing, and a recording takes its time.
    """
    try:
        from torch._guards import TracingContext, tracing
        from torch._subclasses.fake_tensor import FakeTensorMode
    except ImportError:
        return nullcontext()
    return tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True)))


def _own_results(graph: Graph) -> None:
    """Make each result a tensor of its own, row by row: none shares memory with another result or an argument.

    A caller may write into a result, and torch's fused optimisers misread a gradient in another layout than its
    parameter's, silently (torch 2.13).
    """
    (output,) = (node for node in graph.nodes if node.op == "output")
    taken: set[Node] = set()
    owned: list[Any] = []
    with graph.inserting_before(output):
        for result in output.args[0]:
            base = result
            # Through all views, to the tensor whose memory they show.
            while _may_share_memory(base):
                base = base.args[0]
            # An argument, or a tensor that an earlier result has taken.
            if base.op != "call_function" or base in taken:
                result = graph.call_function(torch.ops.aten.clone.default, (result,), _ROWS)
            elif is_transpose(result):
                result = transposed_copy(graph, result)
            else:
                result = graph.call_function(CONTIGUOUS, (result,))
            taken.add(base)
            owned.append(result)
    output.args = (owned,)


def _may_share_memory(node: Node) -> bool:
    """Whether the node may be a view of its first argument, or an item of an operation's results."""
    if node.target is operator.getitem:
        return True
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(returned.alias_info is not None for returned in schema.returns)


_ROWS: dict[str, Any] = {"memory_format": torch.contiguous_format}


def has_channels_innermost(tensor: Tensor) -> bool:
    """Whether images ``(..., channels, height, width)`` are in torch's channels-last layout; also where there is one
    channel.

    It is told by the strides. False for fewer than four axes and for images of one pixel.
    """
    channels, height, width = tensor.shape[-3:] if tensor.ndim >= 4 else (0, 0, 0)
    return height * width > 1 and tensor.stride()[-3:] == (1, width * channels, channels)


def _keep_channels_innermost(graph: Graph) -> None:
    """Bring images that are made from flat rows (slopes of pooling) into the channels-last layout of the others.

    Otherwise sums of the two layouts take 15 times as long, and convolutions of such images twice as long.
    """
    for node in list(graph.nodes):
        shape = shape_of(node) if node.target is RESHAPE else ()
        if len(shape) == 4 and shape[1] > 1 and shape[2] * shape[3] > 1 and len(shape_of(node.args[0])) < 4:
            with graph.inserting_after(node):
                copy = graph.call_method("contiguous", (node,), {"memory_format": torch.channels_last})
            node.replace_all_uses_with(copy, delete_user_cb=lambda user, copy=copy: user is not copy)


def _compiled(module: GraphModule) -> GraphModule:
    """The module with operations replaced by the methods and functions of torch that call them with less overhead."""
    graph = module.graph
    for node in graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        if node.target is RESHAPE:
            node.op = "call_method"
            node.target = "reshape"
            node.args = (node.args[0], tuple(node.args[1]))
        elif node.target is PERMUTE:
            node.op = "call_method"
            node.target = "permute"
            node.args = (node.args[0], tuple(node.args[1]))
        elif node.target is CONTIGUOUS:
            node.op = "call_method"
            node.target = "contiguous"
        elif node.kwargs.keys() <= {"alpha", "value", "out"}:
            node.target = _DIRECT.get(node.target._schema.name, node.target)
    module.recompile()
    return module
