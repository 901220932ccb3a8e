"""Meshes that follow a solution, and steps of a solution between them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.meshes import (
    Cubic,
    Follower,
    MovingStep,
    StructuredMesh,
    interpolate,
    plan_transfer,
    uniform_mesh,
)
from sciml.pdes import Box, Grid

GRID = Grid(Box((0.0, 0.0), (1.0, 1.0)), (12, 12))
FOLLOWER = Follower(GRID)


def bump(points, center):
    """A periodic bump `(1, *points)`."""
    squares = sum(jnp.sin(jnp.pi * (x - c)) ** 2 for x, c in zip(points, center, strict=True))
    return jnp.exp(-20 * squares)[None]


@pytest.fixture(scope="module")
def followed():
    frames = jnp.stack([bump(FOLLOWER.seen.coordinates, (0.3 + s, 0.5)) for s in (0.0, 0.05, 0.1)])
    return eqx.filter_jit(FOLLOWER.follow)(frames)


def test_meshes_are_denser_where_the_bump_is(followed):
    """Property: the cells under the bump are the small ones, in each frame, as it moves."""
    assert bool(jnp.all(followed.valid))
    for vertices, shift in zip(followed.vertices, (0.0, 0.05, 0.1), strict=True):
        mesh = StructuredMesh(GRID, vertices)
        weight = bump(mesh.coordinates, (0.3 + shift, 0.5))[0]
        under = jnp.sum(weight * mesh.volumes) / jnp.sum(weight)
        assert float(under) < 0.7 / GRID.shape[0] ** 2


def test_an_invalid_mesh_is_not_taken(followed):
    """Exact: what tangles or does not converge leaves the mesh as it was."""
    vertices, potential = followed.vertices[0], followed.potentials[0]
    moved = FOLLOWER.move(bump(FOLLOWER.seen.coordinates, (0.3, 0.5)), potential)
    broken = eqx.tree_at(lambda m: m.certificate.tangled, moved, jnp.asarray(3))
    kept = FOLLOWER.keep(broken, vertices, potential)
    assert not bool(kept[2])
    np.testing.assert_array_equal(kept[0], vertices)
    taken = FOLLOWER.keep(moved, 0 * vertices, 0 * potential)
    assert bool(taken[2])
    np.testing.assert_array_equal(taken[0], moved.mesh.vertices)


def test_a_planned_transfer_is_cubic_interpolation(followed):
    """Against `interpolate`, and linear in the values."""
    old, new = (StructuredMesh(GRID, followed.vertices[k]) for k in (0, 2))
    u, v = (bump(old.coordinates, center) for center in ((0.3, 0.5), (0.6, 0.2)))

    @jax.jit
    def both(u, v):
        plan = plan_transfer(old, new.coordinates)
        return plan(u), interpolate(u, old, new.coordinates, Cubic()), plan(2 * u - v), 2 * plan(u) - plan(v)

    planned, found, sum_first, sum_after = both(u, v)
    np.testing.assert_allclose(planned, found, atol=1e-10)
    np.testing.assert_allclose(sum_first, sum_after, atol=1e-12)
    np.testing.assert_allclose(planned, bump(new.coordinates, (0.3, 0.5)), atol=0.02)


class Look(eqx.Module):
    """A network that answers with what it sees."""

    rows: slice = eqx.field(static=True)

    def __call__(self, x):
        return x[self.rows]


def step(rows):
    ones = jnp.ones(1)
    return MovingStep(Look(rows), ones, ones, 0 * ones)


def test_the_network_sees_nothing_of_a_mesh_that_has_not_moved(followed):
    """Exact: on the uniform mesh all of the geometry is zero; on one that has moved it is not."""
    rest = uniform_mesh(GRID)
    old, new = (StructuredMesh(GRID, followed.vertices[k]) for k in (0, 1))
    u = bump(rest.coordinates, (0.3, 0.5))
    assert MovingStep.count_features(1, 2) == 9

    @eqx.filter_jit
    def geometry(old, new):
        return [step(slice(k, k + 1))(u, old, new, 0 * u) for k in range(4, 9)]

    np.testing.assert_allclose(geometry(rest, rest), 0, atol=1e-12)
    assert all(float(jnp.max(abs(row))) > 1e-3 for row in geometry(old, new))


def test_the_network_sees_slopes_in_space(followed):
    """Exact: the gradient in space times the size of a regular cell."""
    mesh = StructuredMesh(GRID, followed.vertices[0])

    @jax.jit
    def both(u):
        seen = step(slice(2, 4))
        return seen(u, mesh, mesh, u) - u, mesh.gradient(mesh.known(u))[0] / 12

    u = bump(mesh.coordinates, (0.3, 0.5))
    slopes, exact = both(u)
    np.testing.assert_allclose(slopes, exact, atol=1e-12)
    assert float(jnp.max(abs(exact))) > 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Follower(GRID, refinement=0), "refinement is a whole number"),
        (lambda: FOLLOWER.move(jnp.zeros((1, 5, 5)), FOLLOWER.rest), "channel, 24, 24"),
        (
            lambda: step(slice(0, 1))(
                jnp.zeros((1, 12, 12)),
                uniform_mesh(GRID),
                uniform_mesh(Grid(GRID.box, (8, 8))),
            ),
            "of the same grid",
        ),
        (lambda: step(slice(0, 1))(jnp.zeros((1, 5, 5)), *[uniform_mesh(GRID)] * 2), "channel, 12, 12"),
        (lambda: step(slice(0, 1))(jnp.zeros((2, 12, 12)), *[uniform_mesh(GRID)] * 2), "made for 1 channels"),
        (lambda: MovingStep(Look(slice(0, 1)), jnp.ones(1), jnp.ones(2), jnp.ones(1)), "per channel"),
        (lambda: plan_transfer(uniform_mesh(GRID), jnp.zeros((3, 4))), "dim"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
