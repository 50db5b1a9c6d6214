"""Values of a discovery print in a few lines, whatever they hold."""

from dataclasses import MISSING, dataclass, fields

import numpy as np
import pytest
import torch

from msr.brief import Brief
from msr.discovery.answer.candidate import Candidate
from msr.discovery.answer.certificate import GroupCertificate
from msr.discovery.answer.result import Discovery, PartialSymmetry
from msr.discovery.data.tasks import prepare
from msr.groups.naming.group_name import Action, GroupName
from msr.groups.naming.name import name_group
from msr.representations.commutant.isotypic import commutant
from msr.representations.commutant.lie_algebra import continuous
from msr.representations.commutant.values import Commutant, Continuous

LONG = "a sentence that goes on " * 40


def stuffed(kind):
    """A value with large things in all of its fields."""
    big = np.arange(40_000).reshape(200, 200)
    values = {}
    for i, one in enumerate(fields(kind)):
        text = str(one.type)
        if one.default is not MISSING:
            continue
        if "Indices" in text or "Tensor" in text or "NDArray" in text:
            values[one.name] = torch.from_numpy(big) if i % 2 else big
        elif text.startswith("tuple") or "tuple" in text:
            values[one.name] = tuple(range(3)) if i % 2 else (LONG,) * 500
        elif "str" in text or "Literal" in text or "Verdict" in text:
            values[one.name] = LONG
        elif "dict" in text:
            values[one.name] = {str(j): big for j in range(99)}
        elif "int" in text:
            values[one.name] = 10**99
        elif "bool" in text:
            values[one.name] = True
        else:
            values[one.name] = 1 / 3
    return kind(**values)


@pytest.mark.parametrize(
    "kind", [Action, Candidate, Commutant, Continuous, Discovery, GroupCertificate, GroupName, PartialSymmetry]
)
def test_every_value_of_a_result_prints_in_twenty_lines(kind):
    text = repr(stuffed(kind))
    lines = text.split("\n")
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 100
    assert text.startswith(f"{kind.__name__}(")
    assert text.endswith(")")
    assert "array" not in text
    assert "tensor" not in text


def test_real_ones_say_what_matters(gen):
    shift = np.roll(np.arange(6), -1)[None]
    name = name_group(shift, shift)
    assert "name='C6', order=6, certain=True" in repr(name)
    cyclic = torch.stack([torch.eye(6).roll(i, 0) for i in range(6)])
    assert "name='abelian, dimension 2'" in repr(continuous(cyclic))
    assert repr(commutant(cyclic)).startswith("Commutant(dimension=6, parts=<4>, skew_dimension=2)")
    x = torch.randn(90, 20, 6, generator=gen)
    prepared = repr(prepare(x, x))
    assert prepared.startswith("Prepared(x=<90×20×6>, y=<90×20×6>, counts=<90>")
    assert "positions=<90×20>,\n    layer='linear', shape_in=(6,)" in prepared
    assert "too_few" not in prepared


def test_fields_by_kind():
    @dataclass(frozen=True, repr=False)
    class Mixed(Brief):
        whole: int
        huge: int
        number: float
        said: str
        flag: bool
        none: None
        numbers: tuple
        many: tuple
        named: object
        other: object

    value = Mixed(12, 1234 * 10**20, 0.123456, "x" * 200, True, None, (1, 2.5), tuple(range(9)), Named(), object())
    assert repr(value).split("\n") == [
        "Mixed(whole=12, huge=1.2e23, number=0.123,",
        "    said='" + "x" * 69 + "…', flag=True,",
        "    numbers=(1, 2.5), many=<9>, named=Named('me'), other=<object>)",
    ]


class Named:
    name = "me"


def test_what_would_take_more_lines_is_cut():
    names = [f"field_{i}" for i in range(200)]
    wide = dataclass(frozen=True, repr=False)(
        type("Wide", (Brief,), {"__annotations__": dict.fromkeys(names, str), **dict.fromkeys(names, LONG)})
    )
    lines = repr(wide()).split("\n")
    assert len(lines) == 20
    assert lines[-1] == "    …)"
