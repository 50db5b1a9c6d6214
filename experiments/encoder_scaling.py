"""Does a larger encoder help, or only a better context? Networks of many sizes on one context, one size on many.

Images of digits, each with the context of one of its nearest neighbours: networks of several widths and depths are
trained to learn it, and a linear probe of what they learned reads the digit off. Two numbers are held side by side: the
share that was captured of what so many functions can capture, and the probe's error on images held out. Then the
network keeps its size and the context changes. The claim, of arXiv:2504.19792: once an encoder has captured its
context, a larger one is of no use, and a better context is. The figure can come out against it: the errors of networks
that captured nearly all would then differ by as much as those of contexts, or go on falling below the error of the
exact functions.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from experiments.shared.tabular import Split, probe, split_of
from msr.contexture import Context, PoolContext, Spectrum, extend, parse_context, spectrum
from msr.contexture.comparison import known_share
from msr.contexture.learning import Schedule, learn, perceptron
from msr.contexture.measures import captured
from msr.contexture.objectives import KISE
from msr.errors import DataError
from msr.report import figures, format_table
from msr.runs import arms
from msr.runs.command import main
from msr.runs.config import SeedFlags
from msr.runs.flags import option
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import decimals, estimate_or_none, over_rows

CONTEXT = "knn:30"
"""The context that networks of all sizes learn."""
WIDTHS = (2, 4, 8, 16, 64, 256)
DEPTHS = (1, 2, 3)
SIZE = (64, 2)
"""The width and depth of the network that learns all contexts."""
CONTEXTS = ("knn:3", "knn:10", CONTEXT, "knn:100", "knn:400", "rbf:auto", "mask:0.5", "labels + knn:30", "labels")
"""The contexts that one network learns. Those with labels are told the digits of all images that are not held out, of
which the probe sees few."""
FULL = 0.98
"""The share of what can be captured from which on an encoder counts as having learned its context."""
QUICK_ROWS = 150
QUICK_LABELLED = 100
QUICK_STEPS = 20


@dataclass(frozen=True)
class Config(SeedFlags):
    """Compare sizes of networks on one context, and contexts at one size."""

    functions: int = option(16, "outputs of the encoders", least=2, most=100)
    rows: int = option(1500, "images, a fifth of them held out", least=501, most=1797)
    labelled: int = option(200, "images whose digit the probe sees", least=100, most=1500)
    steps: int = option(1000, "gradient steps of a network at most", least=1, most=10**6)

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError without matplotlib."""
        super().check()
        figures.require()


@dataclass(frozen=True)
class Arm(arms.Arm):
    """A network of some size on a context, with a seed."""

    context: str
    width: int
    depth: int
    seed: int

    @property
    def name(self) -> str:
        """The context and the size."""
        return f"{self.context}, {self.depth} of {self.width}"


def run(config: Config) -> None:
    """Train every network that has no row yet, then write results, tables and the figure."""
    sizes = [(CONTEXT, width, depth) for depth in DEPTHS for width in WIDTHS]
    variants = [*sizes, *((context, *SIZE) for context in CONTEXTS if context != CONTEXT)]
    if config.quick:
        variants = [(CONTEXT, WIDTHS[0], 1), (CONTEXT, *SIZE), ("labels", *SIZE)]
    # The networks of one context and seed follow each other, so that the context is made once.
    all_arms = [Arm(*variant, seed) for seed in config.all_seeds for variant in variants]
    folder = RunFolder("encoder_scaling", config)
    arms.run_arms(
        folder,
        all_arms,
        lambda arm: run_arm(arm, config),
        tell=lambda row: f"captured {100 * row['share']:.1f}%, error {row['error']:.3f}",
    )
    summary = arms.summarise(folder, all_arms, summary_line)
    gains = differences(summary)
    arms.publish(folder, table(summary, gains), summary=summary, differences=gains)
    if summary:
        folder.draw("encoder_scaling.png", figure(summary))


def run_arm(arm: Arm, config: Config) -> Row:
    """The row of a network: what it captured, what a probe of it leaves, and what one of the exact functions leaves."""
    split, context, found = _prepared(arm.context, arm.seed, config.rows, config.labelled, config.quick)
    d = config.functions
    began = time.process_time()
    trained = learn(
        context,
        split.rows,
        d,
        objective=KISE(),
        network=lambda inputs, outputs, source: perceptron(inputs, outputs, arm.width, arm.depth, generator=source),
        spectrum=found,
        schedule=Schedule(steps=QUICK_STEPS if config.quick else config.steps, batch=len(split.rows), rate=1e-2),
        seed=arm.seed,
    )
    seconds = time.process_time() - began
    there = _outputs(trained.encoder, split.test_rows)
    here = _outputs(trained.encoder, split.rows)
    try:
        what = captured(context, here)
        here, there = what.functions, (there - what.means) @ what.mixing
    except DataError:
        pass  # A network that collapsed to a constant has its constant outputs for functions.
    probed = probe(split, here, there)
    exact = _exact(split, context, found, d)
    return {
        "parameters": sum(parameter.numel() for parameter in trained.encoder.parameters()),
        "share": trained.share,
        "steps": trained.steps,
        "cpu_seconds": round(seconds, 2),
        "error": probed.error,
        "right": probed.right,
        "exact_error": exact,
        "known": known_share(context, split.target),
    }


def summary_line(variant: list[Arm], rows: list[Row]) -> Row:
    """The numbers of a network over its seeds, as means with intervals."""
    first = variant[0]
    keys = ("share", "error", "right", "exact_error", "known", "cpu_seconds")
    return {
        "context": first.context,
        "width": first.width,
        "depth": first.depth,
        "parameters": rows[0]["parameters"],
        "runs": len(rows),
        **{key: over_rows(rows, key) for key in keys},
        "errors": [row["error"] for row in rows],
    }


def ranges(summary: Sequence[Row]) -> Row:
    """Least and greatest mean error of three sets: networks that captured their context, all sizes, all contexts."""
    sizes = [line for line in summary if line["context"] == CONTEXT]
    contexts = [line for line in summary if (line["width"], line["depth"]) == SIZE]
    sets = {
        "captured": [line for line in sizes if line["share"]["mean"] >= FULL],
        "sizes": sizes,
        "contexts": contexts,
    }
    found: Row = {}
    for name, lines in sets.items():
        errors = [line["error"]["mean"] for line in lines]
        found[name] = [min(errors), max(errors)] if errors else None
    return found


def differences(summary: Sequence[Row]) -> Row:
    """How much lower the error is than that of the network of ``SIZE`` on ``CONTEXT``, image for image of each seed.

    ``larger`` is for the network with the most parameters; ``context`` for the best of the contexts that look at images
    alone, which was chosen by these very errors; ``labels`` for the one that is told labels. Each is an estimate over
    the seeds, which share images, so that its interval is too narrow; null where a network is missing.
    """
    found = {(line["context"], line["width"], line["depth"]): line for line in summary}
    here = found.get((CONTEXT, *SIZE))
    others = [line for line in summary if (line["width"], line["depth"]) == SIZE and "labels" not in line["context"]]
    best = min(others, key=lambda line: line["error"]["mean"], default=None)
    of = {
        "larger": found.get((CONTEXT, max(WIDTHS), max(DEPTHS))),
        "context": best,
        "labels": found.get(("labels", *SIZE)),
    }
    gains: Row = {}
    for name, line in of.items():
        gains[name] = None
        if here is not None and line is not None and len(here["errors"]) == len(line["errors"]):
            pairs = zip(here["errors"], line["errors"], strict=True)
            gains[name] = {"of": line["context"]} | (estimate_or_none([a - b for a, b in pairs]) or {})
    return gains


def table(summary: list[Row], gains: Row) -> str:
    """The summary as a Markdown table, a row for each network, and sentences on ranges and differences of errors."""
    if not summary:
        return ""
    lines = [
        [
            line["context"],
            f"{line['depth']} of {line['width']}",
            str(line["parameters"]),
            decimals(line["share"], 1, percent=True),
            decimals(line["known"], 1, percent=True),
            decimals(line["error"], 3),
            decimals(line["exact_error"], 3),
            decimals(line["right"], 1, percent=True),
            f"{line['cpu_seconds']['mean']:.1f}",
        ]
        for line in summary
    ]
    headers = [
        "context",
        "hidden layers",
        "parameters",
        "captured %",
        "target known %",
        "error",
        "of exact functions",
        "right %",
        "CPU s",
    ]
    of = ranges(summary)
    spans = {name: "none" if span is None else f"{span[0]:.3f} to {span[1]:.3f}" for name, span in of.items()}
    says = (
        f"Errors on {CONTEXT}: {spans['sizes']} over all sizes, {spans['captured']} over those that captured "
        f"{100 * FULL:.0f}%; over contexts at one size: {spans['contexts']}."
    )
    for name, gain in gains.items():
        if gain is not None and "mean" in gain and (name == "larger" or gain["of"] != CONTEXT):
            what = "the largest network" if name == "larger" else f"the context {gain['of']}"
            says += f" With {what} in place of {CONTEXT} at {SIZE[1]} of {SIZE[0]} it falls by {decimals(gain, 3)}."
    return f"{format_table(headers, lines)}\n\n{says}"


def figure(summary: list[Row]) -> object:
    """Error against what was captured: networks on one context, and one network on others."""
    clouds: dict[str, tuple[list[float], list[float]]] = {}
    for line in summary:
        of_sizes = line["context"] == CONTEXT
        name = f"{line['depth']} hidden" if of_sizes else line["context"]
        across, up = clouds.setdefault(name, ([], []))
        across.append(100 * line["share"]["mean"])
        up.append(line["error"]["mean"])
    by_size = {name: cloud for name, cloud in clouds.items() if name.endswith(" hidden")}
    exact = [line["exact_error"]["mean"] for line in summary if line["context"] == CONTEXT and line["exact_error"]]
    if exact:
        by_size["exact functions"] = ([100.0], [exact[0]])
    by_context = {name: cloud for name, cloud in clouds.items() if name not in by_size}
    here = [line for line in summary if line["context"] == CONTEXT and (line["width"], line["depth"]) == SIZE]
    by_context |= {CONTEXT: ([100 * line["share"]["mean"] for line in here], [line["error"]["mean"] for line in here])}
    return figures.points(
        {f"networks of many sizes, {CONTEXT}": by_size, f"{SIZE[1]} hidden layers of {SIZE[0]}": by_context},
        xlabel="captured, % of what can be",
        ylabel="error of a probe, images held out",
    )


@lru_cache(maxsize=1)
def _split(seed: int, rows: int, labelled: int) -> Split:
    """The images of a seed."""
    return split_of("digits", most=rows, labelled=labelled, seed=seed)


@lru_cache(maxsize=1)
def _prepared(text: str, seed: int, rows: int, labelled: int, quick: bool) -> tuple[Split, Context, Spectrum]:
    """The images of a seed, a context of them, and its spectrum: the same for networks of all sizes."""
    split = _split(seed, QUICK_ROWS, QUICK_LABELLED) if quick else _split(seed, rows, labelled)
    assert split.classes is not None
    context = parse_context(text).on(split.rows, split.classes.numpy())
    return split, context, spectrum(context)


def _exact(split: Split, context: Context, found: Spectrum, d: int) -> float | None:
    """The error of a probe of the exact functions; None for a context that knows its own rows only."""
    if not isinstance(context, PoolContext):
        return None
    there = extend(context, found, split.test_rows)[:, :d]
    return probe(split, found.functions[:, : there.shape[1]], there).error


def _outputs(encoder: torch.nn.Module, rows: Tensor) -> Tensor:
    """What an encoder gives for rows."""
    with torch.no_grad():
        return encoder(rows.to(torch.get_default_dtype())).double()


if __name__ == "__main__":
    sys.exit(main(Config, run))
