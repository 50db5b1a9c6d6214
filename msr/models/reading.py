"""Saved layers and networks: weights as NumPy arrays or safetensors, ONNX, exported programs, pickled modules."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from msr.arrays import as_tensor
from msr.errors import DataError, MissingExtraError, ModelError, MSRError, first_line
from msr.failures import is_lack_of_memory
from msr.files.archives import npz_names, read_npy, read_npz, shape_of
from msr.models.kinds import check_kind
from msr.models.onnx import read_onnx
from msr.printable import printable

__all__ = ["read_model", "weight_shape"]


def read_model(path: Path, *, trust: bool = False, shape_out: Sequence[int] = ()) -> Any:
    """The layer or network of a file: a weight ``(out, in)`` as a float64 tensor, or a module or function to call.

    ``.npy``, or ``.npz`` with ``W`` and perhaps a bias ``b (out,)``: without a bias the weight, with one the layer
    ``x ↦ W x + b`` as a module. ``.safetensors``: the same, where the names may be ``weight`` and ``bias`` too.
    ``.onnx``: a network to call. None of these runs code. With ``trust``, since reading them may run code: ``.pt2``,
    the exported program; ``.pt``, ``.pth``, a pickled module, function or weight.

    Args:
        shape_out: the shape of one output, without the batch, that a layer with a bias returns; a shape that has one
            axis, or another number of entries than ``b``, has no effect: the layer then returns ``(batch, out)``.

    Raises: DataError for a file that is missing, damaged, or holds something else; ModelError for a program that was
    exported for one size of batch, or that is not evaluated here; ConfigError for a file that may run code, without
    ``trust``; MissingExtraError where the reader is not installed.
    """
    kind = check_kind(path, trust)
    try:
        if kind == ".npy":
            return _weight(path, "an array", read_npy(path))
        if kind == ".npz":
            return _layer(path, shape_out)
        if kind == ".safetensors":
            return _safetensors(path, shape_out)
        if kind == ".onnx":
            return read_onnx(path)
        return _program(path) if kind == ".pt2" else _module(path)
    except MSRError:
        raise
    except (Exception, SystemExit) as error:  # readers raise many kinds for damaged files, and a pickle may run code
        if is_lack_of_memory(error):
            raise  # the file may be whole
        raise DataError(f"{path} is not a whole {kind} file ({type(error).__name__}: {first_line(error)})") from error


def weight_shape(path: Path) -> tuple[int, int] | None:
    """``(out, in)`` of a weight matrix in a ``.npy``, or of ``W`` in a ``.npz``, from the header alone.

    None for files of other kinds, damaged or missing ones, and arrays of other than two axes.
    """
    kind = path.suffix.lower()
    if kind not in (".npy", ".npz"):
        return None
    try:
        shape = shape_of(path, None if kind == ".npy" else "W")
    except DataError:  # a file that is missing or damaged is reported by read_model
        return None
    return (shape[0], shape[1]) if len(shape) == 2 else None


def _layer(path: Path, shape_out: Sequence[int]) -> Tensor | nn.Module:
    """The layer in a ``.npz``: the weight ``W`` in float64, or with an array ``b`` the module ``x ↦ W x + b``.

    ``shape_out`` is as in :func:`read_model`. Raises: DataError without ``W``, and for any further array, since it may
    belong to the layer.
    """
    names = npz_names(path)
    if "W" not in names:
        raise DataError(f"{path} has no array W; it holds {', '.join(map(printable, names)) or 'none'}")
    unknown = [printable(name) for name in names if name not in ("W", "b")]
    if unknown:
        raise DataError(
            f"{path} holds {', '.join(unknown)} beside W, and what that does to the layer is not known; a layer is "
            "W (out, in) and, if it has a bias, b (out,): leave out the rest, or save the network with torch.export"
        )
    arrays = read_npz(path, ("W", "b"))
    weight = _weight(path, "W", arrays["W"])
    if "b" not in arrays:
        return weight
    bias = _weight(path, "b", arrays["b"])
    return _with_bias(path, weight, bias, shape_out)


def _safetensors(path: Path, shape_out: Sequence[int]) -> Tensor | nn.Module:
    """The layer in a ``.safetensors``: its weight in float64, or with a bias the module ``x ↦ W x + b``.

    The weight is called ``weight`` or ``W``, the bias ``bias`` or ``b``; ``shape_out`` is as in :func:`read_model`.
    Raises: DataError where the weight is missing, there is anything else, or it holds no real numbers;
    MissingExtraError without safetensors.
    """
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise MissingExtraError(f"{path}: reading it needs safetensors: pip install 'msr[models]'") from error
    names = {"weight": "W", "W": "W", "bias": "b", "b": "b"}
    with safe_open(path, framework="pt") as file:
        keys = list(file.keys())
        unknown = [printable(key, 40) for key in keys if key not in names]
        tensors = {names[key]: file.get_tensor(key) for key in keys if key in names}
    # Fewer tensors than keys means that one part is there under both of its names.
    if "W" not in tensors or unknown or len(tensors) < len(keys):
        held = ", ".join(printable(key, 40) for key in keys[:8]) or "none"
        raise DataError(
            f"{path} must hold one layer: weight (or W) and, if it has one, bias (or b), and nothing beside; it holds "
            f"{held}{f', … ({len(keys)} in all)' if len(keys) > 8 else ''}; save a network as .onnx"
        )
    for name, tensor in tensors.items():
        if tensor.is_complex() or tensor.dtype == torch.bool:
            raise DataError(f"{path} holds {tensor.dtype} as {name}; a weight matrix of real numbers is needed")
    weight = tensors["W"].double()
    return weight if "b" not in tensors else _with_bias(path, weight, tensors["b"].double(), shape_out)


def _with_bias(path: Path, weight: Tensor, bias: Tensor, shape_out: Sequence[int]) -> nn.Module:
    """The module ``x ↦ W x + b`` of a weight ``(out, ...)`` and a bias of as many entries, in float64.

    ``path`` is for messages, and ``shape_out`` as in :func:`read_model`. Raises: DataError where the shapes do not fit.
    """
    shapes = f"{tuple(weight.shape)} and {tuple(bias.shape)}"
    fits = bias.ndim > 0 and (weight.shape[: bias.ndim] == bias.shape or weight.shape[:1].numel() == bias.numel())
    bias = bias.flatten()
    if weight.ndim < 2 or weight.numel() == 0 or not fits:
        raise DataError(f"{path}: W must be (out, in) and b (out,); got {shapes}")
    return _as_layer(weight, bias, shape_out)


def _as_layer(weight: Tensor, bias: Tensor, shape_out: Sequence[int]) -> nn.Module:
    """The module ``x ↦ W x + b`` in float64, from ``W (out, …)`` and ``b (out,)``, on points of any shape.

    Its outputs are ``(batch, *shape_out)`` where ``shape_out`` has several axes and ``out`` entries, else
    ``(batch, out)``.
    """
    weight = weight.reshape(len(bias), -1)
    linear = nn.utils.skip_init(nn.Linear, weight.shape[1], len(bias), dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    shaped = len(shape_out) > 1 and int(np.prod(shape_out)) == len(bias)
    return nn.Sequential(nn.Flatten(), linear, *[nn.Unflatten(1, tuple(shape_out))] * shaped)


def _weight(path: Path, name: str, array: Any) -> Tensor:
    """An array of real numbers as a float64 tensor of its shape.

    ``path`` and ``name`` say in messages which one it is. Raises: DataError for numbers that are complex, boolean or of
    more than 64 bits, and for text.
    """
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise DataError(
            f"{path} holds {array.dtype} as {name}; a weight matrix of real numbers of at most 64 bits is needed"
        )
    return torch.from_numpy(np.asarray(array, dtype=np.float64))


def _program(path: Path) -> nn.Module:
    """An exported program of one input with a free batch axis, which the checks need. Raises: ModelError otherwise."""
    with _quietly():
        program = torch.export.load(path)
    names = set(program.graph_signature.user_inputs)
    inputs = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(inputs) != 1:
        raise ModelError(f"{path} takes {len(inputs)} inputs; a check needs a network of one tensor: export a wrapper")
    size = inputs[0].shape[0] if isinstance(inputs[0], Tensor) and inputs[0].ndim else None
    if isinstance(size, int):
        raise ModelError(
            f"{path} was exported for batches of {size} only, and a check gives it batches of several sizes; export it "
            "with a batch axis that is free: torch.export.export(net, (x,), dynamic_shapes=({0: "
            "torch.export.Dim('batch')},)), with x of at least 2 examples"
        )
    return program.module()


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence what torch logs and warns of while it reads a file; what matters of it is in the error."""
    log = logging.getLogger("torch.export")
    was_disabled = log.disabled
    log.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = was_disabled


def _module(path: Path) -> Any:
    """A pickled module or function as it is, or a pickled tensor, which is a weight, in float64. Unpickling runs code.

    Raises: DataError for a pickle of anything else, or that names a class which cannot be imported here.
    """
    try:
        with _quietly():
            model = torch.load(path, weights_only=False, map_location="cpu")
    except (ImportError, AttributeError) as error:
        missing = first_line(error)
        if not isinstance(error, ImportError) and "Can't get attribute" not in missing:
            raise
        raise DataError(
            f"{path} names a class or module that cannot be imported here ({missing}): a pickle holds no code, so put "
            "the folder of the file that defines it on PYTHONPATH, or save the network with torch.export"
        ) from error
    if isinstance(model, Tensor):
        if model.is_complex() or model.dtype == torch.bool:
            raise DataError(f"{path} holds {model.dtype}; a weight matrix of real numbers is needed")
        return as_tensor(model.detach(), str(path)).double()
    if callable(model):
        return model
    raise DataError(f"{path} holds {_what(model)}")


def _what(thing: object) -> str:
    """For a message: what kind of object was saved instead of a module, and what to save."""
    if not isinstance(thing, Mapping):
        return f"a {type(thing).__name__}, not a module; save the network itself: torch.save(net, 'net.pt')"
    keys = [str(key) for key in thing]
    shown = ", ".join(keys[:4]) + (f", … ({len(keys)} in all)" if len(keys) > 4 else "")
    advice = "not a module; load the weights into their network, and save that: torch.save(net, 'net.pt')"
    if _is_state_dict(thing):
        return f"a dict of tensors, as a state_dict is ({shown}), {advice}"
    if any(_is_state_dict(value) for value in thing.values()):
        return f"a checkpoint with a state_dict in it ({shown}), {advice}"
    return f"a {type(thing).__name__} ({shown or 'empty'}), {advice}"


def _is_state_dict(thing: object) -> bool:
    """Whether a value is a mapping that is not empty and whose values are all tensors."""
    return isinstance(thing, Mapping) and bool(thing) and all(isinstance(value, Tensor) for value in thing.values())
