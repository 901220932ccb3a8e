"""`solve` is `diffeqsolve`: the same solution with and without regularizers (exact); jit, vmap, scan (property)."""

import inspect
import warnings

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from sciml.diffeqs import (
    SOSRI,
    ErrorEstimate,
    JacobianNorm,
    KineticEnergy,
    LocalErrorEstimate,
    RegularizedSolution,
    StiffnessEstimate,
    TaylorDerivative,
)
from sciml.diffeqs.solve import is_finished, solve

from .problems import ARGS, DT0, ODE, PID, T0, T1, Y0, additive, field, same, solve_here, stochastic

ERROR = ErrorEstimate(rtol=1e-3, atol=1e-4)
SEVERAL = (ERROR, LocalErrorEstimate(rtol=1e-3, atol=1e-4))
OWN_STATS = {"num_evaluations", "num_diffusion_evaluations"}


def plain(**kwargs):
    """diffrax's own."""
    kwargs = {
        "terms": ODE, "solver": diffrax.Tsit5(), "t0": T0, "t1": T1, "dt0": DT0, "y0": Y0, "args": ARGS,
        "stepsize_controller": PID, "max_steps": 64, **kwargs,
    }  # fmt: skip
    return diffrax.diffeqsolve(**kwargs)


def agree(one, two, rtol=1e-10):
    """All that diffrax returns, and the steps: to the bit if `rtol` is 0.

    What a regularizer reads is one more use of a number, for which XLA may fuse, and so round, in another way. (On the
    machine where this was written that happened to ReversibleHeun only.)
    """
    assert {n: v for n, v in two.stats.items() if n not in OWN_STATS} == one.stats
    assert one.result == two.result
    for name in set(diffrax.Solution.__dataclass_fields__) - {"stats", "result"}:
        a, b = getattr(one, name), getattr(two, name)
        assert jax.tree.structure(a) == jax.tree.structure(b), name
        if rtol == 0:
            assert same(a, b), name
        else:
            # Steps that were not made are infinite in both.
            a, b = (
                jax.tree.map(lambda x: jnp.where(jnp.isinf(x), 0, x), eqx.filter(x, eqx.is_array))
                for x in (a, b)
            )
            assert eqx.tree_equal(a, b, rtol=rtol, atol=rtol / 100), name


def everything():
    """Every kind of output at once."""
    subs = {
        "times": diffrax.SubSaveAt(ts=jnp.array([0.1, 0.55, 0.9])),
        "steps": diffrax.SubSaveAt(t0=True, t1=True, steps=2),
        "function": diffrax.SubSaveAt(ts=jnp.array([0.4]), fn=lambda t, y, args: (t, y[0] * args[1])),
    }
    return diffrax.SaveAt(subs=subs, dense=True, solver_state=True, controller_state=True, made_jump=True)


def steady(t, y, args):
    """A field that comes to rest."""
    return args[0] * (jnp.array([1.0, 2.0]) - y)


def pair(t, y, args):
    """The field as a pytree with a scalar, a matrix and an empty leaf."""
    rate = field(t, y["a"], args)
    return {"a": rate, "b": (-y["b"][0] * rate[0], None)}


def complex_field(t, y, args):
    return (1j * args[0] - 0.3) * y * jnp.exp(-3 * t)


JUMP = diffrax.ClipStepSizeController(PID, step_ts=[0.3], jump_ts=[0.5])
LOOSE = diffrax.PIDController(rtol=0.05, atol=0.05)
NEWTON = diffrax.Kvaerno3(root_finder=optx.Newton(rtol=1e-8, atol=1e-8))

SAME = {
    "outputs": {"saveat": everything()},
    "no first step": {"dt0": None},
    "constant steps": {"stepsize_controller": diffrax.ConstantStepSize(), "dt0": 0.1},
    "fixed steps": {"stepsize_controller": diffrax.StepTo(ts=jnp.array([0.0, 0.2, 0.7, 1.0])), "dt0": None},
    "jumps": {"stepsize_controller": JUMP, "saveat": diffrax.SaveAt(steps=True, made_jump=True)},
    "pytree, backwards": {
        "t0": 1.0,
        "t1": 0.0,
        "dt0": -0.3,
        "terms": diffrax.ODETerm(pair),
        "y0": {"a": Y0, "b": (jnp.ones((2, 2)), None)},
        "saveat": diffrax.SaveAt(t0=True, ts=jnp.array([0.7, 0.2]), dense=True),
    },
    "steady state": {
        "terms": diffrax.ODETerm(steady),
        "event": diffrax.Event(diffrax.steady_state_event()),
        "t1": 100.0,
        "max_steps": 256,
    },
    "root of an event": {
        "event": diffrax.Event(lambda t, y, args, **kwargs: y[1] - 0.2, optx.Newton(rtol=1e-8, atol=1e-8)),
        "saveat": diffrax.SaveAt(t1=True, steps=True, dense=True),
    },
    "too many steps": {
        "max_steps": 4,
        "throw": False,
        "saveat": diffrax.SaveAt(t1=True, ts=jnp.array([0.01, 0.9])),
    },
    "no steps": {"t1": 0.0},
    "unbounded": {"max_steps": None},
    "implicit": {"solver": NEWTON, "saveat": diffrax.SaveAt(t1=True, solver_state=True)},
    "HalfSolver": {
        "solver": diffrax.HalfSolver(diffrax.Heun()),
        "saveat": diffrax.SaveAt(t1=True, dense=True),
    },
    "ReversibleHeun": {
        "solver": diffrax.ReversibleHeun(),
        "saveat": diffrax.SaveAt(t1=True, solver_state=True),
    },
    "SPaRK": {"solver": diffrax.SPaRK(), "terms": stochastic(), "stepsize_controller": LOOSE},
    "SOSRI": {
        "solver": SOSRI(),
        "terms": stochastic(),
        "stepsize_controller": diffrax.PIDController(rtol=0.5, atol=0.5),
        "saveat": diffrax.SaveAt(steps=True),
    },
    "ShARK": {"solver": diffrax.ShARK(), "terms": additive(), "stepsize_controller": LOOSE},
    "complex": {"terms": diffrax.ODETerm(complex_field), "y0": Y0 + 0.5j},
}


SLOW = {
    "unbounded",
    "constant steps",
    "no first step",
    "no steps",
    "ReversibleHeun",
    "ShARK",
    "SPaRK",
    "implicit",
    "complex",
}


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=pytest.mark.slow) if what in SLOW else what for what in SAME]
)
@pytest.mark.filterwarnings("ignore:Complex dtype support")
def test_the_solution_is_diffrax_s(what):
    """Exact: to the bit without a regularizer, to rounding with one."""
    kwargs = SAME[what]
    expected = plain(**kwargs)
    found = solve_here((ERROR,), **kwargs)
    agree(expected, found)
    assert isinstance(found, RegularizedSolution)
    assert all(jnp.isrealobj(p) and p.shape == () and jnp.isfinite(p) for p in found.penalty)
    without = solve_here(None, **kwargs)
    assert type(without) is diffrax.Solution
    agree(expected, without, rtol=0)


def test_a_solve_can_be_continued():
    """Exact: the states of solver and controller and a jump at the seam, passed back in."""
    saveat = diffrax.SaveAt(t1=True, solver_state=True, controller_state=True, made_jump=True)
    first = plain(t1=0.5, saveat=saveat, stepsize_controller=JUMP)
    seen = solve_here(SEVERAL, t1=0.5, saveat=saveat, stepsize_controller=JUMP, key=jax.random.key(0))
    agree(first, seen)

    def continued(run, before, *regularizer, **kwargs):
        return run(
            *regularizer,
            t0=0.5,
            dt0=0.05,
            y0=before.ys[-1],
            solver_state=before.solver_state,
            controller_state=before.controller_state,
            made_jump=before.made_jump,
            stepsize_controller=JUMP,
            saveat=saveat,
            **kwargs,
        )

    agree(continued(plain, first), continued(solve_here, seen, SEVERAL, key=jax.random.key(1)))


def test_gradients_of_the_solution_are_diffrax_s():
    """Gradient: to rounding, as one more output makes XLA order sums in another way; the penalty is not in it."""
    saveat = diffrax.SaveAt(ts=jnp.array([0.3, 1.0]))

    def loss(run):
        return jax.grad(
            lambda y0, args: jnp.sum(run(y0=y0, args=args, saveat=saveat).ys ** 2), argnums=(0, 1)
        )

    expected = jax.jit(loss(plain))(Y0, ARGS)
    found = jax.jit(loss(lambda **kwargs: solve_here(ERROR, **kwargs)))(Y0, ARGS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)


@pytest.mark.usefixtures("float32")
def test_single_precision():
    """Exact: to rounding in float32, too."""
    kwargs = {
        "y0": Y0.astype(jnp.float32),
        "args": ARGS.astype(jnp.float32),
        "stepsize_controller": diffrax.PIDController(rtol=1e-3, atol=1e-4),
        "saveat": diffrax.SaveAt(steps=True),
    }
    found = solve_here((ERROR, StiffnessEstimate()), **kwargs)
    agree(plain(**kwargs), found, rtol=1e-5)
    assert found.ys.dtype == jnp.float32


def test_several_are_one_solve():
    """Property: a tuple gives each its own penalty; no regularizer at all counts evaluations and has no penalty."""
    calls = []

    def noted(t, y, args):
        jax.debug.callback(lambda _: calls.append(0), t)
        return field(t, y, args)

    regularizers = (ERROR, StiffnessEstimate(), KineticEnergy())
    none = eqx.filter_jit(solve_here)((), terms=diffrax.ODETerm(noted))
    assert none.penalty == ()
    jax.effects_barrier()
    assert int(none.stats["num_evaluations"]) == len(calls)
    calls.clear()
    both = solve_here(regularizers[:2], terms=diffrax.ODETerm(noted))
    jax.effects_barrier()
    assert len(calls) == int(none.stats["num_evaluations"])
    together = solve_here(regularizers).penalty
    np.testing.assert_allclose(both.penalty, together[:2], rtol=1e-10)
    np.testing.assert_allclose([solve_here(r).penalty for r in regularizers], together, rtol=1e-10)


def test_the_key_of_one_does_not_depend_on_its_neighbors():
    """Property: and the same key gives the same draw, another another."""
    local = LocalErrorEstimate()

    def draw(key):
        return solve_here((local, local), key=key).penalty

    keys = jax.random.split(jax.random.key(0), 20)
    first, second = jax.jit(jax.vmap(draw))(keys)
    assert jnp.all(first != second)
    assert jnp.unique(first).size > 10
    again = jax.jit(jax.vmap(lambda key: solve_here((local, ERROR), key=key).penalty[0]))(keys)
    np.testing.assert_allclose(again, first, rtol=1e-12)


def test_a_batch_of_solves_is_a_loop_over_them():
    """Property: under vmap one penalty and one count for each sample, and each gradient its own."""
    starts = jnp.stack([Y0, -2 * Y0, 4 * Y0])
    key = jax.random.key(0)

    def run(y0):
        solution = solve_here((ERROR, LocalErrorEstimate()), y0=y0, key=key)
        return solution.penalty, {n: v for n, v in solution.stats.items() if n != "max_steps"}

    alone = jax.jit(run)
    expected = jax.tree.map(lambda *x: jnp.stack(x), *map(alone, starts))
    penalty, stats = jax.jit(jax.vmap(run))(starts)
    assert same(stats, expected[1])
    assert jnp.unique(stats["num_steps"]).size > 1
    np.testing.assert_allclose(penalty, expected[0], rtol=1e-10)


@pytest.mark.slow
def test_gradients_of_a_batch_are_those_of_a_loop():
    """Gradient: of the penalty, sample by sample, with different numbers of steps."""
    starts = jnp.stack([Y0, -2 * Y0, 4 * Y0])

    def run(y0):
        return solve_here(ERROR, y0=y0).penalty

    slope = jax.jit(jax.grad(run))
    slopes = jax.jit(jax.grad(lambda y: jnp.sum(jax.vmap(run)(y))))(starts)
    np.testing.assert_allclose(slopes, jnp.stack([slope(y0) for y0 in starts]), rtol=1e-9)


def test_a_batch_that_is_one_state_has_one_penalty():
    """Property: one sequence of steps, one error."""
    term = diffrax.ODETerm(lambda t, y, args: jax.vmap(lambda y: field(t, y, args))(y))
    solution = solve_here(ERROR, terms=term, y0=jnp.stack([Y0, -2 * Y0, 4 * Y0]))
    assert solution.penalty.shape == solution.stats["num_evaluations"].shape == ()


def test_scan_over_solves():
    """Property: one solve after the other in a scan, with the penalties as its outputs."""

    def advance(y0, _):
        solution = solve_here(ERROR, y0=y0)
        return solution.ys[-1], solution.penalty

    end, penalties = jax.jit(lambda y0: jax.lax.scan(advance, y0, None, length=3))(Y0)
    y0, expected = Y0, []
    for _ in range(3):
        y0, penalty = advance(y0, None)
        expected.append(penalty)
    np.testing.assert_allclose(end, y0, rtol=1e-12)
    np.testing.assert_allclose(penalties, expected, rtol=1e-10)


def test_an_event_has_the_penalty_of_the_steps_that_were_made():
    """Exact: as if the solve had been asked to end with the last step, whole."""
    event = diffrax.Event(lambda t, y, args, **kwargs: t > 0.4)
    ended = solve_here(ERROR, event=event, saveat=diffrax.SaveAt(t0=True, steps=True, t1=True))
    assert ended.ts[jnp.isfinite(ended.ts)][-1] < T1
    times = ended.ts[: int(ended.stats["num_accepted_steps"]) + 1]
    replayed = solve_here(ERROR, t1=times[-1], dt0=None, stepsize_controller=diffrax.StepTo(ts=times))
    np.testing.assert_allclose(ended.penalty, replayed.penalty, rtol=1e-10)


def test_too_many_steps_are_said():
    """Property: `throw=False` really returns, with the penalty so far, `is_finished` says no."""
    with pytest.raises(eqx.EquinoxRuntimeError, match="maximum number of solver steps"):
        jax.block_until_ready(solve_here(ERROR, max_steps=4).penalty)
    solution = solve_here(ERROR, max_steps=6, throw=False)
    assert solution.result == diffrax.RESULTS.max_steps_reached
    assert not is_finished(solution)
    assert is_finished(solve_here(ERROR))
    assert 0 < solution.penalty < solve_here(ERROR).penalty


def test_backsolve_counts_without_a_regularizer():
    """Exact: nothing is recorded, and the gradient is diffrax's."""

    def run(args, *regularizer):
        solution = solve_here(*regularizer, args=args, adjoint=diffrax.BacksolveAdjoint())
        return jnp.sum(solution.ys**2), solution.stats

    expected, _ = jax.jit(jax.grad(run, has_aux=True))(ARGS)
    found, stats = jax.jit(jax.grad(lambda args: run(args, ()), has_aux=True))(ARGS)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert stats["num_evaluations"] == solve_here(()).stats["num_evaluations"]


def test_no_number_is_promoted():
    """Property: under jax's strict rules, which diffrax's own tests are run by, too."""
    regularizers = (*SEVERAL, StiffnessEstimate(), KineticEnergy(), TaylorDerivative(), JacobianNorm())
    kwargs = {"stepsize_controller": JUMP, "key": jax.random.key(0)}
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        solution = solve_here(regularizers, **kwargs)
        counted = solve_here((), solver=diffrax.ReversibleHeun(), max_steps=512, **kwargs)
    assert all(jnp.isfinite(penalty) for penalty in solution.penalty)
    assert counted.stats["num_evaluations"] > 0


def test_deprecated_events_pass_through():
    """diffrax's old kind of event still ends the solve, with diffrax's warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        event = diffrax.SteadyStateEvent()
    kwargs = {"terms": diffrax.ODETerm(steady), "t1": 100.0, "max_steps": 256}
    with pytest.warns(UserWarning, match="deprecated"):
        found = solve_here(ERROR, discrete_terminating_event=event, **kwargs)
    assert found.result == diffrax.RESULTS.event_occurred


def test_the_signature_is_diffrax_s():
    """Property: every argument of `diffeqsolve` is there with its default, and two more."""
    ours, theirs = (inspect.signature(f).parameters for f in (solve, diffrax.diffeqsolve))
    assert set(ours) - set(theirs) == {"regularizer", "key"}
    for name, parameter in theirs.items():
        assert ours[name].kind == parameter.kind
        assert eqx.tree_equal(ours[name].default, parameter.default) is True, name
