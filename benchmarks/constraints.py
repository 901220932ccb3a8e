"""Constraints: the gradient of the layer against differences, and the same numbers on many devices."""

import json
import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._claims import record_claim
from benchmarks._session import ROOT
from sciml.constraints import (
    Coupled,
    Experts,
    HardConstraint,
    LevenbergMarquardt,
    OwnRows,
    SpaceTimeGrid,
)
from sciml.nn import FNO
from sciml.pdes import Box, Burgers, FourierSeries, Grid, Spectral

TIGHT = LevenbergMarquardt(tolerance=1e-15, max_steps=200)
STEP = 1e-4
# On which meshes each road is tried.
SHAPES = {
    "shard_map": ("experts", "batch", "both"),
    "pmap": ("experts", "batch"),
    "compiler": ("experts", "batch", "both"),
}


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: one layer, few directions, and no devices.
    """
    jax.config.update("jax_enable_x64", True)
    check_gradients(quick)
    if not quick:
        check_devices()


def check_gradients(quick: bool) -> None:
    """The gradient of a supervised loss and of the layer's own, along random directions, against differences.

    **Arguments:**

    - `quick`: as for `run`.
    """
    domain = SpaceTimeGrid(Spectral(Grid(Box(0.0, 1.0), 16)), np.linspace(0.0, 0.3, 8))
    start = FourierSeries(cutoff=2)(domain.calculus.grid, key=jax.random.key(1))

    def make(seed):
        shape = {"width": 6, "modes": 4, "depth": 1, "periodic": (False, True)}
        return FNO(2, domain.count_inputs(1), 4, key=jax.random.key(seed), **shape)

    network, directions = make(0), [make(seed) for seed in range(2, 5 if quick else 18)]
    cosines, norms = [], []
    for boxes, coupling in ((1, Coupled()), (4, OwnRows()), (4, Coupled()))[: 1 if quick else 3]:
        for supervised in (True, False):

            def score(network, boxes=boxes, coupling=coupling, supervised=supervised):
                layer = HardConstraint(network, Burgers(0.05), domain, solver=TIGHT)
                field = Experts(layer, (1, boxes), coupling)(start, throw=False)
                return jnp.mean((field.value - 1.0) ** 2) if supervised else jnp.sqrt(field.loss)

            value, gradient = jax.jit(score), jax.jit(jax.grad(score))(network)
            ours, theirs = [], []
            for direction in directions:
                ahead, behind = (_move(network, direction, sign * STEP) for sign in (1, -1))
                theirs.append(float(value(ahead) - value(behind)) / (2 * STEP))
                products = jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, direction)
                ours.append(float(sum(jax.tree.leaves(products))))
            ours, theirs = np.array(ours), np.array(theirs)
            cosines.append(ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs))
            norms.append(abs(np.linalg.norm(ours) / np.linalg.norm(theirs) - 1))
    record_claim(claim="constraints/layer-gradient-cosine", value=min(cosines), target=">= 0.9999")
    record_claim(claim="constraints/layer-gradient-norm", value=max(norms), target="<= 1e-3")


def _move(network, direction, step):
    return jax.tree.map(lambda p, d: p + step * d, network, direction)


def check_devices() -> None:
    """The largest relative difference of score and gradient from one device, and exchanges in the solver's loop.

    Of separate experts on all meshes, of coupled ones cut by starts.
    """
    roads = [f"{road}-{shape}" for road, shapes in SHAPES.items() for shape in shapes]
    coupled = [f"coupled:{road}-batch" for road in SHAPES]
    found = _finish(_start(",".join(["single", "coupled:single", *roads, *coupled]), 4))
    for road in SHAPES:
        runs = {name: run for name, run in found.items() if name.removeprefix("coupled:").startswith(road)}
        name = road.replace("_", "-")
        record_claim(
            claim=f"constraints/devices-difference-{name}",
            value=_find_largest_difference(runs, found),
            target="<= 1e-10",
            device="cpu, 4 simulated devices",
        )
        record_claim(
            claim=f"constraints/devices-exchanges-in-loop-{name}",
            value=max(run["in_loops"] for run in runs.values()),
            target="report" if road == "compiler" else "== 0",
            device="cpu, 4 simulated devices",
        )
    with socket.socket() as free:
        free.bind(("localhost", 0))
        where = f"localhost:{free.getsockname()[1]}"
    roads = "shard_map-experts,shard_map-batch,shard_map-both,coupled:shard_map-batch"
    both = [_finish(p) for p in [_start(roads, 2, where, str(number), "2") for number in range(2)]]
    record_claim(
        claim="constraints/devices-difference-two-processes",
        value=max(_find_largest_difference(runs, found) for runs in both),
        target="<= 1e-10",
        device="cpu, 2 processes with 2 simulated devices each",
    )


def _find_largest_difference(runs, found) -> float:
    """Of score and gradient from the same layer's on one device, relative."""

    def list_numbers(run):
        return np.array([run["score"], *run["gradient"]])

    differences = []
    for name, run in runs.items():
        single = found["coupled:single" if name.startswith("coupled:") else "single"]
        differences.append(np.abs(list_numbers(run) / list_numbers(single) - 1).max())
    return float(max(differences))


def _start(roads, devices, *more):
    program = ROOT / "tests" / "constraints" / "devices.py"
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, str(program), roads, *more],
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process):
    out, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"The devices failed:\n{errors[-3000:]}")
    return json.loads(out.splitlines()[-1])
