"""Where a constraint holds in space and time, and what it needs to know of that: the interface of grids and points."""

import abc
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..pdes import Box
from .systems import Conditions
from .terms import Terms


class Clock(NamedTuple):
    """The time coordinate a network is given: `((t - start) / duration)^power`.

    A power of 1/2 resolves what diffuses from a start that contradicts the walls: such a solution is smooth in the root
    of time, and in nothing else.

    **Arguments:**

    - `start`: where it is 0, in the unit of time.
    - `duration`: after which it is 1. Keep that of the training when the field is wanted for longer.
    - `power`: the exponent.
    """

    start: float = 0.0
    duration: float = 1.0
    power: float = 1.0

    def __call__(self, times: np.ndarray | Float[Array, "*time"]) -> np.ndarray | Float[Array, "*time"]:
        """Read the clock.

        **Arguments:**

        - `times`: `(*time,)`, of NumPy or JAX.

        **Returns:** the same, `(*time,)`.
        """
        return ((times - self.start) / self.duration) ** self.power

    def ticks(self, stop: float, count: int) -> np.ndarray:
        """Times that are even on this clock.

        **Arguments:**

        - `stop`: the last, in the unit of time.
        - `count`: how many, the start included.

        **Returns:** `(time,)`.
        """
        share = (stop - self.start) / self.duration
        return self.start + self.duration * np.linspace(0.0, share**self.power, count) ** (1 / self.power)


class AbstractDomain(eqx.Module):
    """Points of space and time, at which a network's output is a basis and its derivatives are known.

    What a basis is, is the domain's own matter: values on a grid, or a function of the coordinates. Conditions and
    scalings handle it through these methods only.
    """

    box: eqx.AbstractVar[Box]
    clock: eqx.AbstractVar[Clock]

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of the points, in the order of the rows of `tabulate`."""

    @property
    @abc.abstractmethod
    def duration(self) -> float:
        """From the start to the last time, in the unit of time."""

    @property
    @abc.abstractmethod
    def elapsed(self) -> Float[Array, " point"]:
        """The time since the start at every point, as a share of the whole, `(point,)`."""

    @abc.abstractmethod
    def sample(self, start: PyTree, channels: int) -> Float[Array, "channel *space"]:
        """The initial values where the initial condition is held.

        **Arguments:**

        - `start`: the initial condition.
        - `channels`: how many the law has.

        **Returns:** `(channel, *space)`.

        **Raises:** `ValueError` for a start of another kind or shape.
        """

    @abc.abstractmethod
    def evaluate_basis(self, network: Callable, start: PyTree) -> PyTree:
        """The network's output as basis functions.

        **Arguments:**

        - `network`: the network.
        - `start`: the initial condition.

        **Returns:** the basis.

        **Raises:** `ValueError` for an output of another shape.
        """

    @abc.abstractmethod
    def grow(self, basis: PyTree) -> PyTree:
        """The basis times the clock, so that it is 0 at the start.

        **Arguments:**

        - `basis`: of `evaluate_basis`.

        **Returns:** a basis.
        """

    @abc.abstractmethod
    def propose_nothing(self, start: PyTree) -> PyTree:
        """A basis without a function.

        **Arguments:**

        - `start`: the initial condition.

        **Returns:** a basis.
        """

    @abc.abstractmethod
    def hold(self, start: PyTree, basis: PyTree, share: float = 1.0) -> PyTree:
        """The field that stays at the start, or at a part of it.

        **Arguments:**

        - `start`: the initial condition.
        - `basis`: what it is to be added to.
        - `share`: what it is multiplied by.

        **Returns:** a field of the kind a basis function is.
        """

    @abc.abstractmethod
    def tabulate(
        self, terms: Terms, basis: PyTree, lift: PyTree, scale: Float[Array, " point"], *, conditioned: bool
    ) -> tuple[Float[Array, "point term basis"], Float[Array, "point term"]]:
        """Apply every operator to every basis function, once.

        **Arguments:**

        - `terms`: what the law asks for.
        - `basis`: the basis.
        - `lift`: the field the basis is added to.
        - `scale`: the weight of the equation at each point, `(point,)`.
        - `conditioned`: whether the calculus is to apply the conditions of the walls.

        **Returns:** tables `(point, term, basis)` and offsets `(point, term)`.
        """

    @abc.abstractmethod
    def start_conditions(self, basis: PyTree, lift: PyTree, start: PyTree) -> Conditions:
        """The rows `u(start) - given`.

        **Arguments:**

        - `basis`, `lift`, `start`: as above.

        **Returns:** one row per channel and point.
        """

    @abc.abstractmethod
    def wall_conditions(self, basis: PyTree, lift: PyTree) -> Conditions:
        """The rows `a u + b du/dn - g` on every wall.

        **Arguments:**

        - `basis`, `lift`: as above.

        **Returns:** one row per channel and point of a wall.
        """

    @abc.abstractmethod
    def lift_walls(self, basis: PyTree, lift: PyTree) -> tuple[PyTree, PyTree]:
        """Subtract from every field the quadratic across the box that has its violation of the walls' conditions.

        **Arguments:**

        - `basis`, `lift`: as above.

        **Returns:** both, met by construction.
        """

    @abc.abstractmethod
    def miss_walls(self, start: PyTree) -> list[tuple[Float[Array, "..."], Float[Array, "..."]]]:
        """What the initial condition has on every wall, and what the wall asks for.

        **Arguments:**

        - `start`: the initial condition.

        **Returns:** pairs of arrays `(..., channel, ...)` that broadcast, one per wall.
        """

    @abc.abstractmethod
    def arrange(self, values: Float[Array, "point channel"]) -> Float[Array, "..."]:
        """Give values at the points the shape of a field.

        **Arguments:**

        - `values`: `(point, channel)`.

        **Returns:** `(time, channel, *space)` on a grid, `(channel, point)` at scattered points.
        """

    @property
    def dimensions(self) -> int:
        """The number of space axes."""
        return self.box.dimensions

    def walls(self) -> list[tuple[int, int]]:
        """The `(axis, side)` of every wall, side 0 the left one."""
        return [(axis, side) for axis, wraps in enumerate(self.box.periodic) if not wraps for side in (0, 1)]


def fit_profiles(box: Box, axis: int) -> Float[Array, "side power"]:
    """The quadratics along an axis that violate the condition of one wall by 1 and that of the other by 0.

    **Arguments:**

    - `box`: the box, whose walls on this axis have single numbers `a` and `b`.
    - `axis`: the axis, along which the place is counted from 0 to 1.

    **Returns:** coefficients of `1, x, x^2`, `(side, power)`.

    **Raises:** `ValueError` for `a` or `b` that vary.
    """
    rows = []
    for side in (0, 1):
        a, b, _ = box.boundaries[axis][side].robin()
        if jnp.size(a) != 1 or jnp.size(b) != 1:
            raise ValueError(
                "LiftedWalls needs walls whose `a` and `b` are single numbers; their data `g` may vary. Take "
                "WeightedWalls() for others."
            )
        outward = (-1, 1)[side] / box.lengths[axis]
        value, slope = np.array([1.0, side, side]), np.array([0.0, 1.0, 2.0 * side])
        rows.append(jnp.reshape(a, ()) * value + jnp.reshape(b, ()) * outward * slope)
    return jnp.linalg.pinv(jnp.stack(rows)).T
