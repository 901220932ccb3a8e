"""Gradients through least squares against optimistix and central differences, for two losses."""

import functools

import jax
import jax.numpy as jnp
import lineax

from benchmarks._claims import record_claim
from benchmarks._least_squares import by_optimistix, law, make_batch, make_problem, stacked
from benchmarks._results import write_results
from sciml.constraints import (
    ExactDerivative,
    GaussNewtonDerivative,
    LevenbergMarquardt,
    PointwiseResiduals,
    least_squares,
)


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: few points.
    """
    jax.config.update("jax_enable_x64", True)
    points = 400 if quick else 4000
    rows, least, most, numeric, newton = [], 1.0, 0.0, 0.0, 1.0
    others = make_problem(points, 16, seed=1)

    def supervised(args, value):
        return jnp.mean((args[1][:, 0] + args[0][:, 0] @ value - jnp.cos(args[1][:, 0])) ** 2)

    def physical(args, value):
        return jnp.mean(stacked(value, others)[:-16] ** 2) + 1e-3 * jnp.sum(args[0][:, 1] @ value)

    for experts in (1, 4):
        args, start = make_batch(points, 16, experts)
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
            h = 1e-7  # what a difference is off by goes with its square: with 1e-6 by 4e-4
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
