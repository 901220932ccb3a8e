"""Our least squares beside optimistix and jaxopt: seconds an iteration, memory, gradients, and what a gradient costs.

The rows are like those of diffusion-sorption, `u_t - D u_xx / (1 + c (u^2 + e)^p)`, at `POINTS` points, for bases of
smooth functions on top of given initial values. All solvers take the same number of steps from the same start.
"""

import functools
import warnings

import jax
import jax.numpy as jnp
import lineax
import numpy as np
import optimistix

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._timing import compare, measure
from sciml.constraints import (
    ExactDerivative,
    GaussNewtonDerivative,
    LevenbergMarquardt,
    PointwiseResiduals,
    StopGradient,
    least_squares,
)

POINTS, STEPS = 20_000, 8
UNKNOWNS, EXPERTS = (16, 64), (1, 4, 16)
PEERS = ("jaxopt-cholesky", "optimistix-qr", "optimistix-normal")
TARGETS = {"jaxopt-cholesky": ">= 3", "optimistix-qr": ">= 7", "optimistix-normal": ">= 4"}
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


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: few points, and the smallest of all sizes.
    """
    jax.config.update("jax_enable_x64", True)
    points = 400 if quick else POINTS
    _measure_iterations(points, UNKNOWNS[:1] if quick else UNKNOWNS, EXPERTS[:1] if quick else EXPERTS)
    _measure_memory(points)
    _compare_gradients(400 if quick else 4000, (1, 4))


def _batch(points, unknowns, experts):
    """The problem cut into experts, each with its share of the points; and where to start."""
    share = points // experts
    tables, offset = make_problem(share * experts, unknowns)
    args = (tables.reshape(experts, share, 3, unknowns), offset.reshape(experts, share, 3))
    return args, jnp.full((experts, unknowns), 0.1)


def _measure_iterations(points, sizes, counts) -> None:
    rows, ratios = [], {name: [] for name in PEERS}
    for unknowns in sizes:
        for experts in counts:
            args, start = _batch(points, unknowns, experts)
            calls = {}
            for name, solve in SOLVERS.items():
                many = jax.jit(jax.vmap(lambda a, s, solve=solve: solve(a, s, STEPS)))
                calls[name] = functools.partial(many, args, start)
            taken = {name: int(jnp.max(call()[1])) for name, call in calls.items()}
            for name in PEERS:
                found = compare(calls[name], calls["ours"], repeats=5)
                ratio = found.ratio / taken[name] * taken["ours"]
                ratios[name].append(ratio)
                print(f"N={unknowns}, K={experts}: {name} takes {ratio:.2f} times ours", flush=True)
                row = {"seed": 0, "dtype": "float64", "compile_seconds": found.first.compile_seconds}
                times = {"run_seconds": found.first.run_seconds / taken[name], "evaluations": taken[name]}
                size = {"unknowns": unknowns, "experts": experts, "points": points}
                ours_seconds = found.second.run_seconds / taken["ours"]
                rows.append(
                    {**row, **times, "error": None, **size, "solver": name, "ours_seconds": ours_seconds}
                )
    write_results("least-squares-iterations", rows)
    for name in PEERS:
        record_claim(
            claim=f"constraints/least-squares-seconds-per-iteration-{name}-over-ours",
            value=float(np.median(ratios[name])),
            target=TARGETS[name],
        )
        record_claim(
            claim=f"constraints/least-squares-seconds-per-iteration-{name}-over-ours-at-worst",
            value=min(ratios[name]),
            target="report",
        )


def _measure_memory(points) -> None:
    """Temporary memory of a gradient, and what it costs in iterations."""
    rows, shares, costs = [], [], []
    for unknowns in UNKNOWNS:
        args, start = _batch(points, unknowns, 1)
        args, start = jax.tree.map(lambda x: x[0], (args, start))
        peer = functools.partial(
            by_optimistix,
            linear=lineax.QR(),
            adjoint=optimistix.ImplicitAdjoint(lineax.AutoLinearSolver(well_posed=None)),
        )
        exact = functools.partial(ours, derivative=ExactDerivative())
        needed = {}
        for name, solve in (("ours", exact), ("optimistix-qr", peer)):

            def loss(args, solve=solve, start=start):
                return jnp.sum(jnp.sin(solve(args, start, STEPS)[0]))

            compiled = jax.jit(jax.grad(loss)).lower(args).compile()
            needed[name] = compiled.memory_analysis().temp_size_in_bytes
            seconds = measure(lambda compiled=compiled, args=args: compiled(args), repeats=3).run_seconds
            row = {"seed": 0, "dtype": "float64", "compile_seconds": None, "run_seconds": seconds}
            size = {"unknowns": unknowns, "points": points, "solver": name, "temporary_bytes": needed[name]}
            rows.append({**row, "evaluations": STEPS, "error": None, **size})
        shares.append(needed["ours"] / needed["optimistix-qr"])
        print(f"N={unknowns}: temporary memory of a gradient {shares[-1]:.3f} of optimistix'", flush=True)
        # The gradient's own cost: with it, less without, in iterations.
        forward = jax.jit(lambda a, s: ours(a, s, STEPS)[0])
        backward = jax.jit(jax.grad(lambda a, s: jnp.sum(jnp.sin(ours(a, s, STEPS, ExactDerivative())[0]))))
        found = compare(
            functools.partial(backward, args, start), functools.partial(forward, args, start), repeats=7
        )
        costs.append((found.ratio - 1) * STEPS)
        print(f"N={unknowns}: a gradient costs {costs[-1]:.2f} iterations", flush=True)
    write_results("least-squares-memory", rows)
    record_claim(
        claim="constraints/least-squares-memory-of-a-gradient-over-optimistix",
        value=max(shares),
        target="<= 0.125",
    )
    record_claim(
        claim="constraints/least-squares-iterations-a-gradient-costs", value=max(costs), target="<= 2"
    )


def _compare_gradients(points, counts) -> None:
    """Against optimistix and central differences; for a supervised loss and one of the equation at other points."""
    rows, least, most, numeric, newton = [], 1.0, 0.0, 0.0, 1.0
    others = make_problem(points, 16, seed=1)

    def supervised(args, value):
        return jnp.mean((args[1][:, 0] + args[0][:, 0] @ value - jnp.cos(args[1][:, 0])) ** 2)

    def physical(args, value):
        return jnp.mean(stacked(value, others)[:-16] ** 2) + 1e-3 * jnp.sum(args[0][:, 1] @ value)

    for experts in counts:
        args, start = _batch(points, 16, experts)
        for name, outer in (("supervised", supervised), ("equation", physical)):

            def total(args, solve, outer=outer, start=start):
                values = jax.vmap(lambda a, begin: solve(a, begin, 400)[0])(args, start)
                return jnp.sum(jax.vmap(outer)(args, values))

            def converged(args, start, steps, derivative=None):
                found = least_squares(
                    PointwiseResiduals(law),
                    start,
                    args,
                    solver=LevenbergMarquardt(1e-14, steps),
                    derivative=derivative or ExactDerivative(),
                    regularization=1e-4,
                    throw=False,
                )
                return found.value, found.iterations

            peer = functools.partial(by_optimistix, linear=lineax.QR(), tolerance=1e-12)
            gradients = {
                key: jnp.concatenate(
                    [g.ravel() for g in jax.jit(jax.grad(functools.partial(total, solve=s)))(args)]
                )
                for key, s in {
                    "ours": converged,
                    "optimistix": peer,
                    "gauss-newton": functools.partial(converged, derivative=GaussNewtonDerivative()),
                }.items()
            }
            cosine, ratio = _align(gradients["ours"], gradients["optimistix"])
            without, _ = _align(gradients["gauss-newton"], gradients["ours"])
            direction = jax.tree.map(lambda x: jax.random.normal(jax.random.key(3), x.shape), args)
            value = jax.jit(functools.partial(total, solve=converged))
            h = 1e-6
            ahead, behind = (
                value(jax.tree.map(lambda x, d, s=s: x + s * d, args, direction)) for s in (h, -h)
            )
            along = gradients["ours"] @ jnp.concatenate([d.ravel() for d in direction])
            off = float(jnp.abs(along / ((ahead - behind) / (2 * h)) - 1))
            print(
                f"K={experts}, {name}: cosine to optimistix {cosine:.8f}, norm {ratio:.6f}, differences {off:.1e}; "
                f"Gauss and Newton's cosine {without:.4f}",
                flush=True,
            )
            least, most, numeric = min(least, cosine), max(most, abs(ratio - 1)), max(numeric, off)
            newton = min(newton, without)
            row = {"seed": 0, "dtype": "float64", "compile_seconds": None, "run_seconds": None}
            found = {"cosine": cosine, "norm_ratio": ratio, "gauss_newton_cosine": without}
            rows.append({**row, "evaluations": None, "error": off, "experts": experts, "loss": name, **found})
    write_results("least-squares-gradients", rows)
    claims = {
        "cosine-to-optimistix": (least, ">= 0.9999"),
        "norm-off-optimistix": (most, "<= 1e-3"),
        "off-central-differences": (numeric, "<= 1e-4"),
        "cosine-of-gauss-newton-to-exact": (newton, "report"),
    }
    for name, (value, target) in claims.items():
        record_claim(claim=f"constraints/least-squares-gradient-{name}", value=value, target=target)


def _align(one, two) -> tuple[float, float]:
    """Cosine, and ratio of the norms."""
    norms = jnp.linalg.norm(one), jnp.linalg.norm(two)
    return float(one @ two / (norms[0] * norms[1])), float(norms[0] / norms[1])
