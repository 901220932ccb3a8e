"""Memory of a training step under a local penalty, by the number of steps: BacksolveAdjoint's must not grow."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._timing import measure
from sciml.diffeqs import LocalErrorEstimate, SolverStep, SolverSteps, solve
from sciml.diffeqs.models import BatchField, TimeMLP

DIM, WIDTH, BATCH = 64, 100, 128
STEPS = (16, 64, 256, 1024)
ADJOINTS = {
    "backsolve": diffrax.BacksolveAdjoint(),
    "recursive": diffrax.RecursiveCheckpointAdjoint(),
    "direct": diffrax.DirectAdjoint(),
}


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: two numbers of steps.
    """
    counts = STEPS[:2] if quick else STEPS
    rows, growth = [], {}
    for name, adjoint in ADJOINTS.items():
        needed = []
        for steps in counts:
            row = measure_step(adjoint, steps)
            print(f"{name}, {steps} solver steps: {row['temporary_bytes'] / 2**20:.2f} MiB", flush=True)
            needed.append(row["temporary_bytes"])
            rows.append({**row, "adjoint": name, "solver_steps": steps})
        growth[name] = needed[-1] / needed[0]
    write_results("adjoint-memory", rows)
    for name, value in growth.items():
        record_claim(
            claim=f"regularization/local-memory-growth-{name}",
            value=value,
            target="<= 1.01" if name == "backsolve" else "report",
        )


def measure_step(adjoint: diffrax.AbstractAdjoint, steps: int) -> dict[str, Any]:
    """Compile the gradient of a loss with a local penalty, read what memory it will take, and run it.

    **Arguments:**

    - `adjoint`: what differentiates the solve.
    - `steps`: of the solver, at most and at once: they are of equal length.

    **Returns:** a row of results.

    **Raises:** `RuntimeError` if the gradient of the penalty is not finite, or zero.
    """
    draw, start = jax.random.split(jax.random.key(0))
    field = BatchField(TimeMLP(DIM, width=WIDTH, key=draw))
    y0 = jax.random.normal(start, (BATCH, DIM))
    # Fixed steps, so that their number is known, in tolerances of the penalty's own.
    local = LocalErrorEstimate(SolverSteps(), SolverStep(), weighted=True, rtol=1e-6, atol=1e-6)

    def loss(field, y0, key):
        solution = solve(
            diffrax.ODETerm(lambda t, y, field: field(t, y, None)),
            diffrax.Tsit5(),
            0.0,
            1.0,
            1 / steps,
            y0,
            field,
            regularizer=local,
            key=key,
            adjoint=adjoint,
            max_steps=steps,
        )
        return jnp.mean(solution.ys**2) + solution.penalty

    compiled = jax.jit(jax.grad(loss)).lower(field, y0, jax.random.key(1)).compile()
    timing = measure(lambda: compiled(field, y0, jax.random.key(1)), repeats=1)
    size = float(np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(timing.output))))
    if not (np.isfinite(size) and size > 0):
        raise RuntimeError(f"The gradient under {type(adjoint).__name__} has the norm {size}.")
    return {
        "seed": 0,
        "dtype": "float32",
        "compile_seconds": None,
        "run_seconds": timing.run_seconds,
        "evaluations": 6 * steps + 1,
        "error": None,
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "gradient_norm": size,
    }
