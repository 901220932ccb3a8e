"""What methods on triangle meshes have in common: a state, a step, and a solution beside the truth.

The pieces of a step are compiled one by one, not the step as a whole: the mover and the searches, which take longest to
compile, are then shared by samples, single steps and rollouts.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..data import sample_wake
from ..meshes import FlowStep, MovingMeshSolver, TriangleFollower, TriangleMesh, TriangleStep, plan_triangles
from .moving_steps import LOST, Rollout
from .wake_data import Wake, find_viscosity

State = Any


class Window(eqx.Module):
    """Where flows are looked at.

    **Arguments:**

    - `spacing`: of the circles on which they are known, a scalar.
    - `judged`: points all over the domain at which errors are measured, `(2, point)`.
    """

    spacing: Float[Array, ""]
    judged: Float[Array, "2 point"]


class AbstractTriangleStepper(eqx.Module):
    """A method, as it is judged."""

    window: eqx.AbstractVar[Window]

    @abc.abstractmethod
    def start(self, truth: Wake) -> State:
        """The state that sees a flow.

        **Arguments:**

        - `truth`: one frame.

        **Returns:** the state, a pytree of arrays.
        """

    @abc.abstractmethod
    def step(self, state: State) -> tuple[State, Bool[Array, ""]]:
        """One frame on.

        **Arguments:**

        - `state`: the state.

        **Returns:** the next, and whether its mesh is valid, a scalar; one that is not was replaced by the one before.
        """

    @abc.abstractmethod
    def show(self, state: State) -> tuple[Float[Array, "channel node"], TriangleMesh]:
        """The solution that a state holds.

        **Arguments:**

        - `state`: the state.

        **Returns:** values `(channel, node)`, and their mesh.
        """


class WakeStep(eqx.Module):
    """The classical step of a wake, alone, or for `TriangleStep` to correct.

    **Arguments:**

    - `flow`: the step.
    """

    flow: FlowStep

    def __call__(
        self, u: Float[Array, "channel node"], mesh: TriangleMesh, feature: Float[Array, " feature"]
    ) -> Float[Array, "channel node"]:
        """Step on a mesh.

        **Arguments:**

        - `u`: `(channel, node)`.
        - `mesh`: the mesh.
        - `feature`: tells the Reynolds number, `(feature,)`.

        **Returns:** one frame later, `(channel, node)`.
        """
        return self.flow(u, mesh, find_viscosity(feature))


class MovingTriangles(AbstractTriangleStepper):
    """A solution on moving nodes: the mesh is moved for the solution as it is, and that is predicted on the new mesh.

    **Arguments:**

    - `model`: the step from mesh to mesh.
    - `follower`: moves the mesh.
    - `window`: where flows are looked at.
    """

    model: TriangleStep | WakeStep
    follower: TriangleFollower
    window: Window

    def start(self, truth):
        """See `AbstractTriangleStepper.start`."""
        follower = self.follower
        seen = look_at(truth.values, self.window.spacing, jnp.asarray(follower.seen.coordinates))
        rest = follower.mesh.points
        points, valid = follower.keep(follower.move(follower.measure(seen), rest), rest)
        # Whether the first mesh was valid is told by the first step.
        return look_at(truth.values, self.window.spacing, points), points, truth.feature, valid

    def step(self, state):
        """See `AbstractTriangleStepper.step`."""
        u, points, feature, began = state
        old = self.follower.mesh.move_to(points)
        density = self.follower.measure(reconstruct_on_grid(self.follower, u, old))
        points, valid = self.follower.keep(self.follower.move(density, points), points)
        u = apply_step(self.model, u, old, old.move_to(points), feature)
        return (u, points, feature, jnp.ones_like(began)), valid & began

    def show(self, state):
        """See `AbstractTriangleStepper.show`."""
        return state[0], self.follower.mesh.move_to(state[1])


class FixedTriangles(AbstractTriangleStepper):
    """A step of values on a mesh that stays.

    **Arguments:**

    - `model`: a step from mesh to mesh, or a function of the values `(channel, node)`.
    - `mesh`: the mesh.
    - `window`: where flows are looked at.
    """

    model: TriangleStep | WakeStep | Callable[[Float[Array, "channel node"]], Float[Array, "channel node"]]
    mesh: TriangleMesh
    window: Window

    def start(self, truth):
        """See `AbstractTriangleStepper.start`."""
        return look_at(truth.values, self.window.spacing, self.mesh.points), truth.feature

    def step(self, state):
        """See `AbstractTriangleStepper.step`."""
        u, feature = state
        if isinstance(self.model, TriangleStep | WakeStep):
            u = apply_in_place(self.model, u, self.mesh, feature)
        else:
            u = self.model(u)
        return (u, feature), jnp.ones((), bool)

    def show(self, state):
        """See `AbstractTriangleStepper.show`."""
        return state[0], self.mesh


class BranchTriangles(AbstractTriangleStepper):
    """The published form, or one branch of it: values on a mesh that stays, and a second branch on nodes that follow.

    **Arguments:**

    - `model`: the branches, on the velocities and a channel that tells the Reynolds number.
    - `follower`: moves the second branch's nodes; `None` where they are those of the mesh.
    - `mesh`: the mesh.
    - `window`: where flows are looked at.
    """

    model: MovingMeshSolver | eqx.Module
    follower: TriangleFollower | None
    mesh: TriangleMesh
    window: Window

    def start(self, truth):
        """See `AbstractTriangleStepper.start`."""
        u = look_at(truth.values, self.window.spacing, self.mesh.points)
        return u, self.mesh.points if self.follower is None else self.follower.mesh.points, truth.feature

    def step(self, state):
        """See `AbstractTriangleStepper.step`."""
        u, points, feature = state
        valid = jnp.ones((), bool)
        if self.follower is not None:
            density = self.follower.measure(reconstruct_on_grid(self.follower, u, self.mesh))
            points, valid = self.follower.keep(self.follower.move(density, points), points)
        return (apply_branches(self.model, u, self.mesh, points, feature), points, feature), valid

    def show(self, state):
        """See `AbstractTriangleStepper.show`."""
        return state[0], self.mesh


@eqx.filter_jit
def look_at(
    values: Float[Array, "channel xi theta"], spacing: Float[Array, ""], points: Float[Array, "2 *points"]
) -> Float[Array, "channel *points"]:
    """The truth at points; `sample_wake`, compiled.

    **Arguments:**

    - `values`: on circles `(channel, xi, theta)`.
    - `spacing`: of the circles, a scalar.
    - `points`: positions `(2, *points)`.

    **Returns:** `(channel, *points)`.
    """
    return sample_wake(values, spacing, points)


@eqx.filter_jit
def reconstruct_on_grid(
    follower: TriangleFollower, u: Float[Array, "channel node"], mesh: TriangleMesh
) -> Float[Array, "channel x y"]:
    """A solution as the follower sees it; `TriangleFollower.look`, compiled.

    **Arguments:**

    - `follower`: looks.
    - `u`: at the nodes `(channel, node)`.
    - `mesh`: the mesh.

    **Returns:** `(channel, x, y)`.
    """
    return follower.look(u, mesh)


@eqx.filter_jit
def apply_step(
    model: TriangleStep | WakeStep,
    u: Float[Array, "channel node"],
    old: TriangleMesh,
    new: TriangleMesh,
    feature: Float[Array, " feature"],
) -> Float[Array, "channel node"]:
    """A step from mesh to mesh, compiled.

    **Arguments:**

    - `model`: the step.
    - `u`: `(channel, node)`.
    - `old`, `new`: the meshes.
    - `feature`: tells the Reynolds number, `(feature,)`.

    **Returns:** `(channel, node)`.
    """
    if isinstance(model, WakeStep):
        return model(plan_triangles(old, new.points)(u, old), new, feature)
    return model(u, old, new, feature)


@eqx.filter_jit
def apply_in_place(
    model: TriangleStep | WakeStep,
    u: Float[Array, "channel node"],
    mesh: TriangleMesh,
    feature: Float[Array, " feature"],
) -> Float[Array, "channel node"]:
    """A step on a mesh that stays, compiled: nothing is searched for.

    **Arguments:**

    - `model`: the step.
    - `u`: `(channel, node)`.
    - `mesh`: the mesh.
    - `feature`: tells the Reynolds number, `(feature,)`.

    **Returns:** `(channel, node)`.
    """
    return model(u, mesh, feature) if isinstance(model, WakeStep) else model(u, mesh, mesh, feature)


@eqx.filter_jit
def apply_branches(
    model: eqx.Module,
    u: Float[Array, "channel node"],
    mesh: TriangleMesh,
    points: Float[Array, "2 other"],
    feature: Float[Array, " feature"],
) -> Float[Array, "channel node"]:
    """A step of the branches, compiled.

    **Arguments:**

    - `model`: the branches.
    - `u`: `(channel, node)`.
    - `mesh`: of the solution; conditions at its walls are met.
    - `points`: of the other branch `(2, other)`.
    - `feature`: tells the Reynolds number, `(feature,)`.

    **Returns:** `(channel, node)`.
    """
    found = model(add_feature(u, feature), mesh.points.T, points.T)
    return mesh.field(found[: len(u)].astype(u.dtype)).value


def add_feature(
    u: Float[Array, "channel node"], feature: Float[Array, " feature"]
) -> Float[Array, "channels node"]:
    """Channels that are the same everywhere, below those of a solution.

    **Arguments:**

    - `u`: `(channel, node)`.
    - `feature`: `(feature,)`.

    **Returns:** `(channels, node)`, as many as both have.
    """
    return jnp.concatenate(
        [u, jnp.broadcast_to(feature[:, None].astype(u.dtype), (len(feature), u.shape[1]))]
    )


def roll_wake(stepper: AbstractTriangleStepper, frames: Wake, size: Float[Array, " channel"]) -> Rollout:
    """Step from the first frame to the last, and measure against the others.

    Where the solution blows up it stops: errors are infinite from that step on.

    **Arguments:**

    - `stepper`: the method.
    - `frames`: the truth.
    - `size`: the standard deviation of each channel, `(channel,)`, by which errors are divided.

    **Returns:** what was measured after each step.
    """
    count = len(frames.values)
    state, rows = stepper.start(_pick(frames, 0)), []
    for k in range(1, count):
        state, valid = stepper.step(state)
        values, mesh = stepper.show(state)
        found = _measure(values, mesh, frames.values[k], stepper.window, size)
        rows.append([*map(float, found), bool(valid)])
        if not rows[-1][0] <= LOST:
            lost = [np.inf, rows[-1][1], np.nan, True]
            rows[-1:] = [lost] * (count - k)
            break
    errors, floors, node_errors, valid = (np.array(column) for column in zip(*rows, strict=True))
    return Rollout(errors, floors, node_errors, valid)


def record_wake(stepper: AbstractTriangleStepper, frames: Wake) -> dict[str, np.ndarray]:
    """The last channel of a rollout beside the truth, and its nodes, to be drawn.

    **Arguments:**

    - `stepper`: the method.
    - `frames`: the truth.

    **Returns:** `truth` and `found` at the judged points `(time, point)`, `nodes` `(time, 2, node)`, `triangles`
    `(triangle, 3)`; up to the frame at which it blows up.
    """
    window, state = stepper.window, stepper.start(_pick(frames, 0))
    film = {"truth": [], "found": [], "nodes": []}
    for k in range(len(frames.values)):
        if k:
            state, _ = stepper.step(state)
        values, mesh = stepper.show(state)
        if not bool(jnp.all(jnp.isfinite(values))) or float(jnp.max(abs(values))) > 1e3:
            break
        film["truth"].append(np.asarray(look_at(frames.values[k], window.spacing, window.judged))[-1])
        film["found"].append(np.asarray(_reconstruct(values, mesh, window.judged))[-1])
        film["nodes"].append(np.asarray(mesh.points))
    stacked = {name: np.stack(rows).astype(np.float32) for name, rows in film.items()}
    return stacked | {"triangles": np.asarray(stepper.show(state)[1].triangles)}


@eqx.filter_jit
def _measure(values: Array, mesh: TriangleMesh, truth: Array, window: Window, size: Array):
    best = sample_wake(truth, window.spacing, mesh.points)
    seen = sample_wake(truth, window.spacing, window.judged)
    both = plan_triangles(mesh, window.judged)(jnp.concatenate([values, best]), mesh)

    def relative(found):
        return jnp.sqrt(jnp.mean(jnp.mean((found - seen) ** 2, axis=1) / size**2))

    found, sampled = jnp.split(both, 2)
    return relative(found), relative(sampled), jnp.mean((values - best) ** 2)


@eqx.filter_jit
def _reconstruct(values: Array, mesh: TriangleMesh, points: Array) -> Array:
    return plan_triangles(mesh, points)(values, mesh)


def _pick(frames: Wake, k: int) -> Wake:
    return jax.tree.map(lambda x: jnp.asarray(x[k]), frames)
