"""The tasks of some chunks, checked, in float64, with inputs and outputs of mean square 1."""

from collections.abc import Iterator
from typing import NoReturn

import torch
from torch import Tensor

from msr.arrays import as_tensor
from msr.errors import DataError, NonFiniteError, ShapeError, listed
from msr.span.chunks import Chunks

__all__ = ["Standardised"]

# Numbers of the products that are made of one piece of a chunk: 128 MiB in float64.
_PIECE_NUMBERS = 2**24


class Standardised:
    """The tasks of some chunks, each input and the outputs as a whole brought to a mean square of 1, in float64.

    The first pass measures the scales. Each later pass is checked to give the same tasks as the first. A pass yields
    pieces small enough that ``tasks · n (n + m)`` numbers fit in memory beside them.

    Attributes:
        n: inputs.
        m: outputs.
        n_tasks: tasks in all.
        n_examples: examples of all tasks.
        numbers: output numbers of all tasks, ``n_examples · m``.
        fewest: output numbers of the smallest task.
        scale_x: ``(n,)``, the root mean square of each input.
        scale_y: the root mean square of all outputs.

    Raises: DataError, ShapeError, NonFiniteError for chunks that cannot be used, naming the task.
    """

    def __init__(self, chunks: Chunks):
        if not callable(chunks):
            raise DataError(
                "chunks must be a function that yields (x, y) anew each time it is called, since several passes are "
                f"made; got a {type(chunks).__name__}. For tensors in memory see msr.span.in_chunks"
            )
        self._chunks = chunks
        self.n_tasks = 0
        self.n_examples = 0
        self.numbers = 0
        self.fewest = 0
        self._fingerprints: list[tuple[int, float, float]] = []  # of each chunk of the first pass
        squares = torch.zeros((), dtype=torch.float64)
        energy = 0.0
        for x, y in self._checked():
            self.m = y.shape[2]
            self.n = x.shape[2]
            if x.shape[1] < 2:
                raise DataError(
                    "a task needs at least two examples, so that its weight can be told from its noise; got one. Tasks "
                    "for training have query examples too: give all of them"
                )
            numbers = y.shape[1] * y.shape[2]
            self.fewest = min(self.fewest or numbers, numbers)
            self.n_tasks += len(x)
            self.n_examples += x.shape[0] * x.shape[1]
            self.numbers += y.numel()
            squares = squares + x.square().sum((0, 1))
            energy += float(y.square().sum())
            # A later pass in another order would mix up tasks, and their filters and roles with them.
            self._fingerprints.append(self._fingerprint(x, y))
        self.scale_x = (squares / self.n_examples).sqrt()
        self.scale_y = (energy / self.numbers) ** 0.5
        constant_zero = (self.scale_x == 0).nonzero().flatten().tolist()
        if constant_zero:
            raise DataError(
                f"input coordinates {listed(constant_zero)} are always zero; drop them, nothing can be learned there"
            )
        if self.scale_y == 0:
            raise DataError("all outputs are zero; there is nothing to learn")

    def __call__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass: pieces ``x (tasks, examples, n)``, ``y (tasks, examples, m)``, divided by the scales.

        Raises: DataError where the chunks are not those of the first pass, in the same order.
        """
        chunk = 0
        piece = max(1, _PIECE_NUMBERS // (self.n * (self.n + self.m)))
        for x, y in self._checked():
            if chunk == len(self._fingerprints) or self._fingerprints[chunk] != self._fingerprint(x, y):
                self._refuse(f"chunk {chunk} is not the one of the first pass")
            chunk += 1
            for start in range(0, len(x), piece):
                yield x[start : start + piece] / self.scale_x, y[start : start + piece] / self.scale_y
        if chunk < len(self._fingerprints):
            self._refuse(f"a later pass ended after {chunk} of {len(self._fingerprints)} chunks")

    def weights(self, standardised: Tensor) -> Tensor:
        """Columns ``vec(W)`` in the units of the given data, from columns for standardised data: ``(m n, p)``."""
        return (standardised.reshape(self.m, self.n, -1) * (self.scale_y / self.scale_x)[:, None]).flatten(0, 1)

    def standardise(self, weights: Tensor) -> Tensor:
        """Columns ``vec(W)`` for standardised data, from columns in the units of the given data: ``(m n, p)``.

        It undoes :meth:`weights`.
        """
        return (weights.reshape(self.m, self.n, -1) * (self.scale_x / self.scale_y)[:, None]).flatten(0, 1)

    @staticmethod
    def _fingerprint(x: Tensor, y: Tensor) -> tuple[int, float, float]:
        """What tells one chunk from another without keeping it: number of tasks, sum of ``x``, sum of ``y``."""
        return len(x), float(x.sum()), float(y.sum())

    @staticmethod
    def _refuse(what: str) -> NoReturn:
        """Raise DataError, which says ``what`` differs between passes and what is asked of chunks."""
        raise DataError(
            f"{what}; chunks() must yield the same tasks in the same order each time it is called (no shuffling, no "
            "iterator that is used up)"
        )

    def _checked(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over the given chunks as float64 tensors on the CPU, in the units of the data.

        Raises: ShapeError, NonFiniteError for a chunk that cannot be used; DataError where there is none at all.
        """
        n_tasks = 0
        first_sizes = None
        for given_x, given_y in self._chunks():
            x = as_tensor(given_x, "x of a chunk")
            y = as_tensor(given_y, "y of a chunk")
            if x.ndim != 3 or y.ndim != 3 or x.shape[:2] != y.shape[:2] or 0 in (*x.shape, *y.shape):
                raise ShapeError(
                    "linear examples are x (tasks, examples, n) and y (tasks, examples, m), none of them empty; got "
                    f"x {tuple(x.shape)}, y {tuple(y.shape)}. For images see msr.span.patches"
                )
            sizes = (x.shape[2], y.shape[2])
            first_sizes = first_sizes or sizes
            if sizes != first_sizes:
                raise ShapeError(
                    f"task {n_tasks} has (inputs, outputs) = {sizes}, but the tasks before it have {first_sizes}; all "
                    "tasks need the same"
                )
            bad = ~(x.isfinite().flatten(1).all(1) & y.isfinite().flatten(1).all(1))
            if bad.any():
                raise NonFiniteError(f"task {n_tasks + int(bad.nonzero()[0])}: its examples hold nan or infinity")
            n_tasks += len(x)
            yield x.detach().to("cpu", torch.float64), y.detach().to("cpu", torch.float64)
        if n_tasks == 0 and not self._fingerprints:
            raise DataError("there is no task to learn from; the chunks are empty")
