"""Continuous normalizing flows: a density as the image of a normal one under a differential equation."""

import abc
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..solve import solve
from ._checks import check_callable, check_interval, check_sizes, check_solving, check_vector

Field = Callable[[Float[Array, " dim"]], Float[Array, " dim"]]


class AbstractTrace(eqx.Module):
    """How the divergence of a field is found."""

    @abc.abstractmethod
    def draw(self, dim: int, dtype: Any, key: PRNGKeyArray | None) -> Float[Array, " dim"] | None:
        """Draw what stays fixed during a solve.

        **Arguments:**

        - `dim`: the number of components.
        - `dtype`: of the state.
        - `key`: a random key, or `None`.

        **Returns:** a probe `(dim,)`, or `None` if none is needed.

        **Raises:** `ValueError` if a key is needed and there is none.
        """

    @abc.abstractmethod
    def evaluate(
        self, field: Field, y: Float[Array, " dim"], probe: Float[Array, " dim"] | None
    ) -> tuple[Float[Array, " dim"], Float[Array, ""]]:
        """The field and its divergence at one point.

        **Arguments:**

        - `field`: a function of the state alone.
        - `y`: the state `(dim,)`.
        - `probe`: what `draw` gave `(dim,)`.

        **Returns:** the rate `(dim,)` and its divergence, a scalar.
        """


class ExactTrace(AbstractTrace):
    """The trace of the Jacobian, by one directional derivative for each component."""

    def draw(self, dim, dtype, key):
        """Nothing is drawn."""
        return None

    def evaluate(self, field, y, probe):
        """The field and its exact divergence, at the cost of `dim` more evaluations."""
        rate, push = jax.linearize(field, y)
        return rate, jnp.trace(jax.vmap(push)(jnp.eye(y.size, dtype=y.dtype)))


class HutchinsonTrace(AbstractTrace):
    """An unbiased estimate of the trace, `e^T (df/dy) e` with a random probe `e`, at the cost of one derivative.

    The probe is the same all along a solve, so that what is solved is an ordinary differential equation.

    **Arguments:**

    - `sampler`: `sampler(key, shape, dtype)` gives independent numbers of mean 0 and variance 1, such as
        `jax.random.rademacher` (the least variance) or `jax.random.normal`.

    Reference: M. Hutchinson, "A Stochastic Estimator of the Trace of the Influence Matrix for Laplacian Smoothing
    Splines", 1989, doi:10.1080/03610919008812866; W. Grathwohl et al., 2019, arXiv:1810.01367.
    """

    sampler: Callable[..., Array] = eqx.field(static=True)

    def __init__(self, sampler: Callable[..., Array] = jax.random.rademacher):
        self.sampler = sampler

    def draw(self, dim, dtype, key):
        """A probe `(dim,)`."""
        if key is None:
            raise ValueError(
                "HutchinsonTrace draws a random probe for each solve, and key is None; expected a key. Pass key=..., "
                "or use ExactTrace()."
            )
        return self.sampler(key, (dim,), dtype)

    def evaluate(self, field, y, probe):
        """The field and an estimate of its divergence."""
        rate, pull = jax.vjp(field, y)
        return rate, jnp.dot(pull(probe)[0], probe)


class FFJORD(eqx.Module):
    """A density on vectors: where the solution of a differential equation takes the data, it is standard normal.

        dy/dt = field(t, y),    log p(x) = log N(y(t1); 0, 1) + integral of div field along y,    y(t0) = x

    **Arguments:**

    - `field`: `field(t, y, args)`, a module, such as `ConcatSquash`.
    - `dim`: the number of components.
    - `trace`: `ExactTrace()` or `HutchinsonTrace()`. Samples do not need it.
    - `t0`, `t1`: the times of the data and of the normal distribution, numbers.
    - `dt0`: the first step, a number; `None` leaves it to diffrax.
    - `solver`, `controller`, `adjoint`, `max_steps`: how the equation is solved and differentiated, as for
        `diffrax.diffeqsolve`.
    - `throw`: whether to stop when `max_steps` is reached; if not, `solution.result` says so.

    **Raises:** `ValueError` for times that do not increase, a size that is not a positive integer, or for what is not a
    trace, a solver, a controller, an adjoint.

    Reference: W. Grathwohl, R. Chen, J. Bettencourt, I. Sutskever, D. Duvenaud, "FFJORD: Free-form Continuous Dynamics
    for Scalable Reversible Generative Models", 2019, arXiv:1810.01367.
    """

    field: Callable[..., Any]
    dim: int = eqx.field(static=True)
    trace: AbstractTrace = ExactTrace()
    t0: float = eqx.field(default=0.0, static=True)
    t1: float = eqx.field(default=1.0, static=True)
    dt0: float | None = eqx.field(default=None, static=True)
    solver: diffrax.AbstractSolver = diffrax.Tsit5()
    controller: diffrax.AbstractStepSizeController = diffrax.PIDController(rtol=1.4e-8, atol=1.4e-8)
    adjoint: diffrax.AbstractAdjoint = diffrax.RecursiveCheckpointAdjoint()
    max_steps: int | None = eqx.field(default=4096, static=True)
    throw: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        check_callable("FFJORD", field=self.field)
        check_sizes("FFJORD", dim=self.dim)
        check_interval("FFJORD", self.t0, self.t1)
        check_solving("FFJORD", self.solver, self.controller, self.adjoint, self.max_steps)
        if not isinstance(self.trace, AbstractTrace):
            raise ValueError(
                f"FFJORD got trace={self.trace!r}; expected ExactTrace() or HutchinsonTrace(), with the parentheses."
            )

    def log_prob(
        self,
        x: Float[Array, " dim"],
        *,
        t1: float | Float[Array, ""] | None = None,
        regularizer: Any = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, ""], Any]:
        """The logarithm of the density at a point.

        **Arguments:**

        - `x`: the point, without a batch axis `(dim,)`.
        - `t1`: another time of the normal distribution for this call, a scalar, as STEER draws it in training.
        - `regularizer`: as for `solve`. The equation it sees has the state `(y, log-density)`.
        - `key`: a random key, for a trace or a regularizer that needs one.

        **Returns:** the log-density, a scalar (with `HutchinsonTrace` an unbiased estimate of it), and what `solve`
        returned, whose `penalty` belongs into the loss.

        **Raises:** `ValueError` for a point of another shape, or without a key that is needed; as `solve`.
        """
        check_vector("FFJORD", "x", x, self.dim)
        probe_key, key = (None, None) if key is None else jax.random.split(key)
        probe = self.trace.draw(self.dim, x.dtype, probe_key)
        solution = self._solve(
            diffrax.ODETerm(_WithDivergence(self.field, self.trace)),
            self.t0,
            self.t1 if t1 is None else t1,
            (x, jnp.zeros((), x.dtype)),
            probe,
            regularizer,
            key,
        )
        base, change = (leaf[-1] for leaf in solution.ys)
        return jnp.sum(jax.scipy.stats.norm.logpdf(base)) + change, solution

    def sample(self, *, regularizer: Any = None, key: PRNGKeyArray) -> tuple[Float[Array, " dim"], Any]:
        """Draw one point.

        **Arguments:**

        - `regularizer`: as for `solve`.
        - `key`: the random key of the point, and of regularizers that need one. `jax.vmap` over keys draws many.

        **Returns:** the point `(dim,)` and what `solve` returned.

        **Raises:** as `solve`.
        """
        draw, key = jax.random.split(key)
        base, term = jax.random.normal(draw, (self.dim,)), diffrax.ODETerm(self.field)
        solution = self._solve(term, self.t1, self.t0, base, None, regularizer, key, backwards=True)
        return solution.ys[-1], solution

    def _solve(self, term, t0, t1, y0, args, regularizer, key, backwards=False):
        return solve(
            term,
            self.solver,
            t0,
            t1,
            -self.dt0 if backwards and self.dt0 is not None else self.dt0,
            y0,
            args,
            regularizer=regularizer,
            key=key,
            stepsize_controller=self.controller,
            adjoint=self.adjoint,
            max_steps=self.max_steps,
            throw=self.throw,
        )


class _WithDivergence(eqx.Module):
    """The field of a state together with the integral of its divergence; `args` is the probe."""

    field: Callable[..., Any]
    trace: AbstractTrace

    def __call__(self, t, y, args):
        return self.trace.evaluate(lambda state: self.field(t, state, None), y[0], args)
