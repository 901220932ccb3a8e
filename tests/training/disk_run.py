"""A small run on disk, to be stopped, damaged and resumed in the tests beside this file."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sciml.training import Batches, fit

X = np.random.default_rng(0).normal(size=(32, 2)).astype(np.float32)
Y = np.sin(X.sum(axis=1, keepdims=True))
SOURCE = Batches((X, Y), 8, seed=1)


class Model(eqx.Module):
    """A network, and leaves of kinds that a checkpoint must take care of."""

    network: eqx.nn.MLP
    spectral: jax.Array
    half: jax.Array
    empty: jax.Array
    table: np.ndarray
    key: jax.Array

    def __call__(self, x):
        noise = jax.random.normal(self.key, ())
        return self.network(x) + jnp.sum(jnp.abs(self.spectral)) + self.half[0] + 1e-3 * noise * self.table[0]


def make_model(seed=0):
    return Model(
        network=eqx.nn.MLP(2, 1, 4, 1, key=jax.random.key(seed)),
        spectral=jnp.array([0.1 + 0.2j, 0.3]),
        half=jnp.zeros(2, jnp.bfloat16),
        empty=jnp.zeros((0, 2)),
        table=np.array([3, 4]),
        key=jax.random.key(seed),
    )


def loss(model, batch, key):
    x, y = batch
    error = jnp.mean((jax.vmap(model)(x + 0.1 * jax.random.normal(key, x.shape)) - y) ** 2)
    return error, {"size": jnp.abs(model.spectral[0])}


@eqx.filter_jit
def validate(model):
    return jnp.mean((jax.vmap(model)(X) - Y) ** 2)


def batches(step):
    x, y = SOURCE(step)
    return x, y * (np.nan if step in (3, 8, 14) else 1)


def run(folder, *, model=None, **more):
    arguments = {
        "optimizer": optax.adam(1e-2),
        "steps": 20,
        "key": jax.random.key(5),
        "validate": validate,
        "validate_every": 3,
        "save_every": 4,
        "progress": False,
        "configuration": {"rate": 1e-2},
        "folder": folder,
    }
    return fit(make_model() if model is None else model, loss, batches, **{**arguments, **more})


class StopError(Exception):
    """The run is stopped here."""


def run_until(folder, stop, **more):
    """Run until a record of a step is to be logged, after the loop has done that step and maybe the next."""

    def log(step, metrics):
        if step >= stop:
            raise StopError

    with pytest.raises(StopError):
        run(folder, log=log, **more)


def bits(tree):
    return [
        np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x).tobytes()
        for x in jax.tree.leaves(eqx.filter(tree, eqx.is_array))
    ]


def without_times(history):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]


def read_log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def check_same(folder, result, unbroken):
    reference_folder, reference = unbroken
    assert bits(result.last) == bits(reference.last)
    assert bits(result.best) == bits(reference.best)
    assert without_times(result.history) == without_times(reference.history)
    assert without_times(read_log(folder)) == without_times(reference.history)
    for name in ("last.eqx", "best.eqx"):
        assert (folder / name).read_bytes() == (reference_folder / name).read_bytes()
    for name in ("steps", "skipped", "best_step", "best_value", "stopped_early"):
        assert getattr(result.stats, name) == getattr(reference.stats, name)
