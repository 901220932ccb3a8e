"""Densities: closed forms, values on a grid, and what is refused."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from sciml.meshes import Bell, GriddedDensity, Ring, Uniform, check_density
from sciml.meshes.structured import reference_vertices
from sciml.pdes import Box, Grid, Neumann, Periodic

MIDDLE = (0.5, 0.5)
PROBLEMS = {
    # name: density, uniform cell CV of the references' table D1 at 64 x 64
    "Movement test ring": (Ring(10.0, 200.0, math.sqrt(0.15), MIDDLE), 0.932),
    "Movement demo ring": (Ring(20.0, 200.0, 0.4, MIDDLE), 1.503),
    "bell": (Bell(50.0, 100.0, MIDDLE), 2.740),
    "ring on [-1, 1]": (Ring(10.0, 800.0, math.sqrt(0.0156), MIDDLE), 0.532),
    "bell on [-1, 1]": (Bell(50.0, 400.0, MIDDLE), 2.555),
}


def square(shape, *walls):
    """A box of unequal sides; by default periodic."""
    return Grid(Box((-1.0, 0.0), (1.0, 3.0), walls or None), shape)


MIXED = square((8, 9), Periodic(), Neumann(0.0))
LINE = Grid(Box(0.0, 2.0, Neumann(0.0)), 8)
GRIDS = {"mixed": MIXED, "line": LINE}
both_lattices = pytest.mark.parametrize("at_vertices", [False, True], ids=["points", "vertices"])
every_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)


evaluate = eqx.filter_jit(lambda density, x: density(x))
fit = eqx.filter_jit(lambda values, grid: GriddedDensity(values, grid))


def points_of(grid, at_vertices):
    return reference_vertices(grid) if at_vertices else grid.coordinates


def random_values(shape, seed=0):
    """Over two decades."""
    return jnp.asarray(10 ** np.random.default_rng(seed).uniform(-1, 1, shape))


def smooth(x, grid):
    """Positive, even at walls and periodic where the grid is."""
    total = 0.0
    for axis, (low, length) in enumerate(zip(grid.box.lower, grid.box.lengths, strict=True)):
        waves = 2 if grid.box.periodic[axis] else 1
        total = total + np.cos(waves * np.pi * (x[axis] - low) / length + 0.3 * (waves - 1))
    return jnp.asarray(np.exp(np.sin(total)))


# Closed forms.


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_test_problems_are_those_of_the_references(name):
    """Exact: the coefficient of variation of uniform cells tells radii from squared radii."""
    density, variation = PROBLEMS[name]
    nodes, weights = np.polynomial.legendre.leggauss(3)
    axis = ((np.arange(64)[:, None] + (nodes + 1) / 2) / 64).ravel()
    values = np.asarray(evaluate(density, jnp.asarray(np.stack(np.meshgrid(axis, axis, indexing="ij")))))
    masses = np.einsum("iajb,a,b->ij", values.reshape(64, 3, 64, 3), weights, weights)
    assert masses.std() / masses.mean() == pytest.approx(variation, abs=6e-4)


def test_closed_forms_against_numpy():
    """Exact."""
    x = np.random.default_rng(0).uniform(-1, 1, (2, 5, 3))
    squared = (x[0] - 0.1) ** 2 + (x[1] + 0.2) ** 2
    ring = 1 + 3.0 / np.cosh(7.0 * (squared - 0.4**2)) ** 2
    bell = 1 + 3.0 / np.cosh(7.0 * squared) ** 2
    np.testing.assert_allclose(evaluate(Ring(3.0, 7.0, 0.4, (0.1, -0.2)), jnp.asarray(x)), ring, rtol=1e-14)
    np.testing.assert_allclose(evaluate(Bell(3.0, 7.0, (0.1, -0.2)), jnp.asarray(x)), bell, rtol=1e-14)
    np.testing.assert_array_equal(Uniform()(jnp.asarray(x)), np.ones((5, 3)))


@pytest.mark.parametrize(
    "density", [Ring(20.0, 1e4, 0.4, MIDDLE), Bell(50.0, 1e5, MIDDLE)], ids=["ring", "bell"]
)
def test_far_away_a_feature_is_gone_without_overflow(density, float32):
    """Exact: cosh of 1e5 overflows even in float64."""
    del float32
    x = jnp.array([[0.5, 3.0, -40.0], [0.5, 3.0, 70.0]], jnp.float32)
    gradient, values = jax.jit(jax.grad(lambda x: (jnp.sum(density(x)), density(x)), has_aux=True))(x)
    assert values.dtype == jnp.float32
    np.testing.assert_array_equal(values[1:], 1.0)
    np.testing.assert_array_equal(gradient[:, 1:], 0.0)
    assert bool(jnp.all(jnp.isfinite(gradient)))


@pytest.mark.parametrize(
    "make",
    [lambda c, p: Ring(10.0, 50.0, 0.3, c, p), lambda c, p: Bell(10.0, 50.0, c, p)],
    ids=["ring", "bell"],
)
def test_a_feature_across_the_seam_is_the_shifted_one(make):
    """Exact: on a periodic axis only differences of positions matter."""
    x = jnp.asarray(np.random.default_rng(1).uniform(0, 1, (2, 50)))
    shift = jnp.array([0.45, 0.0])
    middle, seam = make(MIDDLE, None), make((0.95, 0.5), (1.0, None))
    np.testing.assert_allclose(evaluate(seam, (x + shift[:, None]) % 1.0), evaluate(middle, x), rtol=1e-10)


def test_parameters_are_mapped_over_and_differentiated():
    """Gradient against finite differences, and vmap against a loop."""
    x = jnp.asarray(np.random.default_rng(2).uniform(0, 1, (2, 6)))

    def value(amplitude, radius, center, x):
        return Ring(amplitude, 10.0, radius, center)(x)

    check_grads(
        value, (10.0, 0.4, jnp.array(MIDDLE), x), order=2, modes=["rev"], eps=1e-5, rtol=1e-5, atol=1e-5
    )
    radii = jnp.linspace(0.1, 0.4, 3)
    mapped = jax.vmap(lambda r: Ring(10.0, 200.0, r, MIDDLE))(radii)
    together = jax.jit(jax.vmap(lambda density: density(x)))(mapped)
    for radius, values in zip(radii, together, strict=True):
        np.testing.assert_allclose(values, evaluate(Ring(10.0, 200.0, radius, MIDDLE), x), rtol=1e-13)


# Values on a grid.


@every_grid
@both_lattices
def test_gridded_values_are_taken_exactly(grid, at_vertices):
    """Exact, for values over two decades."""
    points = points_of(grid, at_vertices)
    values = random_values(points.shape[1:])
    np.testing.assert_allclose(evaluate(fit(values, grid), points), values, rtol=1e-12)


@both_lattices
def test_the_order_of_gridded_densities_is_four(at_vertices):
    """Order: values, up to walls and around periods; slope of the error within 0.25."""
    errors = []
    for n in (40, 80):
        grid = square((n, n), Periodic(), Neumann(0.0))
        density = fit(smooth(np.asarray(points_of(grid, at_vertices)), grid), grid)
        x = np.random.default_rng(0).uniform((-1, 0), (1, 3), (4000, 2)).T
        errors.append(np.max(abs(np.asarray(evaluate(density, jnp.asarray(x))) - smooth(x, grid))))
    slope = np.log2(errors[0] / errors[1])
    assert slope == pytest.approx(4, abs=0.25), errors


@both_lattices
def test_gridded_densities_are_even_at_walls_and_smooth(at_vertices):
    """Exact: no slope across walls, reflected beyond; and two continuous derivatives at knots."""
    density = GriddedDensity(random_values(points_of(LINE, at_vertices).shape[1:]), LINE)

    @jax.jit
    @jax.vmap
    def derivatives(x):
        def value(x):
            return density(x[None])

        return jnp.stack([value(x), jax.grad(value)(x), jax.grad(jax.grad(value))(x)])

    walls, step = jnp.array([0.0, 2.0]), 0.07
    knots = jnp.concatenate([LINE.coordinates[0], reference_vertices(LINE)[0]])
    parts = [walls, walls - step, walls + step, knots - 1e-10, knots, knots + 1e-10]
    found = jnp.split(derivatives(jnp.concatenate(parts)), np.cumsum([len(part) for part in parts])[:-1])
    on, below, above, left, at_knots, right = found
    np.testing.assert_allclose(on[:, 1], 0, atol=1e-12)
    np.testing.assert_allclose(above, below * jnp.array([1, -1, 1]), rtol=1e-9)
    np.testing.assert_allclose(left, at_knots, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(right, at_knots, rtol=1e-5, atol=1e-5)


def test_gridded_densities_wrap_around_periods_and_are_mirrored():
    """Exact: positions beyond a period; rolled and mirrored values make rolled and mirrored densities."""
    values = random_values(MIXED.shape)
    x = jnp.asarray(np.random.default_rng(3).uniform((-1, 0), (1, 3), (30, 2)).T)
    there = evaluate(fit(values, MIXED), x)
    np.testing.assert_allclose(evaluate(fit(values, MIXED), x + jnp.array([[2.0], [0.0]])), there, rtol=1e-10)
    step = jnp.array([[2 * MIXED.spacing[0]], [0.0]])
    np.testing.assert_allclose(evaluate(fit(jnp.roll(values, 2, 0), MIXED), x + step), there, rtol=1e-10)
    mirrored = jnp.stack([x[0], 3.0 - x[1]])
    np.testing.assert_allclose(evaluate(fit(values[:, ::-1], MIXED), mirrored), there, rtol=1e-10)


@given(st.integers(0, 10**6), st.floats(0.1, 6.0))
def test_gridded_densities_are_positive_and_bounded(seed, decades):
    """Property: the spline's overshoot is a part of the logarithm's range, whatever the values."""
    values = np.random.default_rng(seed).uniform(-decades, decades, MIXED.shape)
    x = np.random.default_rng(seed).uniform((-1, 0), (1, 3), (200, 2)).T
    found = evaluate(fit(jnp.asarray(10**values), MIXED), jnp.asarray(x))
    assert np.max(abs(np.log10(found))) < 2 * decades


def test_gridded_densities_are_differentiable_in_values_and_positions():
    """Gradient against finite differences, across a wall and a seam."""
    x = jnp.array([[-0.99, 0.3, 0.95], [0.1, 1.4, 2.95]])
    function = jax.jit(lambda values, x: GriddedDensity(values, MIXED)(x))
    check_grads(
        function, (random_values(MIXED.shape), x), order=1, modes=["rev"], eps=1e-5, rtol=1e-6, atol=1e-6
    )


def test_gridded_densities_in_single_precision_and_mapped_over(float32):
    """Exact, to the precision, and mapped over."""
    del float32
    values = jnp.stack([random_values(MIXED.shape, seed) for seed in range(3)])
    points = MIXED.coordinates
    densities = jax.jit(jax.vmap(lambda v: GriddedDensity(v, MIXED)))(values)
    found = jax.jit(jax.vmap(lambda density: density(points)))(densities)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, values, rtol=1e-5)


# What is refused.


def at(value):
    """A density with one bad value, in the cell at the middle of the unit square."""
    return lambda x: jnp.where((abs(x[0] - 0.5) < 0.1) & (abs(x[1] - 0.5) < 0.1), value, 1.0)


UNIT = Grid(Box((0.0, 0.0), (1.0, 1.0), Neumann(0.0)), (8, 8))
NOT_DENSITIES = {
    "zero": (at(0.0), ["density is 0 ", "(0.5, 0.5)", "positive", "add a floor"]),
    "negative": (at(-0.25), ["-0.25", "(0.5, 0.5)"]),
    "infinite": (at(jnp.inf), ["inf", "(0.5, 0.5)"]),
    "NaN": (at(jnp.nan), ["nan", "(0.5, 0.5)"]),
    "only between vertices": (lambda x: jnp.sin(8 * jnp.pi * x[0]) ** 2 - 0.5, ["-0.5", "of 81 points"]),
    "only at a center": (
        lambda x: jnp.where(abs(x[0] - 0.4375) + abs(x[1] - 0.4375) < 0.01, -1.0, 1.0),
        ["-1", "(0.4375, 0.4375)", "1 of 64 points"],
    ),
    "a constant": (lambda x: jnp.ones(()), ["one number for each position", "(9, 9)", "Uniform()"]),
    "with a channel": (lambda x: x[:1], ["one number for each position", "(1, 9, 9)"]),
    "no function": (np.ones((8, 8)), ["ndarray", "GriddedDensity(values, grid)", "HessianMonitor"]),
}


@pytest.mark.parametrize("name", NOT_DENSITIES)
def test_what_is_not_a_density_is_refused_with_its_place(name):
    density, words = NOT_DENSITIES[name]
    with pytest.raises(ValueError) as caught:
        check_density(density, UNIT)
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)


def test_a_density_passes_and_a_traced_one_is_let_through():
    ring = Ring(10.0, 200.0, 0.3, MIDDLE)
    assert check_density(ring, UNIT) is ring
    ends = jax.jit(lambda floor: check_density(lambda x: 0 * x[0] + floor, UNIT)(jnp.zeros(2)))(-1.0)
    assert float(ends) == -1.0


BAD = {
    "amplitude": (lambda: Ring(-1.0, 200.0, 0.4, MIDDLE), ["Ring.amplitude", "above -1", "-1.0"]),
    "sharpness": (lambda: Bell(10.0, 0.0, MIDDLE), ["Bell.sharpness", "above 0", "0.0"]),
    "radius": (lambda: Ring(10.0, 200.0, -0.4, MIDDLE), ["Ring.radius", "at least 0", "-0.4"]),
    "radius NaN": (lambda: Ring(10.0, 200.0, jnp.nan, MIDDLE), ["Ring.radius", "finite", "nan"]),
    "text": (lambda: Ring("much", 200.0, 0.4, MIDDLE), ["Ring.amplitude", "number", "'much'"]),
    "a batch": (lambda: Ring(10.0, np.ones(3), 0.4, MIDDLE), ["Ring.sharpness", "(3,)", "jax.vmap"]),
    "center": (lambda: Bell(10.0, 200.0, 0.5), ["Bell.center", "per axis", "()"]),
    "periods": (lambda: Bell(1.0, 1.0, MIDDLE, (1.0,)), ["Bell.periods", "2 here", "(1.0,)", "lengths"]),
    "period": (lambda: Bell(1.0, 1.0, MIDDLE, (0.0, None)), ["Bell.periods", "positive"]),
    "dimensions": (lambda: Bell(1.0, 1.0, MIDDLE)(jnp.zeros((3, 4))), ["Bell", "2 coordinates", "(3, 4)"]),
    "gridded shape": (
        lambda: GriddedDensity(jnp.ones((8, 9)), UNIT),
        ["(8, 8)", "(9, 9)", "(8, 9)", "no channels"],
    ),
    "gridded value": (
        lambda: GriddedDensity(jnp.ones((8, 8)).at[4, 2].set(-2.0), UNIT),
        ["GriddedDensity", "-2", "(0.5625, 0.3125)", "1 of 64 points"],
    ),
    "gridded dimensions": (
        lambda: GriddedDensity(jnp.ones((8, 8)), UNIT)(jnp.zeros((1, 4))),
        ["2 axes", "(1, 4)"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_numbers_are_refused(name):
    call, words = BAD[name]
    with pytest.raises(ValueError) as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)
