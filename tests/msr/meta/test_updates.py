"""The update of an outer step is the optimiser's own, bit for bit, however it is taken."""

import copy
from functools import partial

import pytest
import torch

from msr.meta.updates import Update

ADAM = partial(torch.optim.Adam, lr=1e-2, fused=True)


def leaves(gen):
    return [torch.randn(shape, generator=gen) for shape in ((40, 3), (3,), ())]


def slopes(gen):
    return [torch.randn(shape, generator=gen) for shape in ((40, 3), (3,), ())]


def groups(tensors, **options):
    return [{"params": [tensors[2]]}, {"params": tensors[:2], **options}]


@pytest.mark.parametrize(
    ("make", "whole"),
    [
        (lambda t: ADAM(groups(t)), 1),
        (lambda t: ADAM(groups(t, lr=1e-3)), 1),
        (lambda t: ADAM(groups(t, weight_decay=0.1, betas=(0.8, 0.99))), 1),
        (lambda t: ADAM(groups(t), amsgrad=True), 6),
        (lambda t: ADAM(groups(t), maximize=True), 6),
        (lambda t: ADAM(groups(t, lr=torch.tensor(0.01))), 6),
        (lambda t: torch.optim.Adam(groups(t), lr=1e-2), 6),
        (lambda t: torch.optim.AdamW(groups(t), lr=1e-2, fused=True), 6),
        (lambda t: torch.optim.SGD(groups(t), lr=1e-2), 6),
    ],
)
def test_steps_are_the_optimiser_s_own_to_the_bit(make, whole, gen, monkeypatch):
    mine = leaves(gen)
    its = [leaf.clone() for leaf in mine]
    ours = make(mine)
    theirs = make(its)
    update = Update(ours, mine)
    taken = []
    own = Update._take_whole_step
    monkeypatch.setattr(Update, "_take_whole_step", lambda self, given: (taken.append(1), own(self, given)))
    for _ in range(6):
        given = slopes(gen)
        update(given)
        for leaf, slope in zip(its, given, strict=True):
            leaf.grad = slope.clone()
        theirs.step()
    assert all(torch.equal(a, b) for a, b in zip(mine, its, strict=True))
    assert all(leaf.grad is None for leaf in mine)
    assert len(taken) == whole
    for a, b in zip(ours.state_dict()["state"].values(), theirs.state_dict()["state"].values(), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_loaded_state_a_new_rate_and_a_schedule_are_followed(gen):
    mine = leaves(gen)
    its = [leaf.clone() for leaf in mine]
    ours = ADAM(groups(mine))
    theirs = ADAM(groups(its))
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=20) for o in (ours, theirs)]
    update = Update(ours, mine)
    for step in range(12):
        given = slopes(gen)
        update(given)
        for leaf, slope in zip(its, given, strict=True):
            leaf.grad = slope.clone()
        theirs.step()
        for schedule in schedules:
            schedule.step()
        if step == 5:
            state = copy.deepcopy(theirs.state_dict())
            state["state"][0]["exp_avg"] += 1
            for optimizer in (ours, theirs):
                optimizer.load_state_dict(copy.deepcopy(state))
    assert all(torch.equal(a, b) for a, b in zip(mine, its, strict=True))


def test_hooks_see_every_step(gen):
    mine = leaves(gen)
    optimizer = ADAM(groups(mine))
    update = Update(optimizer, mine)
    seen = []
    update(slopes(gen))
    update(slopes(gen))
    optimizer.register_step_post_hook(lambda *_: seen.append(1))
    for _ in range(3):
        update(slopes(gen))
    assert len(seen) == 3
