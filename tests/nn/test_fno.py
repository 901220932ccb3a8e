"""The Fourier neural operator: resolutions, boundaries, compilation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciml.nn import FNO


def _waves(n, coefficients):
    """Band-limited periodic fields `(field, 1, n)` from coefficients `(field, 2, wavenumber)`."""
    angle = 2 * jnp.pi * jnp.arange(1, coefficients.shape[-1] + 1)[:, None] * jnp.arange(n) / n
    return (
        jnp.einsum("fk,kn->fn", coefficients[:, 0], jnp.cos(angle))[:, None]
        + jnp.einsum("fk,kn->fn", coefficients[:, 1], jnp.sin(angle))[:, None]
    )


@pytest.mark.parametrize(("dims", "shape"), [(1, (16,)), (2, (12, 10)), (3, (8, 7, 6))])
@pytest.mark.parametrize(("periodic", "coordinates"), [(True, False), (True, True), (False, True)])
def test_maps_fields_in_every_dimension(key, dims, shape, periodic, coordinates):
    """Property: channels change, space does not, and the result is finite; under jit, vmap and grad as it is."""
    model = FNO(dims, 2, 3, width=4, modes=3, depth=2, periodic=periodic, coordinates=coordinates, key=key)
    batch = jax.random.normal(key, (2, 2, *shape))
    loss, gradient = jax.jit(jax.value_and_grad(lambda m: jnp.mean(jax.vmap(m)(batch) ** 2)))(model)
    assert jax.vmap(model)(batch).shape == (2, 3, *shape)
    assert jnp.isfinite(loss)
    assert all(jnp.all(jnp.isfinite(leaf)) and jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradient))


@given(shift=st.tuples(st.integers(0, 12), st.integers(0, 10)))
def test_a_periodic_one_commutes_with_shifts(shift):
    """Property: all its parts do, so it does, to rounding."""
    key = jax.random.key(1)
    model = eqx.filter_jit(FNO(2, 1, 1, width=4, modes=3, depth=2, key=key))
    u = jax.random.normal(key, (1, 12, 10))
    np.testing.assert_allclose(
        model(jnp.roll(u, shift, (1, 2))), jnp.roll(model(u), shift, (1, 2)), atol=1e-12
    )


def test_mixed_axes_commute_with_shifts_of_the_periodic_one_only(key):
    """Property: padding is per axis."""
    model = FNO(2, 1, 1, width=4, modes=3, depth=2, periodic=(True, False), key=key)
    u = jax.random.normal(key, (1, 12, 10))
    for axis, commutes in ((1, True), (2, False)):
        gap = jnp.max(jnp.abs(model(jnp.roll(u, 3, axis)) - jnp.roll(model(u), 3, axis)))
        assert (gap < 1e-12) == commutes


@pytest.mark.slow
def test_trained_coarse_it_works_fine(key):
    """Property: trained to differentiate on 32 points, it errs as little on 128, and on other fields."""
    train, test = (
        jax.random.normal(k, (16, 2, 3)) / jnp.array([1.0, 2.0, 3.0]) for k in jax.random.split(key)
    )

    def differentiate(c):
        k = jnp.arange(1, 4)
        return jnp.stack([k * c[:, 1], -k * c[:, 0]], axis=1)

    model = FNO(1, 1, 1, width=12, modes=8, depth=2, key=key)
    optimizer = optax.adam(1e-2)

    def loss(model, n, c):
        error = jax.vmap(model)(_waves(n, c)) - _waves(n, differentiate(c))
        return jnp.sum(error**2) / jnp.sum(_waves(n, differentiate(c)) ** 2)

    def step(carry, _):
        model, state = carry
        gradient = jax.grad(loss)(model, 32, train)
        updates, state = optimizer.update(gradient, state, model)
        return (optax.apply_updates(model, updates), state), None

    run = jax.jit(lambda m, s: jax.lax.scan(step, (m, s), length=200)[0])
    model, _ = run(model, optimizer.init(model))
    coarse, fine = (float(loss(model, n, test)) ** 0.5 for n in (32, 128))
    assert coarse < 0.15  # an untrained model has 1
    # The nonlinearity makes harmonics that alias a little at 32 points.
    assert abs(fine - coarse) < 0.1 * coarse


def test_padding_means_the_same_at_every_resolution(key):
    """Order: on a smooth field between walls, twice as many points change the result by the error of the transforms.

    The continuation by zeros has jumps, so the coefficients converge with first order at cell centers or better.
    """
    model = FNO(1, 1, 1, width=4, modes=4, depth=2, periodic=False, coordinates=True, key=key)

    def evaluate(n):
        x = (jnp.arange(n) + 0.5) / n
        # Means of the cells at the resolution of the coarsest, comparable to second order.
        return model(jnp.exp(-x)[None])[0].reshape(16, -1).mean(axis=1)

    gaps = [float(jnp.max(jnp.abs(evaluate(2 * n) - evaluate(n)))) for n in (16, 32, 64)]
    assert gaps[1] < 0.7 * gaps[0]
    assert gaps[2] < 0.7 * gaps[1]


@pytest.mark.parametrize("unroll", [2, 3, 8])
def test_unrolling_changes_nothing(key, unroll):
    """Exact: the same layers, laid out differently, to rounding."""
    u = jax.random.normal(key, (1, 16))
    once, laid_out = (FNO(1, 1, 1, width=4, modes=3, depth=3, unroll=n, key=key)(u) for n in (1, unroll))
    np.testing.assert_allclose(once, laid_out, atol=1e-13)


def test_the_program_does_not_grow_with_depth(key):
    """Property: as many operations with 12 layers as with 3, since layers are scanned."""
    u = jnp.zeros((2, 16))

    def count(depth):
        model = FNO(1, 2, 1, width=4, modes=3, depth=depth, key=key)
        return len(jax.jit(jax.grad(lambda m: jnp.sum(m(u)))).lower(model).as_text().splitlines())

    assert count(12) == count(3)


def test_a_residual_layer_adds_what_the_other_one_puts_in_place(key):
    """Exact: the same weights, with and without."""
    plain, residual = (
        FNO(1, 1, 1, width=4, modes=3, depth=1, residual=residual, key=key) for residual in (False, True)
    )
    u = jax.random.normal(key, (1, 12))
    v = plain.lift(u)
    for model, expected in ((plain, 0 * v), (residual, v)):
        layer = jax.tree.map(lambda leaf: leaf[0], model.layers)
        assert layer(v).shape == v.shape
        plain_layer = jax.tree.map(lambda leaf: leaf[0], plain.layers)
        np.testing.assert_allclose(layer(v), expected + plain_layer(v), atol=1e-12)


def test_adding_coordinates_breaks_the_shift(key):
    """Property: a model that knows where it is need not commute with shifts."""
    model = FNO(1, 1, 1, width=4, modes=3, depth=2, coordinates=True, key=key)
    u = jax.random.normal(key, (1, 16))
    assert jnp.max(jnp.abs(model(jnp.roll(u, 3, 1)) - jnp.roll(model(u), 3, 1))) > 1e-3
