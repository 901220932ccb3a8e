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


class Increment(diffrax.AbstractPath):
    """A control that gives the increment of one step, whatever the step: for stepping without a solve."""

    value: diffrax.SpaceTimeLevyArea
    t0: float = 0.0
    t1: float = 1.0

    def evaluate(self, t0, t1=None, left=True, use_levy=False):
        return self.value


def draw_increments(key, paths, steps, shape):
    """Increments `W` and areas `H` over equal steps of [0, 1], `(path, step, *shape)`, exact in distribution."""
    w, h = jax.random.split(key)
    size = (paths, steps, *shape)
    return jax.random.normal(w, size) / steps**0.5, jax.random.normal(h, size) / (12 * steps) ** 0.5


def join_pairs(w, area):
    """The increments of the same path over steps twice as long: I10 = h (W / 2 + H) adds up, plus h W of the first."""
    first, second = w[:, ::2], w[:, 1::2]
    return first + second, (first - second) / 4 + (area[:, ::2] + area[:, 1::2]) / 2


def strong_slopes(solver, make_terms, y0, solution, groups, paths, shape):
    """The measured strong order of each group of components, by the root mean square error at t = 1."""

    @jax.jit
    def final_errors(w, area):
        steps = w.shape[1]

        def one(w, area):
            def step(y, inputs):
                n, w, area = inputs
                control = Increment(diffrax.SpaceTimeLevyArea(dt=jnp.asarray(1 / steps), W=w, H=area))
                terms = make_terms(control)
                return solver.step(terms, n / steps, (n + 1) / steps, y, None, None, False)[0], None

            y1, _ = jax.lax.scan(step, y0, (jnp.arange(steps), w, area))
            return y1 - solution(jnp.sum(w, axis=0))

        return jnp.sqrt(jnp.mean(jax.vmap(one)(w, area) ** 2, axis=0))

    w, area = draw_increments(jax.random.key(1), paths, 64, shape)
    steps, errors = [], []
    for _ in range(4):
        steps.append(w.shape[1])
        errors.append(final_errors(w, area))
        w, area = join_pairs(w, area)
    errors = np.stack(errors)
    measured = [
        -np.polyfit(np.log(steps), np.log(np.linalg.norm(errors[:, g], axis=1)), 1)[0] for g in groups
    ]
    return measured, errors


@pytest.mark.parametrize("solver", SOLVERS, ids=NAMES)
def test_strong_order_is_one_and_a_half_for_diagonal_noise(solver):
    """Order: geometric Brownian motion and a nonlinear equation, both with known solutions, 2000 paths.

    From 8 to 64 steps the slope is measured to about 0.1, hence the tolerance of 0.25 that orders have here.
    """
    groups = (slice(0, 2), slice(2, 4))
    measured, errors = strong_slopes(
        solver, lambda control: equation(drift, diffusion, control), START, exact, groups, 2000, (4,)
    )
    assert np.all(np.abs(np.array(measured) - 1.5) < 0.25), measured
    assert errors[0].max() < 2e-3


@pytest.mark.parametrize("solver", SOLVERS, ids=NAMES)
def test_strong_order_is_one_and_a_half_for_one_brownian_motion_of_all_components(solver):
    """Order: dy = A y dt + B y dW with matrices that commute, y = exp((A - B^2 / 2) t + B W) y0."""
    turn = jnp.array([[0.0, -1.0], [1.0, 0.0]])
    a, b = 0.5 * turn - 0.2 * jnp.eye(2), 0.7 * turn + 0.3 * jnp.eye(2)
    y0 = jnp.array([1.0, 0.0])

    def make_terms(control):
        noise = diffrax.ControlTerm(lambda t, y, args: b @ y, control)
        return diffrax.MultiTerm(diffrax.ODETerm(lambda t, y, args: a @ y), noise)

    def solution(w):
        exponent = a - b @ b / 2 + b * w  # a scaled rotation: exp(p + q turn) = e^p (cos q + turn sin q)
        p, q = exponent[0, 0], exponent[1, 0]
        return jnp.exp(p) * (jnp.cos(q) * y0 + jnp.sin(q) * turn @ y0)

    measured, _ = strong_slopes(solver, make_terms, y0, solution, (slice(0, 2),), 2000, ())
    assert np.all(np.abs(np.array(measured) - 1.5) < 0.25), measured


def test_noise_that_depends_on_other_components_costs_the_order():
    """Order: what the documentation warns of. dy1 = dW1, dy2 = y1 dW2 has strong order 0.5, not 1.5.

    The exact y2 needs the integral of W1 dW2; it is taken from the same method on steps 16 times finer.
    """
    g = lambda t, y: jnp.stack([jnp.ones(()), y[0]])  # noqa: E731
    solver = SOSRI()

    @jax.jit
    def final(w, area):
        steps = w.shape[1]

        def one(w, area):
            def step(y, inputs):
                n, w, area = inputs
                control = Increment(diffrax.SpaceTimeLevyArea(dt=jnp.asarray(1 / steps), W=w, H=area))
                terms = equation(lambda t, y: 0 * y, g, control)
                return solver.step(terms, n / steps, (n + 1) / steps, y, None, None, False)[0], None

            return jax.lax.scan(step, jnp.zeros(2), (jnp.arange(steps), w, area))[0]

        return jax.vmap(one)(w, area)

    w, area = draw_increments(jax.random.key(1), 2000, 512, (2,))
    reference, errors = final(w, area), []
    for _ in range(7):
        w, area = join_pairs(w, area)
        errors.append(jnp.sqrt(jnp.mean((final(w, area) - reference)[:, 1] ** 2)))
    measured = np.polyfit(np.log(2.0) * np.arange(4), np.log(np.array(errors[3:])), 1)[0]
    assert abs(measured - 0.5) < 0.25, errors


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
        rates, stages = expected[2]
        np.testing.assert_allclose(dense["rate_difference"], 0.125 * rates, rtol=1e-12)
        np.testing.assert_allclose(dense["stage_difference"], stages, rtol=1e-12)


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


@pytest.mark.parametrize("solver", SOLVERS, ids=NAMES)
def test_derivatives_of_a_step_agree_with_finite_differences(solver, key):
    """Gradient: of the state and of the error estimate, by reverse and forward mode, float64."""
    w, area = draw_increments(key, 1, 8, (4,))
    control = Increment(diffrax.SpaceTimeLevyArea(dt=jnp.asarray(0.125), W=w[0, 0], H=area[0, 0]))
    t0, t1 = jnp.asarray(0.25), jnp.asarray(0.375)

    @jax.jit
    def measure(rate):
        def f(t, y):
            return jnp.sin(3 * t + rate * y) - y

        y1, error, *_ = take_step(solver, f, lambda t, y: rate * (1 + y**2) / 2, START, t0, t1, control)
        return jnp.sum(jnp.sin(y1)) + jnp.sum(error**2)

    width = 1e-5  # differences are then off by width^2 and by rounding over width, 1e-10 and 1e-11
    expected = (measure(0.7 + width) - measure(0.7 - width)) / (2 * width)
    np.testing.assert_allclose(jax.grad(measure)(0.7), expected, rtol=1e-8)
    np.testing.assert_allclose(jax.jvp(measure, (0.7,), (1.0,))[1], expected, rtol=1e-8)


# Adaptive solves.


@eqx.filter_jit
def solve_adaptively(tree, rtol, rate):
    """Geometric Brownian motion with rate `rate`; the first step tried is half of the interval."""
    return diffrax.diffeqsolve(
        equation(lambda t, y: rate * y, lambda t, y: VOLATILITY * y, tree),
        SOSRI(),
        0.0,
        1.0,
        0.5,
        START[:2],
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol, pcoeff=0.4, icoeff=0.3, dtmin=1e-4),
        max_steps=1000,
    )


@pytest.mark.slow
def test_a_smaller_tolerance_gives_a_smaller_error():
    """Property: 30 paths of a Brownian tree under an adaptive controller, with rejected steps."""
    keys = jax.random.split(jax.random.key(2), 30)
    trees = jax.vmap(lambda key: brownian(key, (2,), tol=1e-5))(keys)
    w = jax.vmap(lambda tree: tree.evaluate(0.0, 1.0))(trees)
    solution = START[:2] * jnp.exp(GROWTH - VOLATILITY**2 / 2 + VOLATILITY * w)
    measured = []
    for rtol in (0.3, 0.01):
        solved = eqx.filter_vmap(solve_adaptively, in_axes=(0, None, None))(trees, rtol, GROWTH)
        assert jnp.sum(solved.stats["num_rejected_steps"]) > 10
        measured.append(jnp.sqrt(jnp.mean((solved.ys[:, -1] - solution) ** 2)))
    assert measured[1] < measured[0] / 5


@pytest.mark.slow
def test_gradients_of_a_batch_are_those_of_its_members():
    """Gradient: the members take unequal numbers of steps; those that have ended make steps of no length until the
    last has ended, in which nothing may become NaN.
    """
    trees = jax.vmap(lambda key: brownian(key, (2,), tol=1e-5))(jax.random.split(jax.random.key(3), 3))

    def loss(rate, tree):
        solved = solve_adaptively(tree, jnp.asarray(0.1), rate)
        return jnp.sum(solved.ys**2), solved.stats["num_steps"]

    differentiate = jax.jit(jax.vmap(jax.grad(loss, has_aux=True), in_axes=(None, 0)))
    together, steps = differentiate(GROWTH, trees)
    assert np.unique(steps).size > 1
    alone, same = differentiate(GROWTH, jax.tree.map(lambda leaf: jnp.stack([leaf[1]] * 3), trees))
    assert np.unique(same).size == 1
    np.testing.assert_allclose(alone[0], together[1], rtol=1e-12)
    assert np.all(np.isfinite(together))


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
