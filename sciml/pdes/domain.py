"""Where an equation lives: a box with a condition on every side, and a regular grid in it."""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .boundaries import AbstractBoundary, Periodic


class Box(eqx.Module):
    """An axis-aligned box with one boundary condition per side.

    **Arguments:**

    - `lower`, `upper`: the corners, one number per axis (a bare number means one axis); a length.
    - `boundaries`: one `(left, right)` pair of boundaries per axis; periodic on every axis when not given. A single
      boundary stands for every side.

    **Raises:** `ValueError` when a corner is not finite, a side is empty, an unknown boundary is given, or only one
    side of an axis is periodic.
    """

    lower: tuple[float, ...] = eqx.field(static=True)
    upper: tuple[float, ...] = eqx.field(static=True)
    boundaries: tuple[tuple[AbstractBoundary, AbstractBoundary], ...]

    def __init__(self, lower, upper, boundaries=None):
        self.lower = tuple(float(x) for x in np.atleast_1d(lower))
        self.upper = tuple(float(x) for x in np.atleast_1d(upper))
        if boundaries is None:
            boundaries = Periodic()
        if not isinstance(boundaries, (tuple, list)):
            boundaries = [(boundaries, boundaries)] * len(self.lower)
        self.boundaries = tuple(_as_pair(axis, pair) for axis, pair in enumerate(boundaries))

    def __check_init__(self):
        if not len(self.lower) == len(self.upper) == len(self.boundaries):
            raise ValueError(
                f"A Box needs one lower corner, upper corner and boundary pair per axis; got lower={self.lower}, "
                f"upper={self.upper} and {len(self.boundaries)} boundary pairs."
            )
        for axis, (low, high) in enumerate(zip(self.lower, self.upper, strict=True)):
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(
                    f"Axis {axis} of a Box must run from a finite lower to a larger finite upper end; "
                    f"got [{low}, {high}]."
                )
            left, right = self.boundaries[axis]
            if left.is_periodic != right.is_periodic:
                raise ValueError(
                    f"Axis {axis} is periodic on one side only ({type(left).__name__}, {type(right).__name__}); "
                    f"make both sides Periodic() or give both a wall condition."
                )

    @property
    def dimensions(self) -> int:
        """The number of axes."""
        return len(self.lower)

    @property
    def lengths(self) -> tuple[float, ...]:
        """The length of each side."""
        return tuple(high - low for low, high in zip(self.lower, self.upper, strict=True))

    @property
    def periodic(self) -> tuple[bool, ...]:
        """Per axis, whether it is periodic."""
        return tuple(left.is_periodic for left, _ in self.boundaries)


def _as_pair(axis: int, pair) -> tuple[AbstractBoundary, AbstractBoundary]:
    if isinstance(pair, AbstractBoundary):
        pair = (pair, pair)
    if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
        raise ValueError(
            f"Axis {axis} needs a pair (left, right) of boundaries; got {pair!r}. Expected instances of Periodic, "
            f"Dirichlet, Neumann, Robin or Outflow from sciml.pdes, such as (Dirichlet(0.0), Neumann(0.0))."
        )
    for side in pair:
        if not isinstance(side, AbstractBoundary):
            raise ValueError(
                f"Unknown boundary {side!r} on axis {axis}; expected an instance of Periodic, Dirichlet, Neumann, "
                f"Robin or Outflow from sciml.pdes, such as Dirichlet(0.0)."
            )
    return tuple(pair)


class Grid(eqx.Module):
    """A regular grid in a box.

    A periodic axis has nodes at `lower + i h`, `h = length / n`, so that the right end is not repeated. An axis with
    walls has cell centers at `lower + (i + 1/2) h`, so that no unknown sits on a wall.

    **Arguments:**

    - `box`: the domain.
    - `shape`: the number of points per axis (a bare integer means one axis).

    **Raises:** `ValueError` when the number of axes disagrees or an axis has fewer than 4 points.
    """

    box: Box
    shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, box: Box, shape):
        if not isinstance(box, Box):
            raise ValueError(f"A Grid needs a Box first; got {box!r}. Write Grid(Box(0.0, 1.0), 128).")
        self.box = box
        self.shape = tuple(int(n) for n in np.atleast_1d(shape))

    def __check_init__(self):
        if len(self.shape) != self.box.dimensions:
            raise ValueError(
                f"A Grid needs one number of points per axis; got shape={self.shape} for a box with "
                f"{self.box.dimensions} axes."
            )
        if min(self.shape) < 4:
            raise ValueError(f"A Grid needs at least 4 points on every axis; got shape={self.shape}.")

    @property
    def dimensions(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """The distance `h` between neighbors, per axis."""
        return tuple(length / n for length, n in zip(self.box.lengths, self.shape, strict=True))

    @property
    def axes(self) -> tuple[np.ndarray, ...]:
        """The coordinates along each axis, one float64 NumPy array `(points,)` per axis."""
        return tuple(
            low + h * (np.arange(n) + (0.0 if periodic else 0.5))
            for low, h, n, periodic in zip(
                self.box.lower, self.spacing, self.shape, self.box.periodic, strict=True
            )
        )

    @property
    def coordinates(self) -> Float[Array, "dim *space"]:
        """The coordinates of every point, `(dim, *space)`, in JAX's default floating precision."""
        return jnp.asarray(np.stack(np.meshgrid(*self.axes, indexing="ij")), dtype=float)
