"""Methods of a constraint experiment side by side: trained for about equal time, measured on the same solutions.

Runs are kept below `runs/`; one that is there with the same settings is read, so that a run of hours may be cut short.
"""

import dataclasses
import pathlib
import statistics
import tempfile
from collections.abc import Mapping
from typing import NamedTuple

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._runs import Run, join_origins, keep_run
from benchmarks._session import ROOT
from sciml.experiments.base import find_experiment

SEEDS = (0, 1, 2)
QUICK = {"experts-coupled": (0,), "hard": (0,), "constant": (0,)}


class Measured(NamedTuple):
    """A method over its seeds.

    **Arguments:**

    - `runs`: one per seed.
    - `seeds`: their seeds; none for a method without.
    """

    runs: list[Run]
    seeds: tuple[int, ...]

    def mean(self, metric: str) -> float:
        """The mean over seeds.

        **Arguments:**

        - `metric`: its name.

        **Returns:** a number.
        """
        return statistics.mean(run.numbers[metric] for run in self.runs)


def run_methods(
    name: str,
    methods: Mapping[str, tuple[int, ...]],
    *,
    folder: str,
    results: str,
    quick: bool,
    tuned: Mapping[str, Mapping[str, float]],
) -> dict[str, Measured]:
    """Train every method with every seed, and write one table.

    **Arguments:**

    - `name`: the experiment.
    - `methods`: the seeds of each method.
    - `folder`: of the runs, below `runs/`.
    - `results`: the name of the table.
    - `quick`: size smoke, one seed, three methods, nothing kept.
    - `tuned`: `penalty` and `learning_rate` of methods, by `python -m benchmarks constraint_tuning`.

    **Returns:** what each method reached.
    """
    with tempfile.TemporaryDirectory() as temporary:
        where = pathlib.Path(temporary) if quick else ROOT / "runs" / folder
        size = "smoke" if quick else "laptop"
        found = {
            method: Measured(
                [train(where, name, size, method, seed, **tuned.get(method, {})) for seed in seeds],
                () if method == "constant" else seeds,
            )
            for method, seeds in (QUICK if quick else methods).items()
        }
    rows = [_row(method, measured) for method, measured in found.items()]
    write_results(results, [row for some in rows for row in some])
    return found


def record_errors(problem: str, found: Mapping[str, Measured], targets: Mapping[str, str]) -> None:
    """Record the mean error of each method, which solves did not converge, and how equal the times are.

    **Arguments:**

    - `problem`: what the claims begin with, after `constraints/`.
    - `found`: what each method reached.
    - `targets`: what a method is to reach, where something is wanted.
    """
    for method, measured in found.items():
        origin = join_origins(measured.runs)
        record_claim(
            claim=f"constraints/{problem}-error-{method}",
            value=measured.mean("error"),
            target=targets.get(method, "report"),
            seeds=measured.seeds,
            **origin,
        )
        solved = measured.runs[0].numbers.get("iterations", 0.0) > 0
        if solved and measured.mean("converged") < 1:
            record_claim(
                claim=f"constraints/{problem}-share-converged-{method}",
                value=measured.mean("converged"),
                target="report",
                seeds=measured.seeds,
                **origin,
            )
    seconds = [measured.mean("training_seconds") for method, measured in found.items() if measured.seeds]
    record_claim(
        claim=f"constraints/{problem}-longest-over-shortest-training",
        value=max(seconds) / min(seconds),
        target="report",
        **join_origins(run for measured in found.values() for run in measured.runs),
    )


def train(
    folder: pathlib.Path,
    name: str,
    size: str,
    method: str,
    seed: int,
    *,
    learning_rate: float | None = None,
    **settings,
) -> Run:
    """Train and evaluate one run, or read it.

    **Arguments:**

    - `folder`: of the runs.
    - `name`, `size`: of the experiment.
    - `method`, `seed`: its fields.
    - `learning_rate`: if not the experiment's.
    - `settings`: other fields.

    **Returns:** the run.
    """
    experiment = dataclasses.replace(find_experiment(name).sized(size), method=method, seed=seed, **settings)
    if learning_rate is not None:
        training = dataclasses.replace(experiment.training, learning_rate=learning_rate)
        experiment = dataclasses.replace(experiment, training=training)
    run = keep_run(folder / f"{method}-{seed}", experiment, size)
    print(
        f"{name}, {method}, seed {seed}: error {run.numbers['error']:.4f}, "
        f"{run.numbers['training_seconds']:.0f} s",
        flush=True,
    )
    return run


def tabulate(run: Run, seed: int | None, **more: object) -> dict[str, object]:
    """A run as a row of a table.

    **Arguments:**

    - `run`: the run.
    - `seed`: its seed.
    - `more`: further columns.

    **Returns:** the row.
    """
    numbers = run.numbers
    return {
        "seed": seed,
        **run.origin,
        "dtype": "float64",
        "compile_seconds": numbers["compile_seconds"],
        "run_seconds": numbers["training_seconds"],
        "evaluations": numbers.get("iterations"),
        "error": numbers["error"],
        **more,
        "validation_error": numbers["validation_error"],
        "worst_error": numbers["worst_error"],
        "equation_rms": numbers.get("equation_rms"),
        "value_jump": numbers.get("value_jump"),
        "converged": numbers.get("converged"),
        "prediction_seconds": numbers.get("prediction_seconds"),
    }


def _row(method: str, measured: Measured) -> list[dict[str, object]]:
    seeds = measured.seeds or (None,)
    return [tabulate(run, seed, method=method) for run, seed in zip(measured.runs, seeds, strict=True)]
