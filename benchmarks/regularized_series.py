"""Regularized latent ODEs: PhysioNet-shaped series, every method on the same solver, three seeds; a budget."""

import pathlib
import tempfile

from benchmarks._methods import Comparison, compare_methods, keep_budget

METHODS = ("vanilla", "er", "er2", "local-uniform")
COMPARISON = Comparison("physionet-latent-ode", METHODS, "error", 0.40, 0.03)


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: the size smoke, one seed, two methods.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        compare_methods(COMPARISON, folder, quick=quick)
        keep_budget(COMPARISON.experiment, folder, quick=quick)
