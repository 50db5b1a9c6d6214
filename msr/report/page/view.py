"""What the page draws, as numbers: short forms, the order to read points in, words for elements, residuals.

:func:`view_of` computes all of them from a discovery at once; drawings and sections only read them.
"""

import math
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from msr.discovery.answer.candidate import Candidate
from msr.discovery.answer.result import Discovery
from msr.groups import FiniteGroup, from_permutations
from msr.permutations import Indices, orbit_labels

__all__ = [
    "MOST_ELEMENTS", "Classes", "Reading", "Residuals", "View", "classes_of", "elements_of", "letters",
    "number", "percent", "power", "reading", "residuals", "shape_words", "shortened", "spectrum_shown", "together",
    "view_of", "words",
]  # fmt: skip

MOST_ELEMENTS = 64
"""Elements of a group that the residual chart has room for, one bar each; chosen by eye."""
_MOST_IN_TABLE = 24
"""Elements of a group whose Cayley table is still read rather than looked at; chosen by eye."""

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# A class whose root mean square is below this share of the strongest class is drawn as carrying no weight. Chosen by
# eye: it decides how the picture looks, and nothing else.
_SILENT = 0.1
# Bounds of the spectrum's chart. So many values are drawn at least, to show the fall after k; and a value below this
# share of the first is rounding of float32 data.
_FEWEST_VALUES = 40
_LEAST_VALUE = 1e-9


def number(value: int) -> str:
    """An integer for people: 720, 40 320, and 2.65 × 10³² from ten million on."""
    if value < 10**7:
        return f"{value:,}".replace(",", "\u202f")
    exponent = int(math.log10(value))
    exponent += (value >= 10 ** (exponent + 1)) - (value < 10**exponent)
    mantissa = value // 10 ** (exponent - 2)
    return f"{mantissa // 100}.{mantissa % 100:02d} × 10{power(exponent)}"


def power(exponent: int) -> str:
    """An exponent as superscript digits, such as ``⁻³``."""
    return str(exponent).translate(_SUPERSCRIPTS)


def shortened(sentence: str) -> str:
    """A sentence with its integers of ten digits or more in the short form of :func:`number`."""
    return re.sub(r"(?<![\d.])\d{10,}(?![\d.]*\d)", lambda match: number(int(match[0])), sentence)


def percent(energy: float) -> str:
    """A share of the outputs' energy as a share of their size (its square root), in percent.

    An estimate below zero is noise, and is written as 0%.
    """
    if energy <= 0:
        return "0%"
    return f"{math.sqrt(energy):.2%}" if energy < 1 else f"{math.sqrt(energy):.0%}"


def shape_words(shape: tuple[int, ...]) -> str:
    """Lengths of the axes, such as ``4 × 4``; ``1`` for no axes."""
    return " × ".join(map(str, shape)) or "1"


def letters(count: int) -> list[str]:
    """A name for each generator: a letter other than e, which is the identity; ``g26`` and on when letters run out."""
    names = [letter for letter in string.ascii_lowercase if letter != "e"]
    return [names[i] if i < len(names) else f"g{i + 1}" for i in range(count)]


def together(chosen: Candidate) -> Indices:
    """Generators of a group that acts on inputs and outputs, as permutations of both, ``(r, in + out)``.

    Inputs come first. For signed permutations ``in`` and ``out`` are twice the numbers of coordinates.
    """
    return np.concatenate([chosen.generators_in, chosen.generators_out + chosen.generators_in.shape[1]], 1)


def elements_of(chosen: Candidate, largest: int) -> FiniteGroup | None:
    """All elements of a group of at most this order; None for a larger one, or for one that moves nothing."""
    if chosen.order > largest or len(chosen.generators_in) == 0:
        return None
    return from_permutations(list(together(chosen)))


def words(group: FiniteGroup, names: list[str]) -> tuple[list[int], list[str]]:
    """Elements in coset order, powers of one element of largest order first, and a shortest word for each element.

    ``names`` are those of ``group.generators``. The second list is by element, not by place.
    """
    table = group.table
    # A breadth-first walk from the identity over the generators meets every element by a shortest word.
    spelled: dict[int, tuple[int, ...]] = {0: ()}
    queue = [0]
    for element in queue:
        for which, generator in enumerate(group.generators):
            following = int(table[element, generator])
            if following not in spelled:
                spelled[following] = (*spelled[element], which)
                queue.append(following)
    # A generator is preferred as the element whose powers come first, since its powers have short words.
    longest = int(group.element_orders.max())
    any_longest = int(np.argmax(group.element_orders))
    first = next((g for g in group.generators if group.element_orders[g] == longest), any_longest)
    powers = [0]
    while (following := int(table[powers[-1], first])) != 0:
        powers.append(following)
    order: dict[int, None] = {}
    for element in queue:
        if element not in order:
            order.update(dict.fromkeys(int(table[element, p]) for p in powers))
    return list(order), [_spelling(spelled[g], names) for g in group.elements]


def _spelling(word: tuple[int, ...], names: list[str]) -> str:
    """A word with repeated letters as powers, such as ``a²b``; ``e`` for the empty one."""
    text = ""
    place = 0
    while place < len(word):
        run = 1
        while place + run < len(word) and word[place + run] == word[place]:
            run += 1
        text += names[word[place]] + (power(run) if run > 1 else "")
        place += run
    return text or "e"


@dataclass(frozen=True, eq=False)
class Reading:
    """An order of inputs and outputs in which the group shows as diagonals, and where orbits begin in it.

    ``inputs`` and ``outputs`` list the points in that order; the starts are places in these lists.
    """

    inputs: Indices
    outputs: Indices
    input_starts: tuple[int, ...]
    output_starts: tuple[int, ...]


def reading(chosen: Candidate) -> Reading:
    """The order of points for drawing: orbit by orbit, the largest first.

    Within an orbit it follows the cycles of the element with the fewest cycles, among generators and their products.
    """
    n = chosen.generators_in.shape[1]
    both = together(chosen)
    elements = [*both, *(a[b] for a in both[:8] for b in both[:8])]
    step = min(elements, key=_cycle_count)
    inputs, input_starts = _walk(step[:n], both[:, :n])
    outputs, output_starts = _walk(step[n:] - n, both[:, n:] - n)
    return Reading(inputs, outputs, input_starts, output_starts)


def _cycle_count(permutation: Indices) -> int:
    """The number of cycles of a permutation, fixed points included."""
    return int(orbit_labels(permutation[None]).max()) + 1


def _walk(step: Indices, generators: Indices) -> tuple[Indices, tuple[int, ...]]:
    """All points, orbit by orbit and along the cycles of ``step``; and the place at which each orbit begins."""
    labels = orbit_labels(generators)
    orbits = sorted((np.flatnonzero(labels == k).tolist() for k in range(labels.max() + 1)), key=len, reverse=True)
    order: list[int] = []
    orbit_starts = []
    for orbit in orbits:
        orbit_starts.append(len(order))
        visited: set[int] = set()
        starts: list[int] = []
        while len(visited) < len(orbit):
            # Start a cycle where a generator takes the start of an earlier one, so that equal blocks line up.
            images = (int(g[s]) for s in reversed(starts) for g in generators)
            point = next((p for p in images if p not in visited), None)
            point = min(set(orbit) - visited) if point is None else point
            starts.append(point)
            while point not in visited:
                visited.add(point)
                order.append(point)
                point = int(step[point])
    return np.array(order), tuple(orbit_starts)


@dataclass(frozen=True, eq=False)
class Classes:
    """The class of each weight, ``numbers (out, in)``, numbered as read: 1, 2, …; class 0 carries no weight.

    ``counts[c]`` is the number of weights in class ``c``.
    """

    numbers: Indices
    counts: Indices

    @property
    def several(self) -> int:
        """How many classes hold more than one weight and are not silent."""
        return int((self.counts[1:] > 1).sum())


def classes_of(colours: Indices, pattern: Tensor | None, order: Reading | None) -> Classes:
    """The classes of a matrix of colours ``(out, in)``, numbered by where they first occur in reading order.

    A class becomes class 0 where the root mean square of its weights in the learned pattern ``(out · in, k)`` is below
    a tenth of the strongest class's. Without a pattern (None) there is no such class; without an order, rows are read.
    """
    _, flat = np.unique(colours, return_inverse=True)
    flat = flat.reshape(colours.shape)
    silent = np.zeros(flat.max() + 1, bool)
    if pattern is not None and pattern.shape[0] == flat.size:
        energy = pattern.double().square().sum(1).numpy()
        strength = np.sqrt(np.bincount(flat.ravel(), weights=energy) / np.bincount(flat.ravel()))
        silent = strength < _SILENT * strength.max()
    ordered = flat if order is None else flat[np.ix_(order.outputs, order.inputs)]
    by_occurrence = dict.fromkeys(c for c in ordered.ravel().tolist() if not silent[c])
    new_number = np.zeros(len(silent), np.int64)
    for place, colour in enumerate(by_occurrence, 1):
        new_number[colour] = place
    numbers = new_number[flat]
    return Classes(numbers, np.bincount(numbers.ravel(), minlength=len(by_occurrence) + 1))


def residuals(discovery: Discovery, points: Indices) -> list[float]:
    """``‖(P × Q) U − U‖ / ‖U‖``, in the Frobenius norm, for each permutation of inputs and outputs,
    ``points (r, in + out)``.

    Points are ordered as in :func:`together`. A signed permutation moves twice as many points, where point ``i + n``
    stands for the negative of point ``i``. Empty without a learned pattern.
    """
    if discovery.pattern is None:
        return []
    n = len(discovery.inputs)
    m = len(discovery.outputs)
    U = discovery.pattern.double().numpy().reshape(m, n, -1)
    size = float(np.linalg.norm(U)) or 1.0
    columns = points.shape[1] * n // (n + m)
    values = []
    for permutation in points:
        p = permutation[:n]
        q = permutation[columns : columns + m] - columns
        # The sign of a moved weight is that of its output times that of its input; without signs both are +1.
        signs = np.where(q < m, 1, -1)[:, None] * np.where(p < n, 1, -1)[None]
        transformed = U[np.ix_(q % m, p % n)] * signs[:, :, None]
        values.append(float(np.linalg.norm(transformed - U)) / size)
    return values


def spectrum_shown(values: Sequence[float], k: int | None) -> list[float]:
    """The first of the values, which come in decreasing order: 40, or ``2k + 8`` where that is more.

    Values that are not positive, or not above a billionth of the first positive one, are left out, so that the list may
    be empty. ``k`` is None where no dimension was found.
    """
    positive = [v for v in values[: max(_FEWEST_VALUES, 2 * (k or 0) + 8)] if v > 0]
    return [v for v in positive if v > _LEAST_VALUE * positive[0]] if positive else []


@dataclass(frozen=True, eq=False)
class Residuals:
    """A residual for each drawn element of a group, or for each generator of a large one.

    Attributes:
        unit: ``element`` or ``generator``.
        total: how many there are; at most :data:`MOST_ELEMENTS` of them are drawn.
        names: a shortest word in the generators for each drawn one.
        are_generators: which of the drawn ones are generators.
        values: the residual of each drawn one, see :func:`residuals`.
    """

    unit: str
    total: int
    names: list[str]
    are_generators: list[bool]
    values: list[float]


@dataclass(frozen=True, eq=False)
class View:
    """A discovery, and all numbers that the page draws of it; a part is None or empty where there is nothing to draw.

    Attributes:
        order: the order of points in which the group shows; None without a group, and for signed permutations, whose
            points have no order.
        classes: the class of each weight.
        spectrum: the values to draw, largest first.
        table_group: all elements of the named group, where its Cayley table is small enough to read.
        residuals: how far each element moves the learned pattern.
    """

    discovery: Discovery
    order: Reading | None
    classes: Classes | None
    spectrum: list[float]
    table_group: FiniteGroup | None
    residuals: Residuals | None


def view_of(discovery: Discovery) -> View:
    """All numbers that the page draws of a discovery."""
    chosen = discovery.chosen
    colours = discovery.classes if chosen is None else chosen.colours
    order = None
    if chosen is not None and len(chosen.generators_in) and not discovery.signed:
        order = reading(chosen)
    spectrum = [] if discovery.spectrum is None else [float(v) for v in discovery.spectrum]
    group = None if chosen is None else elements_of(chosen, MOST_ELEMENTS)
    return View(
        discovery=discovery,
        order=order if colours is not None else None,
        classes=None if colours is None else classes_of(colours, discovery.pattern, order),
        spectrum=spectrum_shown(spectrum, discovery.dimension),
        table_group=group if group is not None and group.order <= _MOST_IN_TABLE else None,
        residuals=None if chosen is None else _residuals(discovery, chosen, group),
    )


def _residuals(discovery: Discovery, chosen: Candidate, group: FiniteGroup | None) -> Residuals | None:
    """Residuals of all elements where ``group`` lists them, of the generators otherwise.

    None without a learned pattern or without generators.
    """
    if discovery.pattern is None or len(chosen.generators_in) == 0:
        return None
    points = together(chosen)
    unit = "generator"
    names = letters(len(points))
    are_generators = [True] * len(points)
    if group is not None and group.points is not None:
        order, spelled = words(group, letters(len(group.generators)))
        unit = "element"
        points = group.points[order]
        names = [spelled[g] for g in order]
        are_generators = [g in group.generators for g in order]
    return Residuals(
        unit=unit,
        total=len(points),
        names=names[:MOST_ELEMENTS],
        are_generators=are_generators[:MOST_ELEMENTS],
        values=residuals(discovery, points[:MOST_ELEMENTS]),
    )
