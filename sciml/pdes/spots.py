"""Random spots: a few discs or rings with soft edges on a uniform background."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from .initial import AbstractInitialCondition


class Spots(AbstractInitialCondition):
    """A few discs or rings at random places; wrapped around periodic axes.

        u_c = low_c + (high_c - low_c) max_k f((|x - x_k| - R_k) / edge)

    with `f(s) = 1 / (1 + exp(s))` for a disc, `f(s) = exp(-s^2 / 2)` for a ring.

    **Arguments:**

    - `count`: the range of how many spots, both ends included.
    - `radii`: the range of `R`, lengths.
    - `edge`: the width of the edge, a length.
    - `low`, `high`: the value of each channel outside and in a spot, the unit of `u`.
    - `shape`: `"disc"` or `"ring"`.

    **Raises:** `ValueError` for an empty range, or another shape.
    """

    count: tuple[int, int] = eqx.field(static=True, default=(1, 2))
    radii: tuple[float, float] = (0.1, 0.2)
    edge: float = 0.01
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (1.0,)
    shape: Literal["disc", "ring"] = eqx.field(static=True, default="disc")

    def __check_init__(self):
        if not 1 <= self.count[0] <= self.count[1]:
            raise ValueError(
                f"Spots.count is a range (low, high) with 1 <= low <= high; got {self.count}. One spot is (1, 1)."
            )
        if isinstance(self.radii[0], (int, float)) and not 0 < self.radii[0] <= self.radii[1]:
            raise ValueError(f"Spots.radii is a range (low, high) with 0 < low <= high; got {self.radii}.")
        if isinstance(self.edge, (int, float)) and not self.edge > 0:
            raise ValueError(f"Spots.edge is a length, positive; got {self.edge}. A jump has no derivative.")
        if len(self.low) != len(self.high):
            raise ValueError(
                f"Spots.low and Spots.high have one value for each channel; got {self.low} and {self.high}."
            )
        if self.shape not in ("disc", "ring"):
            raise ValueError(f"Spots.shape is 'disc' or 'ring'; got {self.shape!r}.")

    def __call__(self, grid, *, key):
        """Draw values `(channel, *space)`."""
        most = self.count[1]
        count_key, centers_key, radii_key = jax.random.split(key, 3)
        count = jax.random.randint(count_key, (), self.count[0], most + 1)
        box = grid.box
        lower, lengths = jnp.asarray(box.lower), jnp.asarray(box.lengths)
        centers = lower + lengths * jax.random.uniform(centers_key, (most, grid.dimensions))
        radii = jax.random.uniform(radii_key, (most,), minval=self.radii[0], maxval=self.radii[1])

        def profile(center, radius):
            column = (-1,) + (1,) * grid.dimensions
            offsets = jnp.asarray(grid.coordinates) - center.reshape(column)
            nearest = offsets - lengths.reshape(column) * jnp.round(offsets / lengths.reshape(column))
            offsets = jnp.where(jnp.asarray(box.periodic).reshape(column), nearest, offsets)
            s = (jnp.sqrt(jnp.sum(offsets**2, axis=0)) - radius) / self.edge
            return jax.nn.sigmoid(-s) if self.shape == "disc" else jnp.exp(-0.5 * s**2)

        present = (jnp.arange(most) < count).reshape((-1,) + (1,) * grid.dimensions)
        mask = jnp.max(jnp.where(present, jax.vmap(profile)(centers, radii), 0.0), axis=0)
        column = (-1,) + (1,) * grid.dimensions
        low, high = (jnp.asarray(x, mask.dtype).reshape(column) for x in (self.low, self.high))
        return low + (high - low) * mask
