"""Small things that many tests need: seeded plain modules, random episodes, slow obvious twins."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import strategies as st
from torch import nn

from msr.episodes import Episodes
from msr.groups import from_permutations

TEST_DATA = os.environ.get("MSR_TEST_DATA")


def needs_data(path: str) -> Path:
    """The path of a file of the reference data; where it is missing, the running test is skipped with the reason."""
    if TEST_DATA is None or not (Path(TEST_DATA) / path).exists():
        pytest.skip(f"{path} is not there; set MSR_TEST_DATA to the folder that holds it")
    return Path(TEST_DATA) / path


def seeded(make, seed: int = 0):
    """What ``make()`` returns, such as a torch module, made with a fixed seed; the global generator stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def randomize(module: nn.Module, gen: torch.Generator, scale: float = 0.5) -> nn.Module:
    """Fill every parameter of a module in place with noise of size ``scale``; returns the module.

    So no identity or zero start hides a mistake.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=gen, dtype=parameter.dtype))
    return module


def random_episodes(gen, tasks, shots, queries, in_shape, out_shape, dtype=torch.float64) -> Episodes:
    """Episodes of noise, x and y independent: ``(tasks, shots or queries, *in_shape or *out_shape)``."""

    def draw(n, shape):
        return torch.randn(tasks, n, *shape, generator=gen, dtype=dtype)

    return Episodes(draw(shots, in_shape), draw(shots, out_shape), draw(queries, in_shape), draw(queries, out_shape))


def finite_differences(learner, params, episodes, h=1e-6):
    """The slope of each number by central differences. The learner runs with all moved numbers side by side."""
    leaves = params.leaves()
    flat = torch.cat([p.flatten() for p in leaves])
    steps = h * torch.eye(len(flat), dtype=flat.dtype)

    def loss(flat):
        parts = flat.split([p.numel() for p in leaves])
        moved = [part.view(p.shape) for part, p in zip(parts, leaves, strict=True)]
        return learner.losses(params.with_leaves(moved), episodes, training=True).mean()

    with torch.no_grad():
        up, down = torch.func.vmap(loss)(torch.cat([flat + steps, flat - steps])).chunk(2)
    slopes = ((up - down) / (2 * h)).split([p.numel() for p in leaves])
    return [slope.view(p.shape) for slope, p in zip(slopes, leaves, strict=True)]


@st.composite
def permutation_groups(draw, degree=5):
    """A strategy of groups that one or two random permutations of at most ``degree`` points generate."""
    n = draw(st.integers(1, degree))
    return from_permutations(draw(st.lists(st.permutations(range(n)), min_size=1, max_size=2)), "random")
