"""Tables of people: texts, gaps, separators, names, and files that are no tables."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from msr.errors import ConfigError, DataError, MissingExtraError, MSRError
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
    assert "flag is 1 in all rows" in text
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
        ("1.5,2\n2.5,3\n4,5\n", "t.csv", "the first row holds numbers alone"),
        ("a|b\n1.5|2\n2.5|3\n4|5\n", "t.txt", "separated by bars"),
    ],
)
def test_how_a_text_is_read_is_said(tmp_path, text, name, note):
    table = read_table(written(tmp_path, text, name))
    assert note in " ".join(table.notes)
    raw = np.array([[1.5, 2], [2.5, 3], [4, 5]])
    np.testing.assert_allclose(table.values, (raw - raw.mean(0)) / raw.std(0))


def test_arrays_and_packed_texts_are_tables_too(tmp_path):
    values = np.random.default_rng(0).normal(size=(20, 2, 2))
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
        ("a,b\n1,2\n1,2\n", {}, "no column is left that varies"),
        ("a,b\n1,2\n3,4\n", {"target": "c"}, "has no column 'c'; its columns are a, b"),
        ("a,b\n1,2\n3,4\n", {"drop": ["z"]}, "has no column 'z'"),
        ("a,b\n1,2\n3,4\n", {"target": "a", "drop": ["a"]}, "was to be dropped"),
        ("a,b\n1,inf\n3,4\n", {}, "holds an infinity"),
        ("a,b\n1,2\n3,2\n", {"target": "b"}, "is the same in all rows"),
        ("a,b\n" + "".join(f"{i},name{i}\n" for i in range(40)), {}, "has 40 different texts"),
        ("a,b\n" + "".join(f"{i},name{i}\n" for i in range(40)), {"target": "b"}, "no labels"),
        ("a,b\n1,2\n3,4,5,6\n", {}, "no table that can be read"),
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
    np.savez(tmp_path / "n.npz", z=np.zeros(3))
    np.savez(tmp_path / "s.npz", x=np.array([["a", "b"]]))
    np.savez(tmp_path / "y.npz", x=np.ones((3, 2)), y=np.ones(4))
    for name, says in {
        "none.csv": "no such file",
        "b.csv": "no table that can be read",
        "n.npz": "an array x (rows, columns) is needed",
        "s.npz": "must hold real numbers",
        "y.npz": "one target for each of 3 rows",
    }.items():
        with pytest.raises(DataError) as caught:
            read_table(tmp_path / name)
        assert says in str(caught.value)


def test_without_pandas_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"msr\[tables\]"):
        read_table(written(tmp_path, CSV))
