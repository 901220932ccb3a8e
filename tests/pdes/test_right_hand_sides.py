"""Every law through every calculus, against right-hand sides written by hand from derivatives written by hand.

Exact through `Spectral` and `Autodiff`; to their measured order through `FiniteDifference` and `FiniteVolume`.
"""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.pdes import (
    AbstractPDE,
    AdvectionDiffusion,
    Autodiff,
    Box,
    Burgers,
    DiagonalForcing,
    DiffusionSorption,
    Dirichlet,
    FiniteDifference,
    FiniteVolume,
    GrayScott,
    Grid,
    Heat,
    KuramotoSivashinsky,
    NavierStokes,
    Outflow,
    Robin,
    Spectral,
    VectorBurgers,
    evaluate_rate,
    minmod,
    van_leer,
)
from tests.pdes.manufactured import COEFFICIENT, ONE_AXIS, TWO_AXES, TWO_AXES_TOO, Waves, slope

TURN = 2 * np.pi
rate = eqx.filter_jit(evaluate_rate)


@dataclasses.dataclass(frozen=True)
class Case:
    """A law, an unknown, and the law's right-hand side written by hand.

    **Arguments:**

    - `law`: from coordinates `(dim, ...)` to the law, as coefficients may be fields.
    - `unknown`: one function per channel.
    - `exact`: from coordinates to one right-hand side per channel.
    - `pointwise`: the law for `Autodiff`, whose coefficients are functions; as on a grid when not given.
    """

    law: Callable[..., AbstractPDE]
    unknown: list[Waves]
    exact: Callable
    pointwise: AbstractPDE | None = None
    dealias: float = 2 / 3


U, V, W = (
    TWO_AXES,
    TWO_AXES_TOO,
    Waves(((0.2, (1, 2, 1), (0.1, 1.0, 0.4)), (0.1, (2, 1, 1), (0.7, 0.0, 2.0))), 0.3),
)
SPACE = Waves(((0.3, (1, 1, 1), (0.2, 0.4, 1.3)),), 0.2), Waves(((0.3, (1, 1, 0), (0.9, 0.1, 1.0)),), -0.2), W


def dot(a, b):
    return sum(p * q for p, q in zip(a, b, strict=True))


def heat_source(x):
    return jnp.cos(x[:1]) * jnp.sin(2 * x[1:2])


def velocity(x):
    return V(x), U(x)


def gray_scott(x):
    u, v = U(x), V(x)
    first = 0.2 * U.laplacian(x) - u * v**2 + 0.04 * (1 - u)
    return first, 0.1 * V.laplacian(x) + u * v**2 - (0.04 + 0.06) * v


CASES = {
    "burgers": Case(
        lambda x: Burgers(0.05),
        [ONE_AXIS],
        lambda x: [0.05 * ONE_AXIS(x, (2,)) - ONE_AXIS(x) * ONE_AXIS(x, (1,))],
    ),
    "burgers, two axes": Case(
        lambda x: Burgers(0.05), [U], lambda x: [0.05 * U.laplacian(x) - U(x) * sum(U.gradient(x))]
    ),
    "burgers, viscosity field": Case(
        lambda x: Burgers(COEFFICIENT(x)),
        [U],
        lambda x: [COEFFICIENT(x) * U.laplacian(x) - U(x) * sum(U.gradient(x))],
    ),
    "vector burgers": Case(
        lambda x: VectorBurgers(0.05),
        [U, V],
        lambda x: [0.05 * f.laplacian(x) - dot((U(x), V(x)), f.gradient(x)) for f in (U, V)],
    ),
    "vector burgers, three axes": Case(
        lambda x: VectorBurgers(0.05),
        list(SPACE),
        lambda x: [0.05 * f.laplacian(x) - dot([g(x) for g in SPACE], f.gradient(x)) for f in SPACE],
    ),
    "kuramoto-sivashinsky": Case(
        lambda x: KuramotoSivashinsky(0.8, 0.3),
        [ONE_AXIS],
        lambda x: [-ONE_AXIS(x) * ONE_AXIS(x, (1,)) - 0.8 * ONE_AXIS(x, (2,)) - 0.3 * ONE_AXIS(x, (4,))],
    ),
    "gray-scott": Case(lambda x: GrayScott(0.2, 0.1), [U, V], gray_scott, dealias=0.5),
    "heat, conductivity field and source": Case(
        lambda x: Heat(COEFFICIENT(x), heat_source),
        [U],
        lambda x: [
            COEFFICIENT(x) * U.laplacian(x)
            + dot(COEFFICIENT.gradient(x), U.gradient(x))
            + np.cos(x[0]) * np.sin(2 * x[1])
        ],
        pointwise=Heat(COEFFICIENT, heat_source),
    ),
    "advection-diffusion, bare velocity": Case(
        lambda x: AdvectionDiffusion(0.7, 0.1),
        [ONE_AXIS],
        lambda x: [0.1 * ONE_AXIS(x, (2,)) - 0.7 * ONE_AXIS(x, (1,))],
    ),
    "advection-diffusion": Case(
        lambda x: AdvectionDiffusion([0.7, -0.4], 0.1),
        [U],
        lambda x: [0.1 * U.laplacian(x) - dot((0.7, -0.4), U.gradient(x))],
    ),
    "advection-diffusion, fields": Case(
        lambda x: AdvectionDiffusion(np.stack(velocity(x)), COEFFICIENT(x)),
        [U],
        lambda x: [
            COEFFICIENT(x) * U.laplacian(x)
            + dot(COEFFICIENT.gradient(x), U.gradient(x))
            - dot(velocity(x), U.gradient(x))
        ],
    ),
}
# What `Autodiff` cannot be handed: coefficients tabulated on a grid (a function of coordinates, as in Heat, it can).
TABULATED = {"burgers, viscosity field", "advection-diffusion, fields"}


def on_grid(case, n):
    """The grid, its coordinates, and the case's values and right-hand side there."""
    dimensions = len(case.unknown[0].terms[0][1])
    grid = Grid(Box((0.0,) * dimensions, (TURN,) * dimensions), (n,) * dimensions)
    x = np.asarray(grid.coordinates)
    return grid, x, np.stack([f(x) for f in case.unknown]), np.stack(case.exact(x))


@pytest.mark.parametrize("name", list(CASES))
def test_spectral_is_exact(name):
    """Exact: fields and coefficients of wavenumber 2 at most, whose products 16 points resolve."""
    case = CASES[name]
    grid, x, values, exact = on_grid(case, 16)
    got = rate(case.law(x), Spectral(grid, dealias=case.dealias), values)
    # The calculus drops what it does not resolve; of Gray-Scott's cubic term that is all beyond wavenumber 3.
    np.testing.assert_allclose(got, Spectral(grid, dealias=case.dealias).project(exact), atol=1e-12)


@pytest.mark.parametrize("name", list(CASES))
def test_autodiff_is_exact(name):
    """Exact: at scattered points, with the unknown a function."""
    case = CASES[name]
    if name in TABULATED:
        points = jnp.zeros((5, 2))
        with pytest.raises(ValueError, match="takes a function of one point"):
            Heat(jnp.ones((5,))).linear(Autodiff(points).field(lambda p: p[:1]), Autodiff(points))
        return
    dimensions = len(case.unknown[0].terms[0][1])
    points = np.random.default_rng(0).uniform(0.0, TURN, (7, dimensions))
    law = case.law(points.T) if case.pointwise is None else case.pointwise
    got = rate(law, Autodiff(jnp.asarray(points)), lambda p: jnp.stack([f(p) for f in case.unknown]))
    np.testing.assert_allclose(got, np.stack(case.exact(points.T)), atol=1e-13)


CALCULI = {
    "second order": (lambda grid: FiniteDifference(grid, 2), 2),
    "fourth order": (lambda grid: FiniteDifference(grid, 4), 4),
    "finite volumes": (lambda grid: FiniteVolume(grid), 2),
}


@pytest.mark.parametrize("calculus", list(CALCULI))
@pytest.mark.parametrize("name", list(CASES))
def test_order_of_right_hand_sides(name, calculus):
    """Order: in the maximum norm; for finite volumes in the mean, as limiters flatten the few cells at extrema."""
    case, (make, nominal) = CASES[name], CALCULI[calculus]
    sizes, errors = (32, 64), []
    if "three" in name:
        sizes = (24, 36)
    elif calculus == "finite volumes" and ("burgers" in name or "advection" in name):
        sizes = (32, 128)  # where an extremum lies in its cell makes the error of one grid vary by a third
    for n in sizes:
        grid, x, values, exact = on_grid(case, n)
        error = np.abs(rate(case.law(x), make(grid), values) - exact)
        errors.append(error.mean() if calculus == "finite volumes" else error.max())
    assert abs(slope(sizes, errors) - nominal) < 0.25, errors


FLOW = Waves(
    ((1.0, (TURN, TURN), (0.3, 0.9)), (0.3, (2 * TURN, TURN), (1.0, 0.0)))
)  # stream function, unit square


def navier_stokes(x, forced):
    """The vorticity of `FLOW` and its rate at viscosity 0.01."""
    w = -FLOW.laplacian(x)
    gradient = [
        -sum(FLOW(x, tuple(2 * (a == i) + (a == axis) for a in (0, 1))) for i in (0, 1)) for axis in (0, 1)
    ]
    laplacian = -FLOW(x, (4, 0)) - 2 * FLOW(x, (2, 2)) - FLOW(x, (0, 4))
    transport = FLOW(x, (0, 1)) * gradient[0] - FLOW(x, (1, 0)) * gradient[1]
    phase = TURN * (x[0] + x[1])
    return w[None], (0.01 * laplacian - transport + forced * 0.1 * (np.sin(phase) + np.cos(phase)))[None]


@pytest.mark.parametrize("forced", [False, True])
def test_navier_stokes(forced):
    """Exact through `Spectral`, of measured order through finite differences; two shear and vortex modes interact."""
    law = NavierStokes(0.01, DiagonalForcing() if forced else None)

    def error(n, calculus):
        grid = Grid(Box((0.0, 0.0), (1.0, 1.0)), (n, n))
        w, exact = navier_stokes(np.asarray(grid.coordinates), forced)
        return np.max(np.abs(rate(law, calculus(grid), w) - exact)) / np.max(np.abs(exact))

    assert error(16, Spectral) < 1e-13
    for order in (2, 4):
        errors = [error(n, lambda grid, order=order: FiniteDifference(grid, order)) for n in (32, 64)]
        assert abs(slope((32, 64), errors) - order) < 0.25, errors


def test_the_taylor_green_vortex_only_decays():
    """Exact: its transport vanishes, so that the rate is `-2 nu (2 pi)^2 w`."""
    grid = Grid(Box((0.0, 0.0), (1.0, 1.0)), (12, 12))
    x, y = TURN * np.asarray(grid.coordinates)
    w = (2 * TURN * np.cos(x) * np.cos(y))[None]
    np.testing.assert_allclose(rate(NavierStokes(0.01), Spectral(grid), w), -0.02 * TURN**2 * w, atol=1e-12)
    # In finite differences the discrete transport vanishes as well, by the symmetry of the vortex.
    got = rate(NavierStokes(0.0), FiniteDifference(grid, 2), w)
    np.testing.assert_allclose(got, 0.0, atol=1e-12 * TURN**3)


@pytest.mark.parametrize("order", [2, 4])
def test_order_of_diffusion_sorption(order):
    """Order: a solute that meets the inlet `u(0) = 1` and the outflow `u + D u' = 0`, with a D wide enough to see."""
    law = DiffusionSorption(diffusivity=0.3, smoothing=1e-12)
    # Cubic, from u(0) = 1 with slope -0.2 and curvature -0.4 to the outflow, times 1 + 0.1 sin(pi x)^4, which is 1 with
    # vanishing first derivatives at both ends.
    a = (1 - 0.2 - 0.2 + 0.3 * (-0.2 - 0.4)) / -(1 + 0.3 * 3)

    def function(p):
        x = p[0]
        return ((1 - 0.2 * x - 0.2 * x**2 + a * x**3) * (1 + 0.1 * jnp.sin(np.pi * x) ** 4))[None]

    sizes, errors = (32, 64), []
    for n in sizes:
        grid = Grid(law.domain(), n)
        points = jnp.asarray(grid.axes[0])[:, None]
        automatic = rate(law, Autodiff(points), function)
        u, second = (
            np.asarray(jax.vmap(f)(points))[:, 0] for f in (function, jax.jacfwd(jax.jacfwd(function)))
        )
        retardation = 1 + (1 - 0.29) / 0.29 * 2880 * 3.5e-4 * 0.874 * u ** (0.874 - 1)
        exact = 0.3 / retardation * second[:, 0, 0]
        np.testing.assert_allclose(automatic[0], exact, atol=1e-12)
        errors.append(np.max(np.abs(rate(law, FiniteDifference(grid, order), u[None])[0] - exact)))
    assert abs(slope(sizes, errors) - order) < 0.25, errors


def test_retardation_is_smooth_where_the_power_law_is_not():
    """Property: unchanged by 1e-6 above 1e-3, as its docstring says, and finite with its derivative at and below 0."""
    law, sharp = DiffusionSorption(), DiffusionSorption(smoothing=1e-30)
    u = jnp.geomspace(1e-3, 1.0, 9)
    np.testing.assert_allclose(law.retardation(u), sharp.retardation(u), rtol=1e-6)
    for value in (0.0, -0.1, -1e-8):
        assert np.isfinite(law.retardation(value))
        assert np.isfinite(jax.grad(law.retardation)(value))


def test_the_domain_of_diffusion_sorption_follows_its_diffusivity():
    """Property: the outflow's width is the law's diffusivity, also a traced one."""
    left, right = DiffusionSorption(diffusivity=0.02).domain().boundaries[0]
    assert isinstance(left, Dirichlet)
    assert isinstance(right, Outflow)
    assert (float(left.value), float(right.diffusivity)) == (1.0, 0.02)
    assert (
        jax.grad(lambda d: DiffusionSorption(diffusivity=d).domain().boundaries[0][1].diffusivity)(0.1) == 1.0
    )


@pytest.mark.parametrize("limiter", [van_leer, minmod])
def test_order_of_finite_volumes_with_walls(limiter):
    """Order: monotone data between inhomogeneous walls, second order in the mean; the wall cell is of first order."""
    function = Waves(((0.5, (1.2,), (0.2,)),), 1.5)
    sizes, errors = (64, 128), []
    for n in sizes:
        x = [np.array([end]) for end in (0.0, 1.0)]
        right = Robin(1.0, 0.5, function(x[1]) + 0.5 * function(x[1], (1,)))
        grid = Grid(Box(0.0, 1.0, [(Dirichlet(function(x[0])), right)]), n)
        x = np.asarray(grid.coordinates)
        exact = 0.1 * function(x, (2,)) - function(x) * function(x, (1,))
        errors.append(
            np.mean(
                np.abs(rate(Burgers(0.1), FiniteVolume(grid, limiter=limiter), function(x)[None]) - exact)
            )
        )
    assert abs(slope(sizes, errors) - 2) < 0.25, errors
