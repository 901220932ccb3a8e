"""Movers that learn without data, on rings of unseen radii: ours, the published form, and the classical mover.

Ours is trained for about `SECONDS` on 2 CPU cores. The published form (branch and trunk, walls by a penalty) is trained
as published, and as it did best in seven trials by hand, judged, in its favor, on the test radii themselves.
"""

import dataclasses
import pathlib
import statistics
import tempfile

import jax

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from sciml.experiments.base import find_experiment
from sciml.experiments.mover_methods import MoverNetwork, MoverTraining
from sciml.experiments.runs import read_table, write_config

SEEDS = (0, 1, 2)
SECONDS = 100
PUBLISHED = MoverNetwork(method="branch-trunk")
FORMS = {
    "ours": {},
    "published": {
        "network": PUBLISHED,
        "training": MoverTraining(steps=1700, published=True, rounds=20),
    },
    "published-network-best": {
        "network": dataclasses.replace(PUBLISHED, trunk_width=16),
        "training": MoverTraining(steps=5000, lattice=16, wall_weight=100.0, rounds=30),
    },
}


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: the size smoke, one seed.
    """
    seeds = SEEDS[:1] if quick else SEEDS
    rows, found = [], {}
    with tempfile.TemporaryDirectory() as temporary:
        for form in FORMS:
            for seed in seeds:
                numbers = train(form, seed, pathlib.Path(temporary) / form / str(seed), quick=quick)
                for method, metrics in numbers.items():
                    key = method if method in ("uniform", "classical") else form
                    if key == form or form == "ours":
                        found.setdefault(key, []).append(metrics)
                        rows.append(_row(key, seed, metrics))
                print(f"{form}, seed {seed}: {found[form][-1]}", flush=True)
    write_results("data-free-mover", rows)
    ours, classical = found["ours"], found["classical"]
    mean = {form: _mean(numbers) for form, numbers in found.items()}
    claims = {
        "variation": (mean["ours"]["variation"], "<= 0.12"),
        "interpolation-ratio": (mean["ours"]["interpolation_ratio"], ">= 2.7"),
        "boundary-error": (max(numbers["boundary_error"] for numbers in ours), "== 0"),
        "tangled-cells": (sum(numbers["tangled"] for numbers in ours), "== 0"),
        "newton-steps-over-those-from-zero": (
            mean["ours"]["newton_steps"] / mean["classical"]["newton_steps"],
            "<= 0.5",
        ),
        "time-of-classical-over-proposal": (
            min(
                c["prediction_seconds"] / o["prediction_seconds"]
                for c, o in zip(classical, ours, strict=True)
            ),
            ">= 10",
        ),
        "training-seconds": (max(numbers["training_seconds"] for numbers in ours), "report"),
    }
    for form in ("published", "published-network-best"):
        for metric in ("variation", "interpolation_ratio", "boundary_error"):
            claims[f"{metric.replace('_', '-')}-{form}"] = (mean[form][metric], "report")
    for name, (value, target) in claims.items():
        record_claim(claim=f"meshes/data-free-{name}", value=value, target=target, seeds=seeds)


def train(form: str, seed: int, folder: pathlib.Path, *, quick: bool) -> dict[str, dict[str, float]]:
    """Train and judge one form, as `sciml train ring-mover` and `sciml evaluate` do.

    **Arguments:**

    - `form`: one of `FORMS`.
    - `seed`: of the weights and the batches.
    - `folder`: for the run.
    - `quick`: the size smoke, and its training.

    **Returns:** metrics by method and name.
    """
    size = "smoke" if quick else "laptop"
    base = find_experiment("ring-mover").sized(size)
    fields = dict(FORMS[form])
    if quick and fields:
        fields = {"network": dataclasses.replace(base.network, method="branch-trunk")}
    experiment = dataclasses.replace(base, seed=seed, **fields)
    folder.mkdir(parents=True)
    write_config(folder, experiment, size)
    jax.clear_caches()
    experiment.train(folder, progress=False)
    experiment.evaluate(folder, progress=False)
    found: dict[str, dict[str, float]] = {}
    for row in read_table(folder / "metrics.csv"):
        found.setdefault(row["method"], {})[row["metric"]] = float(row["value"])
    return found


def _mean(numbers: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.mean(one[name] for one in numbers) for name in numbers[0]}


def _row(form: str, seed: int, metrics: dict[str, float]) -> dict[str, object]:
    names = ("interpolation_ratio", "tangled", "boundary_error", "newton_steps", "prediction_seconds")
    return {
        "seed": seed,
        "dtype": "float32",
        "compile_seconds": metrics.get("compile_seconds"),
        "run_seconds": metrics.get("training_seconds"),
        "evaluations": None,
        "error": metrics["variation"],
        "form": form,
        **{name: metrics.get(name) for name in names},
        "parameters": metrics.get("parameters"),
    }
