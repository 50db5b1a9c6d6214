"""Real layers: their weights against torch's own output, steps of the flow that are layers, and tokens by depth."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from msr.errors import ConfigError, DataError, ModelError, NonFiniteError, ShapeError
from msr.flow import AttentionFlow, causal_bias
from msr.flow.network import (
    BlockWeights,
    FeedForward,
    StateNames,
    TokenNorm,
    follow,
    read_block,
    read_blocks,
    read_state,
)

close = partial(torch.testing.assert_close, rtol=0, atol=1e-10)
D, HEADS, WIDTH = 12, 3, 20


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=seeded(seed))


def filled(module, seed=0, *, gains=True):
    """The module in double precision, with all parameters drawn, gains near 1."""
    module = module.double().eval()
    generator = seeded(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if "norm" in name:
                parameter.copy_((name.endswith("weight")) + gains * 0.2 * drawn)
            else:
                parameter.copy_(drawn / 4)
    return module


def built(kind, **options):
    """A module of torch, which is drawn from torch's global generator when it is made; that is put back."""
    with torch.random.fork_rng(devices=[]):
        return kind(**options)


def layer(seed=0, *, gains=True, **options):
    options = {"d_model": D, "nhead": HEADS, "dim_feedforward": WIDTH, "batch_first": True, **options}
    return filled(built(nn.TransformerEncoderLayer, **options), seed, gains=gains)


def attention(seed=0, **options):
    options = {"embed_dim": D, "num_heads": HEADS, "batch_first": True, **options}
    return filled(built(nn.MultiheadAttention, **options), seed)


def encoder(depth=3, *, seed=0, **options):
    whole = nn.ModuleList(layer(seed + place, **options) for place in range(depth))
    return list(whole)


# --- weights, against torch's own output ------------------------------------------------------------------------


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu", nn.GELU(approximate="tanh"), torch.tanh])
def test_the_block_gives_what_torchs_layer_gives(norm_first, bias, activation):
    module = layer(norm_first=norm_first, bias=bias, activation=activation)
    X = randn(2, 5, D, seed=1)
    block = read_block(module)
    with torch.no_grad():
        close(block.layer(X), module(X))
        mask = causal_bias(5)
        close(block.layer(X, mask), module(X, src_mask=mask))
    assert block.heads == HEADS
    assert block.beta == pytest.approx((D / HEADS) ** -0.5)


def test_attention_of_each_head_in_formulas():
    module = attention(bias=False)
    block = read_block(module)
    X = randn(4, D, seed=1)
    width = D // HEADS
    wanted = X.clone()
    for h in range(HEADS):
        rows = slice(h * width, (h + 1) * width)
        q, k, v = (w[rows] for w in module.in_proj_weight.detach().split(D))
        weights = torch.softmax(width**-0.5 * (X @ q.mT) @ (X @ k.mT).mT, -1)
        wanted += weights @ X @ (module.out_proj.weight.detach()[:, rows] @ v).mT
    close(block.layer(X), wanted)


def test_the_keys_bias_plays_no_part():
    module = attention()
    before = read_block(module).layer(randn(4, D, seed=1))
    with torch.no_grad():
        module.in_proj_bias[D : 2 * D] += 3
        X = randn(1, 4, D, seed=1)
        close((X + module(X, X, X)[0])[0], before)


def test_keys_apart_of_the_same_size_are_read():
    module = attention(kdim=D + 1)
    with pytest.raises(ModelError, match="keys of 13"):
        read_block(module)
    apart = attention()
    apart._qkv_same_embed_dim = False
    weights = apart.in_proj_weight.detach().split(D)
    for name, weight in zip("qkv", weights, strict=True):
        apart.register_parameter(f"{name}_proj_weight", nn.Parameter(weight))
    apart.register_parameter("in_proj_weight", None)
    X = randn(2, 4, D, seed=1)
    with torch.no_grad():
        close(read_block(apart).layer(X), X + apart(X, X, X)[0])


# --- layers that are steps of the flow --------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), h=st.floats(0.01, 2), heads=st.sampled_from([1, 2, 3]))
def test_attention_alone_is_a_step_of_the_raw_flow(seed, h, heads):
    """``x + h attention(x)``, without biases."""
    module = attention(seed, num_heads=heads, bias=False)
    X = randn(2, 5, D, seed=seed + 1)
    flow = read_block(module).flow(step="layer")
    assert flow.norm == "none"
    with torch.no_grad():
        close(flow.flow(X, h, 1), X + h * module(X, X, X)[0])


def test_biases_are_lifted_into_a_further_number():
    module = attention()
    block = read_block(module)
    X = randn(2, 5, D, seed=1)
    ones = X.new_ones(2, 5, 1)
    with torch.no_grad():
        wanted = X + 0.3 * module(X, X, X)[0]
    close(block.lifted().flow(torch.cat([X, ones], -1), 0.3, 1), torch.cat([wanted, ones], -1))
    # Without it the queries' bias is lost, and said to be.
    assert (block.flow(step="layer").flow(X, 0.3, 1) - wanted).abs().max() > 1e-3
    assert any("bias of queries" in sentence for sentence in block.dropped)
    with torch.no_grad():
        module.in_proj_bias[:D] = 0
        wanted = X + 0.3 * module(X, X, X)[0]
    close(read_block(module).flow(step="layer").flow(X, 0.3, 1), wanted)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("norm_first", [True, False])
def test_a_whole_layer_is_two_steps_of_flows(norm_first, causal):
    """Attention, then the network: gains and shifts are anything before, and 1 and 0 after; an ε of 0."""
    module = layer(norm_first=norm_first, gains=norm_first, layer_norm_eps=0.0)
    with torch.no_grad():
        # The queries' bias and what the norm's shift adds to it, together 0.
        shift = module.norm1.bias if norm_first else torch.zeros(D, dtype=torch.float64)
        module.self_attn.in_proj_bias[:D] = -module.self_attn.in_proj_weight[:D] @ shift
    block = read_block(module)
    bias = causal_bias(6) if causal else None
    X = randn(2, 6, D, seed=1)
    X = X if norm_first else nn.functional.layer_norm(X, (D,), eps=0.0)
    tokens = block.flow("attention", step="layer", bias=bias).flow(block.tokens(X), 1.0, 1)
    tokens = block.flow("feedforward", step="layer").flow(tokens, 1.0, 1)
    with torch.no_grad():
        close(tokens, block.tokens(module(X, src_mask=bias)))
    assert [sentence.partition(",")[0] for sentence in block.dropped] == [
        "the order of attention and network: one after the other in a layer"
    ]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda m: m.norm1.bias.data.add_(0.3), "the bias of queries"),
        (lambda m: m.self_attn.in_proj_bias.data[:D].add_(0.3), "the bias of queries"),
        (lambda m: setattr(m.norm1, "eps", 0.1), "the ε of the norms"),
    ],
)
def test_what_is_dropped_is_said_and_is_what_makes_the_difference(spoil, sentence):
    module = layer(norm_first=True, layer_norm_eps=0.0)
    with torch.no_grad():
        module.self_attn.in_proj_bias[:D] = 0
        module.norm1.bias.zero_()
    X = randn(2, 6, D, seed=1)

    def off():
        block = read_block(module)
        tokens = block.flow("attention", step="layer").flow(block.tokens(X), 1.0, 1)
        tokens = block.flow("feedforward", step="layer").flow(tokens, 1.0, 1)
        with torch.no_grad():
            return float((tokens - block.tokens(module(X))).abs().max()), " ".join(block.dropped)

    before, says = off()
    assert before < 1e-10
    assert sentence not in says
    spoil(module)
    after, says = off()
    assert after > 1e-4
    assert sentence in says


def test_gains_after_attention_and_another_activation_are_said():
    block = read_block(layer(activation="gelu"))
    text = " ".join(block.dropped)
    assert "gain of the attention's norm" in text
    assert "shift of the network's norm" in text
    assert "activation is gelu" in text
    assert "bias of queries" in text
    assert block.flow().mlp is not None  # the constant of attention is there still
    with pytest.raises(ConfigError, match="relu networks"):
        block.flow("feedforward")
    with pytest.raises(ConfigError, match="no network"):
        read_block(attention()).flow("feedforward")


def test_the_flow_of_both_is_where_small_steps_of_the_halves_go():
    block = read_block(layer(norm_first=True, layer_norm_eps=0.0))
    tokens = block.tokens(randn(5, D, seed=1))
    whole = block.flow().flow(tokens, 1.0, 20)
    errors = []
    halves = [block.flow(part, step="layer") for part in ("attention", "feedforward")]
    for steps in (20, 40):
        moved = tokens
        for _ in range(steps):
            for half in halves:
                moved = half.flow(moved, 1 / steps, 1)
        errors.append(float((moved - whole).abs().max()))
    assert errors[1] < 0.6 * errors[0] < 0.1


# --- weights of a user's own model ------------------------------------------------------------------------------


def plain_state(depth=2):
    modules = encoder(depth, norm_first=True, activation="gelu")
    return modules, {f"layers.{i}.{key}": value for i, m in enumerate(modules) for key, value in m.state_dict().items()}


def test_torchs_own_names_give_what_the_modules_give():
    modules, state = plain_state()
    blocks = read_state(state, "torch", HEADS, placement="pre", activation="gelu")
    X = randn(2, 5, D, seed=3)
    assert len(blocks) == 2
    for block, module in zip(blocks, modules, strict=True):
        with torch.no_grad():
            close(block.layer(X), module(X))
        assert block.unread == ()
    arrays = {f"net.{key}": value.numpy() for key, value in state.items()}
    again = read_state(arrays, "torch", HEADS, placement="pre", activation="gelu", prefix="net.")
    close(again[1].V, blocks[1].V)


def test_gpt2s_transposed_weights():
    """Its own formulas: ``x W + b`` with ``W (in, out)``, queries, keys and values in one matrix."""
    names = ("attn.c_attn", 3 * D, D), ("attn.c_proj", D, D), ("mlp.c_fc", 4 * D, D), ("mlp.c_proj", D, 4 * D)
    state = {}
    for seed, (name, outputs, inputs) in enumerate(names):
        state[f"h.0.{name}.weight"] = randn(inputs, outputs, seed=seed) / 4
        state[f"h.0.{name}.bias"] = randn(outputs, seed=seed + 10) / 4
    for seed, name in enumerate(("ln_1", "ln_2")):
        state[f"h.0.{name}.weight"] = 1 + randn(D, seed=seed + 20) / 4
        state[f"h.0.{name}.bias"] = randn(D, seed=seed + 30) / 4
    state["h.0.attn.bias"] = torch.ones(1, 1, 8, 8).tril()
    (block,) = read_state(state, "gpt2", HEADS, placement="pre", activation="gelu_tanh")
    x = randn(6, D, seed=40)

    def norm(x, name):
        return nn.functional.layer_norm(x, (D,), state[f"h.0.{name}.weight"], state[f"h.0.{name}.bias"])

    def linear(x, name):
        return x @ state[f"h.0.{name}.weight"] + state[f"h.0.{name}.bias"]

    all_heads = linear(norm(x, "ln_1"), "attn.c_attn").split(D, -1)
    q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(0, 1) for part in all_heads)
    weights = torch.softmax(q @ k.mT / (D / HEADS) ** 0.5 + causal_bias(6), -1)
    wanted = x + linear((weights @ v).transpose(0, 1).flatten(1), "attn.c_proj")
    hidden = nn.functional.gelu(linear(norm(wanted, "ln_2"), "mlp.c_fc"), approximate="tanh")
    wanted = wanted + linear(hidden, "mlp.c_proj")
    close(block.layer(x, causal_bias(6)), wanted)
    assert block.unread == ("h.0.attn.bias",)
    assert any("h.0.attn.bias" in sentence for sentence in block.dropped)


def test_berts_names_by_a_post_norm_layer_of_torch():
    module = layer(activation="gelu", layer_norm_eps=1e-12)
    own = module.state_dict()
    stem = "bert.encoder.layer.0."
    state = {}
    for key in ("weight", "bias"):
        parts = own[f"self_attn.in_proj_{key}"].split(D)
        for name, part in zip(("query", "key", "value"), parts, strict=True):
            state[f"{stem}attention.self.{name}.{key}"] = part
        pairs = {
            "self_attn.out_proj": "attention.output.dense",
            "norm1": "attention.output.LayerNorm",
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
            "norm2": "output.LayerNorm",
        }
        for old, new in pairs.items():
            state[f"{stem}{new}.{key}"] = own[f"{old}.{key}"]
    (block,) = read_state(
        state, "bert", HEADS, placement="post", prefix="bert.", activation="gelu", norm=TokenNorm(eps=1e-12)
    )
    X = randn(2, 5, D, seed=3)
    with torch.no_grad():
        close(block.layer(X), module(X))
    assert block.unread == ()


def test_shared_keys_the_order_by_head_and_rms_norms():
    heads, width = 4, 3  # of two keys and values, each for two queries, one after the other
    q, k, v, o = (randn(rows, D, seed=seed) for seed, rows in enumerate((D, 2 * width, 2 * width, D)))
    names = StateNames(q="q", k="k", v="v", o="o", attention_norm="n")
    gain = 1 + randn(D, seed=4) / 4
    state = {"q": q, "k": k, "v": v, "o.weight": o, "n.weight": gain}
    (block,) = read_state(state, names, heads, placement="pre", norm="rms")
    x = randn(5, D, seed=5)
    seen = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain
    wanted = x.clone()
    for h in range(heads):
        own, shared = (slice(i * width, (i + 1) * width) for i in (h, h // 2))
        weights = torch.softmax((seen @ q[own].mT) @ (seen @ k[shared].mT).mT / width**0.5, -1)
        wanted += weights @ seen @ v[shared].mT @ o[:, own].mT
    close(block.layer(x), wanted)
    tokens = block.flow(step="layer").flow(block.tokens(x), 1.0, 1)
    torch.testing.assert_close(tokens, block.tokens(wanted), rtol=0, atol=1e-3)  # the ε of the norm
    whole = [part.unflatten(0, (HEADS, -1)) for part in (q, randn(D, D, seed=1), randn(D, D, seed=2))]
    fused = torch.stack(whole, 1).reshape(-1, D)
    one = read_state({"f": fused, "o": o}, StateNames(qkv="f", o="o", by_head=True), HEADS, placement="none")
    two = read_state(
        {"q": q, "k": randn(D, D, seed=1), "v": randn(D, D, seed=2), "o": o},
        StateNames(q="q", k="k", v="v", o="o"), HEADS, placement="none",
    )  # fmt: skip
    close(one[0].K, two[0].K)
    close(one[0].V, two[0].V)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"names": "llama"}, ConfigError, "names must be one of torch, gpt2, bert"),
        ({"heads": 5}, ShapeError, "5 heads do not divide"),
        ({"heads": 0}, ConfigError, "heads must be"),
        ({"placement": "around"}, ConfigError, "placement must be one of"),
        ({"prefix": "net."}, DataError, r"no net\.layers\.0\.self_attn\.in_proj_weight"),
        ({"norm": "batch"}, ConfigError, "norm must be one of"),
        ({"activation": "sine"}, ConfigError, "activation must be one of"),
        ({"state": [1]}, DataError, "must map names"),
        ({"lose": "layers.1.norm2.weight"}, DataError, r"no layers\.1\.norm2"),
        ({"put": ("layers.0.self_attn.out_proj.weight", torch.zeros(D))}, ShapeError, "must be a matrix"),
        ({"put": ("layers.0.self_attn.in_proj_weight", torch.zeros(D, D))}, ShapeError, "a bias of"),
        ({"put": ("layers.0.linear1.weight", torch.full((WIDTH, D), torch.nan))}, NonFiniteError, "must be finite"),
    ],
)
def test_states_that_cannot_be_read(change, error, sentence):
    _, state = plain_state()
    arguments = {"state": state, "names": "torch", "heads": HEADS, "placement": "pre", **change}
    state.pop(arguments.pop("lose", ""), None)
    state.update([arguments.pop("put")] if "put" in arguments else [])
    with pytest.raises(error, match=sentence):
        read_state(**arguments)


def test_a_matrix_that_is_not_transposed_as_said():
    _, state = plain_state()
    turned = StateNames(qkv="layers.{}.self_attn.in_proj_weight", o="layers.{}.self_attn.out_proj", transposed=True)
    with pytest.raises(ShapeError, match="is transposed as it should be"):
        read_state(state, turned, HEADS, placement="none")


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ({"q": "q", "o": "o"}, "name q, k, v and o"),
        ({"q": "q", "k": "k", "v": "v", "qkv": "f", "o": "o"}, "name q, k, v and o"),
        ({"qkv": "f", "o": "o", "up": "u"}, "both layers"),
        ({"q": "q", "k": "k", "v": "v", "o": "o", "by_head": True}, "by_head"),
        ({"qkv": "h.{}.f", "o": "o"}, "once"),
    ],
)
def test_names_that_cannot_be(names, sentence):
    with pytest.raises(ConfigError, match=sentence):
        StateNames(**names)


# --- tokens by depth --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm_first", [True, False])
def test_tokens_are_those_of_the_network_itself(norm_first):
    layers = encoder(3, norm_first=norm_first, dropout=0.5, batch_first=not norm_first)
    for module in layers:
        module.train()  # dropout would be at work
    X = randn(2, 6, D, seed=1)
    path = follow(layers, X, generator=seeded(), draws=2)
    x = X
    for depth, module in enumerate(layers):
        assert module.training
        module.eval()
        with torch.no_grad():
            x = module(x) if module.self_attn.batch_first else module(x.transpose(0, 1)).transpose(0, 1)
        centred = x - x.mean(-1, keepdim=True)
        cosines = torch.nn.functional.cosine_similarity(centred[:, :, None], centred[:, None], dim=-1)
        off = cosines[:, ~torch.eye(6, dtype=torch.bool)].mean(1)
        close(path.real.cosine[depth + 1], off)
    assert path.own.cosine.shape == (4, 2)
    assert path.random.cosine.shape == (4, 4)
    close(path.own.cosine[0], path.real.cosine[0])
    assert bool((path.real.clusters == 6).all())


def test_theory_clusters_and_the_own_flow_is_nearer_than_theory_is():
    layers = encoder(6, gains=False)
    X = nn.functional.layer_norm(randn(3, 8, D, seed=1), (D,))
    path = follow(layers, X, generator=seeded(), tol=0.01, draws=1)
    assert float(path.ideal.cosine[-1].min()) > 0.99
    assert path.ideal.clusters[-1].tolist() == [1, 1, 1]
    assert path.ideal.rise > 0.9
    assert path.own.off(path.real) < path.ideal.off(path.real)
    assert path.real.off(path.real) == 0
    text = str(path)
    assert text.splitlines()[1].split() == [
        "depth",
        "network",
        "own",
        "flow",
        "V",
        "=",
        "I",
        "random",
        "cosines",
        "of",
        "random",
    ]
    assert len(text.splitlines()[2].split()) == len(text.splitlines()[8].split()) == 12
    assert "one after the other in a layer" in text


def test_short_layers_follow_their_own_flow():
    """Of weights that move tokens little at a time, a layer and a time of 1 are nearly the same."""

    def off(size):
        block = read_block(layer(norm_first=True, layer_norm_eps=0.0))
        short = replace(
            block,
            V=block.V * size,
            constant=block.constant * size,
            query_bias=None,
            attention_norm=replace(block.attention_norm, shift=None),
            feedforward=replace(block.feedforward, W2=block.feedforward.W2 * size, b2=block.feedforward.b2 * size),
        )
        path = follow([short] * 2, randn(6, D, seed=1), generator=seeded(), draws=1)
        return path.own.off(path.real)

    assert off(0.02) < 0.3 * off(0.08) < 0.01


def test_random_weights_have_the_same_shapes_and_sizes_and_no_memory():
    block = read_block(layer())
    drawn = block.drawn_like(seeded(1))
    for name in ("Q", "K", "V", "query_bias", "constant"):
        old, new = getattr(block, name), getattr(drawn, name)
        assert old.shape == new.shape
        assert float(new.norm() / old.norm()) == pytest.approx(1)
        assert float((old - new).norm() / old.norm()) > 0.5
    assert int(torch.linalg.matrix_rank(drawn.V[0])) == D // HEADS
    assert drawn.feedforward.activation == "relu"
    X = randn(5, D, seed=1)
    paths = [follow([block], X, generator=seeded(3), draws=1) for _ in range(2)]
    assert torch.equal(paths[0].random.cosine, paths[1].random.cosine)


def test_causal_tokens_and_attention_alone():
    modules = [attention(seed, bias=False) for seed in range(2)]
    path = follow(modules, randn(4, D, seed=1), generator=seeded(), draws=1, causal=True)
    x = randn(1, 4, D, seed=1)
    with torch.no_grad():
        for module in modules:
            x = x + module(x, x, x, attn_mask=causal_bias(4))[0]
    cosines = torch.nn.functional.cosine_similarity(x[0, :, None], x[0, None], dim=-1)
    close(path.real.cosine[-1, 0], cosines[~torch.eye(4, dtype=torch.bool)].mean())
    assert isinstance(path.blocks[0].flow(), AttentionFlow)


class Doubled(nn.TransformerEncoderLayer):
    def forward(self, *args, **kwargs):
        return 2 * super().forward(*args, **kwargs)


def test_what_cannot_be_followed():
    X = randn(4, D)
    run = partial(follow, X=X, generator=seeded(), draws=1)
    own = filled(built(Doubled, d_model=D, nhead=HEADS, dim_feedforward=WIDTH, batch_first=True))
    cases = [
        (own, ModelError, "something else than its weights say"),
        (nn.Linear(2, 2, device="meta"), ModelError, "got a Linear"),
        ([nn.Identity()], ModelError, "layer 0 is a Identity"),
        ([], ModelError, "no layer"),
        ("layers", ModelError, "got a str"),
        (attention(add_bias_kv=True), ModelError, "of its own"),
        (layer(activation=torch.sin), ModelError, "activation of its own"),
        ([layer(), layer(norm_first=True)], ConfigError, "norm elsewhere"),
        ([layer(), layer(d_model=2 * D)], ShapeError, "layer 1 takes tokens of 24"),
        (layer(d_model=2 * D), ShapeError, "X has 12"),
    ]
    for network, error, sentence in cases:
        with pytest.raises(error, match=sentence):
            run(network)
    for tokens, error, sentence in (
        (torch.zeros(4, D), DataError, "no direction"),
        (torch.full((4, D), torch.inf), NonFiniteError, "finite"),
        (torch.zeros(D), ShapeError, "must be tokens"),
    ):
        with pytest.raises(error, match=sentence):
            follow(layer(), tokens, generator=seeded())
    with pytest.raises(ConfigError, match="draws"):
        run(layer(), draws=0)


def test_blocks_that_cannot_be():
    Q = randn(2, 3, 6)
    V = randn(2, 6, 6)
    norm = TokenNorm()
    for change, error, sentence in (
        ({"K": randn(2, 4, 6)}, ShapeError, "Q and K must be"),
        ({"V": randn(2, 6, 5)}, ShapeError, "V must be"),
        ({"constant": randn(5)}, ShapeError, "constant must be"),
        ({"placement": "pre"}, ConfigError, "needs attention_norm"),
        ({"attention_norm": norm}, ConfigError, "has no attention_norm"),
        ({"placement": "pre", "attention_norm": TokenNorm(gain=randn(5))}, ShapeError, "for tokens of 5"),
        ({"feedforward": FeedForward(randn(4, 5), randn(5, 4))}, ShapeError, "feedforward is for tokens of 5"),
        ({"beta": torch.inf}, NonFiniteError, "beta must be finite"),
        ({"beta": "warm"}, ConfigError, "beta must be a real number"),
        ({"Q": Q * torch.nan}, NonFiniteError, "Q must be finite"),
    ):
        with pytest.raises(error, match=sentence):
            BlockWeights(**{"Q": Q, "K": Q, "V": V, **change})
    with pytest.raises(ShapeError, match="W1 must be"):
        FeedForward(randn(4, 5), randn(4, 5))
    with pytest.raises(ShapeError, match="must have as many"):
        TokenNorm(gain=randn(4), shift=randn(5))
    block = BlockWeights(Q, Q, V, placement="pre", attention_norm=norm)
    with pytest.raises(ConfigError, match="without a norm alone"):
        block.lifted()
    with pytest.raises(ConfigError, match="part must be"):
        block.flow("half")
    assert "BlockWeights(Q=<2×3×6>" in repr(block)


def test_a_block_without_its_weight_before_others_does_not_end_the_reading():
    whole = nn.TransformerEncoder(layer(), 3, enable_nested_tensor=False).state_dict()
    assert len(read_state(whole, "torch", HEADS, placement="post")) == 3
    torn = {name: value for name, value in whole.items() if name != "layers.1.self_attn.in_proj_weight"}
    with pytest.raises(DataError, match=r"no layers\.1\.self_attn\.in_proj_weight.*a block 2 is there"):
        read_state(torn, "torch", HEADS, placement="post")
    turned = {**whole, "layers.0.linear1.weight": whole["layers.0.linear1.weight"] * 1j}
    with pytest.raises(DataError, match=r"layers\.0\.linear1\.weight must hold real numbers"):
        read_state(turned, "torch", HEADS, placement="post")
    assert len(read_state({**whole, 0: torch.ones(1)}, "torch", HEADS, placement="post")) == 3


def test_the_table_of_a_deep_network_is_short():
    blocks = read_blocks(nn.ModuleList(layer(seed, gains=False) for seed in range(24)))
    path = follow(blocks, randn(3, D), generator=seeded(), draws=1)
    lines = str(path).splitlines()
    assert len(lines) <= 20
    assert [line.split()[0] for line in lines[2:11]] == ["0", "1", "2", "3", "…", "21", "22", "23", "24"]


def test_an_rms_norm_without_gain():
    module = layer(norm_first=True, bias=False)
    module.norm1 = nn.RMSNorm(D, elementwise_affine=False)
    module.norm2 = nn.RMSNorm(D, elementwise_affine=False)
    X = randn(4, D)
    with torch.no_grad():
        close(read_block(module).layer(X), module(X))


def test_one_token_and_blocks_of_several_modules():
    path = follow(layer(), randn(1, D), generator=seeded(), draws=1)
    assert path.real.cosine.tolist() == [[1.0], [1.0]]
    assert path.real.clusters.tolist() == [[1], [1]]
    names = [block.name for block in read_blocks(nn.Sequential(layer(), layer()))]
    assert names == ["layer 0", "layer 1"]
