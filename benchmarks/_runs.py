"""Runs of experiments that benchmarks keep: hours of them may be cut into pieces."""

import json
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

import jax

from benchmarks._session import current_session
from sciml.experiments.base import AbstractExperiment, fingerprint
from sciml.experiments.runs import read_config, read_table, write_config


class Run(NamedTuple):
    """What a run measured, and the code it ran on.

    **Arguments:**

    - `numbers`: its metrics.
    - `origin`: the `commit` of the code that trained it, and the `device`.
    """

    numbers: dict[str, float]
    origin: dict[str, str]


def keep_run(folder: pathlib.Path, experiment: AbstractExperiment, size: str) -> Run:
    """Train and evaluate an experiment, or read what it measured before.

    **Arguments:**

    - `folder`: of the run.
    - `experiment`: the experiment.
    - `size`: what it was made from.

    **Returns:** its metrics, with their origin.

    **Raises:** `RuntimeError` for a folder that holds a run with other settings.
    """
    marker = folder / "origin.json"
    if not (folder / "metrics.csv").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_config(folder, experiment, size)
        jax.clear_caches()  # as a user's first run has it: nothing compiled yet
        experiment.train(folder, resume=True, progress=False)
        experiment.evaluate(folder, progress=False)
        session = current_session()
        marker.write_text(json.dumps({"commit": session.commit, "device": session.device}))
    elif fingerprint(read_config(folder)[0]) != fingerprint(experiment):
        raise RuntimeError(f"{folder} holds a run with other settings. Move it away.")
    numbers = {row["metric"]: float(row["value"]) for row in read_table(folder / "metrics.csv")}
    return Run(numbers, json.loads(marker.read_text()))


def join_origins(runs: Iterable[Run]) -> dict[str, str]:
    """The commits and devices of several runs, each once.

    **Arguments:**

    - `runs`: the runs.

    **Returns:** `commit` and `device`, as `record_claim` takes them.
    """
    origins = [run.origin for run in runs]
    return {
        name: " ".join(dict.fromkeys(origin[name] for origin in origins)) for name in ("commit", "device")
    }
