"""Checks of what users give to movers, monitors and densities, whose parameters are leaves that can be learned."""

import math

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..pdes import Grid


def check_positive(owner: str, name: str, value) -> None:
    """Refuse a number that is not positive and finite, if it is known.

    **Arguments:**

    - `owner`, `name`: what it is called, for the message.
    - `value`: the number.

    **Raises:** `ValueError` with the value, for what is no number, too.
    """
    if isinstance(value, (str, bytes, type(None))):
        raise ValueError(f"{owner}.{name} must be a positive number; got {value!r}.")
    if isinstance(value, (int, float, np.number)) and not (math.isfinite(value) and value > 0):
        raise ValueError(f"{owner}.{name} must be positive and finite; got {value}.")


def check_weight(owner: str, name: str, value) -> None:
    """Refuse a number that is negative or not finite, if it is known.

    **Arguments:**

    - `owner`, `name`: what it is called, for the message.
    - `value`: the number.

    **Raises:** `ValueError` with the value.
    """
    if isinstance(value, (int, float, np.number)) and not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{owner}.{name} must be 0 or more, and finite; got {value}.")


def check_whole(owner: str, name: str, value, least: int) -> None:
    """Refuse what is no whole number, or too small a one.

    **Arguments:**

    - `owner`, `name`: what it is called, for the message.
    - `value`: the number.
    - `least`: the smallest that is allowed.

    **Raises:** `ValueError` with the value.
    """
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise ValueError(f"{owner}.{name} must be a whole number, {least} or more; got {value!r}.")


def check_grid(owner: str, grid) -> None:
    """Refuse anything but a grid in one or two dimensions, with what to do instead.

    **Arguments:**

    - `owner`: the mover, for the message.
    - `grid`: what was given.

    **Raises:** `ValueError` that names what was given.
    """
    if isinstance(grid, Grid):
        if grid.dimensions > 2:
            raise ValueError(f"{owner} moves grids in 1 or 2 dimensions; this one has {grid.dimensions}.")
        return
    kind = type(grid).__name__
    hint = {
        "StructuredMesh": "a mesh that has moved is not moved again: give mesh.grid, and start= to go on from a mesh",
        "TriangleMesh": "triangles are moved by Spring() and LaplacianSmoothing(), or by move_through",
    }.get(kind, "write Grid(Box((0, 0), (1, 1), Dirichlet(0.0)), (64, 64)), after the density")
    raise ValueError(
        f"{owner} moves the vertices of a Grid, whose boundaries are straight; got {kind}: {hint}."
    )


def as_parameter(
    name: str, value, *, above: float | None = None, least: float | None = None, axes: int = 0
) -> Array:
    """Make a number, or numbers, a leaf of floating type.

    A Python number stays weakly typed, so that it raises the precision of nothing.

    **Raises:** `ValueError` for another number of axes, or a value that is known and not finite or out of range.
    """
    try:
        array = jnp.asarray(float(value)) if isinstance(value, (int, float)) else jnp.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a number or an array; got {value!r}.") from error
    if array.ndim != axes:
        expected = "one number per axis, (dim,)" if axes else "one number"
        raise ValueError(
            f"{name} must be {expected}; got shape {array.shape}. Map over parameters with jax.vmap."
        )
    if not isinstance(array, jax.core.Tracer):
        numbers = np.asarray(array)
        good = np.isfinite(numbers)
        if above is not None:
            good &= numbers > above
        if least is not None:
            good &= numbers >= least
        if not good.all():
            limit = "" if above is None else f" and above {above:g}"
            limit += "" if least is None else f" and at least {least:g}"
            raise ValueError(f"{name} must be finite{limit}; got {numbers.tolist()}.")
    return array
