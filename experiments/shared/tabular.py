"""Tables of real data that come with scikit-learn, and linear probes of functions of their rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msr.errors import DataError
from tasks.pictures import needed

__all__ = ["TABLES", "Probed", "Split", "probe", "split_of"]

TABLES = ("diabetes", "breast cancer", "wine", "digits")
"""The tables by name; targets are a number for the first, and classes for the others."""

_PENALTIES = tuple(10.0**power for power in np.linspace(-5, 2, 15))
"""Penalties that the probe chooses from by leaving single rows out, on functions of mean square 1."""


@dataclass(frozen=True, eq=False)
class Split:
    """A table cut in two, with its columns standardised by the rows that are not tested.

    Attributes:
        rows: ``(n, p)`` float64, those that contexts and encoders are made of.
        target: ``(n, c)`` float64, numbers in a column, or an indicator in a column for each class.
        labelled: ``(l,)``, the places of those rows whose target a probe may see.
        test_rows, test_target: the rows held out.
        classes: ``(n,)``, the class of each row; None for a target of numbers.
        test_classes: those of the rows held out.
    """

    rows: Tensor
    target: Tensor
    labelled: Tensor
    test_rows: Tensor
    test_target: Tensor
    classes: Tensor | None
    test_classes: Tensor | None


def split_of(name: str, *, most: int, labelled: int, seed: int) -> Split:
    """A random fifth of a table held out, and of the other rows some whose target is known.

    Args:
        name: one of :data:`TABLES`.
        most: rows of the table that are used, drawn by the seed.
        labelled: rows with a known target.

    Raises: MissingExtraError without scikit-learn; DataError for more labelled rows than there are, or where a class
    has none.
    """
    data = _loaded(name)
    values = torch.from_numpy(np.asarray(data.data, dtype=np.float64))
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))[:most]
    held = len(order) // 5
    test, kept = order[:held], order[held:]
    if labelled > len(kept):
        raise DataError(f"{name}: {len(kept)} rows are not held out, and {labelled} of them cannot be labelled")
    known = torch.arange(labelled)
    classes = None
    if name == "diabetes":
        target = torch.from_numpy(np.asarray(data.target, dtype=np.float64))[:, None]
    else:
        classes = torch.from_numpy(np.asarray(data.target, dtype=np.int64))
        target = torch.nn.functional.one_hot(classes).double()
        missing = set(classes[kept].tolist()) - set(classes[kept][known].tolist())
        if missing:
            raise DataError(f"{name}: none of the {len(known)} labelled rows is of class {min(missing)}; label more")
    mean = values[kept].mean(0)
    spread = values[kept].std(0)
    # Some pixels of digits are the same in all images.
    spread = torch.where(spread > 0, spread, 1.0)
    # Pixels have one unit, so that noise at the border is not blown up to the size of the strokes.
    scale = spread.square().mean().sqrt() if name == "digits" else spread
    rows = (values - mean) / scale
    return Split(
        rows=rows[kept],
        target=target[kept],
        labelled=known,
        test_rows=rows[test],
        test_target=target[test],
        classes=None if classes is None else classes[kept],
        test_classes=None if classes is None else classes[test],
    )


@dataclass(frozen=True)
class Probed:
    """How well a linear probe does. Errors are mean squares over the variance of the target, summed over its columns.

    Attributes:
        error: on the rows held out.
        left_out: on labelled rows, each left out in turn; the rows held out have no part in it.
        right: the share of the rows held out whose class has the largest prediction; None for a target of numbers.
    """

    error: float
    left_out: float
    right: float | None


def probe(split: Split, functions: Tensor, test_functions: Tensor) -> Probed:
    """A ridge regression on functions of the labelled rows, with the penalty that is best at labelled rows left out.

    Predictions are clipped to the range of the labelled targets, since a function may be far off at a row that no other
    is near to.

    Shapes: ``functions (n, d)`` at all rows of the split, ``test_functions (t, d)`` at those held out.
    """
    linear: Any = needed("sklearn.linear_model", "contexture")
    scale = functions.square().mean(0).sqrt().clamp(min=1e-12)
    known = split.target[split.labelled]
    model = linear.RidgeCV(alphas=_PENALTIES).fit((functions / scale)[split.labelled].numpy(), known.numpy())
    found: NDArray[np.float64] = np.asarray(model.predict((test_functions / scale).numpy()))
    predicted = torch.from_numpy(found.reshape(split.test_target.shape)).clamp(known.amin(0), known.amax(0))
    residual = (predicted - split.test_target).square().mean(0).sum()
    variance = split.test_target.var(0, correction=0).sum()
    right = None
    if split.test_classes is not None:
        right = float((predicted.argmax(1) == split.test_classes).double().mean())
    left_out = -float(model.best_score_) * known.shape[1] / float(known.var(0, correction=0).sum())
    return Probed(float(residual / variance), left_out, right)


def _loaded(name: str) -> Any:
    """A table of scikit-learn's by its name here."""
    sets: Any = needed("sklearn.datasets", "contexture")
    return getattr(sets, f"load_{name.replace(' ', '_')}")()
