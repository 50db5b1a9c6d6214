"""Structure transfer: a map that is learned on some pairs carries Hom to others, and the controls do not."""

import pytest
import torch

from msr.category.pretexts.transfer import paired_problem, structure_transfer
from msr.errors import ConfigError, DataError, NonFiniteError, ShapeError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", range(4))
def test_hom_is_carried_to_objects_that_were_held_out(seed):
    problem = paired_problem(30, 20, 6, generator=generator(seed))
    found = structure_transfer(problem.source, problem.target, problem.pairs, 12, 6, generator=generator(seed))
    assert found.fullness < 1e-12
    assert found.within < 1e-8
    assert found.across < 1e-8
    assert found.trained < 1e-8
    assert found.least < 1e-10
    assert found.determined
    # Controls: without a learned map, and with one that was learned on wrong pairs.
    assert min(found.unaligned, found.shuffled) > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_an_embedding_that_is_not_full_carries_no_more_than_it_knows(seed):
    problem = paired_problem(60, 20, 6, full=False, generator=generator(seed))
    found = structure_transfer(problem.source, problem.target, problem.pairs, 40, 6, generator=generator(seed))
    assert found.fullness > 0.5
    assert found.across > 0.4
    assert found.within > 0.01
    assert not found.determined  # three coordinates cannot say what six are


def test_more_pairs_than_the_rank_are_needed():
    problem = paired_problem(40, 10, 8, generator=generator())
    errors = {
        train: structure_transfer(problem.source, problem.target, problem.pairs, train, 8, generator=generator(1))
        for train in (4, 8, 20)
    }
    assert not errors[4].determined
    assert errors[4].across > 0.1
    assert errors[8].across < 1e-6
    assert errors[20].across < 1e-10


def test_noise_and_a_rank_that_is_too_small_cost_what_they_cost():
    problem = paired_problem(60, 20, 6, generator=generator())
    noise = 0.05 * torch.randn(60, 60, generator=generator(1), dtype=torch.float64)
    noisy = structure_transfer(problem.source + noise, problem.target, problem.pairs, 40, 6, generator=generator(2))
    assert 0.001 < noisy.across < 0.2 < noisy.shuffled
    small = structure_transfer(problem.source, problem.target, problem.pairs, 40, 3, generator=generator(2))
    assert small.least > 0.2
    assert small.across > 0.2


def test_the_same_seed_gives_the_same_and_arrays_serve():
    problem = paired_problem(20, 5, 3, generator=generator(3))
    one, other = (
        structure_transfer(*tables, 10, 3, generator=generator(4))
        for tables in (
            (problem.source, problem.target, problem.pairs),
            (problem.source.numpy(), problem.target.numpy(), problem.pairs.numpy()),
        )
    )
    assert repr(one) == repr(other)
    assert (problem.source - problem.target[problem.pairs[:, 1]][:, problem.pairs[:, 1]]).abs().max() < 1e-12


def test_what_does_not_serve_is_named():
    problem = paired_problem(10, 5, 3, generator=generator())
    source, target, pairs = problem.source, problem.target, problem.pairs
    off = pairs.clone()
    off[3, 1] = 15
    twice = pairs.clone()
    twice[3] = twice[4]
    for call, error, says in [
        (lambda g: structure_transfer(source[:5], target, pairs, 5, 3, generator=g), ShapeError, "source must be a sq"),
        (lambda g: structure_transfer(source, torch.nan * target, pairs, 5, 3, generator=g), NonFiniteError, "target"),
        (lambda g: structure_transfer(source, target, pairs[:, :1], 5, 3, generator=g), ShapeError, r"\(p, 2\) whole"),
        (lambda g: structure_transfer(source, target, pairs.double(), 5, 3, generator=g), ShapeError, "whole numbers"),
        (lambda g: structure_transfer(source, target, off, 5, 3, generator=g), DataError, "pair 3 is"),
        (lambda g: structure_transfer(source, target, twice, 5, 3, generator=g), DataError, "stands in two pairs"),
        (lambda g: structure_transfer(source, target, pairs, 9, 3, generator=g), ConfigError, "train must leave 2"),
        (lambda g: structure_transfer(source, target, pairs, 1, 3, generator=g), ConfigError, "train must leave 2"),
        (lambda g: structure_transfer(source, target, pairs, 5, 11, generator=g), ConfigError, "rank"),
        (lambda g: structure_transfer(0 * source, target, pairs, 5, 3, generator=g), DataError, "every Hom .* is 0"),
        (lambda g: paired_problem(0, 1, 1, generator=g), ConfigError, "1 or more"),
        (lambda g: paired_problem(3, 1, 1, full=False, generator=g), ConfigError, "rank 2"),
    ]:
        with pytest.raises(error, match=says):
            call(generator())


def test_numbers_of_things_are_whole():
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ConfigError, match="objects must be a whole number"):
        paired_problem(10.0, 3, 3, generator=generator)
    p = paired_problem(10, 3, 3, generator=generator)
    with pytest.raises(ConfigError, match="train must be a whole number"):
        structure_transfer(p.source, p.target, p.pairs, 6.0, 3, generator=generator)
