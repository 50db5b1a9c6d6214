"""One outer step of gradient-based meta-learning, written as a user of each library would write it.

Each peer takes a module, one learned rate by the name of each parameter that a task adapts, the loss, the tasks, and
the number of inner steps; it accumulates the gradient of the mean query loss, one task after another, into the module's
and the rates' ``.grad``.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from msr.episodes import Episodes
from msr.meta.engines.available import why_not

__all__ = ["PEERS", "Gradient", "available"]

Gradient = Callable[[nn.Module, dict[str, Tensor], Callable, Episodes, int], None]


def with_higher(module: nn.Module, rates: dict[str, Tensor], loss: Callable, episodes: Episodes, steps: int) -> None:
    """The meta-gradient by ``higher.innerloop_ctx``, with a parameter group and a rate of its own for each tensor."""
    import higher

    parameters = dict(module.named_parameters())
    inner = torch.optim.SGD([{"params": [parameters[name]]} for name in rates], lr=0.1)
    how = {"copy_initial_weights": False, "override": {"lr": list(rates.values())}}
    for sx, sy, qx, qy in zip(*episodes, strict=True):
        with higher.innerloop_ctx(module, inner, **how) as (net, optimizer):
            for _ in range(steps):
                optimizer.step(loss(net(sx), sy))
            (loss(net(qx), qy) / episodes.n_tasks).backward()


def with_learn2learn(
    module: nn.Module, rates: dict[str, Tensor], loss: Callable, episodes: Episodes, steps: int
) -> None:
    """The meta-gradient by ``clone_module`` and ``update_module``, of which learn2learn's MAML is made."""
    import learn2learn

    for sx, sy, qx, qy in zip(*episodes, strict=True):
        net = learn2learn.clone_module(module)
        for _ in range(steps):
            adapted = {name: p for name, p in net.named_parameters() if name in rates}
            slopes = torch.autograd.grad(loss(net(sx), sy), list(adapted.values()), create_graph=True)
            moves = {name: -rates[name] * slope for name, slope in zip(adapted, slopes, strict=True)}
            learn2learn.update_module(net, [moves.get(name) for name, _ in net.named_parameters()])
        (loss(net(qx), qy) / episodes.n_tasks).backward()


def with_torchopt(module: nn.Module, rates: dict[str, Tensor], loss: Callable, episodes: Episodes, steps: int) -> None:
    """The meta-gradient by TorchOpt's functional ``sgd``, one for each rate, around ``functional_call``."""
    import torchopt

    params = dict(module.named_parameters())
    optimizers = {name: torchopt.sgd(lr=rate) for name, rate in rates.items()}
    for sx, sy, qx, qy in zip(*episodes, strict=True):
        adapted = {name: params[name] for name in rates}
        states = {name: optimizers[name].init((p,)) for name, p in adapted.items()}
        for _ in range(steps):
            prediction = torch.func.functional_call(module, {**params, **adapted}, (sx,))
            slopes = torch.autograd.grad(loss(prediction, sy), list(adapted.values()), create_graph=True)
            for name, slope in zip(list(adapted), slopes, strict=True):
                updates, states[name] = optimizers[name].update((slope,), states[name], inplace=False)
                (adapted[name],) = torchopt.apply_updates((adapted[name],), updates, inplace=False)
        prediction = torch.func.functional_call(module, {**params, **adapted}, (qx,))
        (loss(prediction, qy) / episodes.n_tasks).backward()


PEERS: dict[str, Gradient] = {"higher": with_higher, "learn2learn": with_learn2learn, "torchopt": with_torchopt}


def available() -> tuple[dict[str, Gradient], dict[str, str]]:
    """The peers that can be imported here, by name; and for each peer that cannot, the reason."""
    reasons: dict[str, str] = {}
    for name in PEERS:
        try:
            reason = why_not(name)
        except Exception as error:  # a broken library must not stop the others
            reason = f"{name} does not import: {type(error).__name__}: {str(error).splitlines()[0]}"
        if reason is not None:
            reasons[name] = reason
    return {name: peer for name, peer in PEERS.items() if name not in reasons}, reasons
