"""TayNODE and RNODE: integrals against an augmented equation, derivatives against nested ones (exact)."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.diffeqs import JacobianNorm, KineticEnergy, TaylorDerivative
from sciml.diffeqs.path_integrals import differentiate_in_time
from tests.diffeqs.problems import ARGS, ODE, PID, T0, T1, Y0, differentiate, field, solve_here

TIGHT = diffrax.PIDController(rtol=1e-10, atol=1e-10)
POINTS = 4


@functools.cache
def references():
    """The integrals as further components of the state, solved tightly."""

    def augmented(t, y, args):
        rate = field(t, y[0], args)
        derivative = differentiate_in_time(lambda t, y: field(t, y, args), t, y[0], 2)
        jacobian = jax.jacfwd(lambda y: field(t, y, args))(y[0])
        return rate, (jnp.sum(rate**2), jnp.sum(derivative**2), jnp.sum(jacobian**2))

    start = (Y0, (0.0, 0.0, 0.0))
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(augmented), diffrax.Dopri8(), T0, T1, 0.01, start, ARGS, stepsize_controller=TIGHT
    )
    return tuple(float(x[-1]) for x in solution.ys[1])


def test_integrals_along_the_path():
    """Exact, to the error of four points in each of the steps that a tight tolerance takes."""
    regularizers = (KineticEnergy(points=POINTS), TaylorDerivative(order=2, points=POINTS))
    solution = solve_here(regularizers, stepsize_controller=TIGHT, max_steps=1024)
    np.testing.assert_allclose(solution.penalty, references()[:2], rtol=1e-7)


def test_the_jacobian_norm_is_right_in_the_mean():
    """Exact, to four standard errors of 2000 probes; and each probe gives the row it weighs."""
    keys = jax.random.split(jax.random.key(0), 2000)
    run = jax.jit(jax.vmap(lambda key: solve_here(JacobianNorm(points=3), key=key).penalty))
    numbers = np.asarray(run(keys))
    error = numbers.std() / np.sqrt(numbers.size)
    # The solve has a tolerance of 1e-3, the reference one of 1e-10.
    assert abs(numbers.mean() - references()[2]) < 4 * error + 1e-2 * references()[2]


def test_solutions_and_steps_stay_as_they_are():
    """Property: integrals do not change what is solved."""
    plain = solve_here(())
    seen = solve_here((KineticEnergy(), TaylorDerivative(order=2)))
    assert jnp.array_equal(plain.ys, seen.ys)
    assert plain.stats["num_steps"] == seen.stats["num_steps"]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_derivatives_in_time(order):
    """Exact: Taylor mode against nested directional derivatives."""

    def nested(k):
        if k == 1:
            return lambda t, y: field(t, y, ARGS)
        inner = nested(k - 1)
        return lambda t, y: jax.jvp(inner, (t, y), (jnp.ones_like(t), field(t, y, ARGS)))[1]

    t = jnp.asarray(0.55)
    found = differentiate_in_time(lambda t, y: field(t, y, ARGS), t, Y0, order)
    np.testing.assert_allclose(found, nested(order)(t, Y0), rtol=1e-10)


def test_derivatives_of_a_known_solution():
    """Exact: y = exp(2 t) c, whose third derivative is 8 y, as a pytree."""
    y = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}
    found = differentiate_in_time(lambda t, y: jax.tree.map(lambda leaf: 2 * leaf, y), jnp.asarray(0.0), y, 3)
    assert eqx.tree_equal(found, jax.tree.map(lambda leaf: 8 * leaf, y), rtol=1e-12)


def test_a_network_with_a_concatenated_time_has_derivatives():
    """Property: the operations of Equinox's layers have Taylor rules."""
    layer = eqx.nn.Linear(3, 2, key=jax.random.key(0))

    def network(t, y):
        return jnp.tanh(layer(jnp.concatenate([y, t[None]])))

    found = differentiate_in_time(network, jnp.asarray(0.1), Y0, 3)
    first = lambda t, y: jax.jvp(network, (t, y), (jnp.ones(()), network(t, y)))[1]  # noqa: E731
    second = jax.jvp(first, (jnp.asarray(0.1), Y0), (jnp.ones(()), network(jnp.asarray(0.1), Y0)))[1]
    np.testing.assert_allclose(found, second, rtol=1e-10)


def test_gradients_are_those_along_the_steps():
    """Gradient: against central differences on fixed steps."""
    times = jnp.linspace(T0, T1, 9)
    regularizers = (KineticEnergy(), TaylorDerivative(order=2), JacobianNorm())

    def total(args):
        controller = diffrax.StepTo(times)
        solution = solve_here(
            regularizers, args=args, stepsize_controller=controller, dt0=None, key=jax.random.key(1)
        )
        return sum(solution.penalty)

    direction = jnp.array([0.3, -1.0, 0.5])
    slope = jnp.vdot(jax.jit(jax.grad(total))(ARGS), direction)
    np.testing.assert_allclose(slope, differentiate(total, ARGS, tangents=(direction,)), rtol=1e-6)


def test_a_part_of_the_state_can_be_selected_and_time_run_backwards():
    """Exact: the energy of one leaf; backwards it is that of the same path."""

    def pair(t, y, args):
        return field(t, y[0], args), jnp.ones(())

    def select(y):
        return y[0]

    solution = solve_here(
        KineticEnergy(points=POINTS, select=select),
        terms=diffrax.ODETerm(pair),
        y0=(Y0, jnp.zeros(())),
        stepsize_controller=TIGHT,
        max_steps=1024,
    )
    np.testing.assert_allclose(solution.penalty, references()[0], rtol=1e-7)
    back = solve_here(
        (KineticEnergy(points=POINTS), TaylorDerivative(order=2, points=POINTS)),
        t0=T1,
        t1=T0,
        dt0=-0.01,
        y0=solution.ys[0][-1],
        stepsize_controller=TIGHT,
        max_steps=1024,
    )
    np.testing.assert_allclose(back.penalty, references()[:2], rtol=1e-6)


def test_they_are_one_number_a_sample():
    """Property: under vmap as in a loop."""
    starts = jnp.stack([Y0, 2 * Y0])

    def run(y0):
        return solve_here(KineticEnergy(), terms=ODE, y0=y0, stepsize_controller=PID).penalty

    np.testing.assert_allclose(jax.vmap(run)(starts), [run(y0) for y0 in starts], rtol=1e-12)
