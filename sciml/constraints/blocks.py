r"""Weights of one or many blocks by Levenberg-Marquardt on normal equations, differentiable through their optimality.

    minimize  1/2 sum_k sum_p |f(offset_kp + tables_kp w_k)|^2 + 1/2 |A w - b|^2 + 1/2 ridge^2 |w|^2

over `w = (w_1, ..., w_K)`: few unknowns, very many rows, blocks that meet only in the constant rows `A`. The Gram
matrix of a block is summed over its points, that of the constant rows is made once, and a trial costs one evaluation of
the residual and its slope.

The loop, and why it is not a library's, is in `levenberg_marquardt.py`.

The derivative is exact to first order, forward and reverse, by one Newton step at the end:
`w = w* - H^-1 g(w*, data)`, where `H` is the full Hessian, held, and only `g` depends on the data.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .contractions import sum_curvature, sum_slopes, sum_squares
from .levenberg_marquardt import RESULTS, LevenbergMarquardt, Progress, Quadratic, find_scale, judge, minimize


class BlockProblem(NamedTuple):
    """The data of a solve.

    **Arguments:**

    - `tables`: `(block, point, term, basis)`.
    - `offset`: `(block, point, term)`.
    - `matrix`: the constant rows `A`, `(row, block * basis)`.
    - `data`: their right side `b`, `(row,)`.
    """

    tables: Float[Array, "block point term basis"]
    offset: Float[Array, "block point term"]
    matrix: Float[Array, "row unknown"]
    data: Float[Array, " row"]


class BlockSolution(NamedTuple):
    """The weights, and how the solve went.

    **Arguments:**

    - `weights`: `(block, basis)`.
    - `objective`: what was minimized, a scalar.
    - `gradient_norm`: the largest cosine of a column of the Jacobian with the residual, a scalar.
    - `smallest_eigenvalue`: of the Gram matrix scaled to a unit diagonal, a scalar.
    - `iterations`: trials, a scalar.
    - `result`: how it ended.
    """

    weights: Float[Array, "block basis"]
    objective: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    smallest_eigenvalue: Float[Array, ""]
    iterations: Int[Array, ""]
    result: RESULTS


def solve_blocks(
    function: Callable[[Float[Array, " term"]], Float[Array, " row"]],
    problem: BlockProblem,
    initial: Float[Array, "block basis"],
    *,
    solver: LevenbergMarquardt,
    ridge: float,
) -> BlockSolution:
    """Find the weights.

    **Arguments:**

    - `function`: the residual at a point as a function of the terms there, `(term,) -> (row,)`; a pytree, whose leaves
      may be differentiated.
    - `problem`: tables, offsets and constant rows; may be differentiated.
    - `initial`: the first weights `(block, basis)`; not differentiated.
    - `solver`: tolerances.
    - `ridge`: added to the rows as `ridge * w`.

    **Returns:** the solution, `weights` `(block, basis)`. Nothing is raised: look at `result`.
    """
    held_function, held = jax.lax.stop_gradient((function, problem))
    progress = _minimize(held_function, held, initial, solver=solver, ridge=ridge)
    result, smallest, cosine = judge(progress)
    objective, _, gram = progress.here
    finite = jnp.isfinite(objective) & jnp.all(jnp.isfinite(gram))
    found = _attach(function, problem, held, progress.value, gram, ridge, initial.shape, finite)
    return BlockSolution(
        found.astype(problem.tables.dtype), objective, cosine, smallest, progress.count, result
    )


def guess_blocks(
    function: Callable[[Float[Array, " term"]], Float[Array, " row"]],
    problem: BlockProblem,
    initial: Float[Array, "block basis"],
    *,
    solver: LevenbergMarquardt,
    ridge: float,
) -> Float[Array, "block basis"]:
    """Weights to start from: as `solve_blocks` finds them, without a derivative or a verdict.

    **Arguments:**

    - `function`, `problem`, `solver`, `ridge`: as for `solve_blocks`.
    - `initial`: the first weights `(block, basis)`.

    **Returns:** weights `(block, basis)`; the first ones where no finite ones were found.
    """
    function, problem = jax.lax.stop_gradient((function, problem))
    weights = _minimize(function, problem, initial, solver=solver, ridge=ridge).value
    found = weights.reshape(initial.shape).astype(initial.dtype)
    return jnp.where(jnp.all(jnp.isfinite(found)), found, initial)


def _minimize(held_function, held, initial, *, solver, ridge) -> Progress:
    shape = initial.shape
    double = jnp.promote_types(held.tables.dtype, jnp.result_type(float))
    square = (held.matrix.T @ held.matrix).astype(double)
    side = (held.matrix.T @ held.data).astype(double)
    constant = 0.5 * jnp.sum(held.data.astype(double) ** 2)
    identity = jnp.eye(square.shape[0], dtype=double)

    def expand(weights):
        """Objective, gradient and Gram matrix."""
        each = jax.vmap(lambda *block: sum_squares(held_function, *block))
        points, slopes, blocks = each(held.tables, held.offset, weights.reshape(shape))
        gram = square + jax.scipy.linalg.block_diag(*blocks) + ridge**2 * identity
        pull = square @ weights - side
        gradient = slopes.ravel() + pull + ridge**2 * weights
        linear = 0.5 * weights @ (square @ weights) - weights @ side + constant
        objective = jnp.sum(points) + linear + 0.5 * ridge**2 * jnp.sum(weights**2)
        return Quadratic(objective, gradient, gram)

    return minimize(expand, jax.lax.stop_gradient(initial).ravel().astype(double), solver)


def _attach(function, problem, held, weights, gram, ridge, shape, finite):
    """The weights, with the derivative of a minimum: `-H^-1` times that of the gradient."""
    double = weights.dtype

    def gradient(function, problem):
        each = jax.vmap(lambda *block: sum_slopes(function, *block))
        total = each(problem.tables, problem.offset, weights.reshape(shape)).ravel()
        missed = problem.matrix @ weights - problem.data
        return total + problem.matrix.T @ missed + ridge**2 * weights

    held_function = jax.lax.stop_gradient(function)
    each = jax.vmap(lambda *block: sum_curvature(held_function, *block))
    blocks = each(held.tables, held.offset, weights.reshape(shape))
    hessian = gram + jax.scipy.linalg.block_diag(*blocks)
    scale = find_scale(gram)
    scaled = jnp.where(finite, hessian / scale[:, None] / scale[None], jnp.eye(len(weights), dtype=double))
    step = jnp.linalg.solve(jax.lax.stop_gradient(scaled), gradient(function, problem) / scale) / scale
    held_step = jax.lax.stop_gradient(step)
    # The step itself is taken, too, where it is small enough to be Newton's last: it squares what error is left.
    last = jnp.linalg.norm(held_step * scale) <= 1e-3 * jnp.linalg.norm(weights * scale)
    return (weights - (step - held_step) - jnp.where(last, held_step, 0.0)).reshape(shape)
