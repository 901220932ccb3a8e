"""Densities of nodes that are known in closed form, and the check that a function is a density.

A density is any function of positions `(dim, *points)` that returns one positive number for each, `(*points,)`. Only
its shape matters: a multiple of it gives the same mesh. Those here are pytrees whose parameters are leaves, so that
meshes can be mapped over them and differentiated with respect to them.

Rings and bells of this form are the test problems of Movement, the mesh movers for Firedrake.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import Grid
from ._checks import as_parameter
from .mesh import Density
from .structured import reference_vertices


class AbstractDensity(eqx.Module):
    """How densely nodes should stand, as a function of position."""

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "dim *points"]) -> Float[Array, "*points"]:
        """The density at some positions.

        **Arguments:**

        - `x`: positions `(dim, *points)`.

        **Returns:** positive numbers `(*points,)`.
        """


class Uniform(AbstractDensity):
    """The same density everywhere."""

    def __call__(self, x):
        """One; see `AbstractDensity.__call__` for shapes."""
        return jnp.ones_like(x[0])


class Ring(AbstractDensity):
    """A ring on a floor of one, `1 + a / cosh^2(b (|x - c|^2 - r^2))`; in one dimension, two peaks.

    What is called the radius differs by a square between published test problems: here `radius` is the radius. The
    ring's width is `1 / (b r)`.

    **Arguments:**

    - `amplitude`: `a`, a number above -1.
    - `sharpness`: `b`, a positive number; one over an area.
    - `radius`: `r`, a number that is not negative; a length.
    - `center`: `c`, `(dim,)`.
    - `periods`: one length per axis, or `None` for an axis with walls, as in `grid.box.lengths` for a box that is
        periodic throughout. Distances are then those to the nearest image of the center.

    **Raises:** `ValueError` for numbers out of their range, or periods for another number of axes.
    """

    amplitude: Float[Array, ""]
    sharpness: Float[Array, ""]
    radius: Float[Array, ""]
    center: Float[Array, " dim"]
    periods: tuple[float | None, ...] | None = eqx.field(static=True)

    def __init__(self, amplitude, sharpness, radius, center, periods=None):
        self.amplitude = as_parameter("Ring.amplitude", amplitude, above=-1.0)
        self.sharpness = as_parameter("Ring.sharpness", sharpness, above=0.0)
        self.radius = as_parameter("Ring.radius", radius, least=0.0)
        self.center = as_parameter("Ring.center", center, axes=1)
        self.periods = _check_periods("Ring", periods, self.center)

    def __call__(self, x):
        """See `AbstractDensity.__call__` for shapes."""
        squared = _squared_distance("Ring", x, self.center, self.periods)
        a, b, r = (p.astype(x.dtype) for p in (self.amplitude, self.sharpness, self.radius))
        return 1 + a * _squared_sech(b * (squared - r**2))


class Bell(AbstractDensity):
    """A peak on a floor of one, `1 + a / cosh^2(b |x - c|^2)`: flat at the top, as it goes by the squared distance.

    **Arguments:**

    - `amplitude`: `a`, a number above -1.
    - `sharpness`: `b`, a positive number; one over an area. The peak's radius is `1 / sqrt(b)`.
    - `center`: `c`, `(dim,)`.
    - `periods`: as for `Ring`, one length per axis or `None`.

    **Raises:** `ValueError` for numbers out of their range, or periods for another number of axes.
    """

    amplitude: Float[Array, ""]
    sharpness: Float[Array, ""]
    center: Float[Array, " dim"]
    periods: tuple[float | None, ...] | None = eqx.field(static=True)

    def __init__(self, amplitude, sharpness, center, periods=None):
        self.amplitude = as_parameter("Bell.amplitude", amplitude, above=-1.0)
        self.sharpness = as_parameter("Bell.sharpness", sharpness, above=0.0)
        self.center = as_parameter("Bell.center", center, axes=1)
        self.periods = _check_periods("Bell", periods, self.center)

    def __call__(self, x):
        """See `AbstractDensity.__call__` for shapes."""
        squared = _squared_distance("Bell", x, self.center, self.periods)
        a, b = (p.astype(x.dtype) for p in (self.amplitude, self.sharpness))
        return 1 + a * _squared_sech(b * squared)


def check_density(density: Density, grid: Grid) -> Density:
    """Refuse what is not a density, where that can be known: at the vertices of a grid and the centers of its cells.

    Where values are traced, under `jit`, `vmap` or `grad`, only shapes are checked.

    **Arguments:**

    - `density`: what was given; positions `(dim, *points)` to numbers `(*points,)`.
    - `grid`: the grid whose vertices are to be moved.

    **Returns:** the density.

    **Raises:** `ValueError` with the value and its place, for one that is zero, negative, infinite or NaN; for one that
    does not return one number for each position; and for one that is not periodic where the box is.
    """
    if not callable(density):
        raise ValueError(
            f"A density is a function of positions (dim, *points); got {type(density).__name__}. Values on a grid "
            "become one by GriddedDensity(values, grid), a solution by a monitor, HessianMonitor().density(u, grid)."
        )
    lattices = (reference_vertices(grid), _cell_centers(grid))
    for points in lattices:
        shape = jax.eval_shape(density, points)
        if getattr(shape, "shape", None) != points.shape[1:]:
            raise ValueError(
                f"A density returns one number for each position: for positions {points.shape} (dim, *points) an "
                f"array {points.shape[1:]}; got {shape}. Index the axes of space as x[0], x[1]; a constant is "
                "Uniform()."
            )
    for points, values in zip(lattices, _evaluate(density, lattices), strict=True):
        check_positive_values("The density", values, points)
    _check_seams(density, grid, lattices[0])
    return density


def _check_seams(density: Density, grid: Grid, vertices: Array) -> None:
    """Refuse a density that differs across the seam of a periodic axis, if its values are known."""
    for axis, (periodic, length) in enumerate(zip(grid.box.periodic, grid.box.lengths, strict=True)):
        if not periodic:
            continue
        here = jnp.take(vertices, jnp.array([0]), axis=axis + 1)
        one, other = _evaluate(density, (here, here.at[axis].add(length)))
        if isinstance(one, jax.core.Tracer):
            return
        off = float(jnp.max(abs(other / one - 1)))
        if off > 1e3 * float(jnp.finfo(one.dtype).eps) ** 0.5:
            raise ValueError(
                f"Axis {axis} of the box is periodic, and the density is not: across the seam it changes by a factor "
                f"of up to {1 + off:.3g}. Give a Ring or a Bell periods=grid.box.lengths, or the box walls."
            )


def check_positive_values(
    owner: str, values: Float[Array, "*points"], points: Float[Array, "dim *points"]
) -> None:
    """Refuse values of a density that are not positive and finite, when they are known.

    **Arguments:**

    - `owner`: what they are values of, for the message.
    - `values`: the values `(*points,)`.
    - `points`: where they are taken `(dim, *points)`.

    **Raises:** `ValueError` that names the worst value, its place, and how many there are.
    """
    if isinstance(values, jax.core.Tracer):
        return
    numbers = np.asarray(values)
    bad = ~(np.isfinite(numbers) & (numbers > 0))
    if not bad.any():
        return
    # What is not finite comes first: it is the likelier cause of the rest.
    worst = np.argmin(np.where(np.isfinite(numbers), numbers, -np.inf))
    place = tuple(float(f"{c:.4g}") for c in np.asarray(points).reshape(len(points), -1)[:, worst])
    raise ValueError(
        f"{owner} is {numbers.ravel()[worst]:.4g} at x = {place}, and not positive and finite at {int(bad.sum())} of "
        f"{bad.size} points. A density must be positive and finite everywhere: add a floor, as in 1 + ..., and look "
        "for overflow or NaN in what it is made of."
    )


@eqx.filter_jit
def _evaluate(density: Callable, points: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(density(x) for x in points)


def _cell_centers(grid: Grid) -> Array:
    axes = [
        low + h * (np.arange(n) + 0.5)
        for low, h, n in zip(grid.box.lower, grid.spacing, grid.shape, strict=True)
    ]
    return jnp.asarray(np.stack(np.meshgrid(*axes, indexing="ij")), dtype=float)


def _squared_sech(z: Array) -> Array:
    """`1 / cosh^2`, which overflows nowhere and has all its derivatives everywhere."""
    t = jnp.tanh(z)
    return (1 - t) * (1 + t)


def _squared_distance(owner: str, x: Array, center: Array, periods: tuple[float | None, ...] | None) -> Array:
    if jnp.ndim(x) < 1 or len(x) != len(center):
        raise ValueError(
            f"{owner} has a center with {len(center)} coordinates, and positions (dim, *points) have as many; got an "
            f"array {jnp.shape(x)}."
        )
    total = 0.0
    for axis, along in enumerate(x):
        distance = along - center[axis].astype(x.dtype)
        period = periods[axis] if periods else None
        if period is not None:
            distance = distance - period * jnp.round(distance / period)
        total = total + distance**2
    return total


def _check_periods(owner: str, periods, center: Array) -> tuple[float | None, ...] | None:
    if periods is None:
        return None
    periods = tuple(None if p is None else float(p) for p in np.atleast_1d(np.asarray(periods, object)))
    if len(periods) != len(center) or any(p is not None and not p > 0 for p in periods):
        raise ValueError(
            f"{owner}.periods has one positive length per axis, or None for an axis with walls, {len(center)} here; "
            f"got {periods}. For a box that is periodic throughout write periods=grid.box.lengths."
        )
    return periods
