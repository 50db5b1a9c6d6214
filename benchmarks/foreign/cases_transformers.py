"""transformers (Wolf et al. 2020): layers and small models of many families under a new order of their tokens.

Everything is made from a configuration, with weights of its own start and no download.
"""

import torch
import transformers
from torch import nn

from benchmarks.foreign.judge import Cases, Question
from msr.groups import cyclic, symmetric
from msr.representations import grid_shifts, natural, permutation, trivial

PACKAGES = ["transformers", "torch"]
CASES = Cases()

N, D = 6, 16
SYM = symmetric(N)
"""All new orders of ``N`` tokens, each of which has ``D`` features."""

SET = "attention without positions is permutation equivariant (Vaswani et al. 2017; Lee et al. 2019, Property 1)"
ORDERED = "positions or a causal mask tell tokens apart"


class Tokens(nn.Module):
    """A model on vectors for tokens, with weights as of :func:`lively`; ``call(model, x)`` calls it."""

    def __init__(self, model, call):
        super().__init__()
        self.model, self.call = lively(model), call

    def forward(self, x):
        """The last hidden state, or what ``call`` takes from the model's answer."""
        y = self.call(self.model, x)
        y = getattr(y, "last_hidden_state", y)
        return y[0] if isinstance(y, tuple) else y


def lively(model):
    """The model in evaluation mode, its weights moved in place to the size of trained ones.

    A start of 0.02 would leave positions and attention almost unseen.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def embedded(model, x):
    """The model's answer to vectors ``x (batch, tokens, features)`` in the place of tokens."""
    return model(inputs_embeds=x)


def tokens(model, call=embedded, features=D, rep=None):
    """A question about a model that gives a new vector of ``features`` for each token.

    ``rep`` is how a group moves tokens: by default all new orders.
    """
    places = natural(SYM) if rep is None else rep
    group = places.group
    f = Tokens(model, call)
    return Question(f, group, places * trivial(group, D), places * trivial(group, features))


def pooled(model, call, numbers=D):
    """A question about a model that gives so many numbers for all tokens together, which no new order changes."""
    return Question(Tokens(model, call), SYM, natural(SYM) * trivial(SYM, D), trivial(SYM, numbers))


SMALL = {"hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 20}


def bert(**options):
    """A configuration of BERT with two small layers."""
    return transformers.BertConfig(**SMALL, max_position_embeddings=16, **options)


@CASES.equivariant(SET)
def BertEncoder():
    return tokens(transformers.BertModel(bert()).encoder, lambda m, x: m(x))


@CASES.equivariant(SET)
def BertLayer():
    return tokens(transformers.BertModel(bert()).encoder.layer[0], lambda m, x: m(x))


@CASES.equivariant(SET)
def BertSelfAttention():
    return tokens(transformers.BertModel(bert()).encoder.layer[0].attention, lambda m, x: m(x))


@CASES.broken(ORDERED)
def BertModel():
    return tokens(transformers.BertModel(bert()))


@CASES.equivariant("the same table row is added to every token")
def BertModel_with_one_position_for_all():
    same = torch.zeros(1, N, dtype=torch.long)
    return tokens(transformers.BertModel(bert()), lambda m, x: m(inputs_embeds=x, position_ids=same))


@CASES.broken("the pooler reads the first token")
def BertModel_pooled_output():
    same = torch.zeros(1, N, dtype=torch.long)
    return pooled(transformers.BertModel(bert()), lambda m, x: m(inputs_embeds=x, position_ids=same).pooler_output)


@CASES.refused("dropout draws at random in training mode")
def BertEncoder_in_training_mode():
    question = tokens(transformers.BertModel(bert()).encoder, lambda m, x: m(x))
    question.f.train()
    return question


def numbers(n, generator):
    """``n`` lists of random whole numbers below 20, ``(n, tokens)``."""
    return torch.randint(0, 20, (n, N), generator=generator)


def of_words(model, call):
    """A question about a model that gives a vector for each of a list of whole numbers, under all new orders."""
    places = natural(SYM)
    rep_out = places * trivial(SYM, D)
    return Question(Tokens(model, call), SYM, places, rep_out, inputs=numbers, tolerance=1e-4)


@CASES.broken(ORDERED)
def BertModel_of_words():
    return of_words(transformers.BertModel(bert()), lambda m, x: m(input_ids=x))


@CASES.equivariant("the same table row is added to every word")
def BertModel_of_words_with_one_position_for_all():
    same = torch.zeros(1, N, dtype=torch.long)
    return of_words(transformers.BertModel(bert()), lambda m, x: m(input_ids=x, position_ids=same))


def gpt2(layers=2):
    """A GPT-2 model of two small layers, or of another number of them."""
    config = transformers.GPT2Config(n_embd=D, n_layer=layers, n_head=2, vocab_size=20, n_positions=16)
    return transformers.GPT2Model(config)


@CASES.broken("causal")
def GPT2Model():
    return tokens(gpt2())


@CASES.broken("causal, even with one position for all")
def GPT2Model_with_one_position_for_all():
    same = torch.zeros(1, N, dtype=torch.long)
    return tokens(gpt2(), lambda m, x: m(inputs_embeds=x, position_ids=same))


@CASES.equivariant("one small network for every token")
def GPT2MLP():
    return tokens(gpt2(layers=1).h[0].mlp, lambda m, x: m(x))


@CASES.broken("causal, with rotary positions (Su et al. 2021)")
def LlamaModel():
    return tokens(transformers.LlamaModel(transformers.LlamaConfig(**SMALL, num_key_value_heads=1)))


@CASES.equivariant("one small network for every token")
def LlamaMLP_and_RMSNorm():
    layer = transformers.LlamaModel(transformers.LlamaConfig(**SMALL, num_key_value_heads=1)).layers[0]
    parts = nn.Sequential(layer.input_layernorm, layer.mlp)
    return tokens(parts, lambda m, x: m(x))


def t5(**options):
    """A configuration of T5 with two small layers."""
    sizes = {"d_model": D, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 20}
    return transformers.T5Config(**sizes, **options)


@CASES.broken("a bias by the distance of two tokens (Raffel et al. 2020)")
def T5EncoderModel():
    return tokens(transformers.T5EncoderModel(t5()))


@CASES.equivariant("without its bias by distance it is attention of a set")
def T5EncoderModel_without_its_bias_by_distance():
    model = transformers.T5EncoderModel(t5())

    def call(m, x):
        with torch.no_grad():
            m.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.zero_()
        return m(inputs_embeds=x)

    return tokens(model, call)


@CASES.broken("buckets of distances tell left from right (Raffel et al. 2020)")
def T5EncoderModel_under_reversal():
    back = permutation(cyclic(2), [list(range(N)), list(range(N))[::-1]], "reversal")
    return tokens(transformers.T5EncoderModel(t5()), rep=back)


@CASES.equivariant("a bias made equal to the left and to the right")
def T5EncoderModel_with_an_even_bias_under_reversal():
    model = transformers.T5EncoderModel(t5())

    def call(m, x):
        bias = m.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
        with torch.no_grad():
            half = len(bias) // 2
            bias[half:] = bias[:half]  # the second half of the buckets is for keys after their query
        return m(inputs_embeds=x)

    back = permutation(cyclic(2), [list(range(N)), list(range(N))[::-1]], "reversal")
    return tokens(model, call, rep=back)


def vit(kind=transformers.ViTModel, config=transformers.ViTConfig):
    """A small vision transformer for images of 6 x 6 in patches of 2 x 2, of another kind if one is given."""
    sizes = {name: SMALL[name] for name in SMALL if name != "vocab_size"}
    return kind(config(**sizes, image_size=6, patch_size=2, num_channels=1))


@CASES.equivariant(SET)
def ViTLayer():
    model = vit()
    layers = model.layers if hasattr(model, "layers") else model.encoder.layer
    return tokens(layers[0], lambda m, x: m(x))


class Patches(nn.Module):
    """A vision transformer on images of one channel."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        """The vector of the class token for images ``x (batch, height, width)``: ``(batch, features)``."""
        return self.model(pixel_values=x.unsqueeze(1)).last_hidden_state[:, 0]


def shifted_by_patches():
    """The representation of shifts by whole patches, 2 pixels along either axis, on a torus of 6 x 6 pixels."""
    fine = grid_shifts((6, 6))
    return fine.restrict(fine.group.subgroup([2, 12]))


@CASES.broken("learned positions tell patches apart (Dosovitskiy et al. 2021)")
def ViTModel_under_shifts_by_patches():
    shifts = shifted_by_patches()
    return Question(Patches(lively(vit())), shifts.group, shifts, trivial(shifts.group, D))


@CASES.equivariant("without positions the class token reads patches as a set")
def ViTModel_without_positions_under_shifts_by_patches():
    model, shifts = lively(vit()), shifted_by_patches()
    with torch.no_grad():
        model.embeddings.position_embeddings.zero_()
    return Question(Patches(model), shifts.group, shifts, trivial(shifts.group, D))


@CASES.broken("a shift by one pixel cuts other patches")
def ViTModel_without_positions_under_all_shifts():
    model, shifts = lively(vit()), grid_shifts((6, 6))
    with torch.no_grad():
        model.embeddings.position_embeddings.zero_()
    return Question(Patches(model), shifts.group, shifts, trivial(shifts.group, D))


@CASES.broken("mixes tokens by Fourier's matrix (Lee-Thorp et al. 2022)")
def FNetModel():
    config = transformers.FNetConfig(hidden_size=D, num_hidden_layers=1, intermediate_size=32, vocab_size=20)
    return tokens(transformers.FNetModel(config).encoder, lambda m, x: m(x))


@CASES.broken("relative positions (He et al. 2021)")
def DebertaV2Model():
    config = transformers.DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"])
    return tokens(transformers.DebertaV2Model(config))


@CASES.equivariant("latents read their inputs as a set (Jaegle et al. 2021)")
def PerceiverModel():
    config = transformers.PerceiverConfig(
        num_latents=3, d_latents=D, d_model=D, num_blocks=1, num_self_attends_per_block=1,
        num_self_attention_heads=2, num_cross_attention_heads=2,
    )  # fmt: skip
    return pooled(transformers.PerceiverModel(config), lambda m, x: m(inputs=x).last_hidden_state.flatten(1), 3 * D)


@CASES.broken("state is carried along the order (Gu and Dao 2023)")
def MambaModel():
    config = transformers.MambaConfig(hidden_size=D, num_hidden_layers=1, state_size=4, vocab_size=20)
    return tokens(transformers.MambaModel(config))


@CASES.equivariant("queries of objects attend to each other and to the memory as sets (Carion et al. 2020)")
def BertLayer_with_cross_attention_to_its_memory():
    config = bert(is_decoder=True, add_cross_attention=True)
    layer, query = transformers.BertModel(config).encoder.layer[0], torch.randn(1, 1, D)

    def call(m, x):
        return m(query.expand(len(x), -1, -1), encoder_hidden_states=x)

    return pooled(layer, lambda m, x: (lambda y: y[0] if isinstance(y, tuple) else y)(call(m, x))[:, 0])


@CASES.equivariant("factorised attention does not know tokens' numbers either (Lan et al. 2020)")
def AlbertLayer():
    config = transformers.AlbertConfig(**SMALL, embedding_size=D)
    layer = transformers.AlbertModel(config).encoder.albert_layer_groups[0].albert_layers[0]
    return tokens(layer, lambda m, x: m(x))


@CASES.broken(ORDERED)
def RobertaModel():
    return tokens(transformers.RobertaModel(transformers.RobertaConfig(**SMALL, max_position_embeddings=32)))


@CASES.broken(ORDERED)
def DistilBertModel():
    config = transformers.DistilBertConfig(dim=D, n_layers=1, n_heads=2, hidden_dim=32, vocab_size=20)
    return tokens(transformers.DistilBertModel(config))


@CASES.equivariant(SET)
def DistilBert_transformer():
    config = transformers.DistilBertConfig(dim=D, n_layers=1, n_heads=2, hidden_dim=32, vocab_size=20)
    return tokens(transformers.DistilBertModel(config).transformer, lambda m, x: m(x))
