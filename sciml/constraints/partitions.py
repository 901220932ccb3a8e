"""Cutting a space-time grid into boxes, and what holds where two boxes meet."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .grids import SpaceTimeGrid
from .terms import difference_weights

ACROSS = 4
# Fewer boxes are no slower by one dense matrix; a chain needs three.
LONG = 8


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
    """A grid cut into boxes, time first, as equal as they can be.

    Where the boxes do not divide the points, some have one point more along an axis. The others are filled up: their
    last points stand for what is missing, and `owned` says that they do not count.

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
    def even(self) -> bool:
        """Whether all boxes have as many points."""
        return not any(n % k for n, k in zip(self.shape, self.counts, strict=True))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Points along each axis of the largest box."""
        return tuple(-(-n // k) for n, k in zip(self.shape, self.counts, strict=True))

    @property
    def owned(self) -> Bool[np.ndarray, "box own"]:
        """Which entries of `split` are points of the box, and do not only fill it up, `(box, own)`."""
        return self._look_up()[1]

    def edges(self, axis: int) -> np.ndarray:
        """The first point of every box along an axis, and the number of points.

        **Arguments:**

        - `axis`: 0 is time.

        **Returns:** `(count + 1,)`.
        """
        return np.arange(self.counts[axis] + 1) * self.shape[axis] // self.counts[axis]

    def split(self, values: Float[Array, "point *rest"]) -> Float[Array, "box own *rest"]:
        """Give every box its points.

        **Arguments:**

        - `values`: `(point, *rest)`.

        **Returns:** `(box, own, *rest)`.
        """
        if not self.even:
            return values[self._look_up()[0]]
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
        if not self.even:
            points, owned = self._look_up()
            where = np.zeros(int(np.prod(self.shape)), int)
            where[points[owned]] = np.flatnonzero(owned)
            return values.reshape(-1, *rest)[where]
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
        boxes = [
            np.searchsorted(self.edges(a), places[:, a], side="right") - 1 for a in range(len(self.shape))
        ]
        return np.ravel_multi_index(boxes, self.counts)

    def _look_up(self):
        """The number of the point of each entry, and whether the box owns it, both `(box, own)`."""
        along = []
        for axis, size in enumerate(self.sizes):
            edges = self.edges(axis)
            places = edges[:-1, None] + np.arange(size)
            along.append((np.minimum(places, edges[1:, None] - 1), places < edges[1:, None]))
        # (box, own) of each axis to (boxes, owns) of all
        letters = "abcdefgh"[: len(along)]
        stencil = ",".join(f"{x}{x.upper()}" for x in letters) + "->" + letters + letters.upper()
        owned = np.einsum(stencil, *(mask.astype(int) for _, mask in along)).astype(bool)
        strides = [int(np.prod(self.shape[axis + 1 :])) for axis in range(len(self.shape))]
        points = np.zeros(owned.shape, int)
        for axis, ((places, _), stride) in enumerate(zip(along, strides, strict=True)):
            shape = [1] * owned.ndim
            shape[axis], shape[axis + len(along)] = places.shape
            points += stride * places.reshape(shape)
        return points.reshape(self.boxes, -1), owned.reshape(self.boxes, -1)


def make_partition(counts: tuple[int, ...], domain: SpaceTimeGrid) -> Partition:
    """Cut the grid of a domain.

    **Arguments:**

    - `counts`: boxes along each axis, time first.
    - `domain`: the grid.

    **Returns:** the partition.

    **Raises:** `ValueError` for a number of boxes that is not positive or not one per axis, boxes narrower than the
    stencil across an interface, or a domain without a grid.
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
    for axis, k in enumerate(partition.counts):
        if k == 1:
            continue
        wraps = domain.periodic[axis]
        cuts = partition.edges(axis)[1 : k + 1 if wraps else k].tolist()
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
    if not section.even:
        pieces = pieces * jnp.asarray(section.owned, row.dtype)[..., None, None]
    return pieces.reshape(section.boxes, -1, row.shape[-1])


def is_chain(partition: Partition, interfaces: Sequence[Interface]) -> bool:
    """Whether boxes are so many in a chain that they are better solved as one.

    In a chain they meet only those before and after them, and the last one the first. A few are as fast together.

    **Arguments:**

    - `partition`: the boxes.
    - `interfaces`: where they meet.

    **Returns:** whether they do, and are `LONG` or more.
    """
    last = partition.boxes - 1
    apart = [np.abs(face.first - face.second) for face in interfaces]
    return last + 1 >= LONG and all(np.all((steps == 1) | (steps == last)) for steps in apart)
