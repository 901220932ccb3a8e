"""Steps between triangle meshes around a hole: interpolation, what stays exact, and the mesh that follows (exact,
property; bad input)."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml import nn
from sciml.meshes import (
    HoleGrading,
    MeshError,
    TriangleFollower,
    TriangleStep,
    make_hierarchy,
    mesh_with_hole,
    plan_triangles,
)
from sciml.pdes import Box, Dirichlet, Grid, Neumann

LOWER, UPPER = (-1.5, -1.5), (2.5, 1.5)
GRADING = HoleGrading(0.5, finest=0.5, reach=1.0)


@functools.cache
def make_mesh():
    return mesh_with_hole(LOWER, UPPER, GRADING, nodes=200, boundaries={"hole": Dirichlet(0.0)})


def shake(mesh, key=0):
    """The mesh with its inner nodes moved a little."""
    moves = 0.03 * jax.random.normal(jax.random.key(key), mesh.points.shape)
    return mesh.move_to(mesh.points + jnp.where(mesh.on_boundary, 0, moves))


def quadratic(x):
    return jnp.stack([1 + x[0] - 2 * x[1] + x[0] ** 2 - 3 * x[0] * x[1], x[1] ** 2 - x[0]])


def test_quadratic_fields_are_interpolated_exactly():
    mesh = shake(make_mesh())
    inside = jnp.array([[1.1, -1.2, 2.3, 0.03], [0.7, -0.8, 1.1, -0.93]])
    found = eqx.filter_jit(lambda m, x: plan_triangles(m, x)(quadratic(m.points), m))(mesh, inside)
    np.testing.assert_allclose(found, quadratic(inside), atol=1e-10)


def make_step(mesh, channels=2, scale=1.0):
    features = TriangleStep.count_features(channels, len(mesh.walls), 1)
    net = nn.GraphUNet(2, features, channels, width=4, levels=1, depth=1, key=jax.random.key(0))
    ones = jnp.ones(channels)
    return TriangleStep(net, make_hierarchy(mesh, 1), ones, scale * ones, 0 * ones)


def test_a_network_corrects_what_a_prior_makes_and_may_see_where_nodes_are():
    """Exact: without change it is the prior's solution, given features; a network that is told of places sees them."""
    mesh = make_mesh()
    old, new = shake(mesh), shake(mesh, 1)
    u, feature = quadratic(old.points), jnp.array([0.5])
    plain = make_step(mesh, scale=0.0)

    def double(u, mesh, features):
        return 2 * u + features[0]

    step = TriangleStep(plain.network, plain.hierarchy, plain.size, plain.change, plain.offset, double)
    found = eqx.filter_jit(step)(u, old, new, feature)
    carried = plan_triangles(old, new.points)(u, old)
    np.testing.assert_allclose(found, new.field(2 * carried + 0.5).value, atol=1e-12)

    def show(features, places, hierarchy):
        """The last but one and last but two of what a network sees, as if it were one."""
        return features[:, -3:-1]

    told = TriangleStep(show, plain.hierarchy, jnp.ones(2), jnp.ones(2), jnp.zeros(2), located=True)
    seen = told(u, old, new, feature, jnp.zeros_like(u))
    middle, half = jnp.array([0.5, 0.0])[:, None], jnp.array([2.0, 1.5])[:, None]
    np.testing.assert_allclose(seen, new.field((new.points - middle) / half).value, atol=1e-12)
    assert TriangleStep.count_features(2, 5, 1, located=True) == TriangleStep.count_features(2, 5, 1) + 2


def test_a_step_without_change_carries_the_solution_and_meets_the_walls():
    """Exact: with `change` zero it is the interpolation, and the condition at the hole; on a mesh that stays, `u`."""
    mesh = make_mesh()
    old, new = shake(mesh), shake(mesh, 1)
    step = make_step(mesh, scale=0.0)
    feature = jnp.zeros(1)
    run = eqx.filter_jit(lambda u, old, new: step(u, old, new, feature))
    u = quadratic(old.points)
    there = mesh.connectivity.members[mesh.walls.index("hole")]
    np.testing.assert_allclose(run(u, old, new), jnp.where(there, 0, quadratic(new.points)), atol=1e-9)
    stayed = eqx.filter_jit(lambda u, mesh: step(u, mesh, mesh, feature))(u, old)
    np.testing.assert_allclose(stayed, jnp.where(there, 0, u), atol=1e-12)


def test_a_mesh_follows_and_keeps_the_hole():
    """Property: nodes crowd at a layer, none leaves the domain or the hole's wall, no triangle is turned over."""
    mesh = make_mesh()
    follower = TriangleFollower(mesh, GRADING, Grid(Box(LOWER, UPPER, Neumann(0.0)), (40, 30)))
    x = jnp.asarray(follower.seen.coordinates)
    density = follower.measure(jnp.tanh(6 * (x[:1] - 1.5)))
    moved = follower.move(density, mesh.points)
    points, valid = follower.keep(moved, mesh.points)
    assert bool(valid)
    assert int(moved.certificate.tangled) == 0

    def crowd(points):
        return int(jnp.sum(abs(points[0] - 1.5) < 0.25))

    assert crowd(points) > 1.3 * crowd(mesh.points)
    there = mesh.connectivity.members[mesh.walls.index("hole")]
    np.testing.assert_array_equal(points[:, there], mesh.points[:, there])
    assert float(jnp.min(GRADING.distance(points))) > -1e-9


MISTAKES = {
    "another number of nodes": (lambda m: make_step(m)(jnp.ones((2, 7)), m, m), ValueError, "(2, 7)"),
    "another number of channels": (
        lambda m: make_step(m)(jnp.ones((3, 200)), m, m),
        ValueError,
        "made for 2 channels; got a solution of 3",
    ),
    "scales of different shapes": (
        lambda m: eqx.tree_at(lambda s: s.size, make_step(m), jnp.ones(3)).__check_init__(),
        ValueError,
        "one size, change and offset per channel",
    ),
    "a mesh that has moved": (
        lambda m: TriangleFollower(shake(m), GRADING, Grid(Box(LOWER, UPPER, Neumann(0.0)), (40, 30))),
        MeshError,
        "mesh.move_to(mesh.reference)",
    ),
}


@pytest.mark.parametrize("name", list(MISTAKES))
def test_mistakes_are_explained(name):
    call, error, message = MISTAKES[name]
    with pytest.raises(error) as caught:
        call(make_mesh())
    assert message in str(caught.value)
