"""Incompressible flow on triangles: exact flows, order in time, open walls, gradients, bad input."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.meshes import (
    FlowStep,
    HoleGrading,
    apply_stiffness,
    locate_triangles,
    mesh_with_hole,
    triangulate,
    uniform_mesh,
)
from sciml.meshes.flow_step import _SmallStep
from sciml.meshes.triangle_elements import lump_mass, make_rings
from sciml.meshes.walking import make_walk
from sciml.pdes import Box, Dirichlet, Grid, Neumann

NU = 0.025


@functools.cache
def make_square(cells, walls=False, size=1.0):
    """The square on which exact flows are known; with `walls`, at rest at all of them."""
    grid = Grid(Box((0.0, 0.0), (size, size), Neumann(0.0)), (cells, cells))
    boundaries = Dirichlet(0.0) if walls else None
    return triangulate(uniform_mesh(grid), boundaries=boundaries)


@functools.cache
def make_hole():
    return mesh_with_hole(
        (-1.5, -1.5), (2.5, 1.5), HoleGrading(0.5, finest=0.5), nodes=200, boundaries={"hole": Dirichlet(0.0)}
    )


def shake(mesh, size):
    moves = size * jax.random.normal(jax.random.key(0), mesh.points.shape)
    return mesh.move_to(mesh.points + jnp.where(mesh.on_boundary, 0, moves))


def flow_of_kovasznay(x):
    """A steady flow behind a grid, at a Reynolds number of 40."""
    decay = 20 - np.sqrt(400 + 4 * np.pi**2)
    wave, along = 2 * jnp.pi * x[1], jnp.exp(decay * x[0])
    return jnp.stack([1 - along * jnp.cos(wave), decay / (2 * jnp.pi) * along * jnp.sin(wave)])


def vortex(x, time, speed=0.5):
    """Taylor's vortex, which a uniform flow carries: exact, and it spreads."""
    offset = x - jnp.array([0.8 + speed * time, 1.0])[:, None]
    spread = 0.06 + 4 * NU * time
    around = 0.005 / spread**2 * jnp.exp(-jnp.sum(offset**2, axis=0) / spread)
    return jnp.stack([speed - around * offset[1], around * offset[0]])


def rms(x):
    return float(jnp.sqrt(jnp.mean(x**2)))


def test_a_walk_finds_what_a_search_finds(key):
    """Against the search, on a mesh that has moved, from triangles all over it; and a point beyond a wall."""
    mesh = shake(make_square(20), 0.005)
    points = jax.random.uniform(key, (2, 300))
    start = jax.random.randint(key, (300,), 0, len(mesh.triangles))
    walk = make_walk(mesh)
    found, place = (
        eqx.filter_jit(walk)(mesh, start, points),
        locate_triangles(mesh.points, mesh.triangles, points),
    )
    np.testing.assert_array_equal(found.cell, place.cell[0])
    np.testing.assert_allclose(found.local, place.local, atol=1e-9)
    beyond = walk(mesh, start[:1], jnp.array([[1.4], [0.5]]))
    assert float(jnp.sum(beyond.local * mesh.points[0, mesh.triangles[beyond.cell].T])) == pytest.approx(1.0)


def test_places_have_right_derivatives_on_edges_and_nodes():
    """Exact: what is found at a point moves as the point does, also where it is on an edge, or a node."""
    mesh = make_square(10)

    def follow(point):
        found = make_walk(mesh)(mesh, jnp.array([5]), point[:, None])
        return jnp.sum(found.local * mesh.points[:, mesh.triangles[found.cell].T], axis=1)[:, 0]

    for point in ([0.33, 0.47], [0.35, 0.4], [0.3, 0.4]):
        np.testing.assert_allclose(jax.jacobian(follow)(jnp.array(point)), np.eye(2), atol=1e-9)


def test_rings_are_the_matrices_of_the_elements(key):
    mesh = shake(make_hole(), 0.02)
    rings, u = make_rings(mesh), jax.random.normal(key, (2, mesh.points.shape[1]))
    np.testing.assert_allclose(rings.apply(rings.assemble(mesh), u), apply_stiffness(mesh, u), atol=1e-10)
    assert float(jnp.sum(lump_mass(mesh))) == pytest.approx(float(jnp.sum(mesh.volumes)))


def test_a_steady_flow_stays():
    """Against the exact solution, for a time in which it crosses a fifth of the square.

    The bound is what is lost near the walls, whatever the mesh: the pressure there is that of a few small steps.
    """
    mesh = make_square(20)
    u = flow_of_kovasznay(mesh.points)
    step = FlowStep(mesh, 0.2, leaving=(0.0, 0.0), still=mesh.walls, tolerance=1e-6)
    found = eqx.filter_jit(step)(u, mesh, NU)
    assert 0 < rms(found - u) < 0.005  # without the pressure it would be ten times as much, see below
    assert rms((found - u)[:, mesh.points[0] > 0.4]) < 0.003
    field = mesh.known(u)
    along = jnp.einsum("jn,ijn->in", u, mesh.gradient(field))
    friction = NU * (mesh.derivative(field, (2, 0)) + mesh.derivative(field, (0, 2)))
    assert 0.2 * rms((friction - along)[:, ~mesh.on_boundary]) > 0.05


@pytest.mark.slow
def test_a_vortex_is_carried_and_better_so_in_two_small_steps():
    """Against the exact solution."""
    mesh = make_square(40, size=2.0)
    u, truth = vortex(mesh.points, 0.0), vortex(mesh.points, 0.4)
    inside = ~mesh.on_boundary

    def solve(substeps):
        step = FlowStep(mesh, 0.4, leaving=(0.5, 0.0), substeps=substeps, tolerance=1e-9)
        return eqx.filter_jit(step)(u, mesh, NU)

    found = solve(4)
    assert rms((found - truth)[:, inside]) < 0.02 * rms((u - truth)[:, inside])
    # Interpolation adds an error with every small step, so that one is compared with two.
    assert rms((solve(1) - truth)[:, inside]) > 3 * rms((solve(2) - truth)[:, inside])


def test_beyond_a_wall_the_pressure_fades_over_its_length():
    """Exact but for the mesh: if `a tan a` is one over the length the gradient of `cos(pi x) cos(a y)` is pressure."""
    slope = 0.9
    length = 1 / (slope * np.tan(slope))

    def rest(cells, fading):
        mesh = make_square(cells)
        x, y = mesh.points
        change = jnp.stack(
            [
                -jnp.pi * jnp.sin(jnp.pi * x) * jnp.cos(slope * y),
                -slope * jnp.cos(jnp.pi * x) * jnp.sin(slope * y),
            ]
        )
        step = FlowStep(mesh, 1.0, leaving=(0.0, 0.0), still=(0, 1, 3), fading=fading, tolerance=1e-9)
        press = eqx.filter_jit(
            lambda step: _SmallStep(step, mesh, change.dtype, jnp.asarray(NU))._press(change)
        )
        return rms(change - press(step)) / rms(change)

    fine = rest(24, {2: length})
    assert fine < 0.01
    assert rest(12, {2: length}) > 2.5 * fine
    assert rest(24, {2: 2 * length}) > 0.05


def test_steps_have_right_gradients(key):
    """Against finite differences, in a random direction, around a hole."""
    mesh = make_hole()
    step = FlowStep(
        mesh, 0.2, leaving=(0.8, 0.0), still=(3,), fading={0: 1.0, 2: 1.0}, substeps=2, tolerance=1e-10
    )
    u = jnp.stack([1 + 0.1 * mesh.points[1], 0.1 * jnp.sin(mesh.points[0])])

    def measure(amount, direction):
        return jnp.sum(jnp.sin(3 * step(u + amount * direction, mesh, NU)))

    direction = jax.random.normal(key, u.shape)
    slope = jax.jit(jax.grad(measure))(0.0, direction)
    close = (jax.jit(measure)(1e-5, direction) - jax.jit(measure)(-1e-5, direction)) / 2e-5
    assert float(slope) == pytest.approx(float(close), rel=1e-4)


def test_walls_hold_what_they_are_told():
    """Exact: at rest at the hole, unchanged where the flow comes in, also on a mesh that has moved."""
    mesh = shake(make_hole(), 0.01)
    u = jnp.ones((2, mesh.points.shape[1])) * jnp.array([1.0, 0.2])[:, None]
    step = FlowStep(mesh, 0.1, leaving=(0.8, 0.0), still=(3,))
    found = eqx.filter_jit(step)(u, mesh, NU)
    members = np.asarray(mesh.connectivity.members)
    hole, inlet = (members[mesh.walls.index(name)] for name in ("hole", 3))
    np.testing.assert_allclose(found[:, hole], 0, atol=1e-14)
    np.testing.assert_allclose(found[:, inlet], u[:, inlet], atol=1e-12)
    assert float(jnp.max(abs(found - u)[:, ~hole])) > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"duration": 0.0}, r"FlowStep.*duration.*0"),
        ({"substeps": 0}, r"substeps is a whole number, 1 or more; got 0"),
        ({"tolerance": -1.0}, r"FlowStep.*tolerance.*-1"),
        ({"leaving": (1.0,)}, r"leaving is a velocity, two finite numbers; got \(1.0,\)"),
        ({"still": ("inlet",)}, r"was given a wall 'inlet'; those of the mesh are 0, 1, 2, 3"),
        ({"fading": {2: 0.0}}, r"fading\[2\].*0"),
        ({"fading": {2: 1.0}, "still": (2,)}, r"wall 2 is both still and fading"),
    ],
)
def test_what_a_step_cannot_take_is_named(arguments, message):
    arguments = {"duration": 0.1, "leaving": (1.0, 0.0), **arguments}
    with pytest.raises(ValueError, match=message):
        FlowStep(make_square(10), **arguments)


def test_velocities_and_meshes_of_others_are_named():
    step = FlowStep(make_square(10), 0.1, leaving=(1.0, 0.0))
    with pytest.raises(ValueError, match=r"two components of a velocity.*3 channels"):
        step(jnp.zeros((3, 121)), make_square(10), NU)
    with pytest.raises(ValueError, match=r"on a mesh of 200 triangles.*800 triangles"):
        step(jnp.zeros((2, 441)), make_square(20), NU)
    with pytest.raises(ValueError, match="held by a condition"):
        FlowStep(make_square(10, walls=True), 0.1, leaving=(1.0, 0.0), still=(0,))
