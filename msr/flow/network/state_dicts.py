"""The weights of a user's own model, read from its ``state_dict`` by names."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from msr.errors import ConfigError, DataError, ShapeError
from msr.flow.arguments import token_count, word_of
from msr.flow.dynamics.mlp import real_tensor
from msr.flow.network.block_weights import BlockWeights, Placement
from msr.flow.network.heads import heads_of
from msr.flow.network.parts import FeedForward, TokenNorm
from msr.flow.network.state_names import STATE_NAMES, StateNames

__all__ = ["read_state"]


def read_state(
    state: Mapping[str, Any],
    names: StateNames | str,
    heads: int,
    *,
    placement: Placement,
    prefix: str = "",
    activation: str = "relu",
    norm: TokenNorm | Literal["layer", "rms"] = "layer",
) -> tuple[BlockWeights, ...]:
    """The blocks of a model, from its ``state_dict``: nothing of the model is run.

    What is told by no weight is for the caller to say: how many heads, where the norms are, the activation. What else
    a model does with its weights (positions that turn queries and keys, windows, gates of the network) is not seen:
    compare :meth:`BlockWeights.layer` with the model once. Entries of a block that the names do not name are listed in
    ``unread``, and count as dropped.

    Args:
        state: names and tensors, or arrays.
        names: where the weights are: :class:`StateNames`, or ``torch``, ``gpt2`` or ``bert``.
        heads: how many the queries have. Keys and values may have fewer, each for as many queries.
        placement: ``post``, ``pre`` or ``none``.
        prefix: of all names, such as ``transformer.``.
        activation: of the network.
        norm: ``layer`` for LayerNorm, ``rms`` for RMSNorm, or a :class:`TokenNorm` whose ε and kind are taken. The ε of
            the words is 1e-5.

    Shapes: weights ``(out, in)`` of tokens of ``d`` numbers, or ``(in, out)`` where the names say transposed.
    Raises: ConfigError for names or words that there are not; DataError for an entry that is missing, also that of a
    block before others, and for one that holds no real numbers; ShapeError for one that does not fit; NonFiniteError.
    """
    if isinstance(names, str):
        names = STATE_NAMES[word_of(names, "names", tuple(STATE_NAMES))]
    heads = token_count(heads, "heads")
    word_of(placement, "placement", ("post", "pre", "none"))
    like = (
        norm if isinstance(norm, TokenNorm) else TokenNorm(centred=word_of(norm, "norm", ("layer", "rms")) == "layer")
    )
    if placement != "none" and names.attention_norm is None:
        raise ConfigError(f"placement={placement!r} needs names of the norms, attention_norm and feedforward_norm")
    entries = _Entries(state, prefix, names.transposed)
    if not names.is_numbered:
        return (_block(entries, names, "", heads, placement, activation, like),)
    first = names.qkv or names.q or ""
    blocks: list[BlockWeights] = []
    while entries.has(first.format(len(blocks))):
        blocks.append(_block(entries, names, str(len(blocks)), heads, placement, activation, like))
    if not blocks:
        raise DataError(entries.missing(first.format(0)))
    later = entries.numbers(first)
    if later and max(later) >= len(blocks):
        # A block without its weight would end the reading, and what comes after it be lost without a word.
        raise DataError(f"{entries.missing(first.format(len(blocks)))}; a block {max(later)} is there")
    return tuple(blocks)


class _Entries:
    """A state and the names that were read of it."""

    def __init__(self, state: Mapping[str, Any], prefix: str, transposed: bool) -> None:
        if not isinstance(state, Mapping):
            raise DataError(f"state must map names to tensors, as a state_dict does; got a {type(state).__name__}")
        self._state = state
        self._prefix = prefix
        self._transposed = transposed
        self._read: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether a layer or a weight of this name is there."""
        return self._weight_name(name) is not None

    def layer(self, name: str) -> tuple[Tensor, Tensor | None]:
        """The weight ``(out, in)`` and the bias ``(out,)`` of a layer. Raises: DataError, ShapeError."""
        weight, bias = self.norm(name)
        if weight is None or weight.ndim != 2:
            shape = None if weight is None else tuple(weight.shape)
            raise ShapeError(f"{self._prefix}{name} must be a matrix; got the shape {shape}")
        weight = weight.mT if self._transposed else weight
        if bias is not None and bias.shape != weight.shape[:1]:
            turned = "; is transposed as it should be?" if bias.shape == weight.shape[1:] else ""
            raise ShapeError(
                f"{self._prefix}{name} has {len(weight)} outputs and a bias of {tuple(bias.shape)}{turned}"
            )
        return weight, bias

    def norm(self, name: str) -> tuple[Tensor | None, Tensor | None]:
        """The weight and the bias of a name as they are. Raises: DataError without a weight."""
        key = self._weight_name(name)
        if key is None:
            raise DataError(self.missing(name))
        stem = key.rpartition("weight")[0]
        return self._tensor(key), self._tensor(f"{stem}bias") if key.endswith("weight") else None

    def numbers(self, name: str) -> list[int]:
        """The numbers for which a name with ``{}`` is there, with or without ``.weight``."""
        stem, _, rest = (self._prefix + name).partition("{}")
        wanted = re.compile(re.escape(stem) + "([0-9]+)" + re.escape(rest) + r"(?:\.weight)?")
        return [int(found[1]) for key in self._state if (found := wanted.fullmatch(str(key)))]

    def missing(self, name: str) -> str:
        """The sentence that a name is not there, with names that look like it."""
        words = set(re.split(r"[._0-9]+", name)) - {""}
        near = sorted(self._state, key=lambda key: (-len(words & set(re.split(r"[._0-9]+", str(key)))), str(key)))
        shown = ", ".join(map(str, near[:4])) or "nothing"
        return f"the state has no {self._prefix}{name}, nor {self._prefix}{name}.weight; it has {shown} …"

    def unread(self, stem: str) -> tuple[str, ...]:
        """The names that begin with a stem and were not read."""
        begin = self._prefix + stem
        return tuple(str(key) for key in self._state if str(key).startswith(begin) and key not in self._read)

    def _weight_name(self, name: str) -> str | None:
        whole = self._prefix + name
        return next((key for key in (f"{whole}.weight", whole) if key in self._state), None)

    def _tensor(self, key: str) -> Tensor | None:
        if key not in self._state:
            return None
        self._read.add(key)
        return real_tensor(self._state[key], key).detach().double().cpu()


def _block(
    entries: _Entries,
    names: StateNames,
    number: str,
    heads: int,
    placement: Placement,
    activation: str,
    like: TokenNorm,
) -> BlockWeights:
    """One block. Raises: DataError, ShapeError, NonFiniteError, ConfigError."""
    named = {key: getattr(names, key) for key in ("q", "k", "v", "qkv", "o", "up", "down")}
    layers = {key: entries.layer(name.format(number)) for key, name in named.items() if name is not None}
    output, output_bias = layers["o"]
    if output.shape[1] % heads:
        raise ShapeError(f"{heads} heads do not divide the {output.shape[1]} numbers that {names.o} takes of them")
    if "qkv" in layers:
        projections, biases = _parted(*layers["qkv"], output.shape[1] // heads, heads, names)
    else:
        projections = [layers[key][0] for key in ("q", "k", "v")]
        biases = [layers[key][1] for key in ("q", "k", "v")]
    _check(projections, output, heads, number)
    network = None
    if "up" in layers:
        (W1, b1), (W2, b2) = layers["up"], layers["down"]
        network = FeedForward(W1, W2, b1, b2, activation)
    norms: dict[str, TokenNorm | None] = {}
    for key in ("attention_norm", "feedforward_norm"):
        name = getattr(names, key)
        needed = placement != "none" and name is not None and (key == "attention_norm" or network is not None)
        gain, shift = entries.norm(name.format(number)) if needed else (None, None)
        norms[key] = replace(like, gain=gain, shift=shift) if needed else None
    stem = names.o.partition("{}")[0] + number + "." if names.is_numbered else ""
    return BlockWeights(
        **heads_of(projections, biases, (output, output_bias), heads)._asdict(),
        feedforward=network,
        placement=placement,
        **norms,  # type: ignore[arg-type]
        name=f"block {number}".strip(),
        unread=entries.unread(stem),
    )


def _parted(
    weight: Tensor, bias: Tensor | None, width: int, heads: int, names: StateNames
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Queries, keys and values of one matrix ``(rows, d)``, and their biases. Raises: ShapeError."""
    rows = len(weight)
    own = heads * width
    if names.by_head:
        if rows != 3 * own:
            raise ShapeError(f"{names.qkv} has {rows} rows; {heads} heads of {width} numbers by head need {3 * own}")
        order = torch.arange(rows).reshape(heads, 3, width).transpose(0, 1).flatten()
        weight = weight[order]
        bias = None if bias is None else bias[order]
    # Fewer keys and values than queries share what is left equally.
    rest = rows - own
    if rest <= 0 or rest % (2 * width):
        raise ShapeError(
            f"{names.qkv} has {rows} rows, which are no queries of {heads} heads of {width} numbers and keys and "
            "values; are the number of heads and transposed as they should be?"
        )
    sizes = [own, rest // 2, rest // 2]
    return list(weight.split(sizes)), [None] * 3 if bias is None else list(bias.split(sizes))


def _check(projections: list[Tensor], output: Tensor, heads: int, number: str) -> None:
    """Raise ShapeError unless queries, keys, values and output fit each other."""
    d, whole = output.shape
    width = whole // heads
    for name, weight, most in zip(("queries", "keys", "values"), projections, (1, heads, heads), strict=True):
        count = len(weight) // width
        if weight.shape[1] != d or len(weight) % width or count == 0 or heads % count or count * most < heads:
            raise ShapeError(
                f"the {name} of block {number or '0'} are {tuple(weight.shape)}; an output {tuple(output.shape)} of "
                f"{heads} heads needs ({whole}, {d}){', or a part of the heads' if most > 1 else ''}"
            )
    if len(projections[1]) != len(projections[2]):
        raise ShapeError(f"there are keys of {len(projections[1])} rows and values of {len(projections[2])}")
