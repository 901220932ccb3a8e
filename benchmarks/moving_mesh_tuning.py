"""Networks on fixed meshes tuned alike: three learning rates each; and on triangles two optimizers in as many steps.

By rollouts on the validation set, one seed. What is best is written down in `tuned` of the experiments. The other
methods have the learning rate that all have there.
"""

import dataclasses
import pathlib
import tempfile

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._runs import Run, keep_run
from benchmarks._session import ROOT
from sciml.experiments.base import find_experiment

FACTORS = {1 / 3: "a-third-of-the", 1.0: "the", 3.0: "thrice-the"}
ADAM = tuple(("adam", factor) for factor in FACTORS)
TRIED = {
    **{("burgers2d-mmpde", method): ADAM for method in ("unet", "cnn", "fno")},
    ("cylinder-mmpde", "corrected-identity"): (("adam", 1.0), ("muon", 1.0)),
}


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: size smoke, one method, two settings, nothing kept.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) if quick else ROOT / "runs" / "moving-mesh-tuning"
        rows = []
        for (name, method), settings in list(TRIED.items())[: 1 if quick else None]:
            runs = {
                setting: train(folder, name, method, *setting, "smoke" if quick else "laptop")
                for setting in settings[: 2 if quick else None]
            }
            rows += [tabulate(name, method, *setting, found) for setting, found in runs.items()]
            for (optimizer, factor), found in runs.items():
                record_claim(
                    claim=f"moving-mesh/{name}-{method}-validation-error-by-{optimizer}-at-{FACTORS[factor]}-rate",
                    value=found.numbers["validation_rollout_error"],
                    target="report",
                    seeds=(0,),
                    **found.origin,
                )
        write_results("moving-mesh-tuning", rows)


def train(folder: pathlib.Path, name: str, method: str, optimizer: str, factor: float, size: str) -> Run:
    """Train a method as it is told to, or read what was found before.

    **Arguments:**

    - `folder`: of the runs.
    - `name`: of the experiment.
    - `method`: its name.
    - `optimizer`: its name.
    - `factor`: of the learning rate that all have otherwise.
    - `size`: of the experiment.

    **Returns:** the run.
    """
    plain = find_experiment(name).sized(size)
    rate = plain.optimization.learning_rate * factor
    optimization = dataclasses.replace(plain.optimization, optimizer=optimizer, learning_rate=rate)
    experiment = dataclasses.replace(plain, method=method, optimization=optimization)
    return keep_run(folder / f"{name}-{method}-{optimizer}-{factor:.2g}", experiment, size)


def tabulate(name: str, method: str, optimizer: str, factor: float, found: Run) -> dict[str, object]:
    """A row of the results.

    **Arguments:**

    - `name`: of the experiment.
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
        "error": numbers["validation_rollout_error"],
        "experiment": name,
        "method": method,
        "optimizer": optimizer,
        "factor": factor,
    }
