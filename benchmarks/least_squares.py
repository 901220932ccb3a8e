"""Seconds an iteration of our least squares beside optimistix and jaxopt.

All solvers take the same number of steps from the same start, at `POINTS` points in all. Beside them is the product of
a Jacobian with itself, which every one that solves normal equations makes in every iteration: none can be faster.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._claims import record_claim
from benchmarks._least_squares import EXPERTS, POINTS, SOLVERS, STEPS, UNKNOWNS, make_batch
from benchmarks._results import write_results
from benchmarks._timing import compare

# The target, and how many rounds: QR takes seconds.
PEERS = {"jaxopt-cholesky": (">= 3", 9), "optimistix-qr": (">= 7", 2), "optimistix-normal": (">= 4", 9)}


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: few points, and the smallest of all sizes.
    """
    jax.config.update("jax_enable_x64", True)
    points = 400 if quick else POINTS
    rows, ratios, shares = [], {name: [] for name in PEERS}, []
    for unknowns in UNKNOWNS[:1] if quick else UNKNOWNS:
        for experts in EXPERTS[:1] if quick else EXPERTS:
            args, start = make_batch(points, unknowns, experts)
            calls = {}
            for name, solve in SOLVERS.items():
                many = jax.jit(jax.vmap(lambda a, s, solve=solve: solve(a, s, STEPS)))
                calls[name] = functools.partial(many, args, start)
            for name, (_, rounds) in PEERS.items():
                found = compare(calls[name], calls["ours"], repeats=rounds)
                theirs, ours = (int(jnp.max(timing.output[1])) for timing in (found.first, found.second))
                ratio = found.ratio / theirs * ours
                ratios[name].append(ratio)
                print(f"N={unknowns}, K={experts}: {name} takes {ratio:.2f} times ours", flush=True)
                row = {"seed": 0, "dtype": "float64", "compile_seconds": found.first.compile_seconds}
                times = {"run_seconds": found.first.run_seconds / theirs, "evaluations": theirs}
                size = {"unknowns": unknowns, "experts": experts, "points": points}
                seconds = found.second.run_seconds / ours
                rows.append({**row, **times, "error": None, **size, "solver": name, "ours_seconds": seconds})
            product = jax.jit(jax.vmap(lambda jacobian: jacobian.T @ jacobian))
            found = compare(functools.partial(product, args[0][:, :, 0]), calls["ours"], repeats=9)
            shares.append(found.ratio * int(jnp.max(found.second.output[1])))
            print(
                f"N={unknowns}, K={experts}: the Gram product takes {shares[-1]:.2f} of an iteration",
                flush=True,
            )
    write_results("least-squares-iterations", rows)
    record_claim(
        claim="constraints/least-squares-share-of-an-iteration-in-the-gram-product",
        value=float(np.median(shares)),
        target="report",
    )
    for name, (target, _) in PEERS.items():
        record_claim(
            claim=f"constraints/least-squares-seconds-per-iteration-{name}-over-ours",
            value=float(np.median(ratios[name])),
            target=target,
        )
        record_claim(
            claim=f"constraints/least-squares-seconds-per-iteration-{name}-over-ours-at-worst",
            value=min(ratios[name]),
            target="report",
        )
