"""Learned interpolation: what holds whatever its weights are (exact, property), that it learns, and bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sciml.nn import AbsoluteInterpolation, RelativeInterpolation

ONE = (1.0, 1.0)


def relative(key, **options):
    return RelativeInterpolation(2, **{"neighbors": 6, "width": 8, "periods": ONE, "key": key, **options})


def test_constants_and_slopes_are_kept_and_only_relative_positions_count(key):
    """Exact: whatever the weights of the network; a shift of all positions, across the seam too, changes nothing."""
    nodes = jax.random.uniform(key, (40, 2))
    queries = jax.random.uniform(jax.random.fold_in(key, 1), (9, 2))
    values = jax.random.normal(key, (2, 40))
    model = jax.jit(lambda v, x, y: relative(key)(v, x, y))
    np.testing.assert_allclose(model(jnp.ones((1, 40)), nodes, queries), 1.0, atol=1e-12)
    found = model(values, nodes, queries)
    np.testing.assert_allclose(model(values, (nodes + 0.37) % 1, (queries + 0.37) % 1), found, atol=1e-9)
    # Linear functions are kept, too, where no seam is in the way.
    inside = 0.3 + 0.4 * nodes
    slanted = jnp.sum(inside, axis=1)[None]
    exact = jnp.sum(0.4 + 0.2 * queries, axis=1)[None]
    np.testing.assert_allclose(model(slanted, inside, 0.4 + 0.2 * queries), exact, atol=2e-5)
    # The published form has neither.
    published = AbsoluteInterpolation(2, neighbors=6, widths=(8,), periods=ONE, key=key)
    assert jnp.max(abs(published(jnp.ones((1, 40)), nodes, queries) - 1)) > 0.1


def test_a_query_that_is_a_node_has_a_gradient(key):
    """Gradient: finite, where the distance has a kink."""
    nodes = jax.random.uniform(key, (12, 2))

    def loss(nodes):
        return jnp.sum(relative(key)(nodes.T, nodes, nodes[:3]) ** 2)

    assert jnp.all(jnp.isfinite(jax.jit(jax.grad(loss))(nodes)))


def test_it_learns_to_interpolate(key):
    """From random smooth functions; others than those it is measured on."""
    nodes = jax.random.uniform(key, (100, 2))
    queries = jax.random.uniform(jax.random.fold_in(key, 1), (50, 2))

    def waves(x, key):
        k = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        size, phase = jax.random.normal(key, (2, 3, 1))
        return jnp.sum(size * jnp.sin(2 * jnp.pi * k @ x.T + phase), axis=0)[None]

    def error(model, key):
        return jnp.mean((model(waves(nodes, key), nodes, queries) - waves(queries, key)) ** 2)

    model = relative(key, width=16)
    optimizer = optax.adam(1e-2)

    @jax.jit
    def train(model, keys):
        def step(carry, key):
            model, state = carry
            gradient = jax.grad(
                lambda m: jnp.mean(jax.vmap(lambda k: error(m, k))(jax.random.split(key, 4)))
            )(model)
            update, state = optimizer.update(gradient, state)
            return (eqx.apply_updates(model, update), state), None

        return jax.lax.scan(step, (model, optimizer.init(model)), keys)[0][0]

    trained = train(model, jax.random.split(jax.random.key(1), 150))
    judge = jax.jit(
        lambda m: jnp.mean(jax.vmap(lambda k: error(m, k))(jax.random.split(jax.random.key(2), 16)))
    )
    assert judge(trained) < 0.7 * judge(model)


def test_bad_input(key):
    nodes = jnp.zeros((4, 2))
    with pytest.raises(ValueError, match="k=6 for 4 points"):
        relative(key)(jnp.zeros((1, 4)), nodes, nodes)
    with pytest.raises(ValueError, match=r"values of shape \(1, 5\) for nodes \(4, 2\)"):
        relative(key)(jnp.zeros((1, 5)), nodes, nodes)
    with pytest.raises(ValueError, match="neighbors=0"):
        relative(key, neighbors=0)
