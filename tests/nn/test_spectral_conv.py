"""The spectral convolution against direct evaluations, and its symmetries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from sciml.nn import SpectralConv

CASES = [(1, (16,), 5), (1, (9,), 5), (2, (12, 10), (3, 5)), (2, (7, 8), (4, 1)), (3, (6, 8, 5), (2, 3, 3))]


def _apply_by_fft(layer, u):
    """The same map through the fast Fourier transforms of numpy."""
    axes = tuple(range(1, u.ndim))
    spectrum = np.fft.rfftn(u, axes=axes, norm="forward")
    weight = np.asarray(layer.weight[0]) + 1j * np.asarray(layer.weight[1])
    result = np.zeros((weight.shape[-1], *spectrum.shape[1:]), complex)
    for index in np.ndindex(*weight.shape[:-2]):
        # Kept modes are ordered 0, 1, ..., m - 1, 1 - m, ..., -1: counted from the end, the negative ones are numpy's.
        place = tuple(k if k < m else k - (2 * m - 1) for k, m in zip(index, layer.modes, strict=True))
        result[(slice(None), *place)] = weight[index].T @ spectrum[(slice(None), *place)]
    return np.fft.irfftn(result, s=u.shape[1:], axes=axes, norm="forward")


@pytest.mark.parametrize(("dims", "shape", "modes"), CASES)
def test_equals_transforms_of_the_whole_spectrum(key, dims, shape, modes):
    """Exact: `irfftn(W rfftn(u))` with the other modes zero, to the rounding of sums over the grid."""
    layer = SpectralConv(dims, 2, 3, modes=modes, key=key)
    u = jax.random.normal(key, (2, *shape))
    np.testing.assert_allclose(layer(u), _apply_by_fft(layer, np.asarray(u)), atol=1e-13)


def test_equals_the_sum_in_the_docstring(key):
    """Exact: the formula, term by term, in two dimensions."""
    layer = SpectralConv(2, 1, 1, modes=(2, 3), key=key)
    u = np.asarray(jax.random.normal(key, (1, 5, 6)))
    x, y = np.meshgrid(np.arange(5) / 5, np.arange(6) / 6, indexing="ij")
    expected = np.zeros((5, 6))
    for i, k in enumerate((0, 1, -1)):
        for j in range(3):
            wave = np.exp(2j * np.pi * (k * x + j * y))
            weight = complex(layer.weight[0, i, j, 0, 0], layer.weight[1, i, j, 0, 0])
            # A mode with a positive last component brings its conjugate with it.
            expected += (1 if j == 0 else 2) * (weight * np.mean(u[0] * wave.conj()) * wave).real
    np.testing.assert_allclose(layer(u)[0], expected, atol=1e-14)


@pytest.mark.parametrize(("dims", "shape", "modes"), CASES)
@given(data=st.data())
def test_commutes_with_shifts(dims, shape, modes, data):
    """Property: shifting a periodic field and applying the layer can be done in either order."""
    shift = data.draw(st.tuples(*[st.integers(0, n) for n in shape]))
    key = jax.random.key(data.draw(st.integers(0, 100)))
    layer = SpectralConv(dims, 2, 2, modes=modes, key=key)
    u = jax.random.normal(key, (2, *shape))
    axes = tuple(range(1, dims + 1))
    np.testing.assert_allclose(layer(jnp.roll(u, shift, axes)), jnp.roll(layer(u), shift, axes), atol=1e-13)


def test_means_the_same_at_every_resolution(key):
    """Exact: on a band-limited field, every second point of the fine result is the coarse result."""
    layer = SpectralConv(2, 1, 2, modes=4, key=key)

    def sample(n):
        x, y = jnp.meshgrid(jnp.arange(n) / n, jnp.arange(n) / n, indexing="ij")
        return jnp.sin(2 * jnp.pi * (x + 2 * y))[None] + jnp.cos(2 * jnp.pi * 3 * x)[None]

    np.testing.assert_allclose(layer(sample(32))[:, ::2, ::2], layer(sample(16)), atol=1e-13)


def test_gradient_against_finite_differences(key):
    """Gradient: by the weights and the field, against central differences in float64."""
    layer = SpectralConv(2, 2, 2, modes=(2, 3), key=key)
    u = jax.random.normal(key, (2, 5, 6))
    check_grads(lambda layer, u: jnp.sum(jnp.tanh(layer(u))), (layer, u), order=1, modes=["rev"])


def test_float32_stays_float32(float32, key):
    """Property: the tables do not promote the field."""
    layer = SpectralConv(1, 1, 1, modes=3, key=key)
    assert layer(jnp.ones((1, 8))).dtype == jnp.float32


def test_the_longest_temporary_does_not_multiply_weights_by_the_batch(key):
    """Property: the product per mode is a matrix product, so memory is a few fields, not `batch * in * out * mode`."""
    layer = SpectralConv(1, 32, 32, modes=16, key=key)
    batch = jnp.zeros((64, 32, 64))
    memory = jax.jit(jax.vmap(layer)).lower(batch).compile().memory_analysis()
    if memory is None:
        pytest.skip("this backend reports no memory")
    assert memory.temp_size_in_bytes < 10 * batch.nbytes  # the outer product would take 512 times the batch
