"""Smoothing of a density on a grid: positive, and its mass stays what it was.

A monitor that follows a solution cell by cell asks for jumps in the cells' sizes that no mesh of this size can carry.
Smoothing by one cell turned a mesh that was no better than the uniform one for a shock into one with a 24th of its
interpolation error: it is the setting that matters most.

At walls values are continued evenly, on periodic axes periodically.
"""

import abc
import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import Grid


class AbstractSmoothing(eqx.Module):
    """A mean over the neighborhood of each point of a grid."""

    @abc.abstractmethod
    def smooth(self, values: Float[Array, "*space"], grid: Grid) -> Float[Array, "*space"]:
        """Smooth values at the points of a grid.

        **Arguments:**

        - `values`: `(*space,)`.
        - `grid`: the grid.

        **Returns:** values `(*space,)` with the same sum, between the least and the largest of the given ones.

        **Raises:** `ValueError` for values of another shape than the grid's.
        """


class Gaussian(AbstractSmoothing):
    """Convolution with a Gaussian.

    **Arguments:**

    - `cells`: its standard deviation, in cells, along each axis.

    **Raises:** `ValueError` for a width that is not positive.
    """

    cells: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        _check_width("Gaussian", self.cells)

    def smooth(self, values, grid):
        """A sampled Gaussian, whose weights are positive; see `AbstractSmoothing.smooth` for shapes."""
        values = _check_shape("Gaussian", values, grid)
        for axis, periodic in enumerate(grid.box.periodic):
            matrix = jnp.asarray(_gaussian_matrix(grid.shape[axis], self.cells, periodic), values.dtype)
            # Symmetric, so that it may stand on either side.
            moved = jnp.matmul(jnp.moveaxis(values, axis, -1), matrix, precision=jax.lax.Precision.HIGHEST)
            values = jnp.moveaxis(moved, -1, axis)
        return values


class HelmholtzFilter(AbstractSmoothing):
    """The solution `v` of `v - K lap v = values`, by second differences.

    `K = (cells h)^2 / 2` along each axis, for cells of size `h`, which gives it the standard deviation of a Gaussian of
    so many cells, with a sharper peak and longer tails. The published `K = N h^2 / 4` is `cells = sqrt(N / 2)`.

    **Arguments:**

    - `cells`: the standard deviation, in cells, along each axis.

    **Raises:** `ValueError` for a width that is not positive.
    """

    cells: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        _check_width("HelmholtzFilter", self.cells)

    def smooth(self, values, grid):
        """A division by the symbol of second differences; see `AbstractSmoothing.smooth` for shapes."""
        values = extended = _check_shape("HelmholtzFilter", values, grid)
        symbol = np.ones(())
        for axis, periodic in enumerate(grid.box.periodic):
            if not periodic:
                extended = jnp.concatenate([extended, jnp.flip(extended, axis)], axis)
            n = extended.shape[axis]
            frequencies = np.fft.rfftfreq(n) if axis == values.ndim - 1 else np.fft.fftfreq(n)
            terms = 0.5 * self.cells**2 * (2 * np.sin(np.pi * frequencies)) ** 2
            symbol = symbol + terms.reshape([-1 if other == axis else 1 for other in range(values.ndim)])
        modes = jnp.fft.rfftn(extended)
        smooth = jnp.fft.irfftn(modes / jnp.asarray(symbol, values.dtype), s=extended.shape)
        return smooth[tuple(slice(n) for n in grid.shape)]


@functools.lru_cache(maxsize=32)
def _gaussian_matrix(n: int, cells: float, periodic: bool) -> np.ndarray:
    """Symmetric, with rows that sum to one: the mass stays, and a constant does."""
    reach = math.ceil(8 * cells)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / cells) ** 2)
    weights /= weights.sum()
    points = np.arange(n)
    matrix = np.zeros((n, n))
    for offset, weight in zip(offsets, weights, strict=True):
        image = (points + offset) % (n if periodic else 2 * n)
        if not periodic:
            image = np.where(image >= n, 2 * n - 1 - image, image)
        matrix[points, image] += weight
    return matrix


def _check_width(owner: str, cells: float) -> None:
    if not (isinstance(cells, (int, float)) and math.isfinite(cells) and cells > 0):
        raise ValueError(
            f"{owner}.cells must be a positive number, in cells; got {cells!r}. smoothing=None is none."
        )


def _check_shape(owner: str, values, grid: Grid) -> Array:
    if jnp.shape(values) != grid.shape:
        raise ValueError(
            f"{owner} smooths values {grid.shape} at the points of the grid; got {jnp.shape(values)}. Map over "
            f"channels and batches with jax.vmap."
        )
    return jnp.asarray(values)
