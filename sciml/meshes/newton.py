"""Relaxation and Newton's method for equations of equidistribution, preconditioned by the inverse of the Laplacian.

Newton's method needs a handful of steps, if it starts close enough. From zero it does not on ring-shaped densities. So
a parabolic relaxation comes first, `phi <- phi + dt (-Lap)^-1 2 (sqrt(m det / theta) - 1)`; its step is as long as is
stable, which is worked out anew each time. If Newton's method gets stuck, the relaxation goes on to a tenth of its
residual, and Newton tries again.

The square root makes the relaxation converge on densities for which that of the logarithm diverges.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import bicgstab
from jaxtyping import Array, Bool, Float, Int, PyTree

from .equidistribution import AbstractEquation
from .lattice import AbstractLattice

KRYLOV = 100  # iterations at most in one linear solve; where Newton's method converges it takes about 10
SMALLEST_STEP = 1e-3  # of Newton's method: below, it is stuck


class Progress(eqx.Module):
    """How far a solve came.

    **Arguments:**

    - `potential`: the last one, `(*lattice,)`.
    - `residual`: the largest `|log share|`, a scalar.
    - `converged`: whether it is below the tolerance, a scalar.
    - `relaxations`, `newtons`: how many steps of each, scalars.
    """

    potential: Float[Array, "*lattice"]
    residual: Float[Array, ""]
    converged: Bool[Array, ""]
    relaxations: Int[Array, ""]
    newtons: Int[Array, ""]


def solve_by_newton(
    equation: AbstractEquation,
    potential: Float[Array, "*lattice"],
    *,
    tolerance: Float[Array, ""],
    switch: float,
    max_relaxations: int,
    max_newtons: int,
    rounds: int,
) -> Progress:
    """Relax until the residual is below `switch`, then take Newton steps; again with a tenth of it while that fails.

    **Arguments:**

    - `equation`: the equation.
    - `potential`: to start from `(*lattice,)`.
    - `tolerance`: the largest residual at any point of the lattice, a scalar.
    - `switch`: the residual, in the root mean square, at which Newton's method is first tried.
    - `max_relaxations`, `max_newtons`: steps at most, each time.
    - `rounds`: how many times at most.

    **Returns:** how far it came.
    """

    def proceed(state):
        progress, switch, count = state
        relaxed, relaxations = _relax(equation, progress.potential, switch, max_relaxations)
        found, residual, newtons = _newton(equation, relaxed, tolerance, max_newtons)
        progress = Progress(
            found,
            residual,
            residual <= tolerance,
            progress.relaxations + relaxations,
            progress.newtons + newtons,
        )
        return progress, switch / 10, count + 1

    def goes_on(state):
        progress, _, count = state
        return ~progress.converged & (count < rounds)

    start = _start(potential)
    switch = jnp.asarray(switch, potential.dtype)
    progress, *_ = jax.lax.while_loop(goes_on, proceed, (start, switch, jnp.zeros((), int)))
    return progress


def solve_by_relaxation(
    equation: AbstractEquation,
    potential: Float[Array, "*lattice"],
    *,
    tolerance: Float[Array, ""],
    max_relaxations: int,
) -> Progress:
    """Relax until the relative residual is below a tolerance.

    **Arguments:**

    - `equation`: the equation.
    - `potential`: to start from `(*lattice,)`.
    - `tolerance`: the residual, in the root mean square, a scalar.
    - `max_relaxations`: steps at most.

    **Returns:** how far it came.
    """
    found, relaxations = _relax(equation, potential, tolerance, max_relaxations)
    look = equation.look(found)
    converged = (_relative(look) <= tolerance) & look.convex
    return Progress(found, jnp.max(abs(look.residual)), converged, relaxations, jnp.zeros((), int))


def freeze(tree: PyTree) -> PyTree:
    """Stop gradients at all arrays of a pytree.

    **Arguments:**

    - `tree`: the pytree; leaves that are no arrays are left alone.

    **Returns:** the same values.
    """
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf, tree)


def attach_gradient(
    equation: AbstractEquation, potential: Float[Array, "*lattice"]
) -> Float[Array, "*lattice"]:
    """Make a solution depend on the equation's parameters, as the implicit function theorem has it.

    These are two steps of Newton's method that change nothing, but have derivatives: the first makes first derivatives
    right, and the second those of order two and three. Each is a linear solve, forwards or backwards, whatever number
    of steps the solution took.

    **Arguments:**

    - `equation`: the equation, of whose parameters derivatives are wanted.
    - `potential`: its solution `(*lattice,)`, whose own derivatives are dropped.

    **Returns:** the same values `(*lattice,)`.
    """
    exact = 1e-12 if potential.dtype == jnp.float64 else 1e-6
    potential = jax.lax.stop_gradient(potential)
    for _ in range(2):
        residual = equation.look(potential).residual
        # Zero, with the derivatives of the residual: the solve ends at once, and only its derivatives do any work.
        change = residual - jax.lax.stop_gradient(residual)
        apply = equation.linearize(potential)
        potential = potential - _solve_linear(equation.lattice, apply, change, potential, exact, 4 * KRYLOV)
    return potential


def _start(potential: Array) -> Progress:
    zero = jnp.zeros((), int)
    return Progress(potential, jnp.full((), jnp.inf, potential.dtype), jnp.zeros((), bool), zero, zero)


def _relative(look) -> Array:
    return jnp.sqrt(jnp.mean((look.share - 1) ** 2))


def _relax(equation: AbstractEquation, potential: Array, goal: Array, limit: int) -> tuple[Array, Array]:
    def step(state):
        potential, look, count = state
        force = 2 * (jnp.sqrt(look.share) - 1)
        length = jnp.minimum(1.0, 1 / look.rate)
        potential = potential + length * equation.lattice.invert_laplacian(force)
        return potential, equation.look(potential), count + 1

    def goes_on(state):
        _, look, count = state
        return ((_relative(look) > goal) | ~look.convex) & (count < limit)

    potential, _, count = jax.lax.while_loop(
        goes_on, step, (potential, equation.look(potential), jnp.zeros((), int))
    )
    return potential, count


def _newton(
    equation: AbstractEquation, potential: Array, tolerance: Array, limit: int
) -> tuple[Array, Array, Array]:
    def step(state):
        potential, residual, count, _ = state
        # Solved no further than the step is good for.
        size = _norm(residual)
        forcing = jnp.clip(size, 0.1 * tolerance / size, 0.1)
        change = _solve_linear(
            equation.lattice, equation.linearize(potential), -residual, potential, forcing, KRYLOV
        )
        length, found = _search(equation, potential, change, size)
        stuck = length < SMALLEST_STEP
        moved = jnp.where(stuck, potential, potential + length * change)
        return moved, jnp.where(stuck, residual, found), count + 1, stuck

    def goes_on(state):
        _, residual, count, stuck = state
        return (jnp.max(abs(residual)) > tolerance) & (count < limit) & ~stuck

    look = equation.look(potential)
    # From a map that is not convex there is no way back for Newton's method.
    start = (potential, look.residual, jnp.zeros((), int), ~look.convex)
    potential, residual, count, _ = jax.lax.while_loop(goes_on, step, start)
    size = jnp.where(look.convex, jnp.max(abs(residual)), jnp.inf)
    return potential, size, count


def _search(equation: AbstractEquation, potential: Array, change: Array, size: Array) -> tuple[Array, Array]:
    """The longest step, halved from one, that stays convex and lowers the residual."""

    def half(state):
        length, *_ = state
        return look_at(length / 2)

    def look_at(length):
        look = equation.look(potential + length * change)
        good = look.convex & (_norm(look.residual) <= (1 - 1e-4 * length) * size)
        return length, look.residual, good

    def goes_on(state):
        length, _, good = state
        return ~good & (length >= SMALLEST_STEP)

    length, residual, _ = jax.lax.while_loop(goes_on, half, look_at(jnp.ones((), potential.dtype)))
    return length, residual


def _solve_linear(
    lattice: AbstractLattice,
    apply: Callable[[Array], Array],
    right: Array,
    near: Array,
    tolerance: Array | float,
    limit: int,
) -> Array:
    """Preconditioned from the right, so that the residual is that of the equation; `near` is any array of the shape."""

    def preconditioned(z):
        return apply(lattice.invert_laplacian(z))

    # Not a constant: XLA would work out the first product at compile time, which takes seconds for large meshes.
    start = 0.0 * near
    z, _ = bicgstab(preconditioned, lattice.project(right), x0=start, tol=tolerance, atol=0.0, maxiter=limit)
    return lattice.invert_laplacian(z)


def _norm(values: Array) -> Array:
    return jnp.sqrt(jnp.mean(values**2))
