"""Solvers on moving and fixed meshes tuned alike: three learning rates each, by the rollouts of the validation set.

On Burgers' equation at 48 x 48 nodes, one seed, in the same time.
"""

import dataclasses
import pathlib
import tempfile

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._runs import Run, join_origins, keep_run
from benchmarks._session import ROOT
from sciml.experiments.base import find_experiment

FACTORS = (1 / 3, 1.0, 3.0)
METHODS = ("corrected", "corrected-identity", "unet", "cnn", "fno", "gnn", "gnn-big", "moving", "identity")


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: size smoke, one method, two factors, nothing kept.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) if quick else ROOT / "runs" / "moving-mesh-tuning"
        rows = []
        for method in METHODS[: 1 if quick else None]:
            runs = {
                factor: train(folder, method, factor, "smoke" if quick else "laptop")
                for factor in FACTORS[: 2 if quick else None]
            }
            best = min(runs, key=lambda factor: runs[factor].numbers["validation_error"])
            print(f"{method}: {best:.2g} times the learning rate is best", flush=True)
            rows += [tabulate(method, factor, found) for factor, found in runs.items()]
            for name, value in (
                ("best-factor-of-the-learning-rate", best),
                ("validation-error", runs[best].numbers["validation_error"]),
            ):
                record_claim(
                    claim=f"moving-mesh-tuning/{name}-{method}",
                    value=value,
                    target="report",
                    seeds=(0,),
                    **join_origins(runs.values()),
                )
        write_results("moving-mesh-tuning", rows)


def train(folder: pathlib.Path, method: str, factor: float, size: str) -> Run:
    """Train a method at a learning rate of its own, or read what was found before.

    **Arguments:**

    - `folder`: of the runs.
    - `method`: its name.
    - `factor`: of the learning rate that all have otherwise.
    - `size`: of the experiment.

    **Returns:** the run.
    """
    plain = find_experiment("burgers2d-mmpde").sized(size)
    rate = plain.optimization.learning_rate * factor
    optimization = dataclasses.replace(plain.optimization, learning_rate=rate)
    experiment = dataclasses.replace(plain, method=method, optimization=optimization)
    return keep_run(folder / f"{method}-{factor:.2g}", experiment, size)


def tabulate(method: str, factor: float, found: Run) -> dict[str, object]:
    """A row of the results.

    **Arguments:**

    - `method`: its name.
    - `factor`: of the learning rate.
    - `found`: its run.

    **Returns:** the row.
    """
    numbers = found.numbers
    return {
        "seed": 0,
        **found.origin,
        "dtype": "float32",
        "compile_seconds": numbers["compile_seconds"],
        "run_seconds": numbers["training_seconds"],
        "evaluations": numbers["parameters"],
        "error": numbers["validation_error"],
        "method": method,
        "factor": factor,
    }
