"""Small equations that the tests of `sciml.diffeqs` solve: two components, steps that are rejected, all in float64."""

from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import optimistix as optx

from sciml.diffeqs import solve

Y0 = jnp.array([1.0, 0.4])
ARGS = jnp.array([0.8, 1.5, 0.6])
RTOL, ATOL = 1e-3, 1e-4
PID = diffrax.PIDController(rtol=RTOL, atol=ATOL)
# A first step that is too long, and a bump at 0.6 that comes as a surprise: both make the controller reject steps.
T0, T1, DT0 = 0.0, 1.0, 0.9
EXACT_ROOTS = optx.Newton(rtol=1e-12, atol=1e-12)


def field(t, y, args):
    """A nonlinear field with a bump in time, whose rate `args` scale."""
    a, b, c = args
    bump = jnp.exp(-(((t - 0.6) / 0.1) ** 2))
    return jnp.stack([a * y[1] - c * y[0] * y[1] + 3 * bump, -b * y[0] + jnp.sin(4 * t) * y[1] ** 2])


def diffusion(t, y, args):
    """Diagonal noise: each component has its own, of a strength that depends on the component alone."""
    return args[2] * jnp.stack([0.5 * y[0], 0.3 * jnp.cos(y[1])])


ODE = diffrax.ODETerm(field)


class SmoothPath(diffrax.AbstractBrownianPath):
    """A Brownian motion by the first terms of its Karhunen-Loeve expansion, with its exact space-time Levy area.

        W(t) = sum_k Z_k sqrt(2) sin(w_k t) / w_k,    w_k = (k - 1/2) pi

    It is one path as good as another to solve along, and compiles ten times faster than a tree.
    """

    numbers: jax.Array
    levy_area: ClassVar[type] = diffrax.SpaceTimeLevyArea

    def __init__(self, key, shape=(2,)):
        self.numbers = jax.random.normal(key, (6, *shape))

    @property
    def t0(self):
        return T0

    @property
    def t1(self):
        return T1

    def evaluate(self, t0, t1=None, left=True, use_levy=False):
        if t1 is None:
            t0, t1 = jnp.zeros_like(t0), t0
        w = (jnp.arange(6) + 0.5) * jnp.pi
        h = t1 - t0

        def combine(terms):
            return jnp.tensordot(jnp.sqrt(2) / w * terms, self.numbers, axes=1).astype(self.numbers.dtype)

        increment = combine(jnp.sin(w * t1) - jnp.sin(w * t0))
        if not use_levy:
            return increment
        safe = jnp.where(h > 0, h, 1)
        mean = combine((jnp.cos(w * t0) - jnp.cos(w * t1)) / w / safe - jnp.sin(w * t0))
        area = jnp.where(h > 0, mean - increment / 2, 0)
        return diffrax.SpaceTimeLevyArea(dt=h, W=increment, H=area)


def brownian(key=0, shape=(2,)):
    """One path of a Brownian motion, with its space-time Levy area, as users have it."""
    return diffrax.VirtualBrownianTree(
        T0, T1, 2**-8, shape, jax.random.key(key), levy_area=diffrax.SpaceTimeLevyArea
    )


def stochastic(path=None, strength=1.0):
    """The field with diagonal noise, along a path."""
    path = SmoothPath(jax.random.key(0)) if path is None else path
    noise = diffrax.ControlTerm(
        lambda t, y, args: lx.DiagonalLinearOperator(strength * diffusion(t, y, args)), path
    )
    return diffrax.MultiTerm(ODE, noise)


def additive(path=None, strength=0.3):
    """The field with noise that does not depend on the state."""
    path = SmoothPath(jax.random.key(0)) if path is None else path
    noise = diffrax.ControlTerm(lambda t, y, args: lx.DiagonalLinearOperator(strength * jnp.ones(2)), path)
    return diffrax.MultiTerm(ODE, noise)


def solve_here(
    regularizer=None, *, terms=ODE, solver=None, y0=Y0, args=ARGS, t0=T0, t1=T1, dt0=DT0, **kwargs
):
    """`solve`, with the problem of this file for whatever is not given."""
    solver = diffrax.Tsit5() if solver is None else solver
    kwargs = {"stepsize_controller": PID, "max_steps": 64, **kwargs}
    return solve(terms, solver, t0, t1, dt0, y0, args, regularizer=regularizer, **kwargs)


def accepted_times(solver, terms=ODE, controller=PID):
    """The ends of the accepted steps of a solve, and the start, `(step + 1,)`; some steps must have been rejected."""
    saveat = diffrax.SaveAt(t0=True, steps=True)
    solution = solve_here(terms=terms, solver=solver, stepsize_controller=controller, saveat=saveat)
    assert solution.stats["num_rejected_steps"] > 0, "the test needs rejected steps"
    return solution.ts[: int(solution.stats["num_accepted_steps"]) + 1]


def differentiate(function, *primals, tangents, eps=1e-3):
    """A derivative along `tangents` by central differences of fourth order: their error is `eps^4`, that of rounding
    1e-16 / `eps` of what is subtracted."""

    def shifted(s):
        return function(*jax.tree.map(lambda x, v: x + s * v, primals, tangents))

    shifts = jnp.array([1, -1, 2, -2]) * eps
    values = jax.lax.map(shifted, shifts)
    weights = jnp.array([8, -8, -1, 1]) / (12 * eps)
    return jax.tree.map(lambda v: jnp.tensordot(weights, v, axes=1), values)


def same(a, b):
    """Whether two pytrees are the same to the bit, NaN included, leaf by leaf."""
    a, b = jax.tree.leaves(eqx.filter(a, eqx.is_array)), jax.tree.leaves(eqx.filter(b, eqx.is_array))
    return len(a) == len(b) and all(jnp.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))
