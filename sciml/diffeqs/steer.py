"""STEER: times that vary at random while a model is trained."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class Steer(eqx.Module):
    """Ends the solve at a random time, or reads it at random times: for training only.

    The target stays what it was: the model must be right within a range of times, which keeps it from being stiff.

    The text varies the end of a solve: `draw_end`. The code of Pal et al., 2021, arXiv:2105.03918, also moves the times
    at which a series is observed, which are evenly spaced there: all of them, by up to half a gap, cut off at both ends
    of the interval. `jitter` does so for gaps of any length, and leaves the first time, at which the solve begins.

    **Arguments:**

    - `width`: by how much the end varies, in the unit of time, a number > 0. For times of observation it is the part of
        the gap to a neighbor, at most 1, by which half they move: with 1 gaps are filled, as published.

    **Raises:** `ValueError` for a width that is not positive and finite.

    Reference: A. Ghosh, H. Behl, E. Dupont, P. Torr, V. Namboodiri, "STEER: Simple Temporal Regularization For Neural
    ODEs", 2020, arXiv:2006.10711.
    """

    width: float

    def __check_init__(self):
        number = isinstance(self.width, (int, float)) and not isinstance(self.width, bool)
        if not (number and math.isfinite(self.width) and self.width > 0):
            raise ValueError(
                f"Steer got width={self.width!r}; expected a finite number > 0 and below t1 - t0, such as 0.5 for the "
                "interval from 0 to 1."
            )

    def draw_end(
        self, t0: float | Float[Array, ""], t1: float | Float[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, ""]:
        """Draw an end time, uniformly from `t1 - width` to `t1 + width`.

        **Arguments:**

        - `t0`, `t1`: the interval, numbers; `t1` is the earlier one where time runs backwards.
        - `key`: a random key, a new one for each training step.

        **Returns:** the time, a scalar.

        **Raises:** `ValueError` for a width that is not below `|t1 - t0|`; where that is traced, when it is run.
        """
        cure = "Draw from a narrower range, or solve for longer."
        length = abs(t1 - t0)
        if isinstance(length, jax.core.Tracer):
            message = f"Steer(width={self.width!r}) could end a solve before it begins. {cure}"
            t1 = eqx.error_if(t1, ~(self.width < length), message)
        elif not self.width < length:
            raise ValueError(
                f"Steer(width={self.width!r}) could end a solve from {t0} to {t1} before it begins; expected a width "
                f"below {length}. {cure}"
            )
        t1 = jnp.asarray(t1, jnp.result_type(t1, float))
        return t1 + self.width * jax.random.uniform(key, (), t1.dtype, minval=-1.0, maxval=1.0)

    def jitter(self, times: Float[Array, " time"], *, key: PRNGKeyArray) -> Float[Array, " time"]:
        """Move each time of observation but the first, by at most half of `width` times the gap on that side.

        The times still increase, and stay between the first and the last one, where the last one is half of the time.

        **Arguments:**

        - `times`: increasing `(time,)`.
        - `key`: a random key, a new one for each training step.

        **Returns:** the times to solve for `(time,)`; the targets stay those of `times`.

        **Raises:** `ValueError` for a width above 1, times of another shape, or, where they are known, times that do
        not increase.
        """
        if self.width > 1:
            raise ValueError(
                f"Steer(width={self.width!r}) would let times of observation pass each other; expected at most 1."
            )
        if jnp.ndim(times) != 1 or jnp.size(times) < 2:
            raise ValueError(
                f"Steer.jitter got times of shape {jnp.shape(times)}; expected (time,) with at least two. Use jax.vmap "
                "for a batch of series, and draw_end for a single time."
            )
        times = jnp.asarray(times, jnp.result_type(times, jnp.float32))
        gaps = jnp.diff(times)
        if not isinstance(gaps, jax.core.Tracer) and not (gaps > 0).all():
            raise ValueError(f"Steer.jitter got times={times}; expected times that increase. Sort them.")
        u = self.width / 2 * jax.random.uniform(key, times.shape, times.dtype, -1.0, 1.0)
        before, after = jnp.append(0, gaps), jnp.append(gaps, 0)
        moved = times + jnp.where(u < 0, u * before, u * after)
        return moved.at[0].set(times[0])
