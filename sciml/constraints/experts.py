"""Experts: one constraint cut into boxes of space and time, each with its own weights for a shared basis."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .couplings import AbstractCoupling, AbstractSpread, Coupled, Overlapping
from .grids import SpaceTimeGrid
from .hard import TOGETHER, ConstrainedField, HardConstraint
from .partitions import Partition, make_partition
from .solving import solve_system


class Experts(eqx.Module):
    """A constraint whose basis has other weights in every box of a partition.

    With one box it is the constraint itself, exactly, however the experts are coupled.

    **Arguments:**

    - `constraint`: the constraint, whose network all experts share.
    - `partition`: boxes along each axis, time first, such as `(1, 4)`.
    - `coupling`: `Coupled()`, `Overlapping()`, `OwnRows()`, or `Independent()` as published.

    **Raises:** `ValueError` for a partition of another dimension, or that leaves too few points in a box.
    """

    constraint: HardConstraint
    partition: tuple[int, ...] = eqx.field(static=True)
    coupling: AbstractCoupling = Coupled()

    def __check_init__(self):
        make_partition(self.partition, self.constraint.domain)

    def __call__(
        self,
        start: Float[Array, "channel *space"],
        *,
        key: PRNGKeyArray | None = None,
        throw: bool = True,
        spread: AbstractSpread = TOGETHER,
    ) -> ConstrainedField:
        """The field from a given start.

        **Arguments:**

        - `start`: the initial values `(channel, *space)`.
        - `key`: a random key, for samplings that are random.
        - `throw`: whether a solve that did not converge is an error; otherwise the certificate says so.
        - `spread`: how solves are laid out over devices; `OnDevices` sees to it.

        **Returns:** the field with its certificate.

        **Raises:** as `HardConstraint.__call__`.
        """
        domain = self.constraint.domain
        boxes = make_partition(self.partition, domain)
        windows = None
        if isinstance(self.coupling, Overlapping):
            windows = make_windows(boxes, domain, self.coupling.width)
            boxes = Partition((1,) * len(domain.shape), domain.shape)
        system, scales = self.constraint.make_system(start, windows)
        field = solve_system(self.constraint, system, scales, boxes, self.coupling, start, key, throw, spread)
        if windows is None:
            return field
        return eqx.tree_at(lambda f: f.weights, field, field.weights.reshape(windows.shape[0], -1))


def make_windows(
    partition: Partition, domain: SpaceTimeGrid, width: float
) -> Float[Array, "expert time *space"]:
    """A partition of unity: smooth functions, each 1 in the middle of its box, that sum to 1 everywhere.

    **Arguments:**

    - `partition`: the boxes.
    - `domain`: the grid.
    - `width`: how far a window reaches beyond its box, as a fraction of the box.

    **Returns:** the windows `(expert, time, *space)`.
    """
    total = np.ones((1, *[1] * len(partition.counts)))
    for axis, (k, n) in enumerate(zip(partition.counts, partition.shape, strict=True)):
        place = (np.arange(n) + 0.5) * k / n  # in boxes
        along = np.stack([_window(place, box, k, width, domain.periodic[axis]) for box in range(k)])
        shape = [1] * len(partition.counts)
        shape[axis] = n
        total = (total[:, None] * along.reshape(1, k, *shape)).reshape(
            -1, *np.broadcast_shapes(total.shape[1:], tuple(shape))
        )
    return jnp.asarray(total, float)


def _window(place, box, count, width, wraps):
    """Rises from 0 to 1 around the left end of a box and falls around its right end; `place` is counted in boxes."""
    if count == 1:
        return np.ones_like(place)
    if wraps:
        place = (place - box - 0.5 + count / 2) % count + box + 0.5 - count / 2
    rise = _step((place - box) / width) if box > 0 or wraps else 1.0
    fall = _step((place - box - 1) / width) if box < count - 1 or wraps else 0.0
    return rise - fall


def _step(x):
    """A step from 0 at -1 to 1 at 1, twice differentiable, with `step(-x) = 1 - step(x)`."""
    s = np.clip((x + 1) / 2, 0, 1)
    return s**3 * (10 - 15 * s + 6 * s**2)
