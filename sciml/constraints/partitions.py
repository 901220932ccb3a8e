"""Cutting a space-time grid into boxes, and what holds where two boxes meet."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .grids import SpaceTimeGrid
from .terms import difference_weights

ACROSS = 4


class Interface(NamedTuple):
    """Rows that compare two neighbors, for every pair of neighbors along one axis.

    **Arguments:**

    - `axis`: 0 is time.
    - `order`: 0 for values, 1 for slopes.
    - `first`, `second`: the neighbors, `(pair,)`.
    - `matrix`: what acts on the difference of their weights, `(pair, row, basis)`.
    """

    axis: int
    order: int
    first: np.ndarray
    second: np.ndarray
    matrix: Float[Array, "pair row basis"]


class Partition(NamedTuple):
    """A grid cut into equal boxes, time first.

    **Arguments:**

    - `counts`: boxes along each axis, time first.
    - `shape`: points along each axis.
    """

    counts: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def boxes(self) -> int:
        """How many boxes."""
        return int(np.prod(self.counts))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Points along each axis of a box."""
        return tuple(n // k for n, k in zip(self.shape, self.counts, strict=True))

    def split(self, values: Float[Array, "point *rest"]) -> Float[Array, "box own *rest"]:
        """Give every box its points.

        **Arguments:**

        - `values`: `(point, *rest)`.

        **Returns:** `(box, own, *rest)`.
        """
        rest = values.shape[1:]
        cut = [n for pair in zip(self.counts, self.sizes, strict=True) for n in pair]
        axes = len(self.counts)
        order = [*range(0, 2 * axes, 2), *range(1, 2 * axes, 2)]
        order += range(2 * axes, 2 * axes + len(rest))
        return values.reshape(*cut, *rest).transpose(order).reshape(self.boxes, -1, *rest)

    def join(self, values: Float[Array, "box own *rest"]) -> Float[Array, "point *rest"]:
        """Undo `split`.

        **Arguments:**

        - `values`: `(box, own, *rest)`.

        **Returns:** `(point, *rest)`.
        """
        rest = values.shape[2:]
        axes = len(self.counts)
        order = [axis for pair in zip(range(axes), range(axes, 2 * axes), strict=True) for axis in pair]
        order += range(2 * axes, 2 * axes + len(rest))
        whole = values.reshape(*self.counts, *self.sizes, *rest).transpose(order)
        return whole.reshape(int(np.prod(self.shape)), *rest)

    def find_owner(self, places: Int[np.ndarray, "row axis"]) -> np.ndarray:
        """Which box a grid point is in.

        **Arguments:**

        - `places`: `(row, axis)`.

        **Returns:** `(row,)`.
        """
        boxes = places // np.asarray(self.sizes)
        return np.ravel_multi_index(tuple(boxes.T), self.counts)


def make_partition(counts: tuple[int, ...], domain: SpaceTimeGrid) -> Partition:
    """Cut the grid of a domain.

    **Arguments:**

    - `counts`: boxes along each axis, time first.
    - `domain`: the grid.

    **Returns:** the partition.

    **Raises:** `ValueError` for a number of boxes that does not divide the points, or boxes narrower than the stencil
    across an interface.
    """
    counts = tuple(counts)
    if not isinstance(domain, SpaceTimeGrid):
        raise ValueError(
            f"Experts share a grid, which they cut into boxes; got {type(domain).__name__}. Take a SpaceTimeGrid, or "
            f"one HardConstraint on all points."
        )
    if len(counts) != len(domain.shape) or any(not isinstance(k, int) or k < 1 for k in counts):
        raise ValueError(
            f"A partition needs one number of boxes for time and for each space axis, {len(domain.shape)} here, such "
            f"as {(1,) * (len(domain.shape) - 1) + (4,)}; got {counts}."
        )
    for axis, (k, n) in enumerate(zip(counts, domain.shape, strict=True)):
        name = "time" if axis == 0 else f"space axis {axis - 1}"
        if n % k:
            near = [m for m in range(max(k, n - k), n + k + 1) if m % k == 0]
            raise ValueError(
                f"{k} boxes along {name} do not divide its {n} points. Take {' or '.join(map(str, near))} points, or "
                f"another number of boxes."
            )
        if k > 1 and n // k < ACROSS // 2:
            raise ValueError(
                f"{k} boxes along {name} leave {n // k} points in each; at least {ACROSS // 2} are needed."
            )
    return Partition(counts, domain.shape)


def find_interfaces(
    partition: Partition, domain: SpaceTimeGrid, values: Float[Array, "point channel basis"]
) -> list[Interface]:
    """The rows at every interface: values across all axes, slopes across space axes.

    A law is of first order in time, so a jump in value is all there can be there. Across a periodic axis the last box
    meets the first one, too.

    **Arguments:**

    - `partition`: the boxes.
    - `domain`: the grid.
    - `values`: those of the basis, `(point, channel, basis)`.

    **Returns:** one entry per axis and order.
    """
    whole = values.reshape(*domain.shape, *values.shape[1:])
    found = []
    for axis, (k, n) in enumerate(zip(partition.counts, domain.shape, strict=True)):
        if k == 1:
            continue
        wraps = domain.periodic[axis]
        cuts = [(box + 1) * (n // k) for box in range(k if wraps else k - 1)]
        boxes = np.arange(partition.boxes).reshape(partition.counts)
        first = np.stack([np.take(boxes, box, axis).ravel() for box in range(len(cuts))])
        second = np.stack([np.take(boxes, (box + 1) % k, axis).ravel() for box in range(len(cuts))])
        for order in (0,) if axis == 0 else (0, 1):
            rows = [_across(whole, domain, axis, cut, order) for cut in cuts]
            found.append(
                Interface(
                    axis,
                    order,
                    first.ravel(),
                    second.ravel(),
                    jnp.concatenate([_split_section(row, partition, axis) for row in rows]),
                )
            )
    return found


def _across(whole, domain, axis, cut, order):
    """The values or slopes half way between the points `cut - 1` and `cut`, the axis removed."""
    n, points = domain.shape[axis], domain.axes[axis]
    near = np.arange(cut - ACROSS // 2, cut + ACROSS // 2)
    places = points[near % n]
    if domain.periodic[axis]:
        places = places + (near // n) * domain.calculus.grid.box.lengths[axis - 1]
    middle = (places[ACROSS // 2 - 1] + places[ACROSS // 2]) / 2
    weights = jnp.asarray(difference_weights(places, middle, order), whole.dtype)
    taken = jnp.take(whole, jnp.asarray(near % n), axis=axis)
    return jnp.tensordot(taken, weights, axes=(axis, 0), precision=jax.lax.Precision.HIGHEST)


def _split_section(row, partition, axis):
    """`(*others, channel, basis)` to `(box of the section, points * channel, basis)`."""
    counts = tuple(k for a, k in enumerate(partition.counts) if a != axis)
    shape = tuple(n for a, n in enumerate(partition.shape) if a != axis)
    section = Partition(counts, shape)
    pieces = section.split(row.reshape(int(np.prod(shape)), *row.shape[len(shape) :]))
    return pieces.reshape(section.boxes, -1, row.shape[-1])
