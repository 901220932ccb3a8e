"""What methods on moving meshes train on: the truth at nodes of meshes that follow it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..meshes import Cubic, Follower, StructuredMesh, interpolate, plan_transfer
from ..pdes import Grid


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
    return np.concatenate([both, turned.astype(values.dtype)])


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

    **Returns:** arrays `(trajectory, time, ...)`: `u` on the mesh of its frame, `ahead` that of the next frame on the
    same mesh, the mesh as `vertices`, and `indices` of the next mesh's points in it. Behind the last frame nothing is
    known, and its own is repeated.
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
            pair = jnp.concatenate([frames[i], frames[after]])
            u, ahead = jnp.split(interpolate(pair, fine, old.coordinates, Cubic()), 2)
            indices = plan_transfer(old, new.coordinates).indices
            return {"u": u, "ahead": ahead, "vertices": vertices[i], "indices": indices}

        return jax.lax.map(one, jnp.arange(len(frames)))

    return _gather([sample(jnp.asarray(frames)) for frames in values])


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
    return _gather([{"u": sample(jnp.asarray(frames))} for frames in values])


def sample_branches(
    values: Float[np.ndarray, "trajectory time channel *fine"], fine: Grid, follower: Follower
) -> dict[str, np.ndarray]:
    """The truth on a fixed grid, and the mesh that follows what this grid shows of the solution.

    **Arguments:**

    - `values`: the truth `(trajectory, time, channel, *fine)`.
    - `fine`: its grid.
    - `follower`: moves the meshes.

    **Returns:** arrays `(trajectory, time, ...)`: `u`, and the vertices `moved`.
    """
    grid = follower.grid

    @jax.jit
    def follow(coarse):
        return follower.follow(jax.vmap(lambda u: follower.look(u, grid))(coarse)).vertices

    u = sample_fixed(values, fine, grid)["u"]
    return {"u": u, "moved": np.stack([np.asarray(follow(jnp.asarray(coarse))) for coarse in u])}


def _gather(found):
    return jax.tree.map(lambda *parts: np.stack([np.asarray(part) for part in parts]), *found)
