"""From a folder of small related data sets to a verdict: learn the sharing, read groups off it, judge them apart."""

import time
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from msr.arrays import takes_arrays
from msr.discovery.agreement import agreed, conjugated, differ, orbits_of
from msr.discovery.certifying import certified
from msr.discovery.colours import MAX_WEIGHTS, NOISE, Colouring, Rows, colourings, parted
from msr.discovery.continuous import continuous
from msr.discovery.hypothesis_class import class_automorphisms
from msr.discovery.judging import Judge, output_sizes, pair_orbits_of
from msr.discovery.learning import Learned, View, learn
from msr.discovery.naming import name_group
from msr.discovery.partial import partial_symmetries
from msr.discovery.points import Points
from msr.discovery.prepare import Part, Prepared, prepare
from msr.discovery.result import (
    Candidate,
    Certificate,
    Continuous,
    Discovery,
    GroupName,
    PartialSymmetry,
    Verdict,
    short,
)
from msr.discovery.words import cannot_tell, found_sentence, nothing_sentence, p_words, two_closure_note, uncertified
from msr.errors import ConfigError, DataError, MissingExtraError
from msr.groups.permutations import Indices

__all__ = ["discover"]

# Classes are clear when the first merge between them is this many times as high as noise can be.
_CLEAR = 1.5
# That no two weights are alike is only said where a row's error is at most this share of its size.
_RESOLVED = 0.1
_RELABELLINGS = 99
# A group whose weights differ, if by little, is only named if it moves this share of what the weights do.
_SHARE = 0.5
# Checks that can only take a name back err less often than the test that gives it.
_VETO = 0.1
# Eigenvalues are equal within so many relative errors of a row: the wide one sees through noise, where it fits at all.
_TOLERANCES = (5.0, 2.0)
_MAX_CONTINUOUS = 512  # points of a side
_MAX_CLASS = 1024  # weights
_SPECIFIC_TASKS = 24


@takes_arrays("x", "y", "fresh")
def discover(
    x: Tensor,
    y: Tensor,
    *,
    layer: Literal["linear", "conv1d", "conv2d"] = "linear",
    kernel: int | None = None,
    circular: bool = False,
    k: int | Literal["auto"] = "auto",
    eps: float = 0.05,
    alpha: float = 0.01,
    seeds: int = 1,
    fresh: Tensor | None = None,
    signed: bool = False,
    seed: int = 0,
) -> Discovery:
    """Which permutations of inputs and outputs do all tasks respect, and what is the group they form?

    Each task is a linear layer of its own, ``y = W_i x + b_i + noise``; all share ``vec(W_i) = U v_i``. Half of the
    tasks, at random, fit the span of ``U`` (:func:`~msr.meta.find_span`). Weights whose rows of ``U`` agree up to the
    error of the fit, which spans of two halves show, are one class; the permutations that keep the classes form a
    group. Several cuts give several groups. An eighth of the tasks, the selection, says which of them cost less than
    ``ε²`` of the outputs' energy. Of those, groups that the fitted weights keep up to their error come first, and the
    largest is chosen. The rest tests that choice once: in what was learned, and in the tasks' own weights,
    learned or not. A further check, whether these fresh tasks are of another kind, may take it back, at level α/10.

    Shapes: ``x (tasks, examples, ...)``, ``y (tasks, examples, ...)``; convolutions ``(tasks, examples, channels,
    *space)``.

    Args:
        layer: what a task is: a linear layer on all numbers, or a convolution (then the group moves channels and taps).
        kernel: taps along each axis, for a convolution; ``circular``: it wraps around, else it is valid.
        k: the dimension of the sharing, if it is known.
        eps: tolerance: a group counts as a symmetry where what breaks it makes less than this of the outputs' size.
        alpha: error rate of each test.
        seeds: how many random splits of the tasks to repeat with; where they do not agree the verdict is "cannot tell".
        fresh: ``(tasks,)``, which tasks are kept for the last test; by default three in eight, at random.
        signed: look for signed permutations, which odd activations such as tanh let through; changing the sign of all
            inputs and outputs at once is always one where there is no bias.
        seed: the first split, and random relabellings.

    Raises: DataError, ShapeError, ConfigError for data and options that cannot be used. Too few tasks or too much noise
    is no error: the verdict is "cannot tell", with a hint.
    """
    started = time.perf_counter()
    if not 1e-6 <= eps < 1 or not 0 < alpha < 0.5:
        raise ConfigError(f"eps must lie between 1e-6 and 1 and alpha between 0 and 0.5; came {eps} and {alpha}")
    if seeds < 1:
        raise ConfigError(f"at least one split is needed; came {seeds}")
    answers = []
    for split in range(seed, seed + seeds):
        data = prepare(x, y, layer=layer, kernel=kernel, circular=circular, fresh=fresh, seed=split)
        answers.append(_Search(data, k, eps, alpha, signed, split).run())
    return replace(agreed(answers), seconds=time.perf_counter() - started)


class _Search:
    def __init__(self, data: Prepared, k: int | Literal["auto"], eps: float, alpha: float, signed: bool, seed: int):
        self.data, self.k, self.eps, self.alpha, self.seed = data, k, eps, alpha, seed
        self.points = Points(data.n, data.m, data.ties, signed, None if data.labels is None else data.factors)
        self.scale = output_sizes(data.part("fit")[1])

    def run(self) -> Discovery:
        """Learn, propose, judge, certify, name."""
        data = self.data
        if data.too_few is not None:
            return self._answer("cannot tell", cannot_tell("too few tasks"), (data.too_few,))
        try:
            learned = learn(data, self.k, self.seed)
        except DataError as error:
            return self._answer("cannot tell", cannot_tell("no sharing was learned"), (str(error),))
        views = learned.views(self.points, data)
        rows = views[0].rows
        if not self.points.used(rows)[0].size:
            hint = "no input carries weight that can be told from nothing"
            return self._answer("cannot tell", cannot_tell(hint), (hint,), learned=learned)
        if len(rows.values) > MAX_WEIGHTS:
            hint = f"{len(rows.values)} weights are too many to cluster (at most {MAX_WEIGHTS})"
            return self._answer("cannot tell", cannot_tell("the layer is too large"), (hint,), learned=learned)
        judge = self._judge("select", learned)
        cuts = [self._cuts(view) for view in views]
        candidates = self._candidates(cuts, views, learned, judge)
        finest = candidates[0]
        accepted = [c for c in candidates if c.accepted and not self._says_nothing(c)]
        if accepted:
            # A group that holds changes nothing when it is averaged over, and takes noise away: look again.
            orbits = orbits_of(max(accepted, key=lambda c: c.order))
            again = [self._cuts(replace(view, rows=view.rows.averaged(orbits))) for view in views]
            more = self._candidates(again, views, learned, judge)
            candidates += [c for c in more if all(differ(c, other) for other in candidates)]
            accepted = [c for c in candidates if c.accepted and not self._says_nothing(c)]
        candidates.sort(key=lambda c: c.order)
        # What holds up to the error of the fit comes before what merely costs little; and a group that moves weak
        # weights alone costs little whatever it does.
        exact = [c for c in accepted if c.exact]
        chosen = exact or [c for c in accepted if c.share >= _SHARE]
        if not chosen:
            return self._nothing(cuts[0][0], finest, candidates, learned, judge)
        vague = self.points.unknown(views[-1].rows, _RESOLVED)
        best = max(chosen, key=lambda c: c.order)
        larger = [c for c in candidates if c.order > best.order and not c.rejected]
        open_ones = [c for c in larger if c.exact or not best.exact]
        return self._something(best, open_ones, vague, candidates, learned, judge)

    def _says_nothing(self, one: Candidate) -> bool:
        return self.points.says_nothing(one.generators_in, one.generators_out)

    def _cuts(self, view: View) -> list[Colouring]:
        cuts = colourings(view.rows)
        return cuts if view.labels is None else [parted(cut, view.labels) for cut in cuts]

    def _share(self, learned: Learned, orbits: Indices) -> float:
        """How much of the outputs comes from weights that the group moves."""
        moved = self.points.moved(orbits).reshape(-1, self.points.columns + 1)
        return float(learned.energy(self.data, self.scale)[self.points.plain(moved)].sum())

    def _unseen(self, learned: Learned, rows: Rows) -> float:
        """How much of the outputs comes from inputs and to outputs that were taken to carry no weight."""
        seen = np.zeros((self.points.lines, self.points.columns + 1), dtype=bool)
        used_in, used_out = self.points.used(rows)
        seen[np.ix_(used_out, used_in)] = True
        return float(learned.energy(self.data, self.scale)[:, :-1][~self.points.plain(seen)[:, :-1]].sum())

    def _judge(self, part: Part, learned: Learned, unit: float | None = None) -> Judge:
        span, average = learned.span, self.points.average
        return Judge(*self.data.part(part), span.U, span.v0, span.noise, average, self.scale, unit)

    def _candidates(
        self, cuts: list[list[Colouring]], views: list[View], learned: Learned, judge: Judge
    ) -> list[Candidate]:
        """The groups of the cuts of each view, each once, judged on the selection tasks."""
        found: list[Candidate] = []
        for cut, rows in ((cut, view.rows) for some, view in zip(cuts, views, strict=True) for cut in some):
            group = self.points.automorphisms(cut, rows)
            orbits = pair_orbits_of(group.generators_in, group.generators_out)
            if any(np.array_equal(orbits, orbits_of(c)) for c in found):
                continue
            U = learned.span.U
            residual = float((self.points.average(U, orbits) - U).norm() / U.norm())
            costs = judge.costs(orbits)
            limit = self.eps**2
            low, high = costs.bounds(self.alpha)
            accept, reject = costs.p_below(limit), costs.p_above(limit)
            share = self._share(learned, orbits)
            # What is as small as its errors seems equal to anything.
            known = rows.relative_error(self.points.moved(orbits)) <= _RESOLVED
            exact = rows.constant_on(orbits) and (share >= _SHARE or known)
            one = Candidate(
                colours=self.points.plain(cut.colours), n_colours=cut.n_colours, generators_in=group.generators_in,
                generators_out=group.generators_out, order=group.order, residual=residual, cost=costs.mean,
                cost_low=low, cost_high=high, p_accept=accept, p_reject=reject,
                accepted=accept <= self.alpha, rejected=reject <= self.alpha, exact=exact, share=share,
            )  # fmt: skip
            found.append(one)
        return found

    def _something(
        self,
        best: Candidate,
        unsettled: list[Candidate],
        vague: int,
        candidates: list[Candidate],
        learned: Learned,
        selection: Judge,
    ) -> Discovery:
        """A group was chosen: test it on fresh tasks, and name it."""
        fresh = self._judge("certify", learned, selection.energy)
        orbits, specificity = orbits_of(best), self._specificity(best, fresh)
        certificate = certified(orbits, selection, fresh, self.eps, self.alpha, specificity)
        name = name_group(best.generators_in[:, :-1], best.generators_out, order=best.order)
        hints = []
        gap, p_worse = fresh.worse_than(selection)
        if gap > self.eps**2 and p_worse <= _VETO * self.alpha:
            hints.append(
                f"the fresh tasks are of another kind: the learned sharing leaves {gap:.1%} more of their outputs "
                f"unexplained than of the others' ({p_words(p_worse)})"
            )
        if vague:
            hints.append(
                f"{vague} inputs or outputs seem to carry nothing, but their weights are not known well enough to say "
                "what they could be swapped with: leave them out, bring them to like units, or give more tasks"
            )
        if unsettled:
            orders = ", ".join(short(c.order) for c in unsettled)
            hints.append(
                f"a larger group (order {orders}) is neither accepted nor rejected: more tasks would settle it"
            )
        if not certificate.certified:
            hints.append(uncertified(best.order, certificate))
        verdict: Verdict = "cannot tell" if hints else "found"
        explained = fresh.explained
        sentence = found_sentence(name, certificate, candidates, learned.span.k, explained, self.points.signed)
        if hints:
            sentence = cannot_tell(hints[0])
        return self._answer(
            verdict, sentence, tuple(hints), learned=learned, group=None if hints else name, chosen=best,
            candidates=candidates, certificate=certificate, explained=explained,
        )  # fmt: skip

    def _specificity(self, chosen: Candidate, judge: Judge) -> float | None:
        """How many random relabellings of the same group, on inputs and outputs apart, cost as little."""
        generator = np.random.default_rng(self.seed)
        own = orbits_of(chosen)
        limit = judge.costs(own, _SPECIFIC_TASKS).mean
        p, q = chosen.generators_in, chosen.generators_out
        as_good = others = 0
        for _ in range(_RELABELLINGS):
            s, t = self.points.relabelling(generator)
            orbits = pair_orbits_of(conjugated(p, s), conjugated(q, t))
            if np.array_equal(orbits, own):
                as_good += 1
                continue
            others += 1
            as_good += judge.costs(orbits, _SPECIFIC_TASKS).mean <= limit
        return (1 + as_good) / (1 + _RELABELLINGS) if others else None

    def _nothing(
        self, cut: Colouring, finest: Candidate, candidates: list[Candidate], learned: Learned, selection: Judge
    ) -> Discovery:
        """No group passed: none there, or none to be seen."""
        partial = partial_symmetries(self.points.plain(cut.colours)[:, :-1], learned.rows)
        unsettled = [c for c in candidates if not (c.accepted or c.rejected or self._says_nothing(c))]
        rows, explained = learned.rows, selection.explained
        clear = cut.above >= _CLEAR * NOISE * rows.errors.max() and rows.relative_error() <= _RESOLVED
        hint = ""
        if unsettled:
            hint = f"a group of order {short(max(c.order for c in unsettled))} is neither accepted nor rejected"
        elif not clear:
            hint = "the error of the fitted weights is as large as the differences between them"
        elif not self._says_nothing(finest):
            # What the finest classes allow was rejected; a part of it may hold, and only finer classes would show it.
            hint = f"a group of order {short(finest.order)} was rejected, but not all of its subgroups"
        elif self._unseen(learned, self.points.rows(rows)) > self.eps**2:
            hint = "weights too small to be told from nothing add up to a part of the outputs"
        if hint:
            hints = (f"{hint}; more tasks, more examples a task, or less noise would help",)
            return self._answer(
                "cannot tell", cannot_tell(hint), hints, learned=learned, candidates=candidates, explained=explained
            )
        sentence = nothing_sentence(cut.n_colours, partial, candidates, self.alpha)
        return self._answer(
            "none", sentence, (), learned=learned, candidates=candidates, partial=partial, explained=explained
        )

    def _class_order(self, chosen: Candidate | None) -> int | None:
        """Of the symmetries of the set of all layers that the chosen group allows."""
        if chosen is None or self.points.signed or self.data.m * self.data.n > _MAX_CLASS:
            return None
        orbits = orbits_of(chosen).reshape(self.data.m, -1)[:, :-1]
        try:
            return class_automorphisms(orbits).order
        except MissingExtraError:  # a search that was given up takes nothing from the answer to the question
            return None

    def _continuous(self, learned: Learned, chosen: Candidate | None) -> Continuous | None:
        """What any linear layer with these weights commutes with, as far as the error of the fit shows it."""
        rows = learned.as_came(self.data)
        if max(rows.shape) > _MAX_CONTINUOUS:
            return None
        if chosen is not None and not self.points.signed:
            rows = rows.averaged(orbits_of(chosen))
        maps = torch.from_numpy(rows.values).T.reshape(-1, *rows.shape)
        for times in _TOLERANCES:
            rtol = min(0.1, max(1e-5, times * rows.error / rows.size))
            try:
                return continuous(maps, constant=True, rtol=rtol, seed=self.seed)
            except DataError:  # no structure fits at that precision
                continue
        return None

    def _answer(
        self,
        verdict: Verdict,
        sentence: str,
        hints: tuple[str, ...],
        *,
        learned: Learned | None = None,
        group: GroupName | None = None,
        chosen: Candidate | None = None,
        candidates: list[Candidate] | None = None,
        certificate: Certificate | None = None,
        partial: tuple[PartialSymmetry, ...] = (),
        explained: float | None = None,
    ) -> Discovery:
        data, span = self.data, learned.span if learned else None
        lie = self._continuous(learned, chosen) if learned else None
        spectrum = span.start.spectrum if span is not None and span.start is not None else None
        pattern = span.U * torch.from_numpy(data.factors).reshape(-1, 1) if span else None
        noise = span.noise * float((data.units[1] ** 2).mean()) if span else None
        note = two_closure_note(chosen.order, orbits_of(chosen)) if chosen else ""
        return Discovery(
            verdict=verdict, sentence=sentence, hints=hints, layer=data.layer, signed=self.points.signed,
            shape_in=data.shape_in, shape_out=data.shape_out, inputs=data.inputs, outputs=data.outputs,
            dimension=span.k if span else None, group=group, chosen=chosen, candidates=tuple(candidates or ()),
            certificate=certificate, partial=partial, continuous=lie, two_closure_note=note,
            pattern=pattern, noise=noise, explained=explained,
            class_order=self._class_order(chosen), spectrum=spectrum,
            training=span.residuals if span else (), n_tasks=len(data.x), left_out=data.left_out, seconds=0.0,
        )  # fmt: skip
