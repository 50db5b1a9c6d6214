"""The abstract class of groups: generators, names of elements, random elements and how they are drawn."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from operator import index
from typing import Any, Literal, NoReturn, TypeAlias

import torch

from msr.errors import ConfigError
from msr.groups.immutable import Immutable

__all__ = ["Drawn", "Element", "Group", "Letter", "whole_number", "without_table"]

Element: TypeAlias = Any
"""A hashable value. What it is depends on the group: see :class:`Group`."""

Letter: TypeAlias = tuple[int, int] | tuple[Literal["exp"], tuple[float, ...]]
"""One factor of a word: ``(k, n)`` is the n-th power of ``discrete[k]``; ``("exp", c)`` is ``exp(Σ c_i X_i)``."""

Drawn: TypeAlias = str
"""How random elements were drawn: "uniform", "words" or "normal coefficients", or several of them joined by " and "."""


class Group(Immutable, ABC):
    """A group as far as a check needs it: by its generators, discrete ones and infinitesimal ones together.

    ======================  ==================================================  =======================
    kind                    an element                                          ``sample`` draws
    ======================  ==================================================  =======================
    ``FiniteGroup``         a number, ``0 .. order − 1``                        uniform
    ``PermutationGroup``    a tuple: where each point goes                      uniform, or words
    ``LieAlgebra``          a tuple of coefficients ``c``: ``exp(Σ c_i X_i)``   normal coefficients
    ``MatrixGroup``         a word and coefficients: ``D_j D_k … exp(Σ c X)``   words, normal coefficients
    ``ProductGroup``        a tuple: an element of each factor                  as its factors
    ======================  ==================================================  =======================

    A map that commutes exactly with every generator commutes with the whole group. A bound on the generators that is
    not zero implies none for other elements, and random words or coefficients are not Haar distributed: :attr:`drawn`
    says what was sampled.
    """

    name: str
    plural = "groups"

    @property
    @abstractmethod
    def order(self) -> int | None:
        """Number of elements; None where there are infinitely many."""

    @property
    @abstractmethod
    def discrete(self) -> tuple[Element, ...]:
        """The generators that are not infinitesimal, as elements; empty where there are none."""

    @property
    def algebra_dim(self) -> int:
        """Number of infinitesimal generators, the dimension of the Lie algebra; 0 unless a subclass says otherwise."""
        return 0

    @property
    @abstractmethod
    def generators(self) -> tuple[Element, ...]:
        """Generators as elements: the discrete ones, then ``exp(X / ‖X‖)`` for each infinitesimal one, ``X``, in the
        spectral norm.
        """

    @property
    @abstractmethod
    def drawn(self) -> Drawn:
        """How :meth:`sample` draws: "uniform", "words", "normal coefficients", or some of them joined by "and"."""

    @property
    @abstractmethod
    def identity(self) -> Element:
        """The element that moves nothing."""

    @abstractmethod
    def label(self, element: Element) -> str:
        """The name of an element as text, for tables and messages."""

    @abstractmethod
    def check(self, element: Element) -> Element:
        """The element in its canonical form, hashable; ConfigError for what the group does not hold."""

    @abstractmethod
    def word(self, element: Element) -> tuple[Letter, ...]:
        """The element as a product of powers of generators; the last letter acts first."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> list[Element]:
        """``n`` random elements, as :attr:`drawn` says."""

    @property
    def is_finite(self) -> bool:
        """Whether there are finitely many elements."""
        return self.order is not None

    @property
    def is_listed(self) -> bool:
        """Whether all elements can be gone through, by ``group.elements``; False unless a subclass says otherwise."""
        return False

    @property
    def connected(self) -> bool:
        """Whether a path leads from the identity to every element; told by there being no discrete generators."""
        return not self.discrete

    @property
    def elements(self) -> Sequence[Element]:
        """All elements, where they are listed; ConfigError for a group that lists none."""
        raise without_table(self, "elements")

    def draw(self, n: int, generator: torch.Generator) -> list[Element]:
        """``n`` random elements as by :meth:`sample`, where draws of the identity, which would test nothing, are drawn
        again.

        Identities are left in the list for a group of order 1, and where a hundred rounds of new draws did not remove
        them.
        """
        drawn = self.sample(n, generator)
        if self.order == 1:
            return drawn
        # A large group gives the identity almost never. A sampler of words may give it often, and must not loop for
        # ever.
        for _ in range(100):
            trivial = [i for i, g in enumerate(drawn) if g == self.identity]
            if not trivial:
                break
            for i, g in zip(trivial, self.sample(len(trivial), generator), strict=True):
                drawn[i] = g
        return drawn

    def to_try(self, most: int, generator: torch.Generator) -> list[Element]:
        """Elements for a test: all of a listed group with at most ``most`` of them; else all generators and random
        ones.

        The random ones, from :meth:`sample`, fill up to ``most`` elements in all for a finite group (at least one is
        drawn); for an infinite group they are 16. They may repeat one another or a generator, or be the identity. A
        group without generators gives the identity in their place.
        """
        if self.is_listed and len(self.elements) <= most:
            return list(self.elements)
        chosen = list(self.generators) or [self.identity]
        extra = most - len(chosen) if self.is_finite else 16
        return [*chosen, *self.sample(max(extra, 1), generator)]

    def choose(self, elements: Literal["all", "generators"] | Sequence[Element | str]) -> list[Element]:
        """The elements asked for, as a list: ``"all"``, ``"generators"``, or those given, by name (:meth:`element`) or
        as they are, in their order and with repetitions.

        For ``"generators"`` of a group that has none the list holds the identity alone.
        Raises: ConfigError for ``"all"`` of a group that is not listed, for any other text, for an empty list, and for
        what is no element of the group (whatever :meth:`check` raises).
        """
        if isinstance(elements, str):
            if elements == "generators":
                return list(self.generators) or [self.identity]
            if elements != "all":
                raise ConfigError(f"elements must be 'all', 'generators' or a list; got {elements!r}")
            return list(self.elements)
        chosen = [self.element(g) if isinstance(g, str) else self.check(g) for g in elements]
        if not chosen:
            raise ConfigError("no element was asked for; give at least one")
        return chosen

    def element(self, label: str) -> Element:
        """The generator whose :meth:`label` is ``label``; a group that lists its elements knows all of them by name.

        Raises: ConfigError for a name that is not known.
        """
        named = {self.label(g): g for g in self.generators}
        if label not in named:
            raise ConfigError(f"{self.name} has no generator {label!r}; it has {', '.join(list(named)[:12])}")
        return named[label]


def whole_number(value: Any) -> int | None:
    """``value`` as an int of Python where it is a whole number of Python, NumPy or torch; None for anything else.

    A float is no whole number, not even ``2.0``; ``True`` is 1, and an array or tensor of one whole number is that
    number.
    """
    try:
        return index(value)
    except TypeError:
        return None


class _NoTable(ConfigError, AttributeError):
    """A ConfigError that is an AttributeError too, so that ``hasattr`` and ``getattr`` with a default work."""


def without_table(group: Group, what: str) -> _NoTable:
    """The error, returned for the caller to raise, where a group that lists no elements is asked for ``what``.

    ``what`` is the name of the attribute that needs a list of all elements or a table of all products.
    """
    many = "infinitely many elements" if not group.is_finite else "too many elements to list"
    return _NoTable(
        f"{group.name} has {many}, so it has no {what}; ask for its generators, with which what commutes commutes with "
        "the group, or for random elements by sample(n, generator)"
    )


_NEEDS_A_TABLE = frozenset({
    "table", "labels", "points", "inverses", "element_orders", "is_abelian", "centre", "conjugacy_classes",
    "class_index", "closure", "elements", "subgroup", "subgroups", "subgroup_classes", "cosets",
})  # fmt: skip
"""Names of attributes of :class:`FiniteGroup` that exist because all its elements or all products are at hand."""


class TableFree(Group):
    """A group without a table: attributes that need one raise an error that says so."""

    def __getattr__(self, name: str) -> NoReturn:
        if name in _NEEDS_A_TABLE:
            raise without_table(self, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
