"""Pretext tasks from data: their categories and tables, and what of them can be prompted."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msr.category.categories.constructors import discrete
from msr.category.pretexts.pretext import (
    hom_table,
    masked_completions,
    next_tokens,
    positive_pairs,
    rotation_prediction,
)
from msr.category.pretexts.pretext_tables import PretextTable
from msr.category.sets.presheaves import Presheaf
from msr.category.sets.representability import is_representable, universal_elements
from msr.category.sets.set_functors import representable
from msr.contexture import GroupContext, JointContext, KernelContext
from msr.errors import AxiomError, ConfigError, DataError, NonFiniteError, ShapeError
from msr.groups import cyclic
from msr.representations import regular
from tests.msr.contexture.cases import random_joint

TEXT = "the cat sat on the mat and the rat sat on the cat"


# Rotation prediction


def turning_set(sizes):
    """A presheaf on the aut model: for each image a C4-set that is one orbit of the given size, or empty."""
    maps = [[(x - g) % size for x in range(size)] if size else [] for size in sizes for g in range(4)]
    return Presheaf(rotation_prediction(len(sizes), "aut").category, sizes, maps)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_aut_is_one_group_for_each_image(count):
    found = rotation_prediction(count, "aut")
    assert found.category.hom_count.tolist() == (4 * np.eye(count, dtype=int)).tolist()
    assert torch.equal(found.table.values, 4 * torch.eye(count, dtype=torch.float64))
    assert found.names == tuple(f"image {i}" for i in range(count))
    # Representable exactly where one image has a torsor and the others nothing.
    for place in range(count):
        sizes = [4 if i == place else 0 for i in range(count)]
        assert universal_elements(turning_set(sizes)) == tuple((place, x) for x in range(4))
    assert not is_representable(turning_set([1] * count))  # classification, one label for each image
    if count > 1:
        assert not is_representable(turning_set([4] * count))  # segmentation with 4 masks
    assert is_representable(turning_set([4])) and not is_representable(turning_set([2]))  # noqa: PT018
    four = Presheaf(rotation_prediction(1, "aut").category, [4], [[0, 1, 2, 3]] * 4)
    assert not is_representable(four)  # the right size, and the wrong action


@pytest.mark.parametrize("count", [1, 2, 3])
def test_orbit_is_one_object_for_each_turned_image(count):
    found = rotation_prediction(count)
    C = found.category
    assert C.n_obj == 4 * count
    assert C.hom_count.tolist() == np.kron(np.eye(count, dtype=int), np.ones((4, 4), dtype=int)).tolist()
    h = representable(C, 0)
    assert h.sizes.tolist() == [1] * 4 + [0] * (4 * count - 4)
    labels = Presheaf(C, [1] * C.n_obj, [[0]] * C.n_mor)
    assert is_representable(labels) == (count == 1)
    masks = Presheaf(C, [2] * C.n_obj, [[0, 1]] * C.n_mor)
    assert not is_representable(masks)
    assert found.names[5 % C.n_obj] == ("image 1 at 90°" if count > 1 else "image 0 at 90°")


def picture(symmetric_by=None, seed=0):
    """A 6 × 6 image that looks the same after this many quarter turns, or only after all four."""
    x = np.random.default_rng(seed).integers(0, 100, (6, 6)).astype(float)
    if symmetric_by:
        x = sum(np.rot90(x, q) for q in range(0, 4, symmetric_by))
    return x


def test_images_are_turned_and_compared():
    images = np.stack([picture(), picture(2, 1), picture(1, 2)])
    found = rotation_prediction(images)
    C = found.category
    expected = np.zeros((7, 7), dtype=int)
    expected[:4, :4] = 1
    expected[4:6, 4:6] = 2
    expected[6, 6] = 4
    assert C.hom_count.tolist() == expected.tolist()
    assert found.image.tolist() == [0, 0, 0, 0, 1, 1, 2]
    assert found.quarters.tolist() == [0, 1, 2, 3, 0, 1, 0]
    assert representable(C, 4).sizes.tolist() == [0, 0, 0, 0, 2, 2, 0]  # the symmetric image
    # An image that is a turn of another one is the same orbit, and channels turn together.
    again = rotation_prediction(np.stack([images[0], np.rot90(images[0])]))
    assert again.category == rotation_prediction(1).category
    assert rotation_prediction(torch.from_numpy(images)[:, None].repeat(1, 3, 1, 1)).category == C
    assert rotation_prediction(images, "aut").category == rotation_prediction(3, "aut").category


def test_a_symmetric_image_can_be_segmented_by_prompting():
    """Never is for free orbits: with two masks, one of two classes of tasks on the half-turn image is promptable."""
    C = rotation_prediction(picture(2, 1)[None]).category
    assert C.hom_count.tolist() == [[2, 2], [2, 2]]
    promptable = 0
    for bits in np.ndindex(*[2] * C.n_mor):
        try:
            task = Presheaf(C, [2, 2], [[0, 1] if not b else [1, 0] for b in bits])
        except AxiomError:
            continue
        promptable += is_representable(task)
    assert promptable == 2  # of the 4 labelled ones
    assert not is_representable(Presheaf(C, [1, 1], [[0]] * C.n_mor))


# Masks


def test_masks_are_counted_against_a_plain_loop():
    words = ["aba", "abb", "bba", "aba"]
    found = masked_completions(words)
    table = found.table
    assert table.columns == ("aba", "abb", "bba")
    for visible, row in zip(table.rows, table.values.tolist(), strict=True):
        place = visible.index("_")
        for whole, count in zip(table.columns, row, strict=True):
            fits = all(v in ("_", w) for v, w in zip(visible, whole, strict=True))
            assert count == fits * words.count(whole), (visible, whole, place)
    assert float(table.values.sum()) == 3 * len(words)
    n = len(table.rows)
    C = found.category
    assert (C.hom_count[:n, n:] == (table.values.numpy() > 0)).all()
    assert C.hom_count.sum() == int((table.values > 0).sum()) + C.n_obj
    two = masked_completions(words, 2)
    assert set(two.table.rows) == {"__a", "__b", "a__", "b__", "_b_"}
    assert masked_completions([[1, 2], [1, 3]]).table.rows == ("_2", "_3", "1_")
    assert masked_completions(["_a", "ba"]).table.values.shape[0] == 3  # a symbol is not taken for the mask


# Next tokens


@pytest.mark.parametrize(("level", "order"), [("characters", 1), ("characters", 2), ("words", 1), ("words", 3)])
def test_next_tokens_are_counted_against_a_plain_loop(level, order):
    tokens = list(TEXT) if level == "characters" else TEXT.split()
    space = "" if level == "characters" else " "
    table = next_tokens(TEXT, level, order)
    assert table.kind == "counts"
    for i, before in enumerate(table.rows):
        for j, after in enumerate(table.columns):
            seen = sum(
                space.join(tokens[k : k + order]) == before and tokens[k + order] == after
                for k in range(len(tokens) - order)
            )
            assert float(table.values[i, j]) == seen
    assert float(table.values.sum()) == len(tokens) - order


def test_kinds_of_a_table_are_their_formulas():
    counts = next_tokens(TEXT, "words")
    joint = counts.values / counts.values.sum()
    px, py = joint.sum(1), joint.sum(0)
    torch.testing.assert_close(counts.to("joint").values, joint)
    torch.testing.assert_close(counts.to("density_ratio").values, joint / (px[:, None] * py))
    smooth = counts.values + 0.5
    log_prob = counts.to("log_prob", smoothing=0.5)
    torch.testing.assert_close(log_prob.values, (smooth / smooth.sum(1, keepdim=True)).log())
    pmi = counts.to("pmi", smoothing=0.5)
    expected = smooth * smooth.sum() / (smooth.sum(1, keepdim=True) * smooth.sum(0))
    torch.testing.assert_close(pmi.values, expected.log())
    assert log_prob.rows == counts.rows
    i, j = counts.rows.index("the"), counts.columns.index("cat")
    assert float(counts.to("log_prob", zeros="-inf").values[i, j]) == pytest.approx(math.log(2 / 4))
    assert counts.to("counts") is counts


@settings(max_examples=6)
@given(seed=st.integers(0, 500), kind=st.sampled_from(["joint", "density_ratio", "log_prob", "pmi"]))
def test_every_kind_knows_its_joint_probabilities(seed, kind):
    counts = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, (4, 5)) + np.eye(4, 5, dtype=int))
    if bool((counts.sum(0) == 0).any()):
        counts[0] += 1
    table = PretextTable.of_counts(counts)
    made = table.to(kind, zeros="-inf")
    torch.testing.assert_close(made.joint, table.joint)
    for other in ("joint", "density_ratio", "log_prob", "pmi"):
        torch.testing.assert_close(made.to(other, zeros="-inf").values, table.to(other, zeros="-inf").values)
    context = made.context()
    torch.testing.assert_close(context.weights, table.marginals[0])
    torch.testing.assert_close(torch.as_tensor(context.joint), table.joint)


def test_the_logarithm_of_zero_is_refused_or_said():
    table = next_tokens("aab", "characters")
    with pytest.raises(DataError, match=r"'a' and 'c' never occur together.*smooth the counts"):
        next_tokens("aabcab").to("pmi")
    found = next_tokens("aabcab").to("log_prob", zeros="-inf")
    assert found.values.isneginf().any()
    assert not found.values.isnan().any()
    assert table.to("log_prob").values.isfinite().all()


# Positive pairs


def test_positive_pairs_are_density_ratios():
    context = random_joint(0)
    table = positive_pairs(context)
    torch.testing.assert_close(table.joint, torch.from_numpy(context.joint)[:, context.marginal > 0])
    points = positive_pairs(context, "points")
    P = torch.from_numpy(context.joint)[:, context.marginal > 0]
    pairs = P @ (P / P.sum(0)).mT
    torch.testing.assert_close(points.values, pairs / (context.weights[:, None] * context.weights))
    group = GroupContext(regular(cyclic(4)))
    torch.testing.assert_close(positive_pairs(group, "points").values, torch.ones(4, 4, dtype=torch.float64))
    gap = JointContext([[0.5, 0, 0.1], [0.1, 0, 0.3]])
    assert positive_pairs(gap).columns == ("a0", "a2")
    known = KernelContext(torch.ones(3, 3))
    assert positive_pairs(known, "points").kind == "density_ratio"
    with pytest.raises(ConfigError, match="known by its kernel only"):
        positive_pairs(known)


# Bad input


def half(n):
    return torch.full((n,), 1 / n, dtype=torch.float64)


def test_what_does_not_serve_is_named():
    even = torch.full((2, 2), 0.25, dtype=torch.float64)
    names = ("a", "b")
    marginals = (half(2), half(2))
    for call, error, says in [
        (lambda: rotation_prediction(0), ShapeError, "at least one image"),
        (lambda: rotation_prediction(np.ones((2, 3, 4))), ShapeError, "square"),
        (lambda: rotation_prediction(np.full((1, 2, 2), np.nan)), NonFiniteError, "images"),
        (lambda: rotation_prediction(2, "both"), ConfigError, "'aut' or 'orbit'"),
        (lambda: rotation_prediction("text"), DataError, "images must be"),
        (lambda: hom_table(discrete(0)), ShapeError, "not empty"),
        (lambda: masked_completions([]), ShapeError, "one length"),
        (lambda: masked_completions(["ab", "a"]), ShapeError, r"lengths \[1, 2\]"),
        (lambda: masked_completions(["ab"], 3), ConfigError, "from 1 to 2"),
        (lambda: next_tokens(""), DataError, "at least 2 characters"),
        (lambda: next_tokens("word", "words"), DataError, "at least 2 words"),
        (lambda: next_tokens("ab", "bytes"), ConfigError, "level"),
        (lambda: next_tokens("ab", order=0), ConfigError, "order"),
        (lambda: next_tokens(3), DataError, "takes a text"),
        (lambda: positive_pairs(random_joint(0), "both"), ConfigError, "between"),
        (lambda: PretextTable.of_counts(torch.zeros(2, 2)), DataError, "row 0 never occurs"),
        (lambda: PretextTable.of_counts([[1, 0], [1, 0]]), DataError, "column 1 never occurs"),
        (lambda: PretextTable.of_counts([[1, -1], [1, 1]]), DataError, "not negative; row 0, column 1 holds -1"),
        (lambda: PretextTable.of_counts([[1.0, torch.nan]]), NonFiniteError, "row 0, column 1"),
        (lambda: PretextTable.of_counts(torch.ones(2, 2, dtype=torch.bool)), DataError, "real numbers"),
        (lambda: PretextTable.of_counts(torch.ones(0, 2)), ShapeError, "not empty"),
        (lambda: PretextTable.of_counts(torch.ones(2)), ShapeError, "must be a matrix"),
        (lambda: PretextTable(names, names, even, "share", marginals), ConfigError, "kind is one of"),
        (lambda: PretextTable(names, ("a",), even, "joint", marginals), ShapeError, "as many names"),
        (lambda: PretextTable(names, names, even, "joint", (half(3), half(2))), ShapeError, r"must be \(2,\)"),
        (lambda: PretextTable(names, names, 2 * even, "joint", marginals), DataError, "joint of 'a'"),
        (lambda: PretextTable(names, names, even, "log_prob", marginals), DataError, "log_prob of 'a'"),
        (lambda: PretextTable(names, names, even, "joint", (torch.tensor([1.0, 0.0]), half(2))), DataError, "at 1"),
        (lambda: PretextTable(names, names, even, "joint", (2 * half(2), half(2))), DataError, "sums to 2"),
        (lambda: PretextTable(names, names, even.log(), "joint", marginals), DataError, "not negative"),
        (lambda: next_tokens("abab").to("share"), ConfigError, "kind is one of"),
        (lambda: next_tokens("abab").to("pmi", smoothing=-1), ConfigError, "0 or more"),
        (lambda: next_tokens("abab").to("joint").to("pmi", smoothing=1), ConfigError, "holds no counts"),
        (lambda: next_tokens("abab").to("joint").to("counts"), ConfigError, "holds no counts"),
    ]:
        with pytest.raises(error, match=says):
            call()
