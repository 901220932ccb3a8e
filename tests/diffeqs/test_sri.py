"""SRI solvers: measured strong order, the step against its formulas, the error estimate, gradients, bad input."""

import functools
import warnings

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from sciml.diffeqs.sri import SOSRI, SOSRI2, SRIW1

SOLVERS = [SRIW1(), SOSRI(), SOSRI2()]
NAMES = [type(solver).__name__ for solver in SOLVERS]


def brownian(key, shape=(), tol=2**-10, t1=1.0, area=diffrax.SpaceTimeLevyArea):
    return diffrax.VirtualBrownianTree(0.0, t1, tol, shape, key, levy_area=area)


def equation(f, g, tree):
    diffusion = diffrax.ControlTerm(lambda t, y, args: lx.DiagonalLinearOperator(g(t, y)), tree)
    return diffrax.MultiTerm(diffrax.ODETerm(lambda t, y, args: f(t, y)), diffusion)


# Order.

GROWTH, VOLATILITY, WIDTH = -0.5, 0.8, 0.7
START = jnp.array([1.0, 0.5, 0.1, -0.4])


def drift(t, y):
    return jnp.concatenate([GROWTH * y[:2], -(WIDTH**2) * y[2:] * (1 - y[2:] ** 2)])


def diffusion(t, y):
    return jnp.concatenate([VOLATILITY * y[:2], WIDTH * (1 - y[2:] ** 2)])


def exact(w):
    """Two components of geometric Brownian motion, and two of tanh(artanh(y0) + c W), by Ito's formula."""
    growth = START[:2] * jnp.exp(GROWTH - VOLATILITY**2 / 2 + VOLATILITY * w[:2])
    return jnp.concatenate([growth, jnp.tanh(jnp.arctanh(START[2:]) + WIDTH * w[2:])])


def slopes(errors, steps):
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


def strong_errors(solver, make, y0, solution, steps, paths):
    """The root mean square over paths of the error at the end `(step, component)`; compiled once for all steps."""

    @eqx.filter_jit
    def measure(keys, dt):
        def one(key):
            tree, terms = make(key)
            solved = diffrax.diffeqsolve(
                terms, solver, 0.0, 1.0, dt, y0, max_steps=None, adjoint=diffrax.ForwardMode()
            )
            return solved.ys[-1] - solution(tree.evaluate(0.0, 1.0))

        return jnp.sqrt(jnp.mean(jax.vmap(one)(keys) ** 2, axis=0))

    keys = jax.random.split(jax.random.key(1), paths)
    return np.stack([measure(keys, 1 / n) for n in steps])


@pytest.mark.parametrize("solver", SOLVERS, ids=NAMES)
def test_strong_order_is_one_and_a_half_for_diagonal_noise(solver):
    """Order: geometric Brownian motion and a nonlinear equation, both with known solutions, 400 paths.

    From 8 to 32 steps the slope is measured to about 0.1, hence the tolerance of 0.25 that orders have here.
    """

    def make(key):
        tree = brownian(key, (4,), tol=2**-6)
        return tree, equation(drift, diffusion, tree)

    steps = [8, 16, 32]
    errors = strong_errors(solver, make, START, exact, steps, 400)
    assert abs(slopes(np.linalg.norm(errors[:, :2], axis=1), steps) - 1.5) < 0.25
    assert abs(slopes(np.linalg.norm(errors[:, 2:], axis=1), steps) - 1.5) < 0.25
    assert errors[-1].max() < 5e-3


def test_strong_order_is_one_and_a_half_for_one_brownian_motion_of_all_components():
    """Order: dy = A y dt + B y dW with matrices that commute, y = exp((A - B^2 / 2) t + B W) y0."""
    turn = jnp.array([[0.0, -1.0], [1.0, 0.0]])
    a, b = 0.5 * turn - 0.2 * jnp.eye(2), 0.7 * turn + 0.3 * jnp.eye(2)
    y0 = jnp.array([1.0, 0.0])

    def make(key):
        tree = brownian(key, tol=2**-6)
        noise = diffrax.ControlTerm(lambda t, y, args: b @ y, tree)
        return tree, diffrax.MultiTerm(diffrax.ODETerm(lambda t, y, args: a @ y), noise)

    def solution(w):
        return jax.scipy.linalg.expm(a - b @ b / 2 + b * w) @ y0

    steps = [8, 16, 32]
    errors = strong_errors(SOSRI(), make, y0, solution, steps, 400)
    assert abs(slopes(np.linalg.norm(errors, axis=1), steps) - 1.5) < 0.25


# One step.


def reference_step(solver, t, h, y, w, area, f, g):
    """The method and its published estimates written out with loops, in NumPy; arrays of one component each."""
    tableau, n = solver.tableau, solver.tableau.stages
    i10, i11, i111 = w / 2 + area, (w**2 - h) / (2 * np.sqrt(h)), (w**3 - 3 * h * w) / (6 * h)
    h0, k, gs = [], [], []
    for i in range(n):
        h0.append(y + sum(tableau.a0[i, j] * h * k[j] + tableau.b0[i, j] * i10 * gs[j] for j in range(i)))
        h1 = y + sum(tableau.a1[i, j] * h * k[j] + tableau.b1[i, j] * np.sqrt(h) * gs[j] for j in range(i))
        k.append(np.asarray(f(t + tableau.c0[i] * h, h0[i])))
        gs.append(np.asarray(g(t + tableau.c1[i] * h, h1)))
    e_noise = sum((tableau.beta3[i] * i10 + tableau.beta4[i] * i111) * gs[i] for i in range(n))
    y1 = y + e_noise + sum(tableau.alpha[i] * h * k[i] for i in range(n))
    y1 = y1 + sum((tableau.beta1[i] * w + tableau.beta2[i] * i11) * gs[i] for i in range(n))
    e_drift = h * sum(k[i] for i in tableau.drift_stages)
    return y1, solver.delta * e_drift + e_noise, (k[3] - k[2], h0[3] - h0[2])


def take_step(solver, f, g, y0, t0, t1, tree):
    terms = equation(f, g, tree)
    assert solver.init(terms, t0, t1, y0, None) is None
    return solver.step(terms, t0, t1, y0, None, None, False)


@pytest.mark.parametrize("solver", SOLVERS, ids=NAMES)
def test_a_step_its_error_estimate_and_stiffness_are_the_published_formulas(solver, key):
    """Exact, to rounding: a second implementation from the formulas, with coefficients that depend on time."""
    tree = brownian(key, (4,))
    t0, t1 = jnp.asarray(0.25), jnp.asarray(0.375)

    def f(t, y):
        return jnp.sin(3 * t + y) - y

    def g(t, y):
        return jnp.cos(t) * (1 + y**2) / 2

    y1, error, dense, state, result = take_step(solver, f, g, START, t0, t1, tree)
    increment = tree.evaluate(t0, t1, use_levy=True)
    expected = reference_step(
        solver, 0.25, 0.125, np.asarray(START), np.asarray(increment.W), np.asarray(increment.H), f, g
    )
    np.testing.assert_allclose(y1, expected[0], rtol=1e-13)
    np.testing.assert_allclose(error, expected[1], rtol=1e-12, atol=1e-15)
    assert state is None
    assert result == diffrax.RESULTS.successful
    middle = solver.interpolation_cls(t0=t0, t1=t1, **dense).evaluate(jnp.asarray(0.3125))
    np.testing.assert_allclose(middle, (START + y1) / 2, rtol=1e-14)
    if solver.stiffness_stages is None:
        assert set(dense) == {"y0", "y1"}
    else:
        rate = jnp.linalg.norm(dense["rate_difference"]) / 0.125
        np.testing.assert_allclose(rate / jnp.linalg.norm(dense["stage_difference"]), expected[2], rtol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS, ids=NAMES)
def test_the_integral_of_the_path_over_a_step_is_the_tree_s(solver, key):
    """Exact: with drift 0 and diffusion t, one step is the integral of t dW = h W - I10, here summed over the path.

    The sum over 2^10 intervals is off by their length over sqrt(12), 3e-4, in the mean.
    """
    tree = brownian(key, (3,), tol=2**-10)
    y1, *_ = take_step(
        solver,
        lambda t, y: 0 * y,
        lambda t, y: t * jnp.ones(3),
        jnp.zeros(3),
        jnp.asarray(0.0),
        jnp.asarray(1.0),
        tree,
    )
    times = jnp.linspace(0, 1, 2**10 + 1)
    path = jnp.concatenate([jnp.zeros((1, 3)), jax.vmap(lambda t: tree.evaluate(0.0, t))(times[1:])])
    expected = path[-1] - jnp.trapezoid(path, times, axis=0)
    np.testing.assert_allclose(y1, expected, atol=1.5e-3)


def test_stiffness_of_a_linear_drift_is_its_rate(key):
    """Exact: a drift of -7 y pulls at rate 7, whatever the noise."""
    tree = brownian(key, (4,))
    _, _, dense, _, _ = take_step(
        SOSRI2(),
        lambda t, y: -7 * y,
        lambda t, y: 0.5 * y,
        START,
        jnp.asarray(0.0),
        jnp.asarray(0.125),
        tree,
    )
    rate = jnp.linalg.norm(dense["rate_difference"]) / 0.125 / jnp.linalg.norm(dense["stage_difference"])
    np.testing.assert_allclose(rate, 7, rtol=1e-12)


def test_a_stage_that_is_not_used_is_not_evaluated(key):
    """Property: two drifts and four diffusions for SRIW1, four of each for the others."""
    for solver, drifts in zip(SOLVERS, (2, 4, 4), strict=True):
        calls = {"f": 0, "g": 0}

        def count(name, value, calls=calls):
            calls[name] += 1
            return value

        terms = equation(
            lambda t, y, count=count: count("f", -y), lambda t, y, count=count: count("g", y), brownian(key)
        )
        solver.step(terms, 0.0, jnp.asarray(0.5), jnp.asarray(1.0), None, None, False)
        assert calls == {"f": drifts, "g": 4}


# Adaptive solves.


@functools.cache
def adaptive(name):
    """`solve(tree, rtol, rate)` with the solver of this name, compiled once; the solve starts with too long a step."""

    @eqx.filter_jit
    def solve(tree, rtol, rate, solver):
        controller = diffrax.PIDController(rtol=rtol, atol=rtol, pcoeff=0.4, icoeff=0.3, dtmin=1e-4)
        return diffrax.diffeqsolve(
            equation(lambda t, y: rate * y, lambda t, y: VOLATILITY * y, tree),
            solver,
            0.0,
            1.0,
            0.5,
            jnp.array([1.0, 0.5]),
            stepsize_controller=controller,
            max_steps=1000,
        )

    return solve


def final_error(tree, solution, rate):
    w = tree.evaluate(0.0, 1.0)
    return solution.ys[-1] - jnp.array([1.0, 0.5]) * jnp.exp(rate - VOLATILITY**2 / 2 + VOLATILITY * w)


@pytest.mark.parametrize("delta", [1.0, 0.0])
def test_a_smaller_tolerance_gives_a_smaller_error(delta):
    """Property: 40 paths, under an adaptive controller with rejected steps; the error falls at least as sqrt(tol).

    Without the drift in the estimate fewer steps are taken: as published it asks that no step moves the state far.
    """
    keys = jax.random.split(jax.random.key(2), 40)
    solver = SOSRI(delta=delta)
    measured = []
    for rtol in (0.3, 0.01):
        trees = jax.vmap(lambda key: brownian(key, (2,), tol=1e-5))(keys)
        solution = jax.vmap(lambda tree, rtol=rtol: adaptive("SOSRI")(tree, rtol, GROWTH, solver))(trees)
        error = jax.vmap(lambda tree, s: final_error(tree, s, GROWTH))(trees, solution)
        measured.append((jnp.sqrt(jnp.mean(error**2)), jnp.mean(solution.stats["num_accepted_steps"])))
    (loose, few), (tight, many) = measured
    assert jnp.sum(solution.stats["num_rejected_steps"]) > 0
    assert tight < loose / 5
    assert many > 2 * few


@pytest.mark.parametrize("solver", SOLVERS, ids=NAMES)
def test_gradients_agree_with_finite_differences_and_survive_vmap(solver):
    """Gradient: on the frozen steps of an adaptive solve, float64; a batch takes unequal numbers of steps.

    Solves of a batch that have ended go on with steps of no length, in which nothing may become NaN.
    """
    trees = jax.vmap(lambda key: brownian(key, (2,), tol=1e-5))(jax.random.split(jax.random.key(3), 3))

    def loss(rate, tree):
        return jnp.sum(adaptive(type(solver).__name__)(tree, 0.05, rate, solver).ys ** 2)

    first = jax.tree.map(lambda leaf: leaf[1], trees)
    together = jax.vmap(jax.grad(loss), in_axes=(None, 0))(jnp.asarray(GROWTH), trees)
    assert np.all(np.isfinite(together))
    np.testing.assert_allclose(together[1], jax.grad(loss)(jnp.asarray(GROWTH), first), rtol=1e-10)

    ts = jnp.array([0.0, 0.2, 0.5, 0.6, 1.0])

    @jax.jit
    def frozen(rate):
        terms = equation(lambda t, y: rate * y, lambda t, y: VOLATILITY * y, first)
        controller = diffrax.StepTo(ts)
        y0 = jnp.array([1.0, 0.5])
        solved = diffrax.diffeqsolve(
            terms, solver, 0.0, 1.0, None, y0, stepsize_controller=controller, max_steps=4
        )
        return jnp.sum(solved.ys**2)

    step = 1e-5
    expected = (frozen(GROWTH + step) - frozen(GROWTH - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(frozen)(GROWTH), expected, rtol=1e-8)


def test_a_state_may_be_a_pytree_and_stays_in_its_precision(key, float32):
    """Property: a pytree of two leaves in float32 under jit, and the deprecated way of writing diagonal noise."""
    y0 = {"a": jnp.ones(2), "b": jnp.ones(())}
    shape = jax.eval_shape(lambda: y0)
    tree = brownian(key, shape)
    scale = functools.partial(jax.tree.map, lambda y: 0.1 * y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        noise = diffrax.WeaklyDiagonalControlTerm(lambda t, y, args: scale(y), tree)
    terms = diffrax.MultiTerm(diffrax.ODETerm(lambda t, y, args: scale(y)), noise)
    controller = diffrax.PIDController(rtol=0.1, atol=0.1)
    solution = diffrax.diffeqsolve(
        terms, SOSRI2(), 0.0, 1.0, 0.1, y0, stepsize_controller=controller, saveat=diffrax.SaveAt(dense=True)
    )
    middle = solution.evaluate(0.5)
    assert jax.tree.map(lambda y: (y.shape, y.dtype), middle) == jax.tree.map(
        lambda y: (y.shape, y.dtype), y0
    )
    assert all(jax.tree.leaves(jax.tree.map(lambda y: bool(jnp.all(jnp.isfinite(y))), middle)))


# Bad input.


def _solve(noise, solver=None):
    terms = diffrax.MultiTerm(diffrax.ODETerm(lambda t, y, args: -y), noise)
    return diffrax.diffeqsolve(terms, solver or SOSRI(), 0.0, 1.0, 0.1, jnp.ones(2))


def _diagonal(control):
    return diffrax.ControlTerm(lambda t, y, args: lx.DiagonalLinearOperator(y), control)


KEY = jax.random.key(0)
TREE = functools.partial(brownian, KEY, (2,))
LINE = diffrax.LinearInterpolation(jnp.array([0.0, 1.0]), jnp.array([[0.0, 0.0], [1.0, 1.0]]))
BAD = {
    "no area": (
        lambda: _solve(_diagonal(TREE(area=diffrax.BrownianIncrement))),
        r"SOSRI needs the integral .* gives a BrownianIncrement; expected a SpaceTimeLevyArea\. "
        r"Give diffrax.VirtualBrownianTree\(.*levy_area=diffrax.SpaceTimeLevyArea\)",
    ),
    "not a Brownian motion": (
        lambda: _solve(_diagonal(LINE)),
        r"SOSRI needs a Brownian motion for the second term's control",
    ),
    "a matrix": (
        lambda: _solve(diffrax.ControlTerm(lambda t, y, args: jnp.eye(2), TREE())),
        r"SOSRI takes diagonal noise, and the diffusion gives arrays of shape \[\(2, 2\)\]\. "
        r"Return lineax.DiagonalLinearOperator",
    ),
    "an operator": (
        lambda: _solve(
            diffrax.ControlTerm(lambda t, y, args: lx.MatrixLinearOperator(jnp.eye(2)), TREE()), SOSRI2()
        ),
        r"SOSRI2 takes diagonal noise, and the diffusion gives a MatrixLinearOperator",
    ),
    "no noise": (
        lambda: diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: -y), SOSRI(), 0.0, 1.0, 0.1, jnp.ones(2)
        ),
        r"MultiTerm",
    ),
    "a Stratonovich adjoint": (
        lambda: diffrax.diffeqsolve(
            diffrax.MultiTerm(diffrax.ODETerm(lambda t, y, args: -y), _diagonal(TREE())),
            SRIW1(),
            0.0,
            1.0,
            0.1,
            jnp.ones(2),
            adjoint=diffrax.BacksolveAdjoint(),
        ),
        r"SRIW1` converges to the Itô solution.*BacksolveAdjoint",
    ),
    "negative": (lambda: SOSRI(delta=-1.0), r"SOSRI got delta=-1.0; expected a finite number >= 0"),
    "not finite": (lambda: SRIW1(delta=float("nan")), r"SRIW1 got delta=nan; expected a finite number >= 0"),
    "not a number": (lambda: SOSRI2(delta="1"), r"SOSRI2 got delta='1'; expected a finite number >= 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_a_method_cannot_take_is_refused(case):
    call, message = BAD[case]
    with pytest.raises((ValueError, NotImplementedError), match=message):
        call()
