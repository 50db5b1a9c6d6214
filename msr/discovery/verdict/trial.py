"""One split of the tasks: what some of them teach, the groups that it proposes, and what the others say of each."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.discovery.answer.claims import Candidate
from msr.discovery.breaking.pairs import Broken, LeastSquares, Pairs, Sample
from msr.discovery.data.splits import Split
from msr.discovery.data.tasks import Prepared
from msr.discovery.linearity.lack_of_fit import LackOfFit, lack_of_fit
from msr.discovery.pattern.action import Points
from msr.discovery.pattern.classes import MAX_WEIGHTS, NOISE, Colouring, Rows, colourings, parted
from msr.discovery.pattern.distinct import all_distinct
from msr.discovery.pattern.learning import Learned, View, learn
from msr.discovery.verdict.agreement import differ, orbits_of
from msr.discovery.verdict.evidence import Evidence, spread, weights
from msr.discovery.verdict.rule import SHARE, Proposal
from msr.errors import DataError
from msr.permutations import orbitals
from msr.permutations.actions import Indices

__all__ = ["RESOLVED", "VETO", "Bench", "Trial"]

RESOLVED = 0.1
"""Weights are known well where their error is at most this share of their size."""

VETO = 0.1
"""Checks that can only take a name back err less often than the tests that give it, by this factor."""

_CLEAR = 1.5  # times as high as noise can be, the first merge of classes that are clear
_MOST = 12  # groups of a split that are tested
_BIAS = 0.2  # by which inputs that are not as if drawn anew may bias pairs of examples
_SKEW = 3.0  # times as much noise in pairs is as good as in squares, whose noise is skewed
_ENOUGH = 0.8  # the share of the tasks whose weights least squares must find
_BIAS_TASKS = (100, 300)  # that are enough to see a bias, and to see it again
_SCALE_TASKS, _SPAN_TASKS = 64, 64  # that are enough to see a scale, a lack of fit
_DOUBT = 10.0  # an e-value from which on tasks that taught a group break it themselves
_ROOM = 0.01  # of the strongest, a learned direction that is looked along


@dataclass(frozen=True, eq=False)
class Trial:
    """One split: what was learned, the finest classes, and the groups with what the other tasks say of them."""

    learned: Learned
    finest: Colouring
    found: list[Candidate]
    proposals: list[Proposal]
    method: str
    teach: Tensor
    test: Tensor


class Bench:
    """The tasks, and all that is made of them once: units, estimators, the test of lack of fit."""

    def __init__(self, data: Prepared, k: int | Literal["auto"], eps: float, alpha: float, signed: bool):
        self.data, self.k, self.eps, self.alpha = data, k, eps, alpha
        self.points = Points(data.n, data.m, data.ties, signed, None if data.labels is None else data.factors)
        self.sample = Sample.of(data)
        self._pairs: Pairs | None = None
        self._trusted: dict[bytes, bool] = {}  # whether pairs are unbiased for a group, by its orbits

    def trial(self, split: Split, seed: int) -> Trial:
        """Learn from as few of the tasks as teach a group, and test the groups that gives on the others.

        Raises: DataError where the tasks do not determine the weights, or cannot show what breaks a group.
        """
        taught: tuple[Learned, Colouring, list[Candidate]] | None = None
        for size in split.sizes:
            try:
                taught, used = self._taught(split.order[:size], seed), size
            except DataError:
                # Where more tasks teach nothing, what fewer taught is taken.
                if size == split.sizes[-1] and taught is None:
                    raise
                continue
            if self.clear(*taught) or self._kept_by(split.order[:size], taught[2], taught[0]):
                break
        assert taught is not None
        learned, finest, found = taught
        teach, test = split.order[:used], split.order[used:]
        proposals, method = self._tested(found, learned, teach, test)
        return Trial(learned, finest, found, proposals, method, teach, test)

    def _kept_by(self, teach: Tensor, found: list[Candidate], learned: Learned) -> bool:
        """Whether a group was found that the weights which were learned keep, and the tasks that taught them too."""
        preferred = self._preferred([c for c in found if not self.says_nothing(c)])
        if preferred is None or not preferred.exact:
            return False
        scaled = teach[:_SCALE_TASKS]
        broken = self._quietest(preferred, learned, scaled)
        if broken is None:
            return True
        # Whether tasks are linear is known from all of them, and no part of those that test may decide who teaches.
        nothing = torch.zeros(len(self.sample), dtype=torch.float64)
        evidence = self._evidence(preferred, learned, broken, teach, scaled, (1.0, 0.0, 0.0), nothing)
        return evidence.beyond(self.eps**2) < _DOUBT

    def _taught(self, teach: Tensor, seed: int) -> tuple[Learned, Colouring, list[Candidate]]:
        """What some tasks share, its finest classes, and the groups that it proposes, that of these classes first."""
        data = self.data
        learned = learn(data.x, data.y, data.counts, self.k, seed, teach)
        views = learned.views(self.points, self.data)
        rows = views[0].rows
        if not self.points.used(rows)[0].size:
            raise DataError("no input carries weight that can be told from nothing")
        if len(rows.values) > MAX_WEIGHTS:
            raise DataError(f"{len(rows.values)} weights are too many to cluster (at most {MAX_WEIGHTS})")
        cuts = [self._cuts(view) for view in views]
        found = self._candidates(cuts, views, learned)
        kept = [c for c in found if c.exact and not self.says_nothing(c)]
        if kept:
            # A group that holds changes nothing when it is averaged over, and takes noise away: look again.
            orbits = orbits_of(max(kept, key=lambda c: c.order))
            again = [self._cuts(replace(view, rows=view.rows.averaged(orbits))) for view in views]
            more = self._candidates(again, views, learned) + self._joins(kept, views[0].rows, learned)
            for one in more:
                if all(differ(one, other) for other in found):
                    found.append(one)
        return learned, cuts[0][0], found

    def clear(self, learned: Learned, finest: Colouring, found: list[Candidate]) -> bool:
        """Whether weights are known so well, and differ so clearly, that no permutation keeps them.

        ``found`` are the groups that they propose, that of the finest classes first.
        """
        rows = self.points.rows(learned.rows)
        told_apart = finest.above >= _CLEAR * NOISE * rows.errors.max() and rows.relative_error() <= RESOLVED
        told_apart = told_apart or all_distinct(rows, *self.points.used(rows))
        return bool(self.says_nothing(found[0]) and told_apart and self.unseen(learned, rows) <= self.eps**2)

    def _cuts(self, view: View) -> list[Colouring]:
        cuts = colourings(view.rows)
        return cuts if view.labels is None else [parted(cut, view.labels) for cut in cuts]

    def _candidates(self, cuts: list[list[Colouring]], views: list[View], learned: Learned) -> list[Candidate]:
        """The groups of the cuts of each view, each once, the finest first."""
        found: list[Candidate] = []
        for cut, rows in ((cut, view.rows) for some, view in zip(cuts, views, strict=True) for cut in some):
            one = self._candidate(cut, rows, learned)
            if all(differ(one, other) for other in found):
                found.append(one)
        return found

    def _joins(self, kept: list[Candidate], rows: Rows, learned: Learned) -> list[Candidate]:
        """What the largest group that seems to hold generates with each other one that does."""
        largest = max(kept, key=lambda c: c.order)
        found = []
        for other in kept:
            if other is not largest:
                both = (
                    np.concatenate([getattr(largest, side), getattr(other, side)])
                    for side in ("generators_in", "generators_out")
                )
                orbits = orbitals(*both)
                colours = orbits.reshape(self.points.lines, self.points.columns)
                found.append(self._candidate(Colouring(colours, int(orbits.max()) + 1, 0.0, math.inf), rows, learned))
        return found

    def _candidate(self, cut: Colouring, rows: Rows, learned: Learned) -> Candidate:
        group = self.points.automorphisms(cut, rows)
        orbits = orbitals(group.generators_in, group.generators_out)
        U = learned.span.U
        residual = float((self.points.average(U, orbits) - U).norm() / U.norm())
        share = self._share(learned, orbits)
        # What is as small as its errors seems equal to anything.
        known = rows.relative_error(self.points.moved(orbits)) <= RESOLVED
        return Candidate(
            colours=self.points.plain(cut.colours),
            n_colours=cut.n_colours,
            generators_in=group.generators_in,
            generators_out=group.generators_out,
            order=group.order,
            residual=residual,
            exact=rows.constant_on(orbits) and (share >= SHARE or known),
            share=share,
        )

    def says_nothing(self, one: Candidate) -> bool:
        """Whether any layer has this group."""
        return self.points.says_nothing(one.generators_in, one.generators_out)

    def _share(self, learned: Learned, orbits: Indices) -> float:
        """How much of the outputs comes from weights that the group moves."""
        moved = self.points.moved(orbits).reshape(self.points.lines, self.points.columns)
        return float(self._energy(learned)[self.points.plain(moved)].sum())

    def unseen(self, learned: Learned, rows: Rows) -> float:
        """How much of the outputs comes from inputs and to outputs that were taken to carry no weight."""
        seen = np.zeros((self.points.lines, self.points.columns), dtype=bool)
        used_in, used_out = self.points.used(rows)
        seen[np.ix_(used_out, used_in)] = True
        return float(self._energy(learned)[~self.points.plain(seen)].sum())

    def _energy(self, learned: Learned) -> NDArray[np.float64]:
        second = self.sample.root.square().sum(1).numpy()
        return learned.energy(second, self.sample.scale.numpy())

    def _tested(
        self, found: list[Candidate], learned: Learned, teach: Tensor, test: Tensor
    ) -> tuple[list[Proposal], str]:
        """Each group that says something, with what the tasks say of it that had no part in choosing it."""
        groups = [c for c in found if not self.says_nothing(c)]
        preferred = self._preferred(groups)
        groups = _most_telling(groups, preferred)
        if preferred is not None:
            groups = [preferred, *(c for c in groups if c is not preferred)]
        if not groups:
            return [], ""
        scaled = teach[:_SCALE_TASKS]
        broken = self._quietest(preferred or groups[0], learned, scaled)
        if broken is None:
            raise DataError(
                "these tasks cannot show what breaks a group in their own weights: inputs that are the same in every "
                "task, or of very unequal size, need at least 7 examples a task more than one and a half times the "
                "inputs"
            )
        # Where the tasks are not linear, all that a linear layer leaves may break the group.
        left = self.lack.residual * self.not_linear(self.lack)
        proposals: list[Proposal] = []
        shares = dict(zip(map(id, groups), weights(len(groups), preferred is not None), strict=True))
        for one in groups:
            evidence = self._evidence(one, learned, broken, test, scaled, shares[id(one)], left)
            if proposals:
                # The first group seems to hold, so that noise alone spreads what breaks it.
                evidence = replace(evidence, noise=proposals[0].evidence.spread)
            proposals.append(Proposal(one, evidence))
        return proposals, broken.method

    def _evidence(
        self,
        group: Candidate,
        learned: Learned,
        broken: Broken,
        tasks: Tensor,
        scaled: Tensor,
        shares: tuple[float, float, float],
        left: Tensor,
    ) -> Evidence:
        """What some tasks say of a group; others, that taught, say how far noise spreads it.

        ``left`` ``(tasks of all,)`` is what may break the group beside a linear layer.
        """
        orbits = orbits_of(group)
        along = self._directions(learned, orbits)
        both = broken(orbits, learned.span, along, torch.cat((tasks, scaled)))
        here = [one[: len(tasks)] for one in both]
        spread_here = spread(both[0][len(tasks) :] + left[scaled])
        energy, usual = (self.sample.energies[part] - broken.noise(learned.span, part) for part in (tasks, scaled))
        # Which tasks have too few examples does not depend on their outputs.
        known = here[0].isfinite()
        return Evidence(
            broken=here[0][known],
            along=here[1][known],
            left=left[tasks][known],
            energy=energy[known],
            whole=self.sample.energies[tasks][known],
            loudness=self._loudness[tasks][known],
            spread=spread_here,
            noise=spread_here,
            unit=max(float(usual.mean()), 1e-12 * float(self.sample.energies.mean())),
            symmetric=broken.symmetric,
            shares=shares,
            tasks=tasks[known],
        )

    @staticmethod
    def _preferred(groups: list[Candidate]) -> Candidate | None:
        """The group to spend most of the error rate on: the largest that the weights keep up to their error."""
        kept = [c for c in groups if c.exact]
        if kept:
            return max(kept, key=lambda c: c.order)
        likely = [c for c in groups if c.share >= SHARE]
        return min(likely, key=lambda c: c.residual, default=None)

    def _estimators(self, orbits: Indices, noise: float) -> list[Broken]:
        """What can say how much of the tasks' own weights breaks a group: chosen by the inputs, and the group."""
        known: list[Broken] = []
        if self._pairs is None:
            self._pairs = Pairs(self.sample, self.points.average, noise=noise)
        if self._pairs.possible:
            key = orbits.tobytes()
            if key not in self._trusted:
                self._trusted[key] = self._unbiased(self._pairs, orbits)
            if self._trusted[key]:
                known.append(self._pairs)
        if self._least_squares is not None:
            known.append(self._least_squares)
        return known

    @cached_property
    def _least_squares(self) -> LeastSquares | None:
        enough = float(self.sample.solvable.double().mean()) >= _ENOUGH
        return LeastSquares(self.sample, self.points.average) if enough else None

    def _unbiased(self, pairs: Pairs, orbits: Indices) -> bool:
        """Whether pairs are as good as unbiased with these inputs; a bias must be seen twice, once may be chance.

        The second look is at more tasks, where there are more, and other weights.
        """
        for seed, most in enumerate(_BIAS_TASKS):
            bias, leak = pairs.biases(orbits, torch.arange(min(most, len(self.sample))), seed)
            if bias >= -_BIAS and abs(leak) <= self.eps**2:  # what inputs of their own size add is on the safe side
                return True
        return False

    @cached_property
    def of_all(self) -> tuple[Learned, Colouring, list[Candidate]] | None:
        """What all tasks together teach; it has no part in any test."""
        try:
            return self._taught(torch.arange(len(self.sample)), 0)
        except DataError:
            return None

    @property
    def without_symmetry(self) -> bool:
        """Whether all tasks together teach weights that no permutation keeps: few may miss what they share."""
        if self.of_all is None:
            return False
        return self.clear(*self.of_all)

    def _quietest(self, group: Candidate, learned: Learned, others: Tensor) -> Broken | None:
        """The estimator with the least noise on the tasks that taught."""
        nothing = torch.zeros(self.data.m * self.data.n, 0, dtype=torch.float64)
        orbits = orbits_of(group)
        energy = float(self.sample.energies.mean())
        noise = learned.span.noise * float(self.sample.scale.pow(-2).sum()) / energy
        known = self._estimators(orbits, noise)
        if len(known) < 2:
            return known[0] if known else None
        return min(
            known,
            key=lambda one: (1 if one.symmetric else _SKEW) * spread(one(orbits, learned.span, nothing, others)[0]),
        )

    @cached_property
    def lack(self) -> LackOfFit:
        """The test of linearity by what least squares leave of each task; method "none" where examples are few."""
        return lack_of_fit(self.sample.x, self.sample.y, self.sample.counts)

    def lack_of(self, trial: Trial) -> LackOfFit:
        """The same; where examples are few, by what the learned span leaves of some tasks that taught nothing."""
        if self.lack.method != "none":
            return self.lack
        s, some = self.sample, trial.test[:_SPAN_TASKS]
        U = (trial.learned.span.U.view(self.data.m, self.data.n, -1) / s.scale[:, None, None]).flatten(0, 1)
        found = lack_of_fit(s.x[some], s.y[some], s.counts[some], span=(U, trial.learned.span.v0))
        # Of tasks that were not looked at nothing is known; their residual is taken to be a usual one.
        energy, tested = torch.zeros_like(self.lack.energy), torch.zeros_like(self.lack.tested)
        residual = torch.full_like(self.lack.residual, float(found.residual.mean()))
        energy[some], tested[some], residual[some] = found.energy, found.tested, found.residual
        return replace(found, energy=energy, tested=tested, residual=residual)

    @cached_property
    def _loudness(self) -> Tensor:
        """How many times as much noise as is usual each task has, at least 1, where least squares can tell."""
        if self.lack.method == "none":
            return torch.ones(len(self.sample), dtype=torch.float64)
        return (self.lack.residual / self.lack.residual.median().clamp_min(1e-300)).clamp_min(1)

    def not_linear(self, lack: LackOfFit) -> bool:
        """Whether something of the outputs was seen that no linear layer makes."""
        return lack.p_value <= self.alpha

    def noise(self, trial: Trial, lack: LackOfFit) -> Tensor:
        """What noise adds to the energy of each task's outputs: what a linear layer leaves, where that is known."""
        if lack.method == "none":
            return (trial.learned.span.noise * self.sample.scale.pow(-2).sum()).expand(len(self.sample))
        return lack.residual

    def _directions(self, learned: Learned, orbits: Indices) -> Tensor:
        """In which the learned pattern breaks a group, orthonormal, strongest first: ``(m n, r)``."""
        values = torch.from_numpy(learned.rows.values)
        away = (values - self.points.average(values, orbits)).view(self.data.m, self.data.n, -1)
        scaled = torch.einsum("mnk,np->mpk", away / self.sample.scale[:, None, None], self.sample.root)
        left, sizes, _ = torch.linalg.svd(scaled.flatten(0, 1), full_matrices=False)
        return left[:, sizes > _ROOM * sizes[0]]


def _most_telling(groups: list[Candidate], preferred: Candidate | None) -> list[Candidate]:
    """Not more than can be tested: the preferred one, larger ones that fit best, the largest of the smaller ones."""
    if len(groups) <= _MOST:
        return groups
    order = preferred.order if preferred is not None else 0
    larger = sorted((c for c in groups if c.order > order), key=lambda c: c.residual)[: _MOST * 2 // 3]
    smaller = sorted((c for c in groups if c.order <= order and c is not preferred), key=lambda c: -c.order)
    rest = [*larger, *smaller[: _MOST - 1 - len(larger)]]
    return [*([preferred] if preferred is not None else []), *rest]
