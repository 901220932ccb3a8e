"""Models against known solutions: linear fields, geometric Brownian motion, Gaussian densities; and bad input."""

import dataclasses
import functools
import importlib

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.diffeqs.models import (
    FFJORD,
    ConcatSquash,
    ExactTrace,
    HutchinsonTrace,
    NeuralODE,
    NeuralSDE,
    Perceptron,
    TanhStack,
    TimeMLP,
    build_latent_ode,
)
from sciml.diffeqs.sri import SOSRI

KEY = jax.random.key(0)
TOLERANCE = diffrax.PIDController(rtol=1e-9, atol=1e-9)


def matrix(key=KEY, dim=3):
    return 0.5 * jax.random.normal(key, (dim, dim))


class Linear(eqx.Module):
    """The field `A y`."""

    weight: jax.Array

    def __call__(self, t, y, args):
        return self.weight @ y


# Fields.


@pytest.mark.parametrize(
    ("field", "parameters"),
    [
        (TimeMLP(784, key=KEY), 785 * 100 + 100 + 101 * 784 + 784),
        (Perceptron(32, key=KEY), 32 * 64 + 64 + 64 * 32 + 32),
        (Perceptron(32, depth=0, key=KEY), 32 * 32 + 32),
        (TanhStack(20, key=KEY), 4 * (20 * 50 + 50 + 50 * 20 + 20)),
        (ConcatSquash(2, key=KEY), 2 * 16 + 16 + 16 * 3 + 16 * 2 + 2 + 2 * 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_fields_have_the_published_sizes(field, parameters):
    """Exact: the number of parameters counted by hand from the architecture."""
    leaves = jax.tree.leaves(eqx.filter(field, eqx.is_array))
    assert sum(leaf.size for leaf in leaves) == parameters


def test_a_time_dependent_perceptron_is_its_formula():
    """Exact: 2021's network, whose second layer is squashed too, written out in NumPy."""
    field, y, t = TimeMLP(4, width=5, key=KEY), np.linspace(-1, 1, 4), 0.3
    (w1, b1), (w2, b2) = ((np.asarray(layer.weight), np.asarray(layer.bias)) for layer in field.layers)
    hidden = np.tanh(w1 @ np.append(y, t) + b1)
    np.testing.assert_allclose(field(t, jnp.asarray(y)), np.tanh(w2 @ np.append(hidden, t) + b2), rtol=1e-14)


# Neural ODEs and SDEs.


def test_a_linear_neural_ode_is_a_matrix_exponential():
    """Exact, to the tolerance of the solve: at the end, at other times, at another end, and through a batch."""
    a, x = matrix(), jnp.array([1.0, -0.5, 2.0])
    model = NeuralODE(Linear(a), embed=lambda x: 2 * x, readout=lambda y: y[:2], controller=TOLERANCE)
    exact = jax.vmap(lambda t: (jax.scipy.linalg.expm(a * t) @ (2 * x))[:2])
    times = jnp.array([0.0, 0.3, 1.0])
    at_times, _ = jax.jit(lambda x: model(x, times=times))(x)
    np.testing.assert_allclose(at_times, exact(times), rtol=1e-7)
    end, solution = jax.jit(lambda x, t1: model(x, t1=t1))(x, 0.6)
    np.testing.assert_allclose(end, exact(jnp.array([0.6]))[0], rtol=1e-7)
    assert solution.stats["num_accepted_steps"] > 1
    batch, _ = jax.vmap(model)(jnp.stack([x, 2 * x]))
    np.testing.assert_allclose(batch, exact(jnp.ones(1)) * jnp.array([[1.0], [2.0]]), rtol=1e-7)


def test_the_gradient_of_a_neural_ode_is_that_of_the_matrix_exponential():
    """Gradient: against automatic differentiation of the exact solution."""
    a, x = matrix(), jnp.array([1.0, -0.5, 2.0])

    def loss(model):
        return jnp.sum(model(x)[0] ** 2)

    found = eqx.filter_jit(eqx.filter_grad(loss))(NeuralODE(Linear(a), controller=TOLERANCE)).field.weight
    expected = jax.grad(lambda a: jnp.sum((jax.scipy.linalg.expm(a) @ x) ** 2))(a)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_steps_that_run_out_are_said_in_the_solution():
    """Property: with throw=False the model returns, and its solution says why it ended."""
    model = NeuralODE(Linear(matrix()), controller=TOLERANCE, max_steps=2, throw=False)
    _, solution = model(jnp.ones(3))
    assert solution.result == diffrax.RESULTS.max_steps_reached


def test_a_neural_sde_follows_its_path():
    """Exact, to the error of 256 steps of a method of order 1.5: geometric Brownian motion along the model's path."""
    growth, volatility = -0.3, 0.5
    model = NeuralSDE(
        lambda t, y, args: growth * y,
        lambda t, y, args: volatility * y,
        readout=lambda y: 2 * y,
        dt0=1 / 256,
        controller=diffrax.ConstantStepSize(),
    )
    y0 = jnp.array([1.0, 3.0])
    w = model.draw_path(y0, key=KEY).evaluate(0.0, 1.0)
    output, solution = model(y0, key=KEY)
    expected = 2 * y0 * jnp.exp(growth - volatility**2 / 2 + volatility * w)
    np.testing.assert_allclose(output, expected, rtol=1e-3)
    assert solution.stats["num_accepted_steps"] == 256
    assert not np.allclose(model(y0, key=jax.random.key(1))[0], output, rtol=1e-2)


def test_a_neural_sde_without_noise_is_its_drift():
    """Exact: at times, to the tolerance of the solve, with a smaller end than the model's."""
    model = NeuralSDE(
        Linear(matrix()), lambda t, y, args: 0 * y, controller=diffrax.ConstantStepSize(), dt0=2**-9
    )
    times, y0 = jnp.array([0.25, 0.5]), jnp.array([1.0, -0.5, 2.0])
    outputs, _ = model(y0, times=times, t1=0.5, key=KEY)
    expected = jax.vmap(lambda t: jax.scipy.linalg.expm(matrix() * t) @ y0)(times)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


# Flows.


@functools.cache
def linear_flow(trace):
    return FFJORD(Linear(matrix()), 3, trace=trace, controller=TOLERANCE)


def test_a_linear_flow_has_a_gaussian_density():
    """Exact: x -> exp(A) x is standard normal, so log p(x) = log N(exp(A) x) + tr A."""
    x = jnp.array([0.5, -1.0, 0.3])
    found, solution = eqx.filter_jit(linear_flow(ExactTrace()).log_prob)(x)
    base = jax.scipy.linalg.expm(matrix()) @ x
    expected = jnp.sum(jax.scipy.stats.norm.logpdf(base)) + jnp.trace(matrix())
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    assert solution.stats["num_accepted_steps"] > 1


@pytest.mark.parametrize("sampler", [jax.random.rademacher, jax.random.normal])
def test_hutchinson_s_estimate_is_unbiased(sampler):
    """Property: for a linear field the estimate is e^T A e, exactly, whose mean is tr A; 4 standard errors of 2000."""
    a, x = matrix(), jnp.array([0.5, -1.0, 0.3])
    trace = HutchinsonTrace(sampler)
    probes = jax.vmap(lambda key: trace.draw(3, float, key))(jax.random.split(KEY, 2000))
    rates, divergences = jax.vmap(lambda probe: trace.evaluate(lambda y: a @ y, x, probe))(probes)
    np.testing.assert_allclose(rates[0], a @ x, rtol=1e-14)
    np.testing.assert_allclose(divergences[0], probes[0] @ a @ probes[0], rtol=1e-12)
    error = jnp.abs(jnp.mean(divergences) - jnp.trace(a))
    assert error < 4 * jnp.std(divergences) / 2000**0.5
    key = jax.random.key(3)
    log_prob, _ = linear_flow(trace).log_prob(x, key=key)
    probe = trace.draw(3, float, jax.random.split(key)[0])
    change = probe @ a @ probe - jnp.trace(a)
    np.testing.assert_allclose(log_prob, linear_flow(ExactTrace()).log_prob(x)[0] + change, rtol=1e-8)


def test_the_density_of_a_flow_integrates_to_one():
    """Exact: a nonlinear flow on the line, by the trapezoidal rule, whose error is below 1e-6 here."""
    model = FFJORD(
        ConcatSquash(1, width=4, key=KEY), 1, controller=diffrax.PIDController(rtol=1e-7, atol=1e-7)
    )
    x = jnp.linspace(-12, 12, 801)
    density = jnp.exp(jax.jit(jax.vmap(lambda x: model.log_prob(x[None])[0]))(x))
    np.testing.assert_allclose(jnp.trapezoid(density, x), 1, atol=1e-5)


def test_samples_go_back_to_the_normal_numbers_they_came_from():
    """Exact: the flow of a sample is what the key draws, to the tolerance of two solves."""
    model = FFJORD(ConcatSquash(2, width=4, key=KEY), 2, controller=TOLERANCE, dt0=0.1)
    sample, solution = model.sample(key=KEY)
    base = jax.random.normal(jax.random.split(KEY)[0], (2,))
    back = model.log_prob(sample)[1].ys[0][-1]
    np.testing.assert_allclose(back, base, rtol=1e-6)
    assert solution.stats["num_accepted_steps"] > 1


# What every model hands to the solve.


class Solved(eqx.Module):
    """What a stand-in for `solve` was given, and states that a model can go on with."""

    ys: object
    given: dict


CALLS = {
    "neural_ode": lambda given: NeuralODE(Linear(matrix()), max_steps=7)(jnp.ones(3), **given)[1],
    "neural_sde": lambda given: NeuralSDE(Linear(matrix()), Linear(matrix()), max_steps=7)(
        jnp.ones(3), **given
    )[1],
    "ffjord": lambda given: FFJORD(Linear(matrix()), 3, max_steps=7).log_prob(jnp.ones(3), **given)[1],
    "ffjord sample": lambda given: FFJORD(Linear(matrix()), 3, max_steps=7).sample(**given)[1],
    "latent_ode": lambda given: (
        dataclasses.replace(build_latent_ode(3, 2, key=KEY), max_steps=7)(
            jnp.ones((2, 3)), jnp.ones((2, 3), bool), jnp.array([0.0, 1.0]), **given
        ).solution
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_model_hands_its_regularizer_and_a_key_to_the_solve_and_its_solution_back(name, monkeypatch):
    """Property: the regularizer is the one given, its key is a new one, and how to solve is what the model shows."""

    def stand_in(terms, solver, t0, t1, dt0, y0, args=None, **given):
        return Solved(jax.tree.map(lambda leaf: leaf[None], y0), {**given, "solver": solver})

    module = importlib.import_module(f"sciml.diffeqs.models.{name.split()[0]}")
    monkeypatch.setattr(module, "solve", stand_in)
    regularizer = object()
    given = CALLS[name]({"regularizer": regularizer, "key": KEY}).given
    assert given["regularizer"] is regularizer
    assert given["max_steps"] == 7
    assert given["throw"] is True
    assert isinstance(given["solver"], SOSRI if name == "neural_sde" else diffrax.Tsit5)
    assert isinstance(given["stepsize_controller"], diffrax.PIDController)
    assert isinstance(given["adjoint"], diffrax.RecursiveCheckpointAdjoint)
    if name != "neural_ode":  # which draws nothing itself
        assert not np.array_equal(jax.random.key_data(given["key"]), jax.random.key_data(KEY))


# Bad input.

ODE = functools.partial(NeuralODE, Linear(matrix()))
SDE = functools.partial(NeuralSDE, Linear(matrix()), Linear(matrix()))
FLOW = functools.partial(FFJORD, Linear(matrix()), 3)
BAD = {
    "class": (
        lambda: ODE(solver=diffrax.Tsit5),
        r"NeuralODE got solver=.*expected a AbstractSolver such as diffrax",
    ),
    "controller": (
        lambda: ODE(controller=1e-3),
        r"NeuralODE got controller=0.001; expected a AbstractStepSize",
    ),
    "adjoint": (lambda: FLOW(adjoint=None), r"FFJORD got adjoint=None; expected a AbstractAdjoint such as"),
    "steps": (lambda: SDE(max_steps=0), r"NeuralSDE got max_steps=0; expected a positive integer"),
    "times": (lambda: ODE(t0=1.0), r"NeuralODE got t0=1.0 and t1=1.0; expected finite times with t0 < t1"),
    "field": (lambda: NeuralODE(None), r"NeuralODE got field=None; expected a module or a function"),
    "Stratonovich": (
        lambda: SDE(solver=diffrax.SPaRK()),
        r"in the sense of Ito, and SPaRK converges to the Stratonovich solution; expected .*SOSRI\(\)",
    ),
    "wrapped Stratonovich": (
        lambda: SDE(solver=diffrax.HalfSolver(diffrax.EulerHeun())),
        r"HalfSolver converges to the Stratonovich solution",
    ),
    "resolution": (
        lambda: SDE(resolution=2.0),
        r"NeuralSDE got resolution=2.0; expected a time between 0 and",
    ),
    "trace": (
        lambda: FLOW(trace=ExactTrace),
        r"FFJORD got trace=.*expected ExactTrace\(\) or HutchinsonTrace\(\)",
    ),
    "dim": (lambda: FFJORD(Linear(matrix()), 0), r"FFJORD got dim=0; expected a positive integer"),
    "width": (lambda: TimeMLP(3, width=0, key=KEY), r"TimeMLP got width=0; expected a positive integer"),
    "bool": (
        lambda: TanhStack(3, blocks=True, key=KEY),
        r"TanhStack got blocks=True; expected a positive integer",
    ),
    "depth": (
        lambda: Perceptron(3, depth=-1, key=KEY),
        r"Perceptron got depth=0; expected a positive integer",
    ),
    "batch": (
        lambda: FLOW().log_prob(jnp.ones((5, 3))),
        r"FFJORD got x of shape \(5, 3\); expected \(3,\)\. If the first axis is a batch, write jax.vmap",
    ),
    "state": (
        lambda: NeuralODE(TimeMLP(3, key=KEY))(jnp.ones(4)),
        r"TimeMLP got y of shape \(4,\); expected \(3,\)\. Build it for as many components",
    ),
    "no key": (
        lambda: FLOW(trace=HutchinsonTrace()).log_prob(jnp.ones(3)),
        r"HutchinsonTrace draws a random probe .* key is None; expected a key\. Pass key",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
