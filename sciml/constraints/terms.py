"""The linear terms of a law: which operators it applies to its unknown, and the law as a function of their values.

A law is a pointwise function of linear operators applied to its unknown. Run once on a calculus that only writes down
what is asked of it, the law names its operators; run again on a calculus that only looks values up, it is a function of
numbers at one point,

    residual = u_t - rate(t, x, u, A_1 u, A_2 u, ...)

and everything linear has moved out of it, into tables that are made once.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import AbstractCalculus, AbstractPDE, Field, channel_names
from ..pdes.calculus import check_field, check_orders


class Term(NamedTuple):
    """One linear operator of a calculus with its arguments, such as `("derivative", ((2,),))`.

    **Arguments:**

    - `operator`: the name of a method of the calculus.
    - `arguments`: what it takes beside the field.
    """

    operator: str
    arguments: tuple = ()


class Terms(NamedTuple):
    """What a law asks of a calculus.

    **Arguments:**

    - `operators`: the linear operators, each once, in the order of their first use.
    - `channels`: how many unknowns there are.
    - `dimensions`: how many space axes.
    - `time`: whether the rate depends on time itself.
    - `position`: whether it depends on the coordinates.
    """

    operators: tuple[Term, ...]
    channels: int
    dimensions: int
    time: bool
    position: bool

    @property
    def linear(self) -> int:
        """The number of linear terms at a point: the value, its time derivative and the operators, by channel."""
        return (2 + len(self.operators)) * self.channels

    @property
    def count(self) -> int:
        """The linear terms, and the weight of a row, the time and the coordinates where they are wanted."""
        return self.linear + 1 + int(self.time) + (self.dimensions if self.position else 0)


class _Notes:
    """A mutable notebook, opaque to JAX."""

    def __init__(self):
        self.operators: list[Term] = []
        self.position = False


class _Recorder(AbstractCalculus):
    """A calculus that writes down what is asked of it."""

    notes: _Notes = eqx.field(static=True)
    axes: int = eqx.field(static=True)

    @property
    def dimensions(self) -> int:
        """The number of space axes."""
        return self.axes

    @property
    def coordinates(self):
        """Made-up coordinates, `(dim, 1, ...)`."""
        self.notes.position = True
        return jnp.full((self.axes,) + (1,) * self.axes, 0.5)

    def field(self, u):
        """Wrap values `(channel, 1, ...)`."""
        return Field(u, None)

    def known(self, values):
        """Refused; see `find_terms`."""
        raise ValueError(
            "A law whose coefficient is a field over the grid cannot be tabulated: at the points of a constraint only "
            "the coordinates are known. Write the coefficient as a formula of `calculus.coordinates`."
        )

    def derivative(self, u, orders):
        """Noted."""
        return self._note(u, "derivative", check_orders(orders, self.axes))

    def laplacian(self, u):
        """Noted."""
        return self._note(u, "laplacian")

    def biharmonic(self, u):
        """Noted."""
        return self._note(u, "biharmonic")

    def rotational_velocity(self, vorticity, axis):
        """Noted."""
        return self._note(vorticity, "rotational_velocity", axis)

    def _note(self, u, operator, *arguments):
        check_field(u)
        term = Term(operator, arguments)
        if term not in self.notes.operators:
            self.notes.operators.append(term)
        return jnp.full_like(u.value, 0.5)


class _Lookup(AbstractCalculus):
    """A calculus that looks the values of operators up."""

    values: dict[Term, Array]
    position: Array

    @property
    def dimensions(self) -> int:
        """The number of space axes."""
        return self.position.shape[0]

    @property
    def coordinates(self):
        """The coordinates, `(dim, *space)`."""
        return self.position

    def field(self, u):
        """Wrap values `(channel, *space)`."""
        return Field(u, None)

    def known(self, values):
        """Refused when the terms were found."""
        raise ValueError("A coefficient that is a field over the grid cannot be tabulated.")

    def derivative(self, u, orders):
        """Looked up."""
        return self._find(u, "derivative", check_orders(orders, self.dimensions))

    def laplacian(self, u):
        """Looked up."""
        return self._find(u, "laplacian")

    def biharmonic(self, u):
        """Looked up."""
        return self._find(u, "biharmonic")

    def rotational_velocity(self, vorticity, axis):
        """Looked up."""
        return self._find(vorticity, "rotational_velocity", axis)

    def _find(self, u, operator, *arguments):
        check_field(u)
        return self.values[Term(operator, arguments)]


def find_terms(law: AbstractPDE, dimensions: int) -> Terms:
    """Find the linear operators that a law applies to its unknown.

    **Arguments:**

    - `law`: the equation.
    - `dimensions`: the number of space axes.

    **Returns:** the terms.

    **Raises:** `TypeError` for a law that differentiates an expression; `ValueError` for one with coefficients that
    vary over a grid, or that is not defined for so many axes.
    """
    if dimensions not in law.dimensions:
        raise ValueError(
            f"{type(law).__name__} is defined in {' or '.join(map(str, law.dimensions))} space dimensions; the "
            f"constraint has {dimensions}."
        )
    channels = len(channel_names(law, dimensions))
    notes = _Notes()
    calculus = _Recorder(notes, dimensions)
    point = (channels,) + (1,) * dimensions

    def rate(t):
        return law.rate(t, calculus.field(jnp.full(point, 0.5)), calculus)

    program = jax.make_jaxpr(rate)(0.5)
    shape = program.out_avals[0].shape
    if shape != point:
        raise ValueError(
            f"{type(law).__name__}.rate gives values of shape {shape} at one point, {point} was expected. A law with "
            f"parameters that are fields over the grid cannot be tabulated; write them as formulas of "
            f"`calculus.coordinates`."
        )
    t = program.jaxpr.invars[0]
    used = any(variable is t for equation in program.jaxpr.eqns for variable in equation.invars)
    return Terms(tuple(notes.operators), channels, dimensions, used, notes.position)


class LawResidual(eqx.Module):
    """The residual of a law at one point, as a function of the linear terms there.

    **Arguments:**

    - `law`: the equation; its parameters are leaves, and may be learned.
    - `terms`: what `find_terms` found.
    """

    law: AbstractPDE
    terms: Terms = eqx.field(static=True)

    def __call__(self, values: Float[Array, " term"]) -> Float[Array, " channel"]:
        """Evaluate.

        **Arguments:**

        - `values`: the terms `(term,)`: value, time derivative and operators, each for all channels; the weight of the
          row; the time and the coordinates, where the law uses them.

        **Returns:** the weighted residual `(channel,)`.
        """
        terms = self.terms
        shape = (terms.channels,) + (1,) * terms.dimensions
        parts = values[: terms.linear].reshape(-1, *shape)
        rest = values[terms.linear :]
        t = rest[1] if terms.time else jnp.zeros((), values.dtype)
        position = (
            rest[1 + int(terms.time) :] if terms.position else jnp.zeros(terms.dimensions, values.dtype)
        )
        table = dict(zip(terms.operators, parts[2:], strict=True))
        calculus = _Lookup(table, position.reshape((-1,) + (1,) * terms.dimensions))
        rate = self.law.rate(t, calculus.field(parts[0]), calculus)
        return rest[0] * (parts[1] - rate).reshape(-1)


def difference_weights(nodes: np.ndarray, point: float, order: int) -> np.ndarray:
    """Weights on the values at some nodes that give a derivative of the interpolating polynomial at a point.

    **Arguments:**

    - `nodes`: distinct positions, `(node,)`.
    - `point`: where.
    - `order`: of the derivative; 0 interpolates.

    **Returns:** weights `(node,)`.

    **Reference:** Fornberg, "Generation of Finite Difference Formulas on Arbitrarily Spaced Grids", 1988,
    doi:10.1090/S0025-5718-1988-0935077-0.
    """
    scale = float(np.max(np.abs(nodes - point)))
    offsets = (np.asarray(nodes, float) - point) / scale
    moments = np.zeros(len(offsets))
    moments[order] = float(np.prod(np.arange(1, order + 1)))
    return np.linalg.solve(np.vander(offsets, increasing=True).T, moments) / scale**order


def difference_matrix(times: np.ndarray, accuracy: int) -> np.ndarray:
    """The matrix that differentiates values at given times, which need not be evenly spaced.

    **Arguments:**

    - `times`: increasing, `(time,)`.
    - `accuracy`: the order of accuracy; `accuracy + 1` neighbors are used at each time, one-sided ones at the ends.

    **Returns:** `(time, time)`.

    **Raises:** `ValueError` for fewer times than a stencil has.
    """
    count, width = len(times), accuracy + 1
    if count < width:
        raise ValueError(
            f"A time derivative of order {accuracy} needs at least {width} times; got {count}. Give more times."
        )
    matrix = np.zeros((count, count))
    for row in range(count):
        first = min(max(row - accuracy // 2, 0), count - width)
        near = slice(first, first + width)
        matrix[row, near] = difference_weights(times[near], times[row], 1)
    return matrix
