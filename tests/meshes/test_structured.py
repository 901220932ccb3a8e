"""Structured meshes: exact on linear fields, of second order otherwise, and what they refuse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.meshes import StructuredMesh, certify, uniform_mesh
from sciml.meshes.structured import reference_vertices
from sciml.pdes import (
    Box,
    Burgers,
    Dirichlet,
    FiniteDifference,
    Grid,
    Heat,
    Neumann,
    Periodic,
    Robin,
    Spectral,
    evaluate_rate,
)

SLOPES = (2.0, -3.0)
FOURTH = functools.partial(FiniteDifference, order=4)
EXACT = functools.partial(Spectral, dealias=1.0)


def bend(grid, size=0.15):
    """Vertices moved by the gradient of a product of cosines, which is normal to no wall."""
    x = reference_vertices(grid)
    waves = 2 * np.pi * x
    if grid.dimensions == 1:
        return x - size * jnp.sin(waves) / (2 * np.pi)
    c, s = jnp.cos(waves), jnp.sin(waves)
    return x - size * jnp.stack([s[0] * c[1], c[0] * s[1]]) / (2 * np.pi)


def linear(x):
    """A linear function of positions `(dim, *points)`."""
    return 1 + sum(a * xi for a, xi in zip(SLOPES, x, strict=False))


def with_walls(kind, shape):
    """A bent mesh whose walls hold what the linear function has there."""
    free = Grid(Box([0.0] * len(shape), [1.0] * len(shape), Dirichlet(0.0)), shape)
    vertices = bend(free)
    mesh = StructuredMesh(free, vertices)
    pairs = []
    for axis in range(len(shape)):
        sides = []
        for side, outward in ((0, -1.0), (1, 1.0)):
            at_wall = jnp.take(mesh._to_points(vertices, skip=axis), -side, axis=axis + 1)
            value, slope = linear(at_wall)[None], outward * SLOPES[axis]
            sides.append(kind(value, slope))
        pairs.append(tuple(sides))
    grid = Grid(Box(free.box.lower, free.box.upper, tuple(pairs)), shape)
    return grid, vertices


WALLS = {
    "dirichlet": lambda value, slope: Dirichlet(value),
    "neumann": lambda value, slope: Neumann(slope),
    "robin": lambda value, slope: Robin(1.0, 0.5, value + 0.5 * slope),
}


@pytest.mark.parametrize(
    ("kind", "discretize", "shape"),
    [
        ("robin", FiniteDifference, (12,)),
        ("dirichlet", FiniteDifference, (9, 8)),
        ("neumann", FiniteDifference, (9, 8)),
        ("robin", FOURTH, (9, 8)),
    ],
)
def test_derivatives_of_linear_fields_are_exact_up_to_the_walls(kind, discretize, shape):
    """Exact: on a bent mesh, for every kind of wall and for coefficients, which have none."""

    @jax.jit
    def differentiate():
        mesh = StructuredMesh(*with_walls(WALLS[kind], shape), discretize)
        values = linear(mesh.coordinates)[None]
        fields = (mesh.field(values), mesh.known(values))
        return [(mesh.gradient(field)[0], mesh.hessian(field)) for field in fields]

    for gradient, hessian in differentiate():
        for axis in range(len(shape)):
            np.testing.assert_allclose(gradient[axis], SLOPES[axis], atol=1e-11)
        # Second differences divide rounding by the square of the spacing.
        np.testing.assert_allclose(hessian, 0, atol=1e-9)


def smooth(x):
    """Periodic, like the map."""
    return jnp.prod(jnp.sin(2 * np.pi * x + 0.3), axis=0)


@pytest.mark.parametrize(
    ("discretize", "order"), [(FiniteDifference, 2), (FOURTH, 4)], ids=["second", "fourth"]
)
def test_orders_of_convergence_on_a_periodic_mesh(discretize, order):
    """Order: of first, second and mixed derivatives."""

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def error(n, orders):
        grid = Grid(Box((0, 0), (1, 1)), (n, n))
        mesh = StructuredMesh(grid, bend(grid), discretize)
        x = mesh.coordinates.reshape(2, -1).T
        exact = smooth
        for axis in (axis for axis, times in enumerate(orders) for _ in range(times)):
            exact = functools.partial(lambda f, axis, y: jax.grad(f)(y)[axis], exact, axis)
        wanted = jax.vmap(exact)(x).reshape(n, n)
        found = mesh.derivative(mesh.field(smooth(mesh.coordinates)[None]), orders)[0]
        return jnp.max(abs(found - wanted))

    for orders in ((1, 0), (0, 2), (1, 1)):
        slope = np.log2(error(24, orders) / error(48, orders))
        assert slope == pytest.approx(order, abs=0.25), orders


def test_order_two_with_walls():
    """Order: of the Laplacian. In the cells at a wall it is lower, since the map's own bends are less exact there."""

    @functools.partial(jax.jit, static_argnums=0)
    def error(n):
        grid = Grid(Box((0, 0), (1, 1), Dirichlet(0.0)), (n, n))
        mesh = StructuredMesh(grid, bend(grid))
        found = mesh.laplacian(mesh.known(smooth(mesh.coordinates)[None]))[0]
        off = abs(found + 8 * np.pi**2 * smooth(mesh.coordinates))
        return jnp.max(off), jnp.max(off[n // 8 : -n // 8, n // 8 : -n // 8])

    (coarse, inside_coarse), (fine, inside_fine) = error(32), error(64)
    assert np.log2(inside_coarse / inside_fine) == pytest.approx(2, abs=0.25)
    assert np.log2(coarse / fine) > 1.5


def test_on_a_spectral_base_derivatives_are_exact_to_rounding():
    """Exact: what finite differences need a thousand times the points for."""
    grid = Grid(Box((0, 0), (1, 1)), (48, 48))
    mesh = StructuredMesh(grid, bend(grid, 0.1), EXACT)
    found = jax.jit(lambda m: m.laplacian(m.field(smooth(m.coordinates)[None]))[0])(mesh)
    np.testing.assert_allclose(found, -8 * np.pi**2 * smooth(mesh.coordinates), atol=1e-8)


def test_a_law_runs_on_a_moved_mesh_as_on_any_calculus():
    """Exact: the same law object, against its right-hand side by hand."""
    grid = Grid(Box((0, 0), (1, 1)), (48, 48))
    mesh = StructuredMesh(grid, bend(grid, 0.1), EXACT)
    u = smooth(mesh.coordinates)[None]
    x = mesh.coordinates.reshape(2, -1).T
    slopes = jnp.sum(jax.vmap(jax.grad(smooth))(x), axis=1).reshape(u.shape)
    rate = jax.jit(lambda m, u: evaluate_rate(Burgers(0.1), m, u))(mesh, u)
    np.testing.assert_allclose(rate, -0.1 * 8 * np.pi**2 * u - u * slopes, atol=1e-8)


def test_an_unmoved_mesh_is_its_grid():
    """Property: to rounding, for every operator, on walls of all kinds and mixed axes."""
    box = Box((0.0, -1.0), (2.0, 1.0), ((Dirichlet(0.5), Robin(1.0, 0.2, 0.1)), (Periodic(), Periodic())))
    grid = Grid(box, (10, 12))
    u = jax.random.normal(jax.random.key(0), (2, 10, 12))
    law = Heat(0.3)
    rate = jax.jit(lambda calculus: evaluate_rate(law, calculus, u[:1]))
    np.testing.assert_allclose(rate(uniform_mesh(grid)), rate(FiniteDifference(grid)), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(uniform_mesh(grid).coordinates, grid.coordinates, atol=1e-15)


@pytest.mark.parametrize("boundaries", [None, Dirichlet(0.0)], ids=["periodic", "walls"])
@pytest.mark.parametrize("shape", [(9,), (8, 11)])
def test_volumes_and_masses(boundaries, shape):
    """Exact: cells fill the box, and the mass of a polynomial is its integral."""
    grid = Grid(Box([0.0] * len(shape), [1.0] * len(shape), boundaries), shape)

    @jax.jit
    def measure():
        mesh = StructuredMesh(grid, bend(grid))
        cubic = mesh.masses(lambda x: 1 + x[0] ** 3, 4)
        return mesh.volumes, cubic, mesh.masses(lambda x: jnp.ones_like(x[0]), 2)

    volumes, cubic, ones = measure()
    assert float(jnp.sum(volumes)) == pytest.approx(1, abs=1e-13)
    np.testing.assert_allclose(ones, volumes, atol=1e-15)
    if boundaries is not None:  # on a periodic box cells at the seam reach out of it
        assert float(jnp.sum(cubic)) == pytest.approx(1.25, abs=1e-12)


def test_corners_tell_a_concave_cell_that_its_area_hides():
    """Exact: one vertex pulled across a diagonal leaves all areas positive, and a corner negative."""
    grid = Grid(Box((0, 0), (1, 1), Dirichlet(0.0)), (4, 4))
    vertices = reference_vertices(grid).at[:, 2, 2].add(0.15)
    mesh = StructuredMesh(grid, vertices)
    assert float(jnp.min(mesh.volumes)) > 0
    certificate = certify(mesh, lambda x: jnp.ones_like(x[0]))
    assert int(certificate.tangled) == 1
    assert np.unravel_index(int(certificate.worst_cell), (4, 4)) == (2, 2)
    assert not certificate.valid


def test_derivatives_with_respect_to_vertices():
    """Gradient: of an energy of a field on the mesh, against central differences."""
    grid = Grid(Box((0, 0), (1, 1), Dirichlet(0.0)), (6, 6))
    u = jax.random.normal(jax.random.key(1), (1, 6, 6))
    direction = jax.random.normal(jax.random.key(2), (2, 7, 7))

    @jax.jit
    def energy(size):
        mesh = StructuredMesh(grid, bend(grid) + size * direction)
        return jnp.sum(mesh.laplacian(mesh.field(u)) ** 2)

    step = 1e-6
    numeric = (energy(step) - energy(-step)) / (2 * step)
    assert float(jax.grad(energy)(0.0)) == pytest.approx(float(numeric), rel=1e-6)


def test_single_precision_stays_single(float32):
    grid = Grid(Box((0, 0), (1, 1), Dirichlet(0.0)), (8, 8))
    u = jnp.ones((1, 8, 8), jnp.float32)

    def measure(vertices):
        mesh = StructuredMesh(grid, vertices)
        return mesh.laplacian(mesh.field(u)), certify(mesh, lambda x: 1 + x[0])

    found = jax.eval_shape(measure, reference_vertices(grid))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(found) if leaf.dtype.kind == "f"} == {"float32"}


PERIODIC = Grid(Box((0, 0), (1, 1)), (6, 5))
BAD = {
    "vertices of another grid": (lambda: StructuredMesh(PERIODIC, jnp.zeros((2, 7, 6))), r"\(2, 6, 5\)"),
    "no grid": (lambda: StructuredMesh((6, 5), jnp.zeros((2, 6, 5))), "needs a Grid first; got tuple"),
    "three dimensions": (lambda: uniform_mesh(Grid(Box([0] * 3, [1] * 3), (4, 4, 4))), "has 1 or 2 dim.*3"),
    "a field without channels": (
        lambda: uniform_mesh(PERIODIC).field(jnp.zeros((6, 5))),
        "channel axis is missing",
    ),
    "a batch": (lambda: uniform_mesh(PERIODIC).known(jnp.zeros((3, 1, 6, 5))), "batch axis"),
    "orders for another number of axes": (
        lambda: uniform_mesh(PERIODIC).derivative(uniform_mesh(PERIODIC).field(jnp.zeros((1, 6, 5))), (1,)),
        "one non-negative integer order per axis",
    ),
    "a non-local operator": (
        lambda: uniform_mesh(PERIODIC).rotational_velocity(
            uniform_mesh(PERIODIC).field(jnp.zeros((1, 6, 5))), 0
        ),
        "non-local",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input(what):
    act, message = BAD[what]
    with pytest.raises(ValueError, match=message):
        act()
