"""One rate through every calculus, against right-hand sides written by hand (exact and order tests, float64)."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from sciml.pdes import (
    AbstractPDE,
    AdvectionDiffusion,
    Autodiff,
    Box,
    Burgers,
    DiagonalForcing,
    DiffusionSorption,
    FiniteDifference,
    FiniteVolume,
    FourierSeries,
    GaussianRandomField,
    GrayScott,
    Grid,
    Heat,
    KuramotoSivashinsky,
    NavierStokes,
    Robin,
    Spectral,
    SumOfGaussians,
    UniformConstant,
    VectorBurgers,
    describe,
    evaluate_rate,
)

K = 2 * np.pi
SQUARE = Box((0.0, 0.0), (1.0, 1.0))


def wave(p):
    """A smooth periodic function of one point."""
    return jnp.sin(K * p[0]) * jnp.cos(K * p[1]) + 0.5 * jnp.cos(K * (p[0] + p[1]))


def pair(p):
    return jnp.stack([wave(p), 0.3 + 0.2 * jnp.sin(K * (p[0] - p[1]))])


def one(p):
    return wave(p)[None]


LAWS = {
    "burgers": (Burgers(0.01), one),
    "vector-burgers": (VectorBurgers(0.01), pair),
    "heat": (Heat(0.1), one),
    "heat-with-source": (Heat(0.1, lambda x: jnp.sin(K * x[:1])), one),
    "advection-diffusion": (AdvectionDiffusion([1.0, -0.5], 0.02), one),
    "gray-scott": (GrayScott(), pair),
}


def by_hand(name, law, function, points):
    """The right-hand side from Jacobians and Hessians of the function at points (point, dim)."""
    value = jax.vmap(function)(points)
    gradient = jax.vmap(jax.jacfwd(function))(points)
    laplacian = jnp.trace(jax.vmap(jax.hessian(function))(points), axis1=-2, axis2=-1)
    if name == "burgers":
        return 0.01 * laplacian - value * gradient.sum(-1)
    if name == "vector-burgers":
        return 0.01 * laplacian - jnp.einsum("pca,pa->pc", gradient, value)
    if name.startswith("heat"):
        return 0.1 * laplacian + (jnp.sin(K * points[:, :1]) if "source" in name else 0.0)
    if name == "advection-diffusion":
        return 0.02 * laplacian - gradient @ jnp.array([1.0, -0.5])
    u, v = value.T
    reaction = u * v**2
    feed, kill = 0.04, 0.06
    first = 2e-5 * laplacian[:, 0] - reaction + feed * (1 - u)
    return jnp.stack([first, 1e-5 * laplacian[:, 1] + reaction - (feed + kill) * v], axis=1)


@pytest.mark.parametrize("name", list(LAWS))
def test_every_calculus_gives_the_same_right_hand_side(name):
    law, function = LAWS[name]
    grid = Grid(SQUARE, (48, 48))
    points = grid.coordinates.reshape(2, -1).T
    values = jax.vmap(function)(points).T.reshape(-1, 48, 48)
    truth = by_hand(name, law, function, points).T.reshape(values.shape)
    size = jnp.max(jnp.abs(truth))
    # Gray-Scott is cubic, of wavenumber 2 at most per factor: resolved by half of 24 modes.
    spectral = evaluate_rate(law, Spectral(grid, dealias=0.5), values)
    np.testing.assert_allclose(spectral, truth, atol=1e-11 * size)
    automatic = evaluate_rate(law, Autodiff(points), function).reshape(values.shape)
    np.testing.assert_allclose(automatic, truth, atol=1e-11 * size)
    # Wavenumber 2 on 48 points: (k h)^2 / 6 = 1.1 % for a first derivative, squared again at order 4.
    for order, bound in ((2, 0.03), (4, 0.001)):
        assert (
            jnp.max(jnp.abs(evaluate_rate(law, FiniteDifference(grid, order), values) - truth))
            <= bound * size
        )


def test_navier_stokes_through_spectral_and_finite_differences():
    """Exact: two vortex modes, whose velocity is known."""
    k = 2 * np.pi

    def rates(n):
        grid = Grid(SQUARE, (n, n))
        x, y = grid.coordinates
        stream = jnp.sin(k * x) * jnp.sin(k * y) + 0.5 * jnp.cos(2 * k * x)
        w = 2 * k**2 * jnp.sin(k * x) * jnp.sin(k * y) + 2 * k**2 * jnp.cos(2 * k * x)
        w_x = 2 * k**3 * jnp.cos(k * x) * jnp.sin(k * y) - 4 * k**3 * jnp.sin(2 * k * x)
        w_y = 2 * k**3 * jnp.sin(k * x) * jnp.cos(k * y)
        u = k * jnp.sin(k * x) * jnp.cos(k * y)
        v = -(k * jnp.cos(k * x) * jnp.sin(k * y) - k * jnp.sin(2 * k * x))
        del stream
        forcing = 0.1 * (jnp.sin(k * (x + y)) + jnp.cos(k * (x + y)))
        laplacian = -2 * k**2 * 2 * k**2 * jnp.sin(k * x) * jnp.sin(k * y) - 8 * k**4 * jnp.cos(2 * k * x)
        return grid, w[None], (1e-2 * laplacian - u * w_x - v * w_y + forcing)[None]

    law = NavierStokes(1e-2, DiagonalForcing())
    grid, w, truth = rates(32)
    np.testing.assert_allclose(
        evaluate_rate(law, Spectral(grid), w), truth, atol=1e-10 * jnp.max(jnp.abs(truth))
    )
    errors = []
    for n in (32, 64):
        grid, w, truth = rates(n)
        errors.append(float(jnp.max(jnp.abs(evaluate_rate(law, FiniteDifference(grid, 2), w) - truth))))
    assert abs(np.log2(errors[0] / errors[1]) - 2) < 0.25


def test_kuramoto_sivashinsky_and_diffusion_sorption():
    """Exact: fourth derivatives in Fourier space, and a retarded Laplacian by automatic differentiation."""
    grid = Grid(Box(0.0, 2 * np.pi), 32)
    x = grid.axes[0]
    truth = np.sin(x) - np.sin(x) - np.sin(x) * np.cos(x)
    np.testing.assert_allclose(
        evaluate_rate(KuramotoSivashinsky(), Spectral(grid), jnp.sin(x)[None])[0], truth, atol=1e-11
    )
    law = DiffusionSorption()
    points = jnp.linspace(0.1, 0.9, 5)[:, None]
    rate = evaluate_rate(law, Autodiff(points), lambda p: jnp.exp(-3 * p))
    u = np.exp(-3 * points[:, 0])
    retardation = 1 + 0.71 / 0.29 * 2880 * 3.5e-4 * 0.874 * u ** (0.874 - 1)
    np.testing.assert_allclose(rate[0], 5e-4 / retardation * 9 * u, rtol=1e-6)  # smoothing of 1e-6 in the law


def test_a_law_of_ones_own():
    class Reaction(AbstractPDE):
        """Logistic growth that spreads."""

        growth: Array
        channels: ClassVar = ("u",)

        def rate(self, t, u, calculus):
            return calculus.laplacian(u) + self.growth * u.value * (1 - u.value)

    grid = Grid(Box(0.0, 1.0), 16)
    law = Reaction(jnp.asarray(2.0))
    np.testing.assert_allclose(evaluate_rate(law, Spectral(grid), jnp.full((1, 16), 0.5)), 0.5, atol=1e-12)
    assert not Spectral(grid).separates(law)
    assert describe(law)["parameters"] == {"growth": 2.0}


def test_the_written_sign_of_the_outflow_feeds_the_solution():
    """Property: with u = D du/dn a wall mode of the Laplacian grows like 1/D^2 (see `Outflow`); the other sign decays."""

    def largest(wall):
        grid = Grid(Box(0.0, 1.0, [(Robin(1.0, 0.0), wall)]), 64)
        calculus = FiniteDifference(grid)
        matrix = jax.jacfwd(lambda u: calculus.laplacian(calculus.field(u[None]))[0])(jnp.zeros(64))
        return np.linalg.eigvals(np.asarray(matrix)).real.max()

    assert largest(Robin(1.0, 0.1)) < 0
    assert largest(Robin(1.0, -0.1)) == pytest.approx(100.0, rel=0.05)


def test_finite_volumes_conserve_and_move_shocks_at_their_speed():
    """Exact: inviscid Burgers from a step moves at half the jump, makes no extrema, and conserves mass."""
    grid = Grid(Box(0.0, 1.0), 100)
    calculus = FiniteVolume(grid)
    u = jnp.where((grid.coordinates > 0.2) & (grid.coordinates < 0.5), 1.0, 0.0)
    law, dt = Burgers(0.0), 0.4 / 100
    rate = jax.jit(lambda u: evaluate_rate(law, calculus, u))
    start = u
    for _ in range(100):  # Heun's method to t = 0.4
        half = u + dt * rate(u)
        u = 0.5 * (u + half + dt * rate(half))
    assert abs(float(jnp.sum(u - start))) < 1e-12
    assert float(u.min()) >= -1e-9 and float(u.max()) <= 1 + 1e-9
    # The front at 0.5 moves at speed 1/2 to 0.7; the fan from 0.2 reaches 0.6 and does not touch it.
    front = float(grid.axes[0][int(jnp.argmax(jnp.where(u[0] > 0.5, grid.coordinates[0], 0.0)))])
    assert abs(front - 0.7) <= 0.015


def test_dealiasing_keeps_resolved_modes_clean():
    """Property: a product of resolved fields has on a coarse grid the resolved modes it has on a fine one."""
    coarse, fine = (Spectral(Grid(Box(0.0, 1.0), n)) for n in (48, 192))
    start = coarse.project(jax.random.normal(jax.random.key(0), (1, 48)))
    modes = jnp.fft.rfft(start[0])
    padded = jnp.fft.irfft(jnp.pad(modes, (0, 97 - 25)) * 4, 192)[None]
    low = evaluate_rate(Burgers(0.0), coarse, start)
    high = evaluate_rate(Burgers(0.0), fine, padded)
    np.testing.assert_allclose(jnp.fft.rfft(low[0])[:16], jnp.fft.rfft(high[0])[:16] / 4, atol=1e-9)


@pytest.mark.parametrize("calculus", [Spectral, FiniteDifference, FiniteVolume])
def test_gradients_of_parameters(calculus):
    """Gradient: with respect to a viscosity, against central differences."""
    grid = Grid(Box(0.0, 1.0), 16)
    u = jnp.sin(K * grid.coordinates)

    def loss(nu):
        return jnp.sum(evaluate_rate(Burgers(nu), calculus(grid), u) ** 2)

    slope = (loss(0.1 + 1e-6) - loss(0.1 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(loss)(0.1), slope, rtol=1e-6)


def test_single_precision_stays():
    grid = Grid(Box(0.0, 1.0), 16)
    u = jnp.ones((1, 16), jnp.float32)
    for calculus in (Spectral(grid), FiniteDifference(grid), FiniteVolume(grid)):
        assert evaluate_rate(Burgers(0.1), calculus, u).dtype == jnp.float32


@pytest.mark.parametrize(
    "initial", [FourierSeries(), GaussianRandomField(cutoff=6), SumOfGaussians(), UniformConstant()]
)
def test_an_initial_condition_is_the_same_function_on_every_grid(initial):
    key = jax.random.key(1)
    coarse, fine = (initial(Grid(SQUARE, (n, n)), key=key) for n in (16, 32))
    np.testing.assert_allclose(coarse, fine[:, ::2, ::2], atol=1e-12)
    assert jnp.all(jnp.isfinite(coarse))


def test_gaussian_random_fields_have_the_variance_of_their_power_law():
    """Property: the mean square over 200 draws is the sum of the modes' variances, to its sampling error."""
    grid = Grid(Box(0.0, 1.0), 64)
    initial = GaussianRandomField(alpha=2.0, tau=3.0, variance=5.0, cutoff=8)
    draws = jax.vmap(lambda key: initial(grid, key=key))(jax.random.split(jax.random.key(0), 400))
    k = np.concatenate([np.arange(-8, 0), np.arange(1, 9)])
    expected = np.sum(5.0 * ((K * k) ** 2 + 9.0) ** -2.0)
    # 400 draws dominated by one mode pair (two normals each, mean removed): about 5 % standard error.
    assert float(jnp.mean(draws**2)) == pytest.approx(expected, rel=0.2)


GRID = Grid(Box(0.0, 1.0), 16)
FIELD = jnp.zeros((1, 16))


class Wrong(AbstractPDE):
    """Differentiates an expression."""

    channels: ClassVar = ("u",)

    def rate(self, t, u, calculus):
        return calculus.partial(u.value**2, 0)


class Careless(AbstractPDE):
    """Uses the field as if it were its values."""

    channels: ClassVar = ("u",)

    def rate(self, t, u, calculus):
        return u * 2


BAD = {
    "channels": (lambda: evaluate_rate(GrayScott(), Spectral(GRID), FIELD), "2 channel"),
    "batch": (lambda: evaluate_rate(Burgers(0.1), Spectral(GRID), FIELD[None]), "jax.vmap"),
    "no channel": (lambda: evaluate_rate(Burgers(0.1), Spectral(GRID), FIELD[0]), r"u\[None\]"),
    "other grid": (lambda: evaluate_rate(Burgers(0.1), Spectral(GRID), jnp.zeros((1, 9))), "another grid"),
    "negative": (lambda: Burgers(-1.0), "viscosity must be >= 0; got -1.0"),
    "nan": (lambda: Heat(float("nan")), "diffusivity must be finite"),
    "boundary": (lambda: Box(0.0, 1.0, ["reflecting"]), "pair|Unknown boundary"),
    "boundaries": (lambda: Box(0.0, 1.0, [("a", "b")]), "Unknown boundary 'a'"),
    "one side": (
        lambda: Box(0.0, 1.0, [(Spectral(GRID).grid.box.boundaries[0][0], Robin(1.0, 1.0))]),
        "one side only",
    ),
    "empty": (lambda: Box(1.0, 0.0), "larger finite upper end"),
    "few points": (lambda: Grid(Box(0.0, 1.0), 2), "at least 4 points"),
    "dimensions": (lambda: evaluate_rate(NavierStokes(0.1), Spectral(GRID), FIELD), "2 space dimensions"),
    "walls": (lambda: Spectral(Grid(DiffusionSorption().domain(), 16)), "FiniteDifference"),
    "order": (lambda: FiniteDifference(GRID, 3), "2 or 4"),
    "dealias": (lambda: Spectral(GRID, dealias=0.0), r"\(0, 1\]"),
    "autodiff": (
        lambda: evaluate_rate(Burgers(0.1), Autodiff(jnp.zeros((3, 1))), FIELD),
        "function of one point",
    ),
    "autodiff shape": (
        lambda: evaluate_rate(Burgers(0.1), Autodiff(jnp.zeros((3, 1))), lambda x: x[0]),
        "atleast_1d",
    ),
    "non-local": (
        lambda: evaluate_rate(NavierStokes(0.1), Autodiff(jnp.zeros((3, 2))), lambda x: x[:1]),
        "non-local",
    ),
    "velocity": (
        lambda: evaluate_rate(AdvectionDiffusion([1.0, 1.0], 0.1), Spectral(GRID), FIELD),
        "2 components",
    ),
    "axis": (lambda: Spectral(GRID).partial(Spectral(GRID).field(FIELD), 1), "axis 1 does not exist"),
    "orders": (
        lambda: Spectral(GRID).derivative(Spectral(GRID).field(FIELD), (1, 1)),
        "one non-negative integer",
    ),
    "expression": (lambda: evaluate_rate(Wrong(), Spectral(GRID), FIELD), "acts on the field itself"),
    "field as value": (lambda: evaluate_rate(Careless(), Spectral(GRID), FIELD), "u.value"),
    "rough field": (lambda: GaussianRandomField(alpha=0.4)(GRID, key=jax.random.key(0)), "alpha must exceed"),
    "cutoff": (lambda: FourierSeries(cutoff=0), "at least 1"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input(name):
    call, message = BAD[name]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_laws_pass_through_transformations():
    grid = Grid(Box(0.0, 1.0), 16)
    laws = eqx.filter_vmap(Burgers)(jnp.array([0.1, 0.2]))
    u = jnp.sin(K * grid.coordinates)
    both = eqx.filter_vmap(lambda law: evaluate_rate(law, Spectral(grid), u))(laws)
    for i, nu in enumerate((0.1, 0.2)):
        np.testing.assert_allclose(both[i], evaluate_rate(Burgers(nu), Spectral(grid), u), atol=1e-12)
