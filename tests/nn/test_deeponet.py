"""The deep operator network: its sum, exact periodicity, learning."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciml.nn import DeepONet


def test_equals_the_sum_in_the_docstring(key):
    """Exact: coefficients times basis functions, point by point."""
    model = DeepONet((2, 6), 2, 3, width=8, depth=2, latent=5, key=key)
    values, points = jax.random.normal(key, (2, 6)), jax.random.uniform(key, (4, 2))
    branch = model.branch(values.reshape(-1)).reshape(3, 5)
    expected = np.array([[branch[c] @ model.trunk(x) / np.sqrt(5) for x in points] for c in range(3)])
    np.testing.assert_allclose(model(values, points), expected + model.bias[:, None], atol=1e-14)
    assert model(values, points).shape == (3, 4)


@given(turns=st.integers(-3, 3), x=st.floats(0, 2), t=st.floats(0, 1))
def test_is_periodic_exactly_where_it_should_be(turns, x, t):
    """Property: a whole number of periods changes nothing, in the value and in its derivative."""
    key = jax.random.key(0)
    model = DeepONet((1, 4), 2, 1, width=8, depth=1, periods=(2.0, None), key=key)
    values = jax.random.normal(key, (1, 4))

    def evaluate(x):
        return model(values, jnp.array([[x, t]]))[0, 0]

    for f in (evaluate, jax.grad(evaluate)):
        np.testing.assert_allclose(f(x + 2.0 * turns), f(x), atol=1e-11)


def test_sensors_may_be_a_field_of_any_dimension(key):
    """Property: values are taken as they lie on their grid, under vmap with shared points."""
    model = DeepONet((1, 4, 3), 2, 2, width=4, key=key)
    batch, points = jnp.ones((5, 1, 4, 3)), jnp.zeros((7, 2))
    assert jax.vmap(model, (0, None))(batch, points).shape == (5, 2, 7)


def test_learns_an_integral(key):
    """Property: the antiderivative of random waves, to a fifth of the error of predicting zero."""
    x = jnp.arange(16) / 16
    k = jnp.arange(1, 3)
    a = jax.random.normal(key, (64, 2))
    inputs = jnp.einsum("bk,kx->bx", a, jnp.cos(2 * jnp.pi * k[:, None] * x))[:, None]
    outputs = jnp.einsum("bk,kx->bx", a / (2 * jnp.pi * k), jnp.sin(2 * jnp.pi * k[:, None] * x))[:, None]
    model = DeepONet((1, 16), 1, 1, width=24, depth=2, latent=16, periods=1.0, key=key)
    optimizer = optax.adam(5e-3)

    def loss(model, rows):
        error = jax.vmap(model, (0, None))(inputs[rows], x[:, None]) - outputs[rows]
        return jnp.sum(error**2) / jnp.sum(outputs[rows] ** 2)

    def step(carry, _):
        model, state = carry
        updates, state = optimizer.update(jax.grad(loss)(model, slice(0, 48)), state, model)
        return (optax.apply_updates(model, updates), state), None

    run = jax.jit(lambda m, s: jax.lax.scan(step, (m, s), length=200)[0])
    model, _ = run(model, optimizer.init(model))
    assert loss(model, slice(48, 64)) < 0.2**2


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gradient_against_finite_differences(key, depth):
    """Gradient: by the parameters, in a random direction, central differences in float64."""
    model = DeepONet((1, 3), 1, 1, width=4, depth=depth, activation=jnp.tanh, key=key)
    values, points = jax.random.normal(key, (1, 3)), jnp.array([[0.2], [0.7]])
    direction = jax.tree.map(jnp.ones_like, model)

    def along(s):
        return jnp.sum(jax.tree.map(lambda p, d: p + s * d, model, direction)(values, points) ** 2)

    # The error of the difference is its step squared.
    np.testing.assert_allclose(jax.grad(along)(0.0), (along(1e-5) - along(-1e-5)) / 2e-5, rtol=1e-6)
