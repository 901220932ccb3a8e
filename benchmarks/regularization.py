"""Regularized digits: every method on the same solver at the same tolerance, three seeds; budgets; the trade-off."""

import pathlib
import tempfile

from benchmarks._methods import SDE, Comparison, compare_methods, keep_budget, trade_off

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
COMPARISONS = (
    Comparison("digits-node", ODE, "accuracy", 0.40, 0.5),
    Comparison("digits-nsde", SDE, "accuracy", 0.50, 0.7),
)
WEIGHTS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: the size smoke, one seed, two methods.
    """
    with tempfile.TemporaryDirectory() as temporary:
        for comparison in COMPARISONS:
            folder = pathlib.Path(temporary) / comparison.experiment
            compare_methods(comparison, folder, quick=quick)
            keep_budget(comparison.experiment, folder, quick=quick)
        folder = pathlib.Path(temporary) / "trade-off"
        trade_off(COMPARISONS[0], "er2", WEIGHTS, folder, quick=quick)
