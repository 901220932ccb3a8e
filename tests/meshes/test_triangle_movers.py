"""Movers of triangle meshes: what Movement asserts of its own, gradients, and that no mesh is tangled and valid."""

import equinox as eqx
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.meshes import (
    Bell,
    Certificate,
    Diagonal,
    LaplacianSmoothing,
    MeshError,
    MongeAmpere,
    Moved,
    Ring,
    Spring,
    StructuredMesh,
    TriangleMesh,
    certify,
    move_through,
    triangulate,
    triangulate_points,
    uniform_mesh,
)
from sciml.meshes.structured import reference_vertices
from sciml.pdes import Box, Dirichlet, Grid, Periodic
from tests.meshes.triangle_cases import disk, l_shape, lattice, rotate, square

MOVERS = (LaplacianSmoothing(tolerance=1e-6), Spring(tolerance=1e-6))
MESH = square(10)
CENTER = jnp.array([0.5, 0.5])
RING = Ring(10.0, 200.0, 0.15**0.5, CENTER)
movers = pytest.mark.parametrize("mover", MOVERS, ids=lambda mover: type(mover).__name__)


def boundary_length(mesh):
    a, b = np.moveaxis(np.asarray(mesh.points)[:, np.asarray(mesh.segments)], -1, 0)
    return np.sum(np.hypot(*(b - a)))


# Movement's assertions


@movers
def test_a_displaced_wall_takes_the_mesh_along(mover):
    """Exact: one wall moved by one with all others free shifts the mesh, and back; held walls stay."""
    moved = mover.displace(MESH, {3: jnp.array([1.0, 0.0])})
    np.testing.assert_allclose(moved.mesh.points, MESH.points + jnp.array([[1.0], [0.0]]), atol=1e-13)
    assert bool(moved.certificate.valid)
    back = mover.displace(moved.mesh, {3: jnp.array([-1.0, 0.0])})
    np.testing.assert_allclose(back.mesh.points, MESH.points, atol=1e-13)
    held = mover.displace(MESH, {3: jnp.array([0.1, 0.0]), 1: jnp.zeros(2)}).mesh
    x = np.asarray(MESH.points)
    np.testing.assert_allclose(held.points[:, x[0] == 1], x[:, x[0] == 1])
    np.testing.assert_allclose(held.points[0, x[0] == 0], 0.1)
    assert not np.allclose(held.points, x)


def test_a_bent_wall():
    """Exact: the domain that is returned has the area under the new boundary, and its nodes are corners now."""
    x = np.asarray(MESH.points)
    bump = jnp.stack([0 * x[0], 0.2 * jnp.sin(jnp.pi * x[0])])
    moved = Spring().displace(MESH, {0: jnp.zeros(2), 1: jnp.zeros(2), 3: jnp.zeros(2), 2: bump})
    chords = 0.2 * np.sin(np.pi * np.linspace(0, 1, 11))
    assert float(moved.mesh.domain_volume) == pytest.approx(
        1 + np.mean((chords[1:] + chords[:-1]) / 2), abs=1e-12
    )
    assert int(jnp.sum(moved.mesh.may_slide)) == 27
    assert moved.mesh.walls == MESH.walls
    assert bool(moved.certificate.valid)
    with pytest.raises(MeshError, match="tangled"):
        Spring().displace(MESH, {0: jnp.zeros(2), 2: jnp.array([0.0, -1.5])})
    folded = Spring().displace(MESH, {0: jnp.zeros(2), 2: jnp.array([0.0, -1.5])}, throw=False)
    assert int(folded.certificate.tangled) > 100


@movers
def test_a_ring(mover):
    """Exact: boundary and area to rounding. The mesh is more even, and the same from a start nearby."""
    moved = mover.move(RING, MESH)
    certificate = moved.certificate
    assert bool(certificate.valid)
    assert float(certificate.variation) < 0.7 * float(eqx.filter_jit(certify)(MESH, RING).variation)
    assert boundary_length(moved.mesh) == pytest.approx(4, abs=1e-12)
    assert float(jnp.sum(moved.mesh.volumes)) == pytest.approx(1, abs=1e-12)
    assert int(certificate.iterations) > 5
    assert int(certificate.details["sliding"]) == 36
    again = mover.move(RING, MESH, start=moved)
    assert int(again.certificate.iterations) == 0
    back = mover.move(Ring(0.0, 200.0, 0.4, CENTER), moved.mesh)
    np.testing.assert_allclose(back.mesh.points, MESH.points, atol=1e-7)


def delaunay():
    """Random points in a rotated square, with nodes on its sides."""
    sides = np.stack([np.linspace(0, 1, 5)[:-1], np.zeros(4)]) - 0.5
    frame = np.concatenate([rotate(sides, k * np.pi / 2) for k in range(4)], axis=1)
    inside = np.random.default_rng(0).uniform(-0.4, 0.4, (2, 20))
    return triangulate_points(rotate(np.concatenate([frame, inside], axis=1), 0.4))


@pytest.mark.parametrize(
    ("mover", "make"),
    [
        pytest.param(LaplacianSmoothing(), delaunay, id="oblique"),
        pytest.param(Spring(), lambda: TriangleMesh(*l_shape(3)), id="reentrant", marks=pytest.mark.slow),
        pytest.param(Spring(), lambda: TriangleMesh(*disk()), id="round", marks=pytest.mark.slow),
    ],
)
def test_domains(mover, make):
    """Property: whatever the domain, a uniform density moves no node of a mesh, and a peak keeps the boundary."""
    mesh = make()
    rest = mover.move(Bell(0.0, 20.0, CENTER), mesh)
    np.testing.assert_array_equal(rest.mesh.points, mesh.points)
    assert int(rest.certificate.iterations) == 0
    moved = mover.move(Bell(5.0, 20.0, 0.4 * CENTER), mesh)
    assert bool(moved.certificate.valid)
    assert float(jnp.max(abs(moved.mesh.points - mesh.points))) > 0.03


def test_walls_that_may_not_slide():
    """Exact: nodes of fixed walls stay; those of a named wall slide."""
    fixed = LaplacianSmoothing(sliding=False).move(RING, MESH)
    on = np.asarray(MESH.on_boundary)
    np.testing.assert_array_equal(fixed.mesh.points[:, on], MESH.points[:, on])
    assert bool(fixed.certificate.valid)
    one = LaplacianSmoothing(sliding=(2,)).move(RING, MESH).mesh
    moved = np.any(np.asarray(one.points != MESH.points), axis=0)
    assert np.any(moved & np.asarray(MESH.connectivity.members[2]))
    assert not np.any(moved & on & ~np.asarray(MESH.connectivity.members[2]))


# Derivatives, maps over densities, precision


@pytest.mark.parametrize("mover", [pytest.param(MOVERS[0], marks=pytest.mark.slow), MOVERS[1]])
def test_gradients(mover):
    """Gradient: of nodes at rest, to a sharpness and to the mesh as it was made, against central differences."""
    exact = eqx.tree_at(lambda m: m.tolerance, mover, 1e-12)
    number = np.arange(MESH.points.shape[1])
    shift = 0.1 * np.random.default_rng(0).normal(size=MESH.points.shape)

    @jax.jit
    @jax.value_and_grad
    def value(inputs):
        density = Ring(10.0, inputs[0], 0.15**0.5, CENTER)
        made = MESH.reference + inputs[1] * shift
        mesh = eqx.tree_at(lambda m: (m.points, m.reference), MESH, (made, made))
        x = exact.move(density, mesh, throw=False).mesh.points
        return jnp.sum(jnp.sin(3 * x[0]) * x[1] ** 2 * number)

    start = np.array([200.0, 0.0])
    slopes = value(start)[1]
    for k, step in enumerate((1e-3, 1e-5)):
        change = step * np.eye(2)[k]
        difference = (value(start + change)[0] - value(start - change)[0]) / (2 * step)
        assert float(slopes[k]) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.slow
def test_many_densities_at_once():
    """Exact: under vmap as one by one."""

    def nodes(amplitude):
        moved = Spring().move(Ring(amplitude, 200.0, 0.15**0.5, CENTER), MESH, throw=False)
        return moved.mesh.points, moved.certificate.valid

    points, valid = jax.vmap(nodes)(jnp.array([2.0, 10.0]))
    assert bool(jnp.all(valid))
    np.testing.assert_allclose(points[1], nodes(10.0)[0], atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("float32")
def test_single_precision():
    """Property: converges to what the precision allows, and the certificate says valid."""
    moved = Spring().move(Ring(10.0, 200.0, 0.15**0.5, np.array([0.5, 0.5])), square(10))
    assert moved.mesh.points.dtype == np.float32
    assert bool(moved.certificate.valid)


def rings(sharpest):
    """Random rings, which 10 x 10 cells can carry up to a sharpness of about 100."""
    return hypothesis.given(
        amplitude=st.floats(0.0, 2 * sharpest**0.5),
        sharpness=st.floats(5.0, sharpest),
        x=st.floats(0.0, 1.0),
        y=st.floats(0.0, 1.0),
    )


def move_ring(mover, amplitude, sharpness, x, y):
    """Move the mesh, and check that no triangle is turned over by areas computed here."""
    moved = mover.move(Ring(amplitude, sharpness, 0.3, jnp.array([x, y])), MESH, throw=False)
    corners = np.asarray(moved.mesh.points)[:, np.asarray(MESH.triangles)]
    along, across = corners[..., 1] - corners[..., 0], corners[..., 2] - corners[..., 0]
    areas = along[0] * across[1] - along[1] * across[0]
    assert np.all(areas > 0)
    assert np.sum(areas) == pytest.approx(2, abs=1e-11)
    return moved


@movers
@rings(sharpest=100.0)
def test_half_a_turn(mover, amplitude, sharpness, x, y):
    """Property: a density turned by half a turn gives the mesh turned by half a turn."""
    moved = move_ring(mover, amplitude, sharpness, x, y)
    assert bool(moved.certificate.valid)
    turned = move_ring(mover, amplitude, sharpness, 1 - x, 1 - y)
    # Nodes run from corner to corner, so that half a turn reverses their order.
    np.testing.assert_allclose(turned.mesh.points[:, ::-1], 1 - moved.mesh.points, atol=1e-4)


@pytest.mark.slow
@movers
@rings(sharpest=5000.0)
@hypothesis.settings(max_examples=500)
def test_no_mesh_of_a_thousand_is_tangled(mover, amplitude, sharpness, x, y):
    """Property: of rings far too sharp for the mesh, too, converged or not."""
    move_ring(mover, amplitude, sharpness, x, y)


# Through a map of the square


def test_through_the_map_of_a_grid():
    """Exact: the grid's own nodes go where its vertices went; on other triangles, where the bilinear map goes."""
    grid = Grid(Box((0.0, 0.0), (1.0, 1.0), Dirichlet(0.0)), (8, 8))
    x = np.asarray(reference_vertices(grid))
    bend = 0.1 * np.sin(2 * np.pi * x) * np.cos(np.pi * x[::-1])
    structured = StructuredMesh(grid, x + bend)
    # The mover's own numbers are handed on.
    numbers = [np.asarray(v) for v in (1e-9, 7, True, *[0.0] * 7)]
    moved = move_through(
        RING, square(16, Diagonal.RISING), Moved(structured, Certificate(*numbers, details={}))
    )
    found = np.asarray(moved.mesh.points).reshape(2, 17, 17)
    np.testing.assert_allclose(found[:, ::2, ::2], structured.vertices, atol=1e-15)
    np.testing.assert_allclose(found[:, 3, 4], structured.vertices[:, 1:3, 2].mean(axis=1), atol=1e-15)
    np.testing.assert_allclose(found[:, 3, 5], structured.vertices[:, 1:3, 2:4].mean(axis=(1, 2)), atol=1e-15)
    assert bool(moved.certificate.valid)
    assert int(moved.certificate.iterations) == 7


BELL = Bell(5.0, 20.0, CENTER)
GRID = Grid(Box((0.0, 0.0), (1.0, 1.0), Dirichlet(0.0)), (4, 4))


def as_moved(mesh):
    """A mesh as if a mover had made it, whose certificate nobody looks at."""
    return Moved(mesh, None)


BAD_MAPS = {
    "triangles": (MESH, as_moved(MESH), "what a mover made of a grid; got TriangleMesh"),
    "no map": (MESH, uniform_mesh(GRID), "got StructuredMesh"),
    "periodic": (
        MESH,
        as_moved(uniform_mesh(Grid(Box((0.0, 0.0), (1.0, 1.0), Periodic()), (4, 4)))),
        "a grid with walls in 2 dimensions",
    ),
    "another box": (
        MESH,
        as_moved(uniform_mesh(Grid(Box((0.0, 0.0), (1.0, 0.5), Dirichlet(0.0)), (4, 4)))),
        r"55 nodes are outside the box .* node 6 at \(0.0, 0.6",
    ),
    "a part of the box": (
        TriangleMesh(*l_shape()),
        as_moved(uniform_mesh(GRID)),
        "fill 0.75 of the box's area 1",
    ),
}


@pytest.mark.parametrize("case", BAD_MAPS)
def test_bad_maps_are_refused(case):
    mesh, moved, message = BAD_MAPS[case]
    with pytest.raises(ValueError, match=message):
        move_through(BELL, mesh, moved)


# What is refused


def tangled():
    return MESH.move_to(MESH.points.at[:, 60].add(0.3))


def circle_as_one_wall():
    mesh = TriangleMesh(*disk(2))
    return TriangleMesh(*disk(2), walls={"rim": np.asarray(mesh.segments)})


def other_mesh():
    return Moved(TriangleMesh(*lattice(3, 3)), None)


BAD_MOVES = {
    "a grid": (Spring(), BELL, GRID, {}, "moves a TriangleMesh; got Grid"),
    "tangled": (
        Spring(),
        BELL,
        tangled(),
        {},
        r"comes in tangled: \d of 200 triangles are turned over, such as",
    ),
    "zero": (Spring(), lambda x: x[0], MESH, {}, r"is 0 at x = \(0.0, .*positive and finite"),
    "NaN": (Spring(), lambda x: jnp.sqrt(x[0] - 0.5) + 1, MESH, {}, "is nan at"),
    "vectors": (Spring(), lambda x: 1 + x, MESH, {}, "one number for each position"),
    "no density": (Spring(), 3.0, MESH, {}, "function of positions"),
    "a curve": (
        Spring(sliding=("rim",)),
        BELL,
        circle_as_one_wall(),
        {},
        r"'rim': it is not straight.* 12 node",
    ),
    "no such wall": (
        Spring(sliding=("rim",)),
        BELL,
        MESH,
        {},
        "names the wall 'rim'; the mesh has 0, 1, 2, 3",
    ),
    "a name": (Spring(sliding="rim"), BELL, MESH, {}, "True, False or a tuple"),
    "another start": (
        Spring(),
        BELL,
        MESH,
        {"start": other_mesh()},
        r"move_to needs points of shape \(2, 121\)",
    ),
    "too few steps": (Spring(max_steps=3), RING, MESH, {}, "not converged after 2 iterations"),
}


@pytest.mark.parametrize("case", BAD_MOVES)
def test_bad_moves_are_refused(case):
    mover, density, mesh, options, message = BAD_MOVES[case]
    with pytest.raises(ValueError, match=message):
        mover.move(density, mesh, **options)


def test_bad_numbers_are_refused():
    for bad in ({"power": 0.0}, {"tolerance": -1.0}):
        with pytest.raises(ValueError, match="must be positive and finite"):
            Spring(**bad)
    for walls, message in (
        ({}, "at least one wall"),
        ({9: jnp.zeros(2)}, "names the wall 9"),
        ({0: jnp.zeros(3)}, r"\(2,\) or \(2, 121\)"),
    ):
        with pytest.raises(ValueError, match=message):
            Spring().displace(MESH, walls)
    with pytest.raises(ValueError, match="does not work under jax"):
        jax.jit(lambda d: Spring().displace(MESH, {0: d}).mesh.points)(jnp.zeros(2))


@pytest.mark.slow
def test_a_network_is_rougher_than_monge_ampere():
    """Property: on the ring, 40 cells along a side, masses are less even than through the map of the grid's mover."""
    grid = Grid(Box((0.0, 0.0), (1.0, 1.0), Dirichlet(0.0)), (40, 40))
    mesh = triangulate(uniform_mesh(grid))
    through = move_through(RING, mesh, MongeAmpere().move(RING, grid))
    for mover in MOVERS:
        found = mover.move(RING, mesh).certificate.variation
        assert float(through.certificate.variation) < float(found) < 0.3
