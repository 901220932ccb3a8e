"""What methods on moving meshes train on: the truth at nodes of meshes that follow it."""

import hashlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._optional import require
from ..meshes import (
    Cubic,
    Follower,
    StructuredMesh,
    VolumeStep,
    interpolate,
    plan_transfer,
    uniform_mesh,
)
from ..pdes import Grid
from .moving_steps import list_nodes


def add_images(
    values: Float[np.ndarray, "trajectory time channel x y"], sign: float
) -> Float[np.ndarray, "trajectory time channel x y"]:
    """Trajectories with their images: axes swapped, space turned by 180 degrees, and both.

    **Arguments:**

    - `values`: on a square periodic grid, `(trajectory, time, channel, x, y)`.
    - `sign`: what the solution is multiplied by where space is turned.

    **Returns:** four times as many trajectories.

    **Raises:** `ValueError` for a grid that is not square.
    """
    if values.ndim != 5 or values.shape[-1] != values.shape[-2]:
        raise ValueError(
            f"Images are of trajectories (trajectory, time, channel, x, y) on a square; got {values.shape}. Train with "
            "optimization.images=False."
        )
    both = np.concatenate([values, values.swapaxes(-1, -2)])
    turned = sign * np.roll(both[..., ::-1, ::-1], 1, axis=(-2, -1))  # the point at 0 stays there
    return np.concatenate([both, turned.astype(values.dtype, copy=False)])


def add_sample_images(samples: dict[str, np.ndarray], sign: float, grid: Grid) -> dict[str, np.ndarray]:
    """Samples of `sample_ahead` with their images, as `add_images` has them of trajectories, but no mesh is made again.

    **Arguments:**

    - `samples`: `u`, `(trajectory, time, channel, x, y)`, and `vertices`, `(trajectory, time, 2, x, y)`.
    - `sign`: what the solution is multiplied by where space is turned.
    - `grid`: of the meshes, a square, periodic one.

    **Returns:** four times as many.
    """
    lower, upper = (np.reshape(corner, (2, 1, 1)) for corner in (grid.box.lower, grid.box.upper))
    vertices = samples["vertices"]
    both = np.concatenate([vertices, vertices[:, :, ::-1].swapaxes(-1, -2)])
    turned = (lower + upper - np.roll(both[..., ::-1, ::-1], 1, axis=(-2, -1))).astype(vertices.dtype)
    # The vertices that stay where they are on an axis do not go around the box.
    turned[..., 0, 0, :] -= upper[0, 0, 0] - lower[0, 0, 0]
    turned[..., 1, :, 0] -= upper[1, 0, 0] - lower[1, 0, 0]
    return {"u": add_images(samples["u"], sign), "vertices": np.concatenate([both, turned])}


def sample_moving(
    values: Float[np.ndarray, "trajectory time channel *fine"], fine: Grid, follower: Follower
) -> dict[str, np.ndarray]:
    """The truth on meshes that follow it, one frame behind.

    The mesh of a frame is made for the frame before, as in a rollout, where no other is known. One that is made for
    the frame itself tells a network where fronts will be; it learns to read that off the mesh, and fronts lag when the
    mesh has to be made from its own prediction.

    **Arguments:**

    - `values`: the truth `(trajectory, time, channel, *fine)`.
    - `fine`: its grid.
    - `follower`: moves the meshes.

    **Returns:** arrays `(trajectory, time, ...)`: `u` on the mesh of its frame, `fresh` the same frame on the next
    mesh, which was made for it, as a rollout starts; the mesh as `vertices`, and `indices` of the next mesh's points in
    it. Behind the last frame there is no next mesh, and its own takes its place.
    """
    grid = follower.grid

    @eqx.filter_jit
    def sample(frames):
        look = jax.vmap(lambda frame: interpolate(frame, fine, follower.seen.coordinates, Cubic()))
        own = follower.follow(look(frames)).vertices
        vertices = jnp.concatenate([own[:1], own[:-1]])
        last = len(frames) - 1

        def one(i):
            after = jnp.minimum(i + 1, last)
            old, new = StructuredMesh(grid, vertices[i]), StructuredMesh(grid, vertices[after])
            u, fresh = (interpolate(frames[i], fine, mesh.coordinates, Cubic()) for mesh in (old, new))
            indices = plan_transfer(old, new.coordinates).indices
            return {"u": u, "fresh": fresh, "vertices": vertices[i], "indices": indices}

        return jax.lax.map(one, jnp.arange(len(frames)))

    return stack_samples([sample(jnp.asarray(frames)) for frames in values])


def sample_ahead(
    values: Float[np.ndarray, "trajectory time channel *fine"],
    fine: Grid,
    follower: Follower,
    ahead: VolumeStep,
) -> dict[str, np.ndarray]:
    """The truth on meshes that follow it as a classical step foresees it.

    The mesh of a frame is made for what the step makes of the truth of the frame before, as in a rollout. So it does
    not lag behind, and tells nothing of the truth that is to be predicted.

    **Arguments:**

    - `values`: the truth `(trajectory, time, channel, *fine)`.
    - `fine`: its grid.
    - `follower`: moves the meshes.
    - `ahead`: the step.

    **Returns:** arrays `(trajectory, time, ...)`: `u` on the mesh of its frame, and the mesh as `vertices`.
    """
    grid = follower.grid

    @eqx.filter_jit
    def sample(frames):
        def advance(carry, frame):
            vertices, potential = carry
            mesh = StructuredMesh(grid, vertices)
            u = interpolate(frame, fine, mesh.coordinates, Cubic())
            coming = ahead(u, mesh, mesh)
            return follower.advance(coming, mesh, vertices, potential)[:2], {"u": u, "vertices": vertices}

        first = follower.begin(interpolate(frames[0], fine, follower.seen.coordinates, Cubic()))[:2]
        return jax.lax.scan(advance, first, frames)[1]

    return stack_samples([sample(jnp.asarray(frames)) for frames in values])


def measure_corrections(
    prior: VolumeStep, samples: dict[str, np.ndarray], grid: Grid, count: int = 256
) -> Float[np.ndarray, " channel"]:
    """How far a step is off the truth, on some of the samples: the scale of what corrects it.

    **Arguments:**

    - `prior`: the step.
    - `samples`: of `sample_moving` or `sample_fixed`, arrays `(trajectory, time, ...)`.
    - `grid`: of the meshes.
    - `count`: how many steps.

    **Returns:** the root mean square error of each channel, `(channel,)`.
    """
    u, rest = samples["u"], np.asarray(uniform_mesh(grid).vertices)
    trajectories, frames = u.shape[:2]

    @jax.jit
    def miss(start, end, old, new):
        found = prior(start, StructuredMesh(grid, old), StructuredMesh(grid, new))
        return jnp.mean((found - end) ** 2, axis=tuple(range(1, u.ndim - 2)))

    errors = []
    for index in np.random.default_rng(0).integers(0, trajectories * (frames - 1), count):
        at, k = divmod(int(index), frames - 1)
        meshes = samples["vertices"][at, k : k + 2] if "vertices" in samples else (rest, rest)
        errors.append(miss(u[at, k], u[at, k + 1], *meshes))
    return np.sqrt(np.mean(errors, axis=0))


def sample_fixed(
    values: Float[np.ndarray, "trajectory time channel *fine"], fine: Grid, grid: Grid
) -> dict[str, np.ndarray]:
    """The truth on a fixed grid.

    **Arguments:**

    - `values`: the truth `(trajectory, time, channel, *fine)`.
    - `fine`: its grid.
    - `grid`: the grid of the step.

    **Returns:** `u`, `(trajectory, time, channel, *space)`.
    """
    sample = jax.jit(jax.vmap(lambda frame: interpolate(frame, fine, grid.coordinates, Cubic())))
    return stack_samples([{"u": sample(jnp.asarray(frames))} for frames in values])


def sample_branches(
    values: Float[np.ndarray, "trajectory time channel *fine"],
    fine: Grid,
    follower: Follower,
    neighbors: int,
    near: int,
) -> dict[str, np.ndarray]:
    """The truth on a fixed grid, the mesh that follows what this grid shows of the solution, and who is near whom.

    **Arguments:**

    - `values`: the truth `(trajectory, time, channel, *fine)`.
    - `fine`: its grid.
    - `follower`: moves the meshes.
    - `neighbors`, `near`: as for `plan_meshes`.

    **Returns:** arrays `(trajectory, time, ...)`: `u`, the vertices `moved`, and those of `plan_meshes`.
    """
    grid = follower.grid

    @jax.jit
    def follow(coarse):
        return follower.follow(jax.vmap(lambda u: follower.look(u, grid))(coarse)).vertices

    nodes, locate = list_nodes(grid), jax.jit(lambda v: list_nodes(StructuredMesh(grid, v)))
    u, found = sample_fixed(values, fine, grid)["u"], []
    for coarse in u:
        vertices = follow(jnp.asarray(coarse))
        plans = [plan_meshes(nodes, locate(v), grid, neighbors, near) for v in vertices]
        found.append(
            {"moved": vertices, **{name: np.stack([plan[name] for plan in plans]) for name in plans[0]}}
        )
    return {"u": u, **stack_samples(found)}


def plan_meshes(
    nodes: Float[np.ndarray, "node dim"],
    moved: Float[np.ndarray, "node dim"],
    grid: Grid,
    neighbors: int,
    near: int,
) -> dict[str, np.ndarray]:
    """Who is near whom on a moved mesh and between the meshes, by a tree: what `MovingMeshSolver.plan` finds, but once.

    **Arguments:**

    - `nodes`, `moved`: of both meshes, as `list_nodes` gives them, `(node, dim)`.
    - `grid`: for its box.
    - `neighbors`: how many nodes a node hears from.
    - `near`: of how many an interpolated value is made.

    **Returns:** indices in 16 bits where they fit: `heard` `(node, neighbors)`, `gather` and `scatter` `(node, near)`.

    **Raises:** `ImportError` without scipy; `ValueError` for fewer nodes than neighbors.
    """
    least = max(neighbors + 1, near)
    if min(len(nodes), len(moved)) < least:
        raise ValueError(
            f"plan_meshes needs {least} nodes or more, for {neighbors} neighbors of each and {near} to interpolate "
            f"between; got {len(nodes)} and {len(moved)}."
        )
    tree = require("scipy.spatial", extra="meshes").cKDTree
    box = grid.box
    lengths = np.array(box.lengths)
    sides = np.where(box.periodic, lengths, 0)

    def place(points):
        points = np.asarray(points, float) - np.array(box.lower)
        wrapped = points % lengths
        return np.where(box.periodic, np.where(wrapped < lengths, wrapped, 0), points)

    fixed, other = place(nodes), place(moved)
    there, here = tree(fixed, boxsize=sides), tree(other, boxsize=sides)
    found = {
        "heard": here.query(other, neighbors + 1)[1][:, 1:],
        "gather": there.query(other, near)[1],
        "scatter": here.query(fixed, near)[1],
    }
    kind = np.int16 if len(fixed) <= np.iinfo(np.int16).max else np.int32
    return {name: indices.astype(kind) for name, indices in found.items()}


def digest(values: np.ndarray) -> str:
    """What tells one data set from another, for the names of what is made of it.

    **Arguments:**

    - `values`: any array `(...)`.

    **Returns:** ten hexadecimal digits.
    """
    return hashlib.sha256(np.ascontiguousarray(values)).hexdigest()[:10]


def stack_samples(rows):
    """Put samples beside one another.

    **Arguments:**

    - `rows`: pytrees of one structure, of arrays `(...)`.

    **Returns:** a pytree of numpy arrays `(row, ...)`.
    """
    return jax.tree.map(lambda *parts: np.stack([np.asarray(part) for part in parts]), *rows)
