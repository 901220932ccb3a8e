"""Initial conditions: one function per key, its statistics, its scale, its period (exact and property tests)."""

import jax
import numpy as np
import pytest

from sciml.pdes import (
    Box,
    Dirichlet,
    FourierSeries,
    GaussianRandomField,
    Grid,
    Neumann,
    Periodic,
    SumOfGaussians,
    UniformConstant,
)

KEY = jax.random.key(7)
LINE = Box(-1.0, 2.0)
SQUARE = Box((-1.0, 0.0), (2.0, 1.5))
KINDS = {
    "fourier": FourierSeries(cutoff=3, channels=2, decay=1.0, mean=0.5),
    "random field": GaussianRandomField(cutoff=4, channels=2),
    "gaussians": SumOfGaussians(channels=2, widths=(0.1, 0.3)),
    "constant": UniformConstant(channels=2),
}


@pytest.mark.parametrize("name", list(KINDS))
@pytest.mark.parametrize("box", [LINE, SQUARE], ids=["line", "square"])
def test_the_same_key_is_the_same_function(name, box):
    """Property: values agree where grids share points: nodes of periodic axes, cell centers between walls."""
    initial = KINDS[name]
    shape = (12, 10)[: box.dimensions]
    draw = jax.jit(lambda key, grid: initial(grid, key=key))
    coarse = draw(KEY, Grid(box, shape))
    assert coarse.shape == (2, *shape)
    assert np.all(np.isfinite(coarse))
    fine = draw(KEY, Grid(box, tuple(2 * n for n in shape)))
    np.testing.assert_allclose(
        coarse, fine[(slice(None), *(slice(None, None, 2) for _ in shape))], atol=1e-13
    )
    walled = Box(box.lower, box.upper, Dirichlet(0.0))
    coarse, fine = (draw(KEY, Grid(walled, tuple(factor * n for n in shape))) for factor in (1, 3))
    np.testing.assert_allclose(coarse, fine[(slice(None), *(slice(1, None, 3) for _ in shape))], atol=1e-13)
    if name != "constant":
        assert not np.allclose(coarse[0], coarse[1])  # channels are independent


@pytest.mark.parametrize("name", list(KINDS))
def test_keys_and_transformations(name):
    """Property: another key draws another field; vmap over keys is a loop over keys."""
    grid = Grid(LINE, 12)
    keys = jax.random.split(KEY, 3)

    def draw(key):
        return KINDS[name](grid, key=key)

    together = jax.jit(jax.vmap(draw))(keys)
    np.testing.assert_allclose(together[1], jax.jit(draw)(keys[1]), atol=1e-14)
    assert not np.allclose(together[0], together[1])


def power(initial, box, n, draws):
    """Mean squared Fourier coefficients over many draws, and the physical wavenumbers squared, both on the grid."""
    grid = Grid(box, n)
    fields = jax.jit(jax.vmap(lambda key: initial(grid, key=key)[0]))(jax.random.split(KEY, draws))
    axes = tuple(range(1, fields.ndim))
    coefficients = np.fft.fftn(np.asarray(fields), axes=axes) / np.prod(grid.shape)
    numbers = [np.fft.fftfreq(m, length / m) for m, length in zip(grid.shape, box.lengths, strict=True)]
    squared = sum((2 * np.pi * k) ** 2 for k in np.meshgrid(*numbers, indexing="ij"))
    return np.mean(np.abs(coefficients) ** 2, axis=0), squared, np.asarray(fields)


@pytest.mark.parametrize(("box", "n"), [(LINE, (15,)), (SQUARE, (9, 9))], ids=["line", "square"])
def test_the_spectrum_of_a_random_field(box, n):
    """Property: mode by mode the variance is `variance (|k|^2 + tau^2)^-alpha / volume`, the mean 0 in every draw."""
    initial = GaussianRandomField(alpha=1.7, tau=2.0, variance=3.0, cutoff=12)
    measured, squared, fields = power(initial, box, n, 2000)
    expected = 3.0 * (squared + 4.0) ** -1.7 / np.prod(box.lengths)
    away = squared > 0
    # |c|^2 is exponentially distributed: a relative error of 1 / sqrt(2000) = 2.2 %; 4.5 of them for some 80 modes.
    np.testing.assert_allclose(measured[away], expected[away], rtol=0.1)
    np.testing.assert_allclose(np.mean(fields, axis=tuple(range(1, fields.ndim))), 0.0, atol=1e-14)


def test_the_default_random_field_is_that_of_the_paper():
    """Exact: `7^(3/2) (-lap + 49)^(-5/2)` on the unit square, as its docstring says."""
    measured, squared, _ = power(GaussianRandomField(), Box((0.0, 0.0), (1.0, 1.0)), (8, 8), 2000)
    expected = 7**1.5 * (squared + 49.0) ** -2.5
    resolved = (squared > 0) & (measured > 1e-20)  # the highest mode of an even grid is not drawn
    assert resolved.sum() == 7 * 7 - 1
    np.testing.assert_allclose(measured[resolved], expected[resolved], rtol=0.1)


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("periodic", [True, False])
def test_the_maximum_of_a_fourier_series(dimensions, periodic):
    """Property: the largest absolute value is the one asked for, to the 3 % of its docstring, and the mean is added."""
    initial = FourierSeries(cutoff=4, maximum=2.5, mean=10.0)
    box = Box((0.0,) * dimensions, (3.0,) * dimensions, Periodic() if periodic else Neumann(0.0))
    grid = Grid(box, (256,) * dimensions)
    draws = jax.jit(jax.vmap(lambda key: initial(grid, key=key)))(jax.random.split(KEY, 20))
    largest = np.max(np.abs(draws - 10.0).reshape(20, -1), axis=1)
    # The scale is read off 12 points per shortest wave, which may miss the top, never overstate it.
    assert np.all(largest > 2.5 * (1 - 1e-3))
    assert np.all(largest < 2.5 * 1.03)
    if periodic:
        np.testing.assert_allclose(np.mean(draws.reshape(20, -1), axis=1), 10.0, atol=1e-12)


def test_the_decay_of_a_fourier_series():
    """Property: amplitudes fall like `(1 + |k|)^-decay` and stop at the cutoff."""
    grid = Grid(Box(0.0, 2 * np.pi), 16)
    flat, decaying = (
        np.abs(np.fft.rfft(FourierSeries(cutoff=3, decay=decay)(grid, key=KEY)[0])) for decay in (0.0, 2.0)
    )
    ratio = decaying[1:4] / flat[1:4]  # the same normal numbers, two scales
    np.testing.assert_allclose(ratio / ratio[0], (np.array([2.0, 3.0, 4.0]) / 2.0) ** -2.0, rtol=1e-12)
    assert np.all(decaying[4:] < 1e-14)


@pytest.mark.parametrize("name", ["fourier", "random field", "gaussians"])
def test_periodic_axes_wrap(name):
    """Property: the spectrum of a periodic draw falls to rounding: no jump at the seam, also for wide bumps."""
    fields = KINDS[name](Grid(LINE, 128), key=KEY)
    modes = np.abs(np.fft.rfft(fields))
    # The narrowest bump, of width 0.1, has modes exp(-(2 pi 0.1 k)^2 / 2): 1e-27 of the largest at k = 18.
    assert np.all(modes[:, 40:] < 1e-9 * modes.max())


def test_gaussians_are_not_wrapped_between_walls():
    """Exact: one bump is one Gaussian, cut off at the wall on an axis with walls."""
    initial = SumOfGaussians(count=1, widths=(0.2, 0.2), amplitudes=(1.0, 1.0), signed=False)
    grid = Grid(Box(0.0, 1.0, Neumann(0.0)), 64)
    x = grid.axes[0]
    for key in jax.random.split(KEY, 5):
        values = initial(grid, key=key)[0]
        # The logarithm of a Gaussian is a parabola with curvature -1 / width^2 wherever its center is.
        curvature = np.polyfit(x, np.log(values), 2)[0] * 2
        assert curvature == pytest.approx(-1 / 0.2**2, rel=1e-6)


def test_signs_and_ranges():
    """Property: heights and constants stay in their range; unsigned bumps are positive."""
    grid = Grid(Box(0.0, 1.0), 32)
    keys = jax.random.split(KEY, 50)

    @jax.jit
    @jax.vmap
    def draw(key):
        several = SumOfGaussians(signed=False), SumOfGaussians(count=1), UniformConstant(0.1, 0.3)
        return [initial(grid, key=key) for initial in several]

    positive, signed, constants = map(np.asarray, draw(keys))
    assert np.all(positive > 0)
    assert np.any(signed.min(axis=(1, 2)) < -0.4)
    assert np.any(signed.max(axis=(1, 2)) > 0.4)
    assert np.all((constants >= 0.1) & (constants <= 0.3))
    np.testing.assert_array_equal(constants, constants[..., :1] * np.ones(32))
