"""A discovery as one web page that opens from disk, with no network, no script and no plotting library.

The page is made in four steps: the numbers to draw (:mod:`~msr.report.page.view`), drawings of them
(:mod:`~msr.report.page.charts`, :mod:`~msr.report.page.arrows`), sections that put drawings into words
(:mod:`~msr.report.page.verdict`, :mod:`~msr.report.page.tested`, :mod:`~msr.report.page.sections`), and the page around
them (:mod:`msr.report.markup.skeleton`).
"""

from msr.discovery.answer.result import Discovery
from msr.report.markup.skeleton import page
from msr.report.page.sections import (
    continuous,
    generators,
    multiplication_table,
    partial,
    repeat,
    residuals,
    sharing,
    spectrum,
    training,
)
from msr.report.page.tested import tested
from msr.report.page.verdict import headline, verdict
from msr.report.page.view import view_of

__all__ = ["discovery_page"]


def discovery_page(discovery: Discovery, *, source: str, command: str) -> str:
    """One HTML file: the verdict, what was tested, drawings of the evidence, and how to repeat it.

    Args:
        source: where the tasks came from, for the reader.
        command: the command line that gives the same answer.
    """
    view = view_of(discovery)
    sections = [
        tested(discovery),
        sharing(view),
        spectrum(view),
        training(discovery),
        generators(discovery),
        multiplication_table(view),
        residuals(view),
        partial(discovery),
        continuous(discovery),
        repeat(command),
    ]
    return page(
        headline=headline(discovery),
        about="Symmetry of the tasks in",
        source=source,
        body=f"{verdict(discovery)}\n{''.join(sections)}",
    )
