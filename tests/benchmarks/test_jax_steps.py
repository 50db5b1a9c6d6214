"""The peer in JAX computes our gradient, is timed, and says how to get it where it is absent.

JAX runs in a process of its own here: once started it has threads, and warns of every fork after that.
"""

import importlib.util
import json
import subprocess
import sys

from benchmarks.harness import jax_steps

_SCRIPT = """
import json
import torch
from benchmarks import outer_steps
from benchmarks.harness import jax_networks, jax_steps, peers, steps, timing
from msr.episodes import Episodes
from msr.meta import SGD, Learner, from_module
from tasks.networks import conv4

peers.PEERS.clear()
timing.PATIENCE = 0.0
rows, _ = outer_steps.compare(1, 1, 1.0, 2)

# A bias comes before its weight by name, and after it in the network.
functional = from_module(torch.nn.Linear(3, 2), torch.nn.functional.mse_loss)
learner = Learner(functional.problem, SGD(1, rate=0.1))
params = learner.init(functional.shared, functional.initial)
drawn = [torch.randn(2, 4, n, generator=torch.Generator().manual_seed(n)) for n in (3, 2)]
episodes = Episodes.split(*drawn, 2)
linear = jax_steps.InJax(
    lambda p, x: x @ p["weight"].T + p["bias"], lambda y, z: ((y - z) ** 2).mean(), "vmap", single=1e-5
)
theirs = jax_steps.JaxStep.meta_gradient(linear, params, episodes, 1)
torch.testing.assert_close(theirs, learner.meta_gradient(params, episodes).gradient, rtol=1e-5, atol=1e-6)

network = conv4(5, running_statistics=False, generator=torch.Generator().manual_seed(0))
x = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(1))
params = {name: jax_networks.jnp.array(p.detach().numpy()) for name, p in network.named_parameters()}
theirs = torch.tensor(jax_networks.conv4(params, x.numpy()).tolist())
apart = float((theirs - network(x)).norm() / network(x).norm())

problem = outer_steps.in_jax()["jax"]
wrong = problem._replace(loss=lambda prediction, y: 1.001 * problem.loss(prediction, y))
outer_steps.in_jax = lambda: {"wrong": wrong}
try:
    outer_steps.compare(1, 1, 1.0, 2)
except AssertionError:
    print(json.dumps({"rows": rows, "apart": apart}))
"""


def test_jax_computes_our_gradient_and_is_timed():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Nothing is printed where a wrong gradient passes.
    printed = json.loads(done.stdout)
    timed = [(row["batches"], row["who"]) for row in printed["rows"] if row["steps_per_s"] > 0]
    assert {("drawn before", "jax"), ("drawn in the step", "jax")} < set(timed)
    assert printed["apart"] < 1e-5


def test_without_jax_a_row_says_how_to_get_it(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "optax" else find(name))
    assert jax_steps.why_not() == "optax is not installed; pip install 'msr[jax]'"
