"""A law from the nodes of one mesh to those of another by finite volumes, in a fixed number of small steps.

The vertices go from one mesh to the other at constant velocity, and values with them; see `volumes.py`. With limited,
upwinded fluxes a front that is steeper than a cell neither oscillates nor gets a wrong speed. There is no search for
places in a mesh, and no control of errors, so that it costs the same every time and can be differentiated.

A small step is a Runge-Kutta-Legendre step of second order: for diffusion, `s` stages are stable over
`(s^2 + s - 2) / 4` times what Euler's method may take.

**Reference:** Meyer, Balsara and Aslam, "A stabilized Runge-Kutta-Legendre method for explicit super-time-stepping of
parabolic and mixed equations", 2014, doi:10.1016/j.jcp.2013.08.021.
"""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import AbstractPDE
from ..pdes.calculus import check_values
from ._checks import check_positive
from .structured import StructuredMesh
from .volumes import MeshFiniteVolume


class VolumeStep(eqx.Module):
    """Finite volumes from mesh to mesh: the classical step, alone or with a network that corrects it.

    **Arguments:**

    - `law`: the equation; it is asked at time 0.
    - `duration`: of the step, in the unit of the law's time.
    - `substeps`: so many small steps. What is carried wants them shorter than the time in which it crosses a cell; what
        is produced, than the time in which it changes by its own size.
    - `stages`: of a small step, 3 or more. Diffusion wants a small step shorter than `(s^2 + s - 2) / 16` times the
        square of the smallest width of a cell over the diffusivity. With too few, values grow without bound.

    **Raises:** `ValueError` for a duration that is not positive, or numbers that are no whole numbers or too small.
    """

    law: AbstractPDE
    duration: float = eqx.field(static=True)
    substeps: int = eqx.field(static=True, default=8)
    stages: int = eqx.field(static=True, default=3)

    def __check_init__(self):
        check_positive("VolumeStep", "duration", self.duration)
        for name, least in (("substeps", 1), ("stages", 3)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"VolumeStep.{name} is a whole number, {least} or more; got {value!r}.")

    def __call__(
        self, u: Float[Array, "channel *space"], old: StructuredMesh, new: StructuredMesh
    ) -> Float[Array, "channel *space"]:
        """Step.

        **Arguments:**

        - `u`: the solution at the points of the old mesh, taken for averages over cells, `(channel, *space)`.
        - `old`: where the solution is.
        - `new`: where it is wanted one step later.

        **Returns:** the solution one step later at the points of the new mesh, `(channel, *space)`.

        **Raises:** `ValueError` for meshes of two grids, or values of another shape.
        """
        u = check_between("VolumeStep", u, old, new)
        velocity = (new.vertices - old.vertices) / self.duration
        step = self.duration / self.substeps

        def rate(time, state):
            amounts, volumes = state
            mesh = StructuredMesh(old.grid, old.vertices + time * velocity, old.discretize)
            calculus = MeshFiniteVolume(mesh, velocity)
            field = calculus.field(amounts / volumes)
            change = calculus.volumes * self.law.rate(0.0, field, calculus) + calculus.sweep(field)
            return change.astype(u.dtype), calculus.growth.astype(u.dtype)

        table = _tabulate(self.stages)

        def take(start, k):
            """A small step, by a recursion of three terms; `rate` at its start has a part in all stages."""
            origin = k * step
            first = rate(origin, start)

            @jax.checkpoint  # what is kept for a gradient takes longer to store than to make again
            def advance(carry, row):
                before, now = carry
                mu, nu, rise, own, time = row

                def combine(y0, y1, y2, f0, f1):
                    return mu * y2 + nu * y1 + (1 - mu - nu) * y0 + step * (rise * f1 + own * f0)

                return (
                    now,
                    jax.tree.map(combine, start, before, now, first, rate(origin + time * step, now)),
                ), None

            second = jax.tree.map(lambda y, f: y + step * table.first * f, start, first)
            return jax.lax.scan(advance, (start, second), jnp.asarray(table.rows, u.dtype))[0][1], None

        volumes = MeshFiniteVolume(old).volumes.astype(u.dtype)
        counted = jnp.arange(self.substeps, dtype=u.dtype)
        (amounts, volumes), _ = jax.lax.scan(take, (u * volumes, volumes), counted)
        return amounts / volumes


def check_between(
    owner: str, u: Float[Array, "channel *space"], old: StructuredMesh, new: StructuredMesh
) -> Float[Array, "channel *space"]:
    """Refuse what a step from one mesh to another cannot take.

    **Arguments:**

    - `owner`: whose step it is, for the message.
    - `u`: the solution `(channel, *space)`.
    - `old`, `new`: the meshes.

    **Returns:** the solution as an array, `(channel, *space)`.

    **Raises:** `ValueError` for meshes of two grids or beyond a wall, or values of another shape.
    """
    u = check_values(owner, u, old.grid.shape)
    grids = [(mesh.grid.shape, mesh.grid.box.lower, mesh.grid.box.upper) for mesh in (old, new)]
    if grids[0] != grids[1]:
        told = [f"{shape} points from {low} to {high}" for shape, low, high in grids]
        raise ValueError(
            f"{owner} goes from one mesh to another of the same grid; got {told[0]} and {told[1]}. Interpolate the "
            "solution to the other grid first."
        )
    for mesh in (old, new):
        _check_inside(owner, mesh)
    return u


def _check_inside(owner: str, mesh: StructuredMesh) -> None:
    """Refuse vertices beyond a wall, if they are known."""
    if isinstance(mesh.vertices, jax.core.Tracer):
        return
    box, vertices = mesh.grid.box, np.asarray(mesh.vertices)
    for axis, (low, high, wraps) in enumerate(zip(box.lower, box.upper, box.periodic, strict=True)):
        along = vertices[axis]
        away = np.maximum(low - along, along - high)
        if not wraps and not away.max() <= 1e-5 * (high - low):
            place = tuple(map(int, np.unravel_index(np.argmax(away), away.shape)))
            raise ValueError(
                f"{owner} got a mesh with vertices outside of the domain, which goes from {low:g} to {high:g} along "
                f"axis {axis}; the worst, vertex {place}, is at {float(along[place]):g}. Use a mover that keeps walls, "
                "such as MongeAmpere()."
            )


class _Table(NamedTuple):
    """The first stage's step; for each other one its weights `(mu, nu, rise, own)` and the time of the one before."""

    first: float
    rows: np.ndarray


@functools.cache
def _tabulate(stages: int) -> _Table:
    j = np.arange(stages + 1, dtype=float)
    b = np.full(stages + 1, 1 / 3)
    b[2:] = ((j**2 + j - 2) / (2 * j * (j + 1) + (j == 0)))[2:]
    w = 4 / (stages**2 + stages - 2)
    times, rows = [0.0, b[1] * w], []
    for k in range(2, stages + 1):
        mu, nu = (2 * k - 1) / k * b[k] / b[k - 1], -(k - 1) / k * b[k] / b[k - 2]
        rise = mu * w
        own = -(1 - b[k - 1]) * rise
        rows.append((mu, nu, rise, own, times[k - 1]))
        times.append(mu * times[k - 1] + nu * times[k - 2] + rise + own)
    return _Table(float(b[1] * w), np.array(rows))
