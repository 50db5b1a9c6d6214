"""Image episodes: the zip reader, the sampler, and the augmentation against slow twins."""

import http.server
import io
import logging.handlers
import math
import threading
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from msr.errors import ConfigError, DataError, ShapeError
from tasks import ImageTasks
from tasks.augmentation import augment, augmented, turn_and_flip
from tasks.images import ImageSet, digits
from tasks.mini_imagenet import read_mini_imagenet
from tasks.omniglot import download_omniglot, read_omniglot, read_one_shot_runs
from tests.support.cases import needs_data


def image_set(classes=7, images=6, group="A"):
    """Each image is one grey level, which names its class and number."""
    levels = torch.arange(classes * images, dtype=torch.uint8).reshape(classes, images, 1, 1)
    return ImageSet(levels.expand(-1, -1, 28, 28).contiguous(), tuple(f"{group}/c{i}" for i in range(classes)))


def png(value=0):
    file = io.BytesIO()
    picture = np.full((105, 105), 255, dtype=np.uint8)
    picture[40:60, 10 : 20 + value] = 0
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as file:
        for letter in ("Alpha/character01", "Alpha/character02", "Beta/character01"):
            for n in range(3):
                file.writestr(f"set/{letter}/000{n}.png", png(20 * n))
    return path


def test_zip_files_are_read_resized_and_cached_once(archive, tmp_path, monkeypatch):
    images = read_omniglot(archive, cache=tmp_path / "cache")
    assert images.images.shape == (3, 3, 28, 28)
    assert images.images.dtype == torch.uint8
    assert images.names == ("Alpha/character01", "Alpha/character02", "Beta/character01")
    assert images.groups == ("Alpha", "Beta")
    ink = images.images.float().mean((2, 3)) / 255
    want = torch.tensor([20 * (10 + 20 * n) / 105**2 for n in range(3)])
    torch.testing.assert_close(ink[0], want, atol=2e-3, rtol=0)  # strokes are bright, areas survive the resizing
    monkeypatch.setattr("tasks.omniglot._decode", lambda *args: pytest.fail("decoded again"))
    again = read_omniglot(archive, cache=tmp_path / "cache")
    assert torch.equal(again.images, images.images)
    assert again.names == images.names


def test_damaged_cache_is_made_again(archive, tmp_path):
    images = read_omniglot(archive, cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    assert torch.equal(read_omniglot(archive, cache=tmp_path / "cache").images, images.images)


def test_damaged_images_are_named(archive, tmp_path):
    whole = bytearray(archive.read_bytes())
    whole[150:170] = bytes(20)
    archive.write_bytes(whole)
    with pytest.raises(DataError, match=r"set\.zip: entry 'set/Alpha/character01/0000\.png' is damaged \(Bad CRC-32"):
        read_omniglot(archive, cache=tmp_path)


def test_real_omniglot_has_what_it_should(tmp_path):
    first = read_omniglot(needs_data("omniglot/images_background_small1.zip"), cache=tmp_path)
    second = read_omniglot(needs_data("omniglot/images_background_small2.zip"), cache=tmp_path)
    assert first.images.shape == (136, 20, 28, 28)
    assert first.groups == ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")
    held_out = second.without_groups_of(first)
    assert held_out.groups == ("Japanese_(katakana)", "Sanskrit", "Tagalog")
    assert len(held_out.names) == 106
    assert 0.02 < float(first.images.float().mean()) / 255 < 0.3  # thin bright strokes on black


@pytest.mark.parametrize("keep", [10, 500, -30])
def test_truncated_zips_are_named(archive, keep, tmp_path):
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"set\.zip is not a whole zip file of images"):
        read_omniglot(archive, cache=tmp_path)


def test_odd_zips_are_named(tmp_path):
    path = tmp_path / "odd.zip"
    with pytest.raises(DataError, match="no such file"):
        read_omniglot(path, cache=tmp_path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match="holds no alphabet/character"):
        read_omniglot(path, cache=tmp_path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("s/A/c1/0.png", png())
        file.writestr("s/A/c1/1.png", png())
        file.writestr("s/A/c2/0.png", png())
    with pytest.raises(DataError, match="class A/c2 has 1 images, others have 2"):
        read_omniglot(path, cache=tmp_path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("s/A/c1/0.png", png()[:50])
    with pytest.raises(DataError, match="damaged"):
        read_omniglot(path, cache=tmp_path)


def test_unwritable_cache_is_a_warning_not_an_error(archive, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="could not be kept"):
        assert len(read_omniglot(archive, cache=tmp_path / "file").names) == 3


def test_episodes_are_n_way_k_shot_and_support_and_query_share_no_image():
    family = ImageTasks(image_set(), image_set(group="B"), ways=4, shots=2, queries=3, query="none")
    e = family.episodes("train", torch.arange(30)).check()
    assert e.support_x.shape == (30, 8, 1, 28, 28)
    assert e.query_x.shape == (30, 12, 1, 28, 28)
    levels = [(255 * part[:, :, 0, 0, 0]).round().long() for part in (e.support_x, e.query_x)]
    seen = set()
    for support, query, sy, qy in zip(*levels, e.support_y, e.query_y, strict=True):
        assert len({*support.tolist(), *query.tolist()}) == 20  # every image once
        classes = {}
        for level, label in zip([*support.tolist(), *query.tolist()], [*sy.tolist(), *qy.tolist()], strict=True):
            assert classes.setdefault(label, level // 6) == level // 6  # a label is one class
        assert sorted(classes) == [0, 1, 2, 3]
        assert len(set(classes.values())) == 4
        seen |= set(classes.values())
    assert seen == set(range(7))


@pytest.mark.parametrize("how", ["crop", "square"])
def test_the_parts_that_are_asked_for_are_augmented(how):
    """And a part's images do not depend on how the other one is augmented."""
    cases = [{"query": "none"}, {"query": how}, {"query": "none", "support": how}, {"query": how, "support": how}]
    plain, query, support, both = (
        ImageTasks(*digits(), queries=4, **case).episodes("test", torch.arange(3)) for case in cases
    )
    assert torch.equal(plain.support_x, query.support_x)
    assert torch.equal(plain.query_x, support.query_x)
    assert torch.equal(query.query_x, both.query_x)
    assert torch.equal(support.support_x, both.support_x)
    assert not torch.allclose(plain.query_x, query.query_x)
    assert not torch.allclose(plain.support_x, support.support_x)
    for other in (query, support, both):
        assert torch.equal(plain.query_y, other.query_y)


def test_turns_and_flips_are_the_eight_of_a_square(gen):
    image = torch.rand(1, 2, 5, 5, generator=gen)
    corners = [(quarter / 4, mirror) for quarter in range(4) for mirror in (0.4, 0.6)]
    numbers = torch.tensor([[turn, mirror, *[0.0] * 5] for turn, mirror in corners])
    results = turn_and_flip(image.expand(8, -1, -1, -1), numbers)
    want = [torch.rot90(image[0], quarter, (-2, -1)) for quarter in range(4)]
    want = [part for turned in want for part in (turned.flip(-1), turned)]
    assert torch.equal(results, torch.stack(want))
    assert len({tuple(result.flatten().tolist()) for result in results}) == 8
    counts = torch.zeros(8)
    for result in turn_and_flip(image.expand(800, -1, -1, -1), torch.rand(800, 7, generator=gen)):
        counts[[torch.equal(result, one) for one in want].index(True)] += 1
    assert counts.min() > 60  # each of them one time in eight: 100, and a standard deviation of 9
    assert augmented(image, torch.zeros(1, 7), "none") is image
    with pytest.raises(ShapeError, match=r"\(1, 7\); got \(1, 2\)"):
        turn_and_flip(image, torch.zeros(1, 2))
    with pytest.raises(ShapeError, match="quarter turns need square images"):
        turn_and_flip(image[..., 1:], torch.zeros(1, 7))


def test_colours_keep_their_channels():
    images = torch.arange(3 * 4 * 3, dtype=torch.uint8).reshape(3, 4, 3, 1, 1).expand(-1, -1, -1, 6, 6)
    colours = ImageSet(images.contiguous(), ("a", "b", "c"))
    assert colours.image_shape == (3, 6, 6)
    e = ImageTasks(colours, colours, ways=2, queries=2, query="none").episodes("train", torch.arange(2))
    assert e.query_x.shape == (2, 4, 3, 6, 6)
    levels = (255 * e.query_x[..., 0, 0]).round()
    assert torch.equal(levels[..., 1] - levels[..., 0], torch.ones(2, 4))  # channels of one image stay together
    wider = colours.padded_to(9)
    assert wider.image_shape == (3, 9, 9)
    assert torch.equal(wider.images[..., 1:-2, 1:-2], images)
    assert int(wider.images.sum()) == int(images.sum())
    with pytest.raises(ConfigError, match=r"differ in shape: \(3, 6, 6\) and \(1, 28, 28\)"):
        ImageTasks(colours, image_set())


def test_image_tasks_are_functions_of_seed_split_and_index():
    family, other = (ImageTasks(*digits(), queries=2, seed=s) for s in (0, 1))
    alone, among = family.episodes("train", torch.tensor([4])), family.episodes("train", torch.tensor([9, 4]))
    for a, b in zip(alone, among.select(slice(1, 2)), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(alone.query_x, other.episodes("train", torch.tensor([4])).query_x)


# crop area, aspect ratio, crop position (2), flips (2), turn; 1 - 1e-7 stands for the open end at 1
PLAIN = [1 - 1e-7, 0.5, 0.5, 0.5, 0.0, 0.0, 0.5]


def test_augmentation_with_neutral_numbers_is_the_identity(gen):
    x = torch.rand(3, 1, 28, 28, generator=gen)
    torch.testing.assert_close(augment(x, torch.tensor([PLAIN] * 3)), x, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("place", "axis"), [(4, -1), (5, -2)])
def test_flips(place, axis, gen):
    x, numbers = torch.rand(2, 1, 28, 28, generator=gen), torch.tensor([PLAIN, PLAIN])
    numbers[1, place] = 0.9
    y = augment(x, numbers)
    torch.testing.assert_close(y[0], x[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(y[1], x[1].flip(axis), atol=1e-4, rtol=0)


def test_rotation_is_scipys():
    from scipy.ndimage import rotate

    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 28), torch.linspace(-1, 1, 28), indexing="ij")
    x = torch.exp(-((rows - 0.3) ** 2 + 2 * (columns + 0.2) ** 2) / 0.1)  # smooth, off centre
    numbers = torch.tensor([[*PLAIN[:6], 1 - 1e-7]])  # +30 degrees
    y = augment(x[None, None], numbers)[0, 0]
    for angle, near in ((30, True), (-30, False)):
        want = torch.from_numpy(rotate(x.numpy(), angle, reshape=False, order=1))
        assert (float((y - want).abs().max()) < 0.03) is near


def test_crops_have_the_published_range(gen):
    """From a picture of its own coordinates: the area seen is 0.8 to 1, the ratio at most 4/3, and it stays inside."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 28), torch.linspace(-1, 1, 28), indexing="ij")
    numbers = torch.rand(500, 7, generator=gen)
    numbers[:, 4:] = torch.tensor(PLAIN[4:])
    seen = []
    for picture in (rows, columns):
        y = augment(picture.expand(500, 1, 28, 28), numbers)[:, 0]
        low, high = y[:, 4, 4], y[:, 23, 23]  # away from the rim
        seen.append((high - low) / float(picture[23, 23] - picture[4, 4]))
    height, width = seen
    area = width * height
    assert 0.72 < float(area.min()) < 0.82  # a crop wider than the image is cut to it, so the area can fall below 0.8
    assert float(area.max()) <= 1 + 1e-4
    assert float(torch.maximum(width / height, height / width).max()) <= 4 / 3 + 1e-3


def test_augmentation_checks_its_numbers():
    with pytest.raises(ShapeError, match=r"\(2, 7\); got \(2, 6\)"):
        augment(torch.zeros(2, 1, 28, 28), torch.zeros(2, 6))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shots": 5}, "5 shots and 2 queries need 7 images a class, but the train classes have 6"),
        ({"ways": 8}, "8 ways need as many classes, but the train images have 7"),
        ({"shots": 0}, "shots must be at least 1; got 0"),
        ({"query": "turn"}, "query must be none or crop or square; got 'turn'"),
    ],
)
def test_impossible_episodes_are_refused(change, says):
    with pytest.raises(ConfigError, match=says):
        ImageTasks(image_set(), image_set(), **{"ways": 3, "shots": 1, "queries": 2, **change})


def test_overlapping_alphabets_are_dropped():
    both = ImageSet(torch.zeros(3, 2, 28, 28, dtype=torch.uint8), ("A/1", "B/1", "B/2"))
    assert both.without_groups_of(image_set(group="A")).names == ("B/1", "B/2")
    with pytest.raises(DataError, match="every group of the test images"):
        image_set().without_groups_of(image_set())


def test_groups_are_chosen_by_name():
    both = ImageSet(torch.zeros(3, 2, 28, 28, dtype=torch.uint8), ("A/1", "B/1", "B/2"))
    assert both.only_groups(["B"]).names == ("B/1", "B/2")
    with pytest.raises(DataError, match="no group C; there are A, B"):
        both.only_groups(["A", "C"])


def test_the_published_one_shot_runs():
    runs = read_one_shot_runs(needs_data("omniglot/all_runs.zip")).check()
    assert runs.support_x.shape == runs.query_x.shape == (20, 20, 1, 28, 28)
    assert torch.equal(runs.query_y.sort(dim=1).values, runs.support_y)  # every character once
    distance = torch.cdist(runs.query_x.flatten(2), runs.support_x.flatten(2))
    right = (distance.argmin(2) == runs.query_y).float().mean()
    assert 0.15 < right < 0.5  # nearest pixels; guessing has 0.05


def test_damaged_one_shot_runs_are_named(tmp_path):
    path = tmp_path / "runs.zip"
    whole = {"run01/training/class01.png": png(), "run01/test/item01.png": png(9)}
    for answers, says in [
        ("run01/test/item01.png\n", "two file names a line"),
        ("", "two file names a line"),
        (2 * "run01/test/item01.png run01/training/class01.png\n", "names a training image twice"),
        ("run01/test/item02.png run01/training/class01.png\n", "names run01/test/item02.png, which the file does not"),
    ]:
        with zipfile.ZipFile(path, "w") as file:
            for name, content in {**whole, "run01/class_labels.txt": answers}.items():
                file.writestr(name, content)
        with pytest.raises(DataError, match=says):
            read_one_shot_runs(path)
    with zipfile.ZipFile(path, "w") as file:  # of the whole folder, as some programs make it
        answer = "run01/test/item01.png run01/training/class01.png\n"
        for name, content in {**whole, "run01/class_labels.txt": answer}.items():
            file.writestr(f"all_runs/{name}", content)
    assert read_one_shot_runs(path).query_y.tolist() == [[0]]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("other.txt", "")
    with pytest.raises(DataError, match=r"holds no run01/class_labels\.txt"):
        read_one_shot_runs(path)


@pytest.fixture
def mini_imagenet(tmp_path):
    """A generated folder in MiniImagenet's layout: two classes, red and blue, of three and two images."""
    (tmp_path / "images").mkdir()
    lines = ["filename,label"]
    for label, colour, count in [("red", (200, 0, 0), 3), ("blue", (0, 0, 200), 2)]:
        for n in range(count):
            Image.new("RGB", (100 + n, 90), colour).save(tmp_path / "images" / f"{label}{n}.jpg")
            lines.append(f"{label}{n}.jpg,{label}")
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_mini_imagenet_is_read_in_colour(mini_imagenet):
    with pytest.warns(UserWarning, match="class blue has 2 images and others up to 3; 2 of each are taken"):
        images = read_mini_imagenet(mini_imagenet, "train")
    assert images.names == ("red", "blue")
    assert images.images.shape == (2, 2, 3, 84, 84)
    means = images.images.float().mean((1, 3, 4))
    torch.testing.assert_close(means, torch.tensor([[200.0, 0, 0], [0, 0, 200.0]]), atol=3, rtol=0)
    e = ImageTasks(images, images, ways=2, queries=1).episodes("train", torch.arange(2)).check()
    assert e.query_x.shape == (2, 2, 3, 84, 84)


def test_a_folder_that_is_no_mini_imagenet_says_what_is_wrong(mini_imagenet):
    with pytest.raises(DataError, match=r"val\.csv cannot be read \(FileNotFoundError\); the folder must hold images/"):
        read_mini_imagenet(mini_imagenet, "val")
    for table, says in [
        ("name,label\na.jpg,x\n", "line 2: the columns filename and label must both be filled"),
        ("filename,label\n../a.jpg,x\n", r"line 2: \.\./a\.jpg must be the name of a file in images/"),
        ("filename,label\n", "lists no image"),
        ("filename,label\na.jpg,x\na.jpg,y\n", r"line 3: a\.jpg is listed before"),
        ("\ufefffilename,label\na\0.jpg,x\n", "cannot be read"),
        ("filename,label\na.jpg,x\n", r"a\.jpg cannot be read \(No such file"),
    ]:
        (mini_imagenet / "val.csv").write_text(table)
        with pytest.raises(DataError, match=says):
            read_mini_imagenet(mini_imagenet, "val")
    lines = (mini_imagenet / "train.csv").read_text().splitlines()
    (mini_imagenet / "train.csv").write_text("\n".join(lines[:3]))
    Image.fromarray(np.full((90, 90), 40000, np.uint16)).save(mini_imagenet / "images" / "red0.jpg", "PNG")
    with pytest.raises(DataError, match=r"red0\.jpg has more than 8 bits a pixel"):
        read_mini_imagenet(mini_imagenet, "train")
    (mini_imagenet / "images" / "red0.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"red0\.jpg is damaged or no image"):
        read_mini_imagenet(mini_imagenet, "train")


def test_images_are_whole_numbers():
    with pytest.raises(DataError, match=r"must be uint8, from 0 to 255; got torch\.float32"):
        ImageSet(torch.zeros(1, 1, 4, 4), ("a",))


def test_download_checks_what_it_gets(tmp_path, monkeypatch):
    """Against a server on this machine: the right bytes are kept, wrong ones refused, absent ones explained.

    Pooch's own log of it does not come before that line.
    """
    import hashlib

    import pooch

    logged, log = logging.handlers.BufferingHandler(10**6), pooch.get_logger()
    level = log.level
    for name in ("images_background.zip", "images_evaluation.zip"):
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.setattr("time.sleep", lambda _: None)  # pooch waits before it asks again
    sums = {n: hashlib.sha256(n.encode()).hexdigest() for n in ("images_background.zip", "images_evaluation.zip")}

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        log.addHandler(logged)
        try:
            with pytest.raises(DataError, match=r"could not be fetched.*hash"):
                download_omniglot(tmp_path / "a", url=url)
            monkeypatch.setattr("tasks.omniglot.OMNIGLOT_SHA256", sums)
            first, second = download_omniglot(tmp_path / "b", url=url)
            assert (first.read_bytes(), second.name) == (b"images_background.zip", "images_evaluation.zip")
            with pytest.raises(DataError, match="could not be fetched"):
                download_omniglot(tmp_path / "c", url=url + "nowhere/")
            assert logged.buffer == []
            assert log.level == level
        finally:
            log.removeHandler(logged)
            server.shutdown()
            thread.join()


def test_digits_are_ten_classes_in_two_halves():
    train, test = digits()
    assert (train.names[0], test.names[-1]) == ("digit 0", "digit 9")
    assert train.images.shape == test.images.shape == (5, 174, 28, 28)
    assert int(train.images.max()) == 255
    assert math.isclose(float(train.images.float().mean()) / 255, 0.31, abs_tol=0.03)
