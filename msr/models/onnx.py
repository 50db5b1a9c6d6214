"""Networks in ONNX, read and evaluated without running code of the file, and within a bound on memory.

A network is a list of nodes of the operators in :data:`OPERATORS`. Each node is evaluated by ``onnx.reference``, once
the shapes of its outputs have been inferred from its actual inputs and are small enough. Refused is what could repeat
work (loops, branches, functions of the file), what reads another file (external data), and operators that are not in
the standard. Time is not bounded: a node within the bound on memory may take minutes.
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
"""Bytes of the largest file that is read; chosen by hand."""

LARGEST_VALUE = 2**27
"""The most numbers that one node may make, scratch space included: 1 GiB in float64. Chosen by hand."""

LARGEST_WHOLE = 2**28
"""The most numbers of all values together that are in use at once: 2 GiB in float64. Chosen by hand."""

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

# Numbers of data types in the ONNX standard (TensorProto.DataType).
_FLOATS = {1: np.float32, 11: np.float64}
_NUMBERS = {**_FLOATS, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16}
_SHAPE_NUMBERS = 4096  # a tensor of more whole numbers is taken for data rather than for a shape
_RUNTIME = "evaluate it with onnxruntime yourself, and hand the function to msr.equivariance.certify"


def read_onnx(path: Path) -> "OnnxNetwork":
    """The network of an ONNX file, checked, as a function of a batch.

    Raises: MissingExtraError without onnx; DataError for what is no whole and valid ONNX file, or is larger than
    :data:`LARGEST_FILE`; ModelError for a network that
    cannot be evaluated here, or that does not have one input with a free first axis and one output.
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
    """A function ``(batch, ...) -> (batch, ...)`` that evaluates a network, on inputs that already have its ``dtype``.

    It is a black box without parameters, layers or gradients, so its checks rest on random inputs alone.

    Args:
        model: an ``onnx.ModelProto``. Its nodes' domain ``ai.onnx`` is replaced in place by the empty one, its synonym.
        name: of the file, for messages.

    Attributes:
        name: as given.
        dtype: of its inputs, ``torch.float32`` or ``torch.float64``.

    Raises: ModelError for a network that cannot be evaluated here, or that does not have one input with a free first
    axis and one output; DataError for constants whose numbers do not fill their shape.
    """

    def __init__(self, model: Any, name: str) -> None:
        self.name = name
        graph = model.graph
        self._opsets = {entry.domain or "": entry.version for entry in model.opset_import}
        _check_contents(model, self._opsets, name)
        self._constants = _constants(graph.initializer, name)
        inputs = [value for value in graph.input if value.name not in self._constants]
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
        self._input = inputs[0].name
        self._output = graph.output[0].name
        self._nodes = list(graph.node)
        # The place of the last node that reads a value, after which its memory is given back.
        self._last_reader = {name: place for place, node in enumerate(self._nodes) for name in node.input}
        self._evaluators: dict[tuple, Any] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """The network's output ``(batch, ...)`` for a batch ``x (batch, ...)``, on the CPU and without gradients.

        Raises: ModelError that names the node at fault.
        """
        values: dict[str, Any] = {**self._constants, self._input: x.detach().cpu().numpy(), "": None}
        with np.errstate(all="ignore"):
            for place, node in enumerate(self._nodes):
                self._run(place, node, values)
                for name in {*node.input, *node.output}:
                    if name and self._last_reader.get(name, -1) <= place and name != self._output:
                        values.pop(name, None)
        return torch.from_numpy(np.array(values[self._output]))

    def _run(self, place: int, node: Any, values: dict[str, Any]) -> None:
        """Evaluate one node, and add its outputs to ``values``, in place.

        Args:
            place: the node's index in the list of nodes.
            values: the arrays in use, by name; the empty name, of an input that is left out, has None.

        Raises: ModelError for a node whose input is missing, that draws at random, would take more memory than the
        bounds allow, or fails.
        """
        where = f"{self.name}: node {place} ({node.op_type})"
        missing = [name for name in node.input if name not in values]
        if missing:
            raise ModelError(f"{where} takes {printable(missing[0], 40)}, which no node before it gives")
        inputs = {name: values[name] for name in node.input if name}
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] and bool(values[node.input[2]]):
            raise ModelError(f"{where} draws at random: export the network in eval()")
        in_use = sum(value.size for value in values.values() if value is not None)
        size = _size(node, inputs, self._opsets[""], where)
        if size > LARGEST_VALUE or in_use + size > LARGEST_WHOLE:
            raise ModelError(
                f"{where} would take about {size:.3g} numbers beside {in_use:.3g} of other values; at most "
                f"{LARGEST_VALUE:.3g} and {LARGEST_WHOLE:.3g} in all are given to it: use fewer draws, or {_RUNTIME}"
            )
        evaluator = self._evaluator(place, node, inputs)
        try:
            outputs = evaluator.run(None, inputs)
        except Exception as error:
            raise ModelError(f"{where} failed: {type(error).__name__}: {first_line(error)}") from error
        for name, value in zip(node.output, outputs, strict=False):
            if name:
                values[name] = np.asarray(value)

    def _evaluator(self, place: int, node: Any, inputs: Mapping[str, Any]) -> Any:
        """The evaluator of one node: a graph of its own, typed by the node's actual inputs, and kept for reuse."""
        key = (place, *((name, value.dtype.str, value.ndim) for name, value in inputs.items()))
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
    """Raise ModelError for whatever is not a plain list of known operators and of numbers inside the file.

    The domain of each node is set to the empty one in place: it is the same as ``ai.onnx``, the only other that passes.

    Args:
        opsets: the version of the operators, by domain.
        name: of the file, for messages.
    """
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
    """Raise ModelError for a tensor whose numbers lie in another file, or are of a kind that cannot be evaluated."""
    if tensor.data_location == 1 or tensor.external_data:
        raise ModelError(f"{name} keeps numbers in another file, which is not read; save it with its numbers inside")
    if tensor.data_type not in _NUMBERS:
        raise ModelError(f"{name} holds {printable(tensor.name, 40)} of a kind of number that is not evaluated here")


def _constants(initializers: Sequence[Any], name: str) -> dict[str, np.ndarray]:
    """The constant tensors of a network, as arrays by name; ``name`` is the file's, for messages.

    Raises: ModelError as :func:`_check_tensor`; DataError where the numbers do not fill the shape.
    """
    from onnx import numpy_helper

    constants = {}
    for tensor in initializers:
        _check_tensor(tensor, name)
        try:
            constants[tensor.name] = np.asarray(numpy_helper.to_array(tensor))
        except Exception as error:
            raise DataError(
                f"{name}: the numbers of {printable(tensor.name, 40)} do not fill its shape ({first_line(error)})"
            ) from error
    return constants


def _type(value: np.ndarray, *, free: bool = False) -> Any:
    """The ONNX type of an array; with ``free``, its sizes are left open."""
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_type_proto(kind, [None] * value.ndim if free else value.shape)


def _size(node: Any, inputs: Mapping[str, np.ndarray], opset: int, where: str) -> int:
    """How many numbers a node makes, its outputs and scratch space together, known before it runs.

    They are inferred from the shapes of its inputs, and from the values of small inputs of whole numbers.

    Args:
        opset: the version of the operators.
        where: names the node in messages.

    Raises: ModelError where the node does not fit its inputs, or the size or kind of an output is not known beforehand.
    """
    from onnx import defs, helper, numpy_helper, shape_inference

    # Inference needs the values of inputs that are shapes (whole numbers), such as the second input of Reshape.
    data = {
        name: numpy_helper.from_array(value, name)
        for name, value in inputs.items()
        if value.size <= _SHAPE_NUMBERS and (value.dtype.kind in "iu" or node.op_type == "Range")
    }
    try:
        schema = defs.get_schema(node.op_type, opset, "")
        imports = [helper.make_opsetid("", opset)]
        types = {name: _type(value) for name, value in inputs.items()}
        kinds = shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=imports)
    except Exception as error:
        raise ModelError(f"{where} does not fit its inputs: {first_line(error)}") from error
    total = 0
    for name in node.output:
        if not name:
            continue
        kind = kinds[name].tensor_type if name in kinds else None
        if kind is None or kind.elem_type not in _NUMBERS:
            raise ModelError(f"{where} gives something else than numbers, or numbers of a kind not evaluated here")
        if not kind.HasField("shape") or any(not d.HasField("dim_value") for d in kind.shape.dim):
            raise ModelError(f"{where}: the size of its output is not known beforehand, so it is not run; {_RUNTIME}")
        shape = [d.dim_value for d in kind.shape.dim]
        if min(shape, default=0) < 0:
            raise ModelError(f"{where} gives a negative size {shape}")
        total += math.prod(shape) if node.op_type not in _WINDOWED else _windowed(node, inputs, shape, where)
    return total


def _windowed(node: Any, inputs: Mapping[str, np.ndarray], shape: Sequence[int], where: str) -> int:
    """The scratch space of a convolution or a pooling, in numbers: padded inputs, a copy for each tap, wide kernels.

    It is an upper estimate, which also covers the output. A kernel with holes is counted at its full reach.

    Args:
        shape: of the node's output, ``(batch, channels, ...)``.
        where: names the node in messages.

    Raises: ModelError for attributes that do not fit the axes of the input.
    """
    data = inputs[node.input[0]]
    given = {attribute.name: list(attribute.ints) for attribute in node.attribute if attribute.ints}
    kernel = inputs[node.input[1]] if node.op_type.startswith("Conv") else None
    axes = data.ndim - 2
    taps = given.get("kernel_shape") or (list(kernel.shape[2:]) if kernel is not None else [1] * axes)
    lists = [taps, given.get("strides", [1] * axes), given.get("dilations", [1] * axes)]
    pads = given.get("pads", [0] * 2 * axes)
    if any(len(sizes) != axes or min(sizes) < 1 for sizes in lists) or len(pads) != 2 * axes or min(pads) < 0:
        raise ModelError(f"{where} has sizes, pads or steps that do not fit images of {axes} axes")
    steps, holes = lists[1:]
    # The reach of a kernel with holes: k taps that are d apart.
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
