"""What the page draws, as numbers: short forms, the order to read points in, words for elements, residuals."""

import math
import re
import string
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from msr.discovery.answer.candidate import Candidate
from msr.discovery.answer.result import Discovery
from msr.groups import FiniteGroup, from_permutations
from msr.permutations import Indices, orbit_labels

__all__ = [
    "Classes", "Reading", "classes_of", "cycles", "elements_of", "letters", "number", "percent", "reading", "residuals",
    "shape_words", "shortened", "together", "words",
]  # fmt: skip

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# A class whose weights are smaller than this share of the strongest class is drawn as carrying none.
_SILENT = 0.1


def number(value: int) -> str:
    """An integer for people: 720, 40 320, and 2.65 × 10³² from ten million on."""
    if value < 10**7:
        return f"{value:,}".replace(",", "\u202f")
    exponent = int(math.log10(value))
    exponent += (value >= 10 ** (exponent + 1)) - (value < 10**exponent)
    mantissa = value // 10 ** (exponent - 2)
    return f"{mantissa // 100}.{mantissa % 100:02d} × 10{power(exponent)}"


def power(exponent: int) -> str:
    """The exponent, raised."""
    return str(exponent).translate(_SUPERSCRIPTS)


def shortened(sentence: str) -> str:
    """A sentence with its very long integers in their short form."""
    return re.sub(r"(?<![\d.])\d{10,}(?![\d.]*\d)", lambda found: number(int(found[0])), sentence)


def percent(energy: float) -> str:
    """A share of the outputs' energy as one of their size; below zero is noise, and counts as none."""
    if energy <= 0:
        return "0%"
    return f"{math.sqrt(energy):.2%}" if energy < 1 else f"{math.sqrt(energy):.0%}"


def shape_words(shape: tuple[int, ...]) -> str:
    """Such as ``4 × 4``."""
    return " × ".join(map(str, shape)) or "1"


def letters(count: int) -> list[str]:
    """A letter for each generator; e is left to the identity, and numbers follow when letters end."""
    names = [letter for letter in string.ascii_lowercase if letter != "e"]
    return [names[i] if i < len(names) else f"g{i + 1}" for i in range(count)]


def together(chosen: Candidate) -> Indices:
    """Its generators on inputs and outputs at once, ``(r, in + out)``."""
    return np.concatenate([chosen.generators_in, chosen.generators_out + chosen.generators_in.shape[1]], 1)


def elements_of(chosen: Candidate, largest: int) -> FiniteGroup | None:
    """All elements, of a group of at most this order."""
    if chosen.order > largest or len(chosen.generators_in) == 0:
        return None
    return from_permutations(list(together(chosen)))


def cycles(permutation: Indices) -> list[list[int]]:
    """Of length at least two, each from its smallest point."""
    left, found = set(np.flatnonzero(permutation != np.arange(len(permutation))).tolist()), []
    while left:
        cycle = [min(left)]
        while (following := int(permutation[cycle[-1]])) != cycle[0]:
            cycle.append(following)
        left -= set(cycle)
        found.append(cycle)
    return found


def words(group: FiniteGroup, names: list[str]) -> tuple[list[int], list[str]]:
    """Elements in coset order, powers of one element of largest order first, and a shortest word for each element.

    ``names`` are those of ``group.generators``. The second list is by element, not by place.
    """
    table, start = group.table, np.argmax(group.element_orders)
    spelled: dict[int, tuple[int, ...]] = {0: ()}
    queue = [0]
    for at in queue:
        for which, generator in enumerate(group.generators):
            following = int(table[at, generator])
            if following not in spelled:
                spelled[following] = (*spelled[at], which)
                queue.append(following)
    longest = int(group.element_orders.max())
    first = next((g for g in group.generators if group.element_orders[g] == longest), int(start))
    powers = [0]
    while (following := int(table[powers[-1], first])) != 0:
        powers.append(following)
    order: dict[int, None] = {}
    for element in queue:
        if element not in order:
            order.update(dict.fromkeys(int(table[element, p]) for p in powers))
    return list(order), [_spelling(spelled[g], names) for g in group.elements]


def _spelling(word: tuple[int, ...], names: list[str]) -> str:
    text, at = "", 0
    while at < len(word):
        run = 1
        while at + run < len(word) and word[at + run] == word[at]:
            run += 1
        text += names[word[at]] + (power(run) if run > 1 else "")
        at += run
    return text or "e"


@dataclass(frozen=True, eq=False)
class Reading:
    """In which order to read inputs and outputs so that the group shows, and where orbits begin."""

    inputs: Indices
    outputs: Indices
    input_starts: tuple[int, ...]
    output_starts: tuple[int, ...]


def reading(chosen: Candidate) -> Reading:
    """Orbit by orbit, the largest first, and within one along the cycles of an element that has the fewest."""
    n = chosen.generators_in.shape[1]
    both = together(chosen)
    tried = [*both, *(a[b] for a in both[:8] for b in both[:8])]
    walked = min(tried, key=_cycle_count)
    inputs, input_starts = _walk(walked[:n], both[:, :n])
    outputs, output_starts = _walk(walked[n:] - n, both[:, n:] - n)
    return Reading(inputs, outputs, input_starts, output_starts)


def _cycle_count(permutation: Indices) -> int:
    return int(orbit_labels(permutation[None]).max()) + 1


def _walk(step: Indices, generators: Indices) -> tuple[Indices, tuple[int, ...]]:
    labels = orbit_labels(generators)
    orbits = sorted((np.flatnonzero(labels == k).tolist() for k in range(labels.max() + 1)), key=len, reverse=True)
    order: list[int] = []
    begins = []
    for orbit in orbits:
        begins.append(len(order))
        seen: set[int] = set()
        starts: list[int] = []
        while len(seen) < len(orbit):
            # Start a cycle where a generator takes the start of an earlier one, so that equal blocks line up.
            moved = (int(g[s]) for s in reversed(starts) for g in generators)
            point = next((p for p in moved if p not in seen), None)
            point = min(set(orbit) - seen) if point is None else point
            starts.append(point)
            while point not in seen:
                seen.add(point)
                order.append(point)
                point = int(step[point])
    return np.array(order), tuple(begins)


@dataclass(frozen=True, eq=False)
class Classes:
    """The class of each weight, numbered as read: 1, 2, …; 0 carries no weight. ``counts[c]`` weights are in ``c``."""

    numbers: Indices
    counts: Indices

    @property
    def several(self) -> int:
        """How many classes hold more than one weight and are not silent."""
        return int((self.counts[1:] > 1).sum())


def classes_of(colours: Indices, pattern: Tensor | None, order: Reading | None) -> Classes:
    """Classes ``(out, in)`` numbered by where they first come in reading order.

    A class whose weights are near zero in the learned pattern becomes class 0.
    """
    _, flat = np.unique(colours, return_inverse=True)
    flat = flat.reshape(colours.shape)
    silent = np.zeros(flat.max() + 1, bool)
    if pattern is not None and pattern.shape[0] == flat.size:
        energy = pattern.double().square().sum(1).numpy()
        strength = np.sqrt(np.bincount(flat.ravel(), weights=energy) / np.bincount(flat.ravel()))
        silent = strength < _SILENT * strength.max()
    read = flat if order is None else flat[np.ix_(order.outputs, order.inputs)]
    seen = dict.fromkeys(c for c in read.ravel().tolist() if not silent[c])
    numbers = np.zeros(len(silent), np.int64)
    for place, colour in enumerate(seen, 1):
        numbers[colour] = place
    final = numbers[flat]
    return Classes(final, np.bincount(final.ravel(), minlength=len(seen) + 1))


def residuals(found: Discovery, points: Indices) -> list[float]:
    """``‖(P x Q) U − U‖ / ‖U‖`` for each permutation of inputs and outputs ``(r, in + out)``.

    As in :func:`together`; signed ones move twice the points, the negative ones after the others.
    """
    if found.pattern is None:
        return []
    n, m = len(found.inputs), len(found.outputs)
    U = found.pattern.double().numpy().reshape(m, n, -1)
    size = float(np.linalg.norm(U)) or 1.0
    columns = points.shape[1] * n // (n + m)
    values = []
    for one in points:
        p, q = one[:n], one[columns : columns + m] - columns
        signs = np.where(q < m, 1, -1)[:, None] * np.where(p < n, 1, -1)[None]
        moved = U[np.ix_(q % m, p % n)] * signs[:, :, None]
        values.append(float(np.linalg.norm(moved - U)) / size)
    return values
