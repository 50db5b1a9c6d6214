"""Scores and means: blocks against all at once, torch's fused attention against our own, gradients."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from msr.errors import ConfigError
from msr.flow import AttentionFlow, Mlp, causal_bias, uniform_on_sphere
from msr.flow.dynamics.attention import Scores, fused_applies, log_partition, means, weights

close = partial(torch.testing.assert_close, rtol=0)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def tokens(n, d, batch=None, seed=0):
    return uniform_on_sphere(n, d, batch, generator=torch.Generator().manual_seed(seed))


@given(
    st.integers(0, 10**6),
    st.sampled_from(["sa", "usa"]),
    st.sampled_from([(1, 1, 1), (3, 2, 2), (2, 1, 2), (2, 2, 1)]),
    st.sampled_from([None, (1, 1), (1, "heads"), ("batch", "heads")]),
    st.integers(1, 20_000),
)
@settings(max_examples=12)
def test_blocks_give_what_all_scores_give(seed, kind, sizes, bias, block):
    batch, heads, key_heads = sizes
    n = 70
    heads_of_all = max(heads, key_heads)
    M = None
    if bias is not None:
        named = {"batch": batch, "heads": heads_of_all, 1: 1}
        M = randn(*(named[size] for size in bias), n, n, seed=seed)
        M[..., 0, 1] = -torch.inf
    scores = Scores(randn(batch, heads, n, 2, seed=seed), randn(batch, key_heads, n, 2, seed=seed + 1), M)
    assert scores.shape == (batch, heads_of_all, n)
    values = randn(batch, 1, n, 3, seed=seed + 2)
    all_scores = scores.queries @ scores.keys.mT + (0.0 if M is None else M)
    dense = weights(all_scores, kind) @ values
    close(means(scores, values, kind, block=block, fused=False), dense, atol=1e-12, rtol=1e-12)
    close(log_partition(scores, block), all_scores.logsumexp(-1), atol=1e-12)


def largest_block(flow, X, monkeypatch):
    """The most scores that are made at once by a call."""
    seen = []
    rows = Scores.rows

    def watched(self, batch, some):
        result = rows(self, batch, some)
        seen.append(result.numel())
        return result

    monkeypatch.setattr(Scores, "rows", watched)
    flow(X)
    return max(seen)


@pytest.mark.parametrize("kind", ["sa", "usa"])
def test_4096_tokens_never_make_all_scores(kind, monkeypatch):
    flow = AttentionFlow(3, kind=kind, fused=False, block=2**20)
    X = tokens(4096, 3)
    call = flow.velocity if kind == "sa" else flow.log_partition
    assert largest_block(call, X, monkeypatch) == 2**20


def test_large_batches_of_few_tokens_are_cut_too(monkeypatch):
    X = tokens(10, 3, batch=500)
    flow = AttentionFlow(3, block=1000, fused=False)
    assert largest_block(flow.velocity, X, monkeypatch) == 1000
    close(flow.velocity(X), AttentionFlow(3).velocity(X), atol=1e-14)


@pytest.mark.parametrize(("heads", "k"), [(1, 3), (2, 5), (3, 1)])
def test_fused_attention_gives_the_same_with_its_gradient(heads, k):
    n = 40
    Q, K = randn(heads, k, 3), randn(heads, k, 3, seed=1)
    bias = 0.3 * randn(2, heads, n, n, seed=2)
    beta = torch.tensor([0.5, 2.0], dtype=torch.float64)
    results = []
    for fused in (True, False):
        leaves = [part.clone().requires_grad_() for part in (tokens(n, 3, batch=2), Q, K, beta)]
        X, q, key, b = leaves
        flow = AttentionFlow(3, b, q, key, bias=bias, fused=fused)
        moved = flow.flow(X, 0.3, 3)
        (moved * randn(2, n, 3, seed=3)).sum().backward()
        results.append([moved.detach(), *(leaf.grad for leaf in leaves)])
    for fast, slow in zip(*results, strict=True):
        close(fast, slow, atol=1e-10)


def test_fused_attention_is_torchs_kernel_and_no_other(monkeypatch):
    """A kernel that keeps all scores would have another history."""
    X = tokens(40, 3).requires_grad_()
    scores = Scores(X[None, None], X[None, None])
    result = means(scores, X[None, None], "sa", fused=True)
    names = set()
    stack = [result.grad_fn]
    while stack:
        node = stack.pop()
        names.add(node.name())
        stack += [parent for parent, _ in node.next_functions if parent is not None]
    assert any("FlashAttentionForCpu" in name for name in names)


def test_fused_attention_is_taken_only_where_it_gives_the_same():
    X = tokens(5, 3)[None, None]
    scores = Scores(X, X)
    assert fused_applies(scores, X, "sa")
    assert not fused_applies(scores, X, "usa")
    assert fused_applies(Scores(X, X, randn(1, 1, 5, 5)), X, "sa")
    assert not fused_applies(Scores(X, X, randn(1, 1, 5, 5).requires_grad_()), X, "sa")
    assert not fused_applies(Scores(X, X, causal_bias(5)[None, None]), X, "sa")
    seen = []

    def inside(x):
        seen.append(fused_applies(Scores(x, x), x, "sa"))
        return x.sum()

    torch.func.grad(inside)(X)
    torch.func.jvp(inside, (X,), (X,))
    with torch.autograd.forward_ad.dual_level():
        inside(torch.autograd.forward_ad.make_dual(X, X))
    assert seen == [False, False, False]
    with pytest.raises(ConfigError, match="does not apply"):
        AttentionFlow(3, bias=causal_bias(5), fused=True).velocity(X[0, 0])


def test_large_scores_are_exact_in_both_ways():
    X = tokens(300, 3)
    flow = AttentionFlow(3, 1e4)
    close(replace(flow, fused=True).velocity(X), replace(flow, fused=False).velocity(X), atol=1e-10)


def test_blocks_forget_their_scores_until_the_gradient():
    """Only factors are kept of blocks: what the graph saves is small beside the scores."""
    X = tokens(512, 3).requires_grad_()
    sizes = []

    def packed(tensor):
        sizes.append(tensor.numel())
        return tensor

    flow = AttentionFlow(3, fused=False, block=2**15)
    with torch.autograd.graph.saved_tensors_hooks(packed, lambda tensor: tensor):
        out = flow.velocity(X)
        energy = flow.energy(X)
    assert max(sizes) <= 512 * 3
    (slope,) = torch.autograd.grad(energy, X)
    close(slope, torch.autograd.grad(AttentionFlow(3).energy(X), X)[0], atol=1e-14)
    (own,) = torch.autograd.grad(out.square().sum(), X)
    (dense,) = torch.autograd.grad(AttentionFlow(3, fused=False).velocity(X).square().sum(), X)
    close(own, dense, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [{}, {"kind": "usa"}, {"norm": "peri"}, {"norm": "mix", "tau": 0.15}, {"norm": "none", "step": "unproj_rk4"},
     {"step": "layer", "norm": "ngpt"}],
    ids=str,
)  # fmt: skip
def test_gradients_of_the_flow(options):
    X = tokens(3, 2, batch=2)
    parts = (
        X,
        torch.tensor([0.7, 1.1]).double(),
        randn(2, 2),
        randn(2, 2, seed=1),
        0.5 * randn(2, 2, seed=2),
        randn(3, 3),
    )

    def moved(x, beta, Q, K, V, bias):
        return AttentionFlow(2, beta, Q, K, V, bias, **options).flow(x, 0.3, 2)

    assert gradcheck(moved, [part.clone().requires_grad_() for part in parts], fast_mode=True)


def test_gradients_through_adaptive_steps_are_those_of_fixed_ones():
    """Also where the field depends on the time, which shows a gradient that goes through the sizes of steps."""
    X = tokens(3, 2)
    gradients = []
    for options in ({"step": "adaptive"}, {"step": "rk4"}):
        leaves = [X.clone().requires_grad_(), torch.eye(2, dtype=torch.float64).requires_grad_()]
        flow = AttentionFlow(2, V=leaves[1], norm="sqrt", **options)
        moved = flow.flow(leaves[0], 1.0, 1 if flow.step == "adaptive" else 40)
        gradients.append(torch.autograd.grad(moved[:, 0].sum(), leaves))
    for own, fixed in zip(*gradients, strict=True):
        close(own, fixed, atol=1e-7)


def test_gradients_of_velocity_energy_partition_and_network():
    X = tokens(3, 2).requires_grad_()
    W = [randn(4, 2).requires_grad_(), randn(2, 4, seed=1).requires_grad_(), randn(4, seed=2).requires_grad_()]
    beta = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x, *w: AttentionFlow(2, mlp=Mlp(*w)).velocity(x), (X, *W))
    for name in ("energy", "partition", "attention", "velocity"):
        assert gradcheck(lambda x, b, name=name: getattr(AttentionFlow(2, b), name)(x), (X, beta))
    # Without grad_outputs the check would draw some from torch's global generator.
    assert gradgradcheck(lambda x, b: AttentionFlow(2, b).velocity(x), (X, beta), randn(3, 2).requires_grad_())
    (of_x,) = torch.autograd.grad(AttentionFlow(2).energy(X), X)
    velocity = AttentionFlow(2, kind="usa").velocity(X)
    tangent = of_x - (of_x * X).sum(-1, keepdim=True) * X
    close(velocity, 3 * tangent, atol=1e-12)


def test_function_transforms_agree_with_plain_gradients():
    X = tokens(3, 2)
    flow = AttentionFlow(2, norm="pre")
    moved = lambda x: flow.flow(x, 0.3, 2)  # noqa: E731
    plain = torch.autograd.functional.jacobian(moved, X)
    close(torch.func.jacrev(moved)(X), plain, atol=1e-13)
    close(torch.func.jacfwd(moved)(X), plain, atol=1e-13)
    X = tokens(3, 2, batch=4)
    close(torch.func.vmap(moved)(X), moved(X), atol=1e-14)
    of_V = torch.func.grad(lambda V: AttentionFlow(2, V=V).flow(X, 0.3, 2)[..., 0].sum())(randn(2, 2))
    V = randn(2, 2).requires_grad_()
    (plain,) = torch.autograd.grad(AttentionFlow(2, V=V).flow(X, 0.3, 2)[..., 0].sum(), V)
    close(of_V, plain, atol=1e-13)
