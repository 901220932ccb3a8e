"""Which conditions an expert is held to, what it owes its neighbors, and how many solves are laid out."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np


class AbstractCoupling(eqx.Module):
    """Which conditions an expert is held to, and what it owes its neighbors."""

    @abc.abstractmethod
    def owns(self, owner: np.ndarray, boxes: int) -> np.ndarray:
        """Which conditions an expert is held to.

        **Arguments:**

        - `owner`: the box each condition is in, `(row,)`.
        - `boxes`: how many boxes.

        **Returns:** booleans `(box, row)`.
        """


class Independent(AbstractCoupling):
    """The published experts: each solves alone and is held to all initial and boundary conditions, wherever it is."""

    def owns(self, owner, boxes):
        """All; booleans `(box, row)`."""
        return np.ones((boxes, len(owner)), bool)


class OwnRows(AbstractCoupling):
    """Each expert solves alone and is held to the conditions in its own box."""

    def owns(self, owner, boxes):
        """Its own; booleans `(box, row)`."""
        return owner[None] == np.arange(boxes)[:, None]


class Coupled(AbstractCoupling):
    """Each expert is held to the conditions in its own box, and neighbors to the same value and slope where they meet.

    All weights are found together. How much a jump weighs beside the equation is a matter of the constraint's scaling.
    """

    def owns(self, owner, boxes):
        """Its own; booleans `(box, row)`."""
        return owner[None] == np.arange(boxes)[:, None]


class Overlapping(AbstractCoupling):
    """Experts that reach into their neighbors' boxes and are blended there by a partition of unity.

    The field is `sum_k window_k sum_i w_ki b_i`, so it is as smooth as the basis and needs no interface. All weights
    are found together.

    **Arguments:**

    - `width`: how far a window reaches beyond its box, as a fraction of the box, at most 1/2.

    **Reference:** Moseley, Markham, Nissen-Meyer, "Finite basis physics-informed neural networks (FBPINNs)", 2023,
    arXiv 2107.07871.
    """

    width: float = eqx.field(static=True, default=0.5)

    def __check_init__(self):
        if not 0 < self.width <= 0.5:
            raise ValueError(
                f"Overlapping.width is a fraction of a box, above 0 and at most 1/2; got {self.width}."
            )

    def owns(self, owner, boxes):
        """All, as there is one system; booleans `(box, row)`."""
        return np.ones((boxes, len(owner)), bool)


class AbstractSpread(eqx.Module):
    """How the solves of one start are laid out over devices."""

    @abc.abstractmethod
    def map(self, solve: Callable, problems: tuple) -> tuple:
        """Solve every problem.

        **Arguments:**

        - `solve`: of one problem.
        - `problems`: its arguments, with a leading axis of problems.

        **Returns:** what `solve` returns, with that axis.
        """


class Together(AbstractSpread):
    """On one device, or wherever the program is."""

    def map(self, solve, problems):
        """See `AbstractSpread.map`."""
        return jax.vmap(solve)(*problems)
