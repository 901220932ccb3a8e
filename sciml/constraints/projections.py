"""Linear constraints as the nearest field that obeys them, for any network's output.

Each is an orthogonal projection, `P = P^2 = P^T`: exact to rounding, without a solve, and its own derivative.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import Grid


class DivergenceFree(eqx.Module):
    """The nearest velocity field without divergence, on a periodic grid.

        v <- v - grad (lap^-1 div v)

    in Fourier space, so that the spectral divergence is zero to rounding. The mean velocity is kept. On an even number
    of points the Nyquist wavenumber, which has no derivative, is removed.

    **Arguments:**

    - `grid`: a periodic `Grid` of two or three axes.

    **Raises:** `ValueError` for walls, or one axis.
    """

    grid: Grid

    def __check_init__(self):
        if self.grid.dimensions < 2 or not all(self.grid.box.periodic):
            raise ValueError(
                f"DivergenceFree needs a periodic grid of two or three axes; got {self.grid.dimensions} axes, periodic="
                f"{self.grid.box.periodic}."
            )

    def __call__(self, velocity: Float[Array, "dim *space"]) -> Float[Array, "dim *space"]:
        """Project.

        **Arguments:**

        - `velocity`: one channel per axis, `(dim, *space)`.

        **Returns:** the nearest field without divergence, the same shape.

        **Raises:** `ValueError` for another shape.
        """
        grid = self.grid
        if velocity.shape != (grid.dimensions, *grid.shape):
            raise ValueError(
                f"DivergenceFree takes one channel per axis, {(grid.dimensions, *grid.shape)}; got {velocity.shape}. "
                f"Map over times and batches with jax.vmap."
            )
        axes = tuple(range(1, grid.dimensions + 1))
        modes = jnp.fft.fftn(velocity, axes=axes)
        k = jnp.asarray(_wavenumbers(grid), velocity.dtype)
        squared = jnp.sum(k**2, axis=0)
        along = jnp.sum(k * modes, axis=0) / jnp.where(squared == 0, 1, squared)
        resolved = jnp.asarray(_resolved(grid), velocity.dtype)
        return jnp.real(jnp.fft.ifftn((modes - k * along) * resolved, axes=axes)).astype(velocity.dtype)


class Conserved(eqx.Module):
    """The nearest field whose integral over the grid is a given one, such as the mass it started with.

    On a grid of equal cells this adds the same number everywhere.

    **Arguments:**

    - `grid`: the grid.
    """

    grid: Grid

    def __call__(
        self, field: Float[Array, "channel *space"], like: Float[Array, "channel *space"]
    ) -> Float[Array, "channel *space"]:
        """Project.

        **Arguments:**

        - `field`: `(channel, *space)`.
        - `like`: a field with the wanted integrals, such as the initial one, `(channel, *space)`.

        **Returns:** the nearest field with these integrals, `(channel, *space)`.

        **Raises:** `ValueError` for shapes that are not the grid's.
        """
        for name, values in (("field", field), ("like", like)):
            if values.shape[1:] != self.grid.shape:
                raise ValueError(
                    f"Conserved got `{name}` of shape {values.shape}; expected (channel, *space) on a grid of "
                    f"{self.grid.shape}. Map over times and batches with jax.vmap."
                )
        axes = tuple(range(1, self.grid.dimensions + 1))
        return field + jnp.mean(like - field, axis=axes, keepdims=True)


def _wavenumbers(grid: Grid) -> np.ndarray:
    """`(dim, *space)`, in radians per length."""
    along = [
        2 * np.pi * np.fft.fftfreq(n, length / n)
        for n, length in zip(grid.shape, grid.box.lengths, strict=True)
    ]
    return np.stack(np.meshgrid(*along, indexing="ij"))


def _resolved(grid: Grid) -> np.ndarray:
    """False at the Nyquist wavenumbers, whose derivative is not defined, `(*space)`."""
    along = [np.abs(np.fft.fftfreq(n, 1 / n)) < n / 2 if n % 2 == 0 else np.ones(n, bool) for n in grid.shape]
    return np.all(np.stack(np.meshgrid(*along, indexing="ij")), axis=0)
