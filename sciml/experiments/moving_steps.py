"""What methods on moving and on fixed meshes have in common: a state, a step, and a solution on the fine grid.

Every method starts from the fine truth, takes of it what its own nodes see, and is judged after reconstruction on the
fine grid: by cubic interpolation from the nodes it has, or by the Fourier series of a fixed grid where that is nearer.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..meshes import (
    Cubic,
    Follower,
    MovingMeshSolver,
    MovingStep,
    StructuredMesh,
    VolumeStep,
    interpolate,
    plan_transfer,
    uniform_mesh,
)
from ..pdes import Grid

State = Any
LOST = 10.0  # the relative error at which a rollout has blown up, and as which all that comes after counts


class AbstractStepper(eqx.Module):
    """A method, as it is judged."""

    fine: eqx.AbstractVar[Grid]

    @abc.abstractmethod
    def start(self, fine: Float[Array, "channel *fine"]) -> State:
        """The state that sees a solution.

        **Arguments:**

        - `fine`: the truth `(channel, *fine)`.

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
    def show(self, state: State) -> tuple[Float[Array, "channel *space"], Grid | StructuredMesh]:
        """The solution that a state holds.

        **Arguments:**

        - `state`: the state.

        **Returns:** values `(channel, *space)`, and the mesh whose points they are at.
        """


class GridStepper(AbstractStepper):
    """A step of values on a regular grid.

    **Arguments:**

    - `model`: `(channel, *space) -> (channel, *space)`.
    - `grid`: the grid.
    - `fine`: the grid of the truth.
    - `fourier`: whether it is judged by its Fourier series, on a periodic box, where that is nearer to the truth than
        cubic interpolation.
    """

    model: Callable[[Float[Array, "channel *space"]], Float[Array, "channel *space"]]
    grid: Grid
    fine: Grid
    fourier: bool = eqx.field(static=True, default=False)

    def start(self, fine):
        """See `AbstractStepper.start`."""
        return interpolate(fine, self.fine, self.grid.coordinates, Cubic())

    def step(self, state):
        """See `AbstractStepper.step`."""
        return self.model(state).astype(state.dtype), jnp.ones((), bool)

    def show(self, state):
        """See `AbstractStepper.show`."""
        return state, self.grid


class MovingStepper(AbstractStepper):
    """A solution on moving nodes: the mesh is moved for the solution as it is, and that is predicted on the new mesh.

    **Arguments:**

    - `model`: the step from mesh to mesh.
    - `follower`: moves the mesh.
    - `fine`: the grid of the truth.
    - `ahead`: a step by which the solution is looked at one frame ahead, so that the mesh does not lag behind it.
    """

    model: MovingStep | VolumeStep
    follower: Follower
    fine: Grid
    ahead: VolumeStep | None = None

    def start(self, fine):
        """See `AbstractStepper.start`."""
        follower = self.follower
        seen = interpolate(fine, self.fine, follower.seen.coordinates, Cubic())
        vertices, potential, valid = follower.begin(seen)
        mesh = StructuredMesh(follower.grid, vertices)
        # Whether the first mesh was valid is told by the first step.
        return interpolate(fine, self.fine, mesh.coordinates, Cubic()), vertices, potential, valid

    def step(self, state):
        """See `AbstractStepper.step`."""
        u, vertices, potential, began = state
        old = StructuredMesh(self.follower.grid, vertices)
        coming = u if self.ahead is None else self.ahead(u, old, old)
        vertices, potential, valid = self.follower.advance(coming, old, vertices, potential)
        new = StructuredMesh(self.follower.grid, vertices)
        return (self.model(u, old, new), vertices, potential, jnp.ones_like(began)), valid & began

    def show(self, state):
        """See `AbstractStepper.show`."""
        return state[0], StructuredMesh(self.follower.grid, state[1])


class BranchStepper(AbstractStepper):
    """The published form: values on a regular grid, and a second branch on nodes that follow them.

    **Arguments:**

    - `model`: the two branches.
    - `follower`: moves the second branch's nodes; `None` for the control, whose nodes stay.
    - `grid`: the grid.
    - `fine`: the grid of the truth.
    """

    model: MovingMeshSolver
    follower: Follower | None
    grid: Grid
    fine: Grid

    def start(self, fine):
        """See `AbstractStepper.start`."""
        u = interpolate(fine, self.fine, self.grid.coordinates, Cubic())
        mesh = uniform_mesh(self.grid)
        return u, mesh.vertices, jnp.zeros(()) if self.follower is None else self.follower.rest

    def step(self, state):
        """See `AbstractStepper.step`."""
        u, vertices, potential = state
        valid = jnp.ones((), bool)
        if self.follower is not None:
            vertices, potential, valid = self.follower.advance(u, self.grid, vertices, potential)
        mesh = StructuredMesh(self.grid, vertices)
        flat = self.model(u.reshape(len(u), -1), list_nodes(self.grid), list_nodes(mesh))
        return (flat.reshape(u.shape).astype(u.dtype), vertices, potential), valid

    def show(self, state):
        """See `AbstractStepper.show`."""
        return state[0], self.grid


def list_nodes(mesh: Grid | StructuredMesh) -> Float[Array, "node dim"]:
    """The points of the unknowns as a list, inside the box along periodic axes.

    **Arguments:**

    - `mesh`: a grid or mesh.

    **Returns:** `(node, dim)`.
    """
    box = (mesh if isinstance(mesh, Grid) else mesh.grid).box
    rows = jnp.asarray(mesh.coordinates).reshape(box.dimensions, -1).T
    lower, lengths = jnp.asarray(box.lower, rows.dtype), jnp.asarray(box.lengths, rows.dtype)
    wrapped = lower + jnp.mod(rows - lower, lengths)
    return jnp.where(jnp.asarray(box.periodic), wrapped, rows)


class Rollout(NamedTuple):
    """A rollout beside the truth.

    **Arguments:**

    - `errors`: relative, against the fine truth, per step `(time,)`.
    - `floors`: of the truth itself, sampled at the method's nodes and reconstructed, `(time,)`.
    - `node_errors`: the mean square at the nodes `(time,)`, the published metric.
    - `valid`: whether meshes were valid `(time,)`.
    """

    errors: Float[Array, " time"]
    floors: Float[Array, " time"]
    node_errors: Float[Array, " time"]
    valid: Bool[Array, " time"]


def reconstruct(
    fields: list[Float[Array, "channel *space"]],
    mesh: Grid | StructuredMesh,
    stepper: AbstractStepper,
    every: int,
) -> list[Float[Array, "channel *points"]]:
    """Fields on one mesh, at every so many points of the fine grid.

    **Arguments:**

    - `fields`: each `(channel, *space)`.
    - `mesh`: the mesh or grid.
    - `stepper`: whose fields they are.
    - `every`: every such point of the fine grid along each axis.

    **Returns:** each field `(channel, *points)`.
    """
    fine = stepper.fine
    if getattr(stepper, "fourier", False):
        return [thin_out(continue_series(values, fine.shape), every) for values in fields]
    points = thin_out(jnp.asarray(fine.coordinates), every)
    if isinstance(mesh, Grid):
        return [interpolate(values, mesh, points, Cubic()) for values in fields]
    plan = plan_transfer(mesh, points)
    return [plan(values) for values in fields]


def thin_out(values: Float[Array, "channel *fine"], every: int) -> Float[Array, "channel *points"]:
    """Every so many points along each axis.

    **Arguments:**

    - `values`: `(channel, *fine)`.
    - `every`: the stride.

    **Returns:** `(channel, *points)`.
    """
    return values[(slice(None), *[slice(None, None, every)] * (values.ndim - 1))]


def choose_stride(spacing: int) -> int:
    """Every how many points to measure, so that those are not nodes more often than not.

    **Arguments:**

    - `spacing`: the points from node to node.

    **Returns:** the smallest of 3, 5 and 7 that does not divide it.
    """
    return next(k for k in (3, 5, 7) if spacing % k)


def continue_series(
    values: Float[Array, "channel *space"], shape: tuple[int, ...]
) -> Float[Array, "channel *fine"]:
    """The Fourier series through values of a periodic grid, on a finer one.

    **Arguments:**

    - `values`: `(channel, *space)`, an even number of points along each axis.
    - `shape`: of the finer grid.

    **Returns:** `(channel, *fine)`.
    """
    for axis, n in enumerate(shape, start=1):
        few = values.shape[axis]
        series = jnp.moveaxis(jnp.fft.rfft(values, axis=axis), axis, -1)
        # The highest mode is a cosine: half of it is its own mirror image.
        series = series.at[..., -1].multiply(1.0 if few == n else 0.5)
        values = jnp.moveaxis(jnp.fft.irfft(series, n) * (n / few), -1, axis)
    return values


@eqx.filter_jit
def roll_beside(
    stepper: AbstractStepper,
    frames: Float[Array, "time channel *fine"],
    size: Float[Array, " channel"],
    every: int,
) -> Rollout:
    """Step from the first frame to the last, and measure against the others.

    **Arguments:**

    - `stepper`: the method.
    - `frames`: the truth `(time, channel, *fine)`.
    - `size`: the standard deviation of each channel, `(channel,)`, by which errors are divided.
    - `every`: errors are measured at every such point of the fine grid along each axis.

    **Returns:** what was measured after each step.
    """

    def relative(found, truth):
        squares = jnp.mean((found - truth) ** 2, axis=tuple(range(1, truth.ndim)))
        return jnp.sqrt(jnp.mean(squares / size**2))

    def advance(state, truth):
        state, valid = stepper.step(state)
        values, mesh = stepper.show(state)
        best = interpolate(truth, stepper.fine, mesh.coordinates, Cubic())
        found, sampled = reconstruct([values, best], mesh, stepper, every)
        seen = thin_out(truth, every)
        return state, Rollout(
            relative(found, seen), relative(sampled, seen), jnp.mean((values - best) ** 2), valid
        )

    return jax.lax.scan(advance, stepper.start(frames[0]), frames[1:])[1]


@eqx.filter_jit
def record(
    stepper: AbstractStepper, start: Float[Array, "channel *fine"], steps: int, every: int
) -> tuple[Float[Array, "time *points"], Float[Array, "time dim *space"]]:
    """The last channel of a rollout and its nodes, to be drawn.

    **Arguments:**

    - `stepper`: the method.
    - `start`: the first frame `(channel, *fine)`.
    - `steps`: how many.
    - `every`: every such point of the fine grid along each axis is drawn.

    **Returns:** the solution `(time, *points)`, and the nodes `(time, dim, *space)`.
    """

    def look(state):
        values, mesh = stepper.show(state)
        return reconstruct([values], mesh, stepper, every)[0][-1], jnp.asarray(mesh.coordinates)

    def advance(state, _):
        state, _ = stepper.step(state)
        return state, look(state)

    first = stepper.start(start)
    seen = look(first)
    _, (fine, nodes) = jax.lax.scan(advance, first, length=steps)
    return jnp.concatenate([seen[0][None], fine]), jnp.concatenate([seen[1][None], nodes])
