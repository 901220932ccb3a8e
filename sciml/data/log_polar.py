"""Numerics of a plane around a circle, `r = radius exp(xi)`: compact differences in xi, Fourier modes in the angle.

Fields of modes are `(xi, 2, mode)`, real and imaginary parts side by side, as loops over complex numbers are slow on
CPUs; fields of values are `(xi, theta)`. With `c_k` the modes, a value is `sum_k c_k exp(i k theta)`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_UNROLL = 8  # rows of a tridiagonal system, eliminated in one turn of a loop


class LogPolarGrid(eqx.Module):
    """Circles at equal distances in the logarithm of their radius, points at equal angles.

    **Arguments:**

    - `intervals`: from the inner circle to the outer one.
    - `angles`: points on a circle; modes above a third of them are left out, so that products do not alias.
    - `radius`, `extent`: of the inner and of the outer circle.
    """

    intervals: int = eqx.field(static=True)
    angles: int = eqx.field(static=True)
    radius: float = eqx.field(static=True)
    extent: float = eqx.field(static=True)

    @property
    def modes(self) -> int:
        """How many modes there are, the mean counted."""
        return self.angles // 3 + 1

    @property
    def spacing(self) -> float:
        """The distance of circles in xi."""
        return float(np.log(self.extent / self.radius)) / self.intervals

    @property
    def xi(self) -> Float[np.ndarray, " xi"]:
        """The logarithms of the radii over the inner one, `(xi,)`."""
        return np.arange(self.intervals + 1) * self.spacing

    @property
    def radii(self) -> Float[np.ndarray, " xi"]:
        """The radii, `(xi,)`."""
        return self.radius * np.exp(self.xi)

    @property
    def theta(self) -> Float[np.ndarray, " theta"]:
        """The angles, `(theta,)`."""
        return 2 * np.pi * np.arange(self.angles) / self.angles

    def to_values(self, modes: Float[Array, "xi 2 mode"]) -> Float[Array, "xi theta"]:
        """The values `(xi, theta)` of modes `(xi, 2, mode)`."""
        spectrum = jax.lax.complex(modes[:, 0], modes[:, 1])
        return jnp.fft.irfft(spectrum, n=self.angles, axis=-1) * self.angles

    def to_modes(self, values: Float[Array, "xi theta"]) -> Float[Array, "xi 2 mode"]:
        """The modes `(xi, 2, mode)` of values `(xi, theta)`."""
        spectrum = jnp.fft.rfft(values, axis=-1)[:, : self.modes] / self.angles
        return jnp.stack([spectrum.real, spectrum.imag], axis=1)

    def turn(self, modes: Float[Array, "xi 2 mode"]) -> Float[Array, "xi 2 mode"]:
        """The derivative by the angle, `(xi, 2, mode)`."""
        k = jnp.arange(self.modes, dtype=modes.dtype)
        return jnp.stack([-k * modes[:, 1], k * modes[:, 0]], axis=1)

    def slope(self, f: Float[Array, "xi *rest"]) -> Float[Array, "xi *rest"]:
        """The derivative by xi to fourth order, `(xi, *rest)`."""
        inner = (f[:-4] - 8 * f[1:-3] + 8 * f[3:-1] - f[4:]) / (12 * self.spacing)
        backward = f[::-1]
        low = [self.wall_slope(f), self._second_slope(f)]
        high = [-self._second_slope(backward), -self.wall_slope(backward)]
        return jnp.concatenate([jnp.stack(low), inner, jnp.stack(high)])

    def wall_slope(self, f: Float[Array, "xi *rest"]) -> Float[Array, "*rest"]:
        """The derivative by xi at the first circle to fourth order, `(*rest,)`."""
        return (-25 * f[0] + 48 * f[1] - 36 * f[2] + 16 * f[3] - 3 * f[4]) / (12 * self.spacing)

    def _second_slope(self, f):
        return (-3 * f[0] - 10 * f[1] + 18 * f[2] - 6 * f[3] + f[4]) / (12 * self.spacing)


class Tridiagonal(eqx.Module):
    """Tridiagonal systems, one for each mode, factored.

    **Arguments:**

    - `shares`: of the row above that are subtracted from each, `(xi, mode)`.
    - `inverse`: of the pivots, `(xi, mode)`.
    - `upper`: what couples a row to the next, `(xi, mode)`.
    """

    shares: Float[Array, "xi mode"]
    inverse: Float[Array, "xi mode"]
    upper: Float[Array, "xi mode"]

    @classmethod
    def factor(
        cls, lower: Float[Array, "xi mode"], middle: Float[Array, "xi mode"], upper: Float[Array, "xi mode"]
    ) -> "Tridiagonal":
        """Factor the systems of rows `lower x_(j-1) + middle x_j + upper x_(j+1)`, entries `(xi, mode)`."""

        def eliminate(above, row):
            low, mid, up = row
            share = low / above[0]
            pivot = mid - share * above[1]
            return (pivot, up), (share, 1 / pivot)

        one = jnp.ones_like(middle[0])
        _, (shares, inverse) = jax.lax.scan(eliminate, (one, 0 * one), (lower, middle, upper))
        return cls(shares, inverse, upper)

    def solve(self, right: Float[Array, "xi *rest mode"]) -> Float[Array, "xi *rest mode"]:
        """The solutions for right-hand sides `(xi, *rest, mode)`."""

        def down(above, row):
            share, b = row
            found = b - share * above
            return found, found

        def up(below, row):
            upper, inverse, b = row
            found = (b - upper * below) * inverse
            return found, found

        zero = jnp.zeros_like(right[0])
        _, reduced = jax.lax.scan(down, zero, (self.shares, right), unroll=_UNROLL)
        rows = (self.upper, self.inverse, reduced)
        return jax.lax.scan(up, zero, rows, reverse=True, unroll=_UNROLL)[1]


def numerov_rows(
    a: Float[Array, "xi mode"], spacing: float
) -> tuple[Float[Array, "inner mode"], Float[Array, "inner mode"], Float[Array, "inner mode"]]:
    """The rows of `f'' = a f + b` at inner circles, lower, middle and upper, `(inner, mode)`.

    Numerov's: `f_(j+1) - 2 f_j + f_(j-1) = h^2 / 12 (f''_(j+1) + 10 f''_j + f''_(j-1))`, fourth order. The right-hand
    side is that of `numerov_mean` of `b`, times `h^2`.
    """
    part = spacing**2 / 12 * a
    return 1 - part[:-2], -2 - 10 * part[1:-1], 1 - part[2:]


def numerov_mean(b: Float[Array, "xi *rest"]) -> Float[Array, "inner *rest"]:
    """`(b_(j-1) + 10 b_j + b_(j+1)) / 12` at inner circles, `(inner, *rest)`."""
    return (b[:-2] + 10 * b[1:-1] + b[2:]) / 12
