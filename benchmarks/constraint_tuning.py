"""Constraints: all methods that are compared tuned alike, on the validation set: form of conditions, learning rate.

What is best there is written down in the benchmarks that compare them.
"""

import itertools
import pathlib
import tempfile

from benchmarks import constraint_accuracy, constraint_accuracy_flow
from benchmarks._claims import record_claim
from benchmarks._constraint_methods import tabulate, train
from benchmarks._results import write_results
from benchmarks._runs import join_origins
from benchmarks._session import ROOT

RATES = (3e-3, 1e-2, 3e-2)


def make_grid(rates=RATES, **values: tuple[float, ...]) -> list[dict[str, float]]:
    """Settings to be tried.

    **Arguments:**

    - `rates`: learning rates.
    - `values`: of other fields, each its own.

    **Returns:** every choice of them.
    """
    names = (*values, "learning_rate")
    return [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*values.values(), rates)]


# `penalty` weighs initial condition and walls as rows; at 0 neither is. Coupled experts, for which it did no good, have
# the weight of jumps in its place; so each is given nine settings. Published methods weigh their rows as published.
PROBLEMS = {
    "diffusion-sorption": (
        constraint_accuracy,
        {
            "soft": make_grid(penalty=(0.0, 0.1, 1.0)),
            "hard": make_grid(penalty=(0.0, 0.1, 1.0)),
            "experts-coupled": make_grid(jumps=(1.0, 0.3, 0.1)),
            "experts": make_grid(),
            "soft-published": make_grid(),
        },
    ),
    "navier-stokes": (
        constraint_accuracy_flow,
        {
            "soft": make_grid(RATES[:2], penalty=(0.0, 1.0)),
            "hard": make_grid(RATES[:2], penalty=(0.0, 1.0)),
            "experts-coupled": make_grid(RATES[:2], penalty=(0.0, 1.0)),
            "experts-overlapping": make_grid(RATES[:2]),  # each of its answers takes seconds
        },
    ),
}


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: size smoke, two settings of one method, nothing kept.
    """
    for problem in list(PROBLEMS)[: 1 if quick else None]:
        with tempfile.TemporaryDirectory() as temporary:
            tune(problem, pathlib.Path(temporary) if quick else ROOT / "runs" / "constraint-tuning", quick)


def tune(problem: str, folder: pathlib.Path, quick: bool) -> None:
    """Try the settings of every method of one problem, and record them.

    **Arguments:**

    - `problem`: its name.
    - `folder`: of the runs.
    - `quick`: as for `run`.
    """
    module, methods = PROBLEMS[problem]
    rows = []
    for method, grid in list(methods.items())[: 1 if quick else None]:
        runs = []
        for settings in grid[: 2 if quick else None]:
            name = "-".join(f"{key}-{value:g}" for key, value in settings.items())
            size = "smoke" if quick else "laptop"
            runs.append(train(folder / f"{problem}-{name}", module.NAME, size, method, 0, **settings))
            shown = {key: settings.get(key) for key in ("penalty", "jumps", "learning_rate")}
            rows.append(tabulate(runs[-1], 0, method=method, **shown))
        best = min(range(len(runs)), key=lambda i: runs[i].numbers["validation_error"])
        print(f"{problem}, {method}: best is {grid[best]}; compared is {module.TUNED[method]}")
        record_claim(
            claim=f"constraints/{problem}-validation-error-of-tuned-{method}",
            value=runs[best].numbers["validation_error"],
            target="report",
            seeds=(0,),
            **join_origins(runs),
        )
    write_results(f"constraint-tuning-{problem}", rows)
