"""Surrogates: `burgers1d-fno` at the size laptop, three seeds, against persistence, U-Net and CNN of like size."""

import dataclasses
import pathlib
import shutil
import statistics
import tempfile
import time

import jax

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._session import ROOT, current_session
from sciml.experiments.base import find_experiment
from sciml.experiments.comparison import compare
from sciml.experiments.runs import read_table, write_config

METHODS = ("fno", "unet", "cnn")
PICTURES = ROOT / "docs" / "pictures"


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: the size smoke and one seed.
    """
    seeds, size = ((0,), "smoke") if quick else ((0, 1, 2), "laptop")
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for seed in seeds:
            for method in METHODS:
                rows += _run_once(folder, method, seed, size)
        runs = [folder / f"{method}-{seed}" for method in METHODS for seed in seeds]
        print(compare(runs, folder / "comparison"))
        if not quick and current_session().folder == ROOT / "benchmarks":
            PICTURES.mkdir(exist_ok=True)
            shutil.copy(folder / "fno-0" / "prediction.png", PICTURES / "burgers1d-fno-prediction.png")
            shutil.copy(folder / "comparison" / "rollout.png", PICTURES / "burgers1d-fno-rollout.png")
    write_results("burgers1d-fno", rows)
    _record(rows, seeds)


def _run_once(folder: pathlib.Path, method: str, seed: int, size: str) -> list[dict]:
    """Train and judge one network, as `sciml train` does."""
    base = find_experiment("burgers1d-fno").sized(size)
    architecture = dataclasses.replace(base.architecture, method=method)
    experiment = dataclasses.replace(base, architecture=architecture, seed=seed)
    run_folder = folder / f"{method}-{seed}"
    run_folder.mkdir()
    write_config(run_folder, experiment, size)
    # As a user's first run has it: nothing compiled yet. The data is shared, as it is between a user's runs.
    jax.clear_caches()
    began = time.perf_counter()
    experiment.train(run_folder, progress=False)
    middle = time.perf_counter()
    experiment.evaluate(run_folder, progress=False)
    seconds = time.perf_counter() - began
    print(f"{method}, seed {seed}: {middle - began:.0f} s training, {seconds:.0f} s in all", flush=True)
    table = read_table(run_folder / "metrics.csv")
    return [
        {
            "method": row["method"],
            "beside": method,
            "seed": seed,
            "dtype": "float32",
            "metric": row["metric"],
            "error": float(row["value"]),
            "compile_seconds": None,
            "run_seconds": seconds,
            "evaluations": None,
        }
        for row in table
    ]


def _record(rows: list[dict], seeds: tuple[int, ...]) -> None:
    def values(method, metric):
        return [
            row["error"]
            for row in rows
            if row["method"] == method and row["metric"] == metric and row["beside"] in (method, "fno")
        ]

    fno, still = values("fno", "one_step_nrmse"), values("persistence", "one_step_nrmse")
    record_claim(
        claim="foundation/burgers1d-fno-one-step-nrmse", value=max(fno), target="<= 0.02", seeds=seeds
    )
    record_claim(
        claim="foundation/burgers1d-fno-times-better-than-persistence",
        value=min(a / b for a, b in zip(still, fno, strict=True)),
        target=">= 20",
        seeds=seeds,
    )
    for metric, name in (
        ("one_step_nrmse", "one-step"),
        ("rollout_nrmse", "rollout"),
        ("final_nrmse", "final"),
    ):
        record_claim(
            claim=f"foundation/burgers1d-fno-{name}-nrmse-over-that-of-unet",
            value=statistics.mean(values("fno", metric)) / statistics.mean(values("unet", metric)),
            target="< 1",
            seeds=seeds,
        )
    seconds = max(row["run_seconds"] for row in rows if row["beside"] == "fno")
    record_claim(claim="foundation/burgers1d-fno-minutes", value=seconds / 60, target="< 5", seeds=seeds)
