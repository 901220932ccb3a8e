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
# Of initial condition and walls as rows; 0 for neither as rows. Published methods have their own.
PENALTIES = (0.0, 0.1, 1.0)
METHODS = ("soft", "hard", "experts-coupled")
PROBLEMS = {
    "diffusion-sorption": (
        constraint_accuracy,
        dict.fromkeys(METHODS, (PENALTIES, RATES))
        | dict.fromkeys(("experts", "soft-published"), ((0.0,), RATES)),
    ),
    "navier-stokes": (
        constraint_accuracy_flow,
        dict.fromkeys(METHODS, ((0.0, 1.0), RATES[:2]))
        | {"experts-overlapping": ((0.0,), RATES[:2])},  # each of its answers takes 15 s
    ),
}


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: size smoke, two settings of one method, nothing kept.
    """
    for problem in list(PROBLEMS)[: 1 if quick else None]:
        with tempfile.TemporaryDirectory() as temporary:
            _tune(problem, pathlib.Path(temporary) if quick else ROOT / "runs" / "constraint-tuning", quick)


def _tune(problem: str, folder: pathlib.Path, quick: bool) -> None:
    module, methods = PROBLEMS[problem]
    rows = []
    for method, (penalties, rates) in list(methods.items())[: 1 if quick else None]:
        runs = {}
        for penalty, rate in list(itertools.product(penalties, rates))[: 2 if quick else None]:
            runs[penalty, rate] = train(
                folder / f"{problem}-{penalty:g}-{rate:g}",
                module.NAME,
                "smoke" if quick else "laptop",
                method,
                0,
                penalty=penalty,
                learning_rate=rate,
            )
            more = {"method": method, "penalty": penalty, "learning_rate": rate}
            rows.append(tabulate(runs[penalty, rate], 0, **more))
        best = min(runs, key=lambda setting: runs[setting].numbers["validation_error"])
        chosen = module.TUNED[method]
        print(
            f"{problem}, {method}: best are penalty {best[0]:g} and rate {best[1]:g}; compared with {chosen}"
        )
        record_claim(
            claim=f"constraints/{problem}-validation-error-of-tuned-{method}",
            value=runs[best].numbers["validation_error"],
            target="report",
            seeds=(0,),
            **join_origins(runs.values()),
        )
    write_results(f"constraint-tuning-{problem}", rows)
