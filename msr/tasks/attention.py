"""Nonlinear tasks with known symmetry: where the attention flow takes tokens, with hidden token and feature groups."""

from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.brief import Brief
from msr.episodes import Episodes
from msr.errors import ConfigError, ShapeError
from msr.flow import AttentionFlow
from msr.flow.arguments import finite_number, token_count
from msr.flow.dynamics.sphere import on_sphere
from msr.groups import PermutationGroup, cyclic, dihedral, symmetric
from msr.memory import refuse_if_larger
from msr.tasks.attention_maps import FlowNumbers, expm_span, expm_weights, flow_labels
from msr.tasks.base import Split, TaskFamily, check_drawn_family, check_indices, generator_for
from msr.tasks.feature_menu import HiddenFeatures, hidden_features
from msr.tasks.token_orbitals import HiddenTokens, hidden_tokens

__all__ = ["SIZES", "AttentionTasks", "AttentionTruth", "attention_controls"]

Layout = Literal["tokens", "flat", "columns"]

SIZES: dict[str, dict[str, int]] = {
    "tiny": {"n": 4, "d": 2, "shots": 192, "queries": 64, "n_train": 16, "n_test": 16},
    "small": {"n": 6, "d": 3, "shots": 2048, "queries": 512, "n_train": 16, "n_test": 16},
    "medium": {"n": 8, "d": 3, "shots": 3072, "queries": 1024, "n_train": 16, "n_test": 16},
}
"""Three sizes: tokens, their length, examples and tasks. Medium has 4,096 pairs of each task."""


@dataclass(frozen=True, eq=False, repr=False)
class AttentionTruth(Brief):
    """The hidden structure of a family of attention tasks.

    Attributes:
        group: the permutations of tokens that all tasks respect: of a distractor, what its changed entry leaves.
        orbitals: ``(n, n)``: the number of the orbit of each pair of tokens under that group.
        unbroken: the group before an entry was changed; else the same.
        features: the feature group.
        span: ``(out · in, k)`` of the linear surrogate, orthonormal columns; None for the flow and for a distractor.
    """

    group: PermutationGroup
    orbitals: Tensor
    unbroken: PermutationGroup
    features: HiddenFeatures
    span: Tensor | None

    @property
    def dim(self) -> int:
        """The number of orbitals: the dimension of the matrices ``(n, n)`` that commute with the group."""
        return int(self.orbitals.max()) + 1


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionTasks(TaskFamily):
    """``y = Φ_T(x)``: where the attention flow on the sphere takes ``n`` tokens in a time ``T``; plus noise.

    Weights are ``softmax(β⟨x_i, B x_j⟩ + M_ij)`` and values ``v V``. Each task draws ``M = Σ_k m_k 1_k``,
    ``m_k ~ N(0, 1)``, over the orbitals of the hidden token group; ``β ~ U[.5, 4]``, ``v ~ U[.5, 1.5]``,
    ``T ~ U[.5, 2]``. All tasks share that group and ``B``, ``V`` and a network, which have the hidden feature group.
    Inputs are uniform on ``(S^{d−1})^n``. Outputs are those of ``steps`` steps of order 4, which have the symmetries
    exactly, up to rounding in float64; they and inputs come in torch's default dtype.

    With ``linear`` the attention is fixed and nothing is projected: ``y = expm(T v softmax(M) ⊗ V) x`` for
    ``x ~ N(0, 1)``, the surrogate whose weights and span are known, for finders of linear symmetry. ``B`` plays no part
    in it, so that a family with ``B`` or a network is refused.

    Shapes: ``x, y (tasks, examples, n, d)``; with ``layout="flat"``, ``(tasks, examples, n · d)``, tokens one after the
    other. With ``columns``, for the surrogate without ``V``: ``(tasks, examples · d, n)``, since each of the ``d``
    numbers of tokens is then moved in the same way, as an example of its own; so one layer is ``expm(T v A)`` and the
    token group alone is what it hides.

    Args:
        group: the hidden token group, as for :func:`~msr.tasks.token_orbitals.hidden_tokens`; it must be 2-closed.
        d: the length of a token.
        feature: a name of :func:`~msr.tasks.hidden_features`, or the matrices themselves.
        breaking: what is added to one entry of ``M``, whose ``m_k`` are of size 1, so that the group breaks: a
            distractor. 0 for none.
        broken_entry: which one.
        noise: standard deviation of noise on ``y``, as a share of the root mean square of a task's outputs without it,
            which is ``1/√d`` for tokens of norm 1. Noisy outputs are off the sphere.
        steps: of the flow.
        shots, queries, n_train, n_test, seed: as in :class:`~msr.tasks.LinearTasks`.

    Raises: ConfigError for a group that is not 2-closed, and for options that cannot be; NonFiniteError.
    """

    group: Any
    d: int = 3
    feature: str | HiddenFeatures = "O(d)"
    breaking: float = 0.0
    broken_entry: tuple[int, int] = (0, 1)
    linear: bool = False
    layout: Layout = "tokens"
    noise: float = 0.0
    steps: int = 20
    shots: int = 4
    queries: int = 16
    n_train: int | None = 8000
    n_test: int | None = 2000
    seed: int = 0
    tokens: HiddenTokens = field(init=False, repr=False)
    features: HiddenFeatures = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("shots", "queries", "steps"):
            token_count(getattr(self, name), name)
        finite_number(self.noise, "noise")
        check_drawn_family(self)
        features = hidden_features(self.feature, self.d) if isinstance(self.feature, str) else self.feature
        if not isinstance(features, HiddenFeatures):
            raise ConfigError(f"feature must be a name or HiddenFeatures; got a {type(features).__name__}")
        if features.d != self.d:
            raise ShapeError(f"the features are of tokens of {features.d} numbers, and d is {self.d}")
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "tokens", hidden_tokens(self.group))
        if not self.linear and self.d == 1:
            raise ConfigError("d must be at least 2: a token of the sphere of one dimension is ±1, and cannot move")
        finite_number(self.breaking, "breaking")
        if self.breaking:
            self.tokens.broken_at(self.broken_entry)
        if self.linear and (features.B is not None or features.mlp is not None):
            raise ConfigError(
                f"the linear surrogate has neither scores of tokens nor a network, and so not the features "
                f"{features.name}; take O(d), SO(2), U(2), or HiddenFeatures with V alone"
            )
        if self.layout not in ("tokens", "flat", "columns"):
            raise ConfigError(f"layout must be tokens, flat or columns; got {self.layout!r}")
        if self.layout == "columns" and (not self.linear or features.V is not None):
            raise ConfigError("layout='columns' is of the linear surrogate without V, which moves all columns alike")

    @classmethod
    def of_size(cls, size: str, group: Any = None, **options: Any) -> "AttentionTasks":
        """A family of a size in :data:`SIZES`: ``tiny``, ``small`` or ``medium``; by default of the cyclic group.

        Raises: ConfigError for another size; ShapeError for a group of another number of tokens.
        """
        if size not in SIZES:
            raise ConfigError(f"the size must be one of {', '.join(SIZES)}; got {size!r}")
        sizes = dict(SIZES[size])
        n = sizes.pop("n")
        family = cls(**{"group": cyclic(n) if group is None else group, **sizes, **options})
        if family.n != n:
            raise ShapeError(f"the size {size} has {n} tokens; the group moves {family.n}")
        return family

    @property
    def n(self) -> int:
        """How many tokens there are."""
        return self.tokens.n

    @property
    def shape_in(self) -> tuple[int, ...]:
        """The shape of one input, and of one output."""
        return {"tokens": (self.n, self.d), "flat": (self.n * self.d,), "columns": (self.n,)}[self.layout]

    @property
    def shape_out(self) -> tuple[int, ...]:
        """The shape of one output: that of an input."""
        return self.shape_in

    @property
    def truth(self) -> AttentionTruth:
        """The hidden groups, and the span of the surrogate; computed anew at each call."""
        tokens = self.tokens.broken_at(self.broken_entry) if self.breaking else self.tokens
        labels = torch.from_numpy(tokens.labels)
        return AttentionTruth(tokens.group, labels, self.tokens.group, self.features, self.true_span())

    def true_span(self) -> Tensor | None:
        """``U`` of the linear surrogate, ``(out · in, k)``, orthonormal; None for the flow, and for a distractor.

        It is smaller than all equivariant maps where the group has ``o > 1`` orbits on tokens: rows of a softmax sum to
        1, so that all rows of ``expm`` have one sum, which are ``o − 1`` equations.
        """
        if not self.linear or self.breaking:
            return None
        return expm_span(self.tokens.labels, self.features.V, 1 if self.layout == "columns" else self.d)

    def n_tasks(self, split: Split) -> int | None:
        """How many tasks the split holds, ``n_train`` or ``n_test``; None where it has no end."""
        return self.n_train if split == "train" else self.n_test

    @takes_arrays("tasks")
    def numbers(self, split: Split, tasks: Tensor) -> FlowNumbers:
        """The own numbers of the tasks with these indices ``(tasks,)``: :class:`FlowNumbers`."""
        check_indices(split, tasks, self.n_tasks(split))
        return self._numbers([self._generator(split, index) for index in tasks.tolist()])

    def flow(self, split: Split, index: int) -> tuple[AttentionFlow, float]:
        """The flow of one task and its time ``T``. Raises: ConfigError for the linear surrogate."""
        if self.linear:
            raise ConfigError("the linear surrogate is no flow of tokens on a sphere; its maps are weights()")
        bias, beta, v, T = (part[0] for part in self.numbers(split, torch.tensor([index])))
        V = torch.eye(self.d, dtype=torch.float64) if self.features.V is None else self.features.V
        own = AttentionFlow(self.d, float(beta), K=self.features.B, V=v * V, bias=bias, mlp=self.features.mlp)
        return own, float(T)

    @takes_arrays("tasks")
    def weights(self, split: Split, tasks: Tensor) -> tuple[Tensor, ...]:
        """The matrices of the surrogate's tasks, one for each: a tuple of one tensor ``(tasks, out, in)``, float64.

        Raises: ConfigError for the flow, which is not linear.
        """
        if not self.linear:
            raise ConfigError("the flow is not linear and has no weights; see flow(), or linear=True")
        numbers = self.numbers(split, tasks)
        return (self._weights(numbers),)

    @takes_arrays("tasks")
    def episodes(self, split: Split, tasks: Tensor) -> Episodes:
        """The tasks with these indices ``(tasks,)``, with ``shots`` support and ``queries`` query examples each.

        Shapes: ``x, y (tasks, examples, *shape_in)``; with columns, ``d`` times as many examples.
        Raises: ConfigError for an index that there is not; DataError for too little memory.
        """
        check_indices(split, tasks, self.n_tasks(split))
        examples = self.shots + self.queries
        shape = (examples, self.n, self.d)
        refuse_if_larger(48.0 * len(tasks) * prod(shape), f"{len(tasks)} tasks of {examples} examples")
        generators = [self._generator(split, index) for index in tasks.tolist()]
        numbers = self._numbers(generators)
        dtype = torch.get_default_dtype()
        x = torch.stack([torch.randn(shape, generator=g, dtype=torch.float64) for g in generators])
        # Outputs are those of the inputs as they are handed out, rounded.
        x = (x if self.linear else on_sphere(x)).to(dtype)
        y = self._outputs(numbers, x.double())
        if self.noise:
            size = y.square().mean((1, 2, 3), keepdim=True).sqrt() if not self.linear else self._size(numbers)
            drawn = torch.stack([torch.randn(shape, generator=g, dtype=torch.float64) for g in generators])
            y = y + self.noise * size * drawn
        x, y = (self._laid_out(part.to(dtype)) for part in (x, y))
        return Episodes.split(x, y, self.shots * (self.d if self.layout == "columns" else 1))

    def _generator(self, split: Split, index: int) -> torch.Generator:
        """The generator of a task, from which all of its numbers come in turn: its own, inputs, noise."""
        return generator_for(self.seed, "attention", split, index)

    def _numbers(self, generators: list[torch.Generator]) -> FlowNumbers:
        """The first numbers of each generator, which are the task's own."""
        uniform = torch.stack([torch.rand(3, generator=g, dtype=torch.float64) for g in generators])
        r = self.tokens.orbitals
        free = torch.stack([torch.randn(r, generator=g, dtype=torch.float64) for g in generators])
        bias = self.tokens.biases(free)
        if self.breaking:
            bias[:, self.broken_entry[0], self.broken_entry[1]] += self.breaking
        return FlowNumbers(bias, 0.5 + 3.5 * uniform[:, 0], 0.5 + uniform[:, 1], 0.5 + 1.5 * uniform[:, 2])

    def _outputs(self, numbers: FlowNumbers, x: Tensor) -> Tensor:
        """Outputs without noise, ``(tasks, examples, n, d)``, float64."""
        if not self.linear:
            return flow_labels(numbers, self.features, x, self.steps)
        E = expm_weights(numbers.bias, numbers.v * numbers.T, self.features.V)
        if self.features.V is None:
            return E[:, None] @ x
        return (x.flatten(2) @ E.mT).unflatten(2, (self.n, self.d))

    def _weights(self, numbers: FlowNumbers) -> Tensor:
        """The surrogate's matrices, ``(tasks, out, in)``."""
        E = expm_weights(numbers.bias, numbers.v * numbers.T, self.features.V)
        if self.features.V is not None or self.layout == "columns":
            return E
        eye = torch.eye(self.d, dtype=torch.float64)
        return torch.einsum("tij,ab->tiajb", E, eye).reshape(len(E), self.n * self.d, self.n * self.d)

    def _size(self, numbers: FlowNumbers) -> Tensor:
        """The root mean square of the surrogate's outputs, over inputs, ``(tasks, 1, 1, 1)``."""
        W = self._weights(numbers)
        return (W.square().sum((1, 2)) / W.shape[1]).sqrt()[:, None, None, None]

    def _laid_out(self, values: Tensor) -> Tensor:
        """Inputs or outputs ``(tasks, examples, n, d)`` in the family's layout."""
        if self.layout == "flat":
            return values.flatten(2)
        return values.mT.flatten(1, 2) if self.layout == "columns" else values


def attention_controls(size: str = "small", **options: Any) -> dict[str, AttentionTasks]:
    """Three families of a size on which a finder is judged beside the others.

    ``trivial`` hides no token group, so that any is a wrong answer. ``symmetric`` hides all permutations.
    ``distractor`` has the dihedral group but for 0.01 that is added to one entry of each bias, so that this group is a
    wrong answer unless that much is tolerated. ``options`` are those of :class:`AttentionTasks`.
    Raises: ConfigError for another size.
    """
    if size not in SIZES:
        raise ConfigError(f"the size must be one of {', '.join(SIZES)}; got {size!r}")
    n = SIZES[size]["n"]
    return {
        "trivial": AttentionTasks.of_size(size, [range(n)], **options),
        "symmetric": AttentionTasks.of_size(size, symmetric(n), **options),
        "distractor": AttentionTasks.of_size(size, dihedral(n), **{"breaking": 0.01, **options}),
    }
