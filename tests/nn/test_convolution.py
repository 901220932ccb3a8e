"""Convolutions, the residual network and the U-Net made of them."""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sciml.nn import ConvNet, Convolution, Padding, UNet
from sciml.nn.convolution import _correlate, _correlate_by_products
from sciml.nn.unet import _gather_cells, _scatter_cells

SHAPES = [(7,), (5, 6), (4, 3, 5)]


def _fold(index, n, padding):
    """Where a padded axis takes its value from; None is a zero."""
    if 0 <= index < n:
        return index
    if padding is Padding.PERIODIC:
        return index % n
    if padding is Padding.REFLECT:
        return -1 - index if index < 0 else 2 * n - 1 - index
    return None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("padding", [*Padding, "mixed"])
def test_equals_the_sum_in_the_docstring(key, shape, padding):
    """Exact: term by term, with what lies beyond each end found by hand."""
    paddings = tuple(Padding)[: len(shape)] if padding == "mixed" else (padding,) * len(shape)
    layer = Convolution(len(shape), 2, 3, kernel_size=3, padding=paddings, key=key)
    u = np.asarray(jax.random.normal(key, (2, *shape)))
    weight = np.asarray(layer.weight)
    expected = np.zeros((3, *shape))
    for point in np.ndindex(*shape):
        for shift in itertools.product(range(3), repeat=len(shape)):
            source = [
                _fold(x + s - 1, n, p) for x, s, n, p in zip(point, shift, shape, paddings, strict=True)
            ]
            if None not in source:
                expected[(slice(None), *point)] += (
                    weight[(slice(None), slice(None), *shift)] @ u[(slice(None), *source)]
                )
    np.testing.assert_allclose(layer(u), expected, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_both_ways_to_correlate_agree(key, shape):
    """Exact: what runs on a CPU and what runs elsewhere, values and gradients."""
    w, x = (jax.random.normal(k, s) for k, s in ((key, (3, 2, *[3] * len(shape))), (key, (2, *shape))))

    def run(correlate):
        return jax.value_and_grad(lambda w, x: jnp.sum(jnp.sin(correlate(w, x))), argnums=(0, 1))(w, x)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12),
        run(_correlate),
        run(_correlate_by_products),
    )


@pytest.mark.parametrize("shape", [(8,), (4, 6), (2, 4, 6)])
def test_cells_are_gathered_and_scattered(key, shape):
    """Exact: one undoes the other, and a gathered cell holds the points of that cell."""
    x = jax.random.normal(key, (3, *shape))
    cells = _gather_cells(x)
    np.testing.assert_array_equal(_scatter_cells(cells), x)
    corner = (slice(None), *[slice(0, 2)] * len(shape))
    np.testing.assert_array_equal(
        np.sort(cells[(slice(None), *[0] * len(shape))]), np.sort(x[corner], axis=None)
    )


BUILDERS = {
    "ConvNet": lambda dims, padding, key: ConvNet(dims, 2, 1, width=4, depth=2, padding=padding, key=key),
    "UNet": lambda dims, padding, key: UNet(
        dims, 2, 1, width=2, levels=2 if dims < 3 else 1, padding=padding, key=key
    ),
}


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("shape", [(8,), (8, 4), pytest.param((2, 4, 2), marks=pytest.mark.slow)])
def test_maps_fields_in_every_dimension(key, name, shape):
    """Property: channels change, space does not; every parameter has a gradient; under jit, vmap and grad as it is."""
    model = BUILDERS[name](len(shape), tuple(Padding)[: len(shape)], key)
    batch = jax.random.normal(key, (2, 2, *shape))

    def loss(m):
        y = jax.vmap(m)(batch)
        return jnp.mean(y**2), y

    (_, y), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(model)
    assert y.shape == (2, 1, *shape)
    assert all(jnp.all(jnp.isfinite(leaf)) and jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradient))


@functools.cache
def build_periodic(name):
    """One model for all the examples of a property."""
    return eqx.filter_jit(BUILDERS[name](2, Padding.PERIODIC, jax.random.key(0)))


@given(shift=st.tuples(st.integers(0, 16), st.integers(0, 8)))
def test_a_periodic_convnet_commutes_with_shifts(shift):
    """Property: by any number of points."""
    model, u = build_periodic("ConvNet"), jax.random.normal(jax.random.key(0), (2, 16, 8))
    np.testing.assert_allclose(
        model(jnp.roll(u, shift, (1, 2))), jnp.roll(model(u), shift, (1, 2)), atol=1e-13
    )


@given(shift=st.tuples(st.integers(0, 4), st.integers(0, 2)))
def test_a_periodic_unet_commutes_with_shifts_by_its_coarsest_cell(shift):
    """Property: by multiples of `2**levels` points."""
    model, u = build_periodic("UNet"), jax.random.normal(jax.random.key(0), (2, 16, 8))
    by = tuple(4 * s for s in shift)
    np.testing.assert_allclose(model(jnp.roll(u, by, (1, 2))), jnp.roll(model(u), by, (1, 2)), atol=1e-12)


def test_reflection_commutes_with_mirrors(key):
    """Property: the even extension of a field is mapped to the even extension, if the kernel is even too."""
    layer = Convolution(1, 1, 1, padding=Padding.REFLECT, key=key)
    weight = layer.weight + layer.weight[..., ::-1]
    u = jax.random.normal(key, (1, 6))
    even = eqx.tree_at(lambda c: c.weight, layer, weight)
    periodic = eqx.tree_at(lambda c: c.weight, Convolution(1, 1, 1, key=key), weight)
    double = jnp.concatenate([u, u[:, ::-1]], axis=1)
    np.testing.assert_allclose(even(u), periodic(double)[:, :6], atol=1e-14)


@pytest.mark.parametrize("name", ["ConvNet", "UNet"])
def test_the_program_does_not_grow_with_depth(key, name):
    """Property: as many operations with 6 blocks (per level) as with 2, since blocks are scanned."""
    u = jnp.zeros((1, 8))
    build = {"ConvNet": ConvNet, "UNet": UNet}[name]

    def count(depth):
        model = build(1, 1, 1, width=4, depth=depth, key=key)
        return len(jax.jit(model.__call__).lower(u).as_text().splitlines())

    assert count(6) == count(2)
