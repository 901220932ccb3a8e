"""Constraints: viscous Burgers by every method in about equal training time, on a finer grid than the training's."""

from benchmarks._constraint_methods import SEEDS, record_errors, run_methods

NAME = "burgers1d-constraint"
METHODS = {
    "experts-coupled": SEEDS,
    "hard": SEEDS,
    "soft": SEEDS,
    "experts-overlapping": (0,),
    "experts": (0,),
    "experts-own": (0,),
    "soft-published": (0,),
    "supervised": (0,),
    "constant": (0,),
}


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: size smoke, one seed, three methods.
    """
    found = run_methods(
        NAME,
        METHODS,
        folder="constraints-burgers",
        results="constraint-accuracy-burgers",
        quick=quick,
        tuned={},
    )
    record_errors("burgers", found, {})
