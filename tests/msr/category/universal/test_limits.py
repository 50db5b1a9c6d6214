"""Limits and colimits: of diagrams in a category, and of functors to sets."""

from itertools import product

import numpy as np
import pytest

from msr.category import (
    Functor,
    colimit,
    colimits_of,
    cones,
    constant,
    discrete,
    from_group,
    functors_between,
    limit,
    limits_of,
    on_opposite,
)
from msr.errors import ConfigError
from msr.groups import cyclic
from tests.msr.category.cases import chain, diamond, empty, parallel_pair, random_category, random_presheaf, turning


def diagram(C, *objects):
    """Objects without arrows between them."""
    D = discrete(len(objects))
    return Functor(D, C, objects, C.ident[list(objects)])


def test_products_in_the_diamond_and_in_a_group():
    found = limits_of(diagram(diamond(), 1, 2))
    assert [(apex, legs.tolist()) for apex, legs in found] == [
        (0, [int(diamond().hom(0, 1)[0]), int(diamond().hom(0, 2)[0])])
    ]
    assert [apex for apex, _ in colimits_of(diagram(diamond(), 1, 2))] == [3]
    assert limits_of(diagram(from_group(cyclic(4)), 0, 0)) == ()


def test_equalisers_in_a_group():
    """Of the 16 functors from two parallel arrows to BC4 the 4 with equal arrows have a limit."""
    listed = functors_between(parallel_pair(), from_group(cyclic(4)))
    assert len(listed) == 16
    with_limit = [F for F in listed if limits_of(F)]
    assert sorted(F.mor_map[2:].tolist() for F in with_limit) == [[k, k] for k in range(4)]
    # Every automorphism of the apex gives another limit.
    assert all(len(limits_of(F)) == 4 for F in with_limit)


def test_the_empty_diagram_has_terminal_objects():
    for C in (chain(3), diamond(), parallel_pair(), from_group(cyclic(2))):
        assert tuple(apex for apex, _ in limits_of(diagram(C))) == C.terminal_objects
        assert tuple(apex for apex, _ in colimits_of(diagram(C))) == C.initial_objects


def test_limits_are_universal():
    """Against the definition: each cone factors through a limit in exactly one way."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(30):
        C = random_category(rng)
        D = diagram(C, *rng.integers(C.n_obj, size=int(rng.integers(1, 3))).tolist())
        families = cones(D)
        families.presheaf.check()
        universal = {
            (X, k)
            for X in C.objects
            for k, legs in enumerate(families.legs[X])
            if all(
                sum((C.comp[legs, f] == other).all() for f in C.hom(Y, X)) == 1
                for Y in C.objects
                for other in families.legs[Y]
            )
        }
        answer = {(X, tuple(legs.tolist())) for X, legs in limits_of(D)}
        assert answer == {(X, tuple(families.legs[X][k].tolist())) for X, k in universal}
        found += bool(answer)
    assert 0 < found < 30


def test_colimits_of_sets():
    assert colimit(turning(1, 2, 4))[0] == 3
    count, labels = colimit(constant(diamond(), 2))
    assert count == 2
    assert all(len(set(part.tolist())) == 2 for part in labels)
    assert colimit(empty(diamond()))[0] == 0
    # Every map keeps the classes.
    rng = np.random.default_rng(1)
    for _ in range(20):
        T = random_presheaf(rng, random_category(rng))
        count, labels = colimit(T)
        for f in range(T.category.n_mor):
            assert (labels[T.codomain[f]][T.maps[f]] == labels[T.domain[f]]).all()
        assert {int(k) for part in labels for k in part} == set(range(count))


def test_limits_of_sets():
    """A limit of a set that a group acts on are its fixed points; on a discrete category it is the product."""
    assert limit(turning(1, 2, 4)).tolist() == [[0]]
    assert limit(turning(1, 1, 2, covariant=True)).tolist() == [[0], [1]]
    two = on_opposite(constant(discrete(2), 3))
    assert sorted(map(tuple, limit(two).tolist())) == list(product(range(3), repeat=2))
    assert limit(empty(discrete(0))).shape == (1, 0)
    assert limit(empty(chain(2))).shape == (0, 2)
    with pytest.raises(ConfigError, match="a diagram is a Functor"):
        cones(turning(2))
