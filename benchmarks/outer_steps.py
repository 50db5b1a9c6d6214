"""Outer steps a second on the translation problem, against the same model written with ``higher``.

Rank 1, 32 tasks a step, one support and 19 query examples, second order, learned rates, Adam: the protocol of
arXiv:2007.02933's released code. Both sides get the same batches and first prove that their meta-gradients agree.
"""

import argparse
from functools import partial

import higher
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks._timing import alternate, ratio, write
from msr.layers import DenseSharing, ReparamLinear
from msr.meta import SGD, Learner, OuterLoop, from_module
from msr.report import format_table
from tasks import TranslationTasks

RATE = 0.1


class ShareLinear(nn.Module):
    """The model as a user of ``higher`` writes it: ``U`` for the outer loop, ``v`` for the inner one."""

    def __init__(self, U, v, out_features):
        super().__init__()
        self.U, self.v, self.out_features = nn.Parameter(U.clone()), nn.Parameter(v.clone()), out_features

    def forward(self, x):
        """Apply ``reshape(U v)``."""
        return F.linear(x, (self.U @ self.v).view(self.out_features, -1))


def higher_gradient(model, rate, episodes, steps):
    """Accumulate the meta-gradient into the parameters, one task after another."""
    n = episodes.n_tasks
    inner = torch.optim.SGD([model.v], lr=RATE)
    for sx, sy, qx, qy in zip(*episodes, strict=True):
        with higher.innerloop_ctx(model, inner, copy_initial_weights=False, override={"lr": [rate]}) as (
            net,
            opt,
        ):
            for _ in range(steps):
                opt.step(F.mse_loss(net(sx), sy))
            (F.mse_loss(net(qx), qy) / n).backward()


def compare(steps: int, rounds: int) -> dict[str, object]:
    """One setting, side by side."""
    family = TranslationTasks(rank=1)
    layer = ReparamLinear(
        70, 68, bias=False, sharing=partial(DenseSharing, k=3), generator=torch.Generator().manual_seed(0)
    )
    problem, shared, initial = from_module(layer)
    learner = Learner(problem, SGD(steps, rate=RATE), batching="vmap", trace=True)
    params = learner.init(shared, initial)
    model, rate = ShareLinear(shared["sharing.U"], initial["v"], 68), torch.tensor(RATE, requires_grad=True)

    episodes = family.episodes("train", torch.arange(32))
    ours = learner.meta_gradient(params, episodes).gradient
    higher_gradient(model, rate, episodes, steps)
    torch.testing.assert_close(ours.shared["sharing.U"], model.U.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.initial["v"], model.v.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.inner["rate.v"], rate.grad, rtol=1e-4, atol=1e-6)

    loop = OuterLoop(learner, params, partial(torch.optim.Adam, lr=1e-3, fused=True))
    adam = torch.optim.Adam([model.U, model.v, rate], lr=1e-3, fused=True)
    step = [0, 0]

    def batch(side):
        step[side] += 1
        return family.episodes("train", family.draw("train", step[side], 32))

    def our_step():
        loop.step(batch(0))

    def higher_step():
        adam.zero_grad()
        higher_gradient(model, rate, batch(1), steps)
        adam.step()

    def sampling():
        batch(0)

    times = alternate({"ours": our_step, "higher": higher_step, "sampling": sampling}, rounds=rounds)
    middle, low, high = ratio(times["higher"], times["ours"])
    seconds = {name: sorted(laps)[len(laps) // 2] for name, laps in times.items()}
    return {
        "inner_steps": steps,
        "ours_steps_per_s": 1 / seconds["ours"],
        "higher_steps_per_s": 1 / seconds["higher"],
        "speedup": middle,
        "speedup_min": low,
        "speedup_max": high,
        "sampling_share_of_ours": seconds["sampling"] / seconds["ours"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    rows = [compare(steps, rounds) for steps in (1, 3)]
    cells = [
        [
            str(r["inner_steps"]),
            f"{r['ours_steps_per_s']:.0f}",
            f"{r['higher_steps_per_s']:.1f}",
            f"{r['speedup']:.0f}x ({r['speedup_min']:.0f} to {r['speedup_max']:.0f})",
        ]
        for r in rows
    ]
    print(format_table(["inner steps", "msr, steps/s", "higher, steps/s", "ratio (range over rounds)"], cells))
    print(write("outer_steps", {"rows": rows}))
