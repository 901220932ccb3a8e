"""Differences of a potential on a lattice, and the inverse of its Laplacian by cosine and Fourier transforms.

On an axis with walls the potential is continued evenly, so that its normal derivative there is zero *exactly* and nodes
slide along walls; on a periodic axis it is continued periodically. Second differences are then diagonal in cosines and
sines. The transforms are products with small dense matrices, which compile in no time and run at the speed of a matrix
product.
"""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import Grid
from .structured import reference_vertices


class AbstractLattice(eqx.Module):
    """Where a potential has its values, and how vertices follow from it.

    A subclass says at which points of the grid the values are, and which symbol its Laplacian has.
    """

    grid: eqx.AbstractVar[Grid]

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of the potential's values."""

    @abc.abstractmethod
    def gradient(self, potential: Float[Array, "*lattice"]) -> Float[Array, "dim *vertex"]:
        """The displacement of the vertices.

        **Arguments:**

        - `potential`: values `(*lattice,)`.

        **Returns:** `(dim, *vertex)`.
        """

    @abc.abstractmethod
    def project(self, values: Float[Array, "*lattice"]) -> Float[Array, "*lattice"]:
        """Remove what no potential can change: the mean, and whatever else the Laplacian does not see.

        **Arguments:**

        - `values`: `(*lattice,)`.

        **Returns:** `(*lattice,)`.
        """

    @abc.abstractmethod
    def transforms(self) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        """The matrices `(mode, point)` and `(point, mode)` of each axis, and the symbol of minus the Laplacian.

        **Returns:** two lists with one matrix per axis, and an array over all modes.
        """

    @property
    def reference(self) -> Float[Array, "dim *vertex"]:
        """The vertices before the move, `(dim, *vertex)`."""
        return reference_vertices(self.grid)

    def invert_laplacian(self, values: Float[Array, "*lattice"]) -> Float[Array, "*lattice"]:
        """The potential whose Laplacian is minus the given values, without their mean.

        **Arguments:**

        - `values`: `(*lattice,)`.

        **Returns:** a potential `(*lattice,)` with mean zero.
        """
        forward, backward, symbol = self.transforms()
        seen = symbol > 1e-9 * symbol.max()
        inverse = np.where(seen, 1.0 / np.where(seen, symbol, 1.0), 0.0)
        return _apply(backward, jnp.asarray(inverse, values.dtype) * _apply(forward, values))


class VertexLattice(AbstractLattice):
    """A potential at the vertices, with central differences.

    **Arguments:**

    - `grid`: the grid whose vertices are moved.
    """

    grid: Grid

    @property
    def shape(self):
        """That of the vertices."""
        return tuple(n + (not p) for n, p in zip(self.grid.shape, self.grid.box.periodic, strict=True))

    def gradient(self, potential):
        """Central differences; exactly zero across walls. See `AbstractLattice.gradient` for shapes."""
        slopes = []
        for axis, h in enumerate(self.grid.spacing):
            low, high = self._neighbors(potential, axis)
            slopes.append((high - low) / (2 * h))
        return jnp.stack(slopes)

    def hessian(self, potential: Float[Array, "*lattice"]) -> tuple[Array, ...]:
        """Second differences.

        **Arguments:**

        - `potential`: values `(*lattice,)`.

        **Returns:** `(phi_xx,)` or `(phi_xx, phi_yy, phi_xy)`, each `(*lattice,)`.
        """
        found = []
        for axis, h in enumerate(self.grid.spacing):
            low, high = self._neighbors(potential, axis)
            found.append((high - 2 * potential + low) / h**2)
        if self.grid.dimensions == 2:
            low, high = self._neighbors(potential, 0)
            (a, b), (c, d) = self._neighbors(low, 1), self._neighbors(high, 1)
            found.append((d - c - b + a) / (4 * math.prod(self.grid.spacing)))
        return tuple(found)

    def project(self, values):
        """Subtract the mean; see `AbstractLattice.project` for shapes."""
        return values - self.mean(values)

    def mean(self, values: Float[Array, "*lattice"]) -> Float[Array, ""]:
        """The mean over the domain, by the trapezoidal rule.

        **Arguments:**

        - `values`: `(*lattice,)`.

        **Returns:** a scalar.
        """
        for n, periodic in zip(self.grid.shape, self.grid.box.periodic, strict=True):
            weights = np.full(n + (not periodic), 1.0 / n)
            if not periodic:
                weights[[0, -1]] /= 2
            values = jnp.tensordot(jnp.asarray(weights, values.dtype), values, axes=(0, 0))
        return values

    def transforms(self):
        """Cosines at vertices (DCT-I), sines and cosines around a period; see `AbstractLattice.transforms`."""
        return _assemble(self.grid, _cosines_at_vertices, lambda angle, h: [(2 * np.sin(angle / 2) / h) ** 2])

    def _neighbors(self, values: Array, axis: int) -> tuple[Array, Array]:
        moved = jnp.moveaxis(values, axis, 0)
        if self.grid.box.periodic[axis]:
            padded = jnp.concatenate([moved[-1:], moved, moved[:1]])
        else:
            padded = jnp.concatenate([moved[1:2], moved, moved[-2:-1]])
        return jnp.moveaxis(padded[:-2], 0, axis), jnp.moveaxis(padded[2:], 0, axis)


class CellLattice(AbstractLattice):
    """A potential at the cells' centers; a vertex is moved by the mean of the differences around it.

    **Arguments:**

    - `grid`: the grid whose vertices are moved.
    """

    grid: Grid

    @property
    def shape(self):
        """That of the cells."""
        return self.grid.shape

    def gradient(self, potential):
        """The mean of the differences between the cells at a vertex; see `AbstractLattice.gradient` for shapes."""
        for axis, periodic in enumerate(self.grid.box.periodic):
            moved = jnp.moveaxis(potential, axis, 0)
            ends = (moved[-1:], moved[:0]) if periodic else (moved[:1], moved[-1:])
            potential = jnp.moveaxis(jnp.concatenate([ends[0], moved, ends[1]]), 0, axis)
        slopes = []
        for axis, h in enumerate(self.grid.spacing):
            slope = potential
            for other in range(self.grid.dimensions):
                low, high = _ends(slope, other)
                slope = (high - low) / h if other == axis else (high + low) / 2
            slopes.append(slope)
        return jnp.stack(slopes)

    def from_vertices(self, values: Float[Array, "*vertex"]) -> Float[Array, "*space"]:
        """The means of the corners of each cell.

        **Arguments:**

        - `values`: at the vertices `(*vertex,)`.

        **Returns:** at the cells `(*space,)`.
        """
        for axis, periodic in enumerate(self.grid.box.periodic):
            if periodic:
                first = jax.lax.slice_in_dim(values, 0, 1, axis=axis)
                values = jnp.concatenate([values, first], axis=axis)
            low, high = _ends(values, axis)
            values = (low + high) / 2
        return values

    def project(self, values):
        """Subtract the mean, and the pattern of a chessboard where it is periodic; see `AbstractLattice.project`."""
        values = values - jnp.mean(values)
        if self._has_chessboard:
            board = jnp.asarray(_chessboard(self.grid.shape), values.dtype)
            values = values - board * jnp.mean(values * board)
        return values

    def transforms(self):
        """Cosines at centers (DCT-II), sines and cosines around a period; see `AbstractLattice.transforms`."""

        def symbols(angle, h):
            return [(2 * np.sin(angle / 2) / h) ** 2, np.cos(angle / 2) ** 2]

        return _assemble(self.grid, _cosines_at_centers, symbols)

    @property
    def _has_chessboard(self) -> bool:
        even = all(n % 2 == 0 for n in self.grid.shape)
        return even and self.grid.dimensions > 1 and all(self.grid.box.periodic)


def _assemble(grid: Grid, cosines, symbols) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    forward, backward, terms = [], [], []
    for n, h, periodic in zip(grid.shape, grid.spacing, grid.box.periodic, strict=True):
        to, back, angle = _waves(n) if periodic else cosines(n)
        forward.append(to)
        backward.append(back)
        terms.append(symbols(angle, h))
    total = 0.0
    for axis in range(grid.dimensions):
        # Differences along one axis, means (if the lattice takes any) along the others.
        factors = [t[0] if other == axis else t[-1] if len(t) > 1 else 1.0 for other, t in enumerate(terms)]
        product = np.ones(())
        for other, factor in enumerate(factors):
            shape = [1] * grid.dimensions
            shape[other] = -1
            product = product * np.broadcast_to(factor, len(forward[other])).reshape(shape)
        total = total + product
    return forward, backward, total


def _cosines_at_vertices(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    modes = np.arange(n + 1)
    back = np.cos(np.pi * np.outer(modes, modes) / n)
    ends = np.where((modes == 0) | (modes == n), 0.5, 1.0)
    return back * ends[None] * ends[:, None] * 2 / n, back, np.pi * modes / n


def _cosines_at_centers(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    modes = np.arange(n)
    back = np.cos(np.pi * np.outer(np.arange(n) + 0.5, modes) / n)
    return (back * np.where(modes == 0, 1, 2) / n).T, back, np.pi * modes / n


def _waves(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An orthogonal basis of a period: the constant, then cosines and sines."""
    frequencies = np.fft.fftfreq(n, 1 / n).astype(int)
    angle = 2 * np.pi * np.outer(np.arange(n), abs(frequencies)) / n
    back = np.where(frequencies >= 0, np.cos(angle), np.sin(angle))
    if n % 2 == 0:  # the highest frequency has a cosine only
        back[:, n // 2] = np.cos(np.pi * np.arange(n))
    back = back / np.linalg.norm(back, axis=0)
    return back.T, back, 2 * np.pi * abs(frequencies) / n


def _chessboard(shape: tuple[int, ...]) -> np.ndarray:
    return (-1.0) ** sum(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))


def _apply(matrices: list[np.ndarray], values: Array) -> Array:
    # The first axis goes to the end each time, so after all axes they stand as before.
    for matrix in matrices:
        kernel = jnp.asarray(matrix.T, values.dtype)
        moved = jnp.moveaxis(values, 0, -1)
        values = jnp.matmul(moved, kernel, precision=jax.lax.Precision.HIGHEST)
    return values


def _ends(values: Array, axis: int) -> tuple[Array, Array]:
    n = values.shape[axis]
    low = jax.lax.slice_in_dim(values, 0, n - 1, axis=axis)
    return low, jax.lax.slice_in_dim(values, 1, n, axis=axis)
