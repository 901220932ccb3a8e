"""Solvers of other libraries behind `least_squares`: they find the minimum, and its derivative is ours."""

import abc
import warnings
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._optional import require
from .levenberg_marquardt import Progress, Quadratic


class AbstractBackend(eqx.Module):
    """A solver of another library."""

    @abc.abstractmethod
    def run(
        self,
        rows: Callable[[Float[Array, " unknown"]], Float[Array, " row"]],
        initial: Float[Array, " unknown"],
    ) -> Progress:
        """Solve.

        **Arguments:**

        - `rows`: unknowns `(unknown,)` to all rows `(row,)`.
        - `initial`: where to start, `(unknown,)`.

        **Returns:** where it ended; objective, gradient and Gram matrix are left out.
        """


class Optimistix(AbstractBackend):
    """`optimistix.LevenbergMarquardt`. It does not run inside `jax.shard_map` and `jax.pmap`.

    **Arguments:**

    - `tolerance`: relative and absolute, of unknowns and rows.
    - `max_steps`: the most steps.
    - `normal`: whether steps are found by Cholesky's factors of the Gram matrix, and not by the Jacobian's QR, which is
        the more accurate and slower.
    """

    tolerance: float = 1e-9
    max_steps: int = eqx.field(static=True, default=256)
    normal: bool = eqx.field(static=True, default=False)

    def run(self, rows, initial):
        """See `AbstractBackend.run`; `initial` is `(unknown,)`."""
        import lineax
        import optimistix

        linear = lineax.Normal(lineax.Cholesky()) if self.normal else lineax.QR()
        solver = optimistix.LevenbergMarquardt(self.tolerance, self.tolerance, linear_solver=linear)
        found = optimistix.least_squares(
            lambda value, _: rows(value), solver, initial, max_steps=self.max_steps, throw=False
        )
        done = found.result == optimistix.RESULTS.successful
        return _report(found.value, found.stats["num_steps"], done)


class Jaxopt(AbstractBackend):
    """`jaxopt.LevenbergMarquardt`, of a library that is no longer maintained; needs `pip install "sciml[jaxopt]"`.

    Its own derivative is not used: by default it solves with the conjugate gradient method for a matrix whose condition
    is the fourth power of the Jacobian's, and does not say when that fails.

    **Arguments:**

    - `tolerance`: of the gradient and of the step.
    - `max_steps`: the most steps.
    """

    tolerance: float = 1e-9
    max_steps: int = eqx.field(static=True, default=256)

    def run(self, rows, initial):
        """See `AbstractBackend.run`; `initial` is `(unknown,)`."""
        with warnings.catch_warnings():
            # It warns on import that it is no longer maintained; the docstring says so, too.
            warnings.simplefilter("ignore", DeprecationWarning)
            jaxopt = require("jaxopt", extra="jaxopt")
        solver = jaxopt.LevenbergMarquardt(
            rows,
            maxiter=self.max_steps,
            tol=self.tolerance,
            gtol=self.tolerance,
            xtol=self.tolerance,
            solver="cholesky",
            materialize_jac=True,
            implicit_diff=False,
        )
        found, state = solver.run(initial)
        return _report(found, state.iter_num, state.iter_num < self.max_steps)


def _report(value, count, done) -> Progress:
    nothing = jnp.zeros((), value.dtype)
    here = Quadratic(nothing, jnp.zeros_like(value), jnp.zeros((len(value),) * 2, value.dtype))
    return Progress(value, here, jnp.ones_like(value), nothing, nothing, jnp.asarray(count), done)
