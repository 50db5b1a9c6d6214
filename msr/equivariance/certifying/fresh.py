"""Parameters and buffers drawn anew, for what training may take away; and signs that nothing has been trained yet."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from msr.errors import ConfigError
from msr.modules import copied

__all__ = ["module_to_redraw", "redrawn", "signs_of_a_start"]


def module_to_redraw(f: Any) -> nn.Module:
    """The module, or a ConfigError: a plain function has no parameters that could be found."""
    if not isinstance(f, nn.Module):
        raise ConfigError(
            f"fresh= draws the parameters of a module anew; got {type(f).__name__}: pass the module itself"
        )
    return f


def redrawn(module: nn.Module, seed: int) -> nn.Module:
    """A copy with parameters and buffers as training could leave them, the same for the same seed.

    Modules with ``reset_parameters`` draw by it. What is the same number everywhere then, such as the ones and zeros of
    a norm, and parameters that belong to no such module, are drawn around it at their own spread. Running statistics
    become random ones, variances between a half and two. Left alone: frozen parameters, other buffers, and sharing
    patterns, which are learned across tasks.

    Raises: ModelError for a module that cannot be copied, naming the layer; ConfigError for a lazy one.
    """
    new = copied(module)
    generator = torch.Generator().manual_seed(seed)
    done: set[int] = {id(p) for p in new.parameters() if not p.requires_grad}
    for part in new.modules():
        if getattr(part, "is_sharing_pattern", False):
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
                if torch.equal(p, old) or _is_flat(p):
                    p.copy_(_near(p, generator))
            done.update(id(p) for p in own)
            _move_statistics(part, generator)
    return new


def _reset(part: nn.Module, keep: set[int], generator: torch.Generator) -> None:
    """The module's own way to draw, from torch's global random state, which is put back; frozen numbers stay."""
    kept = [(p, p.clone()) for p in part.parameters() if id(p) in keep]
    seed = int(torch.randint(2**31, (), generator=generator))
    devices = sorted({p.device.index or 0 for p in part.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        part.reset_parameters()  # type: ignore[operator]
    for p, old in kept:
        p.copy_(old)


def _is_flat(p: Tensor) -> bool:
    return bool((p == p.flatten()[:1]).all()) if p.numel() else False


def _near(p: Tensor, generator: torch.Generator) -> Tensor:
    """Around the mean, at the spread that the numbers have; at half a unit, or half their size, if they have none."""
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


def _move_statistics(part: nn.Module, generator: torch.Generator) -> None:
    buffers = dict(part.named_buffers(recurse=False))
    mean, var = buffers.get("running_mean"), buffers.get("running_var")
    if mean is not None and mean.is_floating_point():
        mean.copy_(torch.randn(mean.shape, generator=generator, dtype=torch.float64).to(mean))
    if var is not None and var.is_floating_point():
        var.copy_(torch.exp2(2 * torch.rand(var.shape, generator=generator, dtype=torch.float64) - 1).to(var))


def signs_of_a_start(module: nn.Module) -> list[str]:
    """What looks as before any training: running statistics of 0 and 1, zero biases, scales that are all one."""
    found = []
    for name, part in module.named_modules():
        if getattr(part, "is_sharing_pattern", False):
            continue
        buffers, prefix = dict(part.named_buffers(recurse=False)), f"{name}." if name else ""
        mean, var = buffers.get("running_mean"), buffers.get("running_var")
        if mean is not None and var is not None and not mean.any() and bool((var == 1).all()):
            found.append(f"{prefix}running_mean is 0 and {prefix}running_var 1")
        for key, p in part.named_parameters(recurse=False):
            if not p.requires_grad or is_lazy(p) or p.numel() < 2:
                continue
            if not p.any():
                found.append(f"{prefix}{key} is 0")
            elif bool((p == 1).all()):
                found.append(f"{prefix}{key} is 1")
    return found
