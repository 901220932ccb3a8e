"""Losses of steps: a method is fed its own predictions from a start with a little noise, so that rollouts stay near.

All methods on a grid get noise of the same relative size and the same number of steps. Errors are divided by the size
of the change of a frame.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..meshes import (
    MovingMeshSolver,
    MovingStep,
    PlannedTransfer,
    SolverPlan,
    StructuredMesh,
    VolumeStep,
    uniform_mesh,
)
from ..pdes import Grid
from .moving_steps import list_nodes
from .surrogate import Surrogate

Window = dict[str, Float[Array, "time ..."]]


class MovingLoss(eqx.Module):
    """Of steps between moving meshes: onto the next mesh, and, where meshes lag, on the mesh made for the first frame.

    The latter is how a rollout starts: from a mesh that does not lag yet, onto the same one.

    **Arguments:**

    - `grid`: of the meshes.
    - `noise`: over the size of the solution.
    - `unroll`: how many steps.
    - `pushforward`: whether gradients stop between steps.
    """

    grid: Grid
    noise: float
    unroll: int = eqx.field(static=True)
    pushforward: bool = eqx.field(static=True, default=False)

    def __call__(self, model, batch, *, key):
        """The mean over windows; see `measure` for one of the `(window, time, ...)`."""
        return average(self, model, batch, key)

    def measure(self, model: MovingStep, window: Window, key: PRNGKeyArray) -> Float[Array, ""]:
        """The loss of one window.

        **Arguments:**

        - `model`: the step.
        - `window`: arrays of `sample_moving` or of `sample_ahead`, `(time, ...)`.
        - `key`: of the noise.

        **Returns:** a scalar.
        """
        meshes = [StructuredMesh(self.grid, vertices) for vertices in window["vertices"]]
        first, second = jax.random.split(key)
        u = disturb(self.noise, window["u"][0], model.size, first)
        losses = []
        if "fresh" in window:
            start = disturb(self.noise, window["fresh"][0], model.size, second)
            losses.append(compare(model(start, meshes[1], meshes[1], start), window["u"][1], model.change))
        for k in range(self.unroll):
            known = "indices" in window
            carried = PlannedTransfer(window["indices"][k], self.grid)(u) if known else None
            u = model(u, meshes[k], meshes[k + 1], carried)
            losses.append(compare(u, window["u"][k + 1], model.change))
            u = hand_on(u, self.pushforward)
        return sum(losses) / len(losses)


class FixedLoss(eqx.Module):
    """Of steps on a fixed grid, by a surrogate or by `MovingStep` on the mesh that stays.

    **Arguments:**

    - `grid`: the grid.
    - `noise`: over the size of the solution.
    - `unroll`: how many steps.
    - `pushforward`: whether gradients stop between steps.
    """

    grid: Grid
    noise: float
    unroll: int = eqx.field(static=True)
    pushforward: bool = eqx.field(static=True, default=False)

    def __call__(self, model, batch, *, key):
        """The mean over windows; see `measure` for one of the `(window, time, ...)`."""
        return average(self, model, batch, key)

    def measure(self, model: MovingStep | Surrogate, window: Window, key: PRNGKeyArray) -> Float[Array, ""]:
        """The loss of one window.

        **Arguments:**

        - `model`: the step; a field `(channel, *space)` in, and out.
        - `window`: arrays of `sample_fixed`, `(time, ...)`.
        - `key`: of the noise.

        **Returns:** a scalar.
        """
        step = Unmoved(model, self.grid) if isinstance(model, MovingStep) else model
        u = disturb(self.noise, window["u"][0], model.size, key)
        losses = []
        for k in range(self.unroll):
            u = step(u)
            losses.append(compare(u, window["u"][k + 1], model.change))
            u = hand_on(u, self.pushforward)
        return sum(losses) / len(losses)


class BranchLoss(eqx.Module):
    """Of the published form: first the round trip between the meshes, then steps.

    **Arguments:**

    - `grid`: the grid.
    - `noise`: over the size of the solution.
    - `unroll`: how many steps; 0 for the round trip.
    - `size`, `change`: those of the solution and of its change, `(channel,)`.
    - `plan`: who is near whom where no node moves.
    - `pushforward`: whether gradients stop between steps.
    """

    grid: Grid
    noise: float
    unroll: int = eqx.field(static=True)
    size: Float[Array, " channel"]
    change: Float[Array, " channel"]
    plan: SolverPlan
    pushforward: bool = eqx.field(static=True, default=False)

    def __call__(self, model, batch, *, key):
        """The mean over windows; see `measure` for one of the `(window, time, ...)`."""
        return average(self, model, batch, key)

    def measure(self, model: MovingMeshSolver, window: Window, key: PRNGKeyArray) -> Float[Array, ""]:
        """The loss of one window.

        **Arguments:**

        - `model`: the two branches.
        - `window`: arrays of `sample_branches`, `(time, ...)`, or of `sample_fixed` where no node moves.
        - `key`: of the noise.

        **Returns:** a scalar.
        """
        nodes = list_nodes(self.grid)
        shape = window["u"].shape[1:]
        meshes = [StructuredMesh(self.grid, vertices) for vertices in window.get("moved", ())]
        moved = [list_nodes(mesh) for mesh in meshes] or [nodes] * len(window["u"])
        plans = [self._plan(window, k) for k in range(max(1, self.unroll))]
        u = disturb(self.noise, window["u"][0], self.size, key).reshape(shape[0], -1)
        if self.unroll == 0:
            found = model.round_trip(u, nodes, moved[0], plans[0])
            return compare(found.reshape(shape), window["u"][0], self.change)
        losses = []
        for k in range(self.unroll):
            u = model(u, nodes, moved[k], plans[k])
            losses.append(compare(u.reshape(shape), window["u"][k + 1], self.change))
            u = hand_on(u, self.pushforward)
        return sum(losses) / len(losses)

    def _plan(self, window: Window, k: int) -> SolverPlan:
        """Who is near whom at a time: known before, as the meshes are."""
        if "moved" not in window:
            return self.plan
        found = (window[name][k].astype(int) for name in ("heard", "gather", "scatter"))
        return SolverPlan(self.plan.fixed, *found)


class Unmoved(eqx.Module):
    """A step between meshes, on one that does not move.

    **Arguments:**

    - `model`: the step.
    - `grid`: the grid.
    """

    model: MovingStep | VolumeStep
    grid: Grid

    def __call__(self, u: Float[Array, "channel *space"]) -> Float[Array, "channel *space"]:
        """Step.

        **Arguments:**

        - `u`: the solution `(channel, *space)`.

        **Returns:** one frame later, `(channel, *space)`.
        """
        mesh = uniform_mesh(self.grid)
        if isinstance(self.model, MovingStep) and self.model.prior is None:
            return self.model(u, mesh, mesh, u)
        return self.model(u, mesh, mesh)


def average(loss, model: eqx.Module, batch: Window, key: PRNGKeyArray) -> Float[Array, ""]:
    """The mean of a loss over windows, each with noise of its own.

    **Arguments:**

    - `loss`: has a `measure` for one window.
    - `model`: what is trained.
    - `batch`: arrays `(window, time, ...)`.
    - `key`: of the noise.

    **Returns:** a scalar.
    """
    size = jax.tree.leaves(batch)[0].shape[0]
    return jnp.mean(jax.vmap(lambda w, k: loss.measure(model, w, k))(batch, jax.random.split(key, size)))


def disturb(
    noise: float, u: Float[Array, "channel *space"], size: Float[Array, " channel"], key: PRNGKeyArray
) -> Float[Array, "channel *space"]:
    """Add noise.

    **Arguments:**

    - `noise`: over the size of the solution.
    - `u`: the solution `(channel, *space)`.
    - `size`: its size, `(channel,)`.
    - `key`: of the noise.

    **Returns:** `(channel, *space)`.
    """
    column = (-1,) + (1,) * (u.ndim - 1)
    return u + noise * size.reshape(column) * jax.random.normal(key, u.shape, u.dtype)


def hand_on(u: Float[Array, "channel *space"], pushforward: bool) -> Float[Array, "channel *space"]:
    """What the next step starts from.

    **Arguments:**

    - `u`: what a step has predicted, `(channel, *space)`.
    - `pushforward`: whether gradients stop here. A loss then teaches each step to go on from the errors of those before
        it, but not to make errors that are easy to go on from.

    **Returns:** the same values `(channel, *space)`.
    """
    return jax.lax.stop_gradient(u) if pushforward else u


def compare(
    found: Float[Array, "channel *space"],
    truth: Float[Array, "channel *space"],
    change: Float[Array, " channel"],
    weights: Float[Array, "*space"] | float = 1.0,
) -> Float[Array, ""]:
    """The mean square of an error, over that of the change of a frame.

    **Arguments:**

    - `found`, `truth`: `(channel, *space)`.
    - `change`: the root mean square of the change of a frame, `(channel,)`.
    - `weights`: of the points `(*space,)`, with mean one.

    **Returns:** a scalar.
    """
    column = (-1,) + (1,) * (truth.ndim - 1)
    return jnp.mean(weights * ((found - truth) / jax.lax.stop_gradient(change).reshape(column)) ** 2)
