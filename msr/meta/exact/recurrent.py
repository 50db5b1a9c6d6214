"""Recurrent layers and cells, step by step, since the fused ones write in place, which ``vmap`` cannot run."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ATEN"]

States = tuple[Tensor, ...]
Cell = Callable[..., States]


def _rnn_cell(activation: Callable[[Tensor], Tensor]) -> Cell:
    """The cell ``h ← activation(W_ih x + b_ih + W_hh h + b_hh)``, a function of ``x``, ``(h,)`` and the weights."""

    def cell(x: Tensor, state: States, w_ih: Tensor, w_hh: Tensor, *more: Tensor | None) -> States:
        return (activation(_sum(x, state[0], w_ih, w_hh, *more)),)

    return cell


def _sum(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None) -> Tensor:
    """``W_ih x + b_ih + W_hh h + b_hh``; a bias may be None."""
    return F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)


def _gru_cell(
    x: Tensor, state: States, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> States:
    """The next state ``(h,)`` of a GRU; rows of its weights are reset gate, update gate and new state, as in torch."""
    (h,) = state
    # Input and state are kept apart, because the reset gate multiplies the part of the state alone.
    of_input = F.linear(x, w_ih, b_ih).chunk(3, -1)
    of_state = F.linear(h, w_hh, b_hh).chunk(3, -1)
    reset = torch.sigmoid(of_input[0] + of_state[0])
    keep = torch.sigmoid(of_input[1] + of_state[1])
    new = torch.tanh(of_input[2] + reset * of_state[2])
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
    """The next state ``(h, c)`` of an LSTM; the rows of its weights are the gates in torch's order.

    Args: ``w_hr``: the projection of ``h``, if there is one.
    """
    h, c = state
    input_gate, forget_gate, new, output_gate = _sum(x, h, w_ih, w_hh, b_ih, b_hh).chunk(4, -1)
    c = torch.sigmoid(forget_gate) * c + torch.sigmoid(input_gate) * torch.tanh(new)
    h = torch.sigmoid(output_gate) * torch.tanh(c)
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
    """Run all layers over steps of ``(sequences, features)``; later steps of packed sequences hold fewer sequences.

    Returns the outputs of the last layer, step by step, and the final states of all layers. Those and ``start`` are
    ``(layers · directions, sequences, hidden)``, both directions of a layer side by side. Outputs of two directions are
    joined on the last axis. Dropout stands between layers, and in training alone.
    """
    directions = 2 if bidirectional else 1
    # torch lists the weights of all layers one after another, both directions of a layer together.
    per_direction = len(params) // (n_layers * directions)
    ends: list[States] = []
    for layer in range(n_layers):
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            weights = list(params[place * per_direction : (place + 1) * per_direction])
            if not has_biases:
                # Cells take the biases third and fourth, and an LSTM with a projection a fifth weight after them.
                weights[2:2] = [None, None]  # type: ignore[list-item]
            out, end = _one_way(cell, steps, tuple(s[place] for s in start), weights, backwards=direction == 1)
            outputs.append(out)
            ends.append(end)
        steps = [torch.cat(step, -1) for step in zip(*outputs, strict=True)] if bidirectional else outputs[0]
        # As in torch, between layers, and not after the last one.
        if dropout and train and layer < n_layers - 1:
            steps = list(F.dropout(torch.cat(steps), dropout).split([len(step) for step in steps]))
    return steps, tuple(torch.stack(parts) for parts in zip(*ends, strict=True))


def _one_way(
    cell: Cell, steps: list[Tensor], start: States, weights: list[Tensor], *, backwards: bool
) -> tuple[list[Tensor], States]:
    """One layer in one direction: its outputs, in the order of ``steps``, and its final state.

    Where later steps hold fewer sequences, those that are missing keep the state of their own last step. ``backwards``
    begins each sequence at its own end.
    """
    outputs = []
    state = start
    for x in reversed(steps) if backwards else steps:
        # Packed sequences are sorted by length, so the first ones are those that run in this step.
        running = x.shape[0]
        new = cell(x, tuple(s[:running] for s in state), *weights)
        outputs.append(new[0])
        some_rest = running < start[0].shape[0]
        state = tuple(torch.cat([n, s[running:]]) for n, s in zip(new, state, strict=True)) if some_rest else new
    return (outputs[::-1] if backwards else outputs), state


def _network(cell: Cell) -> Callable:
    """A function with the arguments of ``torch.lstm`` and the like: for a tensor, or for packed sequences."""

    def run(input: Tensor, *args: Any) -> tuple[Tensor, ...]:
        # torch has two signatures: (input, hx, params, has_biases, …) and (data, batch_sizes, hx, params, …).
        packed = not isinstance(args[2], bool)
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
    """A function with the arguments of ``torch.lstm_cell`` and the like, made from a cell.

    Args: ``n_states``: how many tensors the cell's state has; of one, the function returns the tensor itself.
    """

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
