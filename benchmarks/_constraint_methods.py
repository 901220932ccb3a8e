"""Methods of a constraint experiment side by side: trained for about equal time, measured on the same solutions.

Runs are kept below `runs/`; one that is there with the same settings is read, so that a run of hours may be cut short.
"""

import dataclasses
import pathlib
import statistics
import tempfile
from collections.abc import Mapping

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._runs import keep_run
from benchmarks._session import ROOT
from sciml.experiments.base import find_experiment

SEEDS = (0, 1, 2)
QUICK = {"experts-coupled": (0,), "hard": (0,), "constant": (0,)}


def run_methods(
    name: str, methods: Mapping[str, tuple[int, ...]], *, folder: str, results: str, quick: bool
) -> dict[str, float]:
    """Train every method with every seed, and write one table.

    **Arguments:**

    - `name`: the experiment.
    - `methods`: the seeds of each method.
    - `folder`: of the runs, below `runs/`.
    - `results`: the name of the table.
    - `quick`: size smoke, one seed, three methods, nothing kept.

    **Returns:** the mean error of each method.
    """
    with tempfile.TemporaryDirectory() as temporary:
        where = pathlib.Path(temporary) if quick else ROOT / "runs" / folder
        size = "smoke" if quick else "laptop"
        numbers = {
            (method, seed): train(where, name, size, method, seed)
            for method, seeds in (QUICK if quick else methods).items()
            for seed in seeds
        }
    write_results(results, [_row(method, seed, run) for (method, seed), run in numbers.items()])
    found = {method for method, _ in numbers}
    return {
        method: statistics.mean(run["error"] for (other, _), run in numbers.items() if other == method)
        for method in methods
        if method in found
    }


def record_errors(
    problem: str,
    means: Mapping[str, float],
    methods: Mapping[str, tuple[int, ...]],
    targets: Mapping[str, str],
) -> None:
    """Record the mean error of each method.

    **Arguments:**

    - `problem`: what the claims begin with, after `constraints/`.
    - `means`: the errors.
    - `methods`: the seeds of each method.
    - `targets`: what a method is to reach, where something is wanted.
    """
    for method, value in means.items():
        record_claim(
            claim=f"constraints/{problem}-error-{method}",
            value=value,
            target=targets.get(method, "report"),
            seeds=() if method == "constant" else methods[method],
        )


def train(folder: pathlib.Path, name: str, size: str, method: str, seed: int, **settings) -> dict[str, float]:
    """Train and evaluate one run, or read it.

    **Arguments:**

    - `folder`: of the runs.
    - `name`, `size`: of the experiment.
    - `method`, `seed`: its fields.
    - `settings`: other fields.

    **Returns:** its metrics.
    """
    experiment = dataclasses.replace(find_experiment(name).sized(size), method=method, seed=seed, **settings)
    numbers = keep_run(folder / f"{method}-{seed}", experiment, size)
    print(f"{name}, {method}, seed {seed}: error {numbers['error']:.4f}", flush=True)
    return numbers


def _row(method: str, seed: int, numbers: dict[str, float]) -> dict[str, object]:
    return {
        "seed": seed,
        "dtype": "float64",
        "compile_seconds": numbers["compile_seconds"],
        "run_seconds": numbers["training_seconds"],
        "evaluations": numbers.get("iterations"),
        "error": numbers["error"],
        "method": method,
        "worst_error": numbers["worst_error"],
        "equation_rms": numbers.get("equation_rms"),
        "value_jump": numbers.get("value_jump"),
        "converged": numbers.get("converged"),
        "prediction_seconds": numbers.get("prediction_seconds"),
    }
