"""Networks in ONNX, read and evaluated without running code of the file, and within a bound on memory.

A network is a list of nodes of the operators in :data:`OPERATORS`. Each is evaluated by ``onnx.reference``, after the
shapes of its outputs were inferred from its actual inputs and found to be small enough. What could repeat work (loops,
branches, functions of the file), read another file (external data), or is an operator of somebody else's is refused.
Not bounded is time: a node within the bound on memory may take minutes.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from msr.errors import DataError, MissingExtraError, ModelError, first_line
from msr.printable import printable

__all__ = ["LARGEST_FILE", "LARGEST_VALUE", "LARGEST_WHOLE", "OPERATORS", "OnnxNetwork", "read_onnx"]

LARGEST_FILE = 2**29
"""Bytes of a file that is read."""

LARGEST_VALUE = 2**27
"""Numbers of the values that one node makes, those that it needs on the way included."""

LARGEST_WHOLE = 2**28
"""Numbers of all values that are in use at once."""

_WINDOWED = {"Conv", "ConvTranspose", "AveragePool", "MaxPool", "LpPool"}
_OTHERS = (
    "Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization Cast CastLike Ceil Celu Clip Concat "
    "Constant ConstantOfShape Cos Cosh CumSum DepthToSpace Div Dropout Elu Equal Erf Exp Expand EyeLike Flatten Floor "
    "Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual "
    "GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization LayerNormalization LeakyRelu Less "
    "LessOrEqual Log LogSoftmax LpNormalization MatMul Max Mean MeanVarianceNormalization Min Mish Mod Mul Neg Not "
    "OneHot Or PRelu Pad Pow RMSNormalization Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp "
    "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round ScatterElements ScatterND "
    "Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub "
    "Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor"
)
OPERATORS = _WINDOWED | set(_OTHERS.split())
"""Operators of the standard that are evaluated: those of plain networks, each a function of its inputs alone."""

_FLOATS = {1: np.float32, 11: np.float64}
_NUMBERS = {**_FLOATS, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16}
_SHAPE_NUMBERS = 4096  # whole numbers, at most, that can say a shape
_RUNTIME = "evaluate it with onnxruntime yourself, and hand the function to msr.equivariance.certify"


def read_onnx(path: Path) -> "OnnxNetwork":
    """The network of a file, checked.

    Raises: MissingExtraError without onnx; DataError for what is no whole ONNX file; ModelError for a network that is
    not evaluated here, or of other than one input with a free first axis and one output.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError(f"{path}: reading it needs onnx: pip install 'msr[models]'") from error
    if path.stat().st_size > LARGEST_FILE:
        raise DataError(f"{path} is larger than {LARGEST_FILE / 2**20:.0f} MiB; {_RUNTIME}")
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except MemoryError:
        raise  # the file may be whole
    except Exception as error:
        raise DataError(f"{path} is not a whole ONNX file ({type(error).__name__}: {first_line(error)})") from error
    network = OnnxNetwork(model, str(path))
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise DataError(f"{path} is not a valid ONNX file ({first_line(error)})") from error
    return network


class OnnxNetwork:
    """A function ``(batch, ...) -> (batch, ...)``, and ``dtype``, the precision that it takes.

    It is a black box: it has no parameters to draw anew, no layers to point at, and no gradients, so what is said of it
    is said by draws.
    """

    def __init__(self, model: Any, name: str) -> None:
        self.name = name
        graph = model.graph
        self._opsets = {one.domain or "": one.version for one in model.opset_import}
        _check_contents(model, self._opsets, name)
        self._constants = _constants(graph.initializer, name)
        inputs = [one for one in graph.input if one.name not in self._constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise ModelError(
                f"{name} takes {len(inputs)} inputs and gives {len(graph.output)}; a check needs a network of one "
                "tensor to one tensor: export a wrapper"
            )
        kind = inputs[0].type.tensor_type
        if kind.elem_type not in _FLOATS:
            raise ModelError(f"{name} does not take float32 or float64 numbers; export it in one of these")
        self.dtype = torch.float64 if kind.elem_type == 11 else torch.float32
        batch = kind.shape.dim[0] if kind.HasField("shape") and kind.shape.dim else None
        if batch is not None and batch.HasField("dim_value"):
            raise ModelError(
                f"{name} was exported for batches of {batch.dim_value} only, and a check gives it batches of several "
                "sizes; export it with a batch axis that is free: torch.onnx.export(net, (x,), 'net.onnx', "
                "dynamo=True, dynamic_shapes=({0: torch.export.Dim('batch')},)), with x of at least 2 examples"
            )
        self._input, self._output = inputs[0].name, graph.output[0].name
        self._nodes = list(graph.node)
        self._last = {one: at for at, node in enumerate(self._nodes) for one in node.input}
        self._evaluators: dict[tuple, Any] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Evaluate a batch. Raises: ModelError that names the node at fault."""
        values: dict[str, Any] = {**self._constants, self._input: x.detach().cpu().numpy(), "": None}
        with np.errstate(all="ignore"):
            for at, node in enumerate(self._nodes):
                self._run(at, node, values)
                for one in {*node.input, *node.output}:
                    if one and self._last.get(one, -1) <= at and one != self._output:
                        values.pop(one, None)
        return torch.from_numpy(np.array(values[self._output]))

    def _run(self, at: int, node: Any, values: dict[str, Any]) -> None:
        where = f"{self.name}: node {at} ({node.op_type})"
        missing = [one for one in node.input if one not in values]
        if missing:
            raise ModelError(f"{where} takes {printable(missing[0], 40)}, which no node before it gives")
        inputs = {one: values[one] for one in node.input if one}
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] and bool(values[node.input[2]]):
            raise ModelError(f"{where} draws at random: export the network in eval()")
        there = sum(value.size for value in values.values() if value is not None)
        size = _size(node, inputs, self._opsets[""], where)
        if size > LARGEST_VALUE or there + size > LARGEST_WHOLE:
            raise ModelError(
                f"{where} would take about {size:.3g} numbers beside {there:.3g} of other values; at most "
                f"{LARGEST_VALUE:.3g} and {LARGEST_WHOLE:.3g} in all are given to it: use fewer draws, or {_RUNTIME}"
            )
        evaluator = self._evaluator(at, node, inputs)
        try:
            outputs = evaluator.run(None, inputs)
        except Exception as error:
            raise ModelError(f"{where} failed: {type(error).__name__}: {first_line(error)}") from error
        for name, value in zip(node.output, outputs, strict=False):
            if name:
                values[name] = np.asarray(value)

    def _evaluator(self, at: int, node: Any, inputs: Mapping[str, Any]) -> Any:
        """Of one node, as a graph of its own that knows the kinds of its inputs."""
        key = (at, *((name, value.dtype.str, value.ndim) for name, value in inputs.items()))
        if key not in self._evaluators:
            from onnx import helper
            from onnx.reference import ReferenceEvaluator

            takes = [helper.make_value_info(name, _type(value, free=True)) for name, value in inputs.items()]
            unknown = helper.make_tensor_type_proto(1, None)
            gives = [helper.make_value_info(name, unknown) for name in node.output if name]
            graph = helper.make_graph([node], "node", takes, gives)
            self._evaluators[key] = ReferenceEvaluator(graph, opsets=dict(self._opsets))
        return self._evaluators[key]


def _check_contents(model: Any, opsets: Mapping[str, int], name: str) -> None:
    """Raises ModelError for whatever is not a plain list of known operators and of numbers in the file."""
    import onnx

    if "" not in opsets or not 7 <= opsets[""] <= onnx.defs.onnx_opset_version():
        raise ModelError(
            f"{name} is of operator set {opsets.get('', 'none')}; the onnx that is installed evaluates 7 to "
            f"{onnx.defs.onnx_opset_version()}"
        )
    if model.functions:
        raise ModelError(f"{name} has functions of its own; inline them first: onnx.inliner.inline_local_functions")
    if model.training_info or model.graph.sparse_initializer:
        raise ModelError(f"{name} holds training or sparse tensors, which are not evaluated here; {_RUNTIME}")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            kind = printable(f"{node.domain}.{node.op_type}".strip("."), 60)
            raise ModelError(f"{name} has a node of kind {kind}, which is not evaluated here; {_RUNTIME}")
        node.domain = ""
        for attribute in node.attribute:
            if attribute.type not in (1, 2, 3, 4, 6, 7, 8):  # numbers, texts, lists of them, and one tensor
                raise ModelError(f"{name}: a node of kind {node.op_type} holds a graph or a sparse tensor; {_RUNTIME}")
            if attribute.ref_attr_name:
                raise ModelError(f"{name}: a node of kind {node.op_type} takes an attribute of a function")
            if attribute.name == "training_mode" and attribute.i:
                raise ModelError(f"{name}: {node.op_type} is in training mode; export the network in eval()")
            if attribute.type == 4:
                _check_tensor(attribute.t, name)


def _check_tensor(tensor: Any, name: str) -> None:
    if tensor.data_location == 1 or tensor.external_data:
        raise ModelError(f"{name} keeps numbers in another file, which is not read; save it with its numbers inside")
    if tensor.data_type not in _NUMBERS:
        raise ModelError(f"{name} holds {printable(tensor.name, 40)} of a kind of number that is not evaluated here")


def _constants(initializers: Sequence[Any], name: str) -> dict[str, np.ndarray]:
    from onnx import numpy_helper

    found = {}
    for tensor in initializers:
        _check_tensor(tensor, name)
        try:
            found[tensor.name] = np.asarray(numpy_helper.to_array(tensor))
        except Exception as error:
            raise DataError(
                f"{name}: the numbers of {printable(tensor.name, 40)} do not fill its shape ({first_line(error)})"
            ) from error
    return found


def _type(value: np.ndarray, *, free: bool = False) -> Any:
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_type_proto(kind, [None] * value.ndim if free else value.shape)


def _size(node: Any, inputs: Mapping[str, np.ndarray], opset: int, where: str) -> int:
    """Numbers that a node makes, inferred before it runs from the shapes, and the small values, of its inputs."""
    from onnx import defs, helper, numpy_helper, shape_inference

    # Whole numbers say shapes; they are handed over as values, so that what is made of them is known.
    data = {
        one: numpy_helper.from_array(value, one)
        for one, value in inputs.items()
        if value.size <= _SHAPE_NUMBERS and (value.dtype.kind in "iu" or node.op_type == "Range")
    }
    try:
        schema = defs.get_schema(node.op_type, opset, "")
        imports = [helper.make_opsetid("", opset)]
        types = {one: _type(value) for one, value in inputs.items()}
        kinds = shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=imports)
    except Exception as error:
        raise ModelError(f"{where} does not fit its inputs: {first_line(error)}") from error
    total = 0
    for one in node.output:
        if not one:
            continue
        kind = kinds[one].tensor_type if one in kinds else None
        if kind is None or kind.elem_type not in _NUMBERS:
            raise ModelError(f"{where} gives something else than numbers, or numbers of a kind not evaluated here")
        if not kind.HasField("shape") or any(not d.HasField("dim_value") for d in kind.shape.dim):
            raise ModelError(f"{where}: how much it gives cannot be told beforehand, so it is not run; {_RUNTIME}")
        shape = [d.dim_value for d in kind.shape.dim]
        if min(shape, default=0) < 0:
            raise ModelError(f"{where} gives a negative size {shape}")
        total += math.prod(shape) if node.op_type not in _WINDOWED else _windowed(node, inputs, shape, where)
    return total


def _windowed(node: Any, inputs: Mapping[str, np.ndarray], shape: Sequence[int], where: str) -> int:
    """What a convolution or a pooling keeps on the way: padded inputs, a copy for each tap, kernels with holes."""
    data = inputs[node.input[0]]
    given = {one.name: list(one.ints) for one in node.attribute if one.ints}
    kernel = inputs[node.input[1]] if node.op_type.startswith("Conv") else None
    axes = data.ndim - 2
    taps = given.get("kernel_shape") or (list(kernel.shape[2:]) if kernel is not None else [1] * axes)
    lists = [taps, given.get("strides", [1] * axes), given.get("dilations", [1] * axes)]
    pads = given.get("pads", [0] * 2 * axes)
    if any(len(one) != axes or min(one) < 1 for one in lists) or len(pads) != 2 * axes or min(pads) < 0:
        raise ModelError(f"{where} has sizes, pads or steps that do not fit images of {axes} axes")
    steps, holes = lists[1:]
    around = [(k - 1) * d + 1 for k, d in zip(taps, holes, strict=True)]
    sides = [
        max(n + pads[i] + pads[i + axes] + around[i], (n - 1) * s + around[i] + pads[i] + pads[i + axes], out)
        if node.op_type == "ConvTranspose"
        else max(n + pads[i] + pads[i + axes], out)
        for i, (n, s, out) in enumerate(zip(data.shape[2:], steps, shape[2:], strict=True))
    ]
    channels = data.shape[1] + shape[1]
    work = data.shape[0] * channels * math.prod(sides) * math.prod(taps)
    return work + (0 if kernel is None else kernel.shape[0] * kernel.shape[1] * math.prod(around))
