"""Constraints: diffusion-sorption by every method in about equal training time, three seeds, and beyond the horizon.

Runs are kept in `runs/constraints`; one that is there with the same settings is read, so that a run of hours may be
interrupted.
"""

import dataclasses
import pathlib
import statistics
import tempfile

import jax

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._session import ROOT
from sciml.experiments.base import find_experiment
from sciml.experiments.runs import read_config, read_table, write_config

NAME = "diffusion-sorption-constraint"
BEST = "experts-coupled"
OTHERS = (
    "experts-overlapping",
    "hard",
    "experts-own",
    "experts",
    "soft",
    "soft-published",
    "supervised",
    "constant",
)
SEEDS = (0, 1, 2)


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: size smoke, one seed, three methods.
    """
    if quick:
        with tempfile.TemporaryDirectory() as folder:
            compare(pathlib.Path(folder), "smoke", (BEST, "hard", "constant"), (0,))
        return
    compare(ROOT / "runs" / "constraints", "laptop", (BEST, *OTHERS), SEEDS)
    beyond(ROOT / "runs" / "constraints-beyond")


def compare(folder: pathlib.Path, size: str, methods: tuple[str, ...], seeds: tuple[int, ...]) -> None:
    """Train every method, and record the mean error of each.

    **Arguments:**

    - `folder`: for the runs.
    - `size`: of the experiment.
    - `methods`, `seeds`: what to train; the first method is the one of which more is claimed.
    """
    numbers = {}
    for method in methods:
        for seed in seeds[:1] if method == "constant" else seeds:
            numbers[method, seed] = _train(folder, size, method, seed)
    write_results("constraint-accuracy", [_row(method, seed, run) for (method, seed), run in numbers.items()])
    means = {
        method: statistics.mean(run["error"] for (name, _), run in numbers.items() if name == method)
        for method in methods
    }
    first, *others = methods
    record_claim(
        claim=f"constraints/diffusion-sorption-error-{first}",
        value=means[first],
        target="<= 0.036",
        seeds=seeds,
    )
    for method in others:
        own = () if method == "constant" else seeds
        record_claim(
            claim=f"constraints/diffusion-sorption-error-{method}",
            value=means[method],
            target="report",
            seeds=own,
        )
    # The one that learns from solutions is shown above, and is no rival of those that do without.
    ratio = means[first] / min(means[method] for method in others if method != "supervised")
    record_claim(
        claim="constraints/diffusion-sorption-coupled-over-best-other-without-data",
        value=ratio,
        target="< 1",
        seeds=seeds,
    )


def beyond(folder: pathlib.Path) -> None:
    """Train until t = 400 and test after, to t = 506.

    **Arguments:**

    - `folder`: for the runs.
    """
    errors = [_train(folder, "laptop", BEST, seed, horizon=400.0)["error_beyond"] for seed in SEEDS]
    record_claim(
        claim="constraints/diffusion-sorption-error-beyond-horizon",
        value=statistics.mean(errors),
        target="<= 0.10",
        seeds=SEEDS,
    )


def _train(folder, size, method, seed, **settings):
    experiment = dataclasses.replace(find_experiment(NAME).sized(size), method=method, seed=seed, **settings)
    run = folder / f"{method}-{seed}"
    if not (run / "metrics.csv").is_file():
        run.mkdir(parents=True, exist_ok=True)
        write_config(run, experiment, size)
        jax.clear_caches()  # as a user's first run has it: nothing compiled yet
        experiment.train(run, resume=(run / "fit.json").is_file(), progress=False)
        experiment.evaluate(run, progress=False)
    elif read_config(run)[0] != experiment:
        raise RuntimeError(f"{run} holds a run with other settings. Move it away.")
    numbers = {row["metric"]: float(row["value"]) for row in read_table(run / "metrics.csv")}
    print(f"{method}, seed {seed}: error {numbers['error']:.4f}", flush=True)
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
        "value_jump": numbers.get("value_jump"),
        "converged": numbers.get("converged"),
        "prediction_seconds": numbers.get("prediction_seconds"),
    }
