"""Shapes of tensors on the public surface: stated everywhere, and checked while testing where they are annotated."""

import functools
import importlib
import inspect
import re
import subprocess
import sys

import jaxtyping
import pytest
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from msr.errors import ShapeError
from msr.kron import unvec
from msr.permutations import reynolds_operator
from msr.sharing import DenseSharing
from msr.span import principal_cosines
from tests.laws.test_surface import SURFACE
from tests.support.shapes import CHECKED, checked

_CODE = re.compile(r"``([^`]+)``")
# A tuple such as (tasks, k) or U (numel(W), k). What stands right behind a name is a call: f(x, y).
_PART = r"(?:[^()]|\([^()]*\))*"
_TUPLE = re.compile(rf"(?<!\w)\({_PART}(?:,|\.\.\.){_PART}\)")
_WORDS = re.compile(r"\bShapes:|\bscalars?\b")


def test_every_public_function_states_the_shapes_of_its_tensors():
    silent = set()
    for module, names in SURFACE.items():
        for name in names:
            for full, function, overridden in functions_of(f"{module}.{name}", public_thing(module, name)):
                if takes_or_gives_a_tensor(function) and not states_shapes(function, overridden):
                    silent.add(full)
    assert not silent


def public_thing(module, name):
    return getattr(importlib.import_module(module), name)


def functions_of(name, thing):
    """Each of the project's own functions, methods and properties, with those that a method overrides."""
    if inspect.isfunction(thing):
        members = [(name, thing, [])]
    elif inspect.isclass(thing):
        members = [
            (f"{name}.{key}", function_in(member), [vars(base)[key] for base in thing.__mro__[1:] if key in vars(base)])
            for key, member in vars(thing).items()
            if not key.startswith("_")
        ]
    else:
        members = []
    return [m for m in members if inspect.isfunction(m[1]) and m[1].__module__.startswith(("msr", "tasks"))]


def function_in(member):
    """The function of a method, a class method or a property."""
    if isinstance(member, property):
        return member.fget
    if isinstance(member, functools.cached_property):
        return member.func
    return getattr(member, "__func__", member)


def annotations(function):
    signature = inspect.signature(function)
    return [str(kind) for kind in (*(p.annotation for p in signature.parameters.values()), signature.return_annotation)]


def takes_or_gives_a_tensor(function):
    return any("Tensor" in kind and not kind.startswith("collections.abc.Callable") for kind in annotations(function))


def states_shapes(function, overridden=()):
    if not any("torch.Tensor" in kind for kind in annotations(function)):
        return True  # all tensors are annotated with their shapes
    texts = [part.__doc__ or "" for part in (function, *overridden)]
    return any(_WORDS.search(text) or any(map(_TUPLE.search, _CODE.findall(text))) for text in texts)


def bare(x: Tensor) -> Tensor:
    """What ``f(x, y)`` gives (roughly, so) for ``x``."""


def in_words(x: Tensor) -> Tensor:
    """A matrix ``U (numel(W), k)``."""


def in_part(x: Float[Tensor, "n k"], y: Tensor) -> float:
    """Something."""


def annotated(x: Float[Tensor, "n k"] | None) -> Float[Tensor, "k n"]:
    """Something."""


@pytest.mark.parametrize(
    ("function", "overridden", "states"),
    [
        (bare, [], False),
        (bare, [in_words], True),
        (in_words, [], True),
        (in_part, [], False),
        (annotated, [], True),
    ],
)
def test_the_law_tells_a_stated_shape_from_none(function, overridden, states):
    assert takes_or_gives_a_tensor(function)
    assert states_shapes(function, overridden) is states


PATTERN = DenseSharing.from_matrix(torch.eye(6), (2, 3))

WRONG = {
    "an axis too few": lambda: reynolds_operator(torch.ones(4), torch.zeros(4, dtype=torch.int64)),
    "a bias that would be broadcast": lambda: PATTERN.apply_linear(torch.ones(6), torch.ones(5, 3), torch.ones(1)),
    "a bias with an axis too many": lambda: PATTERN.share_bias([[1.0, 2.0]]),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_a_wrong_shape_is_caught_while_testing(call):
    with pytest.raises(jaxtyping.TypeCheckError):
        call()


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
@pytest.mark.usefixtures("shapes_unchecked")
def test_a_wrong_shape_passes_where_nothing_is_checked(call):
    """So the errors above are those of the check."""
    call()


def test_a_wrong_result_is_caught():
    @jaxtyping.jaxtyped(typechecker=checked)
    def transposed(x: Shaped[Tensor, "n k"], right: bool) -> Shaped[Tensor, "k n"]:
        return x.mT if right else x

    transposed(torch.ones(2, 3), True)
    transposed(torch.ones(2, 3), "other kinds are not checked")
    with pytest.raises(jaxtyping.TypeCheckError, match="return value"):
        transposed(torch.ones(2, 3), False)


def test_the_package_refuses_in_its_own_words_first():
    with pytest.raises(ShapeError, match="5 entries"):
        unvec(torch.ones(5), (2, 3))
    with pytest.raises(ShapeError, match="spaces of 3 and 4"):
        principal_cosines(torch.ones(3, 1), torch.ones(4, 1))


def test_all_rooms_are_checked():
    for room in CHECKED:
        source = importlib.import_module(room)
        own = [f for f in vars(source).values() if inspect.isfunction(f) and f.__module__ == room]
        assert all(hasattr(f, "__wrapped__") for f in own)


def test_nothing_is_checked_outside_tests():
    """Nor does what a help text needs import jaxtyping, which takes time."""
    code = (
        "import sys, msr, msr.cli; assert 'jaxtyping' not in sys.modules;"
        "import torch; from msr.permutations import reynolds_operator as f; assert not hasattr(f, '__wrapped__');"
        "print(tuple(f(torch.ones(4), torch.zeros(4, dtype=torch.int64)).shape), 'beartype' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "(4,) False\n"
