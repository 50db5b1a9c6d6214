"""Several inputs and outputs, packed into one of each, so that every check takes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from msr.arrays import as_tensor
from msr.errors import ConfigError, DataError, ModelError, ShapeError
from msr.representations import AnyRepresentation, LieRepresentation, Representation, direct_sum
from msr.sharing import Sharing

__all__ = ["Packed", "Several", "as_one", "is_several", "pack"]

Several: TypeAlias = AnyRepresentation | Sequence[AnyRepresentation] | Mapping[str, AnyRepresentation]
"""One representation, or one for each input (output): in order, or by keyword (key)."""


def is_several(*representations: Any) -> bool:
    """Whether one of them is a tuple, a list or a dictionary of representations."""
    return any(isinstance(reps, (tuple, list, Mapping)) for reps in representations)


@dataclass(frozen=True, eq=False)
class Packed:
    """A function of several inputs and outputs, as a function of one input and one output.

    Attributes:
        function: ``(batch, all inputs) -> (batch, all outputs)``, flattened; a side with a single representation keeps
            its shape. It is a module where the original is one.
        rep_in, rep_out: direct sums of the representations given, on flattened points; a single one stays as it is.
        inputs: packs inputs, given in the same form as the representations (or a function that draws them); None stays
            None.
        mask: packs a mask of the outputs in the same way.
    """

    function: Any
    rep_in: AnyRepresentation
    rep_out: AnyRepresentation
    inputs: Callable[[Any], Any]
    mask: Callable[[Any], Tensor | None]


def pack(f: Any, reps_in: Several, reps_out: Several, x: Any = None) -> Packed:
    """A function of several inputs and outputs as one of a single input and output: a :class:`Packed`.

    A tuple of ``reps_in`` calls ``f(x_a, x_b, …)``, a dictionary calls ``f(a=x_a, b=x_b)``; with a tuple of
    ``reps_out``, ``f`` returns a tuple or list as long, with a dictionary one that holds these keys.

    ``x``: inputs in the same form, of which only the dtypes are kept: ``f`` gets each input in its own, so that whole
    numbers stay whole. Without them, or with a function that draws, all inputs have the dtype of the packed one.
    Raises: ConfigError for none, for something that is no representation, and for different groups; ShapeError for
    inputs that do not fit.
    """
    before = _Slots(reps_in, "rep_in")
    after = _Slots(reps_out, "rep_out")
    dtypes = None if x is None or callable(x) else [t.dtype for t in before.tensors(x, "the inputs")]
    function = _function(f, before, after, dtypes)

    def inputs(given: Any) -> Any:
        if callable(given) and not isinstance(given, Tensor):
            return lambda n, generator: before.pack(given(n, generator), "the inputs")
        return None if given is None else before.pack(given, "the inputs")

    def mask(given: Any) -> Tensor | None:
        return None if given is None else after.pack(given, "the mask", batched=False)

    return Packed(function, before.joined, after.joined, inputs, mask)


def as_one(
    f: Any, rep_in: Several, rep_out: Several, x: Any = None, mask: Any = None
) -> tuple[Any, AnyRepresentation, AnyRepresentation, Any, Any]:
    """The arguments ``(f, rep_in, rep_out, x, mask)``, packed into one input and output where there are several.

    Arrays and lists become tensors; otherwise a single input and output are handed back as they are.
    Raises: ConfigError for a weight or a sharing pattern with several representations; what :func:`pack` raises.
    """
    if not is_several(rep_in, rep_out):
        x = x if x is None or callable(x) else as_tensor(x, "x")
        mask = mask if mask is None else as_tensor(mask, "mask")
        return f, rep_in, rep_out, x, mask  # type: ignore[return-value]
    if isinstance(f, (Tensor, Sharing)):
        raise ConfigError("a weight has one input and one output: give it the direct sums, rep_a + rep_b")
    packed = pack(f, rep_in, rep_out, x)
    return packed.function, packed.rep_in, packed.rep_out, packed.inputs(x), packed.mask(mask)


class _Slots:
    """The places of several tensors, one for each representation, in the tensor that holds them all.

    Args: ``reps``: a :data:`Several`; ``name``: what the messages call it.
    Attributes: ``reps``, a list; ``keys``, those of a dictionary, else None; ``single``, whether a representation was
    given by itself; ``joined``, that one, or else the direct sum of all on flattened points.
    Raises: ConfigError for none, and for something that is no representation.
    """

    def __init__(self, reps: Any, name: str):
        self.keys = list(reps) if isinstance(reps, Mapping) else None
        self.single = not isinstance(reps, (tuple, list, Mapping))
        self.reps = [reps] if self.single else list(reps.values() if isinstance(reps, Mapping) else reps)
        if not self.reps:
            raise ConfigError(f"{name}: give at least one representation")
        for rep in self.reps:
            if not isinstance(rep, (Representation, LieRepresentation)):
                raise ConfigError(f"{name} must hold representations, such as regular(group); got {rep!r}")
        # A direct sum acts on vectors, so each part is flattened first.
        self.joined = self.reps[0] if self.single else direct_sum(*(rep.reshape(rep.dim) for rep in self.reps))

    def tensors(self, values: Any, what: str) -> list[Tensor]:
        """The tensors as a list, in the order of the representations, from values in the same form as these.

        The form is a single value, a tuple or list as long, or a dictionary that has all keys, of which others are
        ignored. Arrays and lists of numbers become tensors. Shapes are not checked here.

        Args: ``what``: what messages call the values.
        Raises: ShapeError for another form; DataError for a value that is no array of numbers.
        """
        if self.single:
            parts = [values]
        elif self.keys is not None:
            if not isinstance(values, Mapping) or any(key not in values for key in self.keys):
                has = ", ".join(map(str, values)) if isinstance(values, Mapping) else type(values).__name__
                raise ShapeError(f"{what} must be a dictionary with {', '.join(self.keys)}; got {has}")
            parts = [values[key] for key in self.keys]
        else:
            if not isinstance(values, (tuple, list)) or len(values) != len(self.reps):
                has = f"{len(values)}" if isinstance(values, (tuple, list)) else type(values).__name__
                raise ShapeError(f"{what} must be a tuple of {len(self.reps)} tensors; got {has}")
            parts = list(values)
        return [as_tensor(part, what) for part in parts]

    def pack(self, values: Any, what: str, *, batched: bool = True) -> Tensor:
        """The values as one tensor ``(batch, total)``, in the widest precision of the parts.

        It is float64 where the parts differ in dtype and some hold whole numbers, which are rounded beyond 2⁵³ then.

        The value of a single representation is returned as it is, in its own shape.

        Args: ``batched``: false for values without a batch axis, such as a mask; then the tensor is ``(total,)``.
        Raises: ShapeError for another form or shape, or different batches.
        """
        parts = self.tensors(values, what)
        if self.single:
            return parts[0]
        lead = [rep.check_shape(part) for rep, part in zip(self.reps, parts, strict=True)]
        if any(len(axes) != batched or axes != lead[0] for axes in lead):
            raise ShapeError(f"{what} must share one batch axis; got {', '.join(str(tuple(p.shape)) for p in parts)}")
        flat = [part.reshape(*lead[0], rep.dim) for rep, part in zip(self.reps, parts, strict=True)]
        if len({part.dtype for part in flat}) > 1 and not all(part.is_floating_point() for part in flat):
            # Whole numbers up to 2⁵³ are exact in float64, and may not be in float32.
            flat = [part.double() for part in flat]
        return torch.cat(flat, dim=-1)

    def unpack(self, x: Tensor, dtypes: list[torch.dtype] | None) -> list[Tensor]:
        """The parts of a packed tensor ``x (batch, total)``, each ``(batch, *rep.shape)``.

        For a single representation it is ``x`` as it is, in a list of one, and ``dtypes`` does not count.

        Args: ``dtypes``: one for each part; None keeps that of ``x``.
        """
        if self.single:
            return [x]
        pieces = x.split([rep.dim for rep in self.reps], dim=-1)
        parts = [piece.reshape(*x.shape[:-1], *rep.shape) for piece, rep in zip(pieces, self.reps, strict=True)]
        return parts if dtypes is None else [part.to(dtype) for part, dtype in zip(parts, dtypes, strict=True)]

    def pack_outputs(self, y: Any) -> Any:
        """One tensor ``(batch, total)`` from what a function returned; for a single representation that, unchecked.

        Raises: ModelError for what does not fit.
        """
        if self.single:
            return y
        try:
            parts = self.tensors(y, "the function's outputs")
        except (ShapeError, DataError) as error:
            raise ModelError(str(error)) from None
        flat = []
        for i, (rep, part) in enumerate(zip(self.reps, parts, strict=True)):
            if tuple(part.shape[1:]) != rep.shape:
                which = self.keys[i] if self.keys is not None else i
                raise ModelError(
                    f"output {which} must be (batch, {', '.join(map(str, rep.shape))}) for {rep}; the function "
                    f"returned {tuple(part.shape)}"
                )
            flat.append(part.flatten(1))
        return torch.cat(flat, dim=1)


def _function(f: Any, before: _Slots, after: _Slots, dtypes: list[torch.dtype] | None) -> Any:
    """``f`` on one packed input; a module where ``f`` is one, so that its parameters and mode are found.

    Args: ``before``, ``after``: the places of inputs and outputs; ``dtypes``: those in which ``f`` gets its inputs,
    None for that of the packed one.
    """

    def call(inner: Any, x: Tensor) -> Any:
        parts = before.unpack(x, dtypes)
        y = inner(*parts) if before.keys is None else inner(**dict(zip(before.keys, parts, strict=True)))
        return after.pack_outputs(y)

    if not isinstance(f, nn.Module):

        def function(x: Tensor) -> Any:
            return call(f, x)

        # Messages name the function that the caller gave.
        function.__name__ = getattr(f, "__name__", type(f).__name__)
        return function

    class Single(nn.Module):
        """The module on one packed input."""

        def __init__(self, inner: nn.Module):
            super().__init__()
            self.inner = inner
            self.training = inner.training

        def forward(self, x: Tensor) -> Any:
            return call(self.inner, x)

    Single.__name__ = type(f).__name__  # messages name the class
    return Single(f)
