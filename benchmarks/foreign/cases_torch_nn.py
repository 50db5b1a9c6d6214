"""Layers of ``torch.nn``: on sets, on signals and images that wrap around, on images that turn, on vectors."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.foreign.judge import Cases, Question
from msr.equivariance import interior
from msr.groups import cyclic, dihedral, so, symmetric
from msr.representations import defining, grid_rotations, grid_shifts, natural, permutation, planar, regular, trivial

PACKAGES = ["torch"]
CASES = Cases()

N, D = 5, 8
"""The number of tokens of a set, and of features of each."""


class Calls(nn.Module):
    """A module called in a way of one's own; it keeps the module's parameters in sight."""

    def __init__(self, module: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]):
        super().__init__()
        self.module, self.call = module, call

    def forward(self, x: Tensor) -> Tensor:
        """``call(module, x)``."""
        return self.call(self.module, x)


def on_set(f, features: int = D, **options) -> Question:
    """A question about a function of a set: ``(batch, tokens, features)`` to as many tokens."""
    group = symmetric(N)
    tokens = natural(group)
    return Question(f, group, tokens * trivial(group, D), tokens * trivial(group, features), **options)


def of_set(f, numbers: int = D, **options) -> Question:
    """A question whether a function ``(batch, tokens, features) -> (batch, numbers)`` is an invariant of a set."""
    group = symmetric(N)
    return Question(f, group, natural(group) * trivial(group, D), trivial(group, numbers), **options)


# ------------------------------------------------------------------------------------------------------------- sets

PERMUTED = "no part knows a token's number: permutation equivariant (Vaswani et al. 2017; Lee et al. 2019, Property 1)"
ORDERED = "each token meets other tokens by their number: not permutation equivariant"


def attention(mask: Tensor | None = None) -> nn.Module:
    """Self-attention with two heads, in evaluation mode; ``mask (tokens, tokens)`` is True where a token is hidden."""
    inner = nn.MultiheadAttention(D, 2, batch_first=True)
    return Calls(inner, lambda m, x: m(x, x, x, attn_mask=mask, need_weights=False)[0]).eval()


def causal() -> Tensor:
    """A mask ``(tokens, tokens)`` that hides later tokens: True above the diagonal."""
    return torch.ones(N, N, dtype=torch.bool).triu(1)


class Positions(nn.Module):
    """Adds a learned table ``(tokens, features)``, one row for each position."""

    def __init__(self, table: Tensor):
        super().__init__()
        self.table = nn.Parameter(table)

    def forward(self, x: Tensor) -> Tensor:
        """``x + table``."""
        return x + self.table


def sinusoids() -> Tensor:
    """The table of positions ``(tokens, features)`` of Vaswani et al. 2017, section 3.5."""
    at, rate = torch.arange(N)[:, None], 10000 ** (-torch.arange(0, D, 2) / D)
    return torch.stack([(at * rate).sin(), (at * rate).cos()], dim=-1).reshape(N, D)


@CASES.equivariant(PERMUTED)
def MultiheadAttention_of_a_set():
    return on_set(attention())


@CASES.broken(ORDERED)
def MultiheadAttention_with_a_causal_mask():
    return on_set(attention(causal()))


@CASES.broken("learned positions tell tokens apart")
def MultiheadAttention_after_learned_positions():
    return on_set(nn.Sequential(Positions(0.02 * torch.randn(N, D)), attention()))


@CASES.broken("sinusoidal positions tell tokens apart")
def MultiheadAttention_after_sinusoids():
    return on_set(nn.Sequential(Positions(sinusoids()), attention()))


@CASES.equivariant(PERMUTED)
def TransformerEncoderLayer_of_a_set():
    return on_set(nn.TransformerEncoderLayer(D, 2, 16, batch_first=True).eval())


@CASES.broken(ORDERED)
def TransformerEncoderLayer_with_a_causal_mask():
    layer = nn.TransformerEncoderLayer(D, 2, 16, batch_first=True).eval()
    return on_set(Calls(layer, lambda m, x: m(x, src_mask=causal())))


@CASES.refused("dropout draws at random in training mode")
def TransformerEncoderLayer_in_training_mode():
    return on_set(nn.TransformerEncoderLayer(D, 2, 16, batch_first=True))


@CASES.equivariant("targets are attended to as a set, the memory is fixed")
def TransformerDecoderLayer_of_targets():
    layer, memory = nn.TransformerDecoderLayer(D, 2, 16, batch_first=True).eval(), torch.randn(1, 3, D)
    return on_set(Calls(layer, lambda m, x: m(x, memory.expand(len(x), -1, -1))))


@CASES.equivariant("the memory is attended to as a set: invariant (Lee et al. 2019, pooling by attention)")
def TransformerDecoderLayer_of_its_memory():
    layer, query = nn.TransformerDecoderLayer(D, 2, 16, batch_first=True).eval(), torch.randn(1, 1, D)
    return of_set(Calls(layer, lambda m, x: m(query.expand(len(x), -1, -1), x)[:, 0]))


@CASES.equivariant("one map for every token")
def Linear_of_each_token():
    return on_set(nn.Linear(D, D))


@CASES.broken("mixes tokens by a matrix that is no multiple of I plus a multiple of 11^T (Zaheer et al. 2017)")
def Linear_across_tokens():
    return on_set(Calls(nn.Linear(N, N), lambda m, x: m(x.mT).mT))


class DeepSets(nn.Module):
    """``x A + mean(x) B`` of Zaheer et al. 2017."""

    def __init__(self):
        super().__init__()
        self.own, self.all = nn.Linear(D, D), nn.Linear(D, D)

    def forward(self, x: Tensor) -> Tensor:
        """``relu(x A + mean(x) B)`` with biases, ``(batch, tokens, features)``."""
        return (self.own(x) + self.all(x.mean(1, keepdim=True))).relu()


@CASES.equivariant("Zaheer et al. 2017, theorem 3")
def DeepSets_of_Linear():
    return on_set(nn.Sequential(DeepSets(), DeepSets()))


@CASES.broken("the first token has a weight of its own, larger by 1%")
def DeepSets_with_one_token_weighed_by_1_percent_more():
    scale = torch.ones(N, 1)
    scale[0] = 1.01
    return on_set(Calls(nn.Sequential(DeepSets(), DeepSets()), lambda m, x: m(x * scale)))


@CASES.equivariant("statistics of each token by itself")
def LayerNorm_of_features():
    return on_set(moved(nn.LayerNorm(D)))


@CASES.broken("a scale for each token")
def LayerNorm_of_tokens_and_features():
    return on_set(moved(nn.LayerNorm((N, D))))


@CASES.equivariant("statistics of the whole set, no scales")
def LayerNorm_of_the_whole_set_without_scales():
    return on_set(nn.LayerNorm((N, D), elementwise_affine=False))


@CASES.equivariant("statistics over tokens, scales by channel")
def GroupNorm_of_channels():
    return on_set(Calls(moved(nn.GroupNorm(2, D)), lambda m, x: m(x.mT).mT))


@CASES.equivariant("scales by channel; running statistics after training")
def BatchNorm1d_after_training():
    norm = moved(nn.BatchNorm1d(D))
    norm(3 + 2 * torch.randn(64, D, N))
    return on_set(Calls(norm.eval(), lambda m, x: m(x.mT).mT))


@CASES.refused("mixes the examples of a batch")
def BatchNorm1d_in_training_mode():
    return on_set(Calls(nn.BatchNorm1d(D), lambda m, x: m(x.mT).mT))


@CASES.broken("a running mean and variance for each token")
def BatchNorm1d_of_tokens_after_training():
    norm = nn.BatchNorm1d(N)
    norm(torch.arange(1.0, N + 1)[:, None] * torch.randn(64, N, D))
    return on_set(norm.eval())


@CASES.refused("draws at random")
def Dropout_in_training_mode():
    return on_set(nn.Dropout(0.5))


@CASES.equivariant("the identity")
def Dropout_in_evaluation_mode():
    return on_set(nn.Dropout(0.5).eval())


@CASES.equivariant("a softmax over tokens does not know their order")
def Softmax_over_tokens():
    return on_set(nn.Softmax(dim=1))


@CASES.broken("a running sum is a sum over earlier tokens")
def cumsum_over_tokens():
    return on_set(lambda x: x.cumsum(1))


@CASES.broken("state is carried along the order")
def LSTM_over_tokens():
    return on_set(Calls(nn.LSTM(D, D, batch_first=True), lambda m, x: m(x)[0]))


@CASES.broken("state is carried along the order")
def GRU_over_tokens():
    return on_set(Calls(nn.GRU(D, D, batch_first=True), lambda m, x: m(x)[0]))


@CASES.broken("the last state depends on the order")
def RNN_as_a_reading_of_a_set():
    return of_set(Calls(nn.RNN(D, D, batch_first=True), lambda m, x: m(x)[1][0]))


@CASES.equivariant("one cell for every token")
def LSTMCell_of_each_token():
    return on_set(Calls(nn.LSTMCell(D, D), lambda m, x: m(x.reshape(-1, D))[0].reshape(x.shape)))


@CASES.equivariant("a mean is symmetric")
def mean_over_tokens():
    return of_set(lambda x: x.mean(1))


@CASES.equivariant("a maximum is symmetric")
def AdaptiveMaxPool1d_over_tokens():
    return of_set(Calls(nn.AdaptiveMaxPool1d(1), lambda m, x: m(x.mT)[..., 0]))


@CASES.equivariant("sorted values do not depend on the order they came in")
def sort_over_tokens():
    return of_set(lambda x: x.sort(1).values.flatten(1), N * D)


@CASES.broken("reads the first token")
def first_token():
    return of_set(lambda x: x[:, 0])


@CASES.broken("a weight for each token")
def Flatten_and_Linear():
    return of_set(nn.Sequential(nn.Flatten(), nn.Linear(N * D, D)))


@CASES.equivariant("a filter of one tap is one map for every token")
def Conv1d_of_one_tap():
    return on_set(Calls(nn.Conv1d(D, D, 1), lambda m, x: m(x.mT).mT))


@CASES.broken("neighbours by number")
def Conv1d_of_three_taps_on_a_set():
    return on_set(Calls(nn.Conv1d(D, D, 3, padding=1), lambda m, x: m(x.mT).mT))


@CASES.equivariant("one map for every token")
def Bilinear_of_each_token_with_itself():
    return on_set(Calls(nn.Bilinear(D, D, 4), lambda m, x: m(x, x)), 4)


def words(n: int, generator: torch.Generator) -> Tensor:
    """``n`` sets of random whole numbers below 10, ``(n, tokens)``."""
    return torch.randint(0, 10, (n, N), generator=generator)


@CASES.equivariant("one table for every token")
def Embedding_of_whole_numbers():
    group = symmetric(N)
    f, tokens = nn.Embedding(10, D), natural(group)
    return Question(f, group, tokens, tokens * trivial(group, D), inputs=words, tolerance=1e-5)


@CASES.equivariant("a sum is symmetric")
def EmbeddingBag_of_whole_numbers():
    group = symmetric(N)
    return Question(nn.EmbeddingBag(10, D), group, natural(group), trivial(group, D), inputs=words, tolerance=1e-5)


def queries_keys_values(f) -> Question:
    """A question about a function of three sets that are numbered anew together.

    It gives new features and a table of attention weights ``(batch, tokens, tokens)``.
    """
    group = symmetric(N)
    tokens = natural(group) * trivial(group, D)
    return Question(f, group, (tokens, tokens, tokens), (tokens, natural(group) * natural(group)))


@CASES.equivariant(PERMUTED)
def MultiheadAttention_of_three_inputs_as_it_is():
    return queries_keys_values(nn.MultiheadAttention(D, 2, batch_first=True).eval())


@CASES.broken("keys are numbered otherwise than queries and values")
def MultiheadAttention_of_three_inputs_with_its_keys_moved_on():
    attend = nn.MultiheadAttention(D, 2, batch_first=True).eval()
    return queries_keys_values(lambda q, k, v: attend(q, k.roll(1, 1), v))


# ------------------------------------------------------------------------------------------ sets of more than a table

MANY = 16
"""Tokens of a set whose permutations, 16!, no table holds."""


def on_many(f) -> Question:
    """A question about a function of a set of :data:`MANY` tokens to as many tokens."""
    group = symmetric(MANY)
    tokens = natural(group) * trivial(group, D)
    return Question(f, group, tokens, tokens)


@CASES.equivariant(PERMUTED)
def TransformerEncoderLayer_of_16_tokens():
    return on_many(nn.TransformerEncoderLayer(D, 2, 16, batch_first=True).eval())


@CASES.broken(ORDERED)
def MultiheadAttention_of_16_tokens_with_a_causal_mask():
    return on_many(attention(torch.ones(MANY, MANY, dtype=torch.bool).triu(1)))


@CASES.equivariant("Zaheer et al. 2017, theorem 3")
def DeepSets_of_16_tokens():
    return on_many(nn.Sequential(DeepSets(), DeepSets()))


@CASES.broken("the last two of 16 tokens are added to each other")
def DeepSets_of_16_tokens_with_two_that_know_each_other():
    net = nn.Sequential(DeepSets(), DeepSets())
    return on_many(Calls(net, lambda m, x: m(torch.cat([x[:, :-2], x[:, -2:] + 0.5 * x[:, -2:].flip(1)], 1))))


@CASES.broken("neighbours by number")
def Conv1d_of_three_taps_on_16_tokens():
    return on_many(Calls(nn.Conv1d(D, D, 3, padding=1), lambda m, x: m(x.mT).mT))


# ---------------------------------------------------------------------------------------- signals and images that wrap

SHIFTED = "the same filter everywhere, the edge wraps around: commutes with shifts (LeCun et al. 1989)"
EDGE = "zeros are put at the edge, which a shift around the torus moves inside"


def moved(module: nn.Module) -> nn.Module:
    """The module, with noise added to its parameters in place, so that they are as after training."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return module


def shifted(f, channels: int = 2, size: int = 6, **options) -> Question:
    """A question about a function of square images on a torus, 2 channels to ``channels``, under all shifts."""
    grid = grid_shifts((size, size))
    group = grid.group
    return Question(f, group, trivial(group, 2) * grid, trivial(group, channels) * grid, **options)


@CASES.equivariant(SHIFTED)
def Conv2d_circular():
    return shifted(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), 3)


@CASES.equivariant(SHIFTED)
def Conv2d_circular_dilated_in_groups():
    return shifted(nn.Conv2d(2, 4, 3, padding=2, dilation=2, groups=2, padding_mode="circular"), 4)


@CASES.broken(EDGE)
def Conv2d_zero_padded():
    return shifted(nn.Conv2d(2, 3, 3, padding=1), 3)


@CASES.broken("reflected edges are no neighbours on the torus")
def Conv2d_reflecting():
    return shifted(nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), 3)


@CASES.equivariant("away from the edge a padded convolution is one filter everywhere")
def Conv2d_zero_padded_on_its_interior():
    return shifted(nn.Conv2d(2, 3, 3, padding=1), 3, mask=interior((3, 6, 6), margin=(1, 1)))


@CASES.broken("every second position is kept (Zhang 2019)")
def Conv2d_circular_with_a_stride_under_all_shifts():
    strided = nn.Conv2d(2, 2, 3, stride=2, padding=1, padding_mode="circular")
    return shifted(Calls(strided, lambda m, x: m(x).repeat_interleave(2, -1).repeat_interleave(2, -2)))


def halved(f) -> Question:
    """A question about a layer of 2 channels from 8 positions to 4, under shifts by an even number."""
    fine, coarse = grid_shifts(8), grid_shifts(4)
    even = fine.restrict(fine.group.subgroup([2]))
    group = even.group
    two = trivial(group, 2)
    return Question(f, group, two * even, two * coarse.pullback(group, [0, 1, 2, 3]))


@CASES.equivariant("a stride of 2 commutes with shifts by 2 (Zhang 2019)")
def Conv1d_with_a_stride_under_even_shifts():
    return halved(nn.Conv1d(2, 2, 3, stride=2, padding=1, padding_mode="circular"))


@CASES.equivariant("windows of 2 move onto windows of 2")
def MaxPool1d_under_even_shifts():
    return halved(nn.MaxPool1d(2))


@CASES.broken("windows of 2 at a stride of 2 do not move onto each other under a shift by 1 (Zhang 2019)")
def MaxPool2d_under_all_shifts():
    return shifted(lambda x: F.max_pool2d(x, 2).repeat_interleave(2, -1).repeat_interleave(2, -2))


@CASES.broken("padded with the least number at the edge")
def MaxPool2d_padded_with_stride_1():
    return shifted(nn.MaxPool2d(3, 1, 1))


@CASES.equivariant("the same maximum everywhere, the edge wraps around")
def MaxPool2d_after_circular_padding():
    return shifted(nn.Sequential(nn.CircularPad2d(1), nn.MaxPool2d(3, 1)))


@CASES.equivariant("the mean of all positions")
def AdaptiveAvgPool2d_to_one():
    grid = grid_shifts((6, 6))
    group = grid.group
    f = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Question(f, group, trivial(group, 2) * grid, trivial(group, 2))


@CASES.equivariant("the power spectrum does not change under shifts")
def absolute_value_of_rfft2():
    grid = grid_shifts((6, 6))
    group = grid.group
    f = lambda x: torch.fft.rfft2(x).abs().flatten(1)  # noqa: E731
    return Question(f, group, trivial(group, 2) * grid, trivial(group, 2 * 6 * 4))


@CASES.broken("the phase does")
def real_part_of_rfft2():
    grid = grid_shifts((6, 6))
    group = grid.group
    f = lambda x: torch.fft.rfft2(x).real.flatten(1)  # noqa: E731
    return Question(f, group, trivial(group, 2) * grid, trivial(group, 2 * 6 * 4))


@CASES.equivariant("statistics of all positions, scales by channel")
def InstanceNorm2d_with_scales():
    return shifted(moved(nn.InstanceNorm2d(2, affine=True)))


@CASES.equivariant("channels at one position")
def LocalResponseNorm_across_channels():
    return shifted(nn.LocalResponseNorm(2))


@CASES.equivariant("pointwise")
def GELU_at_each_position():
    return shifted(nn.GELU())


def doubled(f, channels: int) -> Question:
    """A question about a layer from ``channels`` of 3 x 3 positions to one of 6 x 6, under all shifts.

    A shift by one is a shift by two of what comes out.
    """
    coarse, fine = grid_shifts((3, 3)), grid_shifts((6, 6))
    group = coarse.group
    twice = [6 * 2 * (g // 3) + 2 * (g % 3) for g in range(9)]
    return Question(f, group, trivial(group, channels) * coarse, fine.pullback(group, twice).reshape(1, 6, 6))


@CASES.equivariant("each position becomes a block of its own channels (Shi et al. 2016)")
def PixelShuffle_by_2():
    return doubled(nn.PixelShuffle(2), 4)


@CASES.equivariant("each position becomes a block")
def Upsample_nearest_by_2():
    return doubled(nn.Upsample(scale_factor=2), 1)


@CASES.broken("the edge repeats itself instead of wrapping around")
def Upsample_bilinear_by_2():
    return doubled(nn.Upsample(scale_factor=2, mode="bilinear"), 1)


@CASES.equivariant("patches move with the image")
def Unfold_of_circularly_padded_images():
    grid = grid_shifts((6, 6))
    group = grid.group
    f = nn.Sequential(nn.CircularPad2d(1), nn.Unfold(3), nn.Unflatten(2, (6, 6)))
    return Question(f, group, trivial(group, 2) * grid, trivial(group, 18) * grid)


@CASES.broken("state starts at one end")
def LSTM_under_shifts():
    grid = grid_shifts(6)
    group = grid.group
    f = Calls(nn.LSTM(2, 2, batch_first=True), lambda m, x: m(x.mT)[0].mT)
    return Question(f, group, trivial(group, 2) * grid, trivial(group, 2) * grid)


@CASES.equivariant("the state of a linear recurrence is a causal filter; here the filter is circular")
def Conv1d_circular_causal():
    grid = grid_shifts(6)
    group = grid.group
    f = nn.Sequential(nn.CircularPad1d((2, 0)), nn.Conv1d(2, 2, 3), nn.SiLU())
    return Question(f, group, trivial(group, 2) * grid, trivial(group, 2) * grid)


# ------------------------------------------------------------------------------------------------------ turns, mirrors


def round_filter(channels_out: int, channels_in: int, size: int = 3, flips: bool = True) -> Tensor:
    """A random filter ``(out, in, size, size)`` that quarter turns, and with ``flips`` mirrors, do not change."""
    start = torch.randn(channels_out, channels_in, size, size)
    first, second, third, fourth = (torch.rot90(start, k, (-2, -1)) for k in range(4))
    weight = (first + second + third + fourth) / 4
    return (weight + weight.flip(-1)) / 2 if flips else weight


def round_conv(**options) -> nn.Conv2d:
    """A convolution with a 3 × 3 :func:`round_filter`, from 1 channel to 2."""
    conv = nn.Conv2d(1, 2, 3, **options)
    with torch.no_grad():
        conv.weight.copy_(round_filter(2, 1))
    return conv


def turned(f, size: int, after: int, channels: int = 2, before: int = 1, **options) -> Question:
    """A question about a function of square images under quarter turns and mirrors.

    ``size`` and ``before`` are the side and the channels of what goes in, ``after`` and ``channels`` of what comes out.
    """
    first, last = grid_rotations(size, flips=True), grid_rotations(after, flips=True)
    group = first.group
    return Question(f, group, trivial(group, before) * first, trivial(group, channels) * last, **options)


@CASES.equivariant("a filter that turns do not change (Cohen and Welling 2016); zeros at the edge turn with the image")
def Conv2d_with_a_round_filter():
    return turned(round_conv(padding=1), 6, 6)


@CASES.broken("a filter without symmetry (Cohen and Welling 2016)")
def Conv2d_with_any_filter():
    return turned(nn.Conv2d(1, 2, 3, padding=1), 6, 6)


@CASES.broken("one weight of a round filter is moved by 5% of their mean size")
def Conv2d_with_one_weight_of_a_round_filter_moved_by_5_percent():
    conv = round_conv(padding=1)
    with torch.no_grad():
        conv.weight[0, 0, 0, 1] += 0.05 * conv.weight.abs().mean()
    return turned(conv, 6, 6)


@CASES.equivariant("(7 + 2 - 3) is a multiple of the stride: positions kept turn onto themselves")
def Conv2d_round_with_a_stride_on_an_odd_grid():
    return turned(round_conv(padding=1, stride=2), 7, 4)


@CASES.broken("(8 + 2 - 3) is no multiple of the stride: positions kept turn onto others (Romero et al. 2020)")
def Conv2d_round_with_a_stride_on_an_even_grid():
    return turned(round_conv(padding=1, stride=2), 8, 4)


@CASES.equivariant("windows turn onto windows")
def MaxPool2d_on_an_even_grid():
    return turned(nn.MaxPool2d(2), 6, 3, 1)


@CASES.broken("the last row and column are dropped")
def MaxPool2d_on_an_odd_grid():
    return turned(nn.MaxPool2d(2), 7, 3, 1)


@CASES.equivariant("windows turn onto windows, also where they overlap")
def AdaptiveAvgPool2d_to_3():
    return turned(nn.AdaptiveAvgPool2d(3), 7, 3, 1)


@CASES.equivariant("bilinear weights are symmetric about the centre")
def Upsample_bilinear_under_turns():
    return turned(nn.Upsample(scale_factor=2, mode="bilinear"), 4, 8, 1)


@CASES.equivariant("a round filter, put down instead of read off")
def ConvTranspose2d_with_a_round_filter():
    conv = nn.ConvTranspose2d(1, 2, 3, stride=2, padding=1)
    with torch.no_grad():
        conv.weight.copy_(round_filter(1, 2))
    return turned(conv, 4, 7)


@CASES.broken("an extra row and column are put at one end")
def ConvTranspose2d_with_output_padding():
    conv = nn.ConvTranspose2d(1, 2, 3, stride=2, padding=1, output_padding=1)
    with torch.no_grad():
        conv.weight.copy_(round_filter(1, 2))
    return turned(conv, 4, 8)


class Lifts(nn.Module):
    """A filter in its four orientations: the first layer of Cohen and Welling 2016.

    ``turns`` is how many quarter turns lie between one channel and the next: 1, or -1 for the other order.
    """

    def __init__(self, turns: int = 1):
        super().__init__()
        self.weight, self.turns = nn.Parameter(torch.randn(1, 1, 3, 3)), turns

    def forward(self, x: Tensor) -> Tensor:
        """One channel for each orientation: ``(batch, 1, n, n) -> (batch, 4, n, n)``."""
        filters = [torch.rot90(self.weight, self.turns * k, (-2, -1)) for k in range(4)]
        return F.conv2d(x, torch.cat(filters), padding=1)


def lifted(f) -> Question:
    """A question about a function of 5 x 5 images, one channel to four, which a quarter turn moves on by one."""
    grid = grid_rotations(5)
    group = grid.group
    return Question(f, group, trivial(group) * grid, regular(group) * grid)


@CASES.equivariant("Cohen and Welling 2016, equation 10")
def conv2d_in_four_orientations():
    return lifted(Lifts())


@CASES.broken("orientations in the other order: the channels move the wrong way")
def conv2d_in_four_orientations_the_other_way_round():
    return lifted(Lifts(turns=-1))


@CASES.equivariant("one scale and shift for the field of four orientations")
def InstanceNorm_of_a_whole_field():
    return lifted(nn.Sequential(Lifts(), moved_with_one_scale()))


def moved_with_one_scale() -> nn.Module:
    """A norm of four channels together, with one scale and one shift for all of them."""
    norm = nn.GroupNorm(1, 4)
    with torch.no_grad():
        norm.weight.fill_(1.7)
        norm.bias.fill_(-0.2)
    return norm


@CASES.broken("a scale and running statistics for each orientation, after training")
def BatchNorm2d_of_orientations_after_training():
    norm = moved(nn.BatchNorm2d(4))
    norm(torch.randn(16, 4, 5, 5) * torch.arange(1.0, 5)[:, None, None])
    return lifted(nn.Sequential(Lifts(), norm.eval()))


@CASES.broken("a weight for each pixel")
def Flatten_and_Linear_of_an_image():
    grid = grid_rotations(5)
    f = nn.Sequential(nn.Flatten(), nn.Linear(25, 3))
    return Question(f, grid.group, trivial(grid.group) * grid, trivial(grid.group, 3))


# ------------------------------------------------------------------------------------------------------------ reversal


def reversed_sequence(f, swap: bool) -> Question:
    """A question about a function of sequences, 4 features to 6, under reading backwards.

    With ``swap`` the two halves of the output features then change places.
    """
    group = cyclic(2)
    back = permutation(group, [list(range(N)), list(range(N))[::-1]], "reversal")
    two = permutation(group, [[0, 1], [1, 0]], "swap") if swap else trivial(group, 2)
    return Question(f, group, back * trivial(group, 4), back * (two * trivial(group, 3)).reshape(6))


@CASES.equivariant("both directions share their weights: reading backwards swaps their outputs")
def LSTM_of_two_directions_with_shared_weights():
    lstm = nn.LSTM(4, 3, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            getattr(lstm, f"{name}_reverse").copy_(getattr(lstm, name))
    return reversed_sequence(Calls(lstm, lambda m, x: m(x)[0]), swap=True)


@CASES.broken("each direction has weights of its own (Schuster and Paliwal 1997)")
def LSTM_of_two_directions():
    lstm = nn.LSTM(4, 3, batch_first=True, bidirectional=True)
    return reversed_sequence(Calls(lstm, lambda m, x: m(x)[0]), swap=True)


@CASES.broken("state is carried one way")
def GRU_under_reversal():
    return reversed_sequence(Calls(nn.GRU(4, 6, batch_first=True), lambda m, x: m(x)[0]), swap=False)


@CASES.equivariant("a filter that reads the same backwards")
def Conv1d_with_an_even_filter():
    conv = nn.Conv1d(4, 6, 3, padding=1)
    with torch.no_grad():
        conv.weight.copy_((conv.weight + conv.weight.flip(-1)) / 2)
    return reversed_sequence(Calls(conv, lambda m, x: m(x.mT).mT), swap=False)


# ------------------------------------------------------------------------------------------------------------- vectors


def of_vectors(f, out: str, count: int = 4, outputs: int = 4) -> Question:
    """A question about a function of ``count`` vectors of space, ``(batch, count, 3)``, under rotations.

    ``out`` is ``vectors``, which turn, or numbers, which do not change; there are ``outputs`` of them.
    """
    group = so(3)
    rep_in = trivial(group, count) * defining(group)
    return Question(
        f, group, rep_in, trivial(group, outputs) * defining(group) if out == "vectors" else trivial(group, outputs)
    )


@CASES.equivariant("the length of a vector does not change")
def normalize_of_vectors():
    return of_vectors(lambda x: F.normalize(x, dim=-1), "vectors")


@CASES.equivariant("numbers mix vectors, not their axes (Deng et al. 2021, vector neurons)")
def Linear_across_vectors():
    return of_vectors(Calls(nn.Linear(4, 4, bias=False), lambda m, x: m(x.mT).mT), "vectors")


@CASES.broken("a constant vector is added, which does not turn")
def Linear_across_vectors_with_a_bias():
    return of_vectors(Calls(nn.Linear(4, 4), lambda m, x: m(x.mT).mT), "vectors")


@CASES.broken("mixes axes by a matrix that is no multiple of I (Schur)")
def Linear_of_axes():
    return of_vectors(nn.Linear(3, 3, bias=False), "vectors")


@CASES.broken("cuts axes off")
def ReLU_of_vectors():
    return of_vectors(nn.ReLU(), "vectors")


@CASES.broken("takes the mean of the axes away")
def LayerNorm_of_vectors():
    return of_vectors(nn.LayerNorm(3), "vectors")


@CASES.equivariant("divides by the length, which does not change")
def RMSNorm_of_vectors():
    return of_vectors(nn.RMSNorm(3, elementwise_affine=False), "vectors")


@CASES.broken("a scale for each axis")
def RMSNorm_of_vectors_with_scales():
    return of_vectors(moved(nn.RMSNorm(3)), "vectors")


@CASES.equivariant("rotations keep orientation")
def cross_product_of_vectors():
    return of_vectors(lambda x: torch.linalg.cross(x[:, :2], x[:, 2:]), "vectors", outputs=2)


@CASES.equivariant("distances do not change")
def cdist_of_points():
    return of_vectors(lambda x: torch.cdist(x, x).flatten(1), "numbers", outputs=16)


@CASES.broken("a sum of absolute values is no length")
def distance_of_points_in_the_1_norm():
    return of_vectors(lambda x: torch.cdist(x, x, p=1).flatten(1), "numbers", outputs=16)


@CASES.equivariant("singular values do not change")
def svdvals_of_vectors():
    return of_vectors(torch.linalg.svdvals, "numbers", outputs=3)


@CASES.equivariant("vectors attend by their inner products, values are vectors")
def scaled_dot_product_attention_of_vectors():
    return of_vectors(lambda x: F.scaled_dot_product_attention(x, x, x), "vectors")


@CASES.equivariant("the gradient of an invariant energy (the forces)")
def gradient_of_an_energy_of_distances():
    mlp = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1))

    def force(m, x):
        x = x.requires_grad_()
        gaps = (x[:, :, None] - x[:, None]).square().sum(-1)
        return torch.autograd.grad(m(gaps.flatten(1)).sum(), x)[0]

    return of_vectors(Calls(mlp, force), "vectors")


@CASES.broken("an energy of positions themselves, on an offset of -10,253 (an atom's own energy)")
def energy_of_positions_with_a_large_offset():
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 1)).double()
    return of_vectors(Calls(mlp, lambda m, x: m(x) - 10253.2), "numbers", outputs=1)


@CASES.equivariant("an energy of distances, on the same offset, in float64")
def energy_of_distances_with_a_large_offset():
    mlp = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1)).double()
    call = lambda m, x: m((x[:, :, None] - x[:, None]).square().sum(-1).flatten(1)) - 10253.2  # noqa: E731
    return of_vectors(Calls(mlp, call), "numbers", outputs=1)


@CASES.equivariant("a vector of the plane times a function of its length commutes with turns and mirrors")
def length_gate_in_the_plane():
    group = dihedral(6)
    plane = planar(6, flips=True)
    mlp = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
    return Question(Calls(mlp, lambda m, x: x * m(x.norm(dim=-1, keepdim=True))), group, plane, plane)


@CASES.broken("turned by a right angle: commutes with turns, but a mirror reverses it")
def right_angle_in_the_plane_under_mirrors():
    group = dihedral(6)
    plane = planar(6, flips=True)
    return Question(lambda x: torch.stack([-x[:, 1], x[:, 0]], -1), group, plane, plane)


@CASES.equivariant("turned by a right angle: turns of the plane commute")
def right_angle_in_the_plane_under_turns():
    group = cyclic(6)
    return Question(lambda x: torch.stack([-x[:, 1], x[:, 0]], -1), group, planar(6), planar(6))
