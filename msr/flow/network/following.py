"""The tokens of a real network by depth, beside the flows of its own weights, of theory, and of random weights."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from msr.arrays import takes_arrays
from msr.errors import ConfigError, ModelError, NonFiniteError, ShapeError, listed
from msr.flow.arguments import token_batch, token_count
from msr.flow.clustering.clusters import cluster_counts, mean_cosine
from msr.flow.dynamics.attention_flow import AttentionFlow
from msr.flow.dynamics.masks import causal_bias
from msr.flow.network.block_weights import BlockWeights
from msr.flow.network.depth import DepthCurve, NetworkPath
from msr.flow.network.torch_layers import Layer, layers_of, read_block
from msr.memory import refuse_if_larger
from msr.modules import copied

__all__ = ["follow"]

_STEPS = 40
"""Steps of a layer without a norm, whose speed has no bound."""
_ALIKE = 1e-6
"""How far a layer may be from what its weights say, relative to its largest number, in double precision: far above
rounding, and far below any part that was left out."""


@takes_arrays("X")
def follow(
    network: Any,
    X: Tensor,
    *,
    generator: torch.Generator,
    draws: int = 4,
    tol: float = 1e-3,
    causal: bool = False,
) -> NetworkPath:
    """The tokens of a real network by depth: how near they come, beside what the flow says of the same weights.

    Modules run as copies in double precision, in evaluation mode, so that dropout plays no part, and without gradients.
    Each is compared with what its weights say, so that nothing that a layer does otherwise goes unseen. An encoder's
    last norm, which no layer follows, is left out, and so are embeddings.

    What is compared are cosines of the tokens that a norm sees, before its gain and shift: without their means for
    LayerNorm, as they are for RMSNorm and without a norm. What the flows do not have of the layers is in ``notes``; see
    :meth:`BlockWeights.flow` for what a layer and a step of a flow have in common.

    Args:
        network: a ``TransformerEncoder``, one layer, or a list of ``TransformerEncoderLayer``, ``MultiheadAttention``
            (as ``x + attention(x)``) or :class:`BlockWeights`, such as those of :func:`read_state`.
        X: tokens as the first layer gets them.
        generator: of the random weights.
        draws: how many random networks.
        tol: as for :func:`~msr.flow.clustering.clusters.cluster_counts`.
        causal: whether tokens see earlier ones alone.

    Shapes: ``X (n, d)`` or ``(batch, n, d)``.
    Raises: ModelError for a layer that cannot be read, or does something else than its weights say; ShapeError for
    tokens or layers that do not fit; ConfigError; DataError for a token without a direction, or too little memory;
    NonFiniteError where tokens grow out of the numbers.
    """
    draws = token_count(draws, "draws")
    tokens = token_batch(X).detach().cpu().double()
    modules = [layer if isinstance(layer, BlockWeights) else _in_double(layer) for layer in layers_of(network)]
    blocks = tuple(read_block(module, f"layer {place}") for place, module in enumerate(modules))
    _check(blocks, tokens)
    bias = causal_bias(tokens.shape[1]) if causal else None
    start = blocks[0].tokens(tokens)
    with torch.no_grad():
        real = _through([_module(*pair, bias) for pair in zip(modules, blocks, strict=True)], tokens)
        own = _through([_flow(block.flow(bias=bias)) for block in blocks], start)
        ideal = _through([_flow(block.ideal(bias=bias)) for block in blocks], start)
        random = [
            _through([partial(block.drawn_like(generator).layer, bias=bias) for block in blocks], tokens)
            for _ in range(draws)
        ]
        real, *random = ([blocks[0].tokens(points) for points in path] for path in (real, *random))
    return NetworkPath(
        real=_curve(real, tol),
        own=_curve(own, tol),
        ideal=_curve(ideal, tol),
        random=_joined([_curve(path, tol) for path in random]),
        tol=float(tol),
        blocks=blocks,
        notes=_notes(blocks, tokens),
    )


def _through(steps: Sequence[Callable[[Tensor], Tensor]], tokens: Tensor) -> list[Tensor]:
    """The tokens before the first step and after each. Raises: NonFiniteError where they leave the numbers."""
    kept = [tokens]
    for depth, step in enumerate(steps):
        kept.append(step(kept[-1]))
        if not bool(torch.isfinite(kept[-1]).all()):
            raise NonFiniteError(f"tokens are not finite after layer {depth}: without a norm they can grow so far")
    return kept


def _flow(flow: AttentionFlow) -> Callable[[Tensor], Tensor]:
    """The way of tokens in a time of 1."""
    return lambda tokens: flow.flow(tokens, 1.0, _STEPS if flow.norm == "none" else "safe")


def _module(layer: Layer, block: BlockWeights, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    """The way of tokens through a layer of torch, which is compared with its weights."""
    if isinstance(layer, BlockWeights):
        return partial(layer.layer, bias=bias)

    def step(tokens: Tensor) -> Tensor:
        attention = layer if isinstance(layer, nn.MultiheadAttention) else layer.self_attn
        X = tokens if attention.batch_first else tokens.transpose(0, 1)
        if isinstance(layer, nn.MultiheadAttention):
            result = X + layer(X, X, X, need_weights=False, attn_mask=bias)[0]
        else:
            result = layer(X, src_mask=bias)
        result = result if attention.batch_first else result.transpose(0, 1)
        wanted = block.layer(tokens, bias)
        off = float((result - wanted).abs().max() / wanted.abs().max())
        # A nan passes, to be named with its depth.
        if off > _ALIKE:
            raise ModelError(
                f"{block.name} gives something else than its weights say, by {off:.1e} of its largest number: has it a "
                "forward or a hook of its own? Read its weights by read_state, and follow those"
            )
        return result

    return step


def _in_double(layer: nn.Module) -> Any:
    """A copy of a layer in double precision on the CPU, in evaluation mode."""
    return copied(layer).to(device="cpu", dtype=torch.float64).eval()


def _check(blocks: Sequence[BlockWeights], tokens: Tensor) -> None:
    """Raise ShapeError or ConfigError unless all layers and the tokens fit; DataError for too little memory."""
    first = blocks[0]
    batch, n, d = tokens.shape
    if d != first.d:
        raise ShapeError(f"the first layer takes tokens of {first.d} numbers; X has {d}")
    for place, block in enumerate(blocks):
        if block.d != first.d:
            raise ShapeError(f"layer {place} takes tokens of {block.d} numbers, and layer 0 of {first.d}")
        if block.placement != first.placement or block.centred != first.centred:
            raise ConfigError(
                f"layer {place} has its norm elsewhere than layer 0, or of another kind ({block.placement}, "
                f"{first.placement}): they move different tokens; follow them apart"
            )
    heads = max(block.heads for block in blocks)
    refuse_if_larger(32.0 * batch * heads * n * max(n, d), "the attention of all tokens", advice="give fewer tokens")


def _curve(path: Sequence[Tensor], tol: float) -> DepthCurve:
    """Mean cosines and clusters of tokens at each depth."""
    return DepthCurve(
        torch.stack([mean_cosine(tokens) for tokens in path]),
        torch.stack([cluster_counts(tokens, tol) for tokens in path]),
    )


def _joined(curves: Sequence[DepthCurve]) -> DepthCurve:
    """Several curves as one, with their batches one after the other."""
    return DepthCurve(torch.cat([c.cosine for c in curves], 1), torch.cat([c.clusters for c in curves], 1))


def _notes(blocks: Sequence[BlockWeights], tokens: Tensor) -> tuple[str, ...]:
    """What is compared and what is not."""
    block = blocks[0]
    notes = [
        "a layer is compared with a time of 1 of a continuous flow: its own steps are as long as that",
        "cosines are of tokens without their means" if block.centred else "cosines are of the tokens as they are",
    ]
    if block.placement == "post":
        norms = torch.linalg.vector_norm(block.attention_norm.seen(tokens), dim=-1)  # type: ignore[union-attr]
        usual = block.d**0.5
        low, high = norms.aminmax()
        if max(float(high) - usual, usual - float(low)) > 0.01 * usual:
            notes.append(
                f"the flows begin with directions; the first layer gets norms of {float(low):.3g} to "
                f"{float(high):.3g}, and not of √d = {usual:.3g}"
            )
    said: dict[str, tuple[str, list[int]]] = {}
    for place, block in enumerate(blocks):
        for sentence in block.dropped:
            # Sizes differ from layer to layer: the first one stands for all, as a line for each would be hard to read.
            said.setdefault(sentence.partition(",")[0], (sentence, []))[1].append(place)
    for sentence, places in said.values():
        where = "all layers" if len(places) == len(blocks) else f"layers {listed(places)}"
        size = f" (in layer {places[0]})" if len(places) > 1 and "," in sentence else ""
        notes.append(f"not in the flow of {where}: {sentence}{size}")
    return tuple(notes)
