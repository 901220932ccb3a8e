"""Penalties on the path itself, rather than on the solver: TayNODE and RNODE.

They are integrals over time,

    penalty = integral of q(t, y(t)) dt

by a Gauss-Legendre rule with a few points in each accepted step, on the solver's own interpolation. So they neither
change the steps nor the solution, and can be compared with the penalties on the solver at the same steps. (The released
TayNODE also keeps its integral out of the steps; the released RNODE solves for it, so that it changes them.)
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import jet
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .models._checks import check_sizes
from .regularizers import AbstractRegularizer, real_dtype
from .steps import Problem


def whole(state: PyTree) -> PyTree:
    """The whole state.

    **Arguments:**

    - `state`: a pytree of arrays `(...)`.

    **Returns:** the same `(...)`.
    """
    return state


class _AbstractPathIntegral(AbstractRegularizer):
    """An integral along the solution of one ordinary differential equation."""

    points: eqx.AbstractVar[int]

    @abc.abstractmethod
    def integrand(
        self, t: Float[Array, ""], y: PyTree, problem: Problem, key: PRNGKeyArray | None
    ) -> Float[Array, ""]:
        """What is integrated.

        **Arguments:**

        - `t`: the time, a scalar.
        - `y`: the state there, a pytree of arrays `(...)`.
        - `problem`: what is solved.
        - `key`: a random key, or `None`.

        **Returns:** a scalar.
        """

    def differentiates_steps(self):
        """It does."""
        return True

    def check(self, problem):
        """It must be one ordinary differential equation."""
        if not problem.is_ordinary():
            raise ValueError(
                f"{type(self).__name__} is an integral along the solution of one diffrax.ODETerm, and these terms are "
                "another kind. For a stochastic equation use ErrorEstimate() or LocalErrorEstimate()."
            )

    def begin(self, problem):
        """Nothing yet."""
        return jnp.zeros((), real_dtype(problem))

    def see(self, held, step, key):
        """Add the integral over a step."""
        places, weights = np.polynomial.legendre.leggauss(self.points)
        h = step.t1 - step.t0

        def evaluate(place):
            t = step.t0 + h * place
            return self.integrand(t, step.interpolate(t), step.problem, key)

        numbers = jax.vmap(evaluate)(jnp.asarray((places + 1) / 2, jnp.result_type(h)))
        return held + h * jnp.dot(jnp.asarray(weights / 2, held.dtype), numbers)

    def end(self, held, problem, key):
        """The integral."""
        return held


class TaylorDerivative(_AbstractPathIntegral):
    """The size of a high derivative of the solution: TayNODE.

        penalty = integral of |d^K y / dt^K|^2 dt

    by Taylor-mode differentiation of the field.

    **Arguments:**

    - `order`: `K`, 3 for images and 2 for series in the publication. The cost grows as its square.
    - `points`: of the quadrature in each step.
    - `select`: `select(y)`, the part of the state that counts. The released code takes the mean over components.

    **Raises:** `ValueError` for an order or a number of points that is not a positive integer; in a solve, for terms
    that are not one ordinary differential equation; for a field with an operation that has no
    Taylor rule JAX raises an error of its own.

    Reference: J. Kelly, J. Bettencourt, M. Johnson, D. Duvenaud, "Learning Differential Equations that are Easy to
    Solve", 2020, arXiv:2007.04504.
    """

    order: int = eqx.field(default=3, static=True)
    points: int = eqx.field(default=2, static=True)
    select: Callable[[PyTree], PyTree] = eqx.field(default=whole, static=True)
    needs_key: ClassVar[bool] = False

    def __check_init__(self):
        check_sizes("TaylorDerivative", order=self.order, points=self.points)

    def integrand(self, t, y, problem, key):
        """The square of the derivative."""
        field, t, y = _field(problem, t, y)
        return _square(self.select(differentiate_in_time(field, t, y, self.order)))


class KineticEnergy(_AbstractPathIntegral):
    """The square of the speed: one of the two penalties of RNODE.

        penalty = integral of |f(t, y)|^2 dt

    **Arguments:**

    - `points`: of the quadrature in each step.
    - `select`: `select(y)`, the part of the state that counts, such as `lambda y: y[0]` for `FFJORD`. The released code
        takes half the mean over components.

    **Raises:** `ValueError` for a number of points that is not a positive integer; in a solve, for terms that are not
    one ordinary differential equation.

    Reference: C. Finlay, J.-H. Jacobsen, L. Nurbekyan, A. Oberman, "How to Train Your Neural ODE: the World of Jacobian
    and Kinetic Regularization", 2020, arXiv:2002.02798.
    """

    points: int = eqx.field(default=2, static=True)
    select: Callable[[PyTree], PyTree] = eqx.field(default=whole, static=True)
    needs_key: ClassVar[bool] = False

    def __check_init__(self):
        check_sizes("KineticEnergy", points=self.points)

    def integrand(self, t, y, problem, key):
        """The square of the rate."""
        field, t, y = _field(problem, t, y)
        return _square(self.select(field(t, y)))


def draw_normal(key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
    """Draw independent normal numbers.

    **Arguments:**

    - `key`: a random key.
    - `shape`, `dtype`: of the result.

    **Returns:** an array of that shape `(...)`.
    """
    return jax.random.normal(key, shape, dtype)


class JacobianNorm(_AbstractPathIntegral):
    """The size of the field's Jacobian, by a random probe: the other penalty of RNODE.

        penalty = integral of |e^T df/dy|^2 dt,    E[e e^T] = 1

    whose expectation has the Frobenius norm in the place of `|e^T df/dy|`. The probe is drawn once a solve.

    **Arguments:**

    - `points`: of the quadrature in each step.
    - `select`: `select(y)`, the part of the state that counts, such as `lambda y: y[0]` for `FFJORD`.
    - `sampler`: `sampler(key, shape, dtype)` gives numbers of mean 0 and variance 1.

    **Raises:** `ValueError` for a number of points that is not a positive integer; in a solve, without a key, or for
    terms that are not one ordinary differential equation.

    Reference: as for `KineticEnergy`.
    """

    points: int = eqx.field(default=2, static=True)
    select: Callable[[PyTree], PyTree] = eqx.field(default=whole, static=True)
    sampler: Callable[..., Array] = eqx.field(default=draw_normal, static=True)
    needs_key: ClassVar[bool] = True

    def __check_init__(self):
        check_sizes("JacobianNorm", points=self.points)

    def integrand(self, t, y, problem, key):
        """The square of a row of the Jacobian, weighted at random."""
        field, t, y = _field(problem, t, y)
        rates, pull = jax.vjp(lambda y: self.select(field(t, y)), y)
        leaves, structure = jax.tree.flatten(rates)
        keys = jax.random.split(key, len(leaves))
        probes = [self.sampler(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
        (row,) = pull(jax.tree.unflatten(structure, probes))
        return _square(self.select(row))


def differentiate_in_time(
    field: Callable[[Float[Array, ""], PyTree], PyTree], t: Float[Array, ""], y: PyTree, order: int
) -> PyTree:
    """A derivative of a solution in time, from its equation.

    **Arguments:**

    - `field`: `field(t, y)`, the rate of change.
    - `t`: the time, a scalar.
    - `y`: the state there, a pytree of arrays `(...)`.
    - `order`: which derivative, a positive integer.

    **Returns:** `d^order y / dt^order`, a pytree of arrays `(...)`.
    """
    leaves, structure = jax.tree.flatten(y)

    def flat(t, *leaves):
        return jax.tree.leaves(field(t, jax.tree.unflatten(structure, leaves)))

    series = [[rate] for rate in flat(t, *leaves)]
    for known in range(1, order):
        clock = [jnp.ones_like(t)] + [jnp.zeros_like(t)] * (known - 1)
        first, rest = jet.jet(flat, (t, *leaves), (clock, *series))
        # The rates of change of y', y'', ... are the next derivatives.
        series = [[rate, *higher] for rate, higher in zip(first, rest, strict=True)]
    return jax.tree.unflatten(structure, [derivatives[order - 1] for derivatives in series])


def _field(problem: Problem, t: Float[Array, ""], y: PyTree) -> Any:
    """The user's field in the user's time, also where the solve runs backwards."""
    term, direction = problem.terms, 1
    if hasattr(term, "direction"):
        term, direction = term.term, term.direction
    return (lambda t, y: term.vf(t, y, problem.args)), t * direction, y


def _square(tree: PyTree) -> Float[Array, ""]:
    return sum(jnp.sum(jnp.abs(leaf) ** 2) for leaf in jax.tree.leaves(tree))
