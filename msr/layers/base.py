"""What all reparameterised layers share: the filter, the pattern, the bias, and the way back to a plain layer."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from msr.errors import ConfigError, ShapeError
from msr.layers.plain_weights import take_plain_weight
from msr.modules import AffineModule, PackageModule
from msr.sharing import PathCost, Sharing, SharingFactory

__all__ = ["Path", "ReparamLayer", "check_path"]

Path = Literal["auto", "materialize", "factors"]
_PATHS = ("auto", "materialize", "factors")
# Up to torch 2.6, dynamo cannot be asked whether a comparison of sizes holds for every input that a graph serves.
_IS_OLD = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 7)


class ReparamLayer(AffineModule, PackageModule, ABC):
    """A layer whose weight is ``vec(W) = U v``.

    Attributes: ``sharing`` holds ``U``, learned across tasks; ``v`` is the filter, fitted by each task; ``bias`` is an
    ordinary parameter that each task fits too; ``weight`` is ``W``, made anew at each access.

    ``path`` says how the forward computes. ``"materialize"`` builds ``W`` and calls torch's own operation.
    ``"factors"`` applies the pattern to the data and never builds ``W``, where the pattern can do so: Kronecker
    patterns can, dense and group patterns can in linear layers, and others say so by
    :meth:`~msr.sharing.Sharing.linear_cost` and :meth:`~msr.sharing.Sharing.convolution_cost`. ``"auto"`` (default)
    takes the one with fewer multiplications for the input at hand. The results agree up to rounding. Where a graph is
    exported or compiled for inputs of any size, ``"auto"`` takes the one that is cheaper for large inputs.

    A checkpoint of the plain twin loads too: its weight is projected on the pattern that the layer holds, and a
    ResidualWarning says what that loses.
    """

    sharing: Sharing
    bias: Tensor | None

    def __init__(
        self,
        weight_shape: Sequence[int],
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        sharing: Sharing | SharingFactory,
        generator: torch.Generator | None,
        path: Path,
        *,
        n_bias: int | None = None,
    ):
        super().__init__()
        check_path(path)
        if not isinstance(sharing, Sharing):
            sharing = sharing(weight_shape, device=device, dtype=dtype, generator=generator)
        if sharing.weight_shape != tuple(weight_shape):
            raise ShapeError(
                f"the sharing pattern makes a weight {sharing.weight_shape}, but this layer needs {tuple(weight_shape)}"
            )
        self.sharing = sharing
        self.path = path
        like = sharing.squared_norm()
        if (dtype or like.dtype) != like.dtype or torch.device(device or like.device).type != like.device.type:
            raise ConfigError(
                f"the layer is to be {dtype or like.dtype} on {device or like.device}, but the sharing pattern is "
                f"{like.dtype} on {like.device}; convert one of them"
            )
        self.v = nn.Parameter(torch.empty(sharing.filter_shape, device=like.device, dtype=like.dtype))
        if bias:
            self.bias = nn.Parameter(torch.empty(n_bias or weight_shape[0], device=like.device, dtype=like.dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw ``v`` and the bias anew; the sharing pattern stays. Without a generator, torch's global one is used."""
        with torch.no_grad():
            self.v.copy_(self.sharing.initial_filter(generator))
            if self.bias is not None:
                bound = 1 / math.sqrt(self.fan_in)
                self.bias.uniform_(-bound, bound, generator=generator)

    @property
    def fan_in(self) -> int:
        """Torch's ``fan_in``, ``∏ weight_shape[1:]``: the inputs that each output sums over.

        In a transposed convolution these axes belong to the outputs, and torch takes them all the same.
        """
        return math.prod(self.sharing.weight_shape[1:])

    @property
    def weight(self) -> Tensor:
        """``W = reshape(U v)``, in the parameters' own precision even under autocast.

        Shapes: torch's own, ``(out, in / groups, *kernel)``, or ``(in, out / groups, *kernel)`` where it is transposed.
        """
        kind = self.v.device.type
        if kind != "meta" and torch.is_autocast_enabled(kind):
            with torch.autocast(kind, enabled=False):
                return self.sharing.materialize(self.v)
        return self.sharing.materialize(self.v)

    @property
    def shared_bias(self) -> Tensor | None:
        """The bias ``(out,)`` that the layer adds, or None without one.

        Some patterns (:class:`~msr.sharing.GroupSharing`) share its numbers too.
        """
        return None if self.bias is None else self.sharing.share_bias(self.bias)

    def _factor_cost(self) -> PathCost | None:
        """What the pattern's own way costs in this layer, or None where it has none and ``W`` has to be built."""
        return None

    def _takes_factors(self, positions: int) -> bool:
        """Whether to apply the pattern to the data, for an input with that many positions (rows, pixels).

        Raises: ConfigError for ``path="factors"`` where the pattern has no way of its own.
        """
        factors = self._factor_cost()
        if factors is None:
            if self.path == "factors":
                raise ConfigError(
                    f"path='factors' cannot serve this sharing pattern here; use 'auto'. The layer: {self}"
                )
            return False
        if self.path != "auto":
            return self.path == "factors"
        # Each entry of W is used once a position.
        weight = PathCost(self.sharing.n_weight, once=self.sharing.weight_cost())
        cost_factors, cost_weight = (positions * cost.per_position + cost.once for cost in (factors, weight))
        is_less = _known_less(cost_factors, cost_weight)
        # Where the number of positions is open, what counts is the cost of a large input.
        return factors.per_position <= weight.per_position if is_less is None else is_less

    @abstractmethod
    def plain(self, device: torch.device | str | None = None) -> nn.Module:
        """The ``torch.nn`` twin with the same arguments and fresh parameters on ``device``."""

    @torch.no_grad()
    def fold(self) -> nn.Module:
        """The ``torch.nn`` twin with copies of this layer's weight and bias.

        Its mode, and which of its parameters ask for gradients, are as here; the weight asks where the filter or
        pattern does.
        """
        twin = self.plain(device="meta")
        learns = self.v.requires_grad or any(p.requires_grad for p in self.sharing.parameters())
        twin.weight = nn.Parameter(self.weight.contiguous().clone(), requires_grad=learns)
        added = self.shared_bias
        if self.bias is not None and added is not None:
            twin.bias = nn.Parameter(added.clone(), requires_grad=self.bias.requires_grad)
        return twin.train(self.training)

    def _residual_at(self, v: Tensor, weight: Tensor, bias: Tensor | None) -> float:
        """The relative residual of a plain layer's weight and bias when this layer has the filter ``v``.

        Its unit and range are those of :meth:`~msr.sharing.Sharing.residual`.
        """
        return self.sharing.residual_at(v, weight, bias)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load a state; a plain weight in it is first replaced, in the state too, by its projection on the pattern."""
        errors: list[str] = args[-1]
        take_plain_weight(state_dict, f"{prefix}weight", f"{prefix}v", f"{prefix}sharing.", self.sharing, errors)
        super()._load_from_state_dict(state_dict, prefix, *args)


def check_path(path: str) -> None:
    """Raise ConfigError for a ``path`` that is not one of the three."""
    if path not in _PATHS:
        raise ConfigError(f"path must be one of {', '.join(_PATHS)}; got {path!r}")


def _known_less(a: int, b: int) -> bool | None:
    """``a < b``, or None where that depends on sizes that a graph leaves open while it is traced.

    A branch on such a size would fix the size in the graph, or bound it.
    """
    if not torch.compiler.is_compiling() and isinstance(a, int):
        return a < b
    if _IS_OLD and torch.compiler.is_dynamo_compiling():
        return None
    try:
        from torch.fx.experimental.symbolic_shapes import statically_known_true
    except ImportError:  # the function is not public, so a later torch may lack it
        return None
    if statically_known_true(a < b):
        return True
    return False if statically_known_true(a >= b) else None
