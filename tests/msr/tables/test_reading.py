"""Tables of people: texts, gaps, separators, names, and files that are no tables."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from msr.errors import ConfigError, DataError, MSRError
from msr.tables import read_table

CSV = """id,height,city,flag,same,weight
a,1.5,Rome,True,7,60
b,1.6,Oslo,False,7,
c,1.7,Rome,True,7,70
d,1.8,Oslo,True,7,75
"""


def written(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_numbers_texts_and_gaps_become_numbers_and_notes(tmp_path):
    table = read_table(written(tmp_path, CSV), drop=["id"])
    assert table.names == ("height", "city=Oslo", "city=Rome", "weight")
    assert table.rows.tolist() == [0, 2, 3]
    np.testing.assert_allclose(table.values.mean(0)[[0, 3]], 0, atol=1e-12)
    np.testing.assert_allclose(table.values.std(0)[[0, 3]], 1)
    cities = table.values[:, 1:3]
    assert np.sum((cities[0] - cities[2]) ** 2) == pytest.approx(1)
    assert table.target_kind == "none"
    assert table.target is None
    text = " ".join(table.notes)
    assert "1 of 4 rows have a gap and are left out, most of them in 'weight'" in text
    assert "same is 7 in all rows" in text
    assert "flag is 'True' in all rows" in text
    assert "city has 2 texts, a column each" in text


@pytest.mark.parametrize(
    ("column", "kind"), [("city", "labels"), ("height", "numbers"), ("weight", "labels"), ("flag", "labels")]
)
def test_a_target_is_labels_or_numbers(tmp_path, column, kind):
    whole = CSV.replace("75", "75").replace("b,1.6,Oslo,False,7,", "b,1.6,Oslo,False,7,60")
    table = read_table(written(tmp_path, whole), target=column, drop=["id"])
    assert table.target_kind == kind
    assert len(table.target) == 4
    assert not any(name.startswith(column) for name in table.names)


@pytest.mark.parametrize(
    ("text", "name", "note"),
    [
        ("a;b\n1,5;2\n2,5;3\n4,0;5\n", "t.csv", "a comma is the decimal point"),
        ("a\tb\n1.5\t2\n2.5\t3\n4\t5\n", "t.tsv", "separated by tabs"),
        ("1.5,2\n2.5,3\n4,5\n", "t.csv", "the first line is mostly numbers"),
        ("a|b\n1.5|2\n2.5|3\n4|5\n", "t.txt", "separated by bars"),
    ],
)
def test_how_a_text_is_read_is_said(tmp_path, text, name, note):
    raw = np.array([[1.5, 2], [2.5, 3], [4, 5]])
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    for path in (written(tmp_path, text, name), packed):
        table = read_table(path)
        assert note in " ".join(table.notes)
        np.testing.assert_allclose(table.values, (raw - raw.mean(0)) / raw.std(0))


def test_a_first_line_that_is_mostly_numbers_is_a_row(tmp_path):
    table = read_table(written(tmp_path, "0.2,0.2,b\n1.5,2,c\n2.5,3,b\n4,5,c\n"))
    assert len(table.values) == 4
    assert table.names == ("c1", "c2", "c3=b", "c3=c")
    table = read_table(written(tmp_path, "0,126;-0,132\n1,5;2,5\n2,5;1\n"))
    assert table.values.shape == (3, 2)
    table = read_table(written(tmp_path, ",a\n1,2\n3,5\n"))
    assert table.names == ("c1", "a")
    assert "column 1 has no name" in table.notes[0]


def test_marks_and_line_ends_of_other_programs_are_read(tmp_path):
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbfa,b\r\n1,2\r\n3,\r\n5,6\r\n")
    table = read_table(tmp_path / "m.csv")
    assert table.names == ("a", "b")
    assert table.rows.tolist() == [0, 2]
    table = read_table(written(tmp_path, "a,b\n1,NA\n3,2\n5,?\n7,4\n"))
    assert "b: '?', 'NA' is read as a gap" in table.notes


def test_arrays_and_packed_texts_are_tables_too(tmp_path):
    values = np.random.default_rng(0).normal(size=(20, 4))
    np.savez(tmp_path / "t.npz", x=values, y=np.arange(20) % 3)
    table = read_table(tmp_path / "t.npz")
    assert table.names == ("c1", "c2", "c3", "c4")
    assert table.target_kind == "labels"
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(CSV.encode()))
    assert read_table(packed, drop=["id"]).names == read_table(written(tmp_path, CSV), drop=["id"]).names


def test_large_numbers_keep_their_order(tmp_path):
    table = read_table(written(tmp_path, "a,b\n1e300,1\n2e300,2\n-3e300,4\n"))
    assert np.isfinite(table.values).all()
    assert table.values[:, 0].argsort().tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("", {}, "is empty"),
        ("a,b\n", {}, "has no row"),
        ("a,b\n1,\n,2\n", {}, "every row has a gap"),
        ("a,b\n1,2\n1,2\n", {}, "no column varies in the 2 rows that are left"),
        ("a,b\n1,2\n3,4\n", {"target": "c"}, "has no column 'c'; its columns are a, b"),
        ("a,b\n1,2\n3,4\n", {"drop": ["z"]}, "has no column 'z'"),
        ("a,b\n1,2\n3,4\n", {"drop": ["a", "b"]}, "no column is left"),
        ("a,b\n1,2\n3,4\n", {"target": "a", "drop": ["a"]}, "was to be dropped"),
        ("a,b\n1,inf\n3,4\n", {}, "holds an infinity"),
        ("a,b\n1,2\n3,2\n", {"target": "b"}, "is the same in all 2 rows"),
        ("a,b\n1,\n3,\n", {"target": "b"}, "the target 'b' has no value"),
        ("a,b\n1,100000000000000001\n3,100000000000000017\n", {}, "varies by less than float64 can tell"),
        ("a,b\n" + "".join(f"{i},name{i}\n" for i in range(40)), {}, "has 40 different texts in 40 rows"),
        ("a,b\n" + "".join(f"{i},name{i}\n" for i in range(40)), {"target": "b"}, "which are no labels"),
        ('a,b\n1,"1,100"\n3,"2,500"\n', {}, "may part thousands or be a decimal point"),
        ("a;b\n1.5;1,100\n3.5;2,500\n", {}, "may part thousands or be a decimal point"),
        ("a,b\n1,9007199254740992\n3,9007199254740993\n", {}, "varies by less than float64 can tell"),
        ("a,b\n1,2\n3,4,5,6\n", {}, "line 3 has 4 fields, and the first has 2"),
        ("a,b\n1,2,\n3,4,\n", {}, "line 2 has 3 fields, and the first has 2"),
        ("my table\na,b\n1,2\n3,4\n", {}, "line 2 has 2 fields, and the first has 1"),
        ("a,b\n1,2\n3\n", {}, "line 3 has 1 fields"),
        ("a,b,a\n1,2,3\n3,4,5\n", {"target": "a"}, "the name 'a' comes twice"),
        ("a,b\n1,2\n3,-\n5,6\n", {}, "holds numbers and, among them, '-'"),
        ('a,b\n1,"2,5"\n3,4\n5,6\n7,8,\n', {}, "fields, and the first has 2"),
        ('a,b\n1,"2\n3",4\n', {}, "fields, and the first has 2"),
        ('a,b\n1,"x\ny"\n3,"x"\n', {}, "holds a line break"),
        ('a,b\n1,"x\n3,x\n', {}, "no table"),
        ("a,b\n1,x\x00\n3,x\n", {}, "a control character"),
        ("a,e=u,e\n1,2,u\n2,3,v\n3,4,u\n4,5,v\n", {}, "two columns would be called 'e=u'"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, text, options, says):
    with pytest.raises(MSRError) as caught:
        read_table(written(tmp_path, text), **options)
    assert isinstance(caught.value, (DataError, ConfigError))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "b.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    packed = gzip.compress(CSV.encode() * 50)
    (tmp_path / "d.csv.gz").write_bytes(packed[:40] + b"\x00\xff" + packed[42:])
    (tmp_path / "e.csv.gz").write_bytes(b"a,b\n1,2\n")
    np.savez(tmp_path / "n.npz", z=np.zeros(3))
    np.savez(tmp_path / "s.npz", x=np.array([["a", "b"]]))
    np.savez(tmp_path / "three.npz", x=np.ones((3, 2, 2)))
    np.savez(tmp_path / "y.npz", x=np.ones((3, 2)), y=np.ones(4))
    np.savez(tmp_path / "c.npz", x=np.ones((3, 2)), y=np.ones(3) * 1j)
    np.savez(tmp_path / "nan.npz", x=np.eye(3), y=np.full(3, np.nan))
    for name, says in {
        "none.csv": "no such file",
        "b.csv": "save it as that",
        "d.csv.gz": "cannot be read",
        "e.csv.gz": "cannot be read",
        "n.npz": "an array x (rows, columns) is needed",
        "s.npz": "must hold real numbers",
        "three.npz": "x must be (rows, columns)",
        "y.npz": "one target for each of 3 rows",
        "c.npz": "real numbers or texts",
        "nan.npz": "has no value",
    }.items():
        with pytest.raises(DataError) as caught:
            read_table(tmp_path / name)
        assert says in str(caught.value), name
