"""Solvers on moving and fixed meshes tuned alike: three settings each, by rollouts on the validation set.

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
ADAM = tuple(("adam", factor) for factor in FACTORS)
MESSAGES = (("adam", 1.0), ("muon", 1.0), ("muon", 3.0))
TRIED = {
    **dict.fromkeys(("corrected", "corrected-identity", "unet", "cnn", "fno", "moving", "identity"), ADAM),
    **dict.fromkeys(("gnn", "gnn-big"), MESSAGES),
}


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: size smoke, one method, two factors, nothing kept.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) if quick else ROOT / "runs" / "moving-mesh-tuning"
        rows = []
        for method in list(TRIED)[: 1 if quick else None]:
            runs = {
                setting: train(folder, method, *setting, "smoke" if quick else "laptop")
                for setting in TRIED[method][: 2 if quick else None]
            }
            best = min(runs, key=lambda setting: runs[setting].numbers["validation_error"])
            print(f"{method}: best is {best[0]} at {best[1]:.2g} times the learning rate", flush=True)
            rows += [tabulate(method, *setting, found) for setting, found in runs.items()]
            record_claim(
                claim=f"moving-mesh-tuning/validation-error-of-tuned-{method}",
                value=runs[best].numbers["validation_error"],
                target="report",
                seeds=(0,),
                **join_origins(runs.values()),
            )
        write_results("moving-mesh-tuning", rows)


def train(folder: pathlib.Path, method: str, optimizer: str, factor: float, size: str) -> Run:
    """Train a method as it is told to, or read what was found before.

    **Arguments:**

    - `folder`: of the runs.
    - `method`: its name.
    - `optimizer`: its name.
    - `factor`: of the learning rate that all have otherwise.
    - `size`: of the experiment.

    **Returns:** the run.
    """
    plain = find_experiment("burgers2d-mmpde").sized(size)
    rate = plain.optimization.learning_rate * factor
    optimization = dataclasses.replace(plain.optimization, optimizer=optimizer, learning_rate=rate)
    experiment = dataclasses.replace(plain, method=method, optimization=optimization)
    return keep_run(folder / f"{method}-{optimizer}-{factor:.2g}", experiment, size)


def tabulate(method: str, optimizer: str, factor: float, found: Run) -> dict[str, object]:
    """A row of the results.

    **Arguments:**

    - `method`: its name.
    - `optimizer`: its name.
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
        "optimizer": optimizer,
        "factor": factor,
    }
