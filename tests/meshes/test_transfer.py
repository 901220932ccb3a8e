"""Interpolation between meshes: exact for linear fields, of its order, bounded, differentiable; and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from sciml.meshes import (
    Cubic,
    Linear,
    MeshError,
    StructuredMesh,
    TriangleMesh,
    interpolate,
    resample,
    triangulate,
    uniform_mesh,
)
from sciml.pdes import Box, Grid
from tests.conftest import single_precision
from tests.meshes.maps import LINES, SIDES, find_points, make_grid, move, scatter, tangle

METHODS = {"linear": Linear(), "cubic": Cubic()}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
WALLS = make_grid((12, 10), SIDES["walls"])
COUNT = 150
LENGTHS = (1.5, 1.2)


def linear(x):
    """Two channels that are linear in the positions `(dim, *points)`."""
    x = np.asarray(x)
    slopes = np.array([[2.0, -3.0], [0.1, 0.7]])[:, : len(x)]
    return np.tensordot(slopes, x, 1) + np.array([1.0, -2.0]).reshape((2,) + (1,) * (x.ndim - 1))


def waves(x):
    """One channel of the box's periods."""
    x = np.asarray(x)
    angles = [2 * np.pi * row / length + 0.4 for row, length in zip(x, LENGTHS)]
    return (np.sin(angles[0]) * np.cos(angles[-1]))[None]


@every_method
@given(seed=st.integers(0, 2**16))
def test_linear_fields_are_exact_up_to_the_walls(method, seed):
    """Exact: on random meshes moved far; inside, in the half cells at walls, in corners, and at points outside."""
    mesh = move(WALLS, seed, 0.75)
    points = np.array(scatter(WALLS, COUNT, seed))
    points[0, :10], points[1, 5:15] = WALLS.box.lower[0], WALLS.box.upper[1]
    expected = linear(points)
    points[0, :10] -= 0.3
    found = interpolate(linear(find_points(mesh)), mesh, points, method)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("sides", LINES.values(), ids=LINES)
@every_method
def test_order_in_one_dimension(method, sides):
    """Order: two and four, in the largest error, up to the walls and across the seam."""
    errors = []
    for n in (80, 160):
        grid = make_grid((n,), sides)
        mesh, points = move(grid, 1, 0.4, shift=0.3), scatter(grid, 1000)
        errors.append(
            np.max(abs(interpolate(waves(find_points(mesh)), mesh, points, method) - waves(points)))
        )
    order = np.log2(errors[0] / errors[1])
    assert order == pytest.approx(4 if method == Cubic() else 2, abs=0.25), errors


SLOW = functools.partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "name"),
    [(Cubic(), "walls"), (Linear(), "walls"), (Cubic(), "mixed"), (Linear(), "mixed")],
)
def test_order_in_two_dimensions(method, name):
    """Order: two and, away from walls, four, in the mean square; at walls Cubic's error falls faster at first."""
    errors = []
    for shape in ((12, 10), (24, 20)):
        grid = make_grid(shape, SIDES[name])
        mesh, points = move(grid, 4, 0.3, shift=0.3), scatter(grid, COUNT)
        values = np.repeat(waves(find_points(mesh)), 2, axis=0)
        off = interpolate(values, mesh, points, method) - waves(points)
        errors.append(float(np.sqrt(np.mean(np.square(off)))))
    order = np.log2(errors[0] / errors[1])
    assert (3.75 < order < 5.25) if method == Cubic() else order == pytest.approx(2, abs=0.25), errors


@every_method
def test_points_of_the_mesh_get_their_own_values(method):
    """Exact: at the points of the unknowns."""
    mesh = move(WALLS, 3, 0.75)
    values = np.random.default_rng(0).standard_normal((2, *WALLS.shape))
    points = np.pad(find_points(mesh).reshape(2, -1), [(0, 0), (0, COUNT - 120)], mode="edge")
    found = interpolate(values, mesh, points, method)
    np.testing.assert_allclose(found[:, :120], values.reshape(2, -1), atol=1e-11)


@every_method
@pytest.mark.parametrize("name", ["walls", "circle", SLOW("mixed"), SLOW("torus")])
def test_a_grid_is_interpolated_as_its_uniform_mesh(method, name):
    """Exact: two ways to find the cells; also points one period away."""
    grid = make_grid((12, 10)[: 1 + (name in SIDES)], (SIDES | LINES)[name])
    values = np.random.default_rng(0).standard_normal((2, *grid.shape))
    shift = np.array(grid.box.lengths) * grid.box.periodic
    points = scatter(grid, COUNT) - shift[:, None]
    expected = interpolate(values, uniform_mesh(grid), points, method)
    np.testing.assert_allclose(interpolate(values, grid, points, method), expected, atol=1e-12)


def test_linear_on_a_grid_against_scipy():
    """Exact: on a periodic grid everywhere, with walls between the outermost points."""
    for name, mode in (("torus", "grid-wrap"), ("walls", "constant")):
        grid = make_grid((8, 9), SIDES[name])
        values = np.random.default_rng(0).standard_normal((2, 8, 9))
        points = np.array(scatter(grid, 40))
        index = [(x - axis[0]) / h for x, axis, h in zip(points, grid.axes, grid.spacing)]
        inside = np.all([(i >= 0) & (i <= n - 1) for i, n in zip(index, grid.shape)], axis=0)
        inside |= name == "torus"
        expected = [scipy.ndimage.map_coordinates(v, index, order=1, mode=mode) for v in values]
        found = interpolate(values, grid, points)
        assert inside.sum() > 20
        np.testing.assert_allclose(found[:, inside], np.array(expected)[:, inside], atol=1e-13)


@given(seed=st.integers(0, 2**16))
def test_linear_makes_no_new_extrema_between_points(seed):
    """Property: random values on moved meshes, away from the walls."""
    mesh, points = move(WALLS, seed, 0.75), scatter(WALLS, COUNT, seed)
    values = np.random.default_rng(seed).standard_normal((2, *WALLS.shape))
    (left, right), (low, high) = [
        (np.max(x.take(0, axis)), np.min(x.take(-1, axis))) for axis, x in enumerate(find_points(mesh))
    ]
    points = np.asarray(points)
    inside = (points[0] > left) & (points[0] < right) & (points[1] > low) & (points[1] < high)
    found = np.asarray(interpolate(values, mesh, points))[:, inside]
    assert found.shape[1] > 50
    assert np.all(found.max(1) < values.max((1, 2)) + 1e-12)
    assert np.all(found.min(1) > values.min((1, 2)) - 1e-12)


def test_cubic_has_a_continuous_slope():
    """Exact: slopes on both sides of each point agree; those of Linear do not."""
    grid = make_grid((12,), LINES["line"])
    mesh = move(grid, 5, 0.7)
    values = np.random.default_rng(0).standard_normal((2, 12))
    x = find_points(mesh)[:, 1:-1]
    x = np.concatenate([x - 1e-9, x + 1e-9], axis=1)
    apart = []
    for method in METHODS.values():
        along = functools.partial(interpolate, values, mesh, method=method)
        slopes = np.asarray(jax.jvp(along, (x,), (np.ones_like(x),))[1])
        apart.append(np.max(abs(slopes[:, :10] - slopes[:, 10:])))
    assert apart[0] > 10
    assert apart[1] < 1e-5


def test_cubic_is_linear_where_its_map_folds():
    """Exact for linear fields, and near Linear for others: neighboring cells that differ tenfold."""
    grid = make_grid((10,), LINES["line"])
    widths = np.array([1, 1, 1, 10, 1, 1, 10, 10, 1, 1.0])
    vertices = -0.5 + 1.5 * np.concatenate([[0], np.cumsum(widths) / widths.sum()])
    mesh, points = StructuredMesh(grid, jnp.asarray(vertices)[None]), np.linspace(-0.5, 1, 400)[None]
    np.testing.assert_allclose(
        interpolate(linear(find_points(mesh)), mesh, points, Cubic()), linear(points), atol=1e-12
    )
    found = [interpolate(waves(find_points(mesh)), mesh, points, method) for method in (Linear(), Cubic())]
    assert np.max(abs(found[1] - waves(points))) < 2 * np.max(abs(found[0] - waves(points)))


# Gradients.


@pytest.mark.parametrize(
    ("method", "name"), [(Cubic(), "circle"), (Linear(), "mixed"), SLOW(Cubic(), "mixed")]
)
def test_gradients_against_finite_differences(method, name):
    """Gradient: with respect to values, vertices and positions, along a random direction of all, across the seam."""
    grid = make_grid((8, 9)[: 1 + (name in SIDES)], (SIDES | LINES)[name])
    shift = np.array(grid.box.lengths) * grid.box.periodic
    mesh, points = move(grid, 6, 0.6, shift=0.4), scatter(grid, 40) + shift[:, None]
    rng = np.random.default_rng(0)
    at = (jnp.asarray(waves(find_points(mesh))), mesh.vertices, points)
    weights = rng.standard_normal((1, 40))

    def measure(values, vertices, points):
        return jnp.sum(weights * interpolate(values, StructuredMesh(grid, vertices), points, method) ** 2)

    differentiate = jax.jit(jax.value_and_grad(measure, (0, 1, 2)))  # also the values: one compilation
    direction = [rng.standard_normal(x.shape) for x in at]
    if not grid.box.periodic[0]:
        direction[1][0, [0, -1]] = 0  # vertices stay on their walls
    step = 1e-6
    ends = [differentiate(*(x + sign * step * d for x, d in zip(at, direction)))[0] for sign in (1, -1)]
    found = sum(float(jnp.sum(g * d)) for g, d in zip(differentiate(*at)[1], direction))
    assert found == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=1e-6)


@pytest.mark.slow
def test_second_derivatives():
    """Gradient: forward over reverse, through the inverse of the cubic map, against differences of the gradient."""
    grid = make_grid((8,), LINES["line"])
    mesh, points = move(grid, 6, 0.5), scatter(grid, 6)
    at = (jnp.asarray(waves(find_points(mesh))), mesh.vertices, points)
    direction = [np.random.default_rng(k).standard_normal(x.shape) for k, x in enumerate(at)]
    direction[1][0, [0, -1]] = 0

    def measure(values, vertices, points):
        return jnp.sum(interpolate(values, StructuredMesh(grid, vertices), points, Cubic()) ** 2)

    @jax.jit
    def differentiate(step):
        moved = [x + step * d for x, d in zip(at, direction)]
        return jax.jvp(jax.grad(measure, (0, 1, 2)), tuple(moved), tuple(direction))

    step = 1e-6
    ends = [differentiate(sign * step)[0] for sign in (1, -1)]
    for high, low, second in zip(*ends, differentiate(0.0)[1]):
        np.testing.assert_allclose(second, (high - low) / (2 * step), rtol=1e-6, atol=1e-5)


# Other precisions, many meshes, triangles.


def test_single_precision():
    """Property: float32 in, float32 out, with the error of float32."""
    mesh, points = move(WALLS, 1, 0.6), np.asarray(scatter(WALLS, COUNT), np.float32)
    values, vertices = (np.asarray(x, np.float32) for x in (find_points(mesh), mesh.vertices))
    with single_precision():
        found = interpolate(values, StructuredMesh(WALLS, jnp.asarray(vertices)), points)
        assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, points, atol=2e-6)


def test_complex_values():
    """Exact."""
    values = np.random.default_rng(0).standard_normal((2, 12, 10))
    points = scatter(WALLS, COUNT)
    for method in METHODS.values():
        expected = interpolate(values, WALLS, points, method)
        np.testing.assert_allclose(
            interpolate(values * (2 + 1j), WALLS, points, method), expected * (2 + 1j), atol=1e-12
        )


def test_linear_fields_are_exact_on_triangles():
    """Exact: at the nodes of a triangle mesh; outside, the value at the nearest point."""
    mesh = triangulate(move(make_grid((8, 9), SIDES["walls"]), 3, 0.7))
    points = np.array(scatter(make_grid((8, 9), SIDES["walls"]), 40))
    expected = linear(points)
    np.testing.assert_allclose(interpolate(linear(mesh.points), mesh, points), expected, atol=1e-13)
    points[0, :20], expected = 5.0, linear(np.concatenate([np.full((1, 20), 1.0), points[1:, :20]]))
    np.testing.assert_allclose(interpolate(linear(mesh.points), mesh, points)[:, :20], expected, atol=1e-12)


def test_resampling_a_grid():
    """Exact on linear fields; from walls to a finer grid."""
    new = make_grid((17, 20), SIDES["walls"])
    found = resample(linear(WALLS.coordinates), WALLS, new, Cubic())
    np.testing.assert_allclose(found, linear(new.coordinates), atol=1e-12)


# What is refused.

MESH, TORUS = uniform_mesh(WALLS), make_grid((12, 10), SIDES["torus"])
TRIANGLES = functools.cache(lambda: TriangleMesh(np.array([[0, 1, 0.0], [0, 0, 1]]), np.array([[0, 1, 2]])))
POINTS, VALUES = np.zeros((2, 5)), np.zeros((1, 12, 10))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (VALUES[0], MESH, POINTS),
            ValueError,
            r"interpolate expected .*got \(12, 10\). The channel axis is missing",
        ),
        ((VALUES[None], MESH, POINTS), ValueError, r"There is a batch axis: map over it with jax.vmap"),
        ((np.zeros((1, 13, 11)), MESH, POINTS), ValueError, r"\(channel, 12, 10\); got \(1, 13, 11\)"),
        (
            (VALUES, WALLS, POINTS.T),
            ValueError,
            r"dim = 2 on this mesh; got an array \(5, 2\). Write points.T",
        ),
        ((VALUES, MESH, np.zeros((3, 5))), ValueError, r"dim = 2 on this mesh; got an array \(3, 5\)"),
        (
            (VALUES, MESH, POINTS, "cubic"),
            ValueError,
            r"a method such as Linear\(\) or Cubic\(\); got 'cubic'",
        ),
        ((VALUES, MESH, POINTS, Linear), ValueError, r"a method such as Linear\(\)"),
        ((VALUES, WALLS.box, POINTS), ValueError, r"needs a StructuredMesh or a TriangleMesh; got Box"),
        ((VALUES, tangle(MESH), POINTS), MeshError, r"2 of 120 are tangled, the worst is \(6, \d\)"),
        (
            (np.zeros((1, 4, 4)), Grid(TORUS.box, (4, 4)), POINTS, Cubic()),
            ValueError,
            "needs at least 5 points",
        ),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        interpolate(*arguments)


def test_bad_input_of_other_meshes():
    with pytest.raises(ValueError, match=r"on a TriangleMesh is linear; got Cubic\(\). Write Linear\(\)"):
        interpolate(np.zeros((1, 3)), TRIANGLES(), POINTS, Cubic())
    with pytest.raises(ValueError, match=r"\(channel, 3\); got \(1, 4\)"):
        interpolate(np.zeros((1, 4)), TRIANGLES(), POINTS)
    with pytest.raises(
        ValueError, match=r"one box; got boxes from \(-0.5, 1.0\) to .* For points of your own"
    ):
        resample(VALUES, WALLS, Grid(Box((0, 0), (1, 1)), (8, 8)))
