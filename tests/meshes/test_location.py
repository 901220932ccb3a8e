"""Point location: the cell and the place in it, on meshes moved far; points outside, seams, tangled meshes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial
from hypothesis import given
from hypothesis import strategies as st

from sciml.meshes import MeshError, StructuredMesh, TriangleMesh, locate, locate_triangles, uniform_mesh
from sciml.meshes import location as location_module
from sciml.meshes.location import find_smallest_corners, locate_nodes
from tests.meshes.maps import LINES, SIDES, find_corners, find_volumes, make_grid, move, scatter, tangle

SHAPE = (12, 10)
COUNT = 130  # as many as MIXED has vertices: one compilation for all tests
MIXED = make_grid(SHAPE, SIDES["mixed"])
seeds = st.integers(0, 2**16)


def put_back(mesh, cell, local):
    """The positions that a location stands for."""
    corners = find_corners(mesh)
    if mesh.dimensions == 1:
        cell, local = np.asarray(cell), np.asarray(local)
        return corners[:, cell[0]] * (1 - local) + corners[:, cell[0] + 1] * local
    (i, j), (s, t) = np.asarray(cell), np.asarray(local)
    low = (1 - s) * corners[:, i, j] + s * corners[:, i + 1, j]
    return (1 - t) * low + t * ((1 - s) * corners[:, i, j + 1] + s * corners[:, i + 1, j + 1])


@given(seed=seeds, strength=st.floats(0.0, 0.9), shift=st.floats(-2.0, 2.0))
def test_a_place_in_a_cell_is_found_again(seed, strength, shift):
    """Property: on random smooth maps, random places; and the mesh may be shifted along its seam by any amount."""
    mesh = move(MIXED, seed, strength, shift=shift)
    rng = np.random.default_rng(seed)
    cell = np.stack([rng.integers(0, n, COUNT) for n in SHAPE])
    local = rng.uniform(1e-3, 1 - 1e-3, (2, COUNT))
    found = locate(mesh, put_back(mesh, cell, local))
    assert np.all(found.found)
    np.testing.assert_array_equal(found.cell, cell)
    np.testing.assert_allclose(found.local, local, atol=1e-11)


def test_points_one_period_further_are_in_the_same_place():
    """Exact, to the rounding of larger numbers."""
    mesh, points = move(MIXED, 3, shift=0.4), scatter(MIXED, COUNT)
    here = locate(mesh, points)
    there = locate(mesh, points + np.array([[0.0], [3 * 1.2]]))
    np.testing.assert_array_equal(here.cell, there.cell)
    np.testing.assert_allclose(here.local, there.local, atol=1e-12)


def test_vertices_and_the_middles_of_sides_are_found():
    """Exact: rounding puts such points on either side of a cell; they are in one of those they belong to."""
    mesh = move(MIXED, 5)
    corners = find_corners(mesh)
    middles = 0.5 * (corners[:, :-1, :-1] + corners[:, 1:, :-1])
    vertices = np.asarray(mesh.vertices).reshape(2, -1)
    for points in (vertices, middles.reshape(2, -1)[:, :COUNT]):
        found = locate(mesh, points)
        assert np.all(found.found)
        off = put_back(mesh, found.cell, found.local) - points
        off[1] -= 1.2 * np.round(off[1] / 1.2)
        np.testing.assert_allclose(off, 0, atol=1e-14)
        assert np.all((found.local > -1e-12) & (found.local < 1 + 1e-12))


def test_points_outside_are_put_on_the_wall():
    """Exact: the place is that of the nearest point of the box."""
    mesh, points = move(MIXED, 7), scatter(MIXED, COUNT)
    outside, nearest = np.array(points), np.array(points)
    outside[0] = np.where(np.arange(COUNT) % 2, MIXED.box.upper[0] + 0.3, -0.5 - 1e-9)
    nearest[0] = np.clip(outside[0], -0.5, 1.0)
    found, expected = locate(mesh, outside), locate(mesh, nearest)
    assert not np.any(found.found)
    assert np.all(expected.found)
    np.testing.assert_array_equal(found.cell, expected.cell)
    np.testing.assert_array_equal(found.local, expected.local)


def test_the_tree_finds_what_the_walk_does_not_reach(monkeypatch):
    """Exact: without a single step of the walk the places are the same."""
    mesh, points = move(MIXED, 11, 0.9), scatter(MIXED, COUNT)
    expected = locate(mesh, points)
    monkeypatch.setattr(location_module, "_STEPS", 0)
    found = jax.jit(lambda v, p: locate_nodes(v, MIXED, p))(mesh.closed_vertices, points)
    assert np.all(found.found)
    np.testing.assert_array_equal(found.cell, expected.cell)
    np.testing.assert_allclose(found.local, expected.local, atol=1e-13)


def test_a_graded_mesh_is_searched_as_its_axes_are():
    """Exact: areas differ by a factor of 1000 on a product of two axes, where numpy.searchsorted knows the cell."""

    def grade(n, low, high):
        widths = np.exp(1.75 * np.cos(np.linspace(0, 3 * np.pi, n)))
        return low + (high - low) * np.concatenate([[0], np.cumsum(widths) / widths.sum()])

    axes = [grade(n, low, high) for n, low, high in zip(SHAPE, MIXED.box.lower, MIXED.box.upper)]
    vertices = np.stack(np.meshgrid(axes[0], axes[1][:-1], indexing="ij"))
    mesh = StructuredMesh(MIXED, jnp.asarray(vertices))
    assert np.ptp(np.log(find_volumes(mesh))) > np.log(1000)
    points = scatter(MIXED, COUNT)
    found = locate(mesh, points)
    assert np.all(found.found)
    for axis, cell, local, x in zip(axes, found.cell, found.local, points):
        expected = np.searchsorted(axis, x) - 1
        np.testing.assert_array_equal(cell, expected)
        np.testing.assert_allclose(local, (x - axis[expected]) / np.diff(axis)[expected], atol=1e-11)


@pytest.mark.parametrize("sides", LINES.values(), ids=LINES)
def test_in_one_dimension(sides):
    """Property, exact: there and back; outside walls, and across the seam."""
    grid = make_grid((16,), sides)
    mesh, points = move(grid, 1, 0.9, shift=0.7), scatter(grid, 50)
    found = locate(mesh, points)
    assert np.all(found.found)
    off = put_back(mesh, found.cell, found.local) - points
    np.testing.assert_allclose(off - 1.5 * np.round(off / 1.5), 0, atol=1e-14)
    further = locate(mesh, points + 1.5)
    if grid.box.periodic[0]:
        np.testing.assert_array_equal(further.cell, found.cell)
    else:
        assert not np.any(further.found)
        np.testing.assert_array_equal(further.cell, 15)
        np.testing.assert_allclose(further.local, 1)


# Triangles.


def random_triangles():
    """Triangles around a hole, and their nodes."""
    nodes = np.random.default_rng(0).uniform(-1, 1, (150, 2))
    triangles = scipy.spatial.Delaunay(nodes).simplices
    triangles = triangles[(nodes[triangles].mean(1) ** 2).sum(1) > 0.2]
    used = np.unique(triangles)
    return nodes[used].T, np.searchsorted(used, triangles)


def test_triangles_against_a_search_through_all_of_them():
    """Exact: barycentric coordinates of every point in every triangle, by NumPy; outside, the distance is the least."""
    nodes, triangles = random_triangles()
    points = np.random.default_rng(1).uniform(-1.3, 1.3, (2, 300))
    mesh = TriangleMesh(nodes, triangles)
    found = locate(mesh, points)
    of_arrays = locate_triangles(mesh.points, mesh.triangles, points)
    assert jax.tree.all(jax.tree.map(np.array_equal, found, of_arrays))
    a, b, c = np.moveaxis(nodes[:, triangles], -1, 0)
    edges = np.stack([b - a, c - a], axis=1)  # (2, side, triangle)
    inverse = np.linalg.inv(np.moveaxis(edges, -1, 0))
    st_ = np.einsum("tij,jtp->itp", inverse, points[:, None] - a[..., None])
    barycentric = np.stack([1 - st_.sum(0), *st_])
    inside = (barycentric > 0).all(0)
    np.testing.assert_array_equal(found.found, inside.any(0))
    np.testing.assert_array_equal(found.cell[0][found.found], inside.argmax(0)[inside.any(0)])
    back = np.einsum("kp,dpk->dp", found.local, nodes[:, triangles[found.cell[0]]])
    np.testing.assert_allclose(back[:, found.found], points[:, found.found], atol=1e-14)
    outside = ~np.asarray(found.found)
    assert 50 < outside.sum() < 250
    np.testing.assert_allclose(found.local.sum(0), 1, atol=1e-12)
    assert np.all(found.local[:, outside] > -1e-12)
    # The least distance to any side of any triangle.
    start, along = np.stack([a, b, c], 1), np.stack([b - a, c - b, a - c], 1)
    offset = points[:, outside][:, None, None] - start[..., None]
    share = np.clip(np.einsum("dstp,dst->stp", offset, along) / (along**2).sum(0)[..., None], 0, 1)
    least = np.sqrt(((offset - share * along[..., None]) ** 2).sum(0)).min((0, 1))
    distance = np.sqrt(((back - points)[:, outside] ** 2).sum(0))
    np.testing.assert_allclose(distance, least, atol=1e-13)


# What is refused, and what cannot be.


def test_a_tangled_mesh_that_is_not_known_is_marked():
    """Property, under vmap: points in its tangled cells are not found, nothing is NaN, and another mesh is unharmed."""
    mesh, points = move(MIXED, 2, 0.3), scatter(MIXED, COUNT)
    vertices = jnp.stack([mesh.vertices, tangle(mesh).vertices])
    points = np.array(points)
    points[:, :50] = np.asarray(vertices[1, :, 6, 5, None]) + 0.1 * (points[:, :50] - points[:, 50:100])
    found = jax.vmap(lambda v: locate(StructuredMesh(MIXED, v), points))(vertices)
    alone = locate(mesh, points)
    np.testing.assert_array_equal(found.found[0], True)
    np.testing.assert_allclose(found.local[0], alone.local, atol=1e-13)
    assert np.all(np.isfinite(found.local))
    tangled = np.asarray(find_smallest_corners(tangle(mesh))) <= 0
    bad = tangled[tuple(np.asarray(found.cell[1]))]
    assert bad.any()
    assert not np.any(found.found[1][bad])


LINE = uniform_mesh(make_grid((8,), LINES["line"]))


@pytest.mark.parametrize(
    ("mesh", "points", "error", "message"),
    [
        (
            uniform_mesh(MIXED),
            np.zeros((5, 2)),
            ValueError,
            r"dim = 2 .* got an array \(5, 2\). Write points.T",
        ),
        (
            uniform_mesh(MIXED),
            np.zeros((3, 4)),
            ValueError,
            r"dim = 2 .* got an array \(3, 4\). Write jnp.stack",
        ),
        (uniform_mesh(MIXED), 0.5, ValueError, r"got an array \(\)"),
        (LINE, np.zeros((2, 5)), ValueError, r"dim = 1 .* got an array \(2, 5\)"),
        (MIXED, np.zeros((2, 5)), ValueError, r"got Grid. Write uniform_mesh\(grid\)"),
        (
            tangle(move(MIXED, 2, 0.3)),
            np.zeros((2, 5)),
            MeshError,
            r"of 120 are tangled, the worst is \(\d+, \d+\)",
        ),
        (tangle(LINE), np.zeros((1, 5)), MeshError, r"1 of 8 are tangled, the worst is \(4,\)"),
    ],
)
def test_bad_input(mesh, points, error, message):
    with pytest.raises(error, match=message):
        locate(mesh, points)
