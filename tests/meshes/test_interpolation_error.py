"""The error of a piecewise linear interpolant: the references' figures, exact cases, order, gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.meshes import Diagonal, StructuredMesh, interpolation_error, triangulate, uniform_mesh
from sciml.meshes.errors import _triangle_table
from sciml.pdes import Box, Grid, Neumann
from tests.meshes.maps import LINES, SIDES, make_grid, move

SQUARE = uniform_mesh(Grid(Box((0.0, 0.0), (1.0, 1.0), Neumann(0.0)), (64, 64)))


def shock(x):
    return jnp.tanh(50 * (x[0] + x[1] - 1))


def ring(x):
    radius = jnp.sqrt((x[0] - 0.5) ** 2 + (x[1] - 0.5) ** 2)
    return jnp.exp(-((radius - 0.25) ** 2) / (2 * 0.02**2))


def gaussian(x):
    return jnp.exp(-((x[0] - 0.5) ** 2 + (x[1] - 0.5) ** 2) / 0.1**2)


@pytest.mark.parametrize(
    ("function", "expected", "diagonal"),
    [(shock, 7.88e-3, 1), (ring, 1.155e-2, None), (gaussian, 8.34e-4, None)],
)
def test_uniform_meshes_have_the_errors_of_the_references(function, expected, diagonal):
    """Exact: the references' table D2; the bad diagonal of the shock has 2.12e-2."""
    found = interpolation_error(function, SQUARE)
    assert float(found.l2) == pytest.approx(expected, rel=1e-3)
    if diagonal is not None:
        assert found.diagonal == diagonal


def test_the_quadrature_of_a_triangle():
    """Exact: all monomials of degree four, which a finer cut keeps; the smallest weight is positive."""
    for pieces in (1, 3):
        weight, _, s, t = _triangle_table(pieces).T
        assert weight.min() > 0
        for i in range(5):
            for j in range(5 - i):
                exact = 2 * np.prod([*range(1, i + 1), *range(1, j + 1)]) / np.prod(range(1, i + j + 3))
                assert np.sum(weight * s**i * t**j) == pytest.approx(exact, rel=1e-13)


def test_squares_in_one_dimension():
    """Exact: on an interval of length h the error of x^2 is (x - a)(b - x), whose square integrates to h^5 / 30."""
    mesh = move(make_grid((16,), LINES["circle"]), 1, 0.8)
    found = interpolation_error(lambda x: x[0] ** 2, mesh)
    h = np.asarray(mesh.volumes)
    assert float(found.l2) == pytest.approx(np.sqrt(np.sum(h**5) / 30), rel=1e-12)
    assert 0.9 < float(found.largest) / (h.max() ** 2 / 4) <= 1


def test_linear_functions_have_none():
    """Exact, and the gradient is 0 rather than NaN."""
    mesh = move(make_grid((6, 5), SIDES["walls"]), 1, 0.6)

    def measure(vertices):
        return interpolation_error(lambda x: 2 * x[0], StructuredMesh(mesh.grid, vertices)).l2

    value, gradient = jax.jit(jax.value_and_grad(measure))(mesh.vertices)
    assert float(value) == pytest.approx(0, abs=1e-15)
    assert np.all(np.isfinite(gradient))


def test_triangles_have_the_error_of_their_diagonal():
    """Exact: a structured mesh takes the better of two triangle meshes."""
    mesh = move(make_grid((6, 5), SIDES["walls"]), 1, 0.6)

    def wave(x):
        return jnp.sin(3 * x[0] + x[1] ** 2)

    pair = [interpolation_error(wave, triangulate(mesh, way)) for way in (Diagonal.RISING, Diagonal.FALLING)]
    better = min(range(2), key=lambda k: float(pair[k].l2))
    found = interpolation_error(wave, mesh)
    assert found.diagonal == better
    assert float(found.l2) == pytest.approx(float(pair[better].l2), rel=1e-13)
    assert float(found.largest) == pytest.approx(float(pair[better].largest), rel=1e-13)


def test_gradient_against_finite_differences():
    """Gradient: with respect to the vertices, across a seam."""
    grid = make_grid((6, 5), SIDES["mixed"])
    mesh = move(grid, 2, 0.6)

    def measure(vertices):
        mesh = StructuredMesh(grid, vertices)
        return interpolation_error(lambda x: jnp.sin(3 * x[0]) * jnp.cos(2 * np.pi * x[1] / 1.2), mesh).l2

    differentiate = jax.jit(jax.value_and_grad(measure))
    direction = np.random.default_rng(0).standard_normal(mesh.vertices.shape)
    ends = [float(differentiate(mesh.vertices + sign * 1e-6 * direction)[0]) for sign in (1, -1)]
    found = float(jnp.sum(differentiate(mesh.vertices)[1] * direction))
    assert found == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


def test_bad_input():
    with pytest.raises(ValueError, match=r"pieces >= 1 .* got 0"):
        interpolation_error(shock, SQUARE, 0)
    with pytest.raises(ValueError, match="intervals, quadrilaterals and triangles; got Grid"):
        interpolation_error(shock, SQUARE.grid)
