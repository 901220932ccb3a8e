"""Regularized neural SDEs on a noisy spiral, three seeds; the trade-off at one; and what the true equation costs."""

import dataclasses
import pathlib
import statistics
import tempfile

import equinox as eqx
import jax
import jax.numpy as jnp

from benchmarks._claims import record_claim
from benchmarks._methods import SDE, SEEDS, Comparison, compare_methods, trade_off
from sciml.experiments.base import find_experiment
from sciml.experiments.runs import read_table
from sciml.experiments.spirals import SpiralSDE, spiral

COMPARISON = Comparison("spiral-nsde", SDE, "loss", 0.50, 0.05)
WEIGHTS = (1.0, 10.0, 100.0, 500.0)


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: the size smoke, one seed, two methods.
    """
    size = "smoke" if quick else "laptop"
    seeds = SEEDS[:1] if quick else SEEDS
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "methods"
        compare_methods(COMPARISON, folder, quick=quick)
        vanilla = statistics.mean(_read(folder / f"vanilla-{seed}", "evaluations") for seed in seeds)
        truth = [
            measure_truth(dataclasses.replace(find_experiment("spiral-nsde").sized(size), seed=seed))
            for seed in seeds
        ]
        evaluations, loss = (statistics.mean(one[i] for one in truth) for i in (0, 1))
        print(f"the equation that made the data: {evaluations:.1f} evaluations, loss {loss:.4g}")
        record_claim(
            claim="regularization/spiral-nsde-evaluations-of-the-true-equation-over-vanilla",
            value=evaluations / vanilla,
            target="report",
            seeds=seeds,
        )
        trade_off(
            COMPARISON,
            "er",
            WEIGHTS,
            pathlib.Path(temporary) / "trade-off",
            quick=quick,
            references={"the equation that made the data": (evaluations, loss)},
        )


def measure_truth(experiment: SpiralSDE) -> tuple[float, float]:
    """Solve the equation that made the data as the experiment solves its models.

    **Arguments:**

    - `experiment`: the experiment.

    **Returns:** evaluations of the drift and the loss on the test set, from the same noise as a trained model's.
    """
    parts = experiment.make_data()
    model = eqx.tree_at(
        lambda model: (model.drift, model.diffusion),
        experiment.build(parts["train"]),
        (lambda t, y, args: spiral(y), lambda t, y, args: experiment.noise * y),
    )
    test = jax.tree.map(jnp.asarray, parts["test"])
    found, stats = experiment.measure(model, test, key=jax.random.key(experiment.seed + 2))
    return float(stats["num_evaluations"]), float(found["loss"])


def _read(folder: pathlib.Path, metric: str) -> float:
    return next(float(row["value"]) for row in read_table(folder / "metrics.csv") if row["metric"] == metric)
