"""What became of tokens on their way through a network, beside other ways."""

from dataclasses import dataclass

from torch import Tensor

from msr.brief import Brief
from msr.errors import ShapeError
from msr.flow.network.block_weights import BlockWeights

__all__ = ["DepthCurve", "NetworkPath"]

_SHOWN = 8
"""Depths of which a table has a line: with titles and notes it is some 20 lines long."""


@dataclass(frozen=True, eq=False, repr=False)
class DepthCurve(Brief):
    """How near the tokens of some batches are to each other, by depth.

    Attributes:
        cosine: ``(layers + 1, batch)`` float64: the mean of ``cos(x_i, x_j)`` over pairs, of what a norm sees.
        clusters: ``(layers + 1, batch)`` int64: how many clusters there are.

    Raises: ShapeError.
    """

    cosine: Tensor
    clusters: Tensor

    def __post_init__(self) -> None:
        if self.cosine.ndim != 2 or self.clusters.shape != self.cosine.shape:
            raise ShapeError(
                f"cosine and clusters must be (layers + 1, batch); got {tuple(self.cosine.shape)} and "
                f"{tuple(self.clusters.shape)}"
            )

    @property
    def rise(self) -> float:
        """The mean cosine at the end, less that at the beginning."""
        return float((self.cosine[-1] - self.cosine[0]).mean())

    def off(self, other: "DepthCurve") -> float:
        """The largest difference to the mean cosines of another curve, over depths and, if it has as many, batches."""
        mine, others = self.cosine, other.cosine
        if mine.shape != others.shape:
            mine, others = mine.mean(1), others.mean(1)
        return float((mine - others).abs().max())


@dataclass(frozen=True, eq=False, repr=False)
class NetworkPath(Brief):
    """Tokens on their way through a network, beside three other ways. Its text is a table, of a deep one both ends.

    Attributes:
        real: the network's own layers.
        own: the continuous flow of each layer's ``Q``, ``K``, ``V``, constant and relu network, for a time of 1 each.
        ideal: the same with the identity as ``V``, and no network: what theory says of these scores.
        random: layers of random weights of the same shapes and sizes; the batch of each draw one after the other.
        tol: two tokens are joined where their cosine is at least ``1 − tol``.
        blocks: the weights of the layers.
        notes: what is compared and what is not.
    """

    real: DepthCurve
    own: DepthCurve
    ideal: DepthCurve
    random: DepthCurve
    tol: float
    blocks: tuple[BlockWeights, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        ways = {"network": self.real, "own flow": self.own, "V = I": self.ideal, "random": self.random}
        lines = [
            "mean cosine, and clusters, by depth",
            f"{'depth':>5}" + "".join(f"{name:>17}" for name in ways) + f"{'cosines of random':>22}",
        ]
        depths = range(len(self.real.cosine))
        hidden = depths[_SHOWN // 2 : -(_SHOWN // 2)] if len(depths) > _SHOWN else range(0)
        for depth in depths:
            if depth in hidden:
                lines += [f"{'…':>5}"] * (depth == hidden[0])
                continue
            cells = [
                f"{float(way.cosine[depth].mean()):>9.4f} {float(way.clusters[depth].double().mean()):>7.1f}"
                for way in ways.values()
            ]
            low, high = self.random.cosine[depth].aminmax()
            lines.append(f"{depth:>5}" + "".join(cells) + f"{f'{float(low):.3f} to {float(high):.3f}':>22}")
        return "\n".join([*lines, *(f"- {note}" for note in self.notes)])
