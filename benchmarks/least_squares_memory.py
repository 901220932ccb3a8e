"""Temporary memory of a gradient through least squares beside optimistix, and how many iterations it costs."""

import functools

import jax
import jax.numpy as jnp
import lineax
import optimistix

from benchmarks._claims import record_claim
from benchmarks._least_squares import POINTS, STEPS, UNKNOWNS, by_optimistix, make_batch, ours
from benchmarks._results import write_results
from benchmarks._timing import compare, measure
from sciml.constraints import ExactDerivative


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: few points.
    """
    jax.config.update("jax_enable_x64", True)
    points = 400 if quick else POINTS
    rows, shares, costs = [], [], []
    for unknowns in UNKNOWNS:
        args, start = make_batch(points, unknowns, 1)
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
            seconds = measure(lambda compiled=compiled, args=args: compiled(args), repeats=1).run_seconds
            row = {"seed": 0, "dtype": "float64", "compile_seconds": None, "run_seconds": seconds}
            size = {"unknowns": unknowns, "points": points, "solver": name, "temporary_bytes": needed[name]}
            rows.append({**row, "evaluations": STEPS, "error": None, **size})
        shares.append(needed["ours"] / needed["optimistix-qr"])
        print(f"N={unknowns}: temporary memory of a gradient {shares[-1]:.3f} of optimistix'", flush=True)
        # The gradient's own cost: with it, less without, in iterations.
        forward = jax.jit(lambda a, s: ours(a, s, STEPS)[0])
        backward = jax.jit(jax.grad(lambda a, s: jnp.sum(jnp.sin(ours(a, s, STEPS, ExactDerivative())[0]))))
        found = compare(*(functools.partial(_spend, f, args, start) for f in (backward, forward)), repeats=60)
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


def _spend(function, *args) -> None:
    """Call, and let go of what comes: of a gradient held until the next one, fresh pages would be timed."""
    jax.block_until_ready(function(*args))
