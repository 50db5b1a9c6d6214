"""Names from GAP: the true program where it is installed, and a small one in its place that answers as told."""

import json
import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from msr.groups import dihedral, direct_product, quaternion
from msr.groups.naming import gap, name_group, primitive_groups
from msr.groups.naming.gap import gap_name
from msr.groups.naming.linear_groups import linear_group
from msr.representations import regular

needs_gap = pytest.mark.skipif(gap._command() is None, reason='GAP is not installed; try: pip install "msr[gap]"')


def generators(group):
    return regular(group).permutations[list(group.generators)]


def heisenberg():
    """The group of 125 elements of exponent 5."""
    a, b, c = np.meshgrid(*[np.arange(5)] * 3, indexing="ij")
    points = (a * 25 + b * 5 + c).ravel()
    x = (((a + 1) % 5) * 25 + b * 5 + (c + b) % 5).ravel()
    y = (a * 25 + ((b + 1) % 5) * 5 + c).ravel()
    assert sorted(x) == sorted(y) == points.tolist()
    return np.stack([x, y])


def nameless():
    """PGL(2,101), too large for a table and on too many points for the list of primitive groups."""
    return linear_group("GL", 2, 101, on="lines")


def asked(script):
    """What GAP prints."""
    command = [*gap._command(), "-q", "-A", "-r", "-T", "-x", "4096"]
    text = f'LoadPackage("smallgrp");;LoadPackage("primgrp");;\n{script}\nQUIT;\n'
    return subprocess.run(command, input=text.encode(), capture_output=True, timeout=120, check=False).stdout.decode()


@needs_gap
def test_groups_of_up_to_31_elements_are_named_apart():
    """GAP's library of small groups holds all; we name each for certain, and no two alike."""
    answer = asked(
        "for n in [6..31] do for i in [1..NumberSmallGroups(n)] do G := SmallGroup(n, i); "
        "H := Image(RegularActionHomomorphism(G)); if not IsAbelian(G) then "
        'Print("msr ", n, " ", List(GeneratorsOfGroup(H), p -> ListPerm(p, n)), "\\n"); fi; od; od;'
    )
    lists = re.findall(r"^msr (\d+) (\[.*\])$", answer, re.MULTILINE)
    assert len(lists) == 45
    names = set()
    for order, rows in lists:
        moves = np.array(json.loads(rows)) - 1
        found = name_group(moves, moves)
        assert found.certain
        assert "SmallGroup" not in found.name
        names.add((int(order), found.name))
    assert len(names) == 45


@needs_gap
def test_primitive_groups_are_the_only_ones_of_their_degree_and_order():
    degrees = sorted({degree for degree, _ in primitive_groups._NAMES})
    answer = asked(
        f"for d in {degrees} do for i in [1..NrPrimitiveGroups(d)] do "
        'Print("msr ", d, " ", Size(PrimitiveGroup(d, i)), "\\n"); od; od;'
    )
    pairs = Counter((int(d), int(o)) for d, o in re.findall(r"^msr (\d+) (\d+)$", answer, re.MULTILINE))
    if not pairs:
        pytest.skip("this GAP comes without its library of primitive groups")
    assert all(pairs[pair] == 1 for pair in primitive_groups._NAMES)


@pytest.fixture
def answering(tmp_path, monkeypatch):
    """Puts a program called gap on the path that prints a text, whatever is asked."""

    def put(code):
        program = tmp_path / "gap"
        program.write_text(f"#!{sys.executable}\nimport sys, time\nasked = sys.stdin.read()\n{code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return put


@needs_gap
def test_gap_names_groups_that_have_no_name_here():
    assert gap_name(heisenberg()) == ("SmallGroup(125,3), (C5 x C5) : C5", True)
    found = name_group(nameless(), nameless())
    assert (found.order, found.certain) == (1030200, False)
    assert found.name.startswith("PSL(2,101)")


@needs_gap
def test_gap_writes_dihedral_groups_as_we_do():
    said, certain = gap_name(generators(dihedral(5)))
    assert certain
    assert said == "SmallGroup(10,1), D5"
    assert gap_name(generators(direct_product(dihedral(4), dihedral(3))))[0] == "SmallGroup(48,38), D4 x S3"
    assert gap_name(generators(quaternion(16)))[0] == "SmallGroup(16,9), Q16"


@needs_gap
def test_gap_is_not_asked_where_the_name_is_proven(monkeypatch):
    monkeypatch.setattr(gap.subprocess, "run", lambda *_, **__: pytest.fail("GAP was asked"))
    assert name_group(generators(dihedral(5)), generators(dihedral(5))).name == "D5"


def test_an_index_is_a_proof_and_a_description_is_none(answering):
    answering("print('msr id [ 125, 3 ]'); print('msr name (C5 x C5) : C5')")
    assert gap_name(heisenberg()) == ("SmallGroup(125,3), (C5 x C5) : C5", True)
    found = name_group(nameless(), nameless())
    assert (found.name, found.certain) == ("SmallGroup(125,3), (C5 x C5) : C5", True)
    answering("print('msr name C2 x D8 x QD16')")
    assert gap_name(heisenberg()) == ("C2 x D4 x QD16", False)
    found = name_group(nameless(), nameless())
    assert (found.name, found.certain) == ("C2 x D4 x QD16", False)


def test_gap_gets_the_generators_with_points_from_one(answering):
    answering("print('msr name', asked.split('(', 1)[1].split(';')[0])")
    assert gap_name(np.array([[1, 2, 0], [1, 0, 2]])) == ("PermList([2, 3, 1]), PermList([2, 1, 3]))", False)


@pytest.mark.parametrize(
    "code",
    [
        "print('Usage: gap FILE')",
        "sys.exit(3)",
        "print('msr id ]'); print('msrname S3')",
        "print('msr name ')",
        "sys.stdout.buffer.write(bytes([255, 254, 10]))",
    ],
    ids=["another program", "failed", "garbled", "nothing", "no text"],
)
def test_a_program_that_does_not_answer_changes_nothing(code, answering):
    answering(code)
    assert gap_name(heisenberg()) is None


def test_without_an_answer_the_name_is_a_description(answering):
    answering("sys.exit(3)")
    assert name_group(nameless(), nameless()).name == "a group of order 1030200"


def test_a_program_that_cannot_be_started_changes_nothing(tmp_path, monkeypatch):
    program = tmp_path / "gap"
    program.write_bytes(bytes([127, 0, 1]))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert gap_name(heisenberg()) is None


@needs_gap
def test_long_names_are_not_cut():
    """GAP would break a line after 80 letters."""
    swaps = np.tile(np.arange(36), (18, 1))
    for i in range(18):
        swaps[i, [2 * i, 2 * i + 1]] = 2 * i + 1, 2 * i
    assert gap_name(swaps) == (" x ".join(["C2"] * 18), False)


def test_an_endless_search_is_ended_and_its_earlier_answers_count(answering, monkeypatch):
    monkeypatch.setattr(gap, "_SECONDS", 1.0)
    answering("time.sleep(60)")
    assert gap_name(heisenberg()) is None
    answering("print('msr id [ 125, 3 ]', flush=True); time.sleep(60)")
    assert gap_name(heisenberg()) == ("SmallGroup(125,3)", True)


def test_without_gap_there_is_no_name_from_it(monkeypatch, tmp_path):
    monkeypatch.setattr(gap.shutil, "which", lambda _: None)
    monkeypatch.setattr(gap.importlib.util, "find_spec", lambda _: None)
    assert gap_name(heisenberg()) is None


def test_the_program_of_the_wheel_gets_the_path_of_its_library(monkeypatch, tmp_path):
    class Wheel:
        origin = str(tmp_path / "passagemath_gap" / "__init__.py")

    monkeypatch.setattr(gap.shutil, "which", lambda _: None)
    monkeypatch.setattr(gap.importlib.util, "find_spec", lambda _: Wheel)
    assert gap._command() is None  # the wheel without its program
    with monkeypatch.context() as other:
        other.setattr(Wheel, "origin", None)  # a folder of that name, which is no wheel
        assert gap._command() is None
    (tmp_path / "gap").mkdir()
    (tmp_path / "gap" / "gap").touch()
    assert gap._command() == [str(tmp_path / "gap" / "gap"), "-l", str(tmp_path / "gap")]


def test_gap_is_not_asked_about_an_empty_list_of_generators(answering):
    answering("print('msr name C2')")
    assert gap_name(np.empty((0, 4), np.int64)) is None
