"""Runs of experiments that benchmarks keep: hours of them may be cut into pieces."""

import pathlib

import jax

from sciml.experiments.base import AbstractExperiment, fingerprint
from sciml.experiments.runs import read_config, read_table, write_config


def keep_run(folder: pathlib.Path, experiment: AbstractExperiment, size: str) -> dict[str, float]:
    """Train and evaluate an experiment, or read what it measured before.

    **Arguments:**

    - `folder`: of the run.
    - `experiment`: the experiment.
    - `size`: what it was made from.

    **Returns:** its metrics.

    **Raises:** `RuntimeError` for a folder that holds a run with other settings.
    """
    if not (folder / "metrics.csv").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_config(folder, experiment, size)
        jax.clear_caches()  # as a user's first run has it: nothing compiled yet
        experiment.train(folder, resume=(folder / "fit.json").is_file(), progress=False)
        experiment.evaluate(folder, progress=False)
    elif fingerprint(read_config(folder)[0]) != fingerprint(experiment):
        raise RuntimeError(f"{folder} holds a run with other settings. Move it away.")
    return {row["metric"]: float(row["value"]) for row in read_table(folder / "metrics.csv")}
