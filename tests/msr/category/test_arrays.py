"""Every public function of categories takes arrays for tensors, and gives the same."""

import pytest
import torch

from msr.category import (
    PartialMap,
    PretextTable,
    ideality_score,
    index_column_features,
    index_column_product,
    row_column_features,
    structure_transfer,
    surrogate,
)


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


SHIFT = PartialMap([1, 2, 3, -1], [1, 2, -1])
FEATURES = draw(5, 5)
TABLE = FEATURES @ FEATURES.mT

WALK = {
    "ideality_score": (lambda t, f, g: torch.tensor(ideality_score(t, f, g).score), [TABLE, FEATURES, draw(5, 5)]),
    "index_column_features": (index_column_features, [TABLE]),
    "row_column_features": (row_column_features, [TABLE]),
    "index_column_product": (index_column_product, [index_column_features(TABLE)] * 2),
    "surrogate": (lambda t: surrogate(t, 2).values, [TABLE]),
    "components": (lambda w: list(SHIFT.components(w)), [draw(3, 4)]),
    "signal_error": (lambda w: SHIFT.signal_error(w).values, [draw(3, 4)]),
    "pair_error": (lambda w: SHIFT.pair_error(w).values, [draw(3, 4)]),
    "of_counts": (lambda c: PretextTable.of_counts(c).values, [draw(3, 4).abs()]),
    "structure_transfer": (lambda a, b, p: transferred(a, b, p), [TABLE, TABLE, torch.arange(5)[:, None].repeat(1, 2)]),
}


def transferred(source, target, pairs):
    found = structure_transfer(source, target, pairs, 3, 2, generator=torch.Generator().manual_seed(0))
    return torch.tensor([found.across, found.within], dtype=torch.float64)


@pytest.mark.parametrize("kind", ["array", "list"])
@pytest.mark.parametrize("name", WALK)
def test_arrays_and_lists_give_the_answer_of_tensors(name, kind):
    call, tensors = WALK[name]
    torch.set_default_dtype(torch.float64)  # in which lists of numbers are read
    try:
        wanted = call(*tensors)
        got = call(*[t.numpy() if kind == "array" else t.tolist() for t in tensors])
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)
