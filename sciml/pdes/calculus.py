"""How to differentiate: the interface between laws and everything that evaluates them.

A law never sees how its unknown is represented. It is handed a `Field` and a calculus, and may do two things:

- use `u.value`, the values at the calculus' points, in any pointwise formula;
- apply a *linear operator of the calculus* to the field itself: `calculus.partial(u, 0)`, `calculus.laplacian(u)`, ...

The result of an operator is an array of values, not a field, and an operator refuses anything but a field. So a law is
a pointwise function of linear operators applied to its unknown, and that is what lets every use of it work: on a grid
the operators are stencils or transforms, on a moved mesh the chain rule, on a function automatic differentiation, and
on a basis each operator can be tabulated once per basis function.

Operators of operators are *named*, never nested: `derivative(u, (2, 1))` for any mixed derivative, `biharmonic`,
`rotational_velocity`, `diffusion`. A named operator stays linear, so it can be tabulated, and each calculus may choose
its best form of it.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


class Field(eqx.Module):
    """The unknown as a law sees it: values to use pointwise, and whatever its calculus needs to differentiate it.

    Made by `calculus.field(...)`, never by hand.

    **Arguments:**

    - `value`: the values `(channel, *space)`.
    - `source`: what the calculus differentiates: values, coefficients, a function.
    """

    value: Float[Array, "channel *space"]
    source: PyTree

    def _refuse(self, *_):
        raise TypeError(
            "A Field is the unknown itself, not its values: write `u.value` in pointwise formulas and hand the bare "
            "field `u` to the operators of the calculus, as in `u.value * calculus.partial(u, 0)`."
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __pow__ = __neg__ = __getitem__ = __jax_array__ = _refuse


class AbstractCalculus(eqx.Module):
    """Points, values at them, and linear operators on fields.

    A calculus implements `coordinates`, `field`, `known` and `derivative`; every other operator follows from these and
    may be replaced by a better form. Operators take a `Field` and return values `(channel, *space)`.
    """

    @property
    @abc.abstractmethod
    def coordinates(self) -> Float[Array, "dim *space"]:
        """The points at which values are taken, `(dim, *space)`."""

    @abc.abstractmethod
    def field(self, u: PyTree) -> Field:
        """Wrap the unknown, obeying its boundary conditions.

        **Arguments:**

        - `u`: values `(channel, *space)`; for `Autodiff` a function `(dim,) -> (channel,)`.

        **Returns:** a field with values `(channel, *space)`.

        **Raises:** `ValueError` when the shape is not this calculus'.
        """

    @abc.abstractmethod
    def known(self, values: PyTree) -> Field:
        """Wrap a given coefficient, to which the unknown's boundary conditions do not apply.

        **Arguments:**

        - `values`: as for `field`, `(channel, *space)`.

        **Returns:** a field with values `(channel, *space)`.
        """

    @abc.abstractmethod
    def derivative(self, u: Field, orders: tuple[int, ...]) -> Float[Array, "channel *space"]:
        """The mixed partial derivative of the given order along each axis.

        **Arguments:**

        - `u`: the field, values `(channel, *space)`.
        - `orders`: one non-negative integer per axis; `(2, 1)` is `d^3 u / dx^2 dy`.

        **Returns:** values `(channel, *space)`.

        **Raises:** `TypeError` for anything but a field; `ValueError` for orders of the wrong length.
        """

    @property
    def dimensions(self) -> int:
        """The number of space axes."""
        return self.coordinates.shape[0]

    def project(self, values: Float[Array, "channel *space"]) -> Float[Array, "channel *space"]:
        """Remove from values what this calculus does not resolve; by default nothing.

        **Arguments:**

        - `values`: `(channel, *space)`.

        **Returns:** values `(channel, *space)`.
        """
        return values

    def partial(self, u: Field, axis: int, order: int = 1) -> Float[Array, "channel *space"]:
        """The partial derivative `d^order u / dx_axis^order`.

        **Arguments:**

        - `u`: the field, values `(channel, *space)`.
        - `axis`: the space axis, counted from 0.
        - `order`: the order of the derivative.

        **Returns:** values `(channel, *space)`.
        """
        if not 0 <= axis < self.dimensions:
            raise ValueError(
                f"Space axis {axis} does not exist: this calculus has {self.dimensions} axes, from 0."
            )
        return self.derivative(u, tuple(order if a == axis else 0 for a in range(self.dimensions)))

    def laplacian(self, u: Field) -> Float[Array, "channel *space"]:
        """The sum of second derivatives.

        **Arguments:**

        - `u`: the field, values `(channel, *space)`.

        **Returns:** values `(channel, *space)`.
        """
        return sum(self.partial(u, axis, 2) for axis in range(self.dimensions))

    def biharmonic(self, u: Field) -> Float[Array, "channel *space"]:
        """The Laplacian of the Laplacian.

        **Arguments:**

        - `u`: the field, values `(channel, *space)`.

        **Returns:** values `(channel, *space)`.
        """
        total = 0.0
        for i in range(self.dimensions):
            for j in range(self.dimensions):
                total += self.derivative(
                    u, tuple(2 * (a == i) + 2 * (a == j) for a in range(self.dimensions))
                )
        return total

    def diffusion(self, u: Field, coefficient: Array | Callable) -> Float[Array, "channel *space"]:
        """`div(k grad u)` for a coefficient that may vary in space.

        **Arguments:**

        - `u`: the field, values `(channel, *space)`.
        - `coefficient`: `k`, shape `()` or `(*space,)`; a function of `(dim,)` for `Autodiff`.

        **Returns:** values `(channel, *space)`.
        """
        if not callable(coefficient) and jnp.ndim(coefficient) == 0:
            return coefficient * self.laplacian(u)
        if callable(coefficient):
            k = self.known(lambda x: jnp.atleast_1d(coefficient(x)))
        else:
            k = self.known(jnp.asarray(coefficient)[None])
        gradients = sum(self.partial(k, axis) * self.partial(u, axis) for axis in range(self.dimensions))
        return k.value * self.laplacian(u) + gradients

    def flux_divergence(self, u: Field, flux: Callable) -> Float[Array, "channel *space"]:
        """`sum_axis d/dx_axis flux(u, axis)` of a conservation law.

        By default the chain rule: `flux'(u) du/dx`, pointwise in `u` and its derivatives, right wherever `u` is smooth.
        `FiniteVolume` replaces it by a conservative form that captures shocks.

        **Arguments:**

        - `u`: the field, values `(channel, *space)`.
        - `flux`: `flux(value, axis)` maps values `(channel, *space)` to the flux along `axis`, same shape, pointwise.

        **Returns:** values `(channel, *space)`.
        """
        check_field(u)
        total = 0.0
        for axis in range(self.dimensions):
            _, along = jax.jvp(
                lambda value, axis=axis: flux(value, axis), (u.value,), (self.partial(u, axis),)
            )
            total += along
        return total

    def rotational_velocity(self, vorticity: Field, axis: int) -> Float[Array, "channel *space"]:
        """One component of the divergence-free velocity of a 2-D vorticity: `(psi_y, -psi_x)` with `-lap psi = w`.

        Non-local: a value depends on the whole field, so only calculi that hold the whole field have it.

        **Arguments:**

        - `vorticity`: a field with values `(channel, *space)` in two dimensions.
        - `axis`: 0 or 1.

        **Returns:** values `(channel, *space)`.

        **Raises:** `ValueError` where the calculus has no such operator.
        """
        check_field(vorticity)
        raise ValueError(
            f"{type(self).__name__} cannot give rotational_velocity: it is a non-local operator (a Poisson solve over "
            f"the whole domain). Use Spectral, or FiniteDifference on a periodic grid; for a function of coordinates "
            f"write the law in velocity form."
        )


def check_field(u) -> None:
    """Refuse an operator applied to anything but a field.

    **Arguments:**

    - `u`: what was given; a `Field` with values `(channel, *space)` passes.

    **Raises:** `TypeError` that says why an expression cannot be differentiated.
    """
    if not isinstance(u, Field):
        raise TypeError(
            f"An operator of a calculus acts on the field itself; got {type(u).__name__}, an expression. Laws are "
            f"pointwise functions of linear operators: write `u.value * calculus.partial(u, 0)` rather than "
            f"`calculus.partial(0.5 * u.value**2, 0)`, or name the operator (`derivative(u, (2, 1))`, `biharmonic`, "
            f"`flux_divergence`)."
        )


def check_orders(orders, dimensions: int) -> tuple[int, ...]:
    """Check the orders of a mixed derivative and return them as a tuple.

    **Arguments:**

    - `orders`: one non-negative integer per axis.
    - `dimensions`: the number of axes.

    **Raises:** `ValueError` naming what was given.
    """
    orders = tuple(orders)
    if len(orders) != dimensions or any(not isinstance(o, int) or o < 0 for o in orders):
        raise ValueError(
            f"A derivative needs one non-negative integer order per axis, {dimensions} here; got {orders}. "
            f"For d^2u/dx^2 on two axes write (2, 0)."
        )
    return orders


def check_values(owner: str, values, shape: tuple[int, ...]) -> Array:
    """Check that values are `(channel, *space)` on a grid of the given shape.

    **Arguments:**

    - `owner`: the name to blame in the message.
    - `values`: an array `(channel, *space)`.
    - `shape`: the grid's shape, `space`.

    **Returns:** the values as a JAX array; integers become floats.

    **Raises:** `ValueError` that tells a missing channel axis from a batch axis from a foreign grid.
    """
    if isinstance(values, Field) or callable(values):
        raise ValueError(f"{owner} takes an array (channel, *space); got {type(values).__name__}.")
    values = jnp.asarray(values)
    if not jnp.issubdtype(values.dtype, jnp.inexact):
        values = values.astype(float)
    if values.ndim == len(shape) + 1 and values.shape[1:] == shape:
        return values
    expected = f"(channel, {', '.join(map(str, shape))})"
    message = f"{owner} expected values of shape {expected}; got {values.shape}."
    if values.shape == shape:
        message += " The channel axis is missing: write u[None]."
    elif values.ndim == len(shape) + 2 and values.shape[2:] == shape:
        message += " There is a batch axis: map over it with jax.vmap."
    else:
        message += " Are the values from another grid?"
    raise ValueError(message)
