"""STEER: times that vary at random while a model is trained."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class Steer(eqx.Module):
    """Ends the solve at a random time, or reads it at random times: for training only.

    The target stays what it was: the model must be right within a range of times, which keeps it from being stiff.

    **Arguments:**

    - `width`: by how much the end varies, in the unit of time, a number > 0. For times of observation it is the part of
        the gap to a neighbor, at most 1, by which half they move: with 1 gaps are filled, as published.

    **Raises:** `ValueError` for a width that is not positive and finite.

    Reference: A. Ghosh, H. Behl, E. Dupont, P. Torr, V. Namboodiri, "STEER: Simple Temporal Regularization For Neural
    ODEs", 2020, arXiv:2006.10711.
    """

    width: float

    def __check_init__(self):
        if not (isinstance(self.width, (int, float)) and math.isfinite(self.width) and self.width > 0):
            raise ValueError(
                f"Steer got width={self.width!r}; expected a finite number > 0 and below t1 - t0, such as 0.5 for the "
                "interval from 0 to 1."
            )

    def draw_end(self, t0: float, t1: float, *, key: PRNGKeyArray) -> Float[Array, ""]:
        """Draw an end time, uniformly from `t1 - width` to `t1 + width`.

        **Arguments:**

        - `t0`, `t1`: the interval, numbers.
        - `key`: a random key, a new one for each training step.

        **Returns:** the time, a scalar.

        **Raises:** `ValueError` for a width that is not below `t1 - t0`.
        """
        if not self.width < t1 - t0:
            raise ValueError(
                f"Steer(width={self.width!r}) could end a solve from {t0} to {t1} before it begins; expected a width "
                f"below {t1 - t0}."
            )
        return t1 + self.width * jax.random.uniform(key, (), minval=-1.0, maxval=1.0)

    def jitter(self, times: Float[Array, " time"], *, key: PRNGKeyArray) -> Float[Array, " time"]:
        """Move each time of observation but the first, by at most half of `width` times the gap on that side.

        The times still increase, and stay between the first and the last one.

        **Arguments:**

        - `times`: increasing `(time,)`.
        - `key`: a random key, a new one for each training step.

        **Returns:** the times to solve for `(time,)`; the targets stay those of `times`.

        **Raises:** `ValueError` for a width above 1.
        """
        if self.width > 1:
            raise ValueError(
                f"Steer(width={self.width!r}) would let times of observation pass each other; expected at most 1."
            )
        gaps = jnp.diff(times)
        u = self.width / 2 * jax.random.uniform(key, times.shape, times.dtype, -1.0, 1.0)
        before, after = jnp.append(0, gaps), jnp.append(gaps, 0)
        moved = times + jnp.where(u < 0, u * before, u * after)
        return moved.at[0].set(times[0])
