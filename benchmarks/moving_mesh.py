"""Solvers on moving meshes against their control, whose mesh stays, and against other networks on fixed meshes.

Runs are kept in `runs/moving-mesh`; one that is there with the same settings is read, so that the hours this takes may
be cut into pieces. After each data set and seed its rows are recorded.
"""

import dataclasses
import pathlib
import statistics
import tempfile
from typing import NamedTuple

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._runs import Run, join_origins, keep_run
from benchmarks._session import ROOT
from sciml.experiments.base import find_experiment

SEEDS = (0, 1, 2)
MEAN = "mean-adapted"  # the mesh was moved once, for the mean of the training: the other control
PAIR = {"moving": SEEDS, "identity": SEEDS}
NAMES = "persistence classical unet fno cnn gnn gnn-big published published-identity"
OTHERS = dict.fromkeys(NAMES.split(), (0,))


class _Set(NamedTuple):
    """A data set, its fields, and what moving is to reach over its control in one step and in a rollout."""

    label: str
    experiment: str
    fields: dict
    target: str
    methods: dict[str, tuple[int, ...]]


_SETS = (
    _Set("burgers-48", "burgers2d-mmpde", {"nodes": 48}, "<= 0.55", {**PAIR, **OTHERS}),
    _Set("front-48", "front-mmpde", {"nodes": 48}, "<= 0.35", PAIR),
    _Set("burgers-24", "burgers2d-mmpde", {"nodes": 24}, "<= 0.8", PAIR),
    _Set("ring-48", "front-mmpde", {"nodes": 48, "family": "ring"}, "<= 0.35", PAIR),
    _Set("allen-cahn-48", "front-mmpde", {"nodes": 48, "family": "allen-cahn"}, "<= 0.35", PAIR),
    _Set("gray-scott-48", "gray-scott-mmpde", {"nodes": 48}, "<= 0.7", PAIR),
    _Set("cylinder", "cylinder-mmpde", {}, "<= 0.7", {**PAIR, MEAN: SEEDS, "persistence": (0,)}),
)


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: size smoke, one seed, one data set, nothing kept.
    """
    if quick:
        with tempfile.TemporaryDirectory() as folder:
            small = _SETS[0]._replace(fields={}, methods={"moving": (0,), "identity": (0,)})
            _compare(small, pathlib.Path(folder), "smoke", seeds=(0,))
        return
    # Seed by seed, so that a run that is cut short has something of every data set.
    for seed in SEEDS:
        for problem in _SETS:
            _compare(problem, ROOT / "runs" / "moving-mesh", "laptop", seeds=SEEDS[: seed + 1])


def _compare(problem: _Set, folder: pathlib.Path, size: str, seeds: tuple[int, ...]) -> None:
    methods = {
        method: tuple(seed for seed in own if seed in seeds) for method, own in problem.methods.items()
    }
    runs = {
        (method, seed): _train(problem, folder, size, method, seed)
        for method, some in methods.items()
        for seed in some
    }
    write_results(
        f"moving-mesh-{problem.label}", [_row(method, seed, run) for (method, seed), run in runs.items()]
    )

    def mean(method, metric):
        return statistics.mean(runs[method, seed].numbers[metric] for seed in methods[method])

    prefix = f"moving-mesh/{problem.label}"
    pair = join_origins(run for (method, _), run in runs.items() if method in PAIR)
    for metric, name in (
        ("one_step_floor", "floor"),
        ("one_step_error", "one-step"),
        ("rollout_error", "rollout"),
    ):
        record_claim(
            claim=f"{prefix}-{name}-moving-over-identity",
            value=mean("moving", metric) / mean("identity", metric),
            target="report" if name == "floor" else problem.target,
            seeds=seeds,
            **pair,
        )
        if MEAN in problem.methods:
            record_claim(
                claim=f"{prefix}-{name}-moving-over-{MEAN}",
                value=mean("moving", metric) / mean(MEAN, metric),
                target="report",
                seeds=seeds,
                **join_origins(run for (method, _), run in runs.items() if method in ("moving", MEAN)),
            )
    record_claim(
        claim=f"{prefix}-invalid-meshes",
        value=sum(runs["moving", seed].numbers["invalid_meshes"] for seed in seeds),
        target="<= 0",
        seeds=seeds,
        **pair,
    )
    for method, used in methods.items():
        record_claim(
            claim=f"{prefix}-rollout-error-{method}",
            value=mean(method, "rollout_error"),
            target="report",
            seeds=used if method not in ("persistence", "classical") else (),
            **join_origins(runs[method, seed] for seed in used),
        )


def _train(problem: _Set, folder: pathlib.Path, size: str, method: str, seed: int) -> Run:
    default = find_experiment(problem.experiment).sized(size)
    experiment = dataclasses.replace(default, **problem.fields, method=method, seed=seed)
    where = folder / f"{problem.label}-{method}-{seed}"
    run = keep_run(where, experiment, size)
    numbers = run.numbers
    print(
        f"{problem.label}, {method}, seed {seed}: one step {numbers['one_step_error']:.4f}, rollout "
        f"{numbers['rollout_error']:.4f}",
        flush=True,
    )
    return run


def _row(method: str, seed: int, run: Run) -> dict[str, object]:
    numbers = run.numbers
    return {
        "seed": seed,
        **run.origin,
        "dtype": "float32",
        "compile_seconds": numbers.get("compile_seconds", 0.0),
        "run_seconds": numbers["training_seconds"],
        "evaluations": numbers["parameters"],
        "error": numbers["rollout_error"],
        "method": method,
        "one_step_error": numbers["one_step_error"],
        "one_step_floor": numbers["one_step_floor"],
        "one_step_node_mse": numbers["one_step_node_mse"],
        "last_error": numbers["last_error"],
        "rollout_floor": numbers["rollout_floor"],
        "invalid_meshes": numbers["invalid_meshes"],
        "blown_up": numbers["blown_up"],
        "step_seconds": numbers["step_seconds"],
        "update_seconds": numbers.get("update_seconds"),
    }
