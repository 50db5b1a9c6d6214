"""Checks the annotated shapes of tensors while testing; outside tests an annotation costs nothing when called."""

import typing
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import beartype

CHECKED = ["msr.kron", "msr.permutations.reynolds", "msr.sharing", "msr.span.angles", "msr.statistics.rules"]
"""Rooms whose functions are checked. They must not be imported yet when :func:`check_while_testing` is called."""


def check_while_testing() -> None:
    """Every later import of a module of :data:`CHECKED` gives functions that check their annotated shapes."""
    jaxtyping.install_import_hook(CHECKED, f"{__name__}.{checked.__name__}")


def checked(function: Callable) -> Callable:
    """What jaxtyping calls to make a function check its annotations: beartype, for shapes alone and after the body.

    jaxtyping hands over two functions for each one: the first takes the arguments and is called before the body; the
    second takes the result too, is called after it, and checks the arguments once more. Only the second is checked, so
    that a wrong shape which the package refuses itself is refused in the package's own words; what it lets through is
    caught here. The first is known by its result, which jaxtyping annotates as ``Any``.
    """
    hints = function.__annotations__
    if hints.get("return") is Any:
        return function
    function.__annotations__ = {name: hint if _holds_a_shape(hint) else Any for name, hint in hints.items()}
    return beartype(function)


def _holds_a_shape(hint: Any) -> bool:
    """Whether an annotation is a tensor with a shape, or has one among its arguments."""
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(map(_holds_a_shape, typing.get_args(hint)))
