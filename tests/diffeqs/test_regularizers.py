"""Penalties on the solver's own steps: the gate test (gradient), each variant against a loop over the steps (exact)."""

import functools
import itertools
from typing import ClassVar

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from sciml.diffeqs import (
    SOSRI2,
    AbstractRegularizer,
    ErrorEstimate,
    FrozenSteps,
    Max,
    Mean,
    StiffnessEstimate,
    Sum,
)

from .problems import (
    ARGS,
    ATOL,
    DT0,
    EXACT_ROOTS,
    ODE,
    PID,
    RTOL,
    Y0,
    accepted_times,
    differentiate,
    solve_here,
    stochastic,
)

NOISY = stochastic()
ERROR = ErrorEstimate(rtol=RTOL, atol=ATOL)
BOTH = (ERROR, StiffnessEstimate())
LOOSE = diffrax.PIDController(rtol=0.02, atol=0.02)

# Solver, terms, controller, regularizers. Dopri8's two stages agree to the eighth order in the
# step: in long steps there is something left to compare.
CASES = {
    "Tsit5": (diffrax.Tsit5(), ODE, PID, BOTH),
    "Dopri5": (diffrax.Dopri5(), ODE, PID, BOTH),
    "Dopri8": (diffrax.Dopri8(), ODE, LOOSE, BOTH),
    "Kvaerno5": (diffrax.Kvaerno5(root_finder=EXACT_ROOTS), ODE, PID, BOTH),
    "Bosh3": (diffrax.Bosh3(), ODE, PID, (ERROR,)),
    "SOSRI2": (SOSRI2(), NOISY, diffrax.PIDController(rtol=0.5, atol=0.5), BOTH),
    "SPaRK": (diffrax.SPaRK(), NOISY, LOOSE, (ERROR,)),
    "HalfSolver": (diffrax.HalfSolver(diffrax.EulerHeun()), NOISY, LOOSE, (ERROR,)),
}
DIRECTION = (jnp.array([0.3, -0.7]), jnp.array([0.5, 0.2, -0.6]))


def penalties(regularizers, y0, args, **kwargs):
    solution = solve_here(regularizers, y0=y0, args=args, **kwargs)
    return jnp.stack(solution.penalty), solution


@functools.cache
def slopes(name, adjoint=diffrax.RecursiveCheckpointAdjoint):
    """The derivative of every penalty along `DIRECTION`, by reverse mode."""
    solver, terms, controller, regularizers = CASES[name]

    def weighed(inputs, weights):
        values, _ = penalties(
            regularizers,
            *inputs,
            terms=terms,
            solver=solver,
            stepsize_controller=controller,
            adjoint=adjoint(),
        )
        return values @ weights

    gradient = jax.jit(jax.grad(weighed))
    gradients = [gradient((Y0, ARGS), weights) for weights in jnp.eye(len(regularizers))]
    return jnp.stack([sum(map(jnp.vdot, one, DIRECTION)) for one in gradients])


def slopes_and_times(name):
    """The same by forward mode, and the ends of the accepted steps."""
    solver, terms, controller, regularizers = CASES[name]

    def run(*inputs):
        return penalties(
            regularizers,
            *inputs,
            terms=terms,
            solver=solver,
            stepsize_controller=controller,
            adjoint=diffrax.ForwardMode(),
            saveat=diffrax.SaveAt(t0=True, steps=True),
        )

    _, slope, solution = jax.jit(lambda *x: jax.jvp(run, x, DIRECTION, has_aux=True))(Y0, ARGS)
    assert solution.stats["num_rejected_steps"] > 0
    return slope, solution.ts[: int(solution.stats["num_accepted_steps"]) + 1]


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_that_along_the_steps_that_were_made(name):
    """Gradient: reverse and forward mode against finite differences on the replayed steps, with rejected steps.

    The finite differences are good to 1e-9 or so; of Dopri8's stiffness rounding leaves nine digits. In Kvaerno5's
    first step Newton's method fails, which diffrax calls an infinite error: it must not turn the gradient into NaN.
    """
    forward, times = slopes_and_times(name)
    reverse = slopes(name)
    solver, terms, _, regularizers = CASES[name]
    replay = diffrax.StepTo(ts=times)

    @jax.jit
    def measured(*inputs):
        return differentiate(
            lambda *x: penalties(
                regularizers, *x, terms=terms, solver=solver, stepsize_controller=replay, dt0=None
            )[0],
            *inputs,
            tangents=DIRECTION,
        )

    np.testing.assert_allclose(reverse, measured(Y0, ARGS), rtol=1e-6)
    np.testing.assert_allclose(forward, reverse, rtol=1e-8)


FEW = ["HalfSolver"]


@pytest.mark.parametrize(
    "name", [*FEW, *(pytest.param(n, marks=pytest.mark.slow) for n in CASES if n not in FEW)]
)
def test_adjoints_agree(name):
    """Gradient: DirectAdjoint and FrozenSteps give what RecursiveCheckpointAdjoint gives, to rounding."""
    expected = slopes(name)
    np.testing.assert_allclose(slopes(name, diffrax.DirectAdjoint), expected, rtol=1e-8)
    np.testing.assert_allclose(slopes(name, FrozenSteps), expected, rtol=1e-8)


# Each variant.

VARIANTS = [
    (power, reduction, scaled)
    for power in (1, 2)
    for reduction in (Sum(), Mean(), Max())
    for scaled in (True, False)
]
REDUCE = {Sum: np.sum, Mean: np.mean, Max: np.max}


def rms(x):
    return float(np.sqrt(np.mean(np.square(x))))


def walk(solver, terms, times, args=ARGS):
    """Make the accepted steps one by one: what each leaves."""
    step = jax.jit(lambda *inputs: solver.step(terms, *inputs, False))
    y, state = Y0, solver.init(terms, times[0], times[1], Y0, args)
    for t0, t1 in itertools.pairwise(times):
        y1, error, dense, state, _ = step(t0, t1, y, args, state)
        yield t0, t1, y, y1, error, dense
        y = y1


def errors(solver, terms, times, rtol=RTOL, atol=ATOL, norm=rms):
    """`(E_j, h_j)` of the accepted steps."""
    return np.array(
        [
            (norm(error / (atol + rtol * np.maximum(np.abs(y0), np.abs(y1)))), t1 - t0)
            for t0, t1, y0, y1, error, _ in walk(solver, terms, times)
        ]
    ).T


def stiffnesses(solver, terms, times, pair):
    """`(S_j, h_j)`, with the states of the stages from the tableau and the field called there again."""
    a, b = pair
    tableau, found = solver.tableau, []
    rows = [np.zeros(1), *tableau.a_lower]

    for t0, t1, y0, _, _, dense in walk(solver, terms, times):
        k = np.asarray(dense["k"])

        def stage(i, y0=y0, k=k):
            diagonal = 0 if tableau.a_diagonal is None else tableau.a_diagonal[i] * k[i]
            return y0 + np.tensordot(rows[i], k[: len(rows[i])], 1) + diagonal

        time = t0 + tableau.c[b - 1] * (t1 - t0)
        states = stage(a), stage(b)
        rates = [np.asarray(terms.vf(time, jnp.asarray(y), ARGS)) for y in states]
        found.append((rms(rates[1] - rates[0]) / rms(states[1] - states[0]), t1 - t0))
    return np.array(found).T


def reduce(numbers, lengths, power, reduction, scaled):
    return REDUCE[type(reduction)](numbers**power * (lengths if scaled else 1))


@pytest.mark.parametrize("name", ["Tsit5", "SOSRI2"])
def test_every_variant_against_a_loop_over_the_steps(name):
    """Exact: powers, reductions, scaled or not, relative, of both penalties; a tuple of all of them is one solve."""
    solver, terms, controller, _ = CASES[name]
    regularizers = [
        *(ErrorEstimate(power=p, reduction=r, scaled=s) for p, r, s in VARIANTS),
        *(StiffnessEstimate(power=p, reduction=r, scaled=s, relative=True) for p, r, s in VARIANTS),
        ErrorEstimate(rtol=0.0, atol=1.0),
        ErrorEstimate(atol=1.0),
    ]
    times = accepted_times(solver, terms, controller)
    solution = solve_here(tuple(regularizers), terms=terms, solver=solver, stepsize_controller=controller)
    e, h = errors(solver, terms, times, controller.rtol, controller.atol)
    if name == "Tsit5":
        s, reach = stiffnesses(solver, terms, times, (5, 6))[0], 3.5068
    else:
        dense = [step[-1] for step in walk(solver, terms, times)]
        s, reach = np.array([rms(d["rate_difference"]) / rms(d["stage_difference"]) for d in dense]) / h, 10.6
    expected = [
        *(reduce(e, h, *variant) for variant in VARIANTS),
        *(reduce(s / reach, h, *variant) for variant in VARIANTS),
        np.sum(errors(solver, terms, times, 0.0, 1.0)[0] * h),
        np.sum(errors(solver, terms, times, controller.rtol, 1.0)[0] * h),
    ]
    # Rounding in sums of stages that cancel.
    np.testing.assert_allclose(solution.penalty, expected, rtol=1e-9)
    assert max(h) > 1.4 * min(h), "steps of one length would not tell scaled from not"


@pytest.mark.parametrize(
    ("solver", "pair"),
    [
        pytest.param(diffrax.Dopri5(), (5, 6), marks=pytest.mark.slow),
        (diffrax.Dopri8(), (12, 13)),
        pytest.param(diffrax.Kvaerno3(root_finder=EXACT_ROOTS), (2, 3), marks=pytest.mark.slow),
        pytest.param(diffrax.Kvaerno4(root_finder=EXACT_ROOTS), (3, 4), marks=pytest.mark.slow),
        (diffrax.Kvaerno5(root_finder=EXACT_ROOTS), (5, 6)),
    ],
)
def test_stiffness_compares_two_stages_of_the_same_time(solver, pair):
    """Exact: the states of the stages and the field in them, for each solver that has two such stages."""
    controller = LOOSE if isinstance(solver, diffrax.Dopri8) else PID
    times = accepted_times(solver, ODE, controller)
    penalty = solve_here(StiffnessEstimate(), solver=solver, stepsize_controller=controller).penalty
    s, h = stiffnesses(solver, ODE, times, pair)
    # The tolerance of the root finder for implicit ones; cancellation in Dopri8's stages.
    np.testing.assert_allclose(penalty, np.sum(s * h), rtol=1e-7)


def test_stiffness_of_a_linear_equation_is_its_rate():
    """Exact: f = -50 y has S_j = 50 whatever the step, and the integral over time 1 is 50."""
    terms = diffrax.ODETerm(lambda t, y, args: -50.0 * y)
    controller = diffrax.PIDController(rtol=1e-4, atol=1e-4)
    for solver in (diffrax.Tsit5(), diffrax.Dopri5()):
        solution = solve_here(StiffnessEstimate(), terms=terms, solver=solver, stepsize_controller=controller)
        np.testing.assert_allclose(solution.penalty, 50.0, rtol=1e-8)


def test_the_norm_of_the_controller_measures_the_error():
    """Exact: the number that is penalized is the one the step was accepted by."""
    controller = diffrax.PIDController(rtol=RTOL, atol=ATOL, norm=optx.max_norm)
    times = accepted_times(diffrax.Tsit5(), ODE, controller)
    e, h = errors(diffrax.Tsit5(), ODE, times, norm=lambda x: np.max(np.abs(x)))
    assert max(e) < 1
    penalty = solve_here(ErrorEstimate(), stepsize_controller=controller).penalty
    np.testing.assert_allclose(penalty, np.sum(e * h), rtol=1e-9)


def test_no_error_and_no_stiffness_have_a_gradient():
    """Gradient: a field that does not depend on the state has E = S = 0, where a norm or a quotient has no slope."""
    terms = diffrax.ODETerm(lambda t, y, args: args[:2])
    regularizers = tuple(kind(power=power) for power in (1, 2) for kind in (ErrorEstimate, StiffnessEstimate))

    def total(args):
        return sum(solve_here(regularizers, terms=terms, args=args, dt0=0.3).penalty)

    value, gradient = jax.value_and_grad(total)(ARGS)
    assert value < 1e-8
    assert jnp.all(jnp.isfinite(gradient))


def test_the_largest_takes_its_gradient_from_the_step_it_is_at():
    """Gradient: of the largest E_j, against finite differences along fixed steps."""
    regularizer = ErrorEstimate(reduction=Max(), scaled=False, rtol=RTOL, atol=ATOL)
    replay = {"stepsize_controller": diffrax.StepTo(ts=accepted_times(diffrax.Tsit5())), "dt0": None}

    def largest(args):
        return solve_here(regularizer, args=args, adjoint=diffrax.ForwardMode(), **replay).penalty

    slope = jax.jvp(largest, (ARGS,), DIRECTION[1:])[1]
    np.testing.assert_allclose(slope, differentiate(largest, ARGS, tangents=DIRECTION[1:]), rtol=1e-6)


class LongestStep(AbstractRegularizer):
    """What a user may write: the length of the longest step."""

    needs_key: ClassVar[bool] = False

    def differentiates_steps(self):
        return True

    def check(self, problem):
        pass

    def begin(self, problem):
        return jnp.zeros_like(problem.t0)

    def see(self, held, step, key):
        return jnp.maximum(held, step.t1 - step.t0)

    def end(self, held, problem, key):
        return held


def test_a_regularizer_of_ones_own():
    """Property: rejected steps leave no trace in what is held."""
    saveat = diffrax.SaveAt(t0=True, steps=True)
    solution = solve_here((LongestStep(), ErrorEstimate()), saveat=saveat)
    times = solution.ts[jnp.isfinite(solution.ts)]
    assert solution.penalty[0] == jnp.max(jnp.diff(times)) < DT0


@pytest.mark.usefixtures("float32")
def test_penalties_have_the_precision_of_the_state():
    """Property: float32 in, float32 out."""
    y0, args = Y0.astype(jnp.float32), ARGS.astype(jnp.float32)
    regularizers = (ErrorEstimate(), StiffnessEstimate(), ErrorEstimate(reduction=Mean()))

    def run(args):
        return solve_here(regularizers, y0=y0, args=args, adjoint=diffrax.ForwardMode()).penalty

    values, slope = jax.jvp(run, (args,), (args,))
    assert {p.dtype for p in (*values, *slope)} == {jnp.dtype("float32")}
    assert all(jnp.isfinite(p) for p in (*values, *slope))
