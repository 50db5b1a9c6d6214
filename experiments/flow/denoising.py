"""A small network of torch, trained for seconds: tokens are noisy copies of a few points, which it is to give back.

The points are drawn anew for each set of tokens, so that a token can be cleaned only by looking at others like it: what
attention is for, and what the flow does by itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Network", "Sets", "error_of", "made", "train"]

WIDTH = 32
HEADS = 4
RATE = 6e-3
BATCH = 32


@dataclass(frozen=True)
class Sets:
    """Sets of tokens, each a noisy copy of one of a few points.

    Attributes:
        n: tokens of a set.
        points: of a set, uniform on the sphere of norm ``√d``.
        d: dimensions.
        noise: standard deviation of each number of a token.
    """

    n: int = 12
    points: int = 3
    d: int = 8
    noise: float = 0.5

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Tokens and the points that they are copies of, both ``(count, n, d)``."""
        points = torch.randn(count, self.points, self.d, generator=generator)
        points = points * self.d**0.5 / points.norm(dim=-1, keepdim=True)
        which = torch.randint(self.points, (count, self.n), generator=generator)
        clean = points.gather(1, which[..., None].expand(-1, -1, self.d))
        return clean + self.noise * torch.randn(clean.shape, generator=generator), clean


class Network(nn.Module):
    """An encoder between two linear layers, without positions: it does not know the order of tokens."""

    def __init__(self, d: int, layers: int, *, norm_first: bool):
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 2 * WIDTH, dropout=0.0, batch_first=True, norm_first=norm_first
        )
        self.inner = nn.Linear(d, WIDTH)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.outer = nn.Linear(WIDTH, d)

    def forward(self, X: Tensor) -> Tensor:
        """The points that tokens ``(batch, n, d)`` are copies of, as the network has it."""
        return self.outer(self.encoder(self.inner(X)))


def made(sets: Sets, layers: int, seed: int, *, norm_first: bool) -> Network:
    """A network with torch's own random weights, those of a seed. All layers begin with different ones."""
    # torch's layers draw from the global generator, which is put back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(sets.d, layers, norm_first=norm_first)
        # An encoder copies its one layer; copies would have the same weights.
        for layer in network.encoder.layers:
            for module in layer.modules():
                if isinstance(module, nn.Linear):
                    module.reset_parameters()
                elif isinstance(module, nn.MultiheadAttention):
                    module._reset_parameters()
    return network


def train(network: Network, sets: Sets, steps: int, seed: int) -> None:
    """So many steps of Adam on new sets, for the mean square of what is left; the rate falls to 0."""
    generator = torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(network.parameters(), lr=RATE)
    falling = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=max(steps, 2))
    for _ in range(steps):
        tokens, clean = sets.draw(BATCH, generator)
        adam.zero_grad()
        (network(tokens) - clean).square().mean().backward()
        adam.step()
        falling.step()


def error_of(network: Network, sets: Sets, seed: int, count: int = 256) -> float:
    """The mean square of what is left, over that of the noise, on sets of a seed: 1 for a network that does nothing."""
    tokens, clean = sets.draw(count, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return float((network(tokens) - clean).square().mean()) / sets.noise**2
