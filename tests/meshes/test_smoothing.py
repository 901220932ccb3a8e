"""Smoothing keeps the mass, invents no extremes, and treats walls as mirrors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from sciml.meshes import Gaussian, HelmholtzFilter
from sciml.pdes import Box, Grid, Neumann, Periodic

MIXED = Grid(Box((0.0, 0.0), (1.0, 2.0), (Periodic(), Neumann(0.0))), (8, 9))
LINE = Grid(Box(0.0, 1.0, Neumann(0.0)), 40)
GRIDS = [MIXED, LINE]
SMOOTHINGS = [Gaussian(1.0), Gaussian(5.0), HelmholtzFilter(1.0)]
every_smoothing = pytest.mark.parametrize("smoothing", SMOOTHINGS, ids=str)
smooth = jax.jit(lambda values, smoothing, grid: smoothing.smooth(values, grid), static_argnums=1)


@every_smoothing
@given(st.sampled_from(GRIDS), st.integers(0, 10**6), st.floats(0.0, 6.0))
def test_mass_stays_and_no_extreme_is_made(smoothing, grid, seed, decades):
    """Property, to rounding."""
    values = jnp.asarray(10 ** np.random.default_rng(seed).uniform(-decades, decades, grid.shape))
    found = smooth(values, smoothing, grid)
    rounding = 1e-12 * np.max(values)
    assert abs(np.sum(found) - np.sum(values)) < 100 * rounding
    assert np.min(found) > np.min(values) - rounding
    assert np.max(found) < np.max(values) + rounding


@every_smoothing
def test_mirrored_and_rolled_values_stay_so(smoothing):
    """Exact: mirrored at walls, rolled around periods, constants as they are."""
    values = jnp.asarray(np.random.default_rng(0).uniform(size=MIXED.shape))
    found = smooth(values, smoothing, MIXED)
    np.testing.assert_allclose(
        smooth(np.asarray(values)[:, ::-1], smoothing, MIXED), found[:, ::-1], rtol=1e-12
    )
    np.testing.assert_allclose(
        smooth(np.roll(values, 3, 0), smoothing, MIXED), np.roll(found, 3, 0), rtol=1e-12
    )
    np.testing.assert_allclose(smooth(jnp.ones(MIXED.shape), smoothing, MIXED), 1.0, rtol=1e-12)


@every_smoothing
def test_the_width_is_the_standard_deviation_in_cells(smoothing):
    """Exact: the second moment of what becomes of one cell, far from walls."""
    grid = Grid(Box(0.0, 1.0, Neumann(0.0)), 101)
    kernel = smooth(jnp.asarray(np.arange(101) == 50, float), smoothing, grid)
    variance = np.sum(np.asarray(kernel) * (np.arange(101) - 50.0) ** 2)
    assert variance == pytest.approx(smoothing.cells**2, rel=1e-6)


def test_the_helmholtz_filter_solves_its_equation():
    """Exact: put into `v - K lap v`, with NumPy's mirrors at walls and periods."""
    values = jnp.asarray(np.random.default_rng(0).uniform(size=MIXED.shape))
    found = np.asarray(smooth(values, HelmholtzFilter(2.0), MIXED))
    around = np.pad(np.pad(found, ((1, 1), (0, 0)), "wrap"), ((0, 0), (1, 1)), "symmetric")
    bends = around[2:, 1:-1] + around[:-2, 1:-1] + around[1:-1, 2:] + around[1:-1, :-2] - 4 * found
    np.testing.assert_allclose(found - 0.5 * 2.0**2 * bends, values, rtol=1e-11)


@pytest.mark.parametrize("smoothing", [Gaussian(1.0), HelmholtzFilter(1.0)], ids=str)
def test_smoothing_is_mapped_over_and_differentiated(smoothing):
    """Gradient against finite differences; `vmap` against a loop; single precision."""
    values = jnp.asarray(np.random.default_rng(0).uniform(size=(3, *MIXED.shape)))
    check_grads(lambda v: smooth(v, smoothing, MIXED), (values[0],), order=1, modes=["rev"], rtol=1e-6)
    mapped = jax.vmap(lambda v: smooth(v, smoothing, MIXED))(values)
    np.testing.assert_allclose(mapped[1], smooth(values[1], smoothing, MIXED), rtol=1e-13)
    single = smooth(values[0].astype(jnp.float32), smoothing, MIXED)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, mapped[0], rtol=1e-5)


BAD = {
    "width": (lambda: Gaussian(0.0), ["Gaussian.cells", "positive", "0.0", "smoothing=None"]),
    "NaN": (lambda: HelmholtzFilter(float("nan")), ["HelmholtzFilter.cells", "nan"]),
    "text": (lambda: Gaussian("one"), ["Gaussian.cells", "'one'"]),
    "shape": (lambda: Gaussian(1.0).smooth(jnp.ones((1, 8, 9)), MIXED), ["(8, 9)", "(1, 8, 9)", "jax.vmap"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    call, words = BAD[name]
    with pytest.raises(ValueError) as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)
