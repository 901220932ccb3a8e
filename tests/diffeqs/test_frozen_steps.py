"""`FrozenSteps`: the same solution to the bit, and a gradient that no rejected step can poison."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.diffeqs import ErrorEstimate, FrozenSteps
from tests.diffeqs.problems import ARGS, DT0, PID, T1, Y0, differentiate, same, solve_here

PLAIN = diffrax.RecursiveCheckpointAdjoint()
END = diffrax.SaveAt(t1=True)
JUMPS = diffrax.ClipStepSizeController(PID, jump_ts=[0.35])


def root(t, y, args):
    """A field that is NaN below 0, where a first step that is too long goes."""
    return -args * jnp.sqrt(y)


def solve_root(args, adjoint, **kwargs):
    kwargs = {"terms": diffrax.ODETerm(root), "y0": jnp.array([1.0]), "dt0": 2.0, "t1": 1.0, **kwargs}
    controller = diffrax.PIDController(rtol=1e-6, atol=1e-6)
    kwargs = {"stepsize_controller": controller, "adjoint": adjoint, "max_steps": 64, **kwargs}
    return solve_here((ErrorEstimate(rtol=1e-6, atol=1e-6),), args=args, **kwargs)


def test_a_rejected_step_that_met_nan_is_not_in_the_gradient():
    """Gradient: NaN without; with it, that of differences along the accepted steps, of solution and penalty."""
    rate = jnp.asarray(1.5)

    def misfit(args, adjoint=None, **kwargs):
        solution = solve_root(args, adjoint or FrozenSteps(), **kwargs)
        return jnp.sum(solution.ys) + solution.penalty[0]

    saved = solve_root(rate, PLAIN, saveat=diffrax.SaveAt(t0=True, steps=True))
    assert saved.stats["num_rejected_steps"] > 0
    assert jnp.isnan(jax.grad(functools.partial(misfit, adjoint=PLAIN))(rate))
    slope = jax.jit(jax.grad(misfit))(rate)
    times = saved.ts[: int(saved.stats["num_accepted_steps"]) + 1]
    fixed = {"stepsize_controller": diffrax.StepTo(times), "dt0": None, "adjoint": PLAIN}
    exact = differentiate(functools.partial(misfit, **fixed), rate, tangents=(jnp.ones(()),))
    np.testing.assert_allclose(slope, exact, rtol=1e-6)
    # y = (1 - rate t / 2)^2, so dy/drate = -(1 - rate / 2) at t = 1.
    ends = jax.grad(lambda args: jnp.sum(solve_root(args, FrozenSteps()).ys))(rate)
    np.testing.assert_allclose(ends, -(1 - rate / 2), rtol=1e-4)


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"saveat": diffrax.SaveAt(ts=jnp.linspace(0, 1, 5))},
        pytest.param({"saveat": diffrax.SaveAt(t0=True, steps=True)}, marks=pytest.mark.slow),
        {"saveat": diffrax.SaveAt(t1=True, solver_state=True, controller_state=True, made_jump=True)},
        {"stepsize_controller": JUMPS},
        {"event": diffrax.Event(lambda t, y, args, **kwargs: y[1] - 0.2)},
        {"max_steps": 3, "throw": False},
        pytest.param({"stepsize_controller": diffrax.ConstantStepSize(), "dt0": 0.1}, marks=pytest.mark.slow),
        {"t0": 1.0, "t1": 0.0, "dt0": -DT0},
    ],
    ids=["end", "times", "steps", "states", "jump", "event", "max_steps", "constant", "backwards"],
)
def test_solution_and_statistics_are_the_same_to_the_bit(kwargs):
    """Property: also without a regularizer, as an adjoint of diffrax's own solve."""
    regularizer = ErrorEstimate(rtol=1e-3, atol=1e-4)
    one, two = (solve_here(regularizer, adjoint=adjoint, **kwargs) for adjoint in (PLAIN, FrozenSteps()))
    assert same(one, two)
    assert one.result == two.result
    if not kwargs:
        assert one.stats["num_rejected_steps"] > 0
        assert same(solve_here(adjoint=FrozenSteps()), solve_here())


def total(args, adjoint, saveat=END):
    """A loss on the solution with a penalty."""
    solution = solve_here(ErrorEstimate(), args=args, adjoint=adjoint, saveat=saveat)
    return jnp.sum(solution.ys**2) + solution.penalty


def test_the_gradient_is_the_plain_one_where_that_is_defined():
    """Gradient: both are derivatives along the same steps; and what a closure holds has one, too."""
    one, two = (jax.jit(jax.grad(functools.partial(total, adjoint=a)))(ARGS) for a in (PLAIN, FrozenSteps()))
    np.testing.assert_allclose(one, two, rtol=1e-12)

    def closed(scale):
        term = diffrax.ODETerm(lambda t, y, args: -scale * y)
        return jnp.sum(solve_here(terms=term, adjoint=FrozenSteps()).ys)

    exact = -jnp.sum(Y0) * jnp.exp(-0.7)
    np.testing.assert_allclose(eqx.filter_grad(closed)(jnp.asarray(0.7)), exact, rtol=1e-3)


@pytest.mark.slow
def test_the_gradient_under_vmap_and_forwards():
    """Gradient: as alone, and as backwards, also of states between the steps."""
    loss = functools.partial(total, saveat=diffrax.SaveAt(ts=[0.4, T1]))
    one = jax.jit(jax.grad(functools.partial(loss, adjoint=PLAIN)))(ARGS)
    several = jnp.stack([ARGS, 0.5 * ARGS])
    both = jax.jit(jax.vmap(jax.grad(functools.partial(loss, adjoint=FrozenSteps()))))(several)
    np.testing.assert_allclose(both[0], one, rtol=1e-9)
    forwards = FrozenSteps(diffrax.ForwardMode())
    _, slope = jax.jvp(functools.partial(loss, adjoint=forwards), (ARGS,), (jnp.ones(3),))
    np.testing.assert_allclose(slope, jnp.sum(one), rtol=1e-9)


@pytest.mark.slow
def test_a_sample_that_has_ended_stays_in_the_domain():
    """Gradient: under vmap a sample that an event has ended waits for the others where it is, as alone."""
    event = diffrax.Event(lambda t, y, args, **kwargs: y[0] < 0.3)

    def end(rate):
        # At t = 2 / rate the solution leaves the domain, long before t1.
        return jnp.sum(solve_root(rate, FrozenSteps(), event=event, t1=3.0).ys)

    rates = jnp.array([3.0, 1.0])
    together = jax.jit(jax.grad(lambda r: jnp.sum(jax.vmap(end)(r))))(rates)
    np.testing.assert_allclose(together, [jax.grad(end)(rate) for rate in rates], rtol=1e-9)


def test_no_accepted_step_at_all():
    """Exact: `max_steps` of rejected ones leave time and state where they were, and say so."""
    one, two = (
        solve_root(jnp.asarray(1.0), a, max_steps=1, throw=False, saveat=diffrax.SaveAt(t1=True, steps=True))
        for a in (PLAIN, FrozenSteps())
    )
    assert one.stats["num_accepted_steps"] == 0
    assert same(one, two)
    assert two.result == diffrax.RESULTS.max_steps_reached
    ends = [solve_root(jnp.asarray(1.0), a, max_steps=1, throw=False).ts for a in (PLAIN, FrozenSteps())]
    assert same(*ends)


def test_it_needs_a_number_of_steps():
    with pytest.raises(ValueError, match="max_steps is None; expected a number"):
        solve_here(adjoint=FrozenSteps(), max_steps=None)
