"""Every public function of the flow takes arrays for tensors, and gives the same."""

import pytest
import torch
from torch import nn

from msr.flow import (
    AttentionFlow,
    energy_rate,
    hemisphere_margin,
    hemisphere_pole,
    mean_rate,
    mode_rates,
    noether_matrix,
    on_sphere,
    support_function,
    token_group,
    turning,
    uniform_on_sphere,
)
from msr.flow.network import follow, read_block, read_blocks

FLOW = AttentionFlow(3, beta=2.0)
RAW = AttentionFlow(3, norm="none", step="unproj_rk4")
X = uniform_on_sphere(5, 3, 2, generator=torch.Generator().manual_seed(0))
POLE = X[0, 0]
BIAS = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]], dtype=torch.float64)


def layer():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)


TOKENS = uniform_on_sphere(3, 4, 2, generator=torch.Generator().manual_seed(1))
LAYER = layer()
BLOCK = read_block(LAYER)
ATTENTION = read_block(LAYER.self_attn)

WALK = {
    "velocity": (FLOW.velocity, [X]),
    "slowness": (FLOW.slowness, [X]),
    "flow": (lambda x: FLOW.flow(x, 0.5, 2), [X]),
    "rescaled": (lambda x: RAW.rescaled(x, 0.5, 2), [X]),
    "attention": (FLOW.attention, [X]),
    "log_partition": (FLOW.log_partition, [X]),
    "partition": (FLOW.partition, [X]),
    "energy": (FLOW.energy, [X]),
    "energy_rate": (lambda x: energy_rate(FLOW, x), [X]),
    "noether_matrix": (lambda x: noether_matrix(FLOW, x), [X]),
    "mean_rate": (mean_rate, [X]),
    "hemisphere_margin": (hemisphere_margin, [X, POLE]),
    "hemisphere_pole": (hemisphere_pole, [X[0, :2]]),
    "support_function": (support_function, [X, X[0]]),
    "turning": (turning, [AttentionFlow(2).flow(on_sphere(X[..., :2]), 0.5, 2, path=True)]),
    "on_sphere": (on_sphere, [2 * X]),
    "mode_rates": (lambda k: mode_rates(k, 2.0, 3), [torch.arange(1, 4)]),
    "token_group": (lambda m: torch.tensor(token_group(m).order), [BIAS]),
    "layer": (BLOCK.layer, [TOKENS, BIAS]),
    "tokens": (BLOCK.tokens, [TOKENS]),
    "block's flow": (lambda m: BLOCK.flow(bias=m).velocity(BLOCK.tokens(TOKENS)), [BIAS]),
    "ideal": (lambda m: BLOCK.ideal(bias=m).velocity(on_sphere(TOKENS)), [BIAS]),
    "lifted": (lambda m: ATTENTION.lifted(bias=m).velocity(lifted(TOKENS)), [BIAS]),
    "follow": (lambda x: followed(x), [TOKENS]),
}


def lifted(x):
    return torch.cat([x, torch.ones_like(x[..., :1])], -1)


def followed(x):
    path = follow([LAYER], x, generator=torch.Generator().manual_seed(0), draws=1)
    assert len(read_blocks([LAYER])) == 1
    return torch.as_tensor(path.real.cosine)


@pytest.mark.parametrize("kind", ["array", "list"])
@pytest.mark.parametrize("name", WALK)
def test_arrays_and_lists_give_the_answer_of_tensors(name, kind):
    call, tensors = WALK[name]
    torch.set_default_dtype(torch.float64)  # in which lists of numbers are read
    try:
        wanted = call(*tensors)
        got = call(*[t.numpy() if kind == "array" else t.tolist() for t in tensors])
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)
