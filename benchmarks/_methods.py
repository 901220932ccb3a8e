"""What the benchmarks of regularized equations share: all methods on the same terms, budgets, the trade-off."""

import csv
import dataclasses
import pathlib
import shutil
import statistics

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


def compare_methods(comparison: Comparison, folder: pathlib.Path, *, quick: bool) -> None:
    """Train every method and record what is claimed of the best.

    **Arguments:**

    - `comparison`: the experiment and its targets.
    - `folder`: for the runs.
    - `quick`: the size smoke, one seed, two methods.
    """
    methods = ("vanilla", "er") if quick else comparison.methods
    seeds, size = _extent(quick)
    numbers = {
        (method, seed): train(comparison.experiment, size, folder, seed, method=method)
        for seed in seeds
        for method in methods
    }
    print(
        compare([folder / f"{method}-{seed}" for method in methods for seed in seeds], folder / "comparison")
    )
    if draws_for_the_documents(quick):
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


def keep_budget(name: str, folder: pathlib.Path, *, quick: bool) -> None:
    """Train with a budget of half of vanilla's evaluations, and record by how much it is missed.

    **Arguments:**

    - `name`: the experiment.
    - `folder`: for the runs, where those of vanilla are.
    - `quick`: the size smoke, one seed.
    """
    seeds, size = _extent(quick)
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
    comparison: Comparison,
    method: str,
    coefficients: tuple[float, ...],
    folder: pathlib.Path,
    *,
    quick: bool,
    seeds: tuple[int, ...] = (0,),
    references: dict[str, tuple[float, float]] | None = None,
) -> None:
    """Train with one weight of the penalty after the other, and draw what is given up for what.

    **Arguments:**

    - `comparison`: the experiment.
    - `method`: by which penalty.
    - `coefficients`: its weights.
    - `folder`: for the runs.
    - `quick`: the size smoke, one seed, two weights.
    - `seeds`: the seeds; the picture shows their mean.
    - `references`: evaluations and metric by name, points to draw beside the curve.
    """
    few, size = _extent(quick)
    seeds = few if quick else seeds
    settings = {"vanilla": {"method": "vanilla"}}
    for coefficient in coefficients[:2] if quick else coefficients:
        settings[f"{method}-{coefficient:g}"] = {"method": method, "coefficient": coefficient}
    numbers = {
        (tag, seed): train(comparison.experiment, size, folder, seed, tag=tag, **setting)
        for tag, setting in settings.items()
        for seed in seeds
    }
    rows = [
        {**_row(tag, seed, run), "coefficient": settings[tag].get("coefficient", 0.0)}
        for (tag, seed), run in numbers.items()
    ]
    write_results(f"{comparison.experiment}-trade-off", rows)
    metric = f"test_{comparison.metric}"
    points = {
        tag: tuple(
            statistics.mean(numbers[tag, seed][name] for seed in seeds) for name in ("evaluations", metric)
        )
        for tag in settings
    }
    if draws_for_the_documents(quick):
        _draw_trade_off(comparison, points, references or {})


def draws_for_the_documents(quick: bool) -> bool:
    """Whether pictures go into docs/pictures: not those of a quick run, nor of one that records elsewhere.

    **Arguments:**

    - `quick`: whether the run is quick.

    **Returns:** a boolean.
    """
    PICTURES.mkdir(exist_ok=True)
    return not quick and current_session().folder == ROOT / "benchmarks"


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


def _extent(quick: bool) -> tuple[tuple[int, ...], str]:
    """The seeds and the size."""
    return ((0,), "smoke") if quick else (SEEDS, "laptop")


def _draw_trade_off(comparison, points, references) -> None:
    pyplot = require("matplotlib.pyplot", extra="plots")
    figure, ax = pyplot.subplots(figsize=(6.0, 4.0), layout="constrained")
    ax.plot(*zip(*points.values()), "o-")
    for name, point in references.items():
        ax.plot(*point, "*", markersize=12, label=name)
    for name, point in points.items():
        ax.annotate(name, point, fontsize=8, rotation=20)
    if references:
        ax.legend()
    ax.set_xlabel("evaluations of the field")
    ax.set_ylabel(f"test {comparison.metric}")
    ax.grid(alpha=0.3)
    figure.savefig(PICTURES / f"{comparison.experiment}-trade-off.png", dpi=120)
    pyplot.close(figure)


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
