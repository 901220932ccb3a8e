"""Local estimates: unbiased by statistics, differentiated as they say, under any adjoint, in memory that is flat."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.diffeqs import (
    SOSRI,
    ErrorEstimate,
    HairerStep,
    LocalErrorEstimate,
    LocalStiffnessEstimate,
    SolverStep,
    SolverSteps,
    StiffnessEstimate,
    UniformTime,
)
from tests.diffeqs.problems import ARGS, ATOL, ODE, PID, RTOL, Y0, differentiate, solve_here, stochastic

SAMPLINGS = (UniformTime(), SolverSteps())
OWN = {"step": SolverStep(), "weighted": True}
# A noise so weak that the drift decides on the steps, some of which are rejected.
NOISY = stochastic(strength=0.3)


@functools.cache
def draws():
    """The global penalties and 4000 draws of each local one, of one equation and of one path."""
    ordinary = (
        ErrorEstimate(),
        StiffnessEstimate(),
        *(LocalErrorEstimate(sampling, **OWN) for sampling in SAMPLINGS),
        *(LocalErrorEstimate(sampling, power=2, scaled=False, **OWN) for sampling in SAMPLINGS),
        *(LocalStiffnessEstimate(sampling, **OWN) for sampling in SAMPLINGS),
        ErrorEstimate(power=2, scaled=False),
    )
    noisy = (ErrorEstimate(), *(LocalErrorEstimate(sampling, **OWN) for sampling in SAMPLINGS))
    keys = jax.random.split(jax.random.key(7), 4000)
    first = jax.jit(jax.vmap(lambda key: solve_here(ordinary, key=key).penalty))(keys)
    loose = diffrax.PIDController(rtol=0.3, atol=0.3)
    second = jax.jit(
        jax.vmap(
            lambda key: (
                solve_here(noisy, terms=NOISY, solver=SOSRI(), stepsize_controller=loose, key=key).penalty
            )
        )
    )(keys)
    return [np.asarray(x) for x in first], [np.asarray(x) for x in second]


def check_mean(numbers, truth):
    """The mean within four standard errors."""
    error = numbers.std() / np.sqrt(numbers.size)
    assert abs(numbers.mean() - truth) < 4 * error
    assert np.unique(numbers.round(12)).size > 2, "only one step was drawn"


@pytest.mark.parametrize("index", [0, 1])
def test_the_mean_is_the_global_penalty(index):
    """Exact, by statistics."""
    (error, stiffness, *local, squared), _ = draws()
    check_mean(local[index], error[0])
    check_mean(local[2 + index], squared[0])
    check_mean(local[4 + index], stiffness[0])


@pytest.mark.parametrize("index", [0, 1])
def test_with_noise_it_is_the_same_path(index):
    """Exact: each draw is one of the solve's own steps, times its weight; the mean is the global penalty."""
    _, (total, *local) = draws()
    check_mean(local[index], total[0])
    if isinstance(SAMPLINGS[index], SolverSteps):
        # N E_j h_j: the sum of the different values over their number is the global penalty.
        values = np.unique(local[index].round(12))
        np.testing.assert_allclose(values.mean(), total[0], rtol=1e-9)


def test_steps_are_drawn_alike():
    """Property: each of the solver's steps with the same frequency, to four standard errors."""
    (_, _, _, by_steps, *_), _ = draws()
    _, counts = np.unique(by_steps.round(12), return_counts=True)
    share = 1 / counts.size
    assert np.all(np.abs(counts / by_steps.size - share) < 4 * np.sqrt(share * (1 - share) / by_steps.size))


def test_the_hairer_step_is_diffrax_s_first_step():
    """Exact: with one step in the solve, `SolverSteps` draws its start, where diffrax chooses a first step, too."""
    short = 1e-4
    penalty = solve_here(
        LocalErrorEstimate(SolverSteps()), t1=short, dt0=short, key=jax.random.key(0)
    ).penalty
    controller = diffrax.PIDController(rtol=RTOL, atol=ATOL)
    end, _ = controller.init(ODE, 0.0, 1.0, Y0, None, ARGS, lambda terms, t, y, args: terms.vf(t, y, args), 5)
    h = jnp.minimum(end, short)
    solver = diffrax.Tsit5()
    state = solver.init(ODE, 0.0, h, Y0, ARGS)
    y1, error, *_ = solver.step(ODE, 0.0, h, Y0, ARGS, state, False)
    scaled = error / (ATOL + RTOL * jnp.maximum(jnp.abs(Y0), jnp.abs(y1)))
    np.testing.assert_allclose(penalty, jnp.sqrt(jnp.mean(scaled**2)) * h, rtol=1e-9)


def penalize(args, y0, regularizer, **kwargs):
    return solve_here(regularizer, args=args, y0=y0, key=jax.random.key(3), **kwargs).penalty


def test_the_state_is_a_constant_unless_told_otherwise():
    """Gradient: with respect to the start zero; not detached, that of differences along fixed steps."""
    slope = eqx.filter_jit(jax.grad(penalize, argnums=1))
    assert jnp.all(slope(ARGS, Y0, LocalErrorEstimate(SolverSteps(), **OWN)) == 0)
    live = LocalErrorEstimate(SolverSteps(), detach_state=False, rtol=RTOL, atol=ATOL, **OWN)
    fixed = {"stepsize_controller": diffrax.StepTo(jnp.linspace(0, 1, 7)), "dt0": None}
    found = eqx.filter_jit(jax.grad(lambda y0: penalize(ARGS, y0, live, **fixed)))(Y0)
    direction = jnp.array([0.6, -0.8])
    exact = differentiate(lambda y0: penalize(ARGS, y0, live, **fixed), Y0, tangents=(direction,))
    np.testing.assert_allclose(jnp.vdot(found, direction), exact, rtol=1e-6)


def test_all_stages_are_differentiated():
    """Gradient: of the step alone, its start and length held, by differences; the first stage is in it."""
    times = jnp.linspace(0, 1, 7)
    fixed = {"stepsize_controller": diffrax.StepTo(times), "dt0": None}
    regularizer = LocalErrorEstimate(SolverSteps(), step=SolverStep(), rtol=RTOL, atol=ATOL)
    path = diffrax.diffeqsolve(
        ODE, diffrax.Tsit5(), 0.0, 1.0, None, Y0, ARGS,
        stepsize_controller=diffrax.StepTo(times), saveat=diffrax.SaveAt(t0=True, steps=True), max_steps=6,
    )  # fmt: skip

    def steps(args):
        solver, numbers = diffrax.Tsit5(), []
        for i in range(6):
            y0 = path.ys[i]
            state = solver.init(ODE, times[i], times[i + 1], y0, args)
            y1, error, *_ = solver.step(ODE, times[i], times[i + 1], y0, args, state, False)
            scaled = error / (ATOL + RTOL * jnp.maximum(jnp.abs(y0), jnp.abs(y1)))
            numbers.append(jnp.sqrt(jnp.mean(scaled**2)) * (times[i + 1] - times[i]))
        return jnp.stack(numbers)

    value, slope = eqx.filter_jit(jax.value_and_grad(lambda args: penalize(args, Y0, regularizer, **fixed)))(
        ARGS
    )
    candidates = steps(ARGS)
    drawn = int(jnp.argmin(jnp.abs(candidates - value)))
    np.testing.assert_allclose(value, candidates[drawn], rtol=1e-10)
    direction = jnp.array([0.3, -1.0, 0.5])
    exact = differentiate(lambda args: steps(args)[drawn], ARGS, tangents=(direction,))
    np.testing.assert_allclose(jnp.vdot(slope, direction), exact, rtol=1e-6)


@pytest.mark.parametrize("step", [HairerStep(), SolverStep()], ids=lambda step: type(step).__name__)
def test_backsolve_gives_the_same_gradient(step):
    """Gradient: bit for bit the penalty's own, beside a loss on the end that the continuous adjoint approximates."""
    regularizer = LocalErrorEstimate(SolverSteps(), step=step)

    def gradient(adjoint, weight):
        def loss(args):
            solution = solve_here(regularizer, args=args, key=jax.random.key(3), adjoint=adjoint)
            return jnp.sum(solution.ys**2) + weight * solution.penalty

        return jax.grad(loss)

    parts = {}
    for adjoint in (diffrax.RecursiveCheckpointAdjoint(), diffrax.BacksolveAdjoint()):
        both = jax.jit(lambda w, a=adjoint: gradient(a, w)(ARGS))
        parts[type(adjoint).__name__] = (both(0.0), both(1.0))
    direct, back = parts["RecursiveCheckpointAdjoint"], parts["BacksolveAdjoint"]
    np.testing.assert_allclose(back[1] - back[0], direct[1] - direct[0], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(back[1], direct[1], rtol=0.1)
    assert jnp.any(direct[1] != direct[0])


@pytest.mark.parametrize("regularizer", [(), LocalErrorEstimate(), LocalErrorEstimate(SolverSteps())])
def test_backsolve_differentiates_the_initial_state(regularizer):
    """Gradient: as a latent ODE needs it; what counts and what draws is in nobody's way."""

    def loss(y0, adjoint):
        solution = solve_here(regularizer, y0=y0, key=jax.random.key(3), adjoint=adjoint)
        return jnp.sum(solution.ys**2) + sum(jax.tree.leaves(solution.penalty))

    direct, back = (
        jax.jit(jax.grad(lambda y0, a=adjoint: loss(y0, a)))(Y0)
        for adjoint in (diffrax.RecursiveCheckpointAdjoint(), diffrax.BacksolveAdjoint())
    )
    np.testing.assert_allclose(back, direct, rtol=0.1)


def test_memory_is_flat_in_the_number_of_steps():
    """Property: the compiled gradient under BacksolveAdjoint needs as much for 64 steps as for 4096."""

    def memory(max_steps):
        def loss(args):
            return solve_here(
                LocalErrorEstimate(),
                args=args,
                key=jax.random.key(3),
                adjoint=diffrax.BacksolveAdjoint(),
                max_steps=max_steps,
            ).penalty

        return jax.jit(jax.grad(loss)).lower(ARGS).compile().memory_analysis().temp_size_in_bytes

    assert memory(4096) <= memory(64)


def test_an_event_ends_what_is_drawn_from():
    """Property: no time after the event is drawn; what was drawn is a step before it."""
    event = diffrax.Event(lambda t, y, args, **kwargs: t > 0.3)
    solution = solve_here(
        (LocalErrorEstimate(SolverSteps(), **OWN), ErrorEstimate()), event=event, key=jax.random.key(3)
    )
    assert solution.ts[-1] < 1
    local, total = solution.penalty
    steps = int(solution.stats["num_accepted_steps"])
    assert 0 < local <= steps * total


def test_tolerances_of_its_own():
    """Exact: half the tolerances, twice the error."""
    fixed = {"stepsize_controller": diffrax.StepTo(jnp.linspace(0, 1, 7)), "dt0": None}
    one, two = (
        penalize(ARGS, Y0, LocalErrorEstimate(step=SolverStep(), rtol=s * RTOL, atol=s * ATOL), **fixed)
        for s in (1.0, 0.5)
    )
    np.testing.assert_allclose(two, 2 * one, rtol=1e-12)
    assert PID.rtol == RTOL
