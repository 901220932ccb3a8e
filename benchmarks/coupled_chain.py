"""Coupled experts in a chain: seconds of their solve and gradient by blocks, and with one dense matrix.

Eight trials for `K` experts of 32 weights at 100 points each, of which neighbors meet in rows for value and slope.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._claims import record_claim
from benchmarks._least_squares import NEVER, STEPS, law, make_batch
from benchmarks._results import write_results
from benchmarks._timing import compare
from sciml.constraints import ExactDerivative, LevenbergMarquardt
from sciml.constraints.blocks import BlockProblem, solve_blocks

UNKNOWNS, POINTS, MEETING = 32, 100, 16
EXPERTS = (4, 8, 16, 32)


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: four experts only.
    """
    jax.config.update("jax_enable_x64", True)
    rows, ratios, off = [], [], 0.0
    for experts in EXPERTS[:1] if quick else EXPERTS:
        problem, start = _make_problem(experts)
        calls = [jax.jit(functools.partial(_differentiate, chain=chain)) for chain in (True, False)]
        found = compare(*(functools.partial(call, problem, start) for call in calls), repeats=7)
        ours, theirs = (timing.output for timing in (found.first, found.second))
        error = float(jnp.max(jnp.abs(ours - theirs)) / jnp.max(jnp.abs(theirs)))
        off = max(off, error)
        ratios.append(1 / found.ratio)
        print(
            f"K={experts}: dense takes {ratios[-1]:.2f} times as long; gradients differ by {error:.1e}",
            flush=True,
        )
        for name, timing in (("chain", found.first), ("dense", found.second)):
            times = {"compile_seconds": timing.compile_seconds, "run_seconds": timing.run_seconds}
            size = {"experts": experts, "unknowns": UNKNOWNS, "points": POINTS * experts}
            rows.append(
                {"seed": 0, "dtype": "float64", **times, "evaluations": STEPS, "error": error, **size}
            )
            rows[-1]["matrix"] = name
    write_results("coupled-chain", rows)
    record_claim(claim="constraints/chain-gradient-off-dense", value=off, target="<= 1e-8")
    record_claim(
        claim="constraints/chain-dense-seconds-over-chain-most-experts", value=ratios[-1], target="> 1"
    )
    record_claim(
        claim="constraints/chain-dense-seconds-over-chain-four-experts", value=ratios[0], target="report"
    )


def _make_problem(experts: int) -> tuple[BlockProblem, jax.Array]:
    (tables, offset), start = make_batch(POINTS * experts, UNKNOWNS, experts)
    rng = np.random.default_rng(1)
    signs = np.eye(experts)[:-1] - np.eye(experts)[1:]
    meet = rng.normal(size=(experts - 1, MEETING, UNKNOWNS))
    matrix = np.einsum("kj,krn->krjn", signs, meet).reshape(-1, experts * UNKNOWNS)
    return BlockProblem(tables, offset, jnp.asarray(matrix), jnp.zeros(len(matrix))), start


def _differentiate(problem, start, *, chain):
    def score(offset):
        found = solve_blocks(
            law,
            problem._replace(offset=offset),
            start,
            solver=LevenbergMarquardt(NEVER, STEPS),
            derivative=ExactDerivative(),
            ridge=1e-2,
            chain=chain,
        )
        return jnp.sum(jnp.sin(found.value))

    return jax.grad(score)(problem.offset)
