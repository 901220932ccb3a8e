"""What `evolve_moving` refuses: problems whose parts do not fit together, and solves that came to a stop."""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..pdes import AbstractPDE, Grid, evaluate_rate
from ..pdes.calculus import check_values
from .certificate import MeshError, check_certificate
from .monitors import AbstractMonitor
from .structured import StructuredMesh

_CURE = "Take more cells, or smooth the monitor by more cells or lower its weight."
_FLAT = 1e-3  # a Jacobian, over that of the regular grid, below which a mesh is about to fold


def check_times(times) -> Array:
    """The times as an array `(time,)`; refuse fewer than two, and times that do not increase."""
    times = jnp.asarray(times, dtype=float)
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(
            f"times must be (time,) with at least 2 entries, the first the start; got shape {times.shape}."
        )
    if not isinstance(times, jax.core.Tracer) and not np.all(np.diff(times) > 0):
        raise ValueError(f"times must increase strictly; got {np.asarray(times).tolist()}.")
    return times


def check_parts(law: AbstractPDE, grid: Grid, monitor) -> None:
    """Refuse what is not a grid or a monitor, and what is given at points that do not move."""
    if not isinstance(grid, Grid):
        raise ValueError(f"evolve_moving takes the Grid that is to be moved; got {type(grid).__name__}.")
    if not isinstance(monitor, AbstractMonitor):
        raise ValueError(
            f"evolve_moving takes a monitor of the solution, such as HessianMonitor(); got {monitor!r}. For a "
            f"function of your own write FunctionMonitor(function)."
        )
    cure = "A mesh that moves has its points elsewhere each time: give one number."
    for field in dataclasses.fields(law):
        value = getattr(law, field.name)
        if eqx.is_array(value) and value.shape[-grid.dimensions :] == grid.shape:
            raise ValueError(
                f"{type(law).__name__}.{field.name} is given at the points of a grid, shape {value.shape}. {cure}"
            )
    for axis, pair in enumerate(grid.box.boundaries):
        for wall in pair if grid.dimensions > 1 and not grid.box.periodic[axis] else ():
            if any(jnp.ndim(datum) and jnp.shape(datum)[-1] > 1 for datum in wall.robin()):
                raise ValueError(
                    f"{type(wall).__name__} on axis {axis} is given at points along the wall. {cure}"
                )


def check_initial(law: AbstractPDE, initial, mesh: StructuredMesh, time: Array) -> Array | Callable:
    """Refuse what does not fit the points of a mesh, and a law that cannot be evaluated there."""
    space, points = mesh.grid.shape, mesh.coordinates
    if callable(initial):
        values = jax.eval_shape(initial, points)
        if values.shape[1:] != space:
            raise ValueError(
                f"initial maps positions (dim, *space) to values (channel, *space), here {points.shape} to (channel, "
                f"{', '.join(map(str, space))}); got {values.shape}. A single channel is u[None]."
            )
    else:
        values = initial = check_values("evolve_moving", initial, space)
        if not isinstance(initial, jax.core.Tracer) and not np.all(np.isfinite(initial)):
            raise ValueError("initial must be finite; got NaN or infinity. Nothing was solved.")
    # Before anything is compiled: channels, dimensions, operators, the shape of the rate.
    jax.eval_shape(lambda u: evaluate_rate(law, mesh, u, time), values)
    return initial


def check_solution(solution, max_steps: int):
    """Refuse a solve that came to a stop, and meshes that are not valid; return the same."""
    certificates = solution.certificates
    done = solution.stopped >= solution.times[-1]
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(solution)):
        message = (
            "evolve_moving came to a stop, or a mesh is not valid. throw=False returns what there is, marked."
        )
        values = eqx.error_if(solution.values, ~(done & jnp.all(certificates.valid)), message)
        return eqx.tree_at(lambda s: s.values, solution, values)
    if not np.all(np.isfinite(solution.values[0])):
        raise ValueError(
            "initial is not finite at some point of the first mesh. Check the function it was made by."
        )
    for index, time in enumerate(np.asarray(solution.times)):
        if time > solution.stopped:
            _refuse(solution, max_steps)
        if not np.all(np.isfinite(solution.values[index])):
            raise FloatingPointError(
                f"evolve_moving: the solution is not finite at t = {time:g}. It blew up, the mesh folded, or the step "
                f"was too long: use an adaptive controller. throw=False returns what there is, marked."
            )
        certificate = jax.tree.map(lambda leaf, index=index: leaf[index], certificates)
        check_certificate(
            certificate, solution.grid.shape, owner=f"evolve_moving at t = {time:g}", cure=_CURE
        )
    return solution


def _refuse(solution, max_steps: int) -> None:
    steps, rejected = (int(solution.statistics[name]) for name in ("steps", "rejected"))
    start, end = (float(jnp.max(abs(values))) for values in (solution.values[0], solution.values[-1]))
    corner = float(solution.certificates.smallest_corner[-1])
    where = (
        f"evolve_moving came to a stop at t = {float(solution.stopped):.6g} of {float(solution.times[-1]):g} after "
        f"{steps} steps, {rejected} of them rejected, where the largest value is {end:.3g} (at the start {start:.3g}) "
        f"and the smallest Jacobian of the mesh {corner:.3g} of what it was."
    )
    mark = "throw=False returns all up to there."
    if steps >= max_steps:
        raise RuntimeError(f"{where} Raise max_steps={max_steps}, or take a solver for stiff laws. {mark}")
    if corner < _FLAT:
        raise MeshError(f"{where} The mesh is about to fold. {_CURE} {mark}")
    raise FloatingPointError(
        f"{where} The solution blew up, or oscillates as the mesh is too coarse for it: take more cells, or "
        f"conservative=True. {mark}"
    )
