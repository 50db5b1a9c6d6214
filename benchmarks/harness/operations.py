"""Small networks around one torch operation each, and losses, for :mod:`benchmarks.derivatives`.

Each operation stands between learned numbers and a learned head, so that its first, second and mixed derivatives all
reach the meta-gradient. Sizes are the smallest at which the operation does what it is for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["LOSSES", "OPERATIONS", "Loss", "Operation"]

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Operation:
    """A torch operation on examples of a shape.

    Attributes:
        name: of the row in the table.
        make: gives a module or a function of ``(examples, *shape)``, whose result may have any shape.
        shape: of an example.
        front: whether learned numbers stand before it; not before an operation on whole numbers.
    """

    name: str
    make: Callable[[], Map]
    shape: tuple[int, ...] = (4,)
    front: bool = True

    def network(self) -> nn.Module:
        """A new network: the operation between a learned front and a learned head with two outputs, in float64.

        Its parameters are always the same, drawn from a seed that depends on the name, and off their usual start.
        """
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(len(self.name) + sum(map(ord, self.name)))
            made = self.make()
            net = Between(self.shape, made if isinstance(made, nn.Module) else Calls(made), self.front).double()
            for p in net.parameters():
                p.add_(0.3 * torch.randn_like(p))
            net.size_head()
        return net


@dataclass(frozen=True)
class Loss:
    """A criterion on predictions ``(examples, 3)``, and ``target``, which makes its targets from noise ``(…, 3)``."""

    name: str
    criterion: Callable[[Tensor, Tensor], Tensor]
    target: Callable[[Tensor], Tensor]


class Calls(nn.Module):
    """A function as a module."""

    def __init__(self, function: Map):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function."""
        return self.function(x)


class Between(nn.Module):
    """``head(tanh(P f(a x + b)))``: ``a, b`` of an example's shape and the head are learned, ``P`` is fixed."""

    mix: Tensor

    def __init__(self, shape: tuple[int, ...], inner: nn.Module, front: bool):
        super().__init__()
        self.shape = shape
        self.front = front
        self.a = nn.Parameter(torch.ones(shape))
        self.b = nn.Parameter(torch.zeros(shape))
        self.inner = inner
        self.head = nn.Linear(3, 2)
        self.register_buffer("mix", torch.zeros(0))

    def size_head(self) -> None:
        """Draw ``P``, ``mix``, for as many numbers as the operation gives for an example, which one call finds out."""
        size = self.numbers(torch.randn(6, *self.shape, dtype=torch.float64)).shape[1]
        self.mix = torch.randn(size, 3, dtype=torch.float64) / size**0.5

    def numbers(self, x: Tensor) -> Tensor:
        """The results of the operation for each example, flat and real: ``(examples, numbers)``."""
        y = self.inner(self.a * x + self.b if self.front else x)
        if y.is_complex():
            y = torch.view_as_real(y)
        return y.reshape(x.shape[0], -1)

    def forward(self, x: Tensor) -> Tensor:
        """Two numbers for each example, ``(examples, 2)``."""
        return self.head(torch.tanh(self.numbers(x) @ self.mix))


class Attends(nn.Module):
    """Self-attention of 4 features with two heads.

    ``ask`` goes to the layer's call, ``how`` to its constructor; with ``causal`` later rows are hidden.
    """

    def __init__(self, ask: dict | None = None, causal: bool = False, **how: bool):
        super().__init__()
        self.layer = nn.MultiheadAttention(4, 2, batch_first=True, **how)
        self.ask = ask or {}
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        """The attended values, of the shape of ``x (examples, rows, 4)``."""
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype) if self.causal else None
        return self.layer(x, x, x, attn_mask=mask, is_causal=self.causal, **self.ask)[0]


class Reads(nn.Module):
    """A recurrent layer on a sequence, which gives its outputs and its last states."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of all steps and last states, flat and side by side: ``(examples, numbers)``."""
        y, h = self.layer(x)
        states = [s.transpose(0, 1).reshape(x.shape[0], -1) for s in (h if isinstance(h, tuple) else (h,))]
        return torch.cat([y.flatten(1), *states], 1)


class Steps(nn.Module):
    """A recurrent cell that goes through the steps of a sequence."""

    def __init__(self, cell: nn.Module):
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        """The last state after ``x (examples, steps, features)``; two states, of an LSTM, stand side by side."""
        state: Any = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return torch.cat(state, 1) if isinstance(state, tuple) else state


class Looks(nn.Module):
    """An embedding of whole numbers, read off the input."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """What the layer gives for whole numbers below 5 that are made from ``x``."""
        return self.layer((x.detach() * 3).long().abs() % 5)


class Own(nn.Module):
    """A function of the input and of learned parameters of these shapes, which start as noise."""

    def __init__(self, function: Callable[..., Tensor], *shapes: tuple[int, ...]):
        super().__init__()
        self.function = function
        self.own = nn.ParameterList([nn.Parameter(torch.randn(shape)) for shape in shapes])

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function."""
        return self.function(x, *self.own)


class Checkpointed(nn.Module):
    """A linear layer and tanh whose middle values are not kept, but computed again in the backward pass."""

    def __init__(self, reentrant: bool):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        """``tanh(linear(x))``."""
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


def hooked() -> nn.Module:
    """A linear layer and tanh, with a full backward hook that does nothing."""
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    net[0].register_full_backward_hook(lambda module, inward, outward: None)
    return net


class TwoInputs(nn.Module):
    """A norm of a sum of two branches, as in a residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(4, 4)
        self.right = nn.Bilinear(4, 4, 4)
        self.norm = nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        """``norm(left(x) + right(x, tanh x))``."""
        return self.norm(self.left(x) + self.right(x, torch.tanh(x)))


def spd(x: Tensor) -> Tensor:
    """A symmetric positive definite matrix, ``x xᵀ + I``, of each matrix ``(..., n, n)``."""
    return x @ x.mT + torch.eye(x.shape[-1], dtype=x.dtype)


def _modules(*made: tuple[str, Callable[[], nn.Module], tuple[int, ...]]) -> list[Operation]:
    """Operations from their name, what makes the module, and the shape of an example."""
    return [Operation(name, make, shape) for name, make, shape in made]


def _functions(shape: tuple[int, ...], **functions: Map) -> list[Operation]:
    """Operations from functions by name, all on examples of one shape."""
    return [Operation(name, lambda f=f: f, shape) for name, f in functions.items()]  # type: ignore[misc]


_LINE = (3, 6)
_IMAGE = (2, 4, 4)
_CUBE = (2, 3, 3, 3)
_ROWS = (3, 4)
_HEADS = (2, 3, 4)
_SQUARE = (3, 3)
_WN, _SN, _ON = (getattr(nn.utils.parametrizations, n) for n in ("weight_norm", "spectral_norm", "orthogonal"))

_NORMS = _modules(
    ("LayerNorm", lambda: nn.LayerNorm(4), (4,)),
    ("LayerNorm no affine", lambda: nn.LayerNorm(4, elementwise_affine=False), (4,)),
    ("LayerNorm no bias", lambda: nn.LayerNorm(4, bias=False), (4,)),
    ("LayerNorm two axes", lambda: nn.LayerNorm((3, 4)), _ROWS),
    (
        "LayerNorm in Sequential",
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.LayerNorm(5), nn.Tanh())),
        (4,),
    ),
    ("LayerNorm of two branches", TwoInputs, (4,)),
    ("BatchNorm1d", lambda: nn.BatchNorm1d(4), (4,)),
    ("BatchNorm2d", lambda: nn.BatchNorm2d(2), _IMAGE),
    ("BatchNorm3d no affine", lambda: nn.BatchNorm3d(2, affine=False), _CUBE),
    ("BatchNorm1d eval", lambda: nn.BatchNorm1d(4).eval(), (4,)),
    ("InstanceNorm1d", lambda: nn.InstanceNorm1d(3), _LINE),
    ("InstanceNorm1d affine", lambda: nn.InstanceNorm1d(3, affine=True), _LINE),
    ("InstanceNorm2d affine", lambda: nn.InstanceNorm2d(2, affine=True), _IMAGE),
    ("InstanceNorm3d affine", lambda: nn.InstanceNorm3d(2, affine=True), _CUBE),
    ("GroupNorm", lambda: nn.GroupNorm(2, 4), (4, 3)),
    ("GroupNorm of one", lambda: nn.GroupNorm(1, 2), _IMAGE),
    ("RMSNorm", lambda: nn.RMSNorm(4), (4,)),
    ("LocalResponseNorm", lambda: nn.LocalResponseNorm(2), _IMAGE),
    ("weight_norm", lambda: _WN(nn.Linear(4, 4)), (4,)),
    ("weight_norm whole", lambda: _WN(nn.Linear(4, 4), dim=None), (4,)),
    ("weight_norm convolution", lambda: _WN(nn.Conv2d(2, 2, 3)), _IMAGE),
    ("weight_norm last axis", lambda: _WN(nn.Linear(4, 4), dim=1), (4,)),
    ("spectral_norm eval", lambda: _SN(nn.Linear(4, 4)).eval(), (4,)),
    ("orthogonal", lambda: _ON(nn.Linear(4, 4)), (4,)),
)
_CALLED_NORMS = [
    Operation("F.layer_norm", lambda: Own(lambda x, w, b: F.layer_norm(x, (4,), w, b), (4,), (4,))),
    Operation("torch.layer_norm", lambda: Own(lambda x, w: torch.layer_norm(x, [4], w, None), (4,))),
    Operation(
        "native_layer_norm", lambda: Own(lambda x, w, b: torch.native_layer_norm(x, [4], w, b, 1e-5)[0], (4,), (4,))
    ),
    Operation(
        "aten.native_layer_norm", lambda: lambda x: torch.ops.aten.native_layer_norm(x, [4], None, None, 1e-5)[0]
    ),
    Operation("aten.layer_norm", lambda: Own(lambda x, w: torch.ops.aten.layer_norm(x, [4], w), (4,))),
    Operation("F.instance_norm", lambda: Own(lambda x, w, b: F.instance_norm(x, weight=w, bias=b), (3,), (3,)), _LINE),
    Operation("F.batch_norm", lambda: Own(lambda x, w, b: F.batch_norm(x, None, None, w, b, True), (4,), (4,))),
    Operation("F.group_norm", lambda: Own(lambda x, w, b: F.group_norm(x, 2, w, b), (4,), (4,)), (4, 3)),
    Operation("F.rms_norm", lambda: Own(lambda x, w: F.rms_norm(x, (4,), w), (4,))),
    Operation("torch._weight_norm", lambda: Own(lambda x, v, g: x @ torch._weight_norm(v, g, 0), (4, 4), (4, 1))),
    Operation("F.normalize", lambda: F.normalize),
]
_POOLS = _modules(
    ("MaxPool1d", lambda: nn.MaxPool1d(2), _LINE),
    ("MaxPool2d", lambda: nn.MaxPool2d(2), _IMAGE),
    ("MaxPool2d overlapping", lambda: nn.MaxPool2d(3, 1, 1), _IMAGE),
    ("MaxPool3d", lambda: nn.MaxPool3d(2), _CUBE),
    ("AvgPool1d", lambda: nn.AvgPool1d(2), _LINE),
    ("AvgPool2d", lambda: nn.AvgPool2d(2), _IMAGE),
    ("AvgPool3d", lambda: nn.AvgPool3d(2), _CUBE),
    ("LPPool1d", lambda: nn.LPPool1d(2, 2), _LINE),
    ("LPPool2d", lambda: nn.LPPool2d(2, 2), _IMAGE),
    ("AdaptiveMaxPool1d", lambda: nn.AdaptiveMaxPool1d(2), _LINE),
    ("AdaptiveMaxPool2d", lambda: nn.AdaptiveMaxPool2d(2), _IMAGE),
    ("AdaptiveAvgPool1d", lambda: nn.AdaptiveAvgPool1d(2), _LINE),
    ("AdaptiveAvgPool2d", lambda: nn.AdaptiveAvgPool2d(2), _IMAGE),
    ("AdaptiveAvgPool3d", lambda: nn.AdaptiveAvgPool3d(2), _CUBE),
)
_POOLS += _functions(_IMAGE, max_unpool2d=lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), [2, 2]))
_CONVOLUTIONS = _modules(
    ("Linear", lambda: nn.Linear(4, 3), (4,)),
    ("Bilinear", lambda: Own(lambda x, w: F.bilinear(x, x, w), (2, 4, 4)), (4,)),
    ("Conv1d", lambda: nn.Conv1d(3, 2, 3), _LINE),
    ("Conv2d", lambda: nn.Conv2d(2, 2, 3), _IMAGE),
    ("Conv2d grouped", lambda: nn.Conv2d(2, 2, 3, groups=2, stride=2, padding=1), _IMAGE),
    ("Conv2d circular", lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), _IMAGE),
    ("Conv2d dilated", lambda: nn.Conv2d(2, 2, 2, dilation=2), _IMAGE),
    ("Conv3d", lambda: nn.Conv3d(2, 2, 2), _CUBE),
    ("ConvTranspose1d", lambda: nn.ConvTranspose1d(3, 2, 3), _LINE),
    ("ConvTranspose2d", lambda: nn.ConvTranspose2d(2, 2, 2, stride=2), _IMAGE),
    ("Unfold", lambda: nn.Unfold(2), _IMAGE),
    ("Fold", lambda: nn.Sequential(nn.Unfold(2), nn.Fold((4, 4), 2)), _IMAGE),
)
_PADDINGS = _modules(
    ("ReflectionPad1d", lambda: nn.ReflectionPad1d(1), _LINE),
    ("ReflectionPad2d", lambda: nn.ReflectionPad2d(1), _IMAGE),
    ("ReplicationPad1d", lambda: nn.ReplicationPad1d(1), _LINE),
    ("ReplicationPad2d", lambda: nn.ReplicationPad2d(1), _IMAGE),
    ("ReplicationPad3d", lambda: nn.ReplicationPad3d(1), _CUBE),
    ("CircularPad2d", lambda: nn.CircularPad2d(1), _IMAGE),
    ("ConstantPad2d", lambda: nn.ConstantPad2d(1, 0.5), _IMAGE),
)
_ACTIVATIONS = [
    Operation(name, getattr(nn, name))
    for name in [
        "ELU",
        "Hardshrink",
        "Hardsigmoid",
        "Hardtanh",
        "Hardswish",
        "LeakyReLU",
        "LogSigmoid",
        "PReLU",
        "ReLU",
        "ReLU6",
        "SELU",
        "CELU",
        "GELU",
        "Sigmoid",
        "SiLU",
        "Mish",
        "Softplus",
        "Softshrink",
        "Softsign",
        "Tanh",
        "Tanhshrink",
    ]
]
_ACTIVATIONS += _modules(
    ("PReLU for each channel", lambda: nn.PReLU(3), _LINE),
    ("GELU tanh", lambda: nn.GELU("tanh"), (4,)),
    ("GLU", lambda: nn.GLU(), (4,)),
    ("Softmax", lambda: nn.Softmax(-1), (4,)),
    ("LogSoftmax", lambda: nn.LogSoftmax(-1), (4,)),
    ("Softmin", lambda: nn.Softmin(-1), (4,)),
    ("Threshold", lambda: nn.Threshold(0.1, 0.2), (4,)),
)
_ACTIVATIONS += [Operation("F.prelu", lambda: Own(F.prelu, (1,)))]
_ATTENTION = [
    Operation("MultiheadAttention", Attends, _ROWS),
    Operation("MultiheadAttention no weights", lambda: Attends({"need_weights": False}), _ROWS),
    Operation("MultiheadAttention causal", lambda: Attends({"need_weights": False}, True), _ROWS),
    Operation("MultiheadAttention bias_kv", lambda: Attends({"need_weights": False}, add_bias_kv=True), _ROWS),
    Operation("MultiheadAttention eval", lambda: Attends({"need_weights": False}).eval(), _ROWS),
    # With an axis of heads: only then does torch take its fused kernel.
    Operation("scaled_dot_product", lambda: lambda x: F.scaled_dot_product_attention(x, 2 * x, torch.tanh(x)), _HEADS),
    Operation(
        "scaled_dot_product causal",
        lambda: lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True, scale=0.7),
        _HEADS,
    ),
    Operation(
        "scaled_dot_product masked",
        lambda: lambda x: F.scaled_dot_product_attention(x, x, x, torch.ones(3, 3, dtype=torch.bool).tril()),
        _HEADS,
    ),
    Operation("TransformerEncoderLayer", lambda: nn.TransformerEncoderLayer(4, 2, 5, 0.0, batch_first=True), _ROWS),
    Operation(
        "TransformerEncoderLayer eval",
        lambda: nn.TransformerEncoderLayer(4, 2, 5, 0.0, batch_first=True, norm_first=True).eval(),
        _ROWS,
    ),
    Operation(
        "TransformerDecoderLayer",
        lambda: OnTwo(nn.TransformerDecoderLayer(4, 2, 5, 0.0, batch_first=True)),
        _ROWS,
    ),
]


class OnTwo(nn.Module):
    """A module of two inputs on the input and its tanh."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """``layer(x, tanh x)``."""
        return self.layer(x, torch.tanh(x))


_RECURRENT = _modules(
    ("RNN", lambda: Reads(nn.RNN(4, 3, batch_first=True)), (2, 4)),
    ("RNN relu", lambda: Reads(nn.RNN(4, 3, nonlinearity="relu", batch_first=True)), (2, 4)),
    ("GRU", lambda: Reads(nn.GRU(4, 3, batch_first=True)), (2, 4)),
    ("LSTM", lambda: Reads(nn.LSTM(4, 3, batch_first=True)), (2, 4)),
    ("LSTM two layers both ways", lambda: Reads(nn.LSTM(4, 2, 2, batch_first=True, bidirectional=True)), (2, 4)),
    ("LSTM projected", lambda: Reads(nn.LSTM(4, 3, proj_size=2, batch_first=True)), (2, 4)),
    ("GRU no bias", lambda: Reads(nn.GRU(4, 3, bias=False, batch_first=True)), (2, 4)),
    ("RNNCell", lambda: Steps(nn.RNNCell(4, 3)), (2, 4)),
    ("GRUCell", lambda: Steps(nn.GRUCell(4, 3)), (2, 4)),
    ("LSTMCell", lambda: Steps(nn.LSTMCell(4, 3)), (2, 4)),
)
_RESAMPLING = _modules(
    ("Upsample nearest", lambda: nn.Upsample(scale_factor=2), _LINE),
    ("Upsample linear", lambda: nn.Upsample(scale_factor=2, mode="linear"), _LINE),
    ("Upsample bilinear", lambda: nn.Upsample(scale_factor=2, mode="bilinear"), _IMAGE),
    ("Upsample bicubic", lambda: nn.Upsample(scale_factor=2, mode="bicubic"), _IMAGE),
    ("Upsample trilinear", lambda: nn.Upsample(scale_factor=2, mode="trilinear"), _CUBE),
    ("PixelShuffle", lambda: nn.PixelShuffle(2), (4, 2, 2)),
    ("PixelUnshuffle", lambda: nn.PixelUnshuffle(2), _IMAGE),
    ("ChannelShuffle", lambda: nn.ChannelShuffle(2), (4, 2)),
)
_RESAMPLING += _functions(
    _IMAGE,
    interpolate_area=lambda x: F.interpolate(x, (3, 3), mode="area"),
    interpolate_antialias=lambda x: F.interpolate(x, (3, 3), mode="bilinear", antialias=True),
    grid_sample=lambda x: F.grid_sample(x, x.mT.reshape(len(x), 4, 4, 2).tanh() * 0.9, align_corners=False),
    affine_grid=lambda x: F.affine_grid(x[:, 0, :2, :3], [len(x), 1, 3, 3], align_corners=False),
)


def _bag(mode: str) -> nn.Module:
    """An embedding bag of a mode, sum, mean or max, on whole numbers read off the input."""
    return Looks(nn.EmbeddingBag(5, 3, mode=mode))


_EMBEDDINGS = [
    Operation("Embedding", lambda: Looks(nn.Embedding(5, 3)), front=False),
    # The padding row is a constant by design, so nothing reads it here.
    Operation("Embedding padded", lambda: Looks(nn.Embedding(6, 3, padding_idx=5)), front=False),
    *(Operation(f"EmbeddingBag {mode}", partial(_bag, mode), front=False) for mode in ("sum", "mean", "max")),
    Operation("F.one_hot", lambda: Looks(Own(lambda i, w: F.one_hot(i, 5).to(w) @ w, (5, 3))), front=False),
]
_LINALG = _functions(
    _SQUARE,
    inv=lambda x: torch.linalg.inv(spd(x)),
    det=torch.linalg.det,
    slogdet=lambda x: torch.linalg.slogdet(spd(x))[1],
    cholesky=lambda x: torch.linalg.cholesky(spd(x)),
    solve=lambda x: torch.linalg.solve(spd(x), x),
    qr=lambda x: torch.linalg.qr(x)[1],
    svdvals=torch.linalg.svdvals,
    eigvalsh=lambda x: torch.linalg.eigvalsh(spd(x)),
    eigh=lambda x: torch.linalg.eigh(spd(x))[1].square(),
    pinv=lambda x: torch.linalg.pinv(x[:, :, :2]),
    matrix_exp=lambda x: torch.matrix_exp(x / 2),
    matrix_power=lambda x: torch.linalg.matrix_power(x, 3),
    matrix_norm=lambda x: torch.linalg.matrix_norm(x),
    vector_norm=lambda x: torch.linalg.vector_norm(x, 3, dim=-1),
    cross=lambda x: torch.linalg.cross(x, x.flip(-2)),
    bmm=lambda x: torch.bmm(x, x),
    einsum=lambda x: torch.einsum("nij,nkj->nik", x, x),
    lu=lambda x: torch.linalg.lu(spd(x))[2],
    triangular_solve=lambda x: torch.linalg.solve_triangular(spd(x), x, upper=False),
    lstsq=lambda x: torch.linalg.lstsq(spd(x), x).solution,
)
_DISTANCES = _functions(
    _ROWS,
    cdist=lambda x: torch.cdist(x, x.flip(1) + 0.5),
    cdist_1=lambda x: torch.cdist(x, x.flip(1) + 0.5, p=1.0),
    cdist_3=lambda x: torch.cdist(x, x.flip(1) + 0.5, p=3.0),
    cdist_max=lambda x: torch.cdist(x, x.flip(1) + 0.5, p=float("inf")),
    cdist_to_itself=lambda x: torch.cdist(x, x),
    pdist=lambda x: F.pdist(x.flatten(1)).sum() * x,
    pdist_1=lambda x: F.pdist(x.flatten(1), 1.0).mean() * x,
    pairwise_distance=lambda x: F.pairwise_distance(x, x.flip(1) + 0.5),
    cosine_similarity=lambda x: F.cosine_similarity(x, x.flip(1) + 0.5, dim=-1),
)
_SELECTION = _functions(
    (5,),
    sort=lambda x: x.sort(-1).values,
    topk=lambda x: x.topk(3, -1).values,
    argsort_gather=lambda x: x.gather(-1, x.flip(-1).argsort(-1)),
    median=lambda x: x.median(-1).values,
    kthvalue=lambda x: x.kthvalue(2, -1).values,
    amax=lambda x: torch.stack([x.amax(-1), x.max(-1).values], -1),
    cummax=lambda x: x.cummax(-1).values,
    cumsum=lambda x: x.cumsum(-1),
    cumprod=lambda x: x.cumprod(-1),
    logcumsumexp=lambda x: x.logcumsumexp(-1),
    logsumexp=lambda x: x.logsumexp(-1),
    quantile=lambda x: x.quantile(0.3, dim=-1),
    where=lambda x: torch.where(x > 0, x.square(), x),
    clamp=lambda x: x.clamp(-0.5, 0.5),
    index_select=lambda x: x.index_select(1, torch.tensor([3, 0, 0])),
    fancy_index=lambda x: x[:, [3, 1, 1]],
    scatter_add=lambda x: torch.zeros_like(x).scatter_add(1, (x.detach() > 0).long(), x),
    index_add=lambda x: torch.zeros_like(x).index_add(1, torch.tensor([0, 1, 0, 2, 2]), x),
    masked_fill=lambda x: x.masked_fill(x > 0.3, 0.7),
    take_along_dim=lambda x: x.take_along_dim(torch.tensor([[4, 0]]), 1),
    roll=lambda x: x.roll(2, 1),
    unfold=lambda x: x.unfold(1, 3, 1),
    diff=lambda x: x.diff(dim=-1),
    prod=lambda x: x.prod(-1),
    var=lambda x: torch.stack([x.var(-1), x.std(-1)], -1),
    renorm=lambda x: x.renorm(2, 0, 1.0),
    atan2=lambda x: torch.atan2(x, x.flip(-1) + 3),
    pow=lambda x: (x.square() + 1).pow(1.3),
    lgamma=lambda x: torch.lgamma(x.square() + 1),
    erf=torch.erf,
    sinc=torch.sinc,
    expm1=torch.expm1,
    logaddexp=lambda x: torch.logaddexp(x, x.flip(-1)),
    xlogy=lambda x: torch.xlogy(x, x.flip(-1).square() + 1),
    trapezoid=lambda x: torch.trapezoid(x.square(), dim=-1),
)
_SELECTION += _functions(
    (4, 4),
    fft=lambda x: torch.fft.fft(x),
    rfft2=lambda x: torch.fft.rfft2(x),
    irfft=lambda x: torch.fft.irfft(torch.fft.rfft(x).square(), n=4),
    stft=lambda x: torch.stft(x.flatten(1), 4, 2, window=torch.ones(4, dtype=x.dtype), return_complex=True),
    complex_abs=lambda x: torch.fft.fft(x).abs(),
)
_KEPT = [
    Operation("checkpoint", lambda: Checkpointed(False)),
    Operation("checkpoint reentrant", lambda: Checkpointed(True)),
    Operation("full backward hook", hooked),
]

OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        *_NORMS, *_CALLED_NORMS, *_POOLS, *_CONVOLUTIONS, *_PADDINGS, *_ACTIVATIONS, *_ATTENTION, *_RECURRENT,
        *_RESAMPLING, *_EMBEDDINGS, *_LINALG, *_DISTANCES, *_SELECTION, *_KEPT,
    )
}  # fmt: skip


def _labels(y: Tensor) -> Tensor:
    """The place of the largest number as a class."""
    return y.argmax(-1)


def _same(y: Tensor) -> Tensor:
    """The numbers themselves."""
    return y


def _signs(y: Tensor) -> Tensor:
    """The signs, +1 or −1."""
    return y.sign()


def _chances(y: Tensor) -> Tensor:
    """Probabilities, by a softmax over the last axis."""
    return y.softmax(-1)


def _class_sets(y: Tensor) -> Tensor:
    """Sets of classes as ``multilabel_margin_loss`` takes them: class numbers, then −1 up to the length of the axis."""
    return torch.where(y > y.mean(-1, keepdim=True), y.argsort(-1), -1).sort(-1, descending=True).values


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("mse_loss", F.mse_loss, _same),
        Loss("l1_loss", F.l1_loss, _same),
        Loss("huber_loss", F.huber_loss, _same),
        Loss("smooth_l1_loss", F.smooth_l1_loss, _same),
        Loss("cross_entropy", F.cross_entropy, _labels),
        Loss("cross_entropy of chances", F.cross_entropy, _chances),
        Loss("nll_loss", lambda p, y: F.nll_loss(p.log_softmax(-1), y), _labels),
        Loss("multi_margin_loss", F.multi_margin_loss, _labels),
        Loss("multi_margin_loss p=2", lambda p, y: F.multi_margin_loss(p, y, p=2, margin=0.7), _labels),
        Loss("multilabel_margin_loss", F.multilabel_margin_loss, _class_sets),
        Loss("multilabel_soft_margin_loss", F.multilabel_soft_margin_loss, _chances),
        Loss("binary_cross_entropy", lambda p, y: F.binary_cross_entropy(p.sigmoid(), y), _chances),
        Loss("binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits, _chances),
        Loss("kl_div", lambda p, y: F.kl_div(p.log_softmax(-1), y, reduction="batchmean"), _chances),
        Loss("poisson_nll_loss", F.poisson_nll_loss, _chances),
        Loss("poisson_nll_loss full", lambda p, y: F.poisson_nll_loss(p, 3 * y, full=True), _chances),
        Loss("gaussian_nll_loss", lambda p, y: F.gaussian_nll_loss(p, y, p.square() + 0.5), _same),
        Loss("soft_margin_loss", F.soft_margin_loss, _signs),
        Loss("hinge_embedding_loss", F.hinge_embedding_loss, _signs),
        Loss("margin_ranking_loss", lambda p, y: F.margin_ranking_loss(p[:, 0], p[:, 1], y[:, 0].sign()), _same),
        Loss("cosine_embedding_loss", lambda p, y: F.cosine_embedding_loss(p, y, y[:, 0].sign()), _same),
        Loss("triplet_margin_loss", lambda p, y: F.triplet_margin_loss(p, y, y.flip(0)), _same),
        Loss(
            "triplet_margin_with_distance_loss",
            lambda p, y: F.triplet_margin_with_distance_loss(
                p, y, y.flip(0), distance_function=lambda a, b: torch.cdist(a[:, None], b[:, None]).flatten()
            ),
            _same,
        ),
        Loss(
            "ctc_loss",
            lambda p, y: F.ctc_loss(
                p.log_softmax(-1)[:, None], torch.tensor([[1, 2]]), torch.tensor([len(p)]), torch.tensor([2])
            ),
            _same,
        ),
    )
}
