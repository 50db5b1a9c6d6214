"""Does the metric τ tell which contexts are good, before a task is known? Held against errors on four real tables.

For each table many contexts of four kinds are made of its rows: near points (rbf), nearest neighbours (knn), near
points in the columns that are not hidden (mask), and neighbours followed by near points (knn * rbf). Of each the exact
top functions are taken, as many as τ proposes, and a ridge regression on them is trained on some labelled rows and
tested on a fifth held out. The paper reports correlations of τ with that error over 140 contexts of each table, of
.43 (Pearson) on average over 28 tables and from -.35 to .94 (*paper, unverified*); its tables are not among these.
Beside the correlation stands what a user gets who takes the context with the least τ, or the one that does best on
labelled rows left out.

Source: section 5 of arXiv:2505.01557 for τ and the protocol. Test rows get their functions by continuation.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from experiments.shared.tabular import TABLES, Split, probe, split_of
from msr.contexture import PoolContext, extend, spectrum
from msr.contexture.contexts.pools import median_square
from msr.contexture.measures import usefulness
from msr.errors import DataError
from msr.report import figures, format_table
from msr.runs import arms
from msr.runs.command import main
from msr.runs.config import SeedFlags
from msr.runs.flags import chosen, option
from msr.runs.folder import Row, RunFolder
from msr.runs.judging import decimals, over_rows

KINDS = ("rbf", "knn", "mask", "knn * rbf")
KEYS = ("pearson", "spearman", "by_tau", "by_both", "by_labels", "usual", "least")
"""Of a line of the summary: correlations, then errors; :func:`compared` says what they are."""
ALL = "all four"
"""The name of the line for contexts of all kinds together, between which τ is no order."""
QUICK_CONTEXTS = 4
QUICK_ROWS = 150
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
"""Numbers of functions that are tried on labelled rows."""
_WIDTHS = (0.05, 500.0)
"""Least and largest γ of an RBF context, in inverse medians of squared distances: from nearly constant to nearly one
point. Chosen by hand."""
_WORST = 3.0
"""The largest τ that counts: it has no bound where a singular value of nearly 1 is left out. Chosen by hand."""


@dataclass(frozen=True)
class Config(SeedFlags):
    """Compare the metric τ with the error of linear probes, context by context."""

    tables: str = option(",".join(TABLES), "comma list")
    contexts: int = option(35, "contexts of each kind", least=3, most=1000)
    rows: int = option(750, "rows of a table that are used at most, a fifth of them to test", least=60, most=5000)
    labelled: int = option(100, "rows whose target the probe sees", least=20, most=5000)

    def check(self) -> None:
        """Raise ConfigError for a value that cannot work, MissingExtraError without matplotlib."""
        super().check()
        figures.require()
        chosen(self.tables, TABLES, "table")


@dataclass(frozen=True)
class Arm(arms.Arm):
    """A table with a seed, of which rows are held out and which are labelled."""

    table: str
    seed: int

    @property
    def name(self) -> str:
        """The table."""
        return self.table


def run(config: Config) -> None:
    """Judge all contexts of every arm that has no row yet, then write results, a table and a figure."""
    all_arms = [Arm(table, seed) for table in chosen(config.tables, TABLES, "table") for seed in config.all_seeds]
    for arm in all_arms:
        # Labels that are too few for a table are told before the first hour of work rather than after it.
        _split(arm, config)
    folder = RunFolder("context_usefulness", config)
    arms.run_arms(
        folder,
        all_arms,
        lambda arm: run_arm(arm, config),
        tell=lambda row: f"least error {compared(row['contexts'])['least']}",
    )
    summary = arms.summarise(folder, all_arms, summary_line)
    arms.publish(folder, table(summary), summary=summary)
    draw(folder, all_arms)


def makers(kind: str, count: int, n: int) -> list[tuple[str, Callable[[Tensor], PoolContext]]]:
    """``count`` contexts of a kind for ``n`` rows, from weak to strong: a text for each, and what makes it of rows.

    One number is varied, evenly on a logarithmic scale: the width, or the number of neighbours. A mask varies two, the
    share that is hidden in the place of each fifth context.
    """
    widths = np.geomspace(*_WIDTHS, count)
    numbers = _distinct(np.geomspace(2, n / 2, count))[::-1]
    hidden = np.linspace(0.1, 0.7, 5)
    made: list[tuple[str, Callable[[Tensor], PoolContext]]] = []
    for place in range(count):
        width = float(widths[place])
        k = int(numbers[place])
        if kind == "rbf":
            made.append((f"{width:.3g}", partial(_rbf, width=width)))
        elif kind == "knn":
            made.append((str(k), partial(PoolContext.neighbours, k=k)))
        elif kind == "mask":
            share = float(hidden[place % len(hidden)])
            made.append((f"{share:.2g}, {width:.3g}", partial(_masked, hidden=share, width=width)))
        else:
            made.append((f"{k}, {widths[count // 2]:.3g}", partial(_chained, k=k, width=float(widths[count // 2]))))
    return made


def _distinct(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ascending numbers, rounded, and raised as little as is needed for all of them to be different."""
    rounded = numbers.round().astype(np.int64)
    for place in range(1, len(rounded)):
        rounded[place] = max(rounded[place], rounded[place - 1] + 1)
    return rounded


def run_arm(arm: Arm, config: Config) -> Row:
    """The row of a table: all of its contexts, and the error of a ridge regression on the columns themselves."""
    count = min(config.contexts, QUICK_CONTEXTS) if config.quick else config.contexts
    split = _split(arm, config)
    contexts = [judge(split, kind, text, make) for kind in KINDS for text, make in makers(kind, count, len(split.rows))]
    columns = probe(split, split.rows, split.test_rows).error
    return {"labelled": len(split.labelled), "contexts": contexts, "columns_error": columns}


def _split(arm: Arm, config: Config) -> Split:
    """The rows of an arm."""
    most = min(config.rows, QUICK_ROWS) if config.quick else config.rows
    return split_of(arm.table, most=most, labelled=config.labelled, seed=arm.seed)


def judge(split: Split, kind: str, text: str, make: Callable[[Tensor], PoolContext]) -> Row:
    """A context of the rows of a split: its τ, and the error of a probe of its functions on the rows held out.

    ``error`` is at the dimension that τ proposes. ``labels_error`` is at that of :data:`SIZES` which does best on
    labelled rows left out, and ``left_out`` what it does there. All are null for a context without functions that are
    continued to other rows, and ``says`` is then the reason.
    """
    context = make(split.rows)
    row: Row = {"kind": kind, "setting": text, "tau": None, "error": None, "labels_error": None, "left_out": None}
    try:
        found = spectrum(context)
        value = usefulness(found)
        there = extend(context, found, split.test_rows)
    except DataError as error:
        return row | {"says": str(error)}
    most = there.shape[1]
    dimension = min(value.dimension, most)
    sizes = [d for d in SIZES if d <= most]
    probed = {d: probe(split, found.functions[:, :d], there[:, :d]) for d in {dimension, *sizes}}
    by_labels = min((probed[d] for d in sizes), key=lambda one: one.left_out)
    return row | {
        "tau": value.tau if np.isfinite(value.tau) else None,
        "abstains": value.abstains,
        "energy": value.energy,
        "dimension": dimension,
        "error": probed[dimension].error,
        "labels_error": by_labels.error,
        "left_out": by_labels.left_out,
    }


def compared(contexts: Sequence[Row]) -> Row:
    """Correlations of τ with the error over some contexts, and the errors of several choices among them.

    ``by_tau`` is the error of the context with the least τ among those where it says something, with as many functions
    as τ proposes, and ``by_both`` with as many as do best on labelled rows left out; ``by_labels`` that of the context
    and number that do best there, whatever τ is; ``usual`` the median of all contexts, each with τ's number, and
    ``least`` the least of these. For the correlations a τ above 3 counts as 3. They are null
    where τ or the error is the same for all, or fewer than three contexts have both.
    """
    known = [line for line in contexts if line["error"] is not None and line["tau"] is not None]
    telling = [line for line in known if not line["abstains"]]
    by_tau = min(telling, key=lambda line: line["tau"], default=None)
    tau = np.array([min(line["tau"], _WORST) for line in known])
    errors = np.array([line["error"] for line in known])
    varied = len(known) >= 3 and np.ptp(tau) > 0 and np.ptp(errors) > 0
    return {
        "contexts": len(contexts),
        "without": len(contexts) - len(known),
        "abstaining": len(known) - len(telling),
        "pearson": float(stats.pearsonr(tau, errors).statistic) if varied else None,
        "spearman": float(stats.spearmanr(tau, errors).statistic) if varied else None,
        "by_tau": by_tau["error"] if by_tau else None,
        "by_both": by_tau["labels_error"] if by_tau else None,
        "by_labels": min(known, key=lambda line: line["left_out"])["labels_error"] if known else None,
        "least": float(errors.min()) if len(errors) else None,
        "usual": float(np.median(errors)) if len(errors) else None,
    }


def summary_line(variant: list[Arm], rows: list[Row]) -> Row:
    """A table's numbers over the seeds, for each kind: means with intervals, null where a seed has none.

    Seeds cut the same rows in other ways, so that an interval is of such cuts, and not of other tables.
    """
    keys = KEYS
    kinds = {}
    for kind in (*KINDS, ALL):
        lines = [compared([line for line in row["contexts"] if kind in (line["kind"], ALL)]) for row in rows]
        kinds[kind] = {key: over_rows(lines, key) for key in keys}
        kinds[kind] |= {key: sum(line[key] for line in lines) for key in ("contexts", "without", "abstaining")}
    return {
        "table": variant[0].table,
        "runs": len(rows),
        "kinds": kinds,
        "columns_error": over_rows(rows, "columns_error"),
    }


def table(summary: list[Row]) -> str:
    """The summary as a Markdown table, a row for each kind of each data set, and a sentence on where τ failed."""
    lines = []
    failed = []
    for line in summary:
        for kind, value in line["kinds"].items():
            lines.append(
                [
                    line["table"],
                    kind,
                    f"{value['contexts']} ({value['abstaining']}, {value['without']})",
                    *(decimals(value[key]) for key in KEYS),
                    decimals(line["columns_error"]),
                ]
            )
            if value["pearson"] is None or value["pearson"]["mean"] <= (value["pearson"]["ci95"] or 0.0):
                failed.append(f"{line['table']} {kind}")
    headers = [
        "table",
        "contexts",
        "number (τ abstains, no functions)",
        "Pearson",
        "Spearman",
        "error by least τ",
        "its number by labels",
        "both by labels",
        "median by τ's numbers",
        "least of these",
        "of the columns",
    ]
    says = "τ is not seen to order the contexts rightly, with a correlation above 0 by more than its ±, in: "
    return format_table(headers, lines) + "\n\n" + (says + "; ".join(failed) + "." if failed else "")


def draw(folder: RunFolder, all_arms: list[Arm]) -> None:
    """Write the figure ``context_usefulness.png``: the error against τ of the contexts of the first seed."""
    panels: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for arm in all_arms:
        if arm.table in panels or str(arm) not in folder.rows:
            continue
        panels[arm.table] = {}
        for line in folder.rows[str(arm)]["contexts"]:
            if line["error"] is not None and line["tau"] is not None:
                across, up = panels[arm.table].setdefault(line["kind"], ([], []))
                across.append(min(line["tau"], _WORST))
                up.append(line["error"])
    if panels:
        figure = figures.points(panels, xlabel="τ, smaller should be better", ylabel="error on rows held out")
        folder.draw("context_usefulness.png", figure)


def _rbf(rows: Tensor, width: float) -> PoolContext:
    """Near points, with ``γ`` in inverse medians of squared distances."""
    return PoolContext.rbf(rows, width / median_square(rows))


def _masked(rows: Tensor, hidden: float, width: float) -> PoolContext:
    """Near points in the columns that are not hidden."""
    return PoolContext.masked(rows, hidden, gamma=width / median_square(rows))


def _chained(rows: Tensor, k: int, width: float) -> PoolContext:
    """A neighbour, and then a point near to it."""
    near = PoolContext.neighbours(rows, k)
    after = np.asarray(_rbf(rows, width).conditional)
    return PoolContext(rows, lambda new: near.conditional_rows(new) @ after, name=f"knn:{k} * rbf")


if __name__ == "__main__":
    sys.exit(main(Config, run))
