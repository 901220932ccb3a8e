"""Finite volumes: conservation, shocks and fans of inviscid Burgers, limiters (exact and property tests)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.pdes import Box, Burgers, FiniteVolume, Grid, Neumann, evaluate_rate, minmod, van_leer

LIMITERS = pytest.mark.parametrize("limiter", [van_leer, minmod])


@LIMITERS
def test_mass_is_conserved_to_rounding(limiter):
    """Property: on a periodic square the rates of rough values add up to nothing."""
    calculus = FiniteVolume(Grid(Box((0.0, 0.0), (1.0, 2.0)), (10, 12)), limiter=limiter)
    u = jax.random.normal(jax.random.key(0), (1, 10, 12))
    rate = jax.jit(lambda u: evaluate_rate(Burgers(0.1), calculus, u))(u)
    np.testing.assert_allclose(np.sum(rate), 0.0, atol=1e-14 * np.sum(np.abs(rate)))


@pytest.fixture(scope="module")
def solve():
    """Inviscid Burgers from a jump at 0.3 to a time, on 100 cells with open ends, by the strong-stability-preserving
    Runge-Kutta method of third order (Shu and Osher, 1988): convex combinations of Euler steps."""
    n, dt = 100, 0.4 / 100  # a Courant number of 0.4 for speeds up to 1

    def run(left, right, time, limiter):
        grid = Grid(Box(0.0, 1.0, Neumann(0.0)), n)
        x = jnp.asarray(grid.axes[0])
        calculus = FiniteVolume(grid, limiter=limiter)

        def euler(u):
            return u + dt * evaluate_rate(Burgers(0.0), calculus, u)

        def step(u, _):
            second = 0.75 * u + 0.25 * euler(euler(u))
            new = u / 3 + 2 / 3 * euler(second)
            return new, (new.min(), new.max(), jnp.sum(jnp.abs(jnp.diff(new[0]))))

        start = jnp.where(x < 0.3, left, right)[None]
        return x, *jax.lax.scan(step, start, None, length=round(time / dt))

    return jax.jit(run, static_argnums=(2, 3))


@LIMITERS
def test_a_shock_moves_at_its_speed(solve, limiter):
    """Exact: from 1 to 0 at half the jump, to within a cell, without new extrema, three cells thin."""
    x, u, (lowest, highest, variation) = solve(1.0, 0.0, 0.6, limiter)
    position = np.interp(-0.5, -u[0], x)
    assert abs(position - 0.6) < 0.01  # a cell
    assert np.sum((u[0] > 0.02) & (u[0] < 0.98)) <= 3
    # Total variation does not grow with this method and limiter; rounding of 150 steps.
    assert lowest.min() > -1e-12
    assert highest.max() < 1 + 1e-12
    assert variation.max() < 1 + 1e-12
    # What crosses the left end is its flux 1/2 per time, to rounding until the shock reaches the other end.
    np.testing.assert_allclose(np.sum(u) / 100, 0.3 + 0.5 * 0.6, atol=1e-12)


@LIMITERS
def test_a_shock_between_opposite_states_stands(solve, limiter):
    """Exact: from 1 to -1 the shock has no speed."""
    x, u, _ = solve(1.0, -1.0, 0.2, limiter)
    assert abs(np.interp(0.0, -u[0], x) - 0.3) < 0.01
    np.testing.assert_allclose(
        u[0][np.abs(x - 0.3) > 0.03], np.where(x < 0.3, 1.0, -1.0)[np.abs(x - 0.3) > 0.03], atol=1e-6
    )


@LIMITERS
@pytest.mark.parametrize("left", [0.0, -1.0])
def test_a_jump_upward_opens_into_a_fan(solve, left, limiter):
    """Exact: `u = (x - 0.3) / t` between the states, also through `u = 0`, where schemes can keep a forbidden shock."""
    time = 0.28
    x, u, (lowest, highest, _) = solve(left, 1.0, time, limiter)
    exact = np.clip((x - 0.3) / time, left, 1.0)
    assert np.mean(np.abs(u[0] - exact)) < 0.01  # half a cell of rounding at each of two corners
    assert lowest.min() > left - 1e-12
    assert highest.max() < 1 + 1e-12


@LIMITERS
def test_limiters(limiter):
    """Property: symmetric, homogeneous, zero at an extremum, exact for a line, at most twice the smaller slope."""
    a, b = jax.random.normal(jax.random.key(0), (2, 50))
    np.testing.assert_array_equal(limiter(a, b), limiter(b, a))
    np.testing.assert_allclose(limiter(3 * a, 3 * b), 3 * limiter(a, b), rtol=1e-14)
    np.testing.assert_allclose(limiter(a, a), a, rtol=1e-15)
    assert np.all(limiter(a, b)[a * b <= 0] == 0)
    assert np.all(np.abs(limiter(a, b)) <= 2 * np.minimum(np.abs(a), np.abs(b)) + 1e-15)
    slopes = jax.vmap(jax.grad(lambda a, b: limiter(a, b), argnums=(0, 1)))
    assert np.all(np.isfinite(slopes(jnp.array([0.0, 1.0, -1.0]), jnp.array([0.0, 0.0, 1.0]))))
