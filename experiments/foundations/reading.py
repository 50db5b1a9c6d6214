"""The one table of the runner that needs no category theory, and what it says of a model, in sentences."""

from collections.abc import Sequence

from experiments.foundations.caution import TIE
from msr.report import format_table
from msr.runs.folder import Row

__all__ = ["plain_table", "sentences"]


def plain_table(summary: Sequence[Row]) -> str:
    """What a prompt can ask of a model, by what the model was trained to relate; empty where that was not computed.

    A *task* gives each object some answers, such that what relates objects relates their answers. Tasks that differ by
    the names of answers alone count once.
    """
    header = ["the model was trained to relate", "tasks of at most", "there are", "a prompt solves", "new training"]
    cells = [
        [
            line["words"],
            f"{line['size']} answers",
            str(line["all_tasks"]),
            f"{line['all_promptable']} ({100 * line['power']:.1f}%)",
            "all",
        ]
        for line in _of(summary, "prompting")
        if line["tasks"] is not None
    ]
    return format_table(header, cells) if cells else ""


def sentences(summary: Sequence[Row]) -> list[str]:
    """What the numbers say of a model: a sentence for each study that was computed."""
    said = []
    prompting = {line["variant"]: line for line in _of(summary, "prompting")}
    if "C4" in prompting:
        line = prompting["C4"]
        solved = f"{line['all_promptable']} of {line['all_tasks']}"
        said.append(
            f"A prompt only shows the model another object, so it solves a task only where the answers are the ways in "
            f"which things relate to that object: of a model trained on quarter turns it solves {solved} tasks with at "
            f"most {line['size']} answers, and labels or masks need new training, which no such limit binds."
        )
    transfer = {line["variant"]: line for line in _of(summary, "transfer")}
    if {"full embedding", "not full"} <= transfer.keys():
        full = transfer["full embedding"]
        loose = transfer["not full"]
        said.append(
            f"What one model knows carries over to another through a few pairs where both relate their objects in the "
            f"same way, and no further: a linear map learned on {full['pairs'][-1]} pairs gave the relations of "
            f"{full['held_out']} unseen objects with an error of {_percent(full['across'])}, with wrong pairs of "
            f"{_percent(full['shuffled'])}, and of {_percent(loose['across'])} where one side misses half of what the "
            f"other knows."
        )
    caution = {line["variant"]: line for line in _of(summary, "caution")}
    if "C4" in caution and TIE in caution:
        line = caution["C4"]
        said.append(
            f"The right number of answers everywhere is not yet a solution: a prompt has the sizes of all "
            f"{line['pointwise']} tasks in which four turns move four answers, and solves {line['natural']} of them."
        )
    return said


def _of(summary: Sequence[Row], study: str) -> list[Row]:
    """The lines of one study."""
    return [line for line in summary if line["study"] == study]


def _percent(estimate: Row) -> str:
    """A mean in per cent; what is rounding is 0."""
    mean = estimate["mean"]
    if mean < 1e-9:
        return "0%"
    return f"{100 * mean:.{0 if mean >= 0.01 else 2}f}%"
