"""Cosines along an axis with walls, cosines and sines along a periodic one: tables of them and of their derivatives."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import Box


def count_modes(box: Box, modes: int | tuple[int, ...]) -> tuple[int, ...]:
    """How many basis functions there are along each axis.

    **Arguments:**

    - `box`: the domain.
    - `modes`: one number for all axes, or one per axis.

    **Returns:** one number per axis.

    **Raises:** `ValueError` for fewer than 2, another number of axes, or an even number on a periodic axis.
    """
    counts = (modes,) * box.dimensions if isinstance(modes, int) else tuple(modes)
    if len(counts) != box.dimensions:
        raise ValueError(f"modes has one entry per axis, {box.dimensions} here; got {modes}.")
    for axis, (n, periodic) in enumerate(zip(counts, box.periodic, strict=True)):
        if n < 2 or (periodic and n % 2 == 0):
            wanted = "an odd number of at least 3 on a periodic axis" if periodic else "at least 2"
            raise ValueError(f"modes on axis {axis} must be {wanted}; got {n}.")
    return counts


def frequencies(modes: int, length: float, periodic: bool) -> np.ndarray:
    """The frequencies of the basis functions along an axis, per length: `d^2 b / dx^2 = -frequency^2 b`.

    **Arguments:**

    - `modes`: how many.
    - `length`: the axis's.
    - `periodic`: whether it is periodic.

    **Returns:** `(mode,)`: `pi k / length` for cosines; `2 pi k / length` for the constant, all cosines, all sines.
    """
    if not periodic:
        return np.pi * np.arange(modes) / length
    k = np.arange(1, modes // 2 + 1)
    return 2 * np.pi * np.concatenate([[0], k, k]) / length


def tabulate_basis(
    fractions: Float[Array, " point"], modes: int, length: float, periodic: bool
) -> tuple[Float[Array, "point mode"], ...]:
    """The basis functions of an axis and their first two derivatives.

    **Arguments:**

    - `fractions`: of the axis, `(point,)`.
    - `modes`: how many functions.
    - `length`: the axis's.
    - `periodic`: whether it is periodic.

    **Returns:** three tables `(point, mode)`. The first derivative of cosines is zero at both ends, without rounding.
    """
    w = jnp.asarray(frequencies(modes, length, periodic), fractions.dtype)
    if not periodic:
        turns = 0.5 * fractions[:, None] * jnp.arange(modes, dtype=fractions.dtype)
        c, s = _cos_sin(turns)
        return c, -w * s, -w * w * c
    half = modes // 2
    turns = fractions[:, None] * jnp.arange(1, half + 1, dtype=fractions.dtype)
    c, s = _cos_sin(turns)
    one, zero = jnp.ones_like(fractions)[:, None], jnp.zeros_like(fractions)[:, None]
    value = jnp.concatenate([one, c, s], axis=1)
    return value, w * jnp.concatenate([zero, -s, c], axis=1), -w * w * value


@functools.lru_cache(maxsize=64)
def analyze(sensors: int, modes: int, periodic: bool) -> np.ndarray:
    """The matrix from values at the points of a grid to the coefficients of the basis, along one axis.

    **Arguments:**

    - `sensors`: how many points; at least as many as modes.
    - `modes`: how many functions.
    - `periodic`: whether the axis is periodic: then points begin at its end, else at half a spacing from it.

    **Returns:** `(mode, sensor)`.
    """
    place = (np.arange(sensors) + (0.0 if periodic else 0.5)) / sensors
    angle = np.outer(place, frequencies(modes, 1.0, periodic))
    values = np.cos(angle)
    if periodic:
        values[:, modes // 2 + 1 :] = np.sin(angle[:, modes // 2 + 1 :])
    return np.linalg.pinv(values)


def _cos_sin(turns: Array) -> tuple[Array, Array]:
    """Cosine and sine of so many turns; exact at quarters, and as exact for many turns as for one."""
    rest = turns - jnp.round(turns)  # from -1/2 to 1/2
    folded = jnp.where(rest > 0.25, 0.5 - rest, jnp.where(rest < -0.25, -0.5 - rest, rest))
    cosine = jnp.where(abs(rest) > 0.25, -1.0, 1.0) * jnp.cos(2 * jnp.pi * folded)
    return cosine, jnp.sin(2 * jnp.pi * folded)
