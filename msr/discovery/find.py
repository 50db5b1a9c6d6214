"""From a folder of small related data sets to a verdict: the whole walk, in the order in which it happens.

1. *Data* (``data/``): tasks are checked, each is centred, and coordinates are brought to common units.
2. *Pattern* (``pattern/learning.py``): some tasks **teach**. A span ``vec(W) = U v`` is fitted to them.
3. *Classes* (``pattern/classes.py``): weights whose rows of ``U`` agree within their errors form a class.
4. *Action* (``pattern/action.py``): the permutations of inputs and outputs that keep the classes form a group.
5. *Candidates* (``pattern/candidates.py``): finer and coarser classes give several groups; each is listed once.
6. *Breaking* (``breaking/``): all other tasks **test**. How much of their own weights breaks each group?
7. *Evidence* (``verdict/evidence.py``): e-values for three claims, that a group breaks less than ε, more than ε, or
   anything at all.
8. *Rule* (``verdict/rule.py``): the largest group that breaks less than ε and was not seen to be broken is chosen.
9. *Certificate* (``verdict/certification.py``): exceptions among the tasks, and what is not linear, are bounded.
10. *Doubts* (``verdict/doubts.py``): any reason against the answer turns it into *cannot tell*.
11. *Result* (``assembly.py``, ``answer/result.py``): the group gets its name, and the answer is put together.
12. *Sentences* (``answer/sentences.py``): the answer in words.

Steps 2 to 8 are repeated on several random splits into teaching and testing tasks, until nothing more would change.

**Who decides that a group is certified?** Three functions, and all must agree. The rule chooses the group
(:func:`msr.discovery.verdict.rule.decided`). The certificate says whether exceptions are rare enough
(:attr:`msr.discovery.verdict.certification.Exceptions.rare`, shown as ``certified``). No doubt is raised
(:func:`msr.discovery.verdict.doubts.doubts_about`). Their numbers stand in :mod:`msr.discovery.thresholds`.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch

from msr.discovery.answer.candidate import Candidate
from msr.discovery.answer.result import Discovery
from msr.discovery.answer.sentences import cannot_tell, found_sentence, never_seen, nothing_sentence
from msr.discovery.assembly import assembled
from msr.discovery.breaking.biases import Biases, biases
from msr.discovery.data.memory import refuse_at_the_door, refuse_if_too_large
from msr.discovery.data.splits import splits
from msr.discovery.data.tasks import prepare
from msr.discovery.data.threads import threads_for
from msr.discovery.pattern.candidates import is_trivial
from msr.discovery.pattern.learning import explained
from msr.discovery.pattern.partial import partial_symmetries
from msr.discovery.question import Question
from msr.discovery.verdict.agreement import agreed
from msr.discovery.verdict.certification import certificate_of
from msr.discovery.verdict.doubts import doubts_about
from msr.discovery.verdict.findings import Findings, clear_everywhere, larger_untested, suspect
from msr.discovery.verdict.instruments import Instruments
from msr.discovery.verdict.rule import Decision, decided, judged
from msr.discovery.verdict.teaching import taught_by_few
from msr.discovery.verdict.testing import Trial, tested
from msr.errors import ConfigError, DataError
from msr.groups.naming.name import name_group
from msr.threads import checked_threads, using_threads

__all__ = ["Progress", "discover"]

Progress = Callable[[str, int, int | None], None]
"""Is told the stages of a discovery; see ``progress`` of :func:`discover`."""


def _told_to_nobody(stage: str, number: int, count: int | None) -> None:
    """The progress of a discovery that nobody watches."""


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
    progress: Progress | None = None,
) -> Discovery:
    """Find the permutations of inputs and outputs that all tasks respect, and name the group that they form.

    Each task is a linear layer of its own, ``y = W_i x + b_i + noise``; all share a pattern, ``vec(W_i) = U v_i``. A
    pair of permutations ``P`` of inputs and ``Q`` of outputs is a symmetry if ``Q W_i = W_i P`` for all tasks. Biases
    and offsets play no part, since every task is centred first. The steps are those of :mod:`msr.discovery.find`.

    Shapes: ``x (tasks, examples, ...)``, ``y (tasks, examples, ...)``; or two lists, of ``x_i`` and of ``y_i``, of
    unequal lengths; or one list of pairs ``(x_i, y_i)``, without ``y``; or one data set, ``x (rows, inputs)`` and
    ``y (rows, outputs)``. For convolutions an example is ``(channels, *space)``.

    Args:
        layer: what a task is: a linear layer on all numbers, or a convolution (then the group moves channels and taps).
        kernel: number of taps along each axis, for a convolution.
        circular: whether the convolution wraps around.
        stride, padding: of the convolution, as torch has them.
        k: the dimension of the sharing, if it is known.
        eps: the tolerance, a share of the outputs' size (root mean square). A group counts as a symmetry if the part of
            the weights that breaks it contributes less than this to the outputs.
        alpha: error rate of all claims about groups together. The claim about biases has an error rate of its own.
        seeds: how many whole searches are made, with other random splits each; where their answers differ the verdict
            is "cannot tell".
        fresh: ``(tasks,)`` booleans, True for tasks that only test: there is one split then, and all others teach. By
            default several random splits are made. Not with one data set.
        signed: look for signed permutations, which odd activations such as tanh let through. The change of the signs of
            all inputs and outputs at once is then part of every group.
        seed: of the random splits and relabellings.
        threads: number of threads torch uses meanwhile. By default one; for large layers all that torch has, where a
            short measurement shows that they are faster.
        memory: bytes that may be used; by default what is free. The need is estimated from shapes, before the work.
        progress: is called as each stage begins, with its name, the number of the split that it works on, from 1, and
            how many splits a search makes at most; with 1 and None for a stage that is of no split.

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
        tell = progress or _told_to_nobody
        answers = [search(Question(data, k, eps, alpha, signed, s), tell=tell) for s in range(seed, seed + seeds)]
    return replace(agreed(answers), seconds=time.perf_counter() - started, threads=count)


def search(question: Question, earlier: Instruments | None = None, tell: Progress = _told_to_nobody) -> Discovery:
    """The answer of one search, with the random splits of ``question.seed``; ``seconds`` and ``threads`` are not set.

    Args:
        earlier: None, or the instruments of a search of the same tasks with another tolerance, which makes this one for
            the sake of a hint, where a group may hold but was not shown to. A search that is made for a hint makes none
            itself. Nothing but its verdict is looked at, so most of what is shown beside the verdict is left out.
        tell: is told each stage as it begins.
    """
    data = question.data
    # Step 1, data: are there enough tasks and examples to learn anything?
    if data.too_few is not None:
        return assembled(question, "cannot tell", cannot_tell("too few tasks"), [data.too_few])
    freedom = int((data.counts - 1).sum())
    if data.n > freedom:
        return assembled(question, "cannot tell", cannot_tell("no sharing was learned"), [never_seen(data.n, freedom)])

    # Steps 2 to 8, on one split after another: pattern, classes, action, candidates; breaking, evidence, rule.
    instruments = Instruments(question, earlier)
    findings = _over_splits(instruments, tell)
    if not findings.trials:
        return assembled(question, "cannot tell", cannot_tell("no sharing was learned"), findings.refusals[:1])
    named = findings.decision.named
    reported = findings.reported

    # Step 9, certificate: exceptions, and what is not linear.
    lack = instruments.nonlinearity.of_all_tasks
    certificate = None
    if named is not None:
        lack = instruments.nonlinearity.with_pattern(reported.taught.learned, reported.test)
        certificate = certificate_of(instruments, named, reported, lack, findings.trials)

    # Step 10, doubts: each of them takes the answer back.
    tell("looking for doubts", 1, None)
    names = _searching_again(instruments) if earlier is None else None
    doubts = doubts_about(instruments, findings, certificate, lack, names)

    # Steps 11 and 12, result and sentences: a name or none, and the sentence that says so.
    share = explained(reported.taught.learned.span, data.x, data.y, reported.test)
    if named is None and not doubts and instruments.all_taught is not None:
        return _none(instruments, findings, share)
    # The pattern that is shown is that of all tasks; it has no part in any test.
    shown = reported.taught if instruments.all_taught is None else instruments.all_taught
    shown_beside: dict[str, Any] = {
        "learned": shown.learned,
        "classes": question.points.plain(reported.taught.finest.colours),
        "candidates": findings.candidates,
        "chosen": named,
        "certificate": certificate,
        "explained": share,
    }
    if earlier is not None:
        shown_beside = {}
    if named is None or certificate is None or doubts:
        return assembled(question, "cannot tell", cannot_tell(doubts[0]), doubts, **shown_beside)
    tell("naming", 1, None)
    name = name_group(named.generators_in, named.generators_out, order=named.order)
    k = shown.learned.span.k
    sentence = found_sentence(name, certificate, findings.candidates, k, share, question.signed)
    of_biases = _biases(question, named, reported)
    return assembled(question, "found", sentence, [], group=name, biases=of_biases, **shown_beside)


def _over_splits(instruments: Instruments, tell: Progress) -> Findings:
    """The findings of one split after another: some tasks teach, all others test, and the rule judges all splits made.

    No further split is made once no group is open or weak (see :class:`Decision`), the named one is not suspicious
    (:func:`suspect`), and either a group is named that no larger untested group puts in doubt, or the weights clearly
    have no group. A split whose tasks cannot teach or test leaves a refusal in place of a trial; ``trials`` may be
    empty.

    An e-value of the rule is a mean over all planned splits, so that stopping early never makes a claim easier.
    """
    question = instruments.question
    planned = splits(len(question.data.x), question.data.fresh, question.seed)
    trials: list[Trial] = []
    refusals: list[str] = []
    candidates: list[Candidate] = []
    decision = Decision(None, ())
    for number, split in enumerate(planned):
        try:
            # Pattern, classes, action and candidates, from the tasks that teach.
            tell("learning", number + 1, len(planned))
            taught, teach, test = taught_by_few(instruments, split, question.seed + number)
            # Breaking and evidence, from the tasks that test.
            tell("testing", number + 1, len(planned))
            trials.append(tested(instruments, taught, teach, test))
        except DataError as error:
            refusals.append(str(error))
            continue
        # The rule, from all splits so far.
        proposals = [trial.proposals for trial in trials]
        candidates = judged(proposals, len(planned), question.eps, question.alpha)
        decision = decided(candidates, lambda c: is_trivial(question, c))
        # Something is open or suspicious: the next split may settle it.
        if decision.open or decision.weak or suspect(instruments, trials, decision.named):
            continue
        # Nothing would change any more: every split, and all tasks together, are clear that there is no group.
        if decision.named is None and clear_everywhere(instruments, trials):
            break
        # The name would stand: no larger group is left that only all tasks together propose.
        if decision.named is not None and larger_untested(instruments, decision.named, candidates) is None:
            break
    return Findings(tuple(trials), tuple(refusals), candidates, decision, len(planned))


def _none(instruments: Instruments, findings: Findings, share: float) -> Discovery:
    """The answer *none*, that no permutation is a symmetry, with the partial symmetries of the pattern of all tasks.

    ``share`` is the share of the squared outputs of testing tasks that the learned sharing explains.
    """
    question = instruments.question
    taught = instruments.all_taught
    assert taught is not None
    classes = question.points.plain(taught.finest.colours)
    partial = partial_symmetries(classes, taught.learned.rows)
    sentence = nothing_sentence(taught.finest.n_colours, partial, findings.candidates, question.alpha)
    return assembled(
        question,
        "none",
        sentence,
        [],
        learned=taught.learned,
        classes=classes,
        partial=partial,
        candidates=findings.candidates,
        explained=share,
    )


def _searching_again(instruments: Instruments) -> Callable[[float], bool]:
    """A function that searches the same tasks again with another tolerance and says whether the verdict is *found*."""

    def names(eps: float) -> bool:
        """Whether a whole search with the tolerance ``eps`` names a group."""
        return search(replace(instruments.question, eps=eps), instruments).verdict == "found"

    return names


def _biases(question: Question, named: Candidate, reported: Trial) -> Biases | None:
    """The test of whether the named group keeps the biases too, on the testing tasks of ``reported``.

    It has an error rate of its own, ``alpha``. None where signed permutations were looked for.
    """
    if question.signed:
        return None
    data = question.data
    span = reported.taught.learned.span
    permutations = torch.from_numpy(named.generators_out)
    return biases(
        data.x,
        data.y,
        data.counts,
        data.means,
        permutations,
        question.eps,
        question.alpha,
        (span.U, span.v0),
        reported.test,
    )
