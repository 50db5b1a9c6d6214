"""From a folder of small related data sets to a verdict: learn the sharing, read groups off it, test them apart."""

import time
from dataclasses import replace
from typing import Any, Literal

import torch

from msr.discovery.answer.claims import APART, Candidate, Certificate
from msr.discovery.answer.result import Discovery, PartialSymmetry, Verdict, short
from msr.discovery.answer.sentences import (
    cannot_tell,
    found_sentence,
    never_seen,
    not_linear,
    not_shown,
    nothing_sentence,
    two_closure_note,
)
from msr.discovery.breaking.biases import Biases, biases
from msr.discovery.data.splits import splits
from msr.discovery.data.tasks import Prepared, prepare
from msr.discovery.data.workload import refuse_at_the_door, refuse_if_too_large, threads_for
from msr.discovery.linearity.lack_of_fit import LackOfFit, serial_correlation
from msr.discovery.pattern.classes import Rows
from msr.discovery.pattern.hypothesis_class import class_automorphisms
from msr.discovery.pattern.learning import Learned, explained
from msr.discovery.pattern.partial import partial_symmetries
from msr.discovery.verdict.advice import larger_tolerance, why_unclear
from msr.discovery.verdict.agreement import agreed, differ, orbits_of
from msr.discovery.verdict.evidence import Exceptions, bound
from msr.discovery.verdict.rule import Decision, decided, judged
from msr.discovery.verdict.specificity import specificity
from msr.discovery.verdict.trial import RESOLVED, VETO, Bench, Trial
from msr.errors import ConfigError, DataError, MissingExtraError
from msr.groups.naming.group_name import GroupName
from msr.groups.naming.name import name_group
from msr.permutations.actions import Indices
from msr.representations.commutant.lie_algebra import continuous
from msr.representations.commutant.values import Continuous
from msr.threads import checked_threads, using_threads

__all__ = ["discover"]

_SPEAKS = 2.0  # an e-value that is worth another look
# Eigenvalues are equal within so many relative errors of a row: the wide one sees through noise, where it fits at all.
_TOLERANCES = (5.0, 2.0)
_MAX_CONTINUOUS = 512  # points of a side
_MAX_CLASS = 1024  # weights
_SERIAL_TASKS = 240  # that are enough to see noise which goes on from one example to the next


def discover(
    x: Any,
    y: Any = None,
    *,
    layer: Literal["linear", "conv1d", "conv2d"] = "linear",
    kernel: int | tuple[int, ...] | None = None,
    circular: bool = False,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | Literal["same"] = 0,
    k: int | Literal["auto"] = "auto",
    eps: float = 0.05,
    alpha: float = 0.01,
    seeds: int = 1,
    fresh: Any = None,
    signed: bool = False,
    seed: int = 0,
    threads: int | None = None,
    memory: int | None = None,
) -> Discovery:
    """Which permutations of inputs and outputs do all tasks respect, and what is the group they form?

    Each task is a linear layer of its own, ``y = W_i x + b_i + noise``; all share ``vec(W_i) = U v_i``. A task is
    looked at about its own mean, so biases and offsets play no part. Some of the tasks, at random, fit the span of
    ``U`` (:func:`~msr.meta.find_span`). Weights whose rows of ``U`` agree up to the error of the fit, which spans of
    two halves show, are one class; the permutations that keep the classes form a group, and several cuts give several
    groups. The other tasks test each group in their own weights, whatever was learned. That is done on up to four
    splits, whose evidence is averaged as e-values (:mod:`msr.discovery.verdict.rule`).

    Shapes: ``x (tasks, examples, ...)``, ``y (tasks, examples, ...)``, or a list of pairs ``(x_i, y_i)`` of unequal
    lengths, or one data set ``x (rows, inputs)``; convolutions ``(tasks, examples, channels, *space)``.

    Args:
        layer: what a task is: a linear layer on all numbers, or a convolution (then the group moves channels and taps).
        kernel: taps along each axis, for a convolution; ``circular``: it wraps around; ``stride`` and ``padding`` as
            torch has them.
        k: the dimension of the sharing, if it is known.
        eps: tolerance: a group counts as a symmetry where what breaks it makes less than this of the outputs' size.
        alpha: error rate, of all that is said of groups together; what is said of biases has one of its own.
        seeds: how many times to repeat with other splits; where they do not agree the verdict is "cannot tell".
        fresh: ``(tasks,)``, which tasks are kept for the tests; by default several random splits are made.
        signed: look for signed permutations, which odd activations such as tanh let through; changing the sign of all
            inputs and outputs at once is always one.
        seed: the splits, and random relabellings.
        threads: that torch works with meanwhile. By default one, and all that torch has where a layer is so large that
            they may gain, and a short measurement shows that they do.
        memory: bytes that may be taken; by default what is free. It is estimated from shapes, before the work.

    Raises: DataError, ShapeError, ConfigError for data and options that cannot be used. Too few tasks or too much noise
    is no error: the verdict is "cannot tell", with a hint.
    """
    started = time.perf_counter()
    if not all(isinstance(value, (int, float)) for value in (eps, alpha)) or not 1e-6 <= eps < 1 or not 0 < alpha < 0.5:
        raise ConfigError(f"eps must lie between 1e-6 and 1 and alpha between 0 and 0.5; got {eps} and {alpha}")
    for name, value, least in (("seeds", seeds, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or not least <= value < 2**62:
            raise ConfigError(f"{name} must be a whole number from {least} on; got {value!r}")
    with using_threads(checked_threads(threads) or 1):
        refuse_at_the_door(x, y, memory)
        data = prepare(x, y, layer=layer, kernel=kernel, circular=circular, stride=stride, padding=padding, fresh=fresh)
    refuse_if_too_large(len(data.x), data.x.shape[1], data.n, data.m, memory)
    with using_threads(threads or threads_for(data)) as count:
        answers = [_Search(data, k, eps, alpha, signed, one).run() for one in range(seed, seed + seeds)]
    return replace(agreed(answers), seconds=time.perf_counter() - started, threads=count)


class _Search:
    def __init__(
        self,
        data: Prepared,
        k: int | Literal["auto"],
        eps: float,
        alpha: float,
        signed: bool,
        seed: int,
        advising: bool = True,
    ):
        self.data, self.k, self.eps, self.alpha, self.signed, self.seed = data, k, eps, alpha, signed, seed
        self.advising = advising  # whether a hint may take a search of its own

    def run(self) -> Discovery:
        """Learn, propose and test on one split after another, until nothing is left open; then name."""
        data = self.data
        if data.too_few is not None:
            return self._answer("cannot tell", cannot_tell("too few tasks"), (data.too_few,))
        freedom = int((data.counts - 1).sum())
        if data.n > freedom:
            return self._answer("cannot tell", cannot_tell("no sharing was learned"), (never_seen(data.n, freedom),))
        self.bench = Bench(data, self.k, self.eps, self.alpha, self.signed)
        planned = splits(len(data.x), data.fresh, self.seed)
        trials: list[Trial] = []
        refusals: list[str] = []
        candidates: list[Candidate] = []
        decision = Decision(None, ())
        for number, split in enumerate(planned):
            try:
                trials.append(self.bench.trial(split, self.seed + number))
            except DataError as error:
                refusals.append(str(error))
                continue
            candidates = judged([t.proposals for t in trials], len(planned), self.eps, self.alpha)
            decision = decided(candidates, self.bench.says_nothing)
            if decision.open or decision.weak or self._suspect(trials, decision.named):
                continue
            if decision.named is None and self._clear(trials):
                break
            if decision.named is not None and self._untested(decision.named, candidates) is None:
                break
        if not trials:
            return self._answer("cannot tell", cannot_tell("no sharing was learned"), (refusals[0],))
        return self._concluded(trials, candidates, decision, refusals, len(planned))

    def _clear(self, trials: list[Trial]) -> bool:
        """Whether all splits saw that no permutation keeps the weights, and all tasks together say so too."""
        return (
            all(self.bench.clear(trial.learned, trial.finest, trial.found) for trial in trials)
            and self.bench.without_symmetry
        )

    def _suspect(self, trials: list[Trial], named: Candidate | None) -> bool:
        """Whether something speaks against the group that would be named, so that all splits should be heard."""
        if named is None:
            return False
        own = [p.evidence for t in trials for p in t.proposals if not differ(p.candidate, named)]
        return any(one.not_kept(self.eps**2) >= _SPEAKS for one in own)

    def _concluded(
        self,
        trials: list[Trial],
        candidates: list[Candidate],
        decision: Decision,
        refusals: list[str],
        planned: int,
    ) -> Discovery:
        """The verdict, in words."""
        named = decision.named
        said = self._first_with(trials, named) if named is not None else max(trials, key=lambda t: len(t.teach))
        left = explained(said.learned.span, self.data.x, self.data.y, said.test)
        hints = []
        some = slice(_SERIAL_TASKS)
        serial = serial_correlation(
            self.bench.sample.x[some], self.bench.sample.y[some], self.data.counts[some], self.data.order[some]
        )
        if serial.p_value <= VETO * self.alpha:
            hints.append(
                f"the noise of neighbouring examples is correlated ({serial.correlation:.2f}), so they do not count as "
                "examples of their own: differences of neighbouring examples, in x and in y, may be independent"
            )
        certificate, lack = None, self.bench.lack
        if named is not None:
            lack = self.bench.lack_of(said)
            certificate = self._certificate(named, said, lack, trials)
            if self.bench.not_linear(lack) and lack is not self.bench.lack:
                hints.append(self._not_linear(lack))
            vague = self.bench.points.unknown(self._rows_as_came(said.learned), RESOLVED)
            if len(certificate.exceptions) > 0 and not certificate.certified:
                hints.append(
                    f"{len(certificate.exceptions)} of {certificate.n_tasks} tasks break the group of order "
                    f"{short(named.order)}, which are too many for exceptions"
                )
            if vague:
                hints.append(
                    f"{vague} inputs or outputs seem to carry nothing, but their weights are not known well enough to "
                    "say what they could be swapped with: leave them out, bring them to like units, or give more tasks"
                )
            if decision.open:
                orders = ", ".join(short(c.order) for c in decision.open)
                hints.append(f"a larger group (order {orders}) may hold as well: more tasks would settle it")
            elif untested := self._untested(named, candidates):
                hints.append(
                    f"all tasks together seem to keep a larger group (order {short(untested.order)}) that no part of "
                    "them proposed, so that none was left to test it: give more tasks"
                )
        elif self.bench.not_linear(lack):
            hints.append(self._not_linear(lack))
        elif decision.open:
            likeliest = max(decision.open, key=lambda c: (c.exact, -c.breaking))
            tolerance = larger_tolerance(self.bench, trials, planned, self._names) if self.advising else None
            hints.append(not_shown(likeliest, self.eps, tolerance))
        elif decision.weak or not self._clear(trials):
            hints.append(refusals[0] if refusals else why_unclear(self.bench, trials, candidates))
        shared: dict[str, Any] = {"candidates": candidates, "explained": left}
        if named is None and not hints and self.bench.of_all is not None:
            learned, finest, _ = self.bench.of_all
            classes = self.bench.points.plain(finest.colours)
            partial = partial_symmetries(classes, learned.rows)
            sentence = nothing_sentence(finest.n_colours, partial, candidates, self.alpha)
            return self._answer("none", sentence, (), learned=learned, classes=classes, partial=partial, **shared)
        shared["learned"] = learned = self._learned_from_all(said)
        shared["classes"] = self.bench.points.plain(said.finest.colours)
        if named is not None and certificate is not None and not hints:
            name = name_group(named.generators_in, named.generators_out, order=named.order)
            sentence = found_sentence(name, certificate, candidates, learned.span.k, left, self.signed)
            kept = self._biases(named, said)
            return self._answer(
                "found", sentence, (), group=name, chosen=named, certificate=certificate, kept=kept, **shared
            )
        return self._answer(
            "cannot tell", cannot_tell(hints[0]), tuple(hints), chosen=named, certificate=certificate, **shared
        )

    def _biases(self, named: Candidate, said: Trial) -> Biases | None:
        """Whether the group that is named keeps the tasks' biases: a question of its own."""
        if self.signed:
            return None
        data, span = self.data, said.learned.span
        out = torch.from_numpy(named.generators_out)
        return biases(data.x, data.y, data.counts, data.means, out, self.eps, self.alpha, (span.U, span.v0), said.test)

    def _learned_from_all(self, said: Trial) -> Learned:
        """The pattern that is shown, from all tasks; it has no part in any test."""
        return said.learned if self.bench.of_all is None else self.bench.of_all[0]

    def _untested(self, named: Candidate, candidates: list[Candidate]) -> Candidate | None:
        """The largest group beyond the one that would be named which all tasks together seem to keep, and none judged.

        A name that is too small is wrong as well; this takes names back, and gives none.
        """
        if self.bench.of_all is None:
            return None
        more = [
            c
            for c in self.bench.of_all[2]
            if c.exact and c.order > named.order and all(differ(c, other) for other in candidates)
        ]
        return max(more, key=lambda c: c.order, default=None)

    def _first_with(self, trials: list[Trial], one: Candidate) -> Trial:
        return next(t for t in trials if any(not differ(p.candidate, one) for p in t.proposals))

    def _rows_as_came(self, learned: Learned) -> Rows:
        return learned.views(self.bench.points, self.data)[-1].rows

    def _not_linear(self, lack: LackOfFit) -> str:
        return not_linear(float(lack.residual.mean() / self.bench.sample.energies.mean()))

    def _names(self, eps: float) -> bool:
        """Whether a search with another tolerance names a group."""
        again = _Search(self.data, self.k, eps, self.alpha, self.signed, self.seed, advising=False)
        return again.run().verdict == "found"

    def _certificate(self, named: Candidate, said: Trial, lack: LackOfFit, trials: list[Trial]) -> Certificate:
        evidence = next(p.evidence for p in said.proposals if not differ(p.candidate, named))
        every = [p.evidence for t in trials for p in t.proposals if not differ(p.candidate, named)]
        limit = self.eps**2
        exceptions = Exceptions.of(evidence, limit, APART * self.alpha, torch.from_numpy(self.data.came))
        nonlinear, tested = None, lack.tested
        if tested.any():
            energy = self.bench.sample.energies - self.bench.noise(said, lack)
            nonlinear = bound(lack.energy[tested], energy[tested], APART * self.alpha)
        linear = not self.bench.not_linear(lack)
        reach = min(one.reach(limit) for one in every)
        whole = not linear or (nonlinear is not None and named.high + nonlinear <= limit)
        return Certificate(
            null=(
                f"E min(b - {limit:.3g} e, {reach:.3g}) >= 0, b the energy of what breaks the group in "
                "a task's outputs, e that of its outputs, noise left out of both, in units of the mean of e"
            ),
            eps=self.eps,
            alpha=self.alpha,
            p_value=named.p_within,
            breaking=named.breaking,
            bound=named.high,
            method=said.method,
            exceptions=exceptions.seen,
            exceptions_at_most=exceptions.at_most,
            exceptions_break=exceptions.break_,
            counts_up_to=min(1.0, limit + reach) ** 0.5,
            nonlinear_at_most=nonlinear,
            covers="the outputs" if whole else "the linear layer",
            linear=linear,
            n_tasks=exceptions.tasks,
            splits=len(trials),
            certified=exceptions.rare,
            specificity=specificity(self.bench.points, named, said.learned.span.U, self.seed),
        )

    def _class_order(self, chosen: Candidate | None) -> int | None:
        """Of the symmetries of the set of all layers that the chosen group allows."""
        if chosen is None or self.signed or self.data.m * self.data.n > _MAX_CLASS:
            return None
        orbits = orbits_of(chosen).reshape(self.data.m, -1)
        try:
            return class_automorphisms(orbits).order
        except MissingExtraError:  # a search that was given up takes nothing from the answer to the question
            return None

    def _continuous(self, learned: Learned, chosen: Candidate | None) -> Continuous | None:
        """What any linear layer with these weights commutes with, as far as the error of the fit shows it."""
        rows = learned.as_came(self.data)
        if max(rows.shape) > _MAX_CONTINUOUS:
            return None
        if chosen is not None and not self.signed:
            rows = rows.averaged(orbits_of(chosen))
        maps = torch.from_numpy(rows.values).T.reshape(-1, *rows.shape)
        for times in _TOLERANCES:
            rtol = min(0.1, max(1e-5, times * rows.error / rows.size))
            try:
                return continuous(maps, rtol=rtol, seed=self.seed)
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
        kept: Biases | None = None,
        partial: tuple[PartialSymmetry, ...] = (),
        explained: float | None = None,
        classes: Indices | None = None,
    ) -> Discovery:
        data, span = self.data, learned.span if learned else None
        lie = self._continuous(learned, chosen) if learned else None
        spectrum = span.start.spectrum if span is not None and span.start is not None else None
        pattern = span.U * torch.from_numpy(data.factors).reshape(-1, 1) if span else None
        noise = span.noise * float((data.units[1] ** 2).mean()) if span else None
        note = two_closure_note(chosen.order, orbits_of(chosen)) if chosen else ""
        return Discovery(
            verdict=verdict, sentence=sentence, hints=hints, layer=data.layer, signed=self.signed,
            shape_in=data.shape_in, shape_out=data.shape_out, inputs=data.inputs, outputs=data.outputs,
            dimension=span.k if span else None, group=group, chosen=chosen, candidates=tuple(candidates or ()),
            certificate=certificate, biases=kept, partial=partial, continuous=lie, two_closure_note=note,
            classes=classes, pattern=pattern, noise=noise, explained=explained,
            class_order=self._class_order(chosen), spectrum=spectrum,
            training=span.residuals if span else (), n_tasks=len(data.x), left_out=data.left_out, seconds=0.0,
        )  # fmt: skip
