"""A loss that carries a state from step to step: what it computes, what a skipped step keeps, exact resume."""

import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sciml.training import Batches, fit

KEY = jax.random.key(0)
ROOT = Path(__file__).resolve().parents[2]
X = np.random.default_rng(0).normal(size=(12, 3))
Y = X @ np.array([1.0, -2.0, 0.5])
DATA = Batches((X, Y), 4, seed=1)


class Running(eqx.Module):
    """A mean, with a name that is not an array."""

    mean: jax.Array
    count: jax.Array
    key: jax.Array
    name: str = eqx.field(static=True, default="loss")


def start():
    return Running(jnp.zeros(()), jnp.zeros((), jnp.int32), jax.random.key(7))


def square(w, batch):
    return jnp.mean((batch[0] @ w - batch[1]) ** 2)


def running_mean(w, batch, state, key):
    """The square, more of it as time goes on, and the mean of it over the steps before."""
    value = square(w, batch)
    count = state.count + 1
    mean = state.mean + (value - state.mean) / count
    state = Running(mean, count, jax.random.fold_in(state.key, 1))
    return value * (1 + 0.1 * count), {"mean": mean, "plain": value}, state


def train(loss=running_mean, batches=DATA, *, loss_state=None, steps=10, **more):
    return fit(
        jnp.zeros(3),
        loss,
        batches,
        optimizer=optax.sgd(0.05),
        steps=steps,
        key=KEY,
        loss_state=start() if loss_state is None else loss_state,
        **{"progress": False, **more},
    )


def descend(steps, skip=()):
    """Gradient descent by hand, whose weight counts the steps that were taken, and their mean loss."""
    w, losses = np.zeros(3), []
    for step in range(steps):
        if step in skip:
            continue
        x, y = DATA(step)
        losses.append(np.mean((x @ w - y) ** 2))
        w = w - 0.05 * (1 + 0.1 * len(losses)) * 2 * x.T @ (x @ w - y) / len(y)
    return w, np.array(losses)


def spoiled(*steps):
    return lambda step: (X[:4], np.full(4, np.nan)) if step in steps else DATA(step)


# What it computes.


def test_a_state_goes_from_step_to_step():
    """Exact: a count that weighs the loss, and a running mean of it."""
    given = start()
    result = train(loss_state=given)
    w, losses = descend(10)
    np.testing.assert_allclose(result.last, w, rtol=1e-12)
    assert result.loss_state.count == 10
    np.testing.assert_allclose(result.loss_state.mean, losses.mean(), rtol=1e-12)
    means = np.cumsum(losses) / np.arange(1, 11)
    np.testing.assert_allclose([record["mean"] for record in result.history], means, rtol=1e-12)
    assert result.loss_state.name == "loss"
    assert result.loss_state.count.dtype == jnp.int32
    expected = given.key
    for _ in range(10):
        expected = jax.random.fold_in(expected, 1)
    assert jnp.array_equal(result.loss_state.key, expected)
    assert given.count == 0  # what the user gave is neither changed nor used up


def test_no_gradient_passes_through_the_state():
    """Exact: an accumulated square does not pull on the weights."""

    def loss(w, batch, state, key):
        value = square(w, batch)
        return value + 0 * state, {}, state + jnp.sum(w**2)

    with_state = train(loss, loss_state=jnp.zeros(()))
    plain = fit(
        jnp.zeros(3),
        lambda w, batch, key: square(w, batch),
        DATA,
        optimizer=optax.sgd(0.05),
        steps=10,
        key=KEY,
        progress=False,
    )
    np.testing.assert_array_equal(with_state.last, plain.last)
    assert plain.loss_state is None


def test_a_state_without_arrays_is_one():
    """Property: what the loss is called with depends on the argument, not on what is in it."""
    result = train(lambda w, b, state, key: (square(w, b), {}, state), loss_state=())
    assert result.loss_state == ()


def test_the_step_is_compiled_once_also_with_numbers_of_weak_type():
    """Property."""
    traces = []

    def loss(w, batch, state, key):
        traces.append(None)
        return square(w, batch), {}, jnp.asarray(1.0)

    train(loss, loss_state=jnp.asarray(0.0))
    assert len(traces) == 1


def test_validation_does_not_see_it():
    """Property."""
    seen = []
    result = train(validate=lambda *arguments: seen.append(arguments) or 0.0, validate_every=5)
    assert [len(arguments) for arguments in seen] == [1, 1]
    np.testing.assert_array_equal(seen[-1][0], result.last)


# What a skipped step keeps, and what a checkpoint holds.


def test_a_skipped_step_keeps_the_state():
    """Exact: as if the step had not been."""
    with pytest.warns(UserWarning, match="3 of 10 steps were skipped"):
        result = train(batches=spoiled(0, 4, 9))
    w, losses = descend(10, skip=(0, 4, 9))
    np.testing.assert_allclose(result.last, w, rtol=1e-12)
    assert result.loss_state.count == 7
    np.testing.assert_allclose(result.loss_state.mean, losses.mean(), rtol=1e-12)


class StopError(Exception):
    """The run is stopped here."""


def stop_at(step):
    def log(now, metrics):
        if now >= step:
            raise StopError

    return log


def bits(tree):
    return [
        np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x).tobytes()
        for x in jax.tree.leaves(tree)
    ]


@pytest.mark.filterwarnings("ignore:.*steps were skipped")
@pytest.mark.parametrize("stops", [(2,), (5, 9)])
def test_a_run_that_is_stopped_and_resumed_is_bitwise_the_same(tmp_path, stops):
    """Exact: the state among what a checkpoint holds, with a skipped step before and after it."""
    more = {"batches": spoiled(1, 6), "save_every": 3, "validate": jnp.sum, "validate_every": 4}
    unbroken = train(folder=tmp_path / "unbroken", **more)
    for stop in stops:
        with pytest.raises(StopError):
            train(folder=tmp_path / "run", resume=True, log=stop_at(stop), **more)
    # What is given on resume is only a template.
    other = Running(jnp.ones(()), jnp.ones((), jnp.int32), jax.random.key(8))
    result = train(folder=tmp_path / "run", resume=True, loss_state=other if stops[-1] > 3 else None, **more)
    assert result.stats.resumed_from == ((stops[-1] - 1) // 3 * 3 or None)
    assert bits((result.last, result.loss_state)) == bits((unbroken.last, unbroken.loss_state))
    again = train(folder=tmp_path / "run", resume=True, **more)
    assert bits(again.loss_state) == bits(unbroken.loss_state)


def test_a_run_is_not_resumed_with_another_state(tmp_path):
    train(folder=tmp_path / "run", steps=2)
    with pytest.raises(ValueError, match=r"another configuration(.|\n)*loss_state"):
        train(
            lambda w, b, s, key: (square(w, b), {}, s),
            folder=tmp_path / "run",
            steps=2,
            resume=True,
            loss_state=jnp.zeros(2),
        )


SCRIPT = """
import jax, jax.numpy as jnp, numpy as np
from tests.training.test_loss_state import train
jax.config.update("jax_enable_x64", True)
four, one = train(), train(devices=jax.devices()[:1])
assert len(jax.devices()) == 4
print(float(abs(four.loss_state.mean - one.loss_state.mean)), float(jnp.max(jnp.abs(four.last - one.last))))
print(int(four.loss_state.count))
"""


def test_four_devices_give_the_state_of_one():
    """Sharded equals unsharded: the mean over the batch is taken in another order, 1e-16 each time."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    gap, model_gap, count = done.stdout.split()
    assert float(gap) < 1e-12
    assert float(model_gap) < 1e-12
    assert int(count) == 10


# Bad input.


def returns(result):
    return lambda w, batch, state, key: result(square(w, batch), state)


@pytest.mark.parametrize(
    ("loss", "loss_state", "message"),
    [
        (running_mean, [1.0], r"loss_state\[0\] is of type float; .*jnp.asarray\(number\)"),
        (running_mean, {"name": "x"}, r"loss_state\['name'\] is of type str"),
        (
            lambda w, batch, key: 0.0,
            jnp.zeros(2),
            r"cannot be called as loss\(model, batch, loss_state, key=...\): .*Give it four arguments",
        ),
        (3, jnp.zeros(2), r"loss is of type int; expected a function loss\(model, batch, loss_state, key\)"),
        (returns(lambda loss, s: loss), jnp.zeros(2), "With loss_state=, return three things"),
        (returns(lambda loss, s: (loss, {})), jnp.zeros(2), "a value of type tuple of 2. With loss_state="),
        (returns(lambda loss, s: (loss, s, {})), jnp.zeros(2), "another structure"),
        (returns(lambda loss, s: (loss, {}, (s, s))), jnp.zeros(2), "loss_state of another structure"),
        (returns(lambda loss, s: (loss, {}, None)), jnp.zeros(2), "loss_state of another structure"),
        (
            returns(lambda loss, s: (loss, {}, {"a": s["a"][:1]})),
            {"a": jnp.zeros(2)},
            r"loss_state\['a'\] as float64\[1\], and was given float64\[2\]",
        ),
        (
            returns(lambda loss, s: (loss, {}, s.astype(jnp.float32))),
            jnp.zeros(2),
            r"as float32\[2\], and was given float64\[2\]",
        ),
        (returns(lambda loss, s: (loss, {}, 1.0)), jnp.zeros(()), r"as float, and was given float64\[\]"),
        (returns(lambda loss, s: (loss, s, s)), jnp.zeros(2), "where its metrics should be"),
    ],
)
def test_bad_input(loss, loss_state, message):
    with pytest.raises(ValueError, match=message):
        train(loss, loss_state=loss_state)


def test_a_loss_of_four_arguments_without_a_state():
    with pytest.raises(ValueError, match=r"cannot be called as loss\(model, batch, key=...\)"):
        fit(jnp.zeros(3), running_mean, DATA, optimizer=optax.sgd(0.1), steps=1, key=KEY, progress=False)
