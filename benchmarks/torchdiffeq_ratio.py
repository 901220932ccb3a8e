"""Time against torchdiffeq's dopri5: the same weights, tolerance and batch; forward, and forward with the gradient.

Needs `pip install torch torchdiffeq`; without them nothing is measured, and nothing is recorded.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._timing import compare
from sciml.diffeqs import solve
from sciml.diffeqs.models import BatchField, TimeMLP

# The field of `digits-node`, with weights so large that it takes some steps.
DIM, WIDTH, BATCH, SCALE = 64, 100, 128, 5.0
TOLERANCE, FIRST_STEP = 1e-5, 0.1


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: few rounds.
    """
    missing = [name for name in ("torch", "torchdiffeq") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"Not run, as {' and '.join(missing)} cannot be imported: pip install torch torchdiffeq.")
        return
    import torch

    field, y0 = draw_problem()
    ours, theirs = build_ours(field, y0), build_theirs(field, y0)
    threads, rows = sorted({1, torch.get_num_threads()}), []
    for part in ("forward", "forward-with-gradient"):
        ratios = []
        # torch may be faster with one thread, for states as small as these; it is given its best.
        for count in threads:
            torch.set_num_threads(count)
            found = compare(ours[part], theirs[part], repeats=5 if quick else 200)
            error = _check(part, found.first.output[0], found.second.output[0])
            print(f"{part}, {count} threads of torch: {found.ratio:.3f} of torchdiffeq's time", flush=True)
            ratios.append(found.ratio)
            for library, timing in (("diffrax", found.first), ("torchdiffeq", found.second)):
                times = {"compile_seconds": timing.compile_seconds, "run_seconds": timing.run_seconds}
                row = {"seed": 0, "dtype": "float32", **times, "evaluations": int(timing.output[1])}
                rows.append({**row, "error": error, "part": part, "library": library, "torch_threads": count})
        record_claim(
            claim=f"regularization/time-over-torchdiffeq-{part}",
            value=max(ratios),
            target="report",
            seeds=(0,),
        )
    write_results("torchdiffeq-ratio", rows)


def draw_problem() -> tuple[TimeMLP, jax.Array]:
    """The network and a batch of states.

    **Returns:** both.
    """
    draw, start = jax.random.split(jax.random.key(0))
    field = TimeMLP(DIM, width=WIDTH, key=draw)
    field = jax.tree.map(lambda leaf: SCALE * leaf, field, is_leaf=eqx.is_array)
    return field, jax.random.normal(start, (BATCH, DIM))


def build_ours(field: TimeMLP, y0: jax.Array) -> dict[str, Callable[[], Any]]:
    """Solve with diffrax's Dopri5 by `solve`.

    **Arguments:**

    - `field`: the network.
    - `y0`: a batch of states `(sample, dim)`.

    **Returns:** the two parts, functions without arguments that return the last states, or the gradient of their mean
    square as one vector, and the number of evaluations.
    """

    def end(field):
        solution = solve(
            diffrax.ODETerm(BatchField(field)),
            diffrax.Dopri5(),
            0.0,
            1.0,
            FIRST_STEP,
            y0,
            regularizer=(),
            stepsize_controller=diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE),
        )
        return solution.ys[-1], solution.stats["num_evaluations"]

    def loss(field):
        y1, evaluations = end(field)
        return jnp.mean(y1**2), evaluations

    forward = jax.jit(end)
    gradient = jax.jit(jax.grad(loss, has_aux=True))

    def vector():
        slope, evaluations = gradient(field)
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(slope)]), evaluations

    return {"forward": lambda: forward(field), "forward-with-gradient": vector}


def build_theirs(field: TimeMLP, y0: jax.Array) -> dict[str, Callable[[], Any]]:
    """Solve with torchdiffeq's dopri5, and differentiate its steps.

    **Arguments:**

    - `field`: the network, whose weights are copied.
    - `y0`: a batch of states `(sample, dim)`.

    **Returns:** as `build_ours`.
    """
    import torch
    import torchdiffeq

    # In the order of `jax.tree.leaves`: weight and bias of each layer.
    weights = [torch.tensor(np.asarray(leaf), requires_grad=True) for leaf in jax.tree.leaves(field)]
    start, times = torch.tensor(np.asarray(y0)), torch.tensor([0.0, 1.0])
    calls = [0]

    def rate(t, y):
        calls[0] += 1
        for weight, bias in zip(weights[::2], weights[1::2], strict=True):
            y = torch.tanh(
                torch.nn.functional.linear(torch.cat([y, t.to(y).expand(len(y), 1)], 1), weight, bias)
            )
        return y

    def end():
        calls[0] = 0
        return torchdiffeq.odeint(
            rate,
            start,
            times,
            rtol=TOLERANCE,
            atol=TOLERANCE,
            method="dopri5",
            options={"first_step": FIRST_STEP},
        )[-1]

    def forward():
        with torch.no_grad():
            return end().numpy(), calls[0]

    def vector():
        slopes = torch.autograd.grad((end() ** 2).mean(), weights)
        return torch.cat([slope.ravel() for slope in slopes]).numpy(), calls[0]

    return {"forward": forward, "forward-with-gradient": vector}


def _check(part: str, values: Any, peer_values: Any) -> float:
    """By how much they differ: two solvers at one tolerance, so if by more than that, the equations are different."""
    error = float(np.max(np.abs(np.asarray(values) - peer_values)) / np.max(np.abs(peer_values)))
    if not error < 100 * TOLERANCE:
        raise RuntimeError(f"{part} differs from torchdiffeq's by {error:.2g} of the largest entry.")
    return error
