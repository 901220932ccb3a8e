"""Rows of a least-squares problem: any function of the unknowns, or one at points where linear terms are tabulated."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .contractions import contract, pull, sum_curvature, sum_squares, vary_slopes
from .levenberg_marquardt import Quadratic
from .matrices import AbstractSymmetric, Dense


class AbstractResiduals(eqx.Module):
    """Rows `r(w, args)`, by what a solver and its derivative want to know of them.

    Numbers are summed in double precision where it is turned on, whatever the precision of the rows.
    """

    @abc.abstractmethod
    def rows(self, value: Float[Array, " unknown"], args: PyTree) -> Float[Array, " row"]:
        """The rows.

        **Arguments:**

        - `value`: the unknowns `(unknown,)`.
        - `args`: what the rows depend on besides.

        **Returns:** `(row,)`.
        """

    @abc.abstractmethod
    def expand(self, value: Float[Array, " unknown"], args: PyTree) -> Quadratic:
        """Objective, gradient and Gram matrix, rows and slopes evaluated once.

        **Arguments:**

        - `value`: `(unknown,)`.
        - `args`: what the rows depend on besides.

        **Returns:** all three, of one scalar, `(unknown,)` and `(unknown, unknown)`.
        """

    @abc.abstractmethod
    def vary(self, value: Float[Array, " unknown"], args: PyTree) -> Float[Array, " unknown"]:
        """Zero, with the derivative that `J^T r` has with respect to `args`, in one pass.

        **Arguments:**

        - `value`: `(unknown,)`.
        - `args`: what the rows depend on besides.

        **Returns:** `(unknown,)`.
        """

    @abc.abstractmethod
    def curvature(self, value: Float[Array, " unknown"], args: PyTree) -> Float[Array, "unknown unknown"]:
        """What the second derivative of the objective has beyond `J^T J`: `sum_i r_i d2 r_i`.

        **Arguments:**

        - `value`: `(unknown,)`.
        - `args`: what the rows depend on besides.

        **Returns:** `(unknown, unknown)`.
        """

    @abc.abstractmethod
    def fold(self, matrix: Float[Array, "row unknown"]) -> AbstractSymmetric:
        """The Gram matrix of constant rows, of the kind that `expand` and `curvature` have.

        **Arguments:**

        - `matrix`: the rows `(row, unknown)`.

        **Returns:** `(unknown, unknown)`.
        """

    @abc.abstractmethod
    def pull(self, value: Float[Array, " unknown"], args: PyTree, held: PyTree) -> Float[Array, " unknown"]:
        """`J(held)^T r(args)`: what is left of the gradient if slopes do not change with `args`.

        **Arguments:**

        - `value`: `(unknown,)`.
        - `args`: what the rows depend on besides.
        - `held`: the same, constant.

        **Returns:** `(unknown,)`.
        """


class FunctionResiduals(AbstractResiduals):
    """Rows by any function; its Jacobian is made by forward mode, and held for one trial.

    **Arguments:**

    - `function`: `(unknowns (unknown,), args)` to an array of rows of any shape.
    """

    function: Callable[[Float[Array, " unknown"], Any], Array]

    def rows(self, value, args):
        """See `AbstractResiduals.rows`; `value` is `(unknown,)`."""
        return jnp.ravel(self.function(value, args))

    def expand(self, value, args):
        """See `AbstractResiduals.expand`; `value` is `(unknown,)`."""

        def twice(v):
            rows = self.rows(v, args)
            return rows, rows

        jacobian, rows = jax.jacfwd(twice, has_aux=True)(value)
        jacobian, rows = jacobian.astype(value.dtype), rows.astype(value.dtype)
        return Quadratic(0.5 * rows @ rows, jacobian.T @ rows, jacobian.T @ jacobian)

    def vary(self, value, args):
        """See `AbstractResiduals.vary`; `value` is `(unknown,)`."""
        rows, back = jax.vjp(lambda v: self.rows(v, args), value)
        gradient = back(rows)[0]
        return gradient - jax.lax.stop_gradient(gradient)

    def curvature(self, value, args):
        """See `AbstractResiduals.curvature`; `value` is `(unknown,)`."""
        rows = self.rows(value, args)
        return jax.jacfwd(lambda v: jax.vjp(lambda u: self.rows(u, args), v)[1](rows)[0])(value)

    def fold(self, matrix):
        """See `AbstractResiduals.fold`; `matrix` is `(row, unknown)`."""
        return Dense(matrix.T @ matrix)

    def pull(self, value, args, held):
        """See `AbstractResiduals.pull`; `value` is `(unknown,)`."""
        _, back = jax.vjp(lambda v: self.rows(v, held), value)
        return back(self.rows(value, args))[0]


class PointwiseResiduals(AbstractResiduals):
    """Rows at points, each a function of a few terms that are linear in the unknowns.

    `args` is a pair: `tables` `(point, term, unknown)` and `offset` `(point, term)`. The terms at a point are
    `offset + tables @ w`, so that a trial contracts the tables and differentiates a function of a few numbers.

    **Arguments:**

    - `function`: the terms at one point `(term,)` to the rows there, `(row,)` or a scalar. As an `equinox.Module` its
        arrays are differentiated, too, if it is part of `args`: write a module that takes them from there.
    """

    function: Callable[[Float[Array, " term"]], Array]

    def rows(self, value, args):
        """See `AbstractResiduals.rows`; `value` is `(unknown,)`."""
        return jax.vmap(self._at)(self._terms(value, args)).ravel()

    def expand(self, value, args):
        """See `AbstractResiduals.expand`; `value` is `(unknown,)`."""
        return sum_squares(self.function, *args, value)

    def vary(self, value, args):
        """See `AbstractResiduals.vary`; `value` is `(unknown,)`."""
        return vary_slopes(self.function, *args, value)

    def curvature(self, value, args):
        """See `AbstractResiduals.curvature`; `value` is `(unknown,)`."""
        return sum_curvature(self.function, *args, value)

    def fold(self, matrix):
        """See `AbstractResiduals.fold`; `matrix` is `(row, unknown)`."""
        return Dense(matrix.T @ matrix)

    def pull(self, value, args, held):
        """See `AbstractResiduals.pull`; `value` is `(unknown,)`."""

        def at(terms, fixed):
            _, back = jax.vjp(self._at, fixed)
            return back(self._at(terms))[0]

        slopes = jax.vmap(at)(self._terms(value, args), self._terms(value, held))
        return pull(slopes, held[0]).astype(value.dtype)

    def _at(self, terms):
        return jnp.atleast_1d(self.function(terms))

    def _terms(self, value, args):
        return contract(*args, value)
