"""Finite volumes on moved meshes: geometry, conservation, and what they are on a regular grid."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.meshes import MeshFiniteVolume, StructuredMesh, uniform_mesh
from sciml.meshes.structured import reference_vertices
from sciml.pdes import (
    Box,
    Burgers,
    Dirichlet,
    FiniteVolume,
    Grid,
    Neumann,
    Periodic,
    Robin,
    minmod,
)

WALLS = {
    "periodic": Periodic(),
    "walls": [(Dirichlet(0.3), Neumann(-0.2)), (Robin(1.0, 0.5, 0.1), Dirichlet(0.0))],
    "mixed": [(Periodic(), Periodic()), (Neumann(0.0), Dirichlet(1.0))],
}


def make_grid(dimensions, walls, n=8):
    walls = WALLS[walls]
    boundaries = walls if isinstance(walls, Periodic) else walls[:dimensions]
    return Grid(Box((0.0,) * dimensions, (2.0, 1.0)[:dimensions], boundaries), (n, n + 1)[:dimensions])


def warp(x, grid, amplitude):
    """A smooth map of the box to itself, periodic, that keeps walls."""
    if grid.dimensions == 1:
        return x + amplitude * jnp.sin(jnp.pi * x)
    p, q = jnp.pi * x[0], 2 * jnp.pi * x[1]
    return x + amplitude * jnp.stack([jnp.sin(p) * jnp.cos(q), 0.5 * jnp.sin(q) * jnp.cos(p)])


def moving(grid, amplitude=0.15, speed=0.4):
    reference = reference_vertices(grid)
    mesh = StructuredMesh(grid, warp(reference, grid, amplitude))
    return MeshFiniteVolume(mesh, speed * (warp(reference, grid, 1.0) - reference), minmod)


@eqx.filter_jit
def evaluate(calculus, values):
    """Everything there is."""
    u, flux = calculus.field(values), Burgers(0.0).flux
    found = {"laplacian": calculus.laplacian(u), "flux_divergence": calculus.flux_divergence(u, flux)}
    if isinstance(calculus, MeshFiniteVolume):
        found["diffusion"] = calculus.diffusion(u, 1 + values[0] ** 2)
        found["sweep"] = calculus.sweep(u)
        found["growth"] = calculus.growth

        def measure(vertices):
            return MeshFiniteVolume(StructuredMesh(calculus.grid, vertices)).volumes

        found["volumes"], found["change"] = jax.jvp(measure, (calculus.mesh.vertices,), (calculus.velocity,))
    return found


def inside(grid):
    """Away from walls."""
    return (slice(None), *(slice(None if p else 1, None if p else -1) for p in grid.box.periodic))


def random_values(grid):
    rng = np.random.default_rng(3)
    return jnp.asarray(1.0 + 0.5 * rng.standard_normal((2, *grid.shape)))


CASES = [(1, "walls"), (2, "periodic"), (2, "walls"), (2, "mixed")]


@pytest.mark.parametrize(("dimensions", "walls"), CASES)
def test_volumes_fill_the_box_and_grow_as_the_faces_sweep(dimensions, walls):
    """Exact; what a constant gains through moving faces is what its cells gain: the geometric conservation law."""
    grid = make_grid(dimensions, walls)
    found = evaluate(moving(grid), jnp.full((2, *grid.shape), 3.0))
    np.testing.assert_allclose(jnp.sum(found["volumes"]), np.prod(grid.box.lengths), rtol=1e-14)
    np.testing.assert_allclose(found["growth"], found["change"], atol=1e-14)
    inner = inside(grid)
    np.testing.assert_allclose(
        found["sweep"][inner], 3.0 * np.stack([found["growth"]] * 2)[inner], atol=1e-14
    )


def test_what_leaves_a_cell_enters_another():
    """Exact: on a periodic mesh all sums over cells vanish."""
    grid = make_grid(2, "periodic")
    found = evaluate(moving(grid), random_values(grid))
    for name in ("laplacian", "diffusion", "flux_divergence", "sweep"):
        amounts = np.asarray(found[name] * (1 if name == "sweep" else found["volumes"]))
        assert abs(amounts.sum()) < 1e-12 * abs(amounts).sum(), name
        assert abs(amounts).max() > 1e-4


@pytest.mark.parametrize(("dimensions", "walls"), CASES)
def test_on_a_regular_grid_they_are_finite_volumes(dimensions, walls):
    """Exact, walls and corners included; the Laplacian away from walls, where that of differences has more points."""
    grid = make_grid(dimensions, walls)
    values = random_values(grid)
    ours = evaluate(moving(grid, 0.0, 0.0), values)
    theirs = evaluate(FiniteVolume(grid, limiter=minmod), values)
    np.testing.assert_allclose(ours["flux_divergence"], theirs["flux_divergence"], rtol=1e-12, atol=1e-12)
    inner = inside(grid)
    np.testing.assert_allclose(ours["laplacian"][inner], theirs["laplacian"][inner], rtol=1e-11)


def test_the_gradient_at_faces_is_exact_for_linear_fields():
    """Exact: away from walls a linear field has no Laplacian, on a mesh that is anything but smooth."""
    grid = make_grid(2, "walls")
    vertices = reference_vertices(grid)
    shake = 0.03 * np.random.default_rng(0).standard_normal((2, *(n - 1 for n in grid.shape)))
    mesh = StructuredMesh(grid, vertices.at[:, 1:-1, 1:-1].add(shake))
    x = mesh.coordinates
    calculus = MeshFiniteVolume(mesh, jnp.zeros_like(vertices), minmod)
    found = evaluate(calculus, jnp.stack([1 + 2 * x[0] - 3 * x[1], x[1]]))
    np.testing.assert_allclose(found["laplacian"][:, 2:-2, 2:-2], 0, atol=1e-11)


def test_dissipation_is_that_of_the_speed_relative_to_the_faces():
    """Exact: faces that move with the flow let it pass without dissipation."""
    grid = make_grid(1, "periodic")
    u = random_values(grid)

    @jax.jit
    def carry(velocity):
        calculus = MeshFiniteVolume(uniform_mesh(grid), jnp.full((1, 8), velocity))
        field = calculus.field(u)
        out = calculus.flux_divergence(field, lambda value, axis: 2.0 * value) * calculus.volumes
        return out, calculus.sweep(field)

    out, swept = carry(2.0)
    np.testing.assert_allclose(out, swept, atol=1e-13)
    # At rest the same central flux, and dissipation.
    assert jnp.max(abs(carry(0.0)[0] - swept)) > 0.1


def test_velocities_of_another_shape_are_refused():
    mesh = uniform_mesh(Grid(Box(0.0, 1.0, Dirichlet(0.0)), 8))
    with pytest.raises(
        ValueError, match=r"one velocity for each vertex, \(1, 9\) \(dim, \*vertex\); got \(1, 8\)"
    ):
        MeshFiniteVolume(mesh, jnp.zeros((1, 8)))
