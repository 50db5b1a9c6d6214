"""Sets of finite groups: orbits and tables of marks, against GAP and against counted transformations."""

import json
import subprocess

import numpy as np
import pytest

from msr.category import (
    count_group_sets,
    count_transformations,
    from_group,
    group_sets,
    is_isomorphic,
    orbit_presheaf,
    orbit_sizes,
    table_of_marks,
)
from msr.errors import AxiomError, ConfigError, MSRError
from msr.groups import cyclic, dihedral, from_permutations, quaternion, symmetric
from msr.groups.naming import gap
from tests.support import ROOT

# Written by GAP 4.15 for the groups of order 2 to 24 of its library: generators of the regular representation, a
# subgroup of each class by where its elements send point 0, and TableOfMarks, whose rows are the orbits G/H.
KEPT = json.loads((ROOT / "tests/msr/category/marks.json").read_text())
# The groups of its library of tables of marks that have at most 100 elements.
LIBRARY = [
    "A5", "D6xD10", "7:6", "S4", "M8:S3", "A4xS3", "4^2:S3", "31:3", "(3xA4):2", "3^2:Q8", "19:3", "13:4", "5:4", "D14",
    "25:4", "D62", "13:3", "13:6", "7:3x3",
]  # fmt: skip
SCRIPT = """
LoadPackage("tomlib" : OnlyNeeded);;
for name in {names} do
T := TableOfMarks(name);;
h := RegularActionHomomorphism(UnderlyingGroup(T));;
n := Size(UnderlyingGroup(T));;
S := List([1..Length(MarksTom(T))], k -> List(Elements(Image(h, RepresentativeTom(T, k))), p -> 1^p));;
Print("msr [", List(SmallGeneratingSet(Image(h)), p -> ListPerm(p, n)), ",", S, ",", MatTom(T), "]\\n");
od;
QUIT;
"""


def agrees(generators, subgroups, marks):
    """Whether our table is the transpose of one of GAP's, class by class."""
    group = from_permutations(np.array(generators))
    element = np.empty(group.order, dtype=int)
    element[group.points[:, 0]] = np.arange(group.order)
    ours = [set(members) for members in group.subgroup_classes()]
    theirs = [tuple(sorted(element[members].tolist())) for members in subgroups]
    place = [next(k for k, members in enumerate(ours) if H in members) for H in theirs]
    assert sorted(place) == list(range(len(ours)))
    return np.array_equal(table_of_marks(group)[np.ix_(place, place)].T, marks)


def test_tables_of_all_groups_of_order_2_to_24():
    assert len(KEPT) == 73
    entries = 0
    for case in KEPT:
        size = len(case["marks"])
        marks = np.array([row + [0] * (size - len(row)) for row in case["marks"]])
        assert agrees(case["generators"], case["subgroups"], marks), case["group"]
        entries += size**2
    assert entries == 14026


def test_the_comparison_sees_a_wrong_table():
    case = KEPT[-3]
    size = len(case["marks"])
    marks = np.array([row + [0] * (size - len(row)) for row in case["marks"]])
    assert not agrees(case["generators"], case["subgroups"], marks.T)


@pytest.mark.skipif(gap._command() is None, reason='GAP is not installed; try: pip install "msr[gap]"')
def test_tables_of_the_library_of_gap_up_to_order_100():
    names = "[" + ", ".join(f'"{name}"' for name in LIBRARY) + "]"
    answer = subprocess.run(
        [*gap._command(), "-q", "-A", "-T", "-x", "4096"],
        input=SCRIPT.format(names=names).encode(),
        capture_output=True,
        timeout=120,
        check=False,
    ).stdout.decode()
    cases = [json.loads(text) for text in answer.replace("\n", " ").split("msr ")[1:]]
    if not cases:
        pytest.skip("GAP has no library of tables of marks; try: pip install passagemath-gap-pkg-tomlib-data")
    assert len(cases) == 19
    for name, (generators, subgroups, marks) in zip(LIBRARY, cases, strict=True):
        shifted = [[x - 1 for x in members] for members in subgroups]
        assert agrees(np.array(generators) - 1, shifted, marks), name


@pytest.mark.parametrize("group", [cyclic(12), dihedral(6), quaternion(), symmetric(4)], ids=lambda G: G.name)
def test_marks_are_numbers_of_transformations(group):
    C = from_group(group)
    orbits = [orbit_presheaf(group, classes[0], C) for classes in group.subgroup_classes()]
    counts = [[count_transformations(S, T) for T in orbits] for S in orbits]
    assert counts == table_of_marks(group).tolist()
    assert [T.n_elements for T in orbits] == list(orbit_sizes(group))


def test_conjugate_subgroups_have_isomorphic_orbits_and_others_not():
    group = dihedral(4)
    C = from_group(group)
    classes = group.subgroup_classes()
    for i, first in enumerate(classes):
        for j, second in enumerate(classes):
            S = orbit_presheaf(group, first[0], C)
            T = orbit_presheaf(group, second[-1], C)
            assert is_isomorphic(S, T) == (i == j)


def test_sets_of_a_size_are_listed_once():
    listed = group_sets(symmetric(3), 6)
    assert len(listed) == count_group_sets(symmetric(3), 6)[6] == 8
    for i, S in enumerate(listed):
        S.check()
        assert [is_isomorphic(S, T) for T in listed] == [i == j for j in range(len(listed))]
    assert [T.n_elements for T in group_sets(cyclic(3), 0)] == [0]


def test_what_is_refused():
    with pytest.raises(ConfigError, match=r"whole number, 0 or more; got -1"):
        count_group_sets(cyclic(2), -1)
    with pytest.raises(AxiomError, match="not closed under the product"):
        orbit_presheaf(cyclic(4), [0, 1])


def test_an_orbit_is_of_a_subgroup_with_elements():
    with pytest.raises(MSRError):
        orbit_presheaf(cyclic(4), [])
    assert orbit_presheaf(cyclic(4), [0, 0, 2, 2]).name == orbit_presheaf(cyclic(4), [0, 2]).name
