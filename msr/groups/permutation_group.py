"""Permutation groups of any size, by their generators alone: no table, no list of elements."""

import math
import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from msr.errors import ConfigError
from msr.groups.closure import as_permutations
from msr.groups.group import Drawn, Element, Letter, TableFree, whole_number
from msr.groups.immutable import frozen
from msr.groups.kinds import check_kind, swap_and_cycle
from msr.groups.words import adjacent_swaps, joined
from msr.permutations import Indices, cycles, inverse_of, parity_of, power_of

if TYPE_CHECKING:
    from sympy.combinatorics import Permutation  # type: ignore[import-untyped]
    from sympy.combinatorics.perm_groups import PermutationGroup as SympyGroup  # type: ignore[import-untyped]

__all__ = ["CircleGroup", "PermutationGroup"]

MAX_POINTS = 10**6
"""Largest ``n`` that ``cyclic``, ``dihedral``, ``symmetric`` and ``alternating`` take."""

MAX_CHAIN = 256
"""Most points for which a stabiliser chain is computed for uniform draws, for words, and to tell whether a permutation
is an element. The order of a group of neither kind is computed by such a chain whatever the number of points.
"""


class PermutationGroup(TableFree):
    """The group that permutations of ``n`` points generate, for any order: nothing is listed.

    An element is a tuple, ``g[i]`` being where ``g`` sends point ``i``. Immutable, and a value: two of them are equal
    when their generators are the same, in the same order (which is stricter than being the same set of permutations).

    Args:
        generators: ``(r, n)``; generators that move nothing are left out.
        name: for messages.
        order: where it is known, and then trusted; else it is computed when asked for, by the Schreier-Sims method.
        kind: "symmetric" or "alternating" where the group is all permutations or all even ones: draws are then fast.
            None for any other group. It is checked, by random products of generators from 8 points on.

    Attributes:
        generator_points: ``(r, n)`` int32, where each generator that moves something sends each point.
        degree: ``n``.

    ``sample`` is uniform up to 256 points and for the two kinds of any size; else it draws long random words.
    Raises: ShapeError, AxiomError for what is no permutation; ConfigError for no generator at all, and for a kind that
    there is not, or that the generators were not seen to have.
    """

    def __init__(
        self,
        generators: Sequence[ArrayLike] | Indices,
        name: str = "G",
        *,
        order: int | None = None,
        kind: str | None = None,
    ):
        moves = as_permutations(list(generators), name)
        kept = moves[(moves != np.arange(moves.shape[1])).any(axis=1)]
        if kind is not None:
            check_kind(kind, kept, name)
        self.__dict__.update(name=name, generator_points=frozen(kept), degree=moves.shape[1], _order=order, kind=kind)

    generator_points: Indices
    degree: int
    kind: str | None
    _order: int | None

    @property
    def order(self) -> int:
        """Number of elements, computed when it is first asked for where it is not known."""
        return self._order if self._order is not None else self._computed_order

    @cached_property
    def _computed_order(self) -> int:
        """The number of elements: from the kind where there is one, else by the Schreier-Sims method of sympy."""
        if self.kind is not None:
            # Of a single point there is one permutation, which is even.
            return max(1, math.factorial(self.degree) // (1 if self.kind == "symmetric" else 2))
        return int(self._sympy.order())

    @property
    def is_finite(self) -> bool:
        """True: permutations of finitely many points are finitely many. The order is not computed for this."""
        return True

    @cached_property
    def discrete(self) -> tuple[Element, ...]:
        """The generators, each as a tuple of images."""
        return tuple(tuple(p) for p in self.generator_points.tolist())

    @property
    def generators(self) -> tuple[Element, ...]:
        """The generators: all of them are discrete."""
        return self.discrete

    @property
    def identity(self) -> Element:
        """The identity, ``(0, 1, 2, …)``."""
        return tuple(range(self.degree))

    @property
    def drawn(self) -> Drawn:
        """How :meth:`sample` draws: ``"words"`` for a group of no ``kind`` on more than 256 points, else
        ``"uniform"``.
        """
        return "uniform" if self.kind is not None or self.degree <= MAX_CHAIN else "words"

    def label(self, element: Element) -> str:
        """The cycles of an element, points from 0, such as ``(0 1)(2 4 3)``; shortened to about 60 characters."""
        text = cycles(self.moves(element))
        return text if len(text) <= 60 else f"{text[:56]}…)"

    def element(self, label: str) -> Element:
        """The element with these cycles, such as ``"(0 1)(2 4 3)"``, or ``"e"``.

        Raises: ConfigError for any other text, a shortened :meth:`label` among them, and for what :meth:`check`
        refuses.
        """
        text = label.strip()
        if text != "e" and not re.fullmatch(r"(\([0-9]+(\s+[0-9]+)*\))+", text):
            raise ConfigError(f"{self.name}: write an element by its cycles, such as (0 1)(2 4 3); got {label!r}")
        image = list(range(self.degree))
        for part in re.findall(r"\(([^)]*)\)", text):
            cycle = [int(i) for i in part.split()]
            if max(cycle) >= self.degree or any(image[i] != i for i in cycle) or len(set(cycle)) < len(cycle):
                raise ConfigError(f"{self.name}: cycles are disjoint, of points 0 to {self.degree - 1}; got {label!r}")
            for i, j in zip(cycle, cycle[1:] + cycle[:1], strict=True):
                image[i] = j
        return self.check(image)

    def check(self, element: Element) -> Element:
        """The element as a tuple, from a tuple, a list, an array or a tensor of images.

        Raises: ConfigError for what is no permutation of the points, or not in the group. Whether it is in the group is
        not checked for a group of no ``kind`` on more than 256 points.
        """
        image = element.detach().cpu().numpy() if isinstance(element, torch.Tensor) else np.asarray(element)
        fits = image.shape == (self.degree,) and image.dtype.kind in "iu"
        if not fits or not np.array_equal(np.sort(image), np.arange(self.degree)):
            raise ConfigError(
                f"an element of {self.name} is a tuple that says where each of its {self.degree} points goes; "
                f"got {str(element)[:60]}"
            )
        if not self._holds(image):
            raise ConfigError(f"{self.name} does not hold the permutation {cycles(image)[:60]}")
        return tuple(image.tolist())

    def _holds(self, image: Indices) -> bool:
        """Whether the permutation ``(n,)`` is in the group; True, untested, for a group of no ``kind`` on more than
        256 points.
        """
        if self.kind == "symmetric":
            return True
        if self.kind == "alternating":
            return parity_of(image) > 0
        if self.degree > MAX_CHAIN:
            return True  # too many points to tell
        return bool(self._sympy.contains(_to_sympy(image)))

    def moves(self, element: Element) -> Indices:
        """``(n,)``: where the element sends each point; it is not checked."""
        return np.asarray(element, dtype=np.int32)

    def multiply(self, *elements: Element) -> Element:
        """The product ``g·h·…`` of some elements, of which the last one acts first; the identity for none."""
        product = np.arange(self.degree)
        for g in elements:
            product = product[self.moves(self.check(g))]
        return tuple(product.tolist())

    def inverse(self, element: Element) -> Element:
        """The inverse ``g⁻¹`` of an element."""
        return tuple(inverse_of(self.moves(self.check(element))).tolist())

    def word(self, element: Element) -> tuple[Letter, ...]:
        """A product of powers of generators that gives the element; the last letter acts first.

        A generator is its own word. Other elements of ``S_n`` by a swap ``(0 1)`` and a cycle ``i ↦ i + 1`` are written
        by swaps of neighbours, those of any other group, or by other generators, by a stabiliser chain.
        Raises: ConfigError on more than 256 points, unless the generators are that swap and that cycle: no other word
        is looked for.
        """
        # A generator is its own word, which the methods below may write as a longer one.
        for k, g in enumerate(self.discrete):
            if element == g:
                return ((k, 1),)
        places = swap_and_cycle(self.generator_points) if self.kind == "symmetric" else None
        if places is not None:
            return adjacent_swaps(self.moves(element), *places)
        if self.degree > MAX_CHAIN:
            raise ConfigError(
                f"{self.name}: no word in the generators is looked for on more than {MAX_CHAIN} points; act by the "
                "generators, or give the representation as a permutation representation of the group's own points"
            )
        # sympy writes the element by its stabiliser chain, as a product of generators and inverses of generators.
        numbers = {g: k for k, g in enumerate(self.discrete)}
        letters = []
        for factor in self._sympy.generator_product(_to_sympy(self.moves(element)), original=True):
            image = tuple(factor.array_form)
            inverted = image not in numbers
            letters.append((numbers[tuple((~factor).array_form) if inverted else image], -1 if inverted else 1))
        # sympy applies the first factor first, and lists them from the last to the first.
        return joined(letters)

    def sample(self, n: int, generator: torch.Generator) -> list[Element]:
        """``n`` random elements, drawn independently as :attr:`drawn` says."""
        return [tuple(self._draw_one(generator).tolist()) for _ in range(n)]

    def _draw_one(self, generator: torch.Generator) -> Indices:
        """One random element as images ``(n,)``, drawn as :attr:`drawn` says."""
        if self.kind is not None:
            # A uniform permutation; a swap turns the odd ones into even ones, two to one, hence uniformly.
            image = torch.randperm(self.degree, generator=generator).numpy()
            if self.kind == "alternating" and parity_of(image) < 0:
                image[[0, 1]] = image[[1, 0]]
            return image
        product = np.arange(self.degree)
        if self.degree <= MAX_CHAIN:
            # A uniform choice at every level of the chain is a uniform element.
            for level in self._transversals:
                product = product[level[int(torch.randint(len(level), (1,), generator=generator))]]
            return product
        # Without a stabiliser chain: a long random word, which is not uniform, as `drawn` says.
        r = len(self.generator_points)
        which = torch.randint(r, (_WORD,), generator=generator).tolist()
        # Powers, too, so that a few letters go far along a long cycle.
        powers = torch.randint(-4, 5, (_WORD,), generator=generator).tolist()
        for k, power in zip(which, powers, strict=True):
            product = product[power_of(self.generator_points[k], power)]
        return product

    @cached_property
    def _sympy(self) -> "SympyGroup":
        """The same group as a value of sympy, with the same generators; it is cached, with the stabiliser chain it
        computes.
        """
        from sympy.combinatorics.perm_groups import PermutationGroup as SympyGroup

        return SympyGroup([_to_sympy(p) for p in self.generator_points] or [_to_sympy(np.arange(self.degree))])

    @cached_property
    def _transversals(self) -> list[Indices]:
        """For each level of the stabiliser chain, ``(orbit, n)``: one permutation for each point of the orbit at that
        level.

        Every element is a product of one permutation of each level, in this order and the last one acting first, in
        exactly one way.
        """
        return [
            np.array([p.array_form for p in level.values()], dtype=np.int32) for level in self._sympy.basic_transversals
        ]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PermutationGroup):
            return NotImplemented
        return type(self) is type(other) and np.array_equal(self.generator_points, other.generator_points)

    def __hash__(self) -> int:
        return hash((PermutationGroup, self.degree, len(self.generator_points)))

    def __reduce__(self) -> tuple[Any, ...]:
        # The degree goes along: for a group without generators the identity has to be given again, to say how many
        # points.
        return (_rebuild, (self.generator_points, self.degree, self.name, self._order, self.kind))

    def __repr__(self) -> str:
        size = self._order
        counted = "" if size is None else f", order {size if size < 10**12 else f'about 1e{int(math.log10(size))}'}"
        return f"<{self.name}{counted}, on {self.degree} points>"


_WORD = 200
"""Letters of a random word, each a power from −4 to 4 of a random generator. Chosen by hand."""


def _rebuild(points: Indices, degree: int, name: str, order: int | None, kind: str | None) -> PermutationGroup:
    """The group that :meth:`PermutationGroup.__reduce__` pickled; ``points`` are its generators ``(r, degree)``, or
    none.
    """
    return PermutationGroup([np.arange(degree), *points], name, order=order, kind=kind)


def _to_sympy(image: Indices) -> "Permutation":
    """The permutation with these images ``(n,)`` as a value of sympy."""
    from sympy.combinatorics import Permutation

    return Permutation([int(i) for i in image])


class CircleGroup(PermutationGroup):
    """``C_n``, or ``D_n`` with mirrors, on a circle of any number of points; an element is a whole number.

    Element ``k + n f`` is ``r^k s^f``, which sends point ``i`` to ``k + (−1)^f i`` modulo ``n``: the same numbering as
    in the groups with a table that :func:`cyclic` and :func:`dihedral` make for smaller ``n``. ``f`` is 0 without
    mirrors.
    """

    def __init__(self, n: int, *, mirrors: bool = False):
        points = np.arange(n)
        generators = [(points + 1) % n, *([-points % n] if mirrors else [])]
        super().__init__(generators, f"{'D' if mirrors else 'C'}{n}", order=(1 + mirrors) * n)
        self.__dict__.update(mirrors=mirrors)

    mirrors: bool

    @property
    def discrete(self) -> tuple[Element, ...]:
        """The generators: ``r``, element 1, and with mirrors ``s``, element ``n``."""
        return (1, self.degree) if self.mirrors else (1,)

    @property
    def identity(self) -> Element:
        """The identity is element 0."""
        return 0

    @property
    def drawn(self) -> Drawn:
        """``"uniform"``: :meth:`sample` draws every element with the same probability, for any number of points."""
        return "uniform"

    def check(self, element: Element) -> Element:
        """The element as Python's whole number; ConfigError for what is no element."""
        number = whole_number(element)
        if number is None or not 0 <= number < self.order:
            raise ConfigError(f"{self.name} has the elements 0 to {self.order - 1}; got {element!r}")
        return number

    def label(self, element: Element) -> str:
        """The name of an element, such as ``r3s`` for ``r^3 s``; ``e`` for the identity."""
        f, k = divmod(element, self.degree)
        turn = "" if k == 0 else "r" if k == 1 else f"r{k}"
        return (turn + "s" * f) or "e"

    def element(self, label: str) -> Element:
        """The element with this name, such as ``r3s``; a power of ``r``, a number without a sign, is taken modulo
        ``n``.

        Raises: ConfigError for any other text, and for a mirror in a group without mirrors.
        """
        if label == "e":
            return 0
        match = re.fullmatch(r"(r([0-9]*))?(s?)", label)
        if not label or not match or (match[3] and not self.mirrors):
            raise ConfigError(f"{self.name} has elements such as r, r2{', s, rs' * self.mirrors}; got {label!r}")
        turns = int(match[2] or 1) if match[1] else 0
        return self.check(turns % self.degree + self.degree * bool(match[3]))

    def moves(self, element: Element) -> Indices:
        """``(n,)``: where the element sends each point."""
        f, k = divmod(element, self.degree)
        return ((k + (1 - 2 * f) * np.arange(self.degree)) % self.degree).astype(np.int32)

    def multiply(self, *elements: Element) -> Element:
        """The product ``g·h·…`` of some elements; the identity for none."""
        n = self.degree
        k = 0
        f = 0
        for g in elements:
            mirrored, turned = divmod(self.check(g), n)
            # After a mirror a turn goes the other way: s r = r⁻¹ s.
            k = (k + (1 - 2 * f) * turned) % n
            f = f ^ mirrored
        return k + n * f

    def inverse(self, element: Element) -> Element:
        """The inverse ``g⁻¹`` of an element; a mirror is its own."""
        f, k = divmod(self.check(element), self.degree)
        # A mirror undoes itself, wherever its axis is.
        return element if f else -k % self.degree

    def word(self, element: Element) -> tuple[Letter, ...]:
        """The word ``r^k s^f`` of an element: letters ``(0, k)`` and ``(1, f)``, without powers of zero."""
        f, k = divmod(element, self.degree)
        return joined([(0, k), (1, f)])

    def sample(self, n: int, generator: torch.Generator) -> list[Element]:
        """``n`` elements, drawn uniformly and independently."""
        return torch.randint(self.order, (n,), generator=generator).tolist()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_circle, (self.degree, self.mirrors))


def _circle(n: int, mirrors: bool) -> CircleGroup:
    """The group that :meth:`CircleGroup.__reduce__` pickled."""
    return CircleGroup(n, mirrors=mirrors)
