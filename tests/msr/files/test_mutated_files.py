"""Files that were damaged, or made to do harm: what was saved comes back, or one line says what is wrong.

Each door of the package gets its own kind of file with bits flipped, blocks zeroed, moved or cut; and files whose
checksums are right and whose contents are odd. About 800 of them in every run; ``MSR_MUTATIONS=20`` in the environment
makes that twenty times as many, and other ones.
"""

import io
import json
import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from msr.errors import DataError, MSRError
from msr.files.archives import npz_names, read_npy, read_npz
from msr.models.reading import read_model
from msr.tasks.files import read_arrays
from tasks.omniglot import read_omniglot
from tasks.rotation import read_filters
from tests.support import ROOT

MORE = int(os.environ.get("MSR_MUTATIONS", "1"))
LONGEST = 500


def many(n):
    return settings(
        max_examples=n * MORE,
        derandomize=MORE == 1,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def outcome(read, *arguments):
    """What a reader gives, or the line with which it refuses; any other error, or much memory, fails the test."""
    tracemalloc.start()
    try:
        return read(*arguments)
    except MSRError as error:
        line = str(error)
        assert "\n" not in line
        assert len(line) < LONGEST
        assert line.isprintable()
        return line
    finally:
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
        tracemalloc.stop()


# Damage: nobody meant it, and checksums do not agree with it.

PLACE = st.integers(0, 2**32)
LENGTH = st.sampled_from([1, 2, 4, 30, 100, 1000])
DAMAGE = st.one_of(
    st.tuples(st.just("flip"), PLACE, st.integers(0, 7)),
    st.tuples(st.just("byte"), PLACE, st.integers(0, 255)),
    st.tuples(st.just("cut"), PLACE, st.just(0)),
    st.tuples(st.just("zero"), PLACE, LENGTH),
    st.tuples(st.just("drop"), PLACE, LENGTH),
    st.tuples(st.just("insert"), PLACE, LENGTH),
    st.tuples(st.just("splice"), PLACE, PLACE),
    # The end of a zip, and the list of members before it, are small, and say the most.
    st.tuples(st.just("flip near the end"), st.integers(1, 300), st.integers(0, 7)),
)
DAMAGES = st.lists(DAMAGE, min_size=1, max_size=3)


def damaged(whole, damages):
    data = bytearray(whole)
    for kind, place, how in damages:
        at = place % max(1, len(data))
        if not data:
            break
        if kind == "flip":
            data[at] ^= 1 << how
        elif kind == "flip near the end":
            data[-min(place, len(data))] ^= 1 << how
        elif kind == "byte":
            data[at] = how
        elif kind == "cut":
            del data[at:]
        elif kind == "zero":
            data[at : at + how] = bytes(len(data[at : at + how]))
        elif kind == "drop":
            del data[at : at + how]
        elif kind == "insert":
            data[at:at] = data[:how]
        elif kind == "splice":
            data[at : at + 64] = data[how % len(data) :][:64]
    return bytes(data)


def saved(arrays, save=np.savez):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


rng = np.random.default_rng(0)
SMALL = rng.normal(size=(6, 3, 5))
TASKS = {
    "x": rng.normal(size=(6, 30, 30)),  # more than what is read for the header
    "y": rng.normal(size=(6, 30, 4)).astype(np.float32),
    "w": rng.normal(size=(6, 4, 30)),
    "split": np.array([0, 0, 0, 0, 1, 1]),
}
FILTERS = {"filters": rng.normal(size=(4, 4, 1, 3, 3)), "other": np.arange(20)}
LAYER = {"W": rng.normal(size=(4, 6)), "b": rng.normal(size=4)}


def same(a, b):
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
@many(150)
@given(damages=DAMAGES)
def test_damaged_task_files(save, damages, tmp_path):
    path = tmp_path / "t.npz"
    path.write_bytes(damaged(saved(TASKS, save), damages))
    got = outcome(read_arrays, path)
    assert (got.startswith(str(path))) if isinstance(got, str) else same(got, TASKS)


@many(60)
@given(damages=DAMAGES)
def test_damaged_filters(damages, tmp_path):
    path = tmp_path / "f.npz"
    path.write_bytes(damaged(saved(FILTERS), damages))
    got = outcome(read_filters, path, "c4")
    assert got.startswith(str(path)) if isinstance(got, str) else np.array_equal(got, FILTERS["filters"])


@many(60)
@given(damages=DAMAGES)
def test_damaged_layers(damages, tmp_path):
    path = tmp_path / "m.npz"
    path.write_bytes(damaged(saved(LAYER, np.savez_compressed), damages))
    got = outcome(read_model, path)
    if isinstance(got, str):
        assert got.startswith(str(path))
    else:
        assert np.array_equal(got[1].weight.detach(), LAYER["W"])
        assert np.array_equal(got[1].bias.detach(), LAYER["b"])


@many(100)
@given(damages=DAMAGES)
def test_damaged_arrays_have_the_size_of_their_file(damages, tmp_path):
    """A .npy holds no checksum, so that other numbers cannot be told; fewer or more of them can."""
    path, file = tmp_path / "w.npy", io.BytesIO()
    np.save(file, LAYER["W"])
    path.write_bytes(damaged(file.getvalue(), damages))
    got = outcome(read_npy, path)
    if isinstance(got, str):
        assert got.startswith(str(path))
    else:
        assert 0 <= path.stat().st_size - got.nbytes <= 2 * 128
    outcome(read_model, path)


def image_zip(change=None):
    """Two classes of two images; ``change`` gives other names to entries, or drops them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for n, name in enumerate(("s/A/1/a.png", "s/A/1/b.png", "s/A/2/a.png", "s/A/2/b.png")):
            archive.writestr(name, png(n))
    return file.getvalue()


def png(n, kind="PNG"):
    picture = np.full((40, 40), 255, np.uint8)
    picture[5:20, 5 : 10 + 5 * n] = 0
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory):
    """What libraries import when they are first used is no file's fault."""
    path = tmp_path_factory.mktemp("warm") / "m.npz"
    path.write_bytes(saved(LAYER))
    read_model(path)


@pytest.fixture(scope="module")
def whole_images(tmp_path_factory):
    """The zip, its images, and the bytes of its cache."""
    folder = tmp_path_factory.mktemp("images")
    path = folder / "set.zip"
    path.write_bytes(image_zip())
    images = read_omniglot(path, cache=folder / "cache")
    (kept,) = (folder / "cache").iterdir()
    return path, images, kept.read_bytes(), kept.name


def same_images(a, b):
    return torch.equal(a.images, b.images) and a.names == b.names


@many(120)
@given(damages=DAMAGES)
def test_damaged_images(whole_images, damages, tmp_path):
    path = tmp_path / "set.zip"
    path.write_bytes(damaged(whole_images[0].read_bytes(), damages))
    got = outcome(lambda: read_omniglot(path, cache=tmp_path / "cache"))
    assert got.startswith(str(path)) if isinstance(got, str) else same_images(got, whole_images[1])


@many(70)
@given(damages=DAMAGES)
def test_a_damaged_cache_is_made_again(whole_images, damages, tmp_path):
    path, images, kept, name = whole_images
    (tmp_path / name).write_bytes(damaged(kept, damages))
    assert same_images(outcome(lambda: read_omniglot(path, cache=tmp_path)), images)
    assert same_images(outcome(lambda: read_omniglot(path, cache=tmp_path)), images)


# Odd contents: checksums agree with them.

ODD_SIZES = """
0 1 2 3 -1 True 1.5 None 2**3 () '3' 10L 4294967296 9223372036854775807 9223372036854775808 18446744073709551615
-9223372036854775808
"""
ODD_KINDS = r"""
'<f8' '<f8' '>f4' '<f2' '<f16' '<c16' '<c32' '|b1' '<i8' '>u8' '|O' '<V0' '|V8' '<S0' '<U0' '|S5' '<U999999999'
'<U9999999999' '<M8[s]' '<f9' 'f' 'x' '' '<' '\d' '\x00' 'f8,'*3 b'<f8' [('a','<f8')] [('a','|O')] ('<f8',(3,))
('<f8',(999999,999999)) {'names':['a'],'formats':['|O']} [] {} None 8
"""
SIZES = st.sampled_from([*ODD_SIZES.split(), "0x" + "f" * 5000])
KINDS = st.sampled_from([*ODD_KINDS.split(), "-" * 1000 + "1", "1if 1else 2"])
SHAPES = st.one_of(
    st.lists(SIZES, max_size=4).map(lambda sizes: f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"),
    st.sampled_from(["[2, 3]", "3", "(" * 300, "(1, " * 40 + ")" * 40, "(" + "1, " * 70 + ")", "(2, 3", "\\\n(2, 3)"]),
)
HEADERS = st.one_of(
    st.builds(
        lambda kind, order, shape: f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}",
        KINDS,
        st.sampled_from(["False", "True", "1", "None"]),
        SHAPES,
    ),
    st.sampled_from(
        ["", "{}", "{'shape': (1,)}", "{1: 2, 'descr': 3}", "  {", "  x\n y", "[" * 1500, "-" * 2500 + "1"]
    ),
)
VERSIONS = st.sampled_from([b"\x01\x00"] * 4 + [b"\x02\x00", b"\x03\x00", b"\x09\x09", b"\x00\x00"])
LIES = st.sampled_from([0] * 6 + [-1, 1, 20000, 2**31])


def array_file(header, version, lie, body):
    text = header.encode("latin-1", "replace")
    size = (len(text) + lie) % (2**16 if version == b"\x01\x00" else 2**32)
    return b"\x93NUMPY" + version + struct.pack("<H" if version == b"\x01\x00" else "<I", size) + text + body


@many(150)
@given(HEADERS, VERSIONS, LIES, st.sampled_from([0, 1, 8, 48, 64]), st.booleans())
def test_odd_headers(tmp_path, header, version, lie, body, packed):
    data = array_file(header, version, lie, bytes(body))
    file, archive = tmp_path / "a.npy", tmp_path / "a.npz"
    file.write_bytes(data)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as members:
        for name in ("x", "y"):
            members.writestr(f"{name}.npy", data)
    alone, among = outcome(read_npy, file), outcome(lambda: read_npz(archive, ["x"], mapped=True))
    assert isinstance(alone, str) == isinstance(among, str)
    if not isinstance(alone, str):
        assert np.array_equal(alone, among["x"], equal_nan=alone.dtype.kind in "fc")
        assert body == alone.nbytes
    outcome(read_arrays, archive)
    outcome(read_model, file)


def described(kind, shape):
    return f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}"


@pytest.mark.parametrize(
    ("kind", "shape", "says"),
    [
        ("'<f8'", "(True, 3)", "is not a whole .npy file (its 2 sizes are no shape of an array); write it again"),
        ("'<f8'", "(-1, -3)", "(its 2 sizes are no shape of an array)"),
        ("'<f8'", "(9223372036854775808, 0)", "(its 2 sizes are no shape of an array)"),
        ("'<f8'", "(" + "1, " * 40 + "3)", "(its 41 sizes are no shape of an array)"),
        ("'<f8'", "(4611686018427387904, 4)", "ends before its (4611686018427387904, 4) numbers do (it has "),
        ("'<V0'", "(3,)", "holds |V0; numbers are needed"),
        ("'<U6'", "(3,)", "ends before its (3,) numbers do (it has "),
        ("'<f9'", "(3,)", "(descr is not a valid dtype descriptor: '<f9')"),
        ("'<f8'", "(3,", "is not a whole .npy file ("),
        ("[('a', '|O')]", "(3,)", "holds Python objects, which are refused"),
    ],
)
def test_what_headers_may_not_say(kind, shape, says, tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(array_file(described(kind, shape), b"\x01\x00", 0, bytes(24)))
    got = outcome(read_npy, path)
    assert isinstance(got, str)
    assert says in got


def test_headers_of_python_2_are_read(tmp_path):
    """Without a warning, which would come before an answer."""
    path = tmp_path / "a.npy"
    path.write_bytes(array_file(described("'<f8'", "(3L,)"), b"\x01\x00", 0, np.arange(3.0).tobytes()))
    assert np.array_equal(outcome(read_npy, path), np.arange(3.0))


WORDS = st.sampled_from(["x", "y", "w", "split", "W", "b", "images", "", "é\n\x1b[31m", "a" * 3000, "..", "x.npy"])
MEMBERS = st.lists(st.tuples(WORDS, st.sampled_from([".npy", "", ".NPY", "/", "/.npy", ".png"])), max_size=4)
FIELDS = st.dictionaries(
    # Places in the list of members: what is needed to read it, flags, method, checksum, packed and real size, offset.
    st.sampled_from([(6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (42, 4)]),
    st.sampled_from([0, 1, 8, 9, 12, 14, 64, 99, 2048, 2**31, 2**32 - 1]),
    max_size=2,
)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@many(150)
@given(MEMBERS, FIELDS, st.booleans())
def test_odd_archives(tmp_path, members, fields, packed):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for word, end in members:
            name = "s/A/" * (end == ".png") + word + end
            archive.writestr(name or "?", saved({"x": SMALL})[50:])
        archive.writestr("y.npy" if ("y", ".npy") not in members else "z.npy", saved({"x": SMALL})[:-100])
    data = bytearray(file.getvalue())
    last = data.rindex(b"PK\x01\x02")
    for (place, size), value in fields.items():
        data[last + place : last + place + size] = (value % 256**size).to_bytes(size, "little")
    path = tmp_path / "a.npz"
    path.write_bytes(data)
    for read in (read_arrays, read_model, npz_names, lambda p: read_filters(p, "c4")):
        outcome(read, path)
    outcome(lambda: read_omniglot(path, cache=tmp_path / "cache"))


def test_whole_files_are_read(tmp_path, whole_images):
    """What the other tests compare with is not a refusal."""
    for name, arrays in (("t", TASKS), ("f", FILTERS), ("m", LAYER)):
        (tmp_path / f"{name}.npz").write_bytes(saved(arrays))
    assert same(outcome(read_arrays, tmp_path / "t.npz"), TASKS)
    assert np.array_equal(outcome(read_filters, tmp_path / "f.npz", "c4"), FILTERS["filters"])
    assert np.array_equal(outcome(read_model, tmp_path / "m.npz")[1].weight.detach(), LAYER["W"])
    assert whole_images[1].images.shape == (2, 2, 28, 28)


def packed_zeros(size):
    """A deflate stream of that many zeros: the same packed piece again and again, so that making it takes no time."""
    piece = 2**20
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(bytes(piece)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = first * (size // piece)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packed + packer.compress(bytes(size % piece)) + packer.flush()


def bomb(path, name, size, start=b""):
    """A zip with one member: ``start``, then zeros, ``size`` bytes in all; the checksum is not theirs."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = head + packed_zeros(size - len(start))
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.compress_type = zipfile.ZIP_STORED
        archive.writestr(entry, packed)
    data = bytearray(path.read_bytes())
    last = data.rindex(b"PK\x01\x02")
    data[8:10] = data[last + 10 : last + 12] = (8).to_bytes(2, "little")
    data[22:26] = data[last + 24 : last + 28] = size.to_bytes(4, "little")
    path.write_bytes(data)


def picture(width, height):
    """A PNG that says how large it is, and then ends."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\4IDAT"


CHILD = """
import json, resource, sys
from pathlib import Path
from msr.errors import MSRError
from msr.memory import _table
from msr.models.reading import read_model
from msr.tasks.files import read_arrays
from tasks.omniglot import read_omniglot
from tasks.rotation import read_filters

folder = Path(sys.argv[1])
doors = {
    "task": read_arrays,
    "model": read_model,
    "filters": lambda path: read_filters(path, "c4"),
    "images": lambda path: read_omniglot(path, cache=folder / "cache"),
}
import PIL.Image, pooch
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
most = _table(Path("/proc/self/status"))["VmSize:"] * 1024 + 2**30
resource.setrlimit(resource.RLIMIT_AS, (most, most))
said = []
for line in sys.stdin:
    door, name = line.split()
    try:
        doors[door](folder / name)
        said.append("read")
    except MSRError as error:
        said.append(str(error))
print(json.dumps({"said": said, "MB": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="limits of address space need Linux")
def test_bombs_take_no_memory(tmp_path):
    """Each would fill a gigabyte and more; they are read in a process that may have one."""
    n = 150_000_000
    header = array_file(
        f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({n // 100}, 100), }}", b"\x01\x00", 0, b""
    )
    for name in ("x", "W", "filters"):
        bomb(tmp_path / f"{name}.npz", f"{name}.npy", len(header) + 8 * n, header)
    bomb(tmp_path / "zeros.zip", "s/A/1/a.png", 1_200_000_000)
    with zipfile.ZipFile(tmp_path / "wide.zip", "w") as archive:
        archive.writestr("s/A/1/a.png", picture(12_000, 12_000))
    with zipfile.ZipFile(tmp_path / "vast.zip", "w") as archive:
        archive.writestr("s/A/1/a.png", picture(60_000, 60_000))
    with (tmp_path / "sparse.npy").open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 8 * n)
    (tmp_path / "header.npy").write_bytes(array_file("{", b"\x02\x00", 2**31, b""))
    with (tmp_path / "header.npy").open("r+b") as file:
        file.truncate(3 * 2**30)
    cases = [
        ("task", "x.npz", "array 'x' is 1.2 MB that stand for 1.2 GB"),
        ("model", "W.npz", "array 'W' is 1.2 MB that stand for 1.2 GB"),
        ("filters", "filters.npz", "array 'filters' is 1.2 MB that stand for 1.2 GB"),
        ("images", "zeros.zip", "entry 's/A/1/a.png' is 1.2 MB that stand for 1.2 GB"),
        ("images", "wide.zip", "entry 's/A/1/a.png' is an image of 12000 × 12000 pixels"),
        ("images", "vast.zip", "entry 's/A/1/a.png' is damaged or no image (Image size (3600000000 pixels) exceeds"),
        ("model", "sparse.npy", "sparse.npy would take about 1.2 GB of memory, and"),
        ("model", "header.npy", "header.npy is not a whole .npy file"),
    ]
    got = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        input="".join(f"{door} {name}\n" for door, name, _ in cases),
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (got.returncode, got.stderr) == (0, "")
    answer = json.loads(got.stdout)
    for said, (_, name, says) in zip(answer["said"], cases, strict=True):
        assert says in said, name
        assert "\n" not in said
    assert answer["MB"] < 60


def rewritten(whole, change):
    """A zip written again, each entry as ``change`` gives it: a dict of names and bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(file, "w") as new:
        for name, data in change({name: old.read(name) for name in old.namelist()}).items():
            new.writestr(name, data)
    return file.getvalue()


def test_images_from_a_mac_and_in_other_letters(whole_images, tmp_path):
    """Beside each file a Mac puts one of its own; cameras write .JPG; neither loses an image nor adds one."""
    path = tmp_path / "set.zip"

    def as_a_mac(entries):
        extra = {f"__MACOSX/{name.replace('/a.', '/._a.')}": b"\0\5\26\7" for name in entries}
        hidden = {name.replace("/a.", "/._a."): b"\0\5\26\7" for name in entries if "/a." in name}
        return {name.replace("b.png", "b.PNG"): data for name, data in entries.items()} | extra | hidden

    path.write_bytes(rewritten(whole_images[0].read_bytes(), as_a_mac))
    assert same_images(read_omniglot(path, cache=tmp_path), whole_images[1])
    for end in (".jpg", ".JPEG"):
        path.write_bytes(
            rewritten(image_zip(), lambda _, end=end: {f"s/A/1/{n}{end}": png(n, "JPEG") for n in range(3)})
        )
        got = read_omniglot(path, cache=tmp_path).images
        assert got.shape == (1, 3, 28, 28)
        assert int(got.max()) > 240
    path.write_bytes(rewritten(image_zip(), lambda entries: entries | {"s/A/2/b.png": png(1, "GIF")}))
    with pytest.raises(
        DataError, match=r"set\.zip: entry 's/A/2/b\.png' is damaged or no image \(its format is not PNG"
    ):
        read_omniglot(path, cache=tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a | {"images": a["images"][:, :1]},
        lambda a: a | {"images": a["images"].reshape(-1)},
        lambda a: a | {"images": a["images"].astype(float)},
        lambda a: a | {"images": 255 - a["images"]},
        lambda a: a | {"names": np.arange(2)},
        lambda a: a | {"names": a["names"][::-1]},
        lambda a: a | {"names": np.array("A/1")},
        lambda a: a | {"source": np.array("0" * 64)},
        lambda a: a | {"content": np.arange(3)},
        lambda a: {k: a[k] for k in ("images", "names")},
    ],
)
def test_a_cache_of_other_images_is_not_believed(whole_images, change, tmp_path):
    path, images, kept, name = whole_images
    with np.load(io.BytesIO(kept)) as arrays:
        (tmp_path / name).write_bytes(saved(change(dict(arrays))))
    assert same_images(read_omniglot(path, cache=tmp_path), images)


def test_a_whole_cache_of_another_zip_is_not_believed(whole_images, tmp_path):
    path, images, _, name = whole_images
    other = tmp_path / "other.zip"
    other.write_bytes(rewritten(path.read_bytes(), lambda entries: entries | {"s/A/2/b.png": png(5)}))
    assert not same_images(read_omniglot(other, cache=tmp_path / "cache"), images)
    (kept,) = (tmp_path / "cache").iterdir()
    kept.rename(tmp_path / "cache" / name)
    assert same_images(read_omniglot(path, cache=tmp_path / "cache"), images)


def zipped(members, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def one_array(array=SMALL):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def with_flag(data, place, value):
    last = data.rindex(b"PK\x01\x02")
    return data[: last + place] + bytes([value]) + data[last + place + 1 :]


REFUSALS = {
    "twice": (
        lambda: zipped([("x.npy", one_array())] * 2),
        "entry 'x.npy' is there twice, and it is not known which",
    ),
    "encrypted": (
        lambda: with_flag(zipped([("x.npy", one_array())]), 8, 1),
        "is encrypted; write the file again without",
    ),
    "method": (
        lambda: zipped([("x.npy", one_array())], zipfile.ZIP_LZMA),
        "is compressed by method 14, which is not read",
    ),
    "cut": (lambda: saved(TASKS)[:-60], "is not a whole .npz file (File is not a zip file)"),
    "more": (
        lambda: zipped([("x.npy", one_array() + b"1234")]),
        "goes on after its (6, 3, 5) numbers do (it has 852 bytes",
    ),
    "fewer": (lambda: zipped([("x.npy", one_array()[:-4])]), "ends before its (6, 3, 5) numbers do (it has 844 bytes"),
    "objects": (lambda: zipped([("x.npy", one_array(np.array([{}])))]), "array 'x' holds Python objects"),
    "nothing": (lambda: b"", "is not a whole .npz file (File is not a zip file); write it again with numpy.savez"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("fault", REFUSALS)
def test_refusals_name_file_member_and_remedy(fault, tmp_path):
    make, says = REFUSALS[fault]
    (tmp_path / "a.npz").write_bytes(make())
    got = outcome(lambda: read_npz(tmp_path / "a.npz", ["x", "split"]))
    assert isinstance(got, str)
    assert says in got
    assert got.startswith(str(tmp_path / "a.npz"))


def test_a_member_that_is_lost_from_the_list_is_missed(tmp_path):
    """Another name in the list, where the member's own is unchanged: ``split`` is not passed over in silence."""
    data = saved(TASKS)
    at = data.rindex(b"split.npy")
    (tmp_path / "a.npz").write_bytes(data[:at] + b"q" + data[at + 1 :])
    assert "entry 'qplit.npy' is damaged (File name in directory" in outcome(read_arrays, tmp_path / "a.npz")


def test_members_that_a_longer_comment_swallows_are_missed(tmp_path):
    """One bit in the length of a member's comment makes the two after it a part of that comment."""
    data = bytearray(saved(TASKS))
    at = data.rindex(b"y.npy") - 46
    data[at + 33] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    assert "(its list of 4 members holds 2); write it again" in outcome(read_arrays, tmp_path / "a.npz")


def test_archives_with_a_comment_or_a_beginning_are_read(tmp_path):
    whole = saved(TASKS)
    path = tmp_path / "a.npz"
    for comment in (b"a comment", bytes(300)):
        path.write_bytes(whole)
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = comment
        assert same(outcome(read_arrays, path), TASKS)
    path.write_bytes(b"#!/bin/sh\n" * 10 + whole)
    assert same(outcome(read_arrays, path), TASKS)


def test_files_that_cannot_be_read_are_not_called_damaged(tmp_path):
    """What a disk, a permission or a path refuses is told from a file that should be written again."""
    for path, says in (
        (tmp_path, "is a folder or a device; give a whole .npz file"),
        (Path("/dev/null"), "is a folder or a device"),
        (tmp_path / "no.npz", "no such file; give a whole .npz file"),
        (tmp_path / ("a" * 300), "cannot be read: File name too long"),
    ):
        got = outcome(lambda path=path: read_npz(path, ["x"]))
        assert says in got
        assert "again" not in got
    if Path("/proc/self/mem").exists():  # its first page is never there, so that reading fails as a bad disk does
        assert outcome(read_npy, Path("/proc/self/mem")) == "/proc/self/mem cannot be read: Input/output error"


@pytest.mark.parametrize(("scale", "array"), [(1e300, "x"), (1e100, "y")])
def test_a_task_beside_which_all_others_vanish_is_named(scale, array, tmp_path):
    arrays = {**TASKS, "y": TASKS["y"].astype(float), array: TASKS[array].astype(float)}
    arrays[array][4] *= scale
    (tmp_path / "t.npz").write_bytes(saved(arrays))
    got = outcome(read_arrays, tmp_path / "t.npz")
    assert f"array {array!r} has a number of size" in got
    assert "in task 4, where" in got
    for name in ("x", "y"):
        arrays[name] = 1e300 * TASKS[name].astype(float)  # all of them large: units, not a fault
    (tmp_path / "t.npz").write_bytes(saved(arrays))
    assert same(outcome(read_arrays, tmp_path / "t.npz"), arrays)
