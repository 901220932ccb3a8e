"""Regularization: every method on the same solver at the same tolerance, three seeds; budgets; and the trade-off."""

import csv
import dataclasses
import pathlib
import shutil
import statistics
import tempfile

import jax

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._session import ROOT, current_session
from sciml._optional import require
from sciml.experiments.base import find_experiment
from sciml.experiments.comparison import compare
from sciml.experiments.runs import read_table, write_config

PICTURES = ROOT / "docs" / "pictures"
SEEDS = (0, 1, 2)
ODE = (
    "vanilla",
    "steer",
    "taynode",
    "rnode",
    "er",
    "er2",
    "sr",
    "er-sr",
    "local-uniform",
    "local-steps",
    "local-hairer",
)
SERIES = ("vanilla", "taynode", "rnode", "er", "er2", "sr", "local-uniform")
SDE = ("vanilla", "er", "er2", "local-uniform")
# Of these the best is chosen, by the validation set alone: fewest evaluations among those not worse than allowed.
OURS = ("er", "er2", "local-uniform")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One experiment, and what is claimed of it.

    **Arguments:**

    - `experiment`: its name.
    - `methods`: those that are trained.
    - `metric`: what the loss of accuracy is measured by.
    - `ratio`: the target, evaluations over those of vanilla.
    - `allowed`: by how much the metric may be worse: points of accuracy, or a part of a loss.
    """

    experiment: str
    methods: tuple[str, ...]
    metric: str
    ratio: float
    allowed: float

    def worsening(self, value: float, vanilla: float) -> float:
        """By how much a metric is worse than vanilla's: points of accuracy lost, or the part by which a loss grew."""
        return 100 * (vanilla - value) if self.metric == "accuracy" else value / vanilla - 1


COMPARISONS = (
    Comparison("digits-node", ODE, "accuracy", 0.40, 0.5),
    Comparison("digits-nsde", SDE, "accuracy", 0.50, 0.7),
    Comparison("physionet-latent-ode", SERIES, "error", 0.40, 0.03),
    Comparison("spiral-nsde", SDE, "loss", 0.50, 0.05),
)
BUDGETS = ("digits-node", "digits-nsde", "physionet-latent-ode")
SWEEPS = {
    "digits-node": ("er2", (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)),
    "spiral-nsde": ("er", (1.0, 10.0, 100.0, 1000.0)),
}


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: the size smoke, one seed, two methods.
    """
    seeds, size = ((0,), "smoke") if quick else (SEEDS, "laptop")
    with tempfile.TemporaryDirectory() as temporary:
        for comparison in COMPARISONS:
            methods = ("vanilla", "er") if quick else comparison.methods
            folder = pathlib.Path(temporary) / comparison.experiment
            compare_methods(comparison, methods, seeds, size, folder)
        for name in BUDGETS:
            keep_budget(name, seeds, size, pathlib.Path(temporary) / name)
        for name, (method, coefficients) in SWEEPS.items():
            chosen = coefficients[:2] if quick else coefficients
            trade_off(name, method, chosen, size, pathlib.Path(temporary) / f"{name}-sweep")


def compare_methods(
    comparison: Comparison, methods: tuple[str, ...], seeds: tuple[int, ...], size: str, folder: pathlib.Path
) -> None:
    """Train every method and record what is claimed of the best.

    **Arguments:**

    - `comparison`: the experiment and its targets.
    - `methods`: those to train.
    - `seeds`: the seeds.
    - `size`: of the experiment.
    - `folder`: for the runs.
    """
    numbers = {
        (method, seed): train(comparison.experiment, size, folder, seed, method=method)
        for seed in seeds
        for method in methods
    }
    print(
        compare([folder / f"{method}-{seed}" for method in methods for seed in seeds], folder / "comparison")
    )
    if size == "laptop" and current_session().folder == ROOT / "benchmarks":
        PICTURES.mkdir(exist_ok=True)
        shutil.copy(
            folder / "comparison" / "training.png", PICTURES / f"{comparison.experiment}-training.png"
        )
    write_results(comparison.experiment, [_row(method, seed, run) for (method, seed), run in numbers.items()])
    means = {
        method: {
            name: statistics.mean(numbers[method, seed][name] for seed in seeds)
            for name in numbers[method, seeds[0]]
        }
        for method in methods
    }
    _record(comparison, means, seeds)


def keep_budget(name: str, seeds: tuple[int, ...], size: str, folder: pathlib.Path) -> None:
    """Train with a budget of half of vanilla's evaluations, and record by how much it is missed.

    **Arguments:**

    - `name`: the experiment.
    - `seeds`: the seeds.
    - `size`: of the experiment.
    - `folder`: for the runs, where those of vanilla are.
    """
    rows, misses = [], []
    for seed in seeds:
        target = 0.5 * _last(folder / f"vanilla-{seed}")
        run = train(name, size, folder, seed, method="budget", evaluations=target)
        reached = _last(folder / f"budget-{seed}")
        misses.append(abs(reached / target - 1))
        print(f"{name}, seed {seed}: target {target:.1f} evaluations, reached {reached:.1f}", flush=True)
        rows.append(
            {
                **_row("budget", seed, run),
                "target_evaluations": target,
                "evaluations_in_training": reached,
            }
        )
    write_results(f"{name}-budget", rows)
    record_claim(
        claim=f"regularization/{name}-budget-missed-by", value=max(misses), target="<= 0.1", seeds=seeds
    )


def trade_off(
    name: str, method: str, coefficients: tuple[float, ...], size: str, folder: pathlib.Path
) -> None:
    """Train with one weight of the penalty after the other, and draw what is given up for what.

    **Arguments:**

    - `name`: the experiment.
    - `method`: by which penalty.
    - `coefficients`: its weights.
    - `size`: of the experiment.
    - `folder`: for the runs.
    """
    numbers = [("vanilla", 0.0, train(name, size, folder, 0, method="vanilla"))]
    for coefficient in coefficients:
        tag = f"{method}-{coefficient:g}"
        numbers.append(
            (tag, coefficient, train(name, size, folder, 0, method=method, coefficient=coefficient, tag=tag))
        )
    write_results(
        f"{name}-trade-off",
        [{**_row(tag, 0, run), "coefficient": coefficient} for tag, coefficient, run in numbers],
    )
    metric = next(c.metric for c in COMPARISONS if c.experiment == name)
    pyplot = require("matplotlib.pyplot", extra="plots")
    figure, ax = pyplot.subplots(figsize=(6.0, 4.0), layout="constrained")
    ax.plot([run["evaluations"] for *_, run in numbers], [run[f"test_{metric}"] for *_, run in numbers], "o-")
    for tag, _, run in numbers:
        ax.annotate(tag, (run["evaluations"], run[f"test_{metric}"]), fontsize=8, rotation=20)
    ax.set_xlabel("evaluations of the field")
    ax.set_ylabel(f"test {metric}")
    ax.grid(alpha=0.3)
    if size == "laptop" and current_session().folder == ROOT / "benchmarks":
        figure.savefig(PICTURES / f"{name}-trade-off.png", dpi=120)
    pyplot.close(figure)


def train(
    name: str, size: str, folder: pathlib.Path, seed: int, *, tag: str | None = None, **settings: object
) -> dict[str, float]:
    """Train and judge one method, as `sciml train` does.

    **Arguments:**

    - `name`: the experiment.
    - `size`: its size.
    - `folder`: for the run.
    - `seed`: of the run.
    - `tag`: the run's name; its method, if not given.
    - `settings`: fields of `Regularization`.

    **Returns:** the metrics by name.
    """
    base = find_experiment(name).sized(size)
    regularization = dataclasses.replace(base.regularization, **settings)
    experiment = dataclasses.replace(base, seed=seed, regularization=regularization)
    run_folder = folder / f"{tag or settings['method']}-{seed}"
    run_folder.mkdir(parents=True)
    write_config(run_folder, experiment, size)
    # As a user's first run has it: nothing compiled yet.
    jax.clear_caches()
    experiment.train(run_folder, progress=False)
    experiment.evaluate(run_folder, progress=False)
    numbers = {row["metric"]: float(row["value"]) for row in read_table(run_folder / "metrics.csv")}
    shown = {key: round(value, 5) for key, value in numbers.items() if key not in ("parameters", "skipped")}
    print(f"{name} {tag or settings['method']}, seed {seed}: {shown}", flush=True)
    return numbers


def _last(folder: pathlib.Path) -> float:
    """The mean number of evaluations over the last tenth of training."""
    with open(folder / "training.csv", newline="") as handle:
        evaluations = [float(row["evaluations"]) for row in csv.DictReader(handle)]
    return statistics.mean(evaluations[-max(1, len(evaluations) // 10) :])


def _row(method: str, seed: int, numbers: dict[str, float]) -> dict[str, object]:
    further = {
        name: value
        for name, value in numbers.items()
        if name not in ("evaluations", "compile_seconds", "training_seconds")
    }
    error = next(value for name, value in numbers.items() if name in ("test_error", "test_loss"))
    return {
        "method": method,
        "seed": seed,
        "dtype": "float32",
        "compile_seconds": numbers["compile_seconds"],
        "run_seconds": numbers["training_seconds"],
        "evaluations": numbers["evaluations"],
        "error": error,
        **further,
    }


def _record(comparison: Comparison, means: dict[str, dict[str, float]], seeds: tuple[int, ...]) -> None:
    vanilla = means["vanilla"]

    def worsening(method: str, part: str) -> float:
        metric = f"{part}_{comparison.metric}"
        return comparison.worsening(means[method][metric], vanilla[metric])

    ours = [method for method in OURS if method in means]
    good = [method for method in ours if worsening(method, "validation") <= comparison.allowed]
    best = min(good or ours, key=lambda method: means[method]["evaluations"])
    print(
        f"{comparison.experiment}: by the validation set the best is {best} (not worse than allowed: {good})"
    )
    name = f"regularization/{comparison.experiment}"
    unit = (
        "points-of-accuracy-lost" if comparison.metric == "accuracy" else f"test-{comparison.metric}-grown-by"
    )
    claims = {
        "evaluations-over-vanilla": ("evaluations", f"<= {comparison.ratio}"),
        "prediction-time-over-vanilla": ("prediction_seconds", "<= 0.5"),
        "training-time-over-vanilla": ("training_seconds", "<= 0.7"),
    }
    for claim, (metric, target) in claims.items():
        asked = comparison.experiment == "digits-node" or metric == "evaluations"
        record_claim(
            claim=f"{name}-{claim}",
            value=means[best][metric] / vanilla[metric],
            target=target if asked else "report",
            seeds=seeds,
        )
    record_claim(
        claim=f"{name}-{unit}", value=worsening(best, "test"), target=f"<= {comparison.allowed}", seeds=seeds
    )
