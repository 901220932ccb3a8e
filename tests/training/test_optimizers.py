"""Optimizers: what is a matrix, and what a step of it is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sciml.experiments.settings import Steps
from sciml.training import muon


@pytest.fixture
def slopes():
    keys = jax.random.split(jax.random.key(0), 4)
    return {
        "stacked": jax.random.normal(keys[0], (3, 8, 6)),
        "matrix": jax.random.normal(keys[1], (8, 6)),
        "narrow": jax.random.normal(keys[2], (2, 6)),
        "vector": jax.random.normal(keys[3], (8,)),
        "kernel": jax.random.normal(keys[3], (4, 3, 5, 5)),
    }


def take_step(slopes, optimizer):
    return optimizer.update(slopes, optimizer.init(slopes), slopes)[0]


def test_step_of_a_matrix_leaves_no_direction_behind(slopes):
    step = take_step(slopes, muon(1e-2))["matrix"]
    values = jnp.linalg.svd(step, compute_uv=False)
    before = jnp.linalg.svd(slopes["matrix"], compute_uv=False)
    assert values.min() / values.max() > 0.6 > 0.5 > before.min() / before.max()
    assert float(jnp.sqrt(jnp.mean(step**2))) == pytest.approx(1.5e-2, rel=0.2)


def test_layers_that_are_stacked_are_matrices_each(slopes):
    whole = take_step(slopes, muon(1e-2))["stacked"]
    each = [take_step({"one": layer}, muon(1e-2))["one"] for layer in slopes["stacked"]]
    np.testing.assert_allclose(whole, jnp.stack(each), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["narrow", "vector", "kernel"])
def test_what_is_no_matrix_is_left_to_adam(slopes, name):
    found, expected = (take_step(slopes, optimizer)[name] for optimizer in (muon(1e-2), optax.nadam(1e-2)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_network_in_one_module_and_schedule(slopes):
    network = eqx.nn.MLP(3, 3, 8, 2, key=jax.random.key(0))
    optimizer = Steps(optimizer="muon").make_optimizer(10)
    x = jax.random.normal(jax.random.key(1), (32, 3))

    @eqx.filter_jit
    def train(network, state):
        value, slope = eqx.filter_value_and_grad(lambda f: jnp.mean((jax.vmap(f)(x) - x[:, ::-1]) ** 2))(
            network
        )
        step, state = optimizer.update(slope, state, eqx.filter(network, eqx.is_inexact_array))
        return eqx.apply_updates(network, step), state, value

    state, values = optimizer.init(eqx.filter(network, eqx.is_inexact_array)), []
    for _ in range(10):
        network, state, value = train(network, state)
        values.append(float(value))
    assert values[1] == values[0]  # the rate begins at nothing
    assert values[-1] < values[0]
