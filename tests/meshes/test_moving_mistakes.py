"""What goes wrong with solvers on moving meshes, as a table: each is an error that names the value and the cure."""

import jax
import jax.numpy as jnp
import pytest

from sciml import nn
from sciml.meshes import (
    Follower,
    GraphStep,
    MovingMeshSolver,
    MovingStep,
    PlannedTransfer,
    StructuredMesh,
    uniform_mesh,
)
from sciml.pdes import Box, Grid, Neumann

WALLS = Grid(Box((0.0, 0.0), (1.0, 1.0), Neumann(0.0)), (6, 6))
NODES = jnp.asarray(WALLS.coordinates).reshape(2, -1).T
U = jnp.ones((1, 36))


def solve(nodes=NODES, moved=NODES, u=U, neighbors=4, periods=None):
    """A step of the published form."""
    keys = jax.random.split(jax.random.key(0), 4)

    def branch(key):
        return GraphStep(1, 2, 1 / 6, neighbors=neighbors, width=4, depth=1, periods=periods, key=key)

    def between(key):
        return nn.RelativeInterpolation(2, neighbors=4, width=4, periods=periods, key=key)

    solver = MovingMeshSolver(*map(branch, keys[:2]), *map(between, keys[2:]), lambda u: u)
    return solver(u, nodes, moved)


def step(u, old, new):
    """A step from mesh to mesh."""
    one = jnp.ones(1)
    old, new = (uniform_mesh(mesh) if isinstance(mesh, Grid) else mesh for mesh in (old, new))
    return MovingStep(lambda x: x[:1], one, one, one)(u, old, new)


SMALL = Grid(WALLS.box, (5, 5))
TABLE = {
    "data of another size than the nodes": (
        lambda: solve(u=jnp.ones((1, 35))),
        ["values of shape (1, 35) and nodes of shape (36, 2)", "u.reshape(channels, -1)"],
    ),
    "data of another size than the mesh": (
        lambda: step(jnp.ones((1, 7, 6)), WALLS, WALLS),
        ["(channel, 6, 6); got (1, 7, 6)"],
    ),
    "meshes of different sizes": (
        lambda: step(jnp.ones((1, 6, 6)), WALLS, SMALL),
        [
            "got (6, 6) points from",
            "and (5, 5) points from",
            "Interpolate the solution to the other grid first",
        ],
    ),
    "data of another size than a follower looks at": (
        lambda: Follower(WALLS).move(jnp.ones((1, 6, 6)), jnp.zeros((7, 7))),
        ["(channel, 12, 12); got (1, 6, 6)"],
    ),
    "data of another size than a planned transfer": (
        lambda: PlannedTransfer(jnp.ones((2, 3)), WALLS)(jnp.ones((1, 5, 5))),
        ["PlannedTransfer", "(channel, 6, 6); got (1, 5, 5)"],
    ),
    "nodes outside the domain": (
        lambda: solve(moved=NODES.at[7].set(jnp.array([1.5, 0.25]))),
        [
            "node 7, is at [1.5, 0.25]",
            "go from 0.0833333 to 0.916667 along axis 0",
            "a mover that keeps walls",
        ],
    ),
    "vertices outside the domain": (
        lambda: step(jnp.ones((1, 6, 6)), WALLS, StructuredMesh(WALLS, 1.5 * uniform_mesh(WALLS).vertices)),
        ["goes from 0 to 1 along axis 0", "vertex (6, 0), is at 1.5", "a mover that keeps walls"],
    ),
    "nodes that are not finite": (
        lambda: solve(moved=NODES.at[7].set(jnp.nan)),
        ["node 7 is at [nan, nan]", "stop it before"],
    ),
    "fewer nodes than neighbors": (
        lambda: solve(neighbors=36),
        ["k=36 for 36 points", "Ask for k <= 35"],
    ),
    "fewer nodes than an interpolation needs": (
        lambda: solve(nodes=NODES[:3], moved=NODES[:3], u=U[:, :3], neighbors=2),
        ["k=4 for 3 points", "Ask for k <= 3"],
    ),
    "duplicate nodes": (
        lambda: solve(nodes=NODES.at[9].set(NODES[4])),
        ["nodes 4 and 9 at one place", "Leave one of them out"],
    ),
    "duplicate nodes across the seam": (
        lambda: solve(moved=NODES.at[9].set(NODES[4] + jnp.array([1.0, 0.0])), periods=(1.0, 1.0)),
        ["the moved mesh got nodes 4 and 9 at one place", "the end is the start"],
    ),
    "duplicate nodes across the seam, but for rounding": (
        lambda: solve(
            moved=NODES.at[4].set(jnp.array([0.0, 0.25])).at[9].set(jnp.array([1 - 1e-7, 0.25])),
            periods=(1.0, 1.0),
        ),
        ["the moved mesh got nodes 4 and 9 at one place"],
    ),
    "neighbors of another number": (
        lambda: nn.RelativeInterpolation(2, neighbors=4, width=4, key=jax.random.key(0))(
            U, NODES, NODES, jnp.zeros((36, 3), int)
        ),
        ["senders of shape (36, 3) for 36 queries", "find(nodes, queries)"],
    ),
}


@pytest.mark.parametrize("name", list(TABLE))
def test_mistakes_are_named(name):
    call, words = TABLE[name]
    with pytest.raises(ValueError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
