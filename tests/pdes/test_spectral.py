"""The Fourier calculus: exact derivatives, dealiased products, symbols of linear parts (exact, property)."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.pdes import (
    AbstractSemilinearPDE,
    AdvectionDiffusion,
    Box,
    Burgers,
    DiagonalForcing,
    DiffusionSorption,
    GrayScott,
    Grid,
    Heat,
    KuramotoSivashinsky,
    NavierStokes,
    Spectral,
    VectorBurgers,
)
from tests.pdes.manufactured import Waves

# Different lengths and numbers of points per axis, odd and even, so that no two axes can be confused.
LENGTHS, SHAPE = (1.0, 2.0, 3.0), (12, 15, 14)
K = tuple(2 * np.pi / length for length in LENGTHS)


def trigonometric(dimensions):
    """A trigonometric polynomial that 12 points resolve with `dealias=1`."""
    one = (1.0, tuple((3, 2, 2)[a] * K[a] for a in range(dimensions)), (0.3, 1.0, 0.2)[:dimensions])
    two = (0.5, tuple((1, 5, 3)[a] * K[a] for a in range(dimensions)), (0.0, 0.7, 1.2)[:dimensions])
    return Waves((one, two), 0.4)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_derivatives_of_trigonometric_polynomials(dimensions):
    """Exact: mixed derivatives up to fourth order in one, two and three dimensions."""
    function = trigonometric(dimensions)
    grid = Grid(Box((0.0,) * dimensions, LENGTHS[:dimensions]), SHAPE[:dimensions])
    calculus = Spectral(grid, dealias=1.0)
    x = np.asarray(grid.coordinates)
    several = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 3), (2, 1, 0), (1, 1, 1), (0, 2, 2), (4, 0, 0)]
    several = sorted({orders[:dimensions] for orders in several})

    @jax.jit
    def differentiate(values):
        u = calculus.field(values)
        return (
            [calculus.derivative(u, orders) for orders in several],
            calculus.laplacian(u),
            calculus.biharmonic(u),
        )

    derivatives, laplacian, biharmonic = differentiate(function(x)[None])
    pairs = [(got, function(x, orders)) for got, orders in zip(derivatives, several, strict=True)]
    pairs.append((laplacian, function.laplacian(x)))
    units = 2 * np.eye(dimensions, dtype=int)
    pairs.append((biharmonic, sum(function(x, tuple(i + j)) for i in units for j in units)))
    for got, exact in pairs:
        # Rounding of the transform, 1e-15, times the largest wavenumber to the fourth power over that of the function.
        np.testing.assert_allclose(got[0], exact, atol=1e-11 * np.max(np.abs(exact)))


def test_velocity_of_a_vorticity():
    """Exact: `v = (psi_y, -psi_x)` for `w = -lap psi`, and a mean vorticity moves nothing."""
    stream = trigonometric(2)
    grid = Grid(Box((0.0, 0.0), LENGTHS[:2]), SHAPE[:2])
    calculus = Spectral(grid, dealias=1.0)
    x = np.asarray(grid.coordinates)
    for mean in (0.0, 5.0):
        w = calculus.field(-stream.laplacian(x)[None] + mean)
        psi_x, psi_y = stream.gradient(x)
        np.testing.assert_allclose(calculus.rotational_velocity(w, 0)[0], psi_y, atol=1e-12)
        np.testing.assert_allclose(calculus.rotational_velocity(w, 1)[0], -psi_x, atol=1e-12)


def test_the_highest_mode_has_no_odd_derivative():
    """Property: on an even grid the sawtooth mode is seen at its extrema only, so its odd derivatives are zero."""
    calculus = Spectral(Grid(Box(0.0, 2 * np.pi), 8), dealias=1.0)
    u = calculus.field(jnp.array([[1.0, -1.0] * 4]))
    np.testing.assert_allclose(calculus.partial(u, 0), 0.0, atol=1e-14)
    np.testing.assert_allclose(calculus.partial(u, 0, 2), -16 * u.value, atol=1e-12)


def refined(values, factor):
    """The same trigonometric polynomial on a finer line, through a padded spectrum."""
    n = values.shape[-1]
    modes = np.fft.rfft(values)
    return np.fft.irfft(np.pad(modes, ((0, 0), (0, n * factor // 2 - n // 2))), n * factor) * factor


def aliasing_error(product, dealias, channels):
    """The error in resolved modes of a product of random resolved fields, relative to its size, against a fine grid."""
    coarse, n, factor = Spectral(Grid(Box(0.0, 1.0), 48), dealias=dealias), 48, 4
    values = np.asarray(coarse.project(jax.random.normal(jax.random.key(3), (channels, n))))
    got = np.fft.rfft(coarse.project(product(coarse.field(values).value)))
    exact = np.fft.rfft(product(refined(values, factor)))[:, : n // 2 + 1] / factor
    resolved = np.abs(np.fft.rfft(values[0])) > 1e-9  # the modes kept, whichever they are
    assert np.sum(resolved) == round(dealias * n / 2) + (dealias == 1.0)
    return np.max(np.abs(got - exact)[:, resolved]) / np.max(np.abs(exact))


@pytest.mark.parametrize(
    ("product", "dealias", "clean"),
    [
        (lambda u: u[:1] * u[1:], 2 / 3, True),
        (lambda u: u[:1] * u[1:] ** 2, 1 / 2, True),
        (lambda u: u[:1] * u[1:], 1.0, False),
        (lambda u: u[:1] * u[1:] ** 2, 2 / 3, False),
    ],
    ids=["quadratic, 2/3", "cubic, 1/2", "quadratic, 1", "cubic, 2/3"],
)
def test_products_fold_only_onto_discarded_modes(product, dealias, clean):
    """Property: 2/3 cleans a quadratic product, 1/2 a cubic one; more modes do not."""
    error = aliasing_error(product, dealias, 2)
    assert error < 1e-13 if clean else error > 1e-3


def test_projection_is_a_projection():
    """Property: applied twice it is itself, and the values of a field are resolved already."""
    calculus = Spectral(Grid(Box((0.0, 0.0), (1.0, 1.0)), (8, 9)))
    u = jax.random.normal(jax.random.key(0), (2, 8, 9))
    once = calculus.project(u)
    np.testing.assert_allclose(calculus.project(once), once, atol=1e-14)
    np.testing.assert_allclose(calculus.field(u).value, once, atol=1e-14)
    np.testing.assert_allclose(calculus.resolved_field(calculus.transform(u)).value, once, atol=1e-14)


LINE, SQUARE = Grid(Box(0.0, 3.0), 12), Grid(Box((0.0, 0.0), (1.0, 2.0)), (8, 9))
SEPARATE = {
    "burgers": (Burgers(0.1), LINE, 1),
    "burgers 2-D": (Burgers(0.1), SQUARE, 1),
    "vector burgers": (VectorBurgers(0.1), SQUARE, 2),
    "gray-scott": (GrayScott(), SQUARE, 2),
    "kuramoto-sivashinsky": (KuramotoSivashinsky(), LINE, 1),
    "advection 1-D": (AdvectionDiffusion(1.5, 0.1), LINE, 1),
    "advection 2-D": (AdvectionDiffusion([1.0, -0.5], 0.1), SQUARE, 1),
    "heat": (Heat(0.1), SQUARE, 1),
    "heat with a function": (Heat(0.1, lambda x: jnp.sin(x[:1])), SQUARE, 1),
    "navier-stokes": (NavierStokes(0.1, DiagonalForcing()), SQUARE, 1),
}


@pytest.mark.parametrize("name", list(SEPARATE))
def test_a_symbol_is_the_linear_part(name):
    """Exact: multiplying the modes by the symbol is applying the linear part, and the law is known to separate."""
    law, grid, channels = SEPARATE[name]
    calculus = Spectral(grid)
    assert calculus.separates(law)
    assert eqx.filter_jit(lambda law: jnp.asarray(calculus.separates(law)))(law)  # with traced parameters too
    u = calculus.project(jax.random.normal(jax.random.key(0), (channels, *grid.shape)))
    symbol = calculus.symbol(law)
    assert symbol.shape == (channels, *calculus.mode_shape)
    direct = law.linear(calculus.field(u), calculus)
    by_symbol = calculus.inverse(symbol * calculus.transform(u))
    np.testing.assert_allclose(by_symbol, direct, atol=1e-13 * float(jnp.max(jnp.abs(direct))))


class CoupledDecay(AbstractSemilinearPDE):
    """A linear part that mixes channels, such as Schrödinger's equation in real and imaginary parts."""

    channels: ClassVar = ("u", "v")

    def linear(self, u, calculus):
        return jnp.flip(calculus.laplacian(u), 0)

    def nonlinear(self, t, u, calculus):
        return jnp.zeros_like(u.value)


class ConstantSupply(AbstractSemilinearPDE):
    """A "linear" part that does not vanish with the unknown."""

    channels: ClassVar = ("u",)

    def linear(self, u, calculus):
        return calculus.laplacian(u) + 1.0

    def nonlinear(self, t, u, calculus):
        return jnp.zeros_like(u.value)


class Trap(AbstractSemilinearPDE):
    """A linear part that uses the coordinates."""

    channels: ClassVar = ("u",)

    def linear(self, u, calculus):
        return calculus.laplacian(u) - calculus.coordinates[:1] ** 2 * u.value

    def nonlinear(self, t, u, calculus):
        return jnp.zeros_like(u.value)


INSEPARABLE = {
    "no parts": (DiffusionSorption(), LINE),
    "varying viscosity": (Burgers(jnp.full(SQUARE.shape, 0.1)), SQUARE),
    "varying along one axis": (Burgers(jnp.full((8, 1), 0.1)), SQUARE),
    "varying along the other": (Burgers(jnp.full((1, 9), 0.1)), SQUARE),
    "varying conductivity": (Heat(jnp.full(LINE.shape, 0.1)), LINE),
    "varying velocity": (AdvectionDiffusion(jnp.ones((2, *SQUARE.shape)), 0.1), SQUARE),
    "mixed channels": (CoupledDecay(), LINE),
    "a supply": (ConstantSupply(), LINE),
    "coordinates": (Trap(), LINE),
}


@pytest.mark.parametrize("name", list(INSEPARABLE))
def test_what_has_no_symbol_does_not_separate(name):
    """Property: a linear part that is no multiplication of single modes is left to the general solvers."""
    law, grid = INSEPARABLE[name]
    assert not Spectral(grid).separates(law)


def test_constants_are_as_small_as_they_can_be():
    """Property: the multiplier of a derivative varies along its own axis only, and nothing else is kept."""
    calculus = Spectral(Grid(Box((0.0, 0.0), (1.0, 1.0)), (16, 16)))
    jaxpr = jax.make_jaxpr(lambda u: calculus.partial(calculus.field(u), 0))(jnp.ones((1, 16, 16)))
    shapes = sorted(np.shape(constant) for constant in jaxpr.consts if np.size(constant) > 2)
    assert shapes == [(16, 1), (16, 9)]  # the derivative and the mask
