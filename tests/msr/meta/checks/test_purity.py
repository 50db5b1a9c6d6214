"""Two answers of a network agree only if all that is in them does."""

from collections import namedtuple

import numpy as np
import pytest
import torch

from msr.meta.checks.purity import agree, impurity

ZERO, ONE = torch.zeros(3), torch.ones(3)
Pair = namedtuple("Pair", ["first", "second"])
WRAPPED = {
    "alone": lambda leaf: leaf,
    "in a list": lambda leaf: [ZERO, leaf],
    "in a dictionary": lambda leaf: {"a": leaf},
    "a list in a dictionary": lambda leaf: {"a": [leaf]},
    "a list in a tuple": lambda leaf: (ZERO, [leaf]),
    "a dictionary in lists": lambda leaf: [[{"a": (leaf,)}]],
    "a named tuple": lambda leaf: Pair([leaf], ZERO),
    "an array": lambda leaf: leaf.numpy(),
    "arrays in a list": lambda leaf: {"a": [leaf.numpy()[::-1]]},
    "a number": lambda leaf: float(leaf[0]),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_answers_agree_if_and_only_if_their_leaves_do(wrap):
    assert agree(wrap(ZERO), wrap(ZERO.clone()))
    assert not agree(wrap(ZERO), wrap(ONE))
    nan = torch.full((3,), torch.nan)
    assert agree(wrap(nan), wrap(nan.clone()))
    assert not agree(wrap(nan), wrap(ZERO))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"a": ZERO}, {"b": ZERO}),
        ((ZERO,), ZERO),
        ((ZERO, ZERO), (ZERO,)),
        (ZERO, ZERO.double()),
        (ZERO.numpy(), ZERO.double().numpy()),
        (ZERO, torch.zeros(1, 3)),
        (1, 1.0),
        ("a", "b"),
    ],
)
def test_answers_of_another_structure_or_kind_do_not_agree(a, b):
    assert agree(a, a)
    assert not agree(a, b)


def test_rounding_is_no_difference_and_the_byte_order_of_an_array_does_not_matter():
    assert agree(ONE, ONE * (1 + 1e-6))
    assert not agree(ONE, ONE * 1.02)
    for kind in (np.longdouble, np.clongdouble, np.float16, np.uint16, "U4", "datetime64[s]", object):
        values = np.arange(3).astype(kind)
        assert agree(values, values.copy())
        assert not agree(values, values[::-1])
    big = np.arange(3.0, dtype=">f8")
    assert agree(big, big.copy())
    assert not agree(big, big + 1)


def test_noise_in_a_list_within_a_dictionary_is_seen():
    """A source that is not known shows in the answers only, wherever they hold it."""
    counter = iter(range(100))
    fault = impurity(lambda: {"a": [torch.tensor(float(next(counter)))]}, {}, torch.device("cpu"))
    assert fault is not None
    assert fault.reasons == ["two answers from the same parameters and inputs differ"]
