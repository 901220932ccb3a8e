"""A run over four devices is that over one, to rounding (sharded equals unsharded)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
import equinox as eqx, jax, jax.numpy as jnp, numpy as np, optax
from sciml.training import Batches, fit

jax.config.update("jax_enable_x64", True)
assert len(jax.devices()) == 4
x = np.random.default_rng(0).normal(size=(64, 3))
y = np.sin(x.sum(axis=1, keepdims=True))
shards = []

def loss(model, batch, key):
    jax.debug.inspect_array_sharding(batch["x"], callback=lambda s: shards.append(s.num_devices))
    noise = 0.1 * jax.random.normal(key, batch["x"].shape)
    return jnp.mean((jax.vmap(model)(batch["x"] + noise) - batch["y"]) ** 2) * batch["weight"]

@eqx.filter_jit
def validate(model):
    return jnp.mean((jax.vmap(model)(jnp.asarray(x)) - y) ** 2)

def run(devices=None, batch_size=16, hold=lambda data: data, **more):
    source = Batches(hold({"x": x, "y": y}), batch_size, seed=0)
    def batches(step):
        return {**source(step), "weight": np.float64(np.nan if step == 3 else 1.0)}
    return fit(
        eqx.nn.MLP(3, 1, 8, 1, key=jax.random.key(0)), loss, batches, optimizer=optax.adam(1e-2), steps=30,
        key=jax.random.key(1), validate=validate, devices=devices, clip=1.0, progress=False, **more,
    )

def gap(a, b):
    pairs = zip(*(jax.tree.leaves(eqx.filter(m, eqx.is_array)) for m in (a, b)))
    return max(float(jnp.max(jnp.abs(p - q))) for p, q in pairs)

one = run(jax.devices()[2:3])
assert shards == [1], shards
four = run()
assert shards == [1, 4], shards
print("last", gap(one.last, four.last), "best", gap(one.best, four.best))
print("skipped", one.stats.skipped, four.stats.skipped, four.stats.best_step == one.stats.best_step)
print("device", gap(one.last, run(hold=jax.device_put).last))
class Stop(Exception): pass
def stop(step, metrics):
    if step >= 17: raise Stop
try:
    run(folder=sys.argv[1], save_every=5, log=stop)
except Stop:
    pass
again = run(folder=sys.argv[1], save_every=5, resume=True)
print("resumed", again.stats.resumed_from, gap(again.last, four.last))
one_more = run(jax.devices()[:1], folder=sys.argv[1], save_every=5, resume=True)
print("read on one", gap(one_more.last, four.last))
for arguments in ({"batch_size": 6}, {"devices": jax.devices()[:1] * 2}):
    try:
        run(**arguments)
    except ValueError as error:
        print("refused:", error)
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    command = [sys.executable, "-c", SCRIPT, str(tmp_path_factory.mktemp("runs") / "run")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def line_of(output, first):
    return next(line for line in output if line[0] == first)


def test_four_devices_give_the_result_of_one(output):
    """Sums over the batch are taken in another order: 1e-16 each, which thirty steps of Adam let grow."""
    line = line_of(output, "last")
    assert float(line[1]) < 1e-11
    assert float(line[3]) < 1e-11
    assert line_of(output, "skipped")[1:] == ["1", "1", "True"]
    assert float(line_of(output, "device")[1]) < 1e-11


def test_a_run_over_four_devices_resumes_exactly(output):
    assert line_of(output, "resumed")[1:] == ["15", "0.0"]
    assert float(line_of(output, "read")[3]) == 0


def test_what_cannot_be_cut_is_refused(output):
    refused = [" ".join(line) for line in output if line[0] == "refused:"]
    assert "The batch['x'] of shape (6, 3) does not divide evenly over 4 devices" in refused[0]
    assert "a multiple of 4, or fewer devices, such as devices=jax.local_devices()[:1]" in refused[0]
    assert "must be different devices, at least one" in refused[1]
