"""Direct products of groups of any kind: finite times Lie, permutations times permutations, large tori."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

from msr.errors import ConfigError
from msr.groups.group import Drawn, Element, Group, Letter, TableFree

__all__ = ["ProductGroup"]


class ProductGroup(TableFree):
    """``G₁ × G₂ × …`` of groups of any kind, kept as its factors: an element is a tuple, one element of each factor.

    A factor that is itself a product is replaced by its own factors. The generators are those of the factors, each with
    the identity in the other places: discrete ones and infinitesimal ones together. Immutable, and a value: equal when
    the factors are, in the same order. Made by :func:`direct_product`.
    """

    factors: tuple[Group, ...]

    def __init__(self, factors: Sequence[Group], name: str | None = None):
        flat = tuple(
            g for factor in factors for g in (factor.factors if isinstance(factor, ProductGroup) else (factor,))
        )
        if not flat:
            raise ConfigError("a product needs at least one group")
        self.__dict__.update(factors=flat, name=name or "x".join(factor.name for factor in flat))

    @cached_property
    def order(self) -> int | None:
        """The product of the orders; None where a factor is infinite."""
        product = 1
        for factor in self.factors:
            if factor.order is None:
                return None
            product *= factor.order
        return product

    @property
    def is_finite(self) -> bool:
        """Whether there are finitely many elements: every factor is finite."""
        return all(factor.is_finite for factor in self.factors)

    @property
    def connected(self) -> bool:
        """Whether a path leads from the identity to every element: every factor is connected."""
        return all(factor.connected for factor in self.factors)

    @property
    def algebra_dim(self) -> int:
        """Number of infinitesimal generators of all factors together."""
        return sum(factor.algebra_dim for factor in self.factors)

    @cached_property
    def identity(self) -> Element:
        """The tuple of the identities of the factors."""
        return tuple(factor.identity for factor in self.factors)

    def embed(self, which: int, element: Element) -> Element:
        """The element ``(e, …, element, …, e)``, with an element of factor number ``which`` in its place."""
        return (*self.identity[:which], element, *self.identity[which + 1 :])

    @cached_property
    def discrete(self) -> tuple[Element, ...]:
        """The discrete generators of each factor in turn, with the identity in the other places."""
        return tuple(self.embed(i, g) for i, factor in enumerate(self.factors) for g in factor.discrete)

    @cached_property
    def generators(self) -> tuple[Element, ...]:
        """The generators of each factor in turn, with the identity in the other places."""
        return tuple(self.embed(i, g) for i, factor in enumerate(self.factors) for g in factor.generators)

    @cached_property
    def drawn(self) -> Drawn:
        """How :meth:`sample` draws: the different ways of the factors, joined by " and "."""
        # A factor that is a product, or a matrix group, names several ways already.
        ways = [way for factor in self.factors for way in factor.drawn.split(" and ")]
        return " and ".join(dict.fromkeys(ways))

    def part(self, element: Element, which: int) -> Element:
        """The component of an element in factor number ``which``."""
        return element[which]

    def label(self, element: Element) -> str:
        """The names of the components, such as ``((0 1),exp(1 J01))``; ``e`` for the identity."""
        if element == self.identity:
            return "e"
        return f"({','.join(factor.label(g) for factor, g in zip(self.factors, element, strict=True))})"

    def check(self, element: Element) -> Element:
        """The element as a tuple, each component in its canonical form.

        Raises: ConfigError for another number of components; what the factors raise for theirs.
        """
        if not isinstance(element, (tuple, list)) or len(element) != len(self.factors):
            raise ConfigError(
                f"an element of {self.name} is a tuple of {len(self.factors)}, an element of each of "
                f"{', '.join(factor.name for factor in self.factors)}; got {str(element)[:60]}"
            )
        return tuple(factor.check(g) for factor, g in zip(self.factors, element, strict=True))

    def word(self, element: Element) -> tuple[Letter, ...]:
        """The words of the components one after another, which is a word of the element since factors commute.

        The numbers of discrete generators count through all factors, and the coefficients of an exponential are
        ``algebra_dim`` many, zero for all factors but one.
        """
        word: list[Letter] = []
        first = 0
        column = 0
        for factor, g in zip(self.factors, element, strict=True):
            for letter in factor.word(g):
                if letter[0] == "exp":
                    # The coefficients of one factor stand among those of all, with zeros for the others.
                    spread = [0.0] * self.algebra_dim
                    spread[column : column + factor.algebra_dim] = letter[1]
                    word.append(("exp", tuple(spread)))
                else:
                    # Discrete generators are numbered through all factors.
                    word.append((letter[0] + first, letter[1]))
            first += len(factor.discrete)
            column += factor.algebra_dim
        return tuple(word)

    def sample(self, n: int, generator: torch.Generator) -> list[Element]:
        """``n`` tuples, each component drawn as its own factor draws."""
        return list(zip(*(factor.sample(n, generator) for factor in self.factors), strict=True))

    def find_factor(self, group: Group) -> int | None:
        """The number of the factor that equals ``group``; None where none does.

        Raises: ConfigError where several factors do.
        """
        places = [i for i, factor in enumerate(self.factors) if factor == group]
        if len(places) > 1:
            raise ConfigError(f"{group.name} is more than one of the factors of {self.name}: say which, {places}")
        return places[0] if places else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProductGroup):
            return NotImplemented
        return self.factors == other.factors

    def __hash__(self) -> int:
        return hash((ProductGroup, self.factors))

    def __reduce__(self) -> tuple[Any, ...]:
        return (ProductGroup, (self.factors, self.name))

    def __repr__(self) -> str:
        return f"<{self.name}, a product of {len(self.factors)} groups>"
