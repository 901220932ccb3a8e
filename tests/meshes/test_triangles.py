"""Triangle meshes: walls, areas, a calculus exact for quadratics, finite elements, readers, and what is refused."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import meshio
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

from sciml.meshes import (
    Diagonal,
    StructuredMesh,
    TriangleMesh,
    apply_mass,
    apply_stiffness,
    assemble_mass,
    assemble_stiffness,
    certify,
    find_slopes,
    read_mesh,
    triangulate,
    triangulate_points,
    uniform_mesh,
)
from sciml.meshes.structured import reference_vertices
from sciml.pdes import Box, Dirichlet, Grid, Heat, Neumann, Periodic, evaluate_rate
from tests.meshes.triangle_cases import (
    boundary_of,
    disk,
    from_arrays,
    l_shape,
    lattice,
    rotate,
    scatter,
    sliding_of,
    square,
)

SQUARE = lattice(3, 3)


def quadratic(x):
    """A quadratic function of positions `(2, *points)`, with its gradient and Hessian below."""
    return 1 + 2 * x[0] - 3 * x[1] + 2 * x[0] ** 2 - 1.5 * x[0] * x[1] + 0.5 * x[1] ** 2


def slopes(x):
    return jnp.stack([2 + 4 * x[0] - 1.5 * x[1], -3 - 1.5 * x[0] + x[1]])


HESSIAN = np.array([[4.0, -1.5], [-1.5, 1.0]])


def wave(x):
    return jnp.sin(3 * x[0] + 1) * jnp.cos(2 * x[1])


def uniform(x):
    return jnp.ones_like(x[0])


# Compiled once per shape of mesh: operation by operation, compiling takes longer than the tests.
judge = eqx.filter_jit(certify)


@eqx.filter_jit
def look(mesh):
    return mesh.on_boundary, mesh.may_slide, mesh.tangents, mesh.boundary_error, mesh.domain_volume


@eqx.filter_jit
def differentiate(mesh, values):
    u = mesh.field(values)
    return mesh.gradient(u), mesh.hessian(u), mesh.laplacian(u), mesh.derivative(u, (1, 1))


@eqx.filter_jit
def assemble(mesh):
    return assemble_mass(mesh), assemble_stiffness(mesh)


def matrices(mesh):
    """Mass and stiffness as sparse matrices."""
    size = mesh.points.shape[1]
    return (scipy.sparse.coo_array((v, (r, c)), shape=(size, size)).tocsr() for r, c, v in assemble(mesh))


# Walls


def test_the_sides_of_a_square_are_four_walls():
    """Exact: counter-clockwise from the lower left corner, whose nodes are corners, and all others slide."""
    mesh = square(4)
    x, y = np.asarray(mesh.points)
    assert mesh.walls == (0, 1, 2, 3)
    members = np.asarray(mesh.connectivity.members)
    for wall, there in enumerate((y == 0, x == 1, y == 1, x == 0)):
        np.testing.assert_array_equal(members[wall], there)
    corner = ((x == 0) | (x == 1)) & ((y == 0) | (y == 1))
    on_boundary, may_slide, tangents, _, _ = look(mesh)
    np.testing.assert_array_equal(on_boundary, boundary_of(mesh))
    np.testing.assert_array_equal(may_slide, on_boundary & ~corner)
    np.testing.assert_allclose(abs(tangents)[0], may_slide & ((y == 0) | (y == 1)), atol=1e-15)


def test_reentrant_corners_holes_and_curves():
    """Exact: the number of straight sides, and the area inside the boundary."""
    ell = TriangleMesh(*l_shape())
    assert len(ell.walls) == 6
    assert float(look(ell)[4]) == pytest.approx(0.75, abs=1e-14)
    holed = TriangleMesh(*lattice(5, 5, lambda x, y: max(abs(x - 2.5), abs(y - 2.5)) > 1))
    assert len(holed.walls) == 8
    assert float(look(holed)[4]) == pytest.approx(16, abs=1e-13)
    assert np.sum(holed.reference_volumes) == pytest.approx(16, abs=1e-13)
    round_ = TriangleMesh(*disk())
    assert len(round_.walls) == 24
    assert not np.any(sliding_of(round_))
    assert int(np.sum(boundary_of(round_))) == 24


@pytest.mark.parametrize(("dtype", "noise"), [(np.float64, 1e-10), (np.float32, 1e-7)])
def test_rounded_nodes_of_an_oblique_side_are_put_on_it(dtype, noise):
    """Exact: as in files with few digits. Starting anywhere, no node in the middle of a side is taken for a corner."""
    points, triangles = lattice(4, 4)
    rng = np.random.default_rng(0)
    for angle in np.linspace(0.1, 6.0, 7):
        turned = (rotate(points, angle) + rng.uniform(-noise, noise, points.shape)).astype(dtype)
        mesh = TriangleMesh(turned, triangles)
        assert mesh.points.dtype == dtype
        assert len(mesh.walls) == 4
        assert int(np.sum(sliding_of(mesh))) == 12
        assert float(look(mesh)[3]) < 20 * np.finfo(dtype).eps
        assert np.max(abs(np.asarray(mesh.points) - turned)) < 5 * noise


def test_walls_can_be_named():
    """Exact: a name ends where another begins, even on a straight side; what is not named is untagged."""
    points, triangles = SQUARE
    bottom = [i for i in range(16) if points[1, i] == 0]
    order = sorted(bottom, key=lambda i: points[0, i])
    pairs = np.array(list(itertools.pairwise(order)))
    mesh = TriangleMesh(points, triangles, walls={"inlet": pairs[:1, ::-1], "floor": pairs[1:]})
    assert mesh.walls == ("inlet", "floor", "untagged")
    members = np.asarray(mesh.connectivity.members)
    assert set(np.flatnonzero(members[0])) == set(order[:2])
    assert set(np.flatnonzero(members[1])) == set(order[1:])
    slides = set(np.flatnonzero(sliding_of(mesh)))
    assert order[1] not in slides
    assert order[2] in slides


# Areas, masses, tangles


def test_clockwise_triangles_are_turned_around():
    points, triangles = SQUARE
    mixed = triangles.copy()
    mixed[::2] = mixed[::2, ::-1]
    np.testing.assert_allclose(TriangleMesh(points, mixed).reference_volumes, 0.5)


def test_masses_are_integrals():
    """Exact: of polynomials, on a moved mesh; the certificate of a uniform density sees equal triangles as even."""
    mesh = scatter(square(5), 0.05)
    masses = eqx.filter_jit(lambda mesh: mesh.masses(lambda x: x[0] ** 3 * x[1] ** 2, 4))(mesh)
    assert float(jnp.sum(masses)) == pytest.approx(1 / 12, abs=1e-15)
    even = judge(square(5), uniform)
    assert float(even.variation) < 1e-13
    assert bool(even.valid)


@pytest.mark.parametrize(
    ("node", "nudge", "tangled"),
    [((1, 1), (0.1, 0.1), 0), ((1, 1), (0.2, 0.2), 1), ((1, 1), (0.5, 0.0), 2), ((1, 1), (0.5, 0.5), 3)],
)
def test_nudged_nodes_tangle_as_many_triangles(node, nudge, tangled):
    """Exact: counted by hand on 3 x 3 squares cut along the falling diagonal, as Movement's tests do."""
    mesh = from_arrays(3)
    there = np.all(np.abs(np.asarray(mesh.points) - np.array(node)[:, None] / 3) < 1e-9, axis=0)
    moved = mesh.move_to(mesh.points + np.array(nudge)[:, None] * there)
    corners = np.asarray(moved.corner_jacobians)
    assert corners.shape == (3, 18)
    assert int(np.sum(np.min(corners, axis=0) <= 0)) == tangled


def test_a_flip_tangles_all_triangles_and_a_second_flip_none():
    """Exact."""
    mesh = from_arrays(3)
    flipped = mesh.move_to(mesh.points * jnp.array([[-1.0], [1.0]]))
    assert int(judge(flipped, uniform).tangled) == 18
    twice = flipped.move_to(-flipped.points * jnp.array([[1.0], [-1.0]]))
    assert int(judge(twice, uniform).tangled) == 0


def test_nodes_off_their_wall_are_measured():
    """Exact: across the side, past its end, and at a corner; along the side is no error."""
    mesh = square(4)
    x, y = np.asarray(mesh.points)
    bottom, corner = (y == 0) & (x == 0.5), (x == 0) & (y == 0)
    for there, shift, error in (
        (bottom, (0.1, 0.0), 0.0),
        (bottom, (0.0, -0.1), 0.1),
        (bottom, (0.7, 0.0), 0.2),
        (corner, (0.05, 0.0), 0.05),
        ((x == 0.5) & (y == 0.5), (0.01, 0.0), 0.0),
    ):
        moved = mesh.move_to(mesh.points + np.array(shift)[:, None] * there)
        assert float(look(moved)[3]) == pytest.approx(error, abs=1e-15)


# The calculus


@pytest.mark.parametrize("make", [lambda: scatter(square(5), 0.06), lambda: TriangleMesh(*disk())])
def test_quadratics_are_exact(make):
    """Exact: gradient, Hessian, Laplacian and single derivatives at every node, those at the boundary included."""
    mesh = make()
    x = mesh.coordinates
    gradient, hessian, laplacian, mixed = differentiate(mesh, jnp.stack([quadratic(x), 2 * quadratic(x)]))
    np.testing.assert_allclose(gradient[0], slopes(x), atol=1e-11)
    np.testing.assert_allclose(gradient[1], 2 * slopes(x), atol=1e-11)
    np.testing.assert_allclose(hessian[0], np.broadcast_to(HESSIAN[..., None], hessian[0].shape), atol=1e-9)
    np.testing.assert_allclose(laplacian[0], 5.0, atol=1e-9)
    np.testing.assert_allclose(mixed[0], -1.5, atol=1e-9)


def test_orders():
    """Order: in the mean square on meshes scattered at random, two for first derivatives and one for second.

    Second derivatives at nodes inside: at the few of the boundary they are of order one, too, but larger.
    """
    errors = []
    for n in (12, 24):
        mesh = scatter(square(n), 0.2 / n)
        x = np.asarray(mesh.coordinates)
        gradient, _, laplacian, _ = differentiate(mesh, jnp.asarray(wave(x))[None])
        exact = np.stack(
            [3 * np.cos(3 * x[0] + 1) * np.cos(2 * x[1]), -2 * np.sin(3 * x[0] + 1) * np.sin(2 * x[1])]
        )
        second = (np.asarray(laplacian)[0] + 13 * np.asarray(wave(x)))[~boundary_of(mesh)]
        errors.append([np.sqrt(np.mean(off**2)) for off in (np.asarray(gradient)[0] - exact, second)])
    first, second = np.log2(np.array(errors[0]) / np.array(errors[1]))
    assert first == pytest.approx(2, abs=0.25)
    assert second == pytest.approx(1, abs=0.25)


def test_derivatives_with_respect_to_nodes():
    """Gradient: of a curvature, against central differences."""
    mesh = scatter(square(4), 0.05)
    direction = np.random.default_rng(1).normal(size=mesh.points.shape)

    @jax.jit
    @jax.value_and_grad
    def value(t):
        moved = mesh.move_to(mesh.points + t * direction)
        u = moved.field(wave(moved.coordinates)[None])
        return jnp.sum(moved.laplacian(u) ** 2)

    step = 1e-6
    difference = (value(step)[0] - value(-step)[0]) / (2 * step)
    assert float(value(0.0)[1]) == pytest.approx(float(difference), rel=1e-6)


def test_heat_decays():
    """Property: with the walls held, no eigenvalue of the Laplacian on a scattered mesh has a positive real part."""
    mesh = scatter(square(8, boundaries=Dirichlet(0.0)), 0.03)
    inside = np.flatnonzero(~boundary_of(mesh))
    rate = jax.jit(jax.jacfwd(lambda u: mesh.laplacian(mesh.field(u[None]))[0]))
    matrix = rate(jnp.zeros(mesh.points.shape[1]))
    eigenvalues = np.linalg.eigvals(np.asarray(matrix)[np.ix_(inside, inside)])
    # The slowest mode of the square decays at 2 pi^2.
    assert np.max(eigenvalues.real) == pytest.approx(-2 * np.pi**2, rel=0.1)


def test_conditions_are_values_at_walls():
    """Exact: conditions replace values on their wall, differ by channel, and the last wall decides at a corner."""
    mesh = square(4, boundaries={0: Dirichlet(np.array([[1.0], [2.0]])), 1: Dirichlet(5.0)})
    x, y = np.asarray(mesh.points)
    u = eqx.filter_jit(lambda mesh, u: mesh.field(u))(mesh, np.zeros((2, x.size)))
    np.testing.assert_array_equal(u.value[:, x == 1], 5.0)
    np.testing.assert_array_equal(u.value[0, (y == 0) & (x < 1)], 1.0)
    np.testing.assert_array_equal(u.value[1, (y == 0) & (x < 1)], 2.0)
    np.testing.assert_array_equal(u.value[:, (y > 0) & (x < 1)], 0.0)


def test_a_law_is_evaluated():
    """Exact: without conditions, up to the boundary; a coefficient that is known has none either."""
    mesh = square(4, boundaries=Dirichlet(7.0))
    conductivity = 1 + mesh.points[0]
    values = quadratic(np.asarray(mesh.points))[None]
    free = eqx.tree_at(lambda m: m.boundaries, mesh, {})
    rate = eqx.filter_jit(evaluate_rate)(Heat(conductivity), free, values)
    np.testing.assert_allclose(rate[0], 5 * conductivity + slopes(np.asarray(mesh.points))[0], atol=1e-10)
    known = eqx.filter_jit(lambda mesh, k: mesh.known(k).value)(mesh, conductivity[None])
    np.testing.assert_array_equal(known[0], conductivity)


@pytest.mark.usefixtures("float32")
def test_single_precision():
    """Exact, to single precision; a rate has the precision of its unknown."""
    mesh = scatter(square(5), 0.05)
    assert mesh.points.dtype == np.float32
    gradient, hessian, _, _ = differentiate(mesh, quadratic(mesh.coordinates)[None])
    assert hessian.dtype == np.float32
    np.testing.assert_allclose(gradient[0], slopes(mesh.coordinates), atol=1e-4)
    assert bool(judge(mesh, uniform).valid)


# Finite elements


def test_matrices():
    """Exact: of mass and stiffness on linear functions, with and without the matrix."""
    mesh = scatter(square(5), 0.05)
    size = mesh.points.shape[1]
    x = np.asarray(mesh.points)
    mass, stiffness = matrices(mesh)
    u = 1 + 2 * x[0] - 3 * x[1]
    assert np.sum(mass.toarray()) == pytest.approx(1, abs=1e-13)
    assert x[0] @ mass @ x[1] == pytest.approx(1 / 4, abs=1e-13)
    assert u @ stiffness @ u == pytest.approx(13, abs=1e-12)
    np.testing.assert_allclose((stiffness @ u)[~boundary_of(mesh)], 0, atol=1e-13)
    values = np.random.default_rng(0).normal(size=(2, size))

    @eqx.filter_jit
    def apply(mesh):
        return apply_mass(mesh, values), apply_stiffness(mesh, values, 3.0), find_slopes(mesh, u[None])

    weighted, stiff, found = apply(mesh)
    np.testing.assert_allclose(weighted, values @ mass.T, atol=1e-14)
    np.testing.assert_allclose(stiff, 3 * values @ stiffness.T, atol=1e-12)
    np.testing.assert_allclose(found[0], np.array([[2.0], [-3.0]]) * np.ones(found.shape[-1]), atol=1e-12)


def test_poisson_is_of_second_order():
    """Order: -lap u = f with u = 0 at the walls, by the matrices and scipy."""
    errors = []
    for n in (8, 16):
        mesh = square(n)
        x, size = np.asarray(mesh.points), mesh.points.shape[1]
        exact = np.sin(np.pi * x[0]) * np.sin(2 * np.pi * x[1])
        inside = np.flatnonzero(~boundary_of(mesh))
        mass, stiffness = matrices(mesh)
        right = mass @ (5 * np.pi**2 * exact)
        u = np.zeros(size)
        u[inside] = scipy.sparse.linalg.spsolve(stiffness[inside][:, inside].tocsc(), right[inside])
        errors.append(np.max(np.abs(u - exact)))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.25)


# Cutting structured meshes


def test_a_moved_structured_mesh_stays_moved():
    """Exact: areas are compared with the uniform mesh, and vertices may be traced."""
    grid = Grid(Box((0.0, 0.0), (2.0, 1.0), Dirichlet(0.0)), (4, 5))

    @eqx.filter_jit
    def moved(size):
        x = reference_vertices(grid)
        bend = size * jnp.sin(np.pi * x[0] / 2) * jnp.sin(np.pi * x[1])
        quads = StructuredMesh(grid, x + bend)
        mesh = triangulate(quads)
        return mesh, quads.vertices, quads.volumes, mesh.volumes, mesh.boundary_error

    mesh, vertices, areas, halves, error = moved(0.1)
    assert mesh.triangles.shape == (40, 3)
    np.testing.assert_allclose(
        np.asarray(halves).reshape(20, 2).sum(1), np.asarray(areas).ravel(), atol=1e-14
    )
    np.testing.assert_allclose(mesh.reference_volumes, 0.05, atol=1e-15)
    assert float(error) < 1e-15
    np.testing.assert_array_equal(np.asarray(mesh.points).reshape(2, 5, 6), vertices)


def test_diagonals():
    """Exact: the shorter diagonal, but in a concave quadrilateral the one that leaves no triangle turned over."""
    grid = Grid(Box((0.0, 0.0), (1.0, 1.0), Dirichlet(0.0)), (4, 4))
    x = np.array(reference_vertices(grid))
    # Cells (1, 1) and (2, 2) stretch along, (1, 2) and (2, 1) across the diagonal that rises.
    x[:, 2, 2] += 0.05
    cut = triangulate(StructuredMesh(grid, x), Diagonal.SHORTER)
    edges = {tuple(e) for e in np.asarray(cut.connectivity.edges).tolist()}
    node = lambda i, j: 5 * i + j  # noqa: E731
    assert (node(1, 2), node(2, 1)) in edges
    assert (node(2, 2), node(3, 3)) in edges
    # Now the vertex between them is past the diagonal of cell (2, 2): only the rising one cuts it without a fold.
    x[:, 2, 2] = 0.64
    cut = triangulate(StructuredMesh(grid, x), Diagonal.SHORTER)
    assert int(np.sum(np.asarray(cut.volumes) <= 0)) == 0
    assert int(np.sum(np.asarray(triangulate(StructuredMesh(grid, x), Diagonal.FALLING).volumes) <= 0)) == 1


# Delaunay and files


def test_points_are_connected():
    """Exact: the hull of random points with an oblique, rounded side is filled without flat triangles."""
    rng = np.random.default_rng(0)
    along = np.linspace(0, 1, 6)
    sides = np.concatenate(
        [[along, 0 * along], [1 - along[1:], along[1:]], [0 * along[1:-1], along[1:-1]]], axis=1
    )
    inside = rng.dirichlet([1, 1, 1], 20)[:, :2].T * 0.9 + 0.03
    points = rotate(np.concatenate([sides, inside], axis=1), 0.3)
    mesh = triangulate_points(points, outline=rotate(np.array([[0, 1, 0], [0, 0, 1]]), 0.3))
    assert len(mesh.walls) == 3
    assert np.sum(mesh.reference_volumes) == pytest.approx(0.5, abs=1e-12)
    assert np.min(mesh.reference_volumes) > 0


def test_gmsh_files_of_version_two(tmp_path):
    """Exact: three coordinates, physical groups with and without a name, a node that no triangle uses."""
    points, triangles = SQUARE
    bottom = sorted((i for i in range(16) if points[1, i] == 0), key=lambda i: points[0, i])
    right = sorted((i for i in range(16) if points[0, i] == 3), key=lambda i: points[1, i])
    lines = np.array([list(itertools.pairwise(side)) for side in (bottom, right)]).reshape(-1, 2)
    points = np.insert(points, 7, [9.0, 9.0], axis=1)
    lines, triangles = lines + (lines >= 7), triangles + (triangles >= 7)
    written = meshio.Mesh(
        np.concatenate([points, np.full((1, 17), 0.25)]).T,
        [("line", lines), ("triangle", triangles)],
        cell_data={
            "gmsh:physical": [np.repeat([1, 2], 3), np.full(18, 7)],
            "gmsh:geometrical": [np.repeat([1, 2], 3), np.full(18, 1)],
        },
        field_data={"inlet": np.array([1, 1]), "domain": np.array([7, 2])},
    )
    written.write(tmp_path / "square.msh", file_format="gmsh22")
    mesh = read_mesh(tmp_path / "square.msh", boundaries={"inlet": Dirichlet(1.0)})
    assert mesh.walls == ("inlet", 2, "untagged")
    np.testing.assert_allclose(mesh.points, SQUARE[0])
    np.testing.assert_allclose(mesh.reference_volumes, 0.5)
    assert set(np.flatnonzero(mesh.connectivity.members[0])) == set(bottom)


# As gmsh 4 writes a square around one node, with a group of one side, one of another without a name, and of the face.
VERSION_FOUR = """$MeshFormat
4.1 0 8
$EndMeshFormat
$PhysicalNames
2
1 1 "inlet"
2 7 "domain"
$EndPhysicalNames
$Entities
4 4 1 0
1 0 0 0 0
2 1 0 0 0
3 1 1 0 0
4 0 1 0 0
1 0 0 0 1 0 0 1 1 2 1 -2
2 1 0 0 1 1 0 1 2 2 2 -3
3 0 1 0 1 1 0 0 2 3 -4
4 0 0 0 0 1 0 0 2 4 -1
1 0 0 0 1 1 0 1 7 4 1 2 3 4
$EndEntities
$Nodes
5 5 1 5
0 1 0 1
1
0 0 0
0 2 0 1
2
1 0 0
0 3 0 1
3
1 1 0
0 4 0 1
4
0 1 0
2 1 0 1
5
0.5 0.5 0
$EndNodes
$Elements
3 6 1 6
1 1 1 1
1 1 2
1 2 1 1
2 2 3
2 1 2 4
3 1 2 5
4 2 3 5
5 3 4 5
6 4 1 5
$EndElements
"""


def test_gmsh_files_of_version_four(tmp_path):
    """Exact."""
    (tmp_path / "square.msh").write_text(VERSION_FOUR)
    mesh = read_mesh(tmp_path / "square.msh")
    assert mesh.walls == ("inlet", 2, "untagged")
    np.testing.assert_array_equal(np.flatnonzero(mesh.connectivity.members[0]), [0, 1])
    np.testing.assert_array_equal(np.flatnonzero(mesh.connectivity.members[1]), [1, 2])
    np.testing.assert_allclose(mesh.reference_volumes, 0.25)


def test_vtk_files(tmp_path):
    """Exact: no groups, so walls are straight sides."""
    points, triangles = l_shape()
    meshio.Mesh(np.concatenate([points, 0 * points[:1]]).T, [("triangle", triangles)]).write(
        tmp_path / "ell.vtk"
    )
    mesh = read_mesh(tmp_path / "ell.vtk")
    assert len(mesh.walls) == 6
    np.testing.assert_allclose(mesh.points, points)


# What is refused

POINTS, TRIANGLES = SQUARE


def with_entry(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


def folded():
    """The inner node (1, 1) moved out of the triangles around it."""
    there = (POINTS[0] == 1) & (POINTS[1] == 1)
    return POINTS + 0.8 * there


BAD_MESHES = {
    "transposed": (POINTS.T, TRIANGLES, r"\(2, node\); got \(16, 2\).*write points.T"),
    "three coordinates": (np.ones((16, 3)), TRIANGLES, "three coordinates"),
    "not finite": (with_entry(POINTS, (0, 3), np.nan), TRIANGLES, "node 3 is not finite"),
    "quadrilaterals": (POINTS, np.ones((4, 4), int), r"triangle, 3\).*Cut quadrilaterals"),
    "no triangles": (POINTS, np.ones((0, 3), int), "at least one"),
    "floats": (POINTS, TRIANGLES * 1.0, "integers, indices of nodes; got float64"),
    "out of range": (POINTS, with_entry(TRIANGLES, (5, 1), 16), r"triangle 5 has corners .* from 0 to 15"),
    "from one": (POINTS, TRIANGLES + 1, "count from 1: subtract 1"),
    "a corner twice": (
        POINTS,
        with_entry(TRIANGLES, (5, 1), TRIANGLES[5, 0]),
        "triangle 5 is without area: a node",
    ),
    "a triangle twice": (
        POINTS,
        with_entry(TRIANGLES, 5, TRIANGLES[4][[1, 2, 0]]),
        "triangle 4 is there more than",
    ),
    "a node in none": (np.append(POINTS, [[9.0], [9.0]], 1), TRIANGLES, "node 16 is in no triangle"),
    "a place twice": (
        with_entry(POINTS, (..., 5), POINTS[:, 9]),
        TRIANGLES,
        "nodes 5 and 9 are at the same place",
    ),
    "flat": (np.array([[0.0, 1, 2], [0.0, 1, 2]]), np.array([[0, 1, 2]]), "on a line"),
    "three at an edge": (
        np.array([[0.0, 1, 0.5, 0.5, 0.4], [0, 0, 1, -1, 2]]),
        np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]]),
        r"edge \(0, 1\) belongs to 3 triangles",
    ),
    "tangled": (
        folded(),
        TRIANGLES,
        r"tangled: triangles \d+ and \d+ lie on the same side.*move_to\(points\)",
    ),
}


@pytest.mark.parametrize("case", BAD_MESHES)
def test_bad_meshes_are_refused(case):
    points, triangles, message = BAD_MESHES[case]
    with pytest.raises(ValueError, match=message):
        TriangleMesh(points, triangles)


BAD_OPTIONS = {
    "an inner edge": (
        {"walls": {"cut": np.array([[1, 2]])}},
        r"'cut' has a piece \(1, 2\), which is no edge",
    ),
    "a wall of nodes": ({"walls": {"cut": np.array([1, 2])}}, r"pairs of nodes \(segment, 2\)"),
    "an edge in two walls": (
        {"walls": {"a": np.array([[0, 1]]), "b": np.array([[1, 0]])}},
        r"edge \(1, 0\) is in two walls, 'a' and 'b'",
    ),
    "a slope": ({"boundaries": Neumann(0.0)}, "takes Dirichlet conditions.*got Neumann on wall 0"),
    "periodic": ({"boundaries": {1: Periodic()}}, "got Periodic on wall 1"),
    "no such wall": ({"boundaries": {"top": Dirichlet(0.0)}}, "no wall 'top'; its walls are 0, 1, 2, 3"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_walls_are_refused(case):
    options, message = BAD_OPTIONS[case]
    with pytest.raises(ValueError, match=message):
        TriangleMesh(*SQUARE, **options)


def test_bad_use_is_refused():
    mesh, grid = square(4), Grid(Box((0.0,), (1.0,), Dirichlet(0.0)), (4,))
    u = mesh.field(jnp.zeros((1, 25)))
    with pytest.raises(ValueError, match=r"up to second order; got orders \(2, 1\)"):
        mesh.derivative(u, (2, 1))
    with pytest.raises(ValueError, match="expected values of shape"):
        mesh.field(jnp.zeros(25))
    with pytest.raises(TypeError, match="acts on the field itself"):
        mesh.laplacian(u.value)
    with pytest.raises(ValueError, match=r"move_to needs points of shape \(2, 25\)"):
        mesh.move_to(jnp.zeros((2, 24)))
    strip = TriangleMesh(*lattice(6, 1))
    with pytest.raises(ValueError, match="two lines"):
        strip.laplacian(strip.field(jnp.zeros((1, 14))))
    with pytest.raises(ValueError, match="got 1 dimension"):
        triangulate(uniform_mesh(grid))
    with pytest.raises(ValueError, match="needs a Diagonal"):
        triangulate(uniform_mesh(Grid(Box((0.0, 0.0), (1.0, 1.0)), (4, 4))), "rising")
    with pytest.raises(ValueError, match="outside, and inside write mesh"):
        jax.jit(lambda x: TriangleMesh(x, SQUARE[1]).points)(SQUARE[0])
    structured = uniform_mesh(Grid(Box((0.0, 0.0), (1.0, 1.0)), (4, 4)))
    with pytest.raises(ValueError, match="SHORTER looks at the vertices"):
        eqx.filter_jit(lambda m: triangulate(m, Diagonal.SHORTER))(structured)


def test_bad_points_are_refused():
    points = np.random.default_rng(0).uniform(size=(2, 20))
    with pytest.raises(ValueError, match="on one line"):
        triangulate_points(np.array([[0.0, 1, 2], [0.0, 1, 2]]))
    with pytest.raises(ValueError, match="on one line"):
        triangulate_points(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="at the same place"):
        triangulate_points(np.concatenate([points, points[:, :1]], axis=1))
    with pytest.raises(ValueError, match=r"not convex: it turns inwards at corner\(s\) 3"):
        triangulate_points(points, outline=np.array([[0, 1, 1, 0.5, 0.5, 0], [0, 0, 0.5, 0.5, 1, 1]]))
    with pytest.raises(ValueError, match="points fill an area of"):
        triangulate_points(points, outline=np.array([[0, 1, 1, 0], [0, 0, 1, 1]]))


def test_bad_files_are_refused(tmp_path):
    points = np.concatenate([POINTS, 0 * POINTS[:1]])
    with pytest.raises(FileNotFoundError, match="no file"):
        read_mesh(tmp_path / "gone.msh")
    (tmp_path / "broken.msh").write_text("$MeshFormat\n9.9 0 8\n")
    with pytest.raises(ValueError, match=r"cannot read .*broken.msh"):
        read_mesh(tmp_path / "broken.msh")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"cannot read .*notes.txt"):
        read_mesh(tmp_path / "notes.txt")
    for kind, cells, message in (
        ("quad", [[0, 1, 5, 4]], "cells quad; a TriangleMesh has triangles only. Cut quadrilaterals"),
        ("triangle6", [[0, 1, 2, 3, 4, 5]], "cells triangle6.*linear elements"),
        ("tetra", [[0, 1, 2, 3]], "cells tetra.*in the plane"),
        ("line", [[0, 1]], "has no triangles; its cells are line"),
    ):
        meshio.Mesh(points.T, [(kind, np.array(cells))]).write(tmp_path / "bad.vtk")
        with pytest.raises(ValueError, match=message):
            read_mesh(tmp_path / "bad.vtk")
    meshio.Mesh((points + POINTS[:1] * [[0], [0], [1]]).T, [("triangle", TRIANGLES)]).write(
        tmp_path / "bent.vtk"
    )
    with pytest.raises(ValueError, match="not plane: its third coordinate runs from 0 to 3"):
        read_mesh(tmp_path / "bent.vtk")
