"""The problem of the benchmarks of least squares, and our solver beside those of other libraries.

The rows are like those of diffusion-sorption, `u_t - D u_xx / (1 + c (u^2 + e)^p)`, for bases of smooth functions on
top of given initial values.
"""

import functools
import warnings

import jax
import jax.numpy as jnp
import lineax
import numpy as np
import optimistix

from sciml.constraints import LevenbergMarquardt, PointwiseResiduals, StopGradient, least_squares

POINTS, STEPS = 20_000, 8
UNKNOWNS, EXPERTS = (16, 64), (1, 4, 16)
NEVER = 1e-300  # a tolerance that is not reached, so that all take the same number of steps


def law(terms):
    """Diffusion-sorption at one point, from `u`, `u_t` and `u_xx`."""
    u, u_t, u_xx = terms
    return u_t - 0.5 * u_xx / (1 + 0.4 * (u**2 + 1e-2) ** -0.063)


def make_problem(points: int, unknowns: int, seed: int = 0):
    """Tables `(point, 3, unknown)`, offset `(point, 3)` and constant rows, of products of waves and powers of time."""
    rng = np.random.default_rng(seed)
    t, x = rng.uniform(size=(2, points))
    k, power = rng.uniform(0.5, 4.0, unknowns), rng.uniform(1.0, 3.0, unknowns)
    phase = rng.uniform(0, np.pi, unknowns)
    wave = np.cos(np.outer(x, k) + phase)
    grown = t[:, None] ** power
    tables = np.stack(
        [grown * wave, power * t[:, None] ** (power - 1) * wave, -(k**2) * grown * wave], axis=1
    )
    u0 = 0.1 + 0.9 * np.exp(-5 * x)
    offset = np.stack([u0, 0 * x, 22.5 * np.exp(-5 * x)], axis=1)
    return jnp.asarray(tables), jnp.asarray(offset)


def make_batch(points: int, unknowns: int, experts: int):
    """The problem cut into experts, each with its share of the points; and where to start."""
    share = points // experts
    tables, offset = make_problem(share * experts, unknowns)
    args = (tables.reshape(experts, share, 3, unknowns), offset.reshape(experts, share, 3))
    return args, jnp.full((experts, unknowns), 0.1)


def ours(args, start, steps, derivative=None):
    """The minimum and the number of iterations."""
    found = least_squares(
        PointwiseResiduals(law),
        start,
        args,
        solver=LevenbergMarquardt(NEVER, steps),
        derivative=derivative or StopGradient(),
        regularization=1e-4,
        throw=False,
    )
    return found.value, found.iterations


def stacked(value, args):
    """All rows, as the others take them."""
    tables, offset = args
    return jnp.concatenate([jax.vmap(law)(offset + tables @ value), 1e-4 * value])


def by_optimistix(args, start, steps, linear, tolerance=NEVER, adjoint=None):
    """The same by optimistix."""
    solver = optimistix.LevenbergMarquardt(tolerance, tolerance, linear_solver=linear)
    options = {} if adjoint is None else {"adjoint": adjoint}
    found = optimistix.least_squares(stacked, solver, start, args, max_steps=steps, throw=False, **options)
    return found.value, found.stats["num_steps"]


def by_jaxopt(args, start, steps):
    """The same by jaxopt."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import jaxopt

    solver = jaxopt.LevenbergMarquardt(
        stacked,
        maxiter=steps,
        tol=NEVER,
        gtol=NEVER,
        xtol=NEVER,
        solver="cholesky",
        materialize_jac=True,
        implicit_diff=False,
    )
    found, state = solver.run(start, args=args)
    return found, state.iter_num


SOLVERS = {
    "ours": ours,
    "jaxopt-cholesky": by_jaxopt,
    "optimistix-qr": functools.partial(by_optimistix, linear=lineax.QR()),
    "optimistix-normal": functools.partial(by_optimistix, linear=lineax.Normal(lineax.Cholesky())),
}
