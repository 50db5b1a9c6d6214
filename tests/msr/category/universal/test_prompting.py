"""Prompting and fine tuning: which prompts are best, which solve a task, and how many tasks they solve."""

import numpy as np
import pytest

from msr.category import (
    FinCat,
    Presheaf,
    action_groupoid,
    best_prompts,
    constant,
    constant_copresheaf,
    discrete,
    disjoint_union,
    fine_tuning,
    from_group,
    ideal_error,
    is_representable,
    labelled_presheaves,
    on_inverses,
    presheaf_classes,
    prompt_power,
    representable,
    solves_naturally,
    solves_pointwise,
    yoneda_counts,
    yoneda_element,
    yoneda_is_ideal,
    yoneda_transformation,
)
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError
from msr.groups import cyclic
from tests.msr.category.cases import chain, diamond, empty, idempotent, parallel_pair, turning

C4 = cyclic(4)
BC4 = from_group(C4)


def two_objects_with_zeros():
    """P and Q with a zero in every hom, ``a: P → Q`` and ``b: Q → P`` with ``a b = b a = 0``."""
    # Arrows: identities 0 and 1, zeros 2: PP, 3: QQ, 4: PQ, 5: QP, then a = 6: PQ and b = 7: QP.
    src = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    dst = np.array([0, 1, 0, 1, 1, 0, 1, 0])
    zero = np.array([[2, 4], [5, 3]])
    comp = np.full((8, 8), -1)
    for g in range(8):
        for f in range(8):
            if src[g] == dst[f]:
                comp[g, f] = g if f < 2 else f if g < 2 else zero[src[f], dst[g]]
    return FinCat(2, src, dst, [0, 1], comp, "with zeros")


# Prompting


def test_several_prompts_can_be_best_and_one_natural():
    C = two_objects_with_zeros()
    assert C.hom_count.tolist() == [[2, 2], [2, 2]]
    assert C.isomorphism_labels.tolist() == [0, 1]
    found = best_prompts(representable(C, 0))
    assert found.errors.tolist() == [0, 0]
    assert (found.best, found.pointwise, found.natural) == ((0, 1), (True, True), (True, False))
    assert solves_pointwise(representable(C, 0), 1)
    assert not solves_naturally(representable(C, 0), 1)


def test_pointwise_is_not_natural():
    sets = [turning(4), turning(2, 2), turning(2, 1, 1), turning(1, 1, 1, 1)]
    assert [solves_pointwise(T) for T in sets] == [True] * 4
    assert [solves_naturally(T) for T in sets] == [True, False, False, False]
    assert [best_prompts(T).natural for T in sets] == [(True,), (False,), (False,), (False,)]


def test_errors_of_prompts_are_sums_over_objects():
    found = best_prompts(constant(diamond(), 1))
    assert found.errors.tolist() == [3, 2, 2, 0]
    assert (found.best, found.natural) == ((3,), (True,))
    found = best_prompts(constant(parallel_pair(), 1))
    assert (found.errors.tolist(), found.best, found.natural) == ([1, 1], (0, 1), (False, False))
    assert best_prompts(empty(discrete(0))).best == ()


def test_prompting_needs_a_presheaf():
    for function in (best_prompts, solves_pointwise, solves_naturally):
        with pytest.raises(ConfigError, match=f"{function.__name__}: the task is a Presheaf"):
            function(turning(2, covariant=True))
    with pytest.raises(ConfigError, match="has the objects 0 to 0; got 1"):
        solves_naturally(turning(2), 1)


# The two models of Corollary 1


def test_rotation_prediction_with_one_object_an_image():
    """Two images, each with its own C4: only one torsor beside nothing can be prompted."""
    C = disjoint_union(BC4, BC4)
    for sizes in ((4, 0), (0, 4), (1, 1), (2, 0), (2, 2)):
        listed = labelled_presheaves(C, sizes)
        representables = sum(is_representable(T) for T in listed)
        assert representables == (6 if sorted(sizes) == [0, 4] else 0)
    assert not is_representable(constant(BC4, 1))


def test_rotation_prediction_on_the_orbits_of_images():
    regular = C4.table
    one = action_groupoid(C4, regular)
    assert is_representable(constant(one, 1))
    two = action_groupoid(C4, np.concatenate([regular, regular + 4], axis=1))
    assert not is_representable(constant(two, 1))
    assert sorted(representable(two, 0).sizes.tolist()) == [0] * 4 + [1] * 4
    assert not any(is_representable(T) for T in presheaf_classes(one, [2] * 4))


def test_a_symmetric_image():
    """Stabiliser C2: homs of size 2; two masks can be prompted in one of two ways, one label cannot."""
    C = action_groupoid(C4, C4.table[:, :2] % 2)
    assert representable(C, 0).sizes.tolist() == [2, 2]
    labelled = labelled_presheaves(C, [2, 2])
    assert (len(labelled), sum(is_representable(T) for T in labelled)) == (4, 2)
    classes = presheaf_classes(C, [2, 2])
    assert (len(classes), sum(is_representable(T) for T in classes)) == (2, 1)
    assert not is_representable(constant(C, 1))


# Fine tuning


def test_fine_tuning_gives_every_task_back():
    for sizes in ((1,), (2,), (4,), (1, 2, 4), (2, 2)):
        F = on_inverses(turning(*sizes))
        tuned = fine_tuning(F, [turning(4), turning(1)])
        assert tuned.exact
        assert tuned.on_objects.tolist() == [sum(sizes)]
        assert tuned.predictions.tolist() == [sum(sizes), len(sizes)]
    with pytest.raises(ConfigError, match="the task is a CoPresheaf"):
        fine_tuning(turning(2))
    assert fine_tuning(constant_copresheaf(discrete(0), 1)).exact


# Prompt power


def test_prompt_power_by_listing_and_by_subgroups_agree():
    """The orbits of an action are a groupoid; its tasks listed as presheaves are those counted by subgroups."""
    C = action_groupoid(C4, C4.table[:, :2] % 2)
    power = prompt_power(C, 4)
    listed = [
        sum(len(presheaf_classes(C, (a, n - a))) for a in range(n + 1)) for n in range(5)
    ]  # fmt: skip
    assert list(power.tasks) == listed == [1, 0, 1, 0, 2]
    assert list(power.promptable) == [0, 0, 0, 0, 1]


def test_prompt_power_of_other_categories():
    power = prompt_power(chain(2), 3)
    found = [
        [T for a in range(n + 1) for T in presheaf_classes(chain(2), (a, n - a))] for n in range(4)
    ]  # fmt: skip
    assert list(power.tasks) == [len(part) for part in found]
    assert list(power.promptable) == [sum(map(is_representable, part)) for part in found] == [0, 1, 1, 0]
    power = prompt_power(idempotent(), 5)
    assert power.tasks == (1, 1, 2, 3, 5, 7)
    assert power.promptable == (0, 0, 1, 0, 0, 0)
    both = prompt_power(disjoint_union(idempotent(), BC4), 4)
    # A task on two parts is one on each: 1, 1, 2, 3, 5 folded with 1, 1, 2, 2, 4.
    assert both.tasks == (1, 2, 5, 9, 18)
    assert both.promptable == (0, 0, 1, 0, 1)
    assert prompt_power(discrete(0), 2).tasks == (1, 0, 0)
    assert prompt_power(discrete(0), 2).share == 0
    with pytest.raises(ConfigError, match="up_to is a size, 0 or more; got -1"):
        prompt_power(BC4, -1)
    with pytest.raises(DataError, match="take smaller sizes"):
        prompt_power(idempotent(), 9)


# Ideal models


def test_the_yoneda_embedding_is_ideal_and_others_are_scored():
    C = two_objects_with_zeros()
    assert yoneda_is_ideal(C)
    assert ideal_error(yoneda_counts(C), C) == 0
    wrong = C.hom_count.astype(float)
    wrong[1, 0] -= 1.5
    assert ideal_error(wrong, C) == 1.5
    assert ideal_error(np.zeros((0, 0)), discrete(0)) == 0
    with pytest.raises(ShapeError, match=r"predicted must be \(2, 2\)"):
        ideal_error([1, 2], C)
    with pytest.raises(NonFiniteError, match=r"predicted\[1, 0\] is nan"):
        ideal_error(wrong * [[1, 1], [np.nan, 1]], C)
    with pytest.raises(DataError, match="real numbers"):
        ideal_error(wrong + 0j, C)


def test_elements_are_transformations():
    T = turning(1, 2)
    for x in range(3):
        assert yoneda_element(yoneda_transformation(T, 0, x), 0) == x
    F = turning(1, 2, covariant=True)
    eta = yoneda_transformation(F, 0, 1)
    eta.check()
    assert yoneda_element(eta, 0) == 1
    with pytest.raises(ConfigError, match="does not start at the functor of object 0"):
        yoneda_element(next(iter([yoneda_transformation(T, 0, 0).after(relabelled())])), 0)


def relabelled():
    """An isomorphism from a torsor whose elements are numbered otherwise to the representable presheaf."""
    from msr.category import isomorphism

    torsor = Presheaf.generated(BC4, [4], {1: [2, 3, 1, 0]})
    return isomorphism(torsor, representable(BC4, 0))
