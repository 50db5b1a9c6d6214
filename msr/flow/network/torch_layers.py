"""The weights of torch's own layers, read head by head."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from msr.errors import ModelError
from msr.flow.network.block_weights import BlockWeights
from msr.flow.network.heads import HeadWeights, heads_of
from msr.flow.network.parts import ACTIVATIONS, FeedForward, TokenNorm, activation_name

__all__ = ["Layer", "layers_of", "read_block", "read_blocks"]

Layer = nn.TransformerEncoderLayer | nn.MultiheadAttention | BlockWeights


def layers_of(network: Any) -> list[Layer]:
    """The layers of a network in their order: of an encoder, a layer alone, or a list of layers or blocks.

    Raises: ModelError for anything else, and for no layer at all.
    """
    if isinstance(network, nn.TransformerEncoder):
        network = network.layers
    if isinstance(network, (nn.TransformerEncoderLayer, nn.MultiheadAttention, BlockWeights)):
        return [network]
    if not isinstance(network, (Sequence, nn.ModuleList, nn.Sequential)) or isinstance(network, (str, bytes)):
        raise ModelError(
            "a TransformerEncoder, a TransformerEncoderLayer, a MultiheadAttention, a BlockWeights or a list of these "
            f"is needed; got a {type(network).__name__}; read other models by their state_dict, with read_state"
        )
    layers = list(network)
    if not layers:
        raise ModelError("the network has no layer; give at least one")
    for place, layer in enumerate(layers):
        if not isinstance(layer, (nn.TransformerEncoderLayer, nn.MultiheadAttention, BlockWeights)):
            raise ModelError(
                f"layer {place} is a {type(layer).__name__}; TransformerEncoderLayer, MultiheadAttention and "
                "BlockWeights can be read; read other models by their state_dict, with read_state"
            )
    return layers


def read_blocks(network: Any) -> tuple[BlockWeights, ...]:
    """The weights of each layer of a network: see :func:`read_block`, and :func:`layers_of` for what is a network."""
    return tuple(read_block(layer, f"layer {place}") for place, layer in enumerate(layers_of(network)))


def read_block(layer: Layer, name: str = "layer") -> BlockWeights:
    """The weights of a layer of torch as float64: :class:`~msr.flow.network.BlockWeights`.

    An attention alone stands for the residual block ``x + attention(x)``, without a norm. Dropout plays no part.
    Raises: ModelError for keys or values of another length than queries, for tokens that attention adds by itself, and
    for an activation or a norm that is not known.
    """
    if isinstance(layer, BlockWeights):
        return layer
    if isinstance(layer, nn.MultiheadAttention):
        return BlockWeights(**_attention(layer, name)._asdict(), name=name)
    if not isinstance(layer, nn.TransformerEncoderLayer):
        raise ModelError(f"{name} is a {type(layer).__name__}, which cannot be read; see read_state")
    activation = activation_name(layer.activation)
    if activation is None:
        raise ModelError(
            f"{name} has an activation of its own, {layer.activation!r}; known are {', '.join(ACTIVATIONS)}"
        )
    network = FeedForward(
        layer.linear1.weight, layer.linear2.weight, layer.linear1.bias, layer.linear2.bias, activation
    )  # fmt: skip
    return BlockWeights(
        **_attention(layer.self_attn, name)._asdict(),
        feedforward=network,
        placement="pre" if layer.norm_first else "post",
        attention_norm=_norm(layer.norm1, f"{name}.norm1"),
        feedforward_norm=_norm(layer.norm2, f"{name}.norm2"),
        name=name,
    )


def _attention(attention: nn.MultiheadAttention, name: str) -> HeadWeights:
    """Q, K, V, the queries' bias and the constant. Raises: ModelError."""
    if attention.bias_k is not None or attention.bias_v is not None or attention.add_zero_attn:
        raise ModelError(
            f"{name} adds a key and a value of its own (add_bias_kv, add_zero_attn), which is a token that does not "
            "move; read attention without it"
        )
    d = attention.embed_dim
    if attention.in_proj_weight is not None:
        projections = attention.in_proj_weight.detach().double().cpu().split(d)
    else:
        given = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
        projections = tuple(weight.detach().double().cpu() for weight in given if weight is not None)
        if any(weight.shape != (d, d) for weight in projections):
            raise ModelError(
                f"{name} has keys of {attention.kdim} and values of {attention.vdim} numbers, and queries of {d}: it "
                "looks at other tokens than it moves"
            )
    biases = attention.in_proj_bias
    parts = None if biases is None else biases.detach().double().cpu().split(d)
    output = attention.out_proj
    return heads_of(
        projections,
        parts,
        (output.weight.detach().double().cpu(), None if output.bias is None else output.bias.detach().double().cpu()),
        attention.num_heads,
    )


def _norm(module: nn.Module, name: str) -> TokenNorm:
    """A norm of torch. Raises: ModelError for any but LayerNorm and RMSNorm."""
    rms = getattr(nn, "RMSNorm", None)
    if isinstance(module, nn.LayerNorm):
        return TokenNorm(module.weight, module.bias, module.eps)
    if rms is not None and isinstance(module, rms):
        dtype = torch.float64 if module.weight is None else module.weight.dtype
        eps = module.eps if module.eps is not None else torch.finfo(dtype).eps
        return TokenNorm(module.weight, None, float(eps), centred=False)
    raise ModelError(f"{name} is a {type(module).__name__}; LayerNorm and RMSNorm can be read")
