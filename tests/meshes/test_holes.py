"""Meshes with a round hole: what they are made of, that movers respect the hole, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.meshes import Bell, Graded, HoleGrading, Spring, Uniform, mesh_with_hole
from tests.meshes.triangle_cases import sliding_of

LOWER, UPPER, RADIUS = (-1.5, -2.0), (4.0, 2.0), 0.5
GRADING = HoleGrading(RADIUS, center=(0.25, 0.0), reach=1.5)
MESH = mesh_with_hole(LOWER, UPPER, GRADING, nodes=600)
CENTER = np.array(GRADING.center)[:, None]


def edge_lengths(mesh):
    corners = np.asarray(mesh.points)[:, np.asarray(mesh.triangles)]
    return np.stack([np.hypot(*(corners[..., k] - corners[..., k - 1])) for k in range(3)])


def mean_area_near(mesh, place):
    middles = np.asarray(mesh.points)[:, np.asarray(mesh.triangles)].mean(axis=-1)
    return np.mean(np.asarray(mesh.volumes)[np.hypot(*(middles - np.asarray(place)[:, None])) < 0.3])


def members(mesh, wall):
    return np.asarray(mesh.connectivity.members)[mesh.walls.index(wall)]


def test_the_mesh_fills_the_rectangle_but_for_the_hole():
    """Exact: as many nodes as asked for, walls by name, the circle's nodes on it, and the area of its polygon."""
    assert MESH.points.shape == (2, 600)
    assert MESH.walls == (0, 1, 2, 3, "hole")
    circle = np.asarray(MESH.points)[:, members(MESH, "hole")]
    np.testing.assert_allclose(np.hypot(*(circle - CENTER)), RADIUS, rtol=1e-12)
    count = circle.shape[1]
    polygon = count / 2 * np.sin(2 * np.pi / count) * RADIUS**2
    np.testing.assert_allclose(np.sum(MESH.volumes), 5.5 * 4 - polygon, rtol=1e-12)
    for wall, axis, place in ((0, 1, -2.0), (1, 0, 4.0), (2, 1, 2.0), (3, 0, -1.5)):
        np.testing.assert_array_equal(np.asarray(MESH.points)[axis, members(MESH, wall)], place)


def test_edges_are_as_long_as_the_grading_says_and_triangles_are_well_shaped():
    """Property: the quality is one for equal sides; the size far from the hole is that at the hole over `finest`."""
    lengths = edge_lengths(MESH)
    quality = 4 * np.sqrt(3) * np.asarray(MESH.volumes) / np.sum(lengths**2, axis=0)
    assert np.min(quality) > 0.5
    assert np.mean(quality) > 0.94
    middles = np.asarray(MESH.points)[:, np.asarray(MESH.triangles)].mean(axis=-1)
    ratio = lengths.mean(axis=0) / GRADING.size(middles)
    assert np.percentile(ratio, 95) / np.percentile(ratio, 5) < 1.6
    again = mesh_with_hole(LOWER, UPPER, GRADING, nodes=600)
    np.testing.assert_array_equal(again.points, MESH.points)


def test_a_mover_follows_a_density_and_respects_the_hole():
    """Property: untangled, the circle's nodes where they were, the others outside, small triangles where wanted."""
    bell = Bell(8.0, 6.0, jnp.array([1.6, 0.4]))
    moved = Spring(tolerance=1e-3).move(Graded(lambda x: bell(x) / GRADING.size(x) ** 2, GRADING), MESH)
    assert bool(moved.certificate.valid)
    hole = members(MESH, "hole")
    np.testing.assert_array_equal(moved.mesh.points[:, hole], MESH.points[:, hole])
    inner = np.asarray(moved.mesh.points)[:, ~hole]
    assert np.min(np.hypot(*(inner - CENTER))) > RADIUS
    slides = sliding_of(MESH)
    assert np.max(abs(np.asarray(moved.mesh.points - MESH.points)[:, slides])) > 0
    assert float(moved.mesh.boundary_error) < 1e-12
    before, after = (mean_area_near(mesh, bell.center) for mesh in (MESH, moved.mesh))
    assert after < 0.5 * before


def test_the_density_of_a_graded_mesh_is_relative_to_its_grading():
    """Exact: an even density over the squared size of edges leaves the mesh as it is; it can be differentiated."""
    even = Graded(lambda x: GRADING.size(x) ** -2, GRADING)
    np.testing.assert_allclose(even(MESH.points), 1, rtol=1e-12)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(Graded(Uniform(), GRADING)(x))))(jnp.array(GRADING.center))
    assert np.all(np.isfinite(slope))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HoleGrading(-0.5), "radius > 0, 0 < finest <= 1 and reach > 0; got radius=-0.5"),
        (lambda: HoleGrading(0.5, finest=2.0), "finest=2"),
        (lambda: HoleGrading(0.5, center=(0.0,)), "a center of two coordinates"),
        (lambda: mesh_with_hole((0, 0), (1, 1), 0.5, nodes=200), r"HoleGrading; got 0\.5"),
        (lambda: mesh_with_hole((0, 0), (0, 1), GRADING, nodes=200), "lower below upper"),
        (lambda: mesh_with_hole((0, 0), (1, 1), GRADING, nodes=200), "a hole inside of the rectangle"),
        (lambda: mesh_with_hole(LOWER, UPPER, GRADING, nodes=50), "at least 100; got 50"),
        (lambda: mesh_with_hole((-1.0, -1.0), (9.0, 1.0), HoleGrading(0.5), nodes=100), "nodes"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
