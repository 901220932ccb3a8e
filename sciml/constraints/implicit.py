r"""Derivatives of a minimum with respect to what it depends on, by one solve with a matrix of its own size.

At a minimum the gradient `g(w, a)` vanishes, so `dw = -H^-1 (dg/da) da` with the Hessian `H = dg/dw`. All forms here
return the minimum plus a term that is zero and has that derivative, in which only `g` depends on `a`; so forward and
reverse mode, and any nesting with `vmap`, `jit` and `shard_map`, are JAX's own, to first order.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from .levenberg_marquardt import Quadratic, find_scale
from .matrices import as_symmetric
from .residuals import AbstractResiduals


class AbstractDerivative(eqx.Module):
    """What a minimum's derivative is taken to be."""

    @abc.abstractmethod
    def attach(
        self,
        residuals: AbstractResiduals,
        value: Float[Array, " unknown"],
        here: Quadratic,
        args: PyTree,
        constant: tuple[Array, Array] | None,
        ridge: float,
        finite: Bool[Array, ""],
    ) -> Float[Array, " unknown"]:
        """The same minimum, with a derivative.

        **Arguments:**

        - `residuals`: the rows.
        - `value`: the minimum `(unknown,)`.
        - `here`: objective, gradient and Gram matrix of all rows there.
        - `args`: what the rows depend on.
        - `constant`: a matrix `(row, unknown)` and a right side `(row,)` of linear rows, or None.
        - `ridge`: the weight of the unknowns as rows.
        - `finite`: whether the rows are; a scalar.

        **Returns:** `(unknown,)`.
        """


class ExactDerivative(AbstractDerivative):
    """The derivative of the minimum, with the full Hessian: as accurate as the minimum itself.

    It costs about what one trial of the solver does. Where the Hessian is singular to working precision the smallest
    multiple of the identity that makes it solvable is added; the solve's result says so.
    """

    def attach(self, residuals, value, here, args, constant, ridge, finite):
        """See `AbstractDerivative.attach`; `value` is `(unknown,)`."""
        held = jax.lax.stop_gradient(args)
        bent = as_symmetric(residuals.curvature(value, held))
        matrix = jax.tree.map(lambda one, two: one + two.astype(value.dtype), here.gram, bent)
        varied = residuals.vary(value, args).astype(value.dtype)
        return _step(value, matrix, here.gradient, varied, constant, ridge, finite)


class GaussNewtonDerivative(AbstractDerivative):
    """As if the residual were zero at the minimum: `-(J^T J)^-1 J^T dr`, which spares second derivatives.

    It is exact where the rows vanish, and off by as much as they do not. Of a basis far from the solution it may point
    elsewhere: `benchmarks/least_squares_gradients.py` measures the cosine to the exact derivative, 0.3 to 0.7
    with its basis of waves.
    """

    def attach(self, residuals, value, here, args, constant, ridge, finite):
        """See `AbstractDerivative.attach`; `value` is `(unknown,)`."""
        held, held_constant = jax.lax.stop_gradient((args, constant))
        pull = residuals.pull(value, args, held).astype(value.dtype)
        varied = pull - jax.lax.stop_gradient(pull)
        if constant is not None:
            # The slopes of constant rows are held, too.
            constant = (held_constant[0], constant[1] - (constant[0] - held_constant[0]) @ value)
        return _step(value, here.gram, here.gradient, varied, constant, ridge, finite)


class StopGradient(AbstractDerivative):
    """None: what the minimum depends on is taken for constant. It costs nothing and may mislead training altogether."""

    def attach(self, residuals, value, here, args, constant, ridge, finite):
        """See `AbstractDerivative.attach`; `value` is `(unknown,)`."""
        return jax.lax.stop_gradient(value)


def _step(value, matrix, gradient, varied, constant, ridge, finite) -> Array:
    if constant is not None:
        varied = varied + _vary_constant(*constant, value)
    gradient = gradient + varied + (ridge**2 - jax.lax.stop_gradient(ridge) ** 2) * value
    matrix = jax.tree.map(lambda x: jnp.where(finite, x, 0), matrix).shift(jnp.where(finite, 0.0, 1.0))
    scale = find_scale(jnp.abs(matrix.diagonal()))
    scaled = matrix.rescale(scale)
    # Cholesky's factors tell at once what the least eigenvalue would take long to: whether it is above the floor.
    floor = 10 * jnp.finfo(value.dtype).eps * len(value)
    scaled = scaled.shift(jnp.where(scaled.shift(-floor).is_positive(), 0.0, 2 * floor))
    scaled, scale = jax.lax.stop_gradient((scaled, scale))
    step = scaled.solve(gradient / scale, positive=False) / scale
    held_step = jax.lax.stop_gradient(step)
    # The step itself is taken, too, where it is small enough to be Newton's last: it squares what error is left.
    last = jnp.linalg.norm(held_step * scale) <= 1e-3 * jnp.linalg.norm(value * scale)
    return value - (step - held_step) - jnp.where(last, held_step, 0.0)


def _vary_constant(matrix, data, value) -> Array:
    pull = (matrix.T @ (matrix @ value - data)).astype(value.dtype)
    return pull - jax.lax.stop_gradient(pull)
