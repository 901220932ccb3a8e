"""Nonlinear least squares that can be differentiated: one verb for our solver and for those of other libraries."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from .backends import AbstractBackend
from .implicit import AbstractDerivative, ExactDerivative
from .levenberg_marquardt import RESULTS, LevenbergMarquardt, Quadratic, is_finite, judge, minimize
from .matrices import as_symmetric
from .residuals import AbstractResiduals, FunctionResiduals, PointwiseResiduals


class LeastSquaresSolution(eqx.Module):
    """Where a sum of squares is least, and how the solve went.

    **Arguments:**

    - `value`: the unknowns, `(unknown,)` or, of blocks, `(block, basis)`; differentiable.
    - `objective`: half the sum of the squares there, a scalar.
    - `gradient_norm`: the largest cosine of a column of the Jacobian with the residual, a scalar; 0 at a minimum.
        As the objective, it is that before the last step of Newton's method, which comes with the derivative.
    - `smallest_eigenvalue`: of the Gram matrix scaled to a unit diagonal, a scalar; 0 for unknowns that are dependent.
    - `iterations`: trials, a scalar.
    - `result`: how it ended.
    """

    value: Float[Array, "..."]
    objective: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    smallest_eigenvalue: Float[Array, ""]
    iterations: Int[Array, ""]
    result: RESULTS


def least_squares(
    residuals: AbstractResiduals | Callable[[Float[Array, " unknown"], Any], Array],
    initial: Float[Array, " unknown"],
    args: PyTree = None,
    *,
    constant: tuple[Float[Array, "row unknown"], Float[Array, " row"]] | None = None,
    solver: LevenbergMarquardt | AbstractBackend | None = None,
    derivative: AbstractDerivative | None = None,
    regularization: float = 0.0,
    throw: bool = True,
) -> LeastSquaresSolution:
    """Find the unknowns `w` at which `|r(w, args)|^2 + |A w - b|^2 + regularization^2 |w|^2` is least.

    It works under `jit`, `vmap`, `grad`, `jax.shard_map` and `jax.pmap`. Sums over rows are in double precision where
    that is turned on (`jax.config.update("jax_enable_x64", True)`), whatever the precision of the rows. The minimum is
    differentiable with respect to `args` and `constant`, once, in either mode.

    **Arguments:**

    - `residuals`: `r`, a function of the unknowns `(unknown,)` and `args` to rows; or `PointwiseResiduals`, which
        is faster and needs far less memory where terms are linear. What is to be differentiated goes into `args`.
    - `initial`: where to start, `(unknown,)`; it is not differentiated.
    - `args`: whatever the rows depend on.
    - `constant`: linear rows, a matrix `(row, unknown)` and a right side `(row,)`, which are summed once.
    - `solver`: `LevenbergMarquardt()` by default; or a backend, `Optimistix()` or `Jaxopt()`.
    - `derivative`: `ExactDerivative()` by default.
    - `regularization`: the weight of the unknowns as rows.
    - `throw`: raise an error where the solve did not converge; else `result` says so. Give `False` inside
        `jax.shard_map` and `jax.pmap`, where devices cannot raise, and look at `result` outside.

    **Returns:** the solution.

    **Raises:** `ValueError` for wrong shapes, or fewer rows than unknowns without a regularization; `RuntimeError` for
    rows that are not finite, dependent unknowns, or a solve that took all its steps.
    """
    solver = LevenbergMarquardt() if solver is None else solver
    derivative = ExactDerivative() if derivative is None else derivative
    residuals = _as_residuals(residuals)
    initial = _check(residuals, initial, args, constant, solver, derivative, regularization)
    held, held_constant, start = jax.lax.stop_gradient((args, constant, initial))
    start = start.astype(jnp.promote_types(start.dtype, jnp.result_type(float)))
    expand = _pose(residuals, held, held_constant, regularization, start.dtype)
    if isinstance(solver, AbstractBackend):
        progress = solver.run(lambda w: _stack(residuals, w, held, held_constant, regularization), start)
        progress = progress._replace(here=expand(progress.value))
    else:
        progress = minimize(expand, start, solver)
    result, smallest, cosine = judge(progress)
    finite = is_finite(progress.here)
    value = derivative.attach(
        residuals, progress.value, progress.here, args, constant, regularization, finite
    )
    value = value.astype(initial.dtype)
    if throw:
        value = result.error_if(value, result != RESULTS.successful)
    return LeastSquaresSolution(value, progress.here.objective, cosine, smallest, progress.count, result)


def _as_residuals(residuals) -> AbstractResiduals:
    if isinstance(residuals, AbstractResiduals):
        return residuals
    if not callable(residuals):
        raise ValueError(
            f"least_squares needs a function (unknowns, args) -> rows, or PointwiseResiduals(function); got "
            f"{residuals!r}."
        )
    return FunctionResiduals(residuals)


def _pose(residuals, args, constant, ridge, dtype) -> Callable[[Array], Quadratic]:
    """The whole problem as the loop sees it, with the Gram matrix of the constant rows summed once."""
    if constant is not None:
        matrix, data = (x.astype(dtype) for x in constant)
        square = residuals.fold(matrix)

    def expand(value):
        objective, gradient, gram = residuals.expand(value, args)
        objective, gradient = objective + 0.5 * ridge**2 * value @ value, gradient + ridge**2 * value
        if constant is not None:
            # Not by the Gram matrix: near rows that vanish that would be a difference of large numbers.
            rows = matrix @ value - data
            objective, gradient = objective + 0.5 * rows @ rows, gradient + rows @ matrix
            gram = jax.tree.map(jnp.add, as_symmetric(gram), square)
        return Quadratic(objective, gradient, as_symmetric(gram).shift(ridge**2))

    return expand


def _stack(residuals, value, args, constant, ridge) -> Array:
    """All rows at once, for solvers of other libraries."""
    rows = [residuals.rows(value, args).astype(value.dtype)]
    if constant is not None:
        rows.append(constant[0] @ value - constant[1])
    if not (isinstance(ridge, (int, float)) and ridge == 0):
        rows.append(ridge * value)
    return jnp.concatenate(rows)


def _check(residuals, initial, args, constant, solver, derivative, ridge) -> Array:
    if not isinstance(solver, (LevenbergMarquardt, AbstractBackend)):
        raise ValueError(
            f"least_squares.solver must be LevenbergMarquardt(), Optimistix() or Jaxopt(); got {solver!r}."
        )
    if not isinstance(derivative, AbstractDerivative):
        raise ValueError(
            f"least_squares.derivative must be ExactDerivative(), GaussNewtonDerivative() or StopGradient(); got "
            f"{derivative!r}."
        )
    if isinstance(ridge, (int, float)) and not 0 <= ridge < float("inf"):
        raise ValueError(f"least_squares.regularization must be 0 or more, and finite; got {ridge}.")
    initial = jnp.asarray(initial)
    if initial.ndim != 1 or not jnp.issubdtype(initial.dtype, jnp.floating):
        raise ValueError(
            f"least_squares starts from real unknowns (unknown,); got {initial.dtype} of shape {initial.shape}. If the "
            "first axis is a batch, use jax.vmap."
        )
    if isinstance(residuals, PointwiseResiduals):
        _check_tables(args, len(initial))
    count = jax.eval_shape(residuals.rows, initial, args).shape[0]
    if constant is not None:
        shapes = tuple(map(jnp.shape, constant))
        if (
            len(shapes) != 2
            or len(shapes[0]) != 2
            or shapes[0][1:] != initial.shape
            or shapes[1] != shapes[0][:1]
        ):
            raise ValueError(
                f"constant must be a matrix (row, {len(initial)}) and a right side (row,); got shapes {shapes}."
            )
        count += shapes[0][0]
    if count < len(initial) and isinstance(ridge, (int, float)) and ridge == 0:
        raise ValueError(
            f"least_squares has {count} rows for {len(initial)} unknowns, which do not determine them. Give more "
            "points, fewer unknowns, or a regularization."
        )
    if not isinstance(initial, jax.core.Tracer) and not np.all(np.isfinite(initial)):
        raise ValueError("least_squares: initial must be finite; got NaN or infinity.")
    return initial


def _check_tables(args, count: int) -> None:
    try:
        tables, offset = map(jnp.shape, args)
    except (TypeError, ValueError):
        tables, offset = None, None
    if tables is None or len(tables) != 3 or tables[2] != count or offset != tables[:2]:
        raise ValueError(
            f"PointwiseResiduals take args=(tables, offset) of shapes (point, term, {count}) and (point, term); got "
            f"{jax.tree.map(jnp.shape, args)}."
        )
