"""One discovery over tasks that do not fit into memory: some of them propose and name a group, all others test it.

1. *Hashes.* Workers read the files one by one and give a hash of each task. Of equal tasks one counts.
2. *Pool.* The tasks with the smallest hashes, a random part that no order of files or tasks changes, are searched by
   themselves as :func:`msr.discovery.discover` does, at half of the error rate. What they name is what is asked next.
3. *Blocks.* All others are cut into blocks by their hashes. Workers estimate how much of each task's weights breaks the
   named group, with the units, the span and the estimator that the pool has fixed: four numbers a task are kept.
4. *Verdict.* The evidence of all blocks together, at the other half of the error rate: what typical tasks break the
   group by, and how many exceptions there are. It can take the name back.

A block is a function of its tasks, and blocks are functions of the hashes: so the answer is the same, bit for bit, for
one file and for many, for one worker and for many.
"""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.discovery.answer.candidate import Candidate
from msr.discovery.answer.result import Discovery
from msr.discovery.answer.sentences import size
from msr.discovery.breaking.estimator import BreakingEstimator
from msr.discovery.breaking.input_checks import common_mean
from msr.discovery.breaking.least_squares import LeastSquares
from msr.discovery.breaking.pairs import Pairs
from msr.discovery.breaking.sample import Sample
from msr.discovery.data.memory import refuse_at_the_door, refuse_if_too_large
from msr.discovery.data.tasks import Prepared, prepare
from msr.discovery.find import search
from msr.discovery.pattern.action import Points
from msr.discovery.question import Question
from msr.discovery.shards.stored import Shard, hashes_of, opened, read
from msr.discovery.thresholds import THRESHOLDS
from msr.discovery.verdict.certification import Exceptions
from msr.discovery.verdict.evidence import Evidence, least_limit, spread
from msr.discovery.verdict.instruments import Instruments
from msr.discovery.workers import WorkerEnded, answers_in_order
from msr.errors import ConfigError, DataError
from msr.permutations import Indices
from msr.span import SharedSpan
from msr.threads import using_threads

__all__ = ["Together", "discover_together"]

_SHARES = (0.5, 0.25, 0.25)
"""Shares of the second half of the error rate: for *within*, for *not kept*, and for the share of exceptions."""


@dataclass(frozen=True, eq=False)
class Together:
    """The answer for the tasks of many files.

    Attributes:
        verdict: ``found``, ``none`` or ``cannot tell``. That of the pool, unless the other tasks take a name back.
        why: why they do, or why they were not asked, as sentences.
        pool: the answer of the pool, at half of the error rate.
        n_tasks: different tasks in all files; ``n_pool`` of them are in the pool. ``copies`` more repeat another one.
        n_tested: tasks outside of the pool that tested the name; the others of them have no estimate, as being short.
        breaking: the share of the outputs' energy, over these tasks, that breaks the named group: an unbiased estimate.
            None where no name was tested, as are those below.
        bound: its upper bound in typical tasks, at level α / 4.
        exceptions: tasks that clearly break the group: the place of the file, and the row in it.
        exceptions_at_most: upper bound on the share of such tasks, at level α / 8.
    """

    verdict: str
    why: tuple[str, ...]
    pool: Discovery
    n_tasks: int
    n_pool: int
    copies: int
    n_tested: int
    breaking: float | None = None
    bound: float | None = None
    exceptions: tuple[tuple[int, int], ...] = ()
    exceptions_at_most: float | None = None

    def __str__(self) -> str:
        lines = [f"{self.verdict.upper()}: {'; '.join(self.why)}" if self.why else str(self.pool.sentence)]
        copies = f"; {self.copies:,} more repeat another one" if self.copies else ""
        lines.append(f"{self.n_tasks:,} different tasks, of which {self.n_pool:,} proposed and named it{copies}")
        if self.bound is not None and self.exceptions_at_most is not None:
            lines.append(
                f"{self.n_tested:,} others tested it: in typical tasks what breaks it makes at most {size(self.bound)} "
                f"of the outputs; at most {self.exceptions_at_most:.2g} of the tasks may be exceptions, "
                f"{len(self.exceptions)} were seen"
            )
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The answer as plain values that JSON can hold, by key; ``pool`` is as :meth:`Discovery.as_dict` says."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {"why": list(self.why), "exceptions": [list(place) for place in self.exceptions]}
        return {**values, **lists, "pool": self.pool.as_dict()}


@dataclass(frozen=True, eq=False)
class Reference:
    """What the pool fixes for the test of all other tasks: the question, its units, and how far noise reaches.

    Attributes:
        options: of :func:`~msr.discovery.data.tasks.prepare`.
        units: of inputs and of outputs, ``(n,)`` and ``(m,)``; ``inputs``, ``outputs``: the coordinates that vary.
        scale, root: as of :class:`~msr.discovery.breaking.sample.Sample`.
        points, orbits: the action, and the orbital of each weight under the named group.
        span: of the weights, in these units.
        squares: whether least squares estimate; else pairs of examples do, with ``common``, whether all tasks have one
            mean of inputs, and ``noise``, the noise's share of the outputs' energy.
    """

    options: dict[str, Any]
    units: tuple[NDArray[np.float64], NDArray[np.float64]]
    inputs: Indices
    outputs: Indices
    scale: Tensor
    root: Tensor
    points: Points
    orbits: Indices
    span: SharedSpan
    squares: bool
    common: bool
    noise: float

    def sample(self, block: Prepared) -> Sample:
        """The tasks of a block in the units of the pool.

        Raises: DataError where another set of coordinates varies in the block.
        """
        for name, own, theirs in (("input", self.inputs, block.inputs), ("output", self.outputs, block.outputs)):
            if not np.array_equal(own, theirs):
                raise DataError(f"some {name} coordinates vary in some tasks alone; leave these coordinates out")
        ins, outs = (torch.from_numpy(theirs / own) for own, theirs in zip(self.units, block.units, strict=True))
        outs = outs / self.scale
        means = (block.means[0] * ins, block.means[1] * outs)
        return Sample(block.x * ins, block.y * outs, block.counts, means, self.scale, self.root)

    def estimator(self, sample: Sample) -> BreakingEstimator:
        """The estimator of breaking for the tasks of a block."""
        if self.squares:
            return LeastSquares(sample, self.points.average)
        return Pairs(sample, self.points.average, common=self.common, noise=self.noise)


def discover_together(  # noqa: PLR0913  # each is an option that a caller names and mostly leaves out
    files: Sequence[Path | str],
    *,
    eps: float = 0.05,
    alpha: float = 0.01,
    pool: int = 4000,
    block: int = 4000,
    jobs: int = 1,
    seed: int = 0,
    k: Any = "auto",
    signed: bool = False,
    **options: Any,
) -> Together:
    """Find the permutations that the tasks of all files respect, holding a part of the tasks in memory at a time.

    Args:
        files: task files, as :mod:`msr.tasks.files` describes them, with examples of one shape and number, stored
            without compression.
        eps, alpha, k, signed, seed: as of :func:`msr.discovery.discover`.
        pool: most tasks that are searched in one piece, which propose the group and name it.
        block: tasks that are tested at a time; it bounds the memory of a worker, and the last digits depend on it.
        jobs: workers; more than one need joblib.
        options: ``layer``, ``kernel``, ``circular``, ``stride``, ``padding``, as of :func:`msr.discovery.discover`.

    Raises: DataError for files that cannot be used, or that do not fit together; ConfigError for options that cannot
    work; MissingExtraError without joblib, where there are several jobs.
    """
    _check(files, eps, alpha, pool, block, jobs)
    found = _worked(_opened_and_hashed, [(Path(file),) for file in files], jobs)
    shards = [shard for shard, _ in found]
    _check_alike(shards)
    numbers, rows, copies = _in_order_of_hashes([hashes for _, hashes in found], seed)
    del found
    fewest = THRESHOLDS().fewest_tasks
    if len(rows) - pool < fewest:
        pool = len(rows)  # too few others to be asked by themselves
    first = read(shards, numbers[:pool], rows[:pool])
    with using_threads(1):
        refuse_at_the_door(*first)
        data = prepare(*first, **options)
        del first
        refuse_if_too_large(len(data.x), data.x.shape[1], data.n, data.m)
        question = Question(data, k, eps, alpha / 2, signed, seed)
        answer = search(question)
    told: dict[str, Any] = {"pool": answer, "n_tasks": len(rows), "n_pool": pool, "copies": copies}
    why_not = _why_not_tested(question, answer, len(rows) - pool)
    if why_not is not None:
        return Together(verdict=answer.verdict, why=why_not, n_tested=0, **told)
    assert answer.chosen is not None
    fixed = _fixed(question, answer.chosen, options)
    if fixed is None:
        why = ("no estimator can tell what breaks the group in single tasks with these inputs",)
        return Together(verdict="cannot tell", why=why, n_tested=0, **told)
    reference, noise_spread, unit = fixed
    cuts = [*range(pool, len(rows), block), len(rows)]
    if len(cuts) > 2 and cuts[-1] - cuts[-2] < fewest:
        del cuts[-2]  # a few tasks may not vary in all coordinates, so they join the block before
    parts = [(reference, shards, numbers[a:b], rows[a:b]) for a, b in itertools.pairwise(cuts)]
    values = np.concatenate(_worked(_tested, parts, jobs), axis=1)
    return _judged(question, values, noise_spread, unit, (numbers[pool:], rows[pool:]), told)


def _opened_and_hashed(path: Path) -> tuple[Shard, NDArray[np.uint64]]:
    """A file, checked, with the hash of each of its tasks: the work of a worker."""
    shard = opened(path)
    return shard, hashes_of(shard)


def _tested(
    reference: Reference, shards: list[Shard], numbers: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Four numbers of each task of a block, ``(4, tasks)``, in the order of ``rows``: the work of a worker.

    They are the energy that breaks the group (infinite without an estimate), the energy of the outputs without noise
    and with it, and 1 for a task that counts: one with too few examples or without variation is left out with 0.
    """
    values = np.zeros((4, len(rows)))
    with using_threads(1):
        data = prepare(*read(shards, numbers, rows), **reference.options)
        if data.null_directions.shape[1]:
            raise DataError("the inputs of some tasks never take some direction; leave out what adds up to a constant")
        sample = reference.sample(data)
        tasks = torch.arange(len(sample))
        nowhere = torch.zeros(data.m * data.n, 0, dtype=torch.float64)
        estimator = reference.estimator(sample)
        if isinstance(estimator, Pairs) and not estimator.possible:
            breaking = torch.full((len(sample),), torch.inf, dtype=torch.float64)
        else:
            breaking, _ = estimator(reference.orbits, reference.span, nowhere, tasks)
        energy = sample.energies
        noise = estimator.noise(reference.span, tasks)
        values[:, data.origin] = torch.stack([breaking, energy - noise, energy, torch.ones_like(energy)]).numpy()
    return values


def _fixed(question: Question, named: Candidate, options: dict[str, Any]) -> tuple[Reference, float, float] | None:
    """What the pool fixes for all other tasks, none of which it has seen; None where no estimator is usable.

    Beside the reference these are the spread of the estimates by noise alone, and the usual energy of a task.
    """
    instruments = Instruments(question)
    taught = instruments.all_taught
    data = question.data
    scaling = torch.arange(min(len(question.sample), THRESHOLDS().scale_tasks))
    if taught is None:
        return None
    estimator = instruments.estimators.quietest(named, taught.learned, scaling)
    if estimator is None:
        return None
    sample = question.sample
    span = taught.learned.span
    reference = Reference(
        options=options,
        units=data.units,
        inputs=data.inputs,
        outputs=data.outputs,
        scale=sample.scale,
        root=sample.root,
        points=question.points,
        orbits=named.orbitals,
        # Nothing but these four are used, and the others may be large.
        span=replace(span, cut=None, start=None, residuals=()),
        squares=isinstance(estimator, LeastSquares),
        common=common_mean(sample),
        noise=span.noise * float(sample.scale.pow(-2).sum()) / float(sample.energies.mean()),
    )
    nowhere = torch.zeros(data.m * data.n, 0, dtype=torch.float64)
    breaking, _ = estimator(named.orbitals, span, nowhere, scaling)
    usual = sample.energies[scaling] - estimator.noise(span, scaling)
    return reference, spread(breaking), max(float(usual.mean()), 1e-12 * float(sample.energies.mean()))


def _judged(
    question: Question,
    values: NDArray[np.float64],
    noise_spread: float,
    unit: float,
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
    told: dict[str, Any],
) -> Together:
    """The answer, from the four numbers ``(4, tasks)`` of every task outside of the pool; ``told`` is of the pool.

    Args:
        noise_spread, unit: as of :class:`~msr.discovery.verdict.evidence.Evidence`.
        places: the number of the file, and the row in it, of each task.
    """
    breaking, energy, energy_with_noise, counts = torch.from_numpy(values)
    known = ((counts > 0) & breaking.isfinite()).nonzero()[:, 0]
    if len(known) == 0:
        too_short = ("no task outside of the pool has examples enough for an estimate",)
        return Together(verdict="cannot tell", why=too_short, n_tested=0, **told)
    evidence = Evidence(
        breaking=breaking[known],
        along_pattern=breaking[known],
        beyond_linear=torch.zeros(len(known), dtype=torch.float64),
        energy=energy[known],
        energy_with_noise=energy_with_noise[known],
        noise_ratio=torch.ones(len(known), dtype=torch.float64),
        spread=noise_spread,
        noise_spread=noise_spread,
        unit=unit,
        symmetric="pairs" in told["pool"].certificate.method,
        shares=(1.0, 0.0, 0.0),
        tasks=known,
    )
    limit = question.limit
    within, not_kept, rare = (share * question.alpha for share in _SHARES)
    cap = evidence.cap(limit)
    exceptions = Exceptions.of(evidence, limit, rare, torch.arange(len(counts)))
    why: list[str] = []
    if evidence.not_kept(limit) >= 1 / not_kept:
        why.append("the tasks outside of the pool break the group that the pool names: a larger pool may see by what")
    elif evidence.within(limit, cap) < 1 / within:
        why.append("the tasks outside of the pool do not show that they keep the group that the pool names")
    if not exceptions.rare:
        why.append(f"{len(exceptions.places)} of {len(known)} tasks outside of the pool break the group by themselves")
    return Together(
        verdict="cannot tell" if why else "found",
        why=tuple(why),
        n_tested=len(known),
        breaking=float(evidence.breaking.mean() / evidence.energy.mean()),
        bound=least_limit(lambda at: evidence.within(at, cap) >= 1 / within),
        exceptions=tuple((int(places[0][i]), int(places[1][i])) for i in exceptions.places),
        exceptions_at_most=exceptions.at_most,
        **told,
    )


def _why_not_tested(question: Question, answer: Discovery, others: int) -> tuple[str, ...] | None:
    """Why no task outside of the pool tests anything: sentences, none where there is no need to; None where they do."""
    if answer.verdict != "found":
        return answer.hints
    if others <= 0:
        return ()
    if answer.certificate is not None and not answer.certificate.linear:
        return ("the tasks are not quite linear, so only the pool was tested: give a larger pool",)
    if question.data.null_directions.shape[1]:
        return ("the inputs never take some direction, so only the pool was tested: leave that out of the inputs",)
    return None


def _in_order_of_hashes(
    hashes: list[NDArray[np.uint64]], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """All different tasks in the order of their hashes, as numbers of files and rows in them; and how many are copies.

    The order is pseudo-random, and another one for another ``seed``; of equal tasks the first one counts.
    """
    whole = np.concatenate(hashes)
    numbers = np.repeat(np.arange(len(hashes)), [len(part) for part in hashes])
    rows = np.concatenate([np.arange(len(part)) for part in hashes])
    _, first = np.unique(whole, return_index=True)
    # Multiplying by an odd number permutes all 64-bit numbers, and the high bits of the result are well mixed.
    odd = 2 * np.random.default_rng(seed).integers(2**63, dtype=np.uint64) + np.uint64(1)
    order = first[np.argsort(whole[first] * odd, kind="stable")]
    return numbers[order], rows[order], len(whole) - len(order)


def _check(files: Sequence[Any], eps: float, alpha: float, pool: int, block: int, jobs: int) -> None:
    """Raise ConfigError for options that cannot work."""
    if not files:
        raise ConfigError("at least one task file is needed; got none")
    if not 1e-6 <= eps < 1 or not 0 < alpha < 0.5:
        raise ConfigError(f"eps must lie between 1e-6 and 1 and alpha between 0 and 0.5; got {eps} and {alpha}")
    fewest = THRESHOLDS().fewest_tasks
    for name, value, least in (("pool", pool, fewest), ("block", block, fewest), ("jobs", jobs, 1)):
        if value < least:
            raise ConfigError(f"{name} must be at least {least}; got {value}")


def _check_alike(shards: list[Shard]) -> None:
    """Raise DataError where the examples of two files differ in number or shape."""
    first = shards[0]
    for shard in shards:
        if (shard.x.shape[1:], shard.y.shape[1:]) != (first.x.shape[1:], first.y.shape[1:]):
            raise DataError(
                f"the tasks of all files must have examples of one number and shape; in {first.x.path} x and y are "
                f"{first.x.shape[1:]} and {first.y.shape[1:]}, in {shard.x.path} {shard.x.shape[1:]} and "
                f"{shard.y.shape[1:]}"
            )


def _worked(work: Callable[..., Any], arguments: list[tuple[Any, ...]], jobs: int) -> list[Any]:
    """What workers make of each of the arguments, in their order.

    Raises: DataError where a worker was ended from outside, and what ``work`` raises.
    """
    try:
        with contextlib.closing(answers_in_order(work, arguments, jobs)) as answers:
            return list(answers)
    except WorkerEnded:
        raise DataError(
            "a process that read tasks was ended from outside, perhaps since memory was short; give fewer jobs, or a "
            "smaller block"
        ) from None
