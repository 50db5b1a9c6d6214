"""Parameters and buffers drawn anew: does a module stay equivariant after training? And signs that it is untrained."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from msr.errors import ConfigError
from msr.modules import copied
from msr.sharing import Sharing

__all__ = ["module_to_redraw", "redrawn", "signs_of_a_start"]


def module_to_redraw(f: Any) -> nn.Module:
    """``f`` itself where it is a module.

    Raises: ConfigError for a plain function, which has no parameters that could be found.
    """
    if not isinstance(f, nn.Module):
        raise ConfigError(
            f"fresh= draws the parameters of a module anew; got {type(f).__name__}: pass the module itself"
        )
    return f


def redrawn(module: nn.Module, seed: int) -> nn.Module:
    """A copy with parameters and buffers as training could leave them, the same for the same seed.

    A module with ``reset_parameters`` draws its own. A parameter that this sets to one number everywhere, such as the
    ones and zeros of a norm, and a parameter of a module without that method, is drawn around its mean at its own
    spread. Running statistics become random ones, variances between a half and two. Frozen parameters, other buffers,
    and sharing patterns, which are learned across tasks, stay as they are.

    Raises: ModelError for a module that cannot be copied, naming the layer; ConfigError for a lazy one.
    """
    new = copied(module)
    generator = torch.Generator().manual_seed(seed)
    # Parameters are told apart by identity, since several modules may share one.
    done: set[int] = {id(p) for p in new.parameters() if not p.requires_grad}
    for part in new.modules():
        if isinstance(part, Sharing):
            done.update(id(p) for p in part.parameters())
    with torch.no_grad():
        for part in new.modules():
            own = [p for p in part.parameters(recurse=False) if id(p) not in done]
            if any(is_lazy(p) for p in own):
                raise ConfigError(f"{type(part).__name__} is lazy and has no parameters yet: run the module once first")
            before = [p.clone() for p in own]
            if own and callable(getattr(part, "reset_parameters", None)):
                _reset(part, done, generator)
            for p, old in zip(own, before, strict=True):
                # Such a parameter was drawn by no reset, or was set to a constant, which training would move.
                if torch.equal(p, old) or _is_flat(p):
                    p.copy_(_near(p, generator))
            done.update(id(p) for p in own)
            _draw_statistics(part, generator)
    return new


def _reset(part: nn.Module, keep: set[int], generator: torch.Generator) -> None:
    """Call ``reset_parameters`` of a module, in place, with random numbers from ``generator``.

    Parameters whose ``id`` is in ``keep`` get their values back. Torch's global random state is the same afterwards.
    """
    kept = [(p, p.clone()) for p in part.parameters() if id(p) in keep]
    # reset_parameters draws from the global generator, and takes no other.
    seed = int(torch.randint(2**31, (), generator=generator))
    devices = sorted({p.device.index or 0 for p in part.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        part.reset_parameters()  # type: ignore[operator]
    for p, old in kept:
        p.copy_(old)


def _is_flat(p: Tensor) -> bool:
    """Whether all numbers of a parameter are the same; false for one without numbers."""
    return bool((p == p.flatten()[:1]).all()) if p.numel() else False


def _near(p: Tensor, generator: torch.Generator) -> Tensor:
    """Random numbers around the mean of a parameter, at the standard deviation of its entries: a tensor of its shape.

    Where all entries are the same number, it is multiplied by random factors between 0.5 and 1.5, so that its sign
    stays; zeros get the standard deviation 0.5. That is as much as training may do. Whole numbers are returned as they
    are.
    """
    if not p.is_floating_point():
        return p
    noise = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p)
    mean = p.mean() if p.numel() else p.new_zeros(())
    spread = (p - mean).square().mean().sqrt() if p.numel() else mean
    if float(spread) > 0:
        return mean + spread * noise
    if float(mean) == 0:
        return 0.5 * noise
    return mean * (1 + 0.5 * noise.tanh())  # of the same sign: scales stay scales


def _draw_statistics(part: nn.Module, generator: torch.Generator) -> None:
    """Random running statistics of a norm, in place: standard normal means, variances between a half and two.

    A module without running statistics stays as it is.
    """
    buffers = dict(part.named_buffers(recurse=False))
    mean = buffers.get("running_mean")
    var = buffers.get("running_var")
    if mean is not None and mean.is_floating_point():
        mean.copy_(torch.randn(mean.shape, generator=generator, dtype=torch.float64).to(mean))
    if var is not None and var.is_floating_point():
        # A random power of two: variances stay positive, and the mean of their logarithm is that of a fresh norm.
        var.copy_(torch.exp2(2 * torch.rand(var.shape, generator=generator, dtype=torch.float64) - 1).to(var))


def signs_of_a_start(module: nn.Module) -> list[str]:
    """What in a module looks as before any training, a line for each; empty where nothing does.

    That is running statistics of 0 and 1, and parameters of two numbers or more that are all 0 or all 1. Frozen
    parameters and sharing patterns are not looked at.
    """
    signs = []
    for name, part in module.named_modules():
        if isinstance(part, Sharing):
            continue
        buffers = dict(part.named_buffers(recurse=False))
        prefix = f"{name}." if name else ""
        mean = buffers.get("running_mean")
        var = buffers.get("running_var")
        if mean is not None and var is not None and not mean.any() and bool((var == 1).all()):
            signs.append(f"{prefix}running_mean is 0 and {prefix}running_var 1")
        for key, p in part.named_parameters(recurse=False):
            # One number that is 0 or 1 may well be learned; a tensor of them is a start.
            if not p.requires_grad or is_lazy(p) or p.numel() < 2:
                continue
            if not p.any():
                signs.append(f"{prefix}{key} is 0")
            elif bool((p == 1).all()):
                signs.append(f"{prefix}{key} is 1")
    return signs
