"""The counts of evaluations against calls that were counted on the host, at run time (exact)."""

import diffrax
import jax
import jax.numpy as jnp
import lineax as lx
import pytest

from sciml.diffeqs import SOSRI, SOSRI2, SRIW1
from tests.diffeqs.problems import ARGS, DT0, PID, SmoothPath, diffusion, field, solve_here

COUNTS = {"drift": 0, "diffusion": 0}
LONG = 0.9
"""A first step that is rejected."""


def note(name, t):
    def count(_):
        COUNTS[name] += 1

    jax.debug.callback(count, t)


def counted_field(t, y, args):
    note("drift", t)
    return field(t, y, args)


def counted_diffusion(t, y, args):
    note("diffusion", t)
    return lx.DiagonalLinearOperator(diffusion(t, y, args))


def counted_constant(t, y, args):
    note("diffusion", t)
    return lx.DiagonalLinearOperator(0.3 * jnp.ones(2))


PATH = SmoothPath(jax.random.key(0))
DETERMINISTIC = diffrax.ODETerm(counted_field)
GENERAL = diffrax.MultiTerm(DETERMINISTIC, diffrax.ControlTerm(counted_diffusion, PATH))
ADDITIVE = diffrax.MultiTerm(DETERMINISTIC, diffrax.ControlTerm(counted_constant, PATH))
FIXED = diffrax.ConstantStepSize()
LOOSE = diffrax.PIDController(rtol=0.3, atol=0.3)
JUMP = diffrax.ClipStepSizeController(PID, jump_ts=[0.3, 0.7])


def count(terms, solver, controller, dt0):
    """Solve, and compare what is reported with what was called."""

    @jax.jit
    def run(dt0):
        given = {"stepsize_controller": controller, "dt0": dt0, "max_steps": 512}
        solution = solve_here((), terms=terms, solver=solver, **given)
        return solution.ys, {name: value for name, value in solution.stats.items() if name != "max_steps"}

    # Compiled before it is counted, so that calls while it is traced or compiled are not in the count.
    compiled = run.lower(dt0).compile()
    COUNTS.update(drift=0, diffusion=0)
    solution = jax.block_until_ready(compiled(dt0))
    jax.effects_barrier()
    return solution[1], dict(COUNTS)


@pytest.mark.parametrize(
    ("solver", "controller", "dt0"),
    [
        (diffrax.Tsit5(), PID, DT0),
        (diffrax.Tsit5(), PID, LONG),
        (diffrax.Tsit5(), JUMP, LONG),
        pytest.param(diffrax.Dopri8(), PID, DT0, marks=pytest.mark.slow),
        (diffrax.Heun(), PID, DT0),
        (diffrax.HalfSolver(diffrax.Bosh3()), PID, LONG),
        (diffrax.Euler(), FIXED, 0.1),
        (diffrax.LeapfrogMidpoint(), FIXED, 0.1),
        (diffrax.ReversibleHeun(), PID, LONG),
        (diffrax.HalfSolver(diffrax.ReversibleHeun()), JUMP, LONG),
    ],
    ids=lambda value: type(value).__name__,
)
def test_evaluations_of_a_field(solver, controller, dt0):
    stats, counts = count(DETERMINISTIC, solver, controller, dt0)
    assert int(stats["num_evaluations"]) == counts["drift"]
    assert int(stats["num_diffusion_evaluations"]) == 0
    if dt0 == LONG:
        assert stats["num_rejected_steps"] > 0


@pytest.mark.parametrize(
    ("terms", "solver", "controller"),
    [
        pytest.param(GENERAL, SOSRI(), LOOSE, marks=pytest.mark.slow),  # as SOSRI2
        (GENERAL, SOSRI2(), LOOSE),
        (GENERAL, SRIW1(), LOOSE),
        (GENERAL, diffrax.Heun(), LOOSE),
        (GENERAL, diffrax.EulerHeun(), FIXED),
        (GENERAL, diffrax.HalfSolver(diffrax.EulerHeun()), LOOSE),
        (GENERAL, diffrax.ItoMilstein(), FIXED),
        pytest.param(GENERAL, diffrax.StratonovichMilstein(), FIXED, marks=pytest.mark.slow),
        (ADDITIVE, diffrax.ShARK(), LOOSE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_evaluations_of_drift_and_diffusion(terms, solver, controller):
    stats, counts = count(terms, solver, controller, 0.1)
    assert int(stats["num_evaluations"]) == counts["drift"]
    # For additive noise diffrax looks once, before the first step, whether the diffusion has a derivative. Nothing
    # uses the value, so a diffusion that does not count its calls is not called for it.
    looked = 1 if terms is ADDITIVE else 0
    assert int(stats["num_diffusion_evaluations"]) == counts["diffusion"] - looked


def test_general_noise_with_levy_area():
    """Exact: diffrax asks for the diffusion once for each integral, W and H, at the same point: that is one."""
    stats, counts = count(GENERAL, diffrax.SPaRK(), LOOSE, 0.1)
    assert int(stats["num_evaluations"]) == counts["drift"]
    assert 2 * int(stats["num_diffusion_evaluations"]) == counts["diffusion"]


def test_a_solve_that_is_continued_uses_the_last_stage():
    """Exact: with the solver's state from before it is not a first step, unless after a jump."""
    states = diffrax.SaveAt(t1=True, solver_state=True)
    before = solve_here((), t1=0.5, saveat=states)
    rest = {"t0": 0.5, "dt0": 0.05, "y0": before.ys[-1]}
    for controller in (PID, FIXED):
        anew, continued, jumped = (
            solve_here((), stepsize_controller=controller, **rest, **given).stats
            for given in (
                {},
                {"solver_state": before.solver_state},
                {"solver_state": before.solver_state, "made_jump": True},
            )
        )
        assert anew["num_evaluations"] == 6 * anew["num_steps"] + 1
        assert continued["num_evaluations"] == 6 * continued["num_steps"]
        assert jumped["num_evaluations"] == 6 * jumped["num_steps"] + 1


def test_what_is_not_known_is_not_claimed():
    """diffrax does not say how often a root finder calls the field."""
    stats = solve_here((), solver=diffrax.Kvaerno3()).stats
    assert stats["num_evaluations"] is None
    assert stats["num_steps"] > 0


def test_each_sample_of_a_batch_has_its_own_count():
    """Property: as if it had been solved alone, although under vmap all wait for the slowest."""
    scales = jnp.array([0.2, 1.0, 8.0])

    def run(scale):
        return solve_here((), args=scale * ARGS).stats["num_evaluations"]

    together = jax.vmap(run)(scales)
    assert len(set(together.tolist())) > 1
    assert together.tolist() == [int(run(scale)) for scale in scales]
