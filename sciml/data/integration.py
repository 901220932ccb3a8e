"""The method of lines: a calculus turns a law into an ordinary differential equation, and diffrax integrates it.

On `Spectral`, a law that separates its linear part is integrated in Fourier space: the linear part is a multiplication
there, so that explicit solvers pay no transforms for it and `SemiImplicit` removes its stiffness. Everything else is
integrated on grid values.
"""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import AbstractCalculus, AbstractPDE, Autodiff, Spectral, check_channels, check_compatible
from .semi_implicit import SemiImplicit, join, multiply, split, takes_split_terms


def evolve(
    law: AbstractPDE,
    calculus: AbstractCalculus,
    initial: Float[Array, "channel *space"],
    times: Float[Array, " time"],
    *,
    solver: diffrax.AbstractSolver | None = None,
    controller: diffrax.AbstractStepSizeController | None = None,
    dt0: float | None = None,
    max_steps: int = 16**5,
    adjoint: diffrax.AbstractAdjoint | None = None,
    progress_meter: diffrax.AbstractProgressMeter | None = None,
    throw: bool = True,
) -> tuple[Float[Array, "time channel *space"], diffrax.Solution]:
    """Solve a law from one initial condition: pure, differentiable, to be used under `jax.jit`, `jax.vmap`, `jax.grad`.

    **Arguments:**

    - `law`: the equation.
    - `calculus`: how to differentiate in space.
    - `initial`: `u` at `times[0]`, `(channel, *space)`.
    - `times`: when the solution is wanted, strictly increasing, `(time,)`; the unit of the law.
    - `solver`: a diffrax solver. By default `SemiImplicit()` when the law separates a constant-coefficient linear part
        on `Spectral`, else `diffrax.Tsit5()`; a stiff law on finite differences wants `diffrax.Kvaerno5()`.
    - `controller`: by default `diffrax.PIDController` with `rtol = atol = 1e-6` (float64) or `1e-5` (float32).
        In Fourier space a tolerance is on coefficients scaled to keep the 2-norm. It is made to step on `times`.
    - `dt0`: the first step; estimated when not given. Required by `diffrax.ConstantStepSize`.
    - `max_steps`: after how many steps to give up. Reverse mode keeps checkpoints for as many: lower it to save memory.
    - `adjoint`, `progress_meter`, `throw`: as in `diffrax.diffeqsolve`.

    **Returns:** the solution at `times`, `(time, channel, *space)`, and diffrax's solution object for its statistics.

    **Raises:** `ValueError` for shapes, times or solvers that do not fit.
    """
    check_problem(law, calculus, initial, times)
    solver = default_solver(law, calculus) if solver is None else solver
    initial, times = jnp.asarray(initial), jnp.asarray(times)
    encode, decode, terms, args = _discretize(law, calculus, solver, initial.dtype)
    start = encode(initial)
    if controller is None:
        tolerance = 1e-6 if initial.dtype == jnp.float64 else 1e-5
        controller = diffrax.PIDController(rtol=tolerance, atol=tolerance, pcoeff=0.3, icoeff=0.3)
    if dt0 is None:
        if isinstance(controller, diffrax.ConstantStepSize):
            raise ValueError("ConstantStepSize needs dt0, the step to take; got dt0=None.")
        dt0 = _first_step(solver.func(terms, times[0], start, args), start, times)
    if isinstance(controller, diffrax.PIDController):
        controller = diffrax.ClipStepSizeController(controller, step_ts=times)
    solution = diffrax.diffeqsolve(
        terms,
        solver,
        times[0],
        times[-1],
        None if isinstance(controller, diffrax.StepTo) else dt0,
        start,
        args,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=controller,
        max_steps=max_steps,
        adjoint=diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint,
        progress_meter=diffrax.NoProgressMeter() if progress_meter is None else progress_meter,
        throw=throw,
    )
    return jax.vmap(decode)(solution.ys), solution


def default_solver(law: AbstractPDE, calculus: AbstractCalculus) -> diffrax.AbstractSolver:
    """The solver `evolve` takes when none is named.

    **Arguments:**

    - `law`: the equation.
    - `calculus`: how to differentiate in space.

    **Returns:** `SemiImplicit()` where it applies, else `diffrax.Tsit5()`.
    """
    separable = isinstance(calculus, Spectral) and calculus.separates(law)
    return SemiImplicit() if separable else diffrax.Tsit5()


def check_problem(
    law: AbstractPDE,
    calculus: AbstractCalculus,
    initial: Float[Array, "channel *space"],
    times: Float[Array, " time"],
) -> None:
    """Refuse an initial value problem whose parts do not fit together.

    **Arguments:** those of `evolve`: `initial` is `(channel, *space)`, `times` `(time,)`.

    **Raises:** `ValueError` for a calculus without a grid, a law of other dimensions or channels, times that do not
    increase.
    """
    if isinstance(calculus, Autodiff):
        raise ValueError(
            "Autodiff holds points, not a grid, so a law cannot be integrated on it; use Spectral(grid)."
        )
    check_compatible(law, calculus)
    check_channels(law, calculus, calculus.field(initial).value.shape[0])
    if jnp.ndim(times) != 1 or len(times) < 2:
        raise ValueError(
            f"times must be (time,) with at least 2 entries, the first the start; got {jnp.shape(times)}."
        )
    if isinstance(times, jax.core.Tracer):
        return
    steps = np.diff(np.asarray(times))
    if not np.all(steps > 0):
        where = int(np.argmin(steps > 0))
        raise ValueError(
            f"times must increase strictly; times[{where}]={float(times[where])!r} is followed by "
            f"times[{where + 1}]={float(times[where + 1])!r}. Sort them, drop repetitions, and check for NaN."
        )


def _discretize(law, calculus, solver, dtype):
    """Encoder, decoder, diffrax terms and arguments of the ordinary differential equation."""
    separable = isinstance(calculus, Spectral) and calculus.separates(law)
    two_terms = takes_split_terms(solver)
    if two_terms and not separable:
        raise ValueError(
            f"{type(solver).__name__} takes an explicit and an implicit part, which exist only for an "
            f"AbstractSemilinearPDE with constant coefficients on Spectral; got {type(law).__name__} on "
            f"{type(calculus).__name__}. Use diffrax.Tsit5(), or diffrax.Kvaerno5() if it is stiff."
        )
    if not separable:

        def rate(t, y, args):
            law, calculus = args
            return calculus.project(law.rate(t, calculus.field(y), calculus)).astype(dtype)

        return calculus.project, lambda y: y, diffrax.ODETerm(rate), (law, calculus)

    symbol = split(calculus.symbol(law)).astype(dtype)

    def nonlinear(t, y, args):
        law, calculus, _ = args
        return split(calculus.transform(law.nonlinear(t, calculus.resolved_field(join(y)), calculus))).astype(
            dtype
        )

    def linear(t, y, args):
        return multiply(args[2], y)

    def both(t, y, args):
        return nonlinear(t, y, args) + linear(t, y, args)

    terms = diffrax.ODETerm(both)
    if two_terms:
        terms = diffrax.MultiTerm(diffrax.ODETerm(nonlinear), diffrax.ODETerm(linear))
    return (
        (lambda u: split(calculus.transform(u))),
        (lambda y: calculus.inverse(join(y))),
        terms,
        (law, calculus, symbol),
    )


def _first_step(rate: Array, start: Array, times: Array) -> Array:
    """A hundredth of the time in which the solution changes by its own size, as Hairer's rule starts."""
    size, change = (jnp.sqrt(jnp.mean(x**2)) for x in (start, rate))
    step = 0.01 * size / jnp.maximum(change, 1e-12)
    limits = times[1] - times[0]
    return jax.lax.stop_gradient(jnp.clip(step, 1e-6 * limits, limits))


def stability_limit(solver: diffrax.AbstractSolver) -> float | None:
    """The largest `|lambda| h` an explicit Runge-Kutta method can bear, on the negative real or the imaginary axis.

    **Arguments:**

    - `solver`: any diffrax solver.

    **Returns:** the limit, dimensionless; `None` for a solver that is not an explicit Runge-Kutta method.
    """
    if isinstance(solver, diffrax.Euler):
        return 2.0
    if not isinstance(solver, diffrax.AbstractERK):
        return None
    tableau = solver.tableau
    stages = len(tableau.b_sol)
    matrix = np.zeros((stages, stages))
    for i, row in enumerate(tableau.a_lower):
        matrix[i + 1, : i + 1] = row

    def amplification(z):
        return abs(1 + z * tableau.b_sol @ np.linalg.solve(np.eye(stages) - z * matrix, np.ones(stages)))

    limit = 0.0
    for direction in (-1.0, 1.0j):
        radius = 0.0
        while radius < 50.0 and amplification(direction * (radius + 0.05)) <= 1 + 1e-8:
            radius += 0.05
        limit = max(limit, radius)
    return limit


@eqx.filter_jit
def spectral_radius(
    law: AbstractPDE, calculus: AbstractCalculus, initial: Float[Array, "channel *space"], t: float
) -> Float[Array, ""]:
    """The largest rate of change of a small perturbation, by power iteration on the Jacobian of the right-hand side.

    **Arguments:**

    - `law`: the equation.
    - `calculus`: how to differentiate in space.
    - `initial`: where to linearize, `(channel, *space)`.
    - `t`: the time.

    **Returns:** an estimate of the spectral radius, shape `()`; per time.
    """

    def rate(u):
        return calculus.project(law.rate(t, calculus.field(u), calculus)).astype(u.dtype)

    def iterate(direction, _):
        image = jax.jvp(rate, (initial,), (direction,))[1]
        norm = jnp.linalg.norm(image)
        return image / jnp.maximum(norm, 1e-30), norm

    start = jax.random.normal(jax.random.key(0), initial.shape, initial.dtype)
    _, norms = jax.lax.scan(iterate, start / jnp.linalg.norm(start), length=40)
    return jnp.exp(jnp.mean(jnp.log(jnp.maximum(norms[-8:], 1e-30))))
