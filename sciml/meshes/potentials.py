"""Potentials of data-free movers: from what is seen of a solution to `phi`, its gradient and its Hessian.

A mesh is `x = xi + grad phi`. The Monge-Ampere equation needs the Hessian, too. Two potentials stand behind one
interface:

    SpectralPotential       phi(xi) = sum_k c_k / |omega_k|^2  prod_i b_ki(xi_i),     c = branch(u)
    BranchTrunkPotential    phi(xi) = head(branch(u), trunk(xi))

The first is a series of cosines on an axis with walls, of cosines and sines on a periodic one. So `dphi/dn = 0` on
walls *exactly*, and all derivatives on a lattice are products with small matrices, out of one evaluation of the
network. The division by `|omega|^2`, the symbol of the Laplacian, is what the equation asks for: linearized at the
identity it is Poisson's, and with it all coefficients are equally easy to learn.

The second is that of the publication. Its derivatives are carried forward through trunk and head, side by side with the
value, in one pass. Walls are left to a penalty.

Points are given as fractions of the box, from 0 to 1, so that walls are met exactly.

**Reference:** P. Hu, Y. Wang, Z.-M. Ma, "Better Neural PDE Solvers Through Data-Free Mesh Movers", ICLR 2024,
arXiv:2312.05583.
"""

import abc
import itertools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..nn._layers import Perceptron
from ..pdes import Box
from .basis import count_modes, frequencies, tabulate_basis
from .branches import AbstractBranch
from .taylor import Jet, apply_layers, start_jet

_EXACT = jax.lax.Precision.HIGHEST


class Derivatives(NamedTuple):
    """A potential at some points.

    **Arguments:**

    - `value`: `phi`, `(*points,)`.
    - `gradient`: the displacement, `(dim, *points)`.
    - `hessian`: `(phi_xx,)` in one dimension, `(phi_xx, phi_yy, phi_xy)` in two, each `(*points,)`.
    """

    value: Float[Array, "*points"]
    gradient: Float[Array, "dim *points"]
    hessian: tuple[Float[Array, "*points"], ...]


class Lattice(NamedTuple):
    """All combinations of coordinates along the axes.

    **Arguments:**

    - `axes`: fractions of the box's side, one array `(along,)` per axis.
    """

    axes: tuple[Float[Array, " along"], ...]

    @property
    def positions(self) -> Float[Array, "dim *points"]:
        """All of them, `(dim, *points)`."""
        return jnp.stack(jnp.meshgrid(*self.axes, indexing="ij"))


class Scattered(NamedTuple):
    """Points anywhere.

    **Arguments:**

    - `positions`: fractions of the box's sides, `(dim, point)`.
    """

    positions: Float[Array, "dim point"]


class Extent(eqx.Module):
    """The box of a potential, without conditions on its walls.

    **Arguments:**

    - `box`: the box.

    **Raises:** `ValueError` for more than two dimensions.
    """

    lower: tuple[float, ...] = eqx.field(static=True)
    lengths: tuple[float, ...] = eqx.field(static=True)
    periodic: tuple[bool, ...] = eqx.field(static=True)

    def __init__(self, box: Box):
        if box.dimensions > 2:
            raise ValueError(f"Data-free movers know 1 and 2 dimensions; the box has {box.dimensions}.")
        self.lower, self.lengths, self.periodic = box.lower, box.lengths, box.periodic

    @property
    def dimensions(self) -> int:
        """The number of axes."""
        return len(self.lengths)

    def place(self, fractions: Float[Array, "dim *points"]) -> Float[Array, "dim *points"]:
        """Positions of fractions of the box.

        **Arguments:**

        - `fractions`: `(dim, *points)`.

        **Returns:** positions `(dim, *points)`.
        """
        column = (-1,) + (1,) * (fractions.ndim - 1)
        lower, lengths = (
            jnp.asarray(np.reshape(x, column), fractions.dtype) for x in (self.lower, self.lengths)
        )
        return lower + lengths * fractions


class AbstractPotential(eqx.Module):
    """From what sensors see of a solution to a potential.

    The network has two parts: all but its last layer, which is linear, and the last layer. They are apart so that the
    last one can be trained by itself, with everything before it worked out once.
    """

    extent: eqx.AbstractVar[Extent]

    @property
    @abc.abstractmethod
    def keeps_walls(self) -> bool:
        """Whether `dphi/dn = 0` on walls by construction."""

    @property
    @abc.abstractmethod
    def last_layer(self) -> eqx.Module:
        """The last layer."""

    @abc.abstractmethod
    def replace_last_layer(self, layer: eqx.Module) -> "AbstractPotential":
        """The same potential with another last layer.

        **Arguments:**

        - `layer`: the layer.

        **Returns:** the potential.
        """

    @abc.abstractmethod
    def prepare(self, seen: Float[Array, "channel *sensor"], points: Lattice | Scattered) -> PyTree:
        """All but the last layer.

        **Arguments:**

        - `seen`: what sensors see of a solution, of size about one, `(channel, *sensor)`.
        - `points`: where the potential is wanted.

        **Returns:** what `finish` takes.
        """

    @abc.abstractmethod
    def finish(self, prepared: PyTree, points: Lattice | Scattered) -> Derivatives:
        """The last layer.

        **Arguments:**

        - `prepared`: what `prepare` returned.
        - `points`: the same.

        **Returns:** the potential and its derivatives.
        """

    def evaluate(self, seen: Float[Array, "channel *sensor"], points: Lattice | Scattered) -> Derivatives:
        """The potential with its derivatives, in one forward pass.

        **Arguments:**

        - `seen`: what sensors see of a solution, of size about one, `(channel, *sensor)`.
        - `points`: where.

        **Returns:** the potential and its derivatives.
        """
        return self.finish(self.prepare(seen, points), points)


class SpectralPotential(AbstractPotential):
    """A series of cosines (walls) and of cosines and sines (periodic), whose coefficients a network gives.

    **Arguments:**

    - `box`: the domain.
    - `branch`: the network, with as many features as there are modes.
    - `modes`: how many basis functions along each axis, the constant counted; one number, or one per axis. On a
        periodic axis, `m` cosines and `m` sines make `2 m + 1`.

    **Raises:** `ValueError` for a branch with another number of features, or an even number of modes on a periodic
    axis.
    """

    extent: Extent
    branch: AbstractBranch
    modes: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, box: Box, branch: AbstractBranch, modes: int | tuple[int, ...] = 24):
        self.extent = Extent(box)
        self.branch = branch
        self.modes = count_modes(box, modes)
        if branch.features != int(np.prod(self.modes)):
            raise ValueError(
                f"SpectralPotential with modes={self.modes} needs a branch with {int(np.prod(self.modes))} features, "
                f"one per coefficient; got one with {branch.features}."
            )

    @property
    def keeps_walls(self):
        """Cosines do."""
        return True

    @property
    def last_layer(self):
        """That of the branch."""
        return self.branch.last

    def replace_last_layer(self, layer):
        """See `AbstractPotential.replace_last_layer`."""
        return eqx.tree_at(lambda p: p.branch, self, self.branch.replace_last(layer))

    def prepare(self, seen, points):
        """The branch's last hidden features; points do not matter. See `AbstractPotential.prepare`."""
        return self.branch.prepare(seen)

    def finish(self, prepared, points):
        """See `AbstractPotential.finish`."""
        features = self.branch.finish(prepared)
        coefficients = features.reshape(self.modes) * jnp.asarray(self._symbol(), features.dtype)
        axes = points.axes if isinstance(points, Lattice) else tuple(points.positions)
        tables = [
            tabulate_basis(x.astype(features.dtype), n, length, periodic)
            for x, n, length, periodic in zip(
                axes, self.modes, self.extent.lengths, self.extent.periodic, strict=True
            )
        ]
        combine = _combine_lattice if isinstance(points, Lattice) else _combine_scattered
        found = combine(coefficients, tables)
        return _as_derivatives(found, self.extent.dimensions)

    def _symbol(self) -> np.ndarray:
        """One over minus the symbol of the Laplacian; zero for the constant, which moves nothing."""
        squares = [
            frequencies(n, length, periodic) ** 2
            for n, length, periodic in zip(self.modes, self.extent.lengths, self.extent.periodic, strict=True)
        ]
        total = sum(np.meshgrid(*squares, indexing="ij"))
        return np.where(total > 0, 1 / np.where(total > 0, total, 1), 0.0)


class BranchTrunkPotential(AbstractPotential):
    """A network of the solution beside one of the point, and a head over both, as published.

    A coordinate along a periodic axis enters the trunk as its sine and cosine, so that the potential is periodic. Walls
    are left to the loss.

    **Arguments:**

    - `box`: the domain.
    - `branch`: the network of the solution; its features go through the activation.
    - `trunk_width`, `trunk_features`: the hidden layer and the output of the network of the point.
    - `head_width`, `head_depth`: of the network over both.
    - `activation`: pointwise, with two derivatives.
    - `key`: a random key.
    """

    extent: Extent
    branch: AbstractBranch
    trunk: Perceptron
    head: Perceptron
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        box: Box,
        branch: AbstractBranch,
        *,
        trunk_width: int = 32,
        trunk_features: int = 512,
        head_width: int = 512,
        head_depth: int = 1,
        activation: Callable[[Array], Array] = jnp.tanh,
        key: PRNGKeyArray,
    ):
        self.extent = Extent(box)
        self.branch = branch
        self.activation = activation
        trunk, head = jax.random.split(key)
        coordinates = sum(2 if periodic else 1 for periodic in self.extent.periodic)
        shared = {"activation": activation}
        self.trunk = Perceptron(coordinates, trunk_features, width=trunk_width, depth=1, **shared, key=trunk)
        self.head = Perceptron(
            branch.features + trunk_features, 1, width=head_width, depth=head_depth, **shared, key=head
        )

    @property
    def keeps_walls(self):
        """Not on axes with walls."""
        return all(self.extent.periodic)

    @property
    def last_layer(self):
        """That of the head."""
        return self.head.last

    def replace_last_layer(self, layer):
        """See `AbstractPotential.replace_last_layer`."""
        return eqx.tree_at(lambda p: p.head.last, self, layer)

    def prepare(self, seen, points):
        """The head's last hidden features with their derivatives; see `AbstractPotential.prepare`."""
        branch = self.activation(self.branch.finish(self.branch.prepare(seen)))
        positions = points.positions.reshape(self.extent.dimensions, -1).astype(branch.dtype)
        start = self._embed(positions).apply(self.trunk.first)
        trunk = apply_layers(self.trunk, start, end=self.activation)
        # The branch is the same at all points: its part of the head's first layer is a constant.
        weight, bias = self.head.first.weight, self.head.first.bias
        count = len(branch)
        joined = trunk.map(weight[:, count:], weight[:, :count] @ branch + bias)
        return apply_layers(self.head, joined, last=False)

    def finish(self, prepared, points):
        """See `AbstractPotential.finish`."""
        shape = points.positions.shape[1:]
        jet = prepared.apply(self.head.last)
        value, gradient = jet.value[:, 0].reshape(shape), jet.first[..., 0].reshape((-1, *shape))
        second = [x[:, 0].reshape(shape) for x in jet.second]
        return Derivatives(value, gradient, tuple(second))

    def _embed(self, fractions: Float[Array, "dim point"]) -> Jet:
        """Coordinates of size one, with derivatives by position."""
        columns, slopes, bends = [], [], []
        for x, length, periodic in zip(fractions, self.extent.lengths, self.extent.periodic, strict=True):
            if periodic:
                w, angle = 2 * np.pi / length, 2 * np.pi * x
                c, s = jnp.cos(angle), jnp.sin(angle)
                columns.append([c, s])
                slopes.append([-w * s, w * c])
                bends.append([-w * w * c, -w * w * s])
            else:
                columns.append([2 * x - 1])
                slopes.append([jnp.full_like(x, 2 / length)])
                bends.append([jnp.zeros_like(x)])
        return start_jet(columns, slopes, bends)


def _combine_lattice(coefficients: Array, tables: list[tuple[Array, ...]]) -> dict[tuple[int, ...], Array]:
    """All derivatives up to the second: one axis after another, what they share done once."""
    found = {(): coefficients}
    for table in tables:
        # The first axis goes to the end each time, so after all axes they stand as before.
        found = {
            (*orders, order): jnp.matmul(jnp.moveaxis(array, 0, -1), table[order].T, precision=_EXACT)
            for orders, array in found.items()
            for order in range(3 - sum(orders))
        }
    return found


def _combine_scattered(coefficients: Array, tables: list[tuple[Array, ...]]) -> dict[tuple[int, ...], Array]:
    first, rest = tables[0], tables[1:]
    found = {
        (order,): jnp.tensordot(first[order], coefficients, axes=1, precision=_EXACT) for order in range(3)
    }
    for table in rest:
        found = {
            (*orders, order): jnp.sum(array * table[order], axis=1)
            for orders, array in found.items()
            for order in range(3 - sum(orders))
        }
    return found


def _as_derivatives(found: dict[tuple[int, ...], Array], dimensions: int) -> Derivatives:
    units = np.eye(dimensions, dtype=int)
    value = found[(0,) * dimensions]
    gradient = jnp.stack([found[tuple(unit.tolist())] for unit in units])
    pairs = [(i, i) for i in range(dimensions)] + list(itertools.combinations(range(dimensions), 2))
    return Derivatives(value, gradient, tuple(found[tuple((units[i] + units[j]).tolist())] for i, j in pairs))
