"""Recurrent layers and cells, step by step: the fused ones write in place, which ``vmap`` cannot run."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ATEN"]

States = tuple[Tensor, ...]
Cell = Callable[..., States]


def _rnn_cell(activation: Callable[[Tensor], Tensor]) -> Cell:
    def cell(x: Tensor, state: States, w_ih: Tensor, w_hh: Tensor, *more: Tensor | None) -> States:
        return (activation(_sum(x, state[0], w_ih, w_hh, *more)),)

    return cell


def _sum(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None) -> Tensor:
    return F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)


def _gru_cell(
    x: Tensor, state: States, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> States:
    (h,) = state
    own, past = F.linear(x, w_ih, b_ih).chunk(3, -1), F.linear(h, w_hh, b_hh).chunk(3, -1)
    reset, keep = torch.sigmoid(own[0] + past[0]), torch.sigmoid(own[1] + past[1])
    new = torch.tanh(own[2] + reset * past[2])
    return (new + keep * (h - new),)


def _lstm_cell(
    x: Tensor,
    state: States,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    w_hr: Tensor | None = None,
) -> States:
    h, c = state
    enter, forget, new, leave = _sum(x, h, w_ih, w_hh, b_ih, b_hh).chunk(4, -1)
    c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(new)
    h = torch.sigmoid(leave) * torch.tanh(c)
    return (h if w_hr is None else F.linear(h, w_hr)), c


def _layers(
    cell: Cell,
    steps: list[Tensor],
    start: States,
    params: Sequence[Tensor],
    has_biases: bool,
    n_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
) -> tuple[list[Tensor], States]:
    """Run all layers over steps of ``(sequences, features)``, of which later ones may hold fewer sequences.

    ``start`` holds ``(layers · directions, sequences, hidden)``; so does the result beside the steps of the last layer.
    """
    directions = 2 if bidirectional else 1
    each = len(params) // (n_layers * directions)
    ends: list[States] = []
    for layer in range(n_layers):
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            weights = list(params[place * each : (place + 1) * each])
            if not has_biases:
                weights[2:2] = [None, None]  # type: ignore[list-item]
            out, end = _one_way(cell, steps, tuple(s[place] for s in start), weights, backwards=direction == 1)
            outputs.append(out)
            ends.append(end)
        steps = [torch.cat(step, -1) for step in zip(*outputs, strict=True)] if bidirectional else outputs[0]
        if dropout and train and layer < n_layers - 1:
            steps = list(F.dropout(torch.cat(steps), dropout).split([len(step) for step in steps]))
    return steps, tuple(torch.stack(parts) for parts in zip(*ends, strict=True))


def _one_way(
    cell: Cell, steps: list[Tensor], start: States, weights: list[Tensor], *, backwards: bool
) -> tuple[list[Tensor], States]:
    outputs = []
    state = start  # of all sequences; the first ones are still running
    for x in reversed(steps) if backwards else steps:
        running = x.shape[0]
        new = cell(x, tuple(s[:running] for s in state), *weights)
        outputs.append(new[0])
        rest = running < start[0].shape[0]
        state = tuple(torch.cat([n, s[running:]]) for n, s in zip(new, state, strict=True)) if rest else new
    return (outputs[::-1] if backwards else outputs), state


def _network(cell: Cell) -> Callable:
    """``torch.lstm`` and its like: of a tensor, or of packed sequences ``(data, batch_sizes, …)``."""

    def run(input: Tensor, *args: Any) -> tuple[Tensor, ...]:
        packed = not isinstance(args[2], bool)  # has_biases stands there otherwise
        if packed:
            batch_sizes, hx, params, *rest = args
            steps = list(input.split(batch_sizes.tolist()))
        else:
            hx, params, *rest, batch_first = args
            steps = list(input.unbind(1 if batch_first else 0))
        has_biases, n_layers, dropout, train, bidirectional = rest
        start = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        outputs, end = _layers(cell, steps, start, params, has_biases, n_layers, dropout, train, bidirectional)
        return (torch.cat(outputs) if packed else torch.stack(outputs, 1 if batch_first else 0), *end)

    return run


def _step(cell: Cell, n_states: int) -> Callable:
    """``torch.lstm_cell`` and its like."""

    def run(
        input: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
    ) -> Any:
        state = cell(input, (hx,) if isinstance(hx, Tensor) else tuple(hx), w_ih, w_hh, b_ih, b_hh)
        return state if n_states > 1 else state[0]

    return run


_CELLS: dict[str, tuple[Cell, int]] = {
    "rnn_tanh": (_rnn_cell(torch.tanh), 1),
    "rnn_relu": (_rnn_cell(torch.relu), 1),
    "gru": (_gru_cell, 1),
    "lstm": (_lstm_cell, 2),
}
ATEN: dict[str, Any] = {name: _network(cell) for name, (cell, _) in _CELLS.items()}
ATEN |= {f"{name}_cell": _step(cell, n_states) for name, (cell, n_states) in _CELLS.items()}
