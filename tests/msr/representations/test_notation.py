"""Groups and representations as people write them."""

import sys
import tracemalloc
from unicodedata import category

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from msr.errors import ConfigError, MSRError, ShapeError
from msr.groups import FiniteGroup, alternating, cyclic, dihedral, direct_product, quaternion, symmetric, wreath_product
from msr.representations import grid_rotations, grid_shifts
from msr.representations.notation import GROUPS, REPRESENTATIONS, parse_group, parse_representation

GROUP_TEXTS = {
    "c1": lambda: cyclic(1),
    "c12": lambda: cyclic(12),
    "d4": lambda: dihedral(4),
    "s4": lambda: symmetric(4),
    "a5": lambda: alternating(5),
    "q8": lambda: quaternion(8),
    " D4 ": lambda: dihedral(4),
    "c2xc2": lambda: direct_product(cyclic(2), cyclic(2)),
    "C4 x C4": lambda: direct_product(cyclic(4), cyclic(4)),
    "c2xc3xs3": lambda: direct_product(cyclic(2), cyclic(3), symmetric(3)),
    "s3wrc2": lambda: wreath_product(symmetric(3), cyclic(2)),
    "s3wrc2xc5": lambda: direct_product(wreath_product(symmetric(3), cyclic(2)), cyclic(5)),
    "c2wrc2wrc2": lambda: wreath_product(cyclic(2), wreath_product(cyclic(2), cyclic(2))),
}


@pytest.mark.parametrize(("text", "make"), GROUP_TEXTS.items(), ids=GROUP_TEXTS)
def test_groups(text, make):
    assert parse_group(text) == make()


@pytest.mark.parametrize(("p", "q"), [(3, 2), (5, 2), (5, 4), (7, 2), (7, 3), (7, 6), (13, 4), (31, 5), (89, 8)])
def test_frobenius_groups(p, q):
    """A point is fixed by q elements, two points by the identity alone."""
    group = parse_group(f"f{p}:{q}")
    assert group.order == p * q
    assert group.points.shape == (p * q, p)
    still = (group.points == np.arange(p)).sum(1)
    assert sorted(still.tolist()) == [0] * (p - 1) + [1] * (p * (q - 1)) + [p]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no group is written ''; the notation is cN, dN"),
        ("z4", "no group is written 'z4'; the notation"),
        ("c4x", r"no group is written 'c4x' \(at ''\); the notation"),
        ("c4xb2", r"no group is written 'c4xb2' \(at 'b2'\)"),
        ("s3wr", r"'s3wr' \(at ''\)"),
        ("c-4", "no group is written 'c-4'"),
        ("c", "no group is written 'c'"),
        ("c" + "9" * 5000, "no group is written"),
        ("c٣", "no group is written"),
        ("c0", "at least 1; got 0"),
        ("c999999999", "999999999 points are more than 1000000"),
        ("s999999999", "999999999 points are more than 1000000"),
        ("q6", "multiple of 4, from 8 on; got 6"),
        ("s3wrq8", "has no points that tell its elements apart"),
        ("f9:2", "needs a prime p above 2 .* got 9 and 2"),
        ("f7:4", "a q above 1 that divides p - 1, such as 7 and 3; got 7 and 4"),
        ("f7:1", "got 7 and 1"),
        ("f7:0", "got 7 and 0"),
        ("f0:2", "got 0 and 2"),
        ("f999999937:2", "p is at most 1000000"),
        ("c2xf8:7", "'c2xf8:7': frobenius: needs a prime"),
    ],
)
def test_a_text_that_names_no_group_is_told_what_does(text, says):
    with pytest.raises(ConfigError, match=says):
        parse_group(text)


@pytest.mark.parametrize(
    ("text", "group", "shape"),
    [
        ("regular", "d4", (8,)),
        ("natural", "d4", (4,)),
        ("trivial", "d4", (1,)),
        ("trivial:3", "d4", (3,)),
        ("grid:5", "c4", (5, 5)),
        ("grid:4", "d4", (4, 4)),
        ("grid:8", "c2", (8, 8)),
        ("grid:3x5", "c2", (3, 5)),
        ("grid:3x5", "d2", (3, 5)),
        ("grid:3x5", "d1", (3, 5)),
        ("grid:3x5", "c1", (3, 5)),
        ("mirror:3x5", "c2", (3, 5)),
        ("2*flipud:3", "c2", (2, 3, 3)),
        ("reverse:7", "s2", (7,)),
        ("shifts:6", "c6", (6,)),
        ("shifts:2x2x2", "c2xc2xc2", (2, 2, 2)),
        ("shifts:2x3", "c2xc3", (2, 3)),
        ("3*regular", "q8", (24,)),
        ("03*regular", "q8", (24,)),
        ("2*grid:4", "d4", (2, 4, 4)),
        ("regular+trivial:2", "c5", (7,)),
        (" 2*Natural + regular\t+ trivial ", "s3", (13,)),
        ("grid:3+trivial:2", "d4", (11,)),
    ],
)
def test_representations(text, group, shape):
    rep = parse_representation(text, parse_group(group))
    assert rep.shape == shape
    assert rep.group == parse_group(group)
    assert rep.dim == np.prod(shape)


def test_copies_and_sums_act_on_each_part():
    D4 = dihedral(4)
    n = 16
    single = grid_rotations(4, flips=True).permutations
    double = parse_representation("2*grid:4", D4).permutations
    assert np.array_equal(double, np.concatenate([single, single + n], 1))
    beside = parse_representation("natural+trivial:2", D4).permutations
    assert np.array_equal(beside[:, :4], D4.points)
    assert np.array_equal(beside[:, 4:], np.tile([4, 5], (8, 1)))
    torus = parse_representation("shifts:2x3", parse_group("c2xc3")).permutations
    assert np.array_equal(torus, grid_shifts((2, 3)).permutations)


@pytest.mark.parametrize(
    ("text", "group", "move"),
    [
        ("grid:3x5", "c2", lambda x: torch.rot90(x, 2, (-2, -1))),
        ("halfturn:3x5", "c2", lambda x: torch.rot90(x, 2, (-2, -1))),
        ("grid:3x5", "d1", lambda x: x.flip(-1)),
        ("mirror:3x5", "c2", lambda x: x.flip(-1)),
        ("fliplr:3x5", "c2", lambda x: x.flip(-1)),
        ("flipud:3x5", "c2", lambda x: x.flip(-2)),
        ("reverse:5", "c2", lambda x: x.flip(-1)),
        ("grid:3x5", "d2", lambda x: x.flip(-2)),
    ],
)
def test_the_last_element_moves_an_image_as_its_name_says(text, group, move):
    """C2 and D1 are one abstract group: the same word must not turn where a mirror was asked for."""
    rep = parse_representation(text, parse_group(group))
    x = torch.arange(2.0 * rep.dim).reshape(2, *rep.shape)
    assert torch.equal(rep.act(rep.group.order - 1, x), move(x))


@pytest.mark.parametrize(
    ("text", "group", "says"),
    [
        ("", "c4", "no representation is written ''; the notation is: regular; natural"),
        ("regula", "c4", "no representation is written 'regula'"),
        ("regular:3", "c4", "no representation"),
        ("natural:3", "c4", "no representation"),
        ("trivial:2x3", "c4", "no representation"),
        ("grid:8x8x8", "c4", "no representation"),
        ("grid", "c4", "no representation"),
        ("mirror", "c2", "no representation"),
        ("reverse:2x3", "c2", "no representation"),
        ("grid:6x8", "c4", r"quarter turns need a square image; got 6x8, which half turns \(c2\) .* keep"),
        ("grid:6x8", "d4", "quarter turns need a square image; got 6x8"),
        ("mirror:6x8", "c4", "'mirror:6x8' is for c2, whose one move it is, not for C4; d2 and d4 mirror a grid"),
        ("reverse:8", "d2", "'reverse:8' is for c2"),
        ("grid:4", "c2xc2", "is a representation of C4, not of C2xC2"),
        ("shifts", "c4", "no representation"),
        ("shifts:2x2x2", "c4", "is a representation of C2xC2xC2, not of C4"),
        ("regular+", "c4", r"no representation is written 'regular\+'"),
        ("2*3*regular", "c4", "no representation"),
        ("x*regular", "c4", "before a .* stands a number of copies, from 1 to 999999; got 'x'"),
        ("0*regular", "c4", "got '0'"),
        ("*regular", "c4", "got ''"),
        ("²*regular", "c4", "got '²'"),
        ("9999999*regular", "c4", "got '9999999'"),
        ("trivial:-1", "c4", "'-1' is no size; write a number, or NxM for images"),
        ("trivial:9999999", "c4", "is no size"),
        ("trivial:0", "c4", "at least one number; got 0"),
        ("grid:0", "c4", "positive sizes"),
        ("natural", "q8", "Q8 comes with no points; use regular"),
        (
            "grid:4",
            "c8",
            "'grid:4' is a representation of D4, not of C8: grid is for c1, c2, c4, d1, d2 and d4, sh",
        ),
        ("grid:4", "c3", "is a representation of C4, not of C3"),
        ("shifts:5", "c6", "is a representation of C5, not of C6"),
        ("shifts:3x2", "c2xc3", "is a representation of C3xC2, not of C2xC3"),
    ],
)
def test_a_text_that_names_no_representation_is_told_what_does(text, group, says):
    with pytest.raises(MSRError, match=says):
        parse_representation(text, parse_group(group))


def test_the_help_texts_are_true():
    """Every form that they list parses, with numbers in the place of letters."""
    for text in ("c4", "d4", "s4", "a4", "q8", "f7:3", "c4xc4", "s3wrc2"):
        head = text[0]
        assert text in GROUPS or f"{head}N" in GROUPS or (head == "f" and "fP:Q" in GROUPS)
        parse_group(text)
    for text in ("regular", "natural", "trivial or trivial:K", "grid:N or grid:NxM", "K*X", "X+Y"):
        assert text in REPRESENTATIONS
    for text in ("mirror:N or mirror:NxM", "flipud:N or flipud:NxM", "reverse:N", "shifts:N or shifts:NxM"):
        assert text in REPRESENTATIONS
        for form in text.replace("N", "2").replace("M", "2").split(" or "):
            parse_representation(form, parse_group("c2xc2" if form == "shifts:2x2" else "c2"))


# --------------------------------------------------------------------------------------- sizes before anything is made

REFUSED_CALLS, REFUSED_BYTES = 20_000, 2**20
"""What a text that is refused for its size may cost: function calls, and bytes held at once."""


def cost(function):
    """What a function gives or raises, the functions that were called for it, and the most bytes that were held."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    tracemalloc.start()
    sys.setprofile(count)
    try:
        result = function()
    except MSRError as error:
        result = error
    finally:
        sys.setprofile(None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return result, calls, peak


def assert_refused_at_once(function, says):
    error, calls, peak = cost(function)
    assert isinstance(error, MSRError)
    assert says in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 700
    assert calls < REFUSED_CALLS
    assert peak < REFUSED_BYTES


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("c1wrc8192", "takes about 268,468,227 numbers to make, and 16,777,216 is the most"),
        ("c8192wrc8192", "is the most"),
        ("q8192wrc1", "is the most"),
        ("c2wrs1000000", "is the most"),
        ("c1wrs1000000", "is the most"),
        ("f4093:2", "takes about 33,505,298 numbers"),
        ("x".join(["s1000000"] * 20), "is the most"),
        ("wr".join(["c1"] * 2000), "7,998 letters; the most is 4,096"),
        ("wr".join(["c1"] * 1000), "has 1000 factors; the most is 64"),
        ("x".join(["c1"] * 1000), "has 1000 factors; the most is 64"),
        ("wr".join(["s3"] * 64), "is the most"),
        ("c" + "9" * 10**6, "letters; the most is 4,096"),
    ],
)
def test_a_group_too_large_to_make_is_refused_before_it_is_made(text, says):
    assert_refused_at_once(lambda: parse_group(text), says)


@pytest.mark.parametrize(
    ("text", "group", "size", "says"),
    [
        ("regular", "x".join(["c2"] * 13), 8, "acts on 8,192 numbers, and there are 8 to"),
        ("natural", "c8192", 8, "acts on 8,192 numbers, and there are 8 to"),
        ("natural", "d4096", 8, "acts on 4,096 numbers, and there are 8"),
        ("natural", "f89:88", 8, "acts on 89 numbers, and there are 8"),
        ("natural", "s3wrc2", 8, "acts on 6 numbers, and there are 8"),
        ("natural", "c3xs3", 8, "acts on 6 numbers, and there are 8"),
        ("regular", "c8192", None, "lists 67,108,864 numbers"),
        ("999999*trivial:999999", "c4", None, "acts on 999,998,000,001 numbers, and 1,000,000 is the most"),
        ("+".join(["trivial:999999"] * 50), "c4", None, "acts on 49,999,950 numbers"),
        ("shifts:" + "x".join(["999999"] * 9), "c4", None, "acts on 10^12 or more numbers"),
        ("shifts:" + "x".join(["1"] * 99), "c4", None, "99 axes; the most is 16"),
        ("shifts:4096", "c4", None, "is a representation of C4096, not of C4"),
        ("grid:999999", "c4", None, "acts on 999,998,000,001 numbers"),
        ("0" * 10_000 + "1*regular", "c4", None, "10,009 letters; the most is 4,096"),
        ("trivial:" + "0" * 10_000 + "1", "c4", None, "10,009 letters"),
        ("grid:3", "c4", 8, "acts on 9 numbers, and there are 8"),
    ],
)
def test_a_representation_of_another_size_is_refused_before_it_is_made(text, group, size, says):
    made = parse_group(group)
    assert_refused_at_once(lambda: parse_representation(text, made, size=size), says)


def test_zeros_before_a_number_say_nothing():
    """Python itself reads no number of more than 4,300 digits."""
    assert parse_representation("0" * 4000 + "2*regular", cyclic(4)).shape == (8,)


def test_the_largest_size_can_be_given():
    assert parse_representation("regular", cyclic(4), most=4).dim == 4
    with pytest.raises(ConfigError, match="acts on 4 numbers, and 3 is the most"):
        parse_representation("regular", cyclic(4), most=3)
    with pytest.raises(ShapeError, match="acts on 4 numbers, and there are 3"):
        parse_representation("regular", cyclic(4), size=3)
    assert parse_representation("regular", cyclic(4), size=4).dim == 4


SIZES = st.one_of(
    st.integers(0, 12),
    st.sampled_from([1, 2, 3, 4, 2, 4, 64, 89, 4096, 8191, 8192, 8193, 10**6, 999999, 10**6 + 1, 10**9]),
).map(str)
FACTORS = st.one_of(
    st.builds(str.__add__, st.sampled_from("cdsaq"), SIZES),
    st.builds("f{}:{}".format, SIZES, SIZES),
    st.sampled_from(["c4", "d4", "s3", "c2", "f7:3", "q8"]),
)


def joined(parts, by, most):
    return st.lists(parts, min_size=1, max_size=most).map(by.join)


GROUP_NAMES = st.one_of(
    FACTORS,
    joined(st.one_of(joined(FACTORS, "wr", 3), FACTORS), "x", 4),
    st.builds(lambda one, by, n: by.join([one] * n), FACTORS, st.sampled_from(["x", "wr"]), st.integers(2, 3000)),
)
SHAPES = joined(SIZES, "x", 3)
SINGLES = st.one_of(
    st.sampled_from(["regular", "natural", "trivial", "grid:4", "shifts:4", "mirror:2x3"]),
    st.builds(
        "{}:{}".format,
        st.sampled_from(["trivial", "grid", "halfturn", "mirror", "fliplr", "flipud", "reverse", "shifts", "regular"]),
        SHAPES,
    ),
)
TERMS = st.one_of(SINGLES, st.builds("{}*{}".format, SIZES, SINGLES))
REPRESENTATION_NAMES = st.one_of(
    joined(TERMS, "+", 4), st.builds(lambda one, n: "+".join([one] * n), TERMS, st.integers(2, 500))
)


@st.composite
def mutated(draw, texts):
    """A text with some of its letters left out, doubled, repeated or replaced, by any other letter as well."""
    text = draw(texts)
    for _ in range(draw(st.integers(1, 3))):
        i, j = sorted(draw(st.integers(0, len(text))) for _ in range(2))
        middle = draw(
            st.one_of(st.just(""), st.just(2 * text[i:j]), st.text(max_size=4), st.sampled_from(list("x:*+w0")))
        )
        text = text[:i] + middle + text[j:]
    return text


def assert_bounded(function):
    """A value or one line, for a bounded number of calls and of bytes, whatever the text."""
    result, calls, peak = cost(function)
    if isinstance(result, MSRError):
        assert len(str(result)) < 1000
        # A control character is quoted by its number, so that a message is one line.
        assert not [letter for letter in str(result) if category(letter) == "Cc"]
    assert calls < 400_000
    assert peak < 500 * 2**20
    return result


@settings(max_examples=600)
@given(st.one_of(GROUP_NAMES, mutated(GROUP_NAMES)), st.one_of(REPRESENTATION_NAMES, mutated(REPRESENTATION_NAMES)))
@example("c4", "a\nb*regular")
@example("s7wrc1", "natural")
@example("x".join(["c2"] * 12), "regular")
def test_any_text_gives_a_value_or_one_line(group, representation):
    made = assert_bounded(lambda: parse_group(group))
    acted_on = cyclic(4) if isinstance(made, MSRError) else made
    rep = assert_bounded(lambda: parse_representation(representation, acted_on, most=4096))
    if not isinstance(rep, MSRError):
        assert rep.group == acted_on
        assert 1 <= rep.dim <= 4096
        other = assert_bounded(lambda: parse_representation(representation, acted_on, size=rep.dim + 1))
        assert isinstance(other, ShapeError)


@settings(max_examples=100)
@given(
    joined(
        st.one_of(joined(st.sampled_from(["c1", "c2", "c3", "d2", "d3", "s3", "q8", "a4", "f5:2", "d1"]), "wr", 2)),
        "x",
        2,
    )
)
def test_a_group_knows_how_many_points_it_comes_with(text):
    """Without making them: what is counted from the text is what is made."""
    try:
        group = parse_group(text)
    except ConfigError as error:
        assert "no points that tell its elements apart" in str(error)  # noqa: PT017 - the others are made
        return
    if isinstance(group, FiniteGroup):
        assert group.degree == (None if group.points is None else group.points.shape[1])
