r"""Levenberg-Marquardt on normal equations, for few unknowns and very many rows: the loop, whatever the rows are.

Why it is not a library's: `optimistix` and `lineax` cannot run inside `jax.shard_map`, and hold every row of the
Jacobian several times over; `jaxopt` is no longer maintained, and its default derivative of such a solve is wrong
without notice where the Gram matrix is ill-conditioned. What is here is plain JAX, the same under `jit`, `vmap`,
`shard_map` and `pmap`, without a collective in its loop. It sees a problem only by its objective, gradient and Gram
matrix, each computed once a trial; rows and Jacobian are never kept from one trial to the next.

With `D` the root of the diagonal of the Gram matrix `G`, or the largest it was on the way, a trial solves
`(D^-1 G D^-1 + mu) D s = -D^-1 g` by the factors of Cholesky; `mu` follows the ratio of what a step gained to what was
predicted. Under `vmap` a problem that is done is held while others go on.

**Reference:** Madsen, Nielsen, Tingleff, "Methods for non-linear least squares problems", 2004, for the damping.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .matrices import AbstractSymmetric

# By no more than this may a column of the Jacobian shrink in one step.
VANISHING = 1e-6
# A solve that stopped is at a minimum if the undamped step promises to change the objective by less than this,
# relative, or would change the unknowns by less than the second, relative.
PROMISE, MOTION = 1e-6, 1e-6


class RESULTS(eqx.Enumeration):
    """How a solve ended."""

    successful = "The solve converged."
    max_steps = (
        "The solve did not converge within max_steps. Take more, or start nearer: a constraint by coarse=8, or by a "
        "network that is trained."
    )
    stalled = (
        "No step made the residual smaller, however short, though its derivative promises one: there is a kink, a jump "
        "or a wall behind which rows are not finite, and the derivative with respect to args means nothing. Smooth the "
        "law there, as DiffusionSorption(smoothing=) does, or start on the other side."
    )
    dependent = (
        "The unknowns are dependent, as the weights of a basis are that is dependent or constant: the Gram matrix is "
        "singular to working precision, so that they mean nothing. Take fewer, a larger regularization, or float64: "
        "jax.config.update('jax_enable_x64', True)."
    )
    nonfinite = "A row is not finite: look at the start, the network's output and the parameters of the law."


class LevenbergMarquardt(eqx.Module):
    """How unknowns are found.

    **Arguments:**

    - `tolerance`: stop when no column of the Jacobian has a larger cosine with the residual, or when a step promises to
        change the objective by less than this, relative.
    - `max_steps`: the most trials.
    - `damping`: the first one, relative to the scaled Gram matrix.

    **Raises:** `ValueError` for a number out of range.
    """

    tolerance: float = 1e-9
    max_steps: int = eqx.field(static=True, default=60)
    damping: float = 1e-3

    def __check_init__(self):
        for name in ("tolerance", "damping"):
            value = getattr(self, name)
            if isinstance(value, (int, float)) and not 0 < value < float("inf"):
                raise ValueError(f"LevenbergMarquardt.{name} must be positive and finite; got {value}.")
        if not isinstance(self.max_steps, int) or self.max_steps < 1:
            raise ValueError(
                f"LevenbergMarquardt.max_steps must be a whole number, 1 or more; got {self.max_steps!r}."
            )


class Quadratic(NamedTuple):
    """What the loop knows of a problem at one place.

    **Arguments:**

    - `objective`: half the sum of the squares of the rows, a scalar.
    - `gradient`: of it, `(unknown,)`.
    - `gram`: `J^T J`, `(unknown, unknown)`; an array, or in the loop a matrix that knows its structure.
    """

    objective: Float[Array, ""]
    gradient: Float[Array, " unknown"]
    gram: Float[Array, "unknown unknown"] | AbstractSymmetric


class Progress(NamedTuple):
    """Where the loop is.

    **Arguments:**

    - `value`: the unknowns `(unknown,)`.
    - `here`: the problem there.
    - `scale`: the longest that each column of the Jacobian has been, `(unknown,)`.
    - `damping`, `growth`: of the next trial, scalars.
    - `count`: trials, a scalar.
    - `done`: whether it converged, a scalar.
    """

    value: Float[Array, " unknown"]
    here: Quadratic
    scale: Float[Array, " unknown"]
    damping: Float[Array, ""]
    growth: Float[Array, ""]
    count: Int[Array, ""]
    done: Bool[Array, ""]


def minimize(
    expand: Callable[[Float[Array, " unknown"]], Quadratic],
    initial: Float[Array, " unknown"],
    solver: LevenbergMarquardt,
) -> Progress:
    """Run the loop.

    **Arguments:**

    - `expand`: unknowns `(unknown,)` to objective, gradient and Gram matrix there, in the precision of `initial`.
    - `initial`: where to start, `(unknown,)`.
    - `solver`: tolerances.

    **Returns:** where it ended. It is not to be differentiated.
    """
    rounding = jnp.finfo(initial.dtype).eps

    def advance(state: Progress) -> Progress:
        objective, gradient, gram = state.here
        scale = state.scale
        step = -gram.rescale(scale).shift(state.damping).solve(gradient / scale, positive=True) / scale
        trial = state.value + step
        there = expand(trial)
        predicted = -(step @ gradient + 0.5 * step @ gram.multiply(step))
        # At the limit of precision a gain cannot be told from rounding, and the solve is done.
        size = jnp.abs(objective)
        small = jnp.abs(predicted) <= jnp.maximum(solver.tolerance, 4 * rounding) * size
        ratio = (objective - there.objective) / jnp.where(predicted > 0, predicted, 1.0)
        finite = jnp.isfinite(there.objective) & jnp.all(jnp.isfinite(there.gradient))
        # Where an unknown loses its effect all at once, as a rate in exp(-rate t) does, the step was too long, whatever
        # it gained: there is no way back from there.
        kept = jnp.all(there.gram.diagonal() >= VANISHING**2 * gram.diagonal())
        good = finite & kept & (ratio > 1e-4)
        done = small | (good & (measure_cosine(there) <= solver.tolerance)) | ~jnp.isfinite(objective)
        shrink = jnp.maximum(1 / 3, 1 - (2 * ratio - 1) ** 3)
        damping = jnp.where(good, state.damping * shrink, state.damping * state.growth)
        value, here = jax.tree.map(
            lambda new, old: jnp.where(good, new, old), (trial, there), (state.value, state.here)
        )
        growth = jnp.where(good, 2.0, 2 * state.growth)
        scale = jnp.maximum(scale, find_scale(here.gram.diagonal()))
        return Progress(value, here, scale, jnp.clip(damping, 1e-15, 1e15), growth, state.count + 1, done)

    here = expand(initial)
    start = measure_cosine(here) <= solver.tolerance
    # Each device of a mesh may have rows of its own: then all that is carried must be known to vary, from the start.
    state = Progress(
        jnp.where(start, initial, initial),
        here,
        find_scale(here.gram.diagonal()),
        jnp.where(start, solver.damping, solver.damping).astype(initial.dtype),
        jnp.where(start, 2.0, 2.0).astype(initial.dtype),
        jnp.where(start, 0, 0),
        start,
    )
    return jax.lax.while_loop(lambda s: ~s.done & (s.count < solver.max_steps), advance, state)


def measure_cosine(here: Quadratic) -> Float[Array, ""]:
    """The largest cosine of a column of the Jacobian with the residual: zero where the objective is stationary.

    **Arguments:**

    - `here`: objective, gradient and Gram matrix.

    **Returns:** a scalar.
    """
    size = jnp.sqrt(here.gram.diagonal()) * jnp.sqrt(2 * here.objective)
    return jnp.max(jnp.abs(here.gradient) / jnp.where(size > 0, size, 1.0))


def find_scale(diagonal: Float[Array, " unknown"]) -> Float[Array, " unknown"]:
    """The lengths of the columns of the Jacobian; one for a column of zeros.

    **Arguments:**

    - `diagonal`: of the Gram matrix, `(unknown,)`.

    **Returns:** `(unknown,)`.
    """
    size = jnp.sqrt(diagonal)
    return jnp.where(size > 0, size, 1.0)


def judge(progress: Progress) -> tuple[RESULTS, Float[Array, ""], Float[Array, ""]]:
    """How a solve ended.

    **Arguments:**

    - `progress`: where.

    **Returns:** the result; the smallest eigenvalue of the Gram matrix scaled to a unit diagonal, a scalar; and the
        scaled norm of the gradient, a scalar.
    """
    gram, dtype = progress.here.gram, progress.value.dtype
    scale = find_scale(gram.diagonal())
    finite = is_finite(progress.here)
    # Where it is not, the identity: what NaN does to LAPACK is not for us to find out.
    scaled = jax.tree.map(lambda x: jnp.where(finite, x, 0), gram.rescale(scale)).shift(
        jnp.where(finite, 0.0, 1.0)
    )
    smallest = scaled.smallest_eigenvalue()
    floor = 10 * jnp.finfo(dtype).eps * len(scale)
    result = RESULTS.where(is_minimum(progress.value, progress.here), RESULTS.successful, RESULTS.stalled)
    result = RESULTS.where(progress.done, result, RESULTS.max_steps)
    result = RESULTS.where(smallest > floor, result, RESULTS.dependent)
    result = RESULTS.where(finite, result, RESULTS.nonfinite)
    return result, smallest, measure_cosine(progress.here)


def is_minimum(value: Float[Array, " unknown"], here: Quadratic) -> Bool[Array, ""]:
    """Whether the undamped step of Gauss and Newton has nothing left to gain, or nowhere left to go.

    A damped step may promise little because it was shortened again and again, in front of a kink: that is no minimum.
    Where rows vanish altogether a relative gain says nothing, but the step is then as small as rounding.

    **Arguments:**

    - `value`: the unknowns, `(unknown,)`.
    - `here`: objective, gradient and Gram matrix there.

    **Returns:** a scalar.
    """
    scale = find_scale(here.gram.diagonal())
    gradient = here.gradient / scale
    step = here.gram.rescale(scale).solve(gradient, positive=True)
    gains = 0.5 * step @ gradient <= PROMISE * here.objective
    return gains | (jnp.linalg.norm(step) <= MOTION * jnp.linalg.norm(value * scale))


def is_finite(here: Quadratic) -> Bool[Array, ""]:
    """Whether objective and Gram matrix are.

    **Arguments:**

    - `here`: objective, gradient and Gram matrix.

    **Returns:** a scalar.
    """
    parts = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves((here.objective, here.gram))]
    return jnp.all(jnp.stack(parts))
