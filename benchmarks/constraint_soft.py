"""Constraints: the soft comparator tuned on the validation set, by learning rate and the weight of start and walls.

What is best there is written down in the benchmarks that compare it.
"""

import itertools
import pathlib
import tempfile

from benchmarks import constraint_accuracy, constraint_accuracy_burgers, constraint_accuracy_flow
from benchmarks._claims import record_claim
from benchmarks._constraint_methods import tabulate, train
from benchmarks._results import write_results
from benchmarks._runs import join_origins
from benchmarks._session import ROOT

RATES = (1e-3, 3e-3, 1e-2)
PENALTIES = (0.0, 1.0, 10.0, 100.0)  # 0: start and walls exactly, as methods with a solve have them
PROBLEMS = {
    "diffusion-sorption": constraint_accuracy,
    "navier-stokes": constraint_accuracy_flow,
    "burgers": constraint_accuracy_burgers,
}


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: size smoke, two settings of one problem, nothing kept.
    """
    for problem, module in list(PROBLEMS.items())[: 1 if quick else None]:
        with tempfile.TemporaryDirectory() as temporary:
            where = pathlib.Path(temporary) if quick else ROOT / "runs" / "constraint-soft"
            settings = list(itertools.product(PENALTIES, RATES))[: 2 if quick else None]
            runs = {
                (penalty, rate): train(
                    where / f"{problem}-{penalty:g}-{rate:g}",
                    module.NAME,
                    "smoke" if quick else "laptop",
                    "soft",
                    0,
                    penalty=penalty,
                    learning_rate=rate,
                )
                for penalty, rate in settings
            }
        write_results(
            f"constraint-soft-{problem}",
            [
                tabulate(run, 0, method="soft", penalty=penalty, learning_rate=rate)
                for (penalty, rate), run in runs.items()
            ],
        )
        best = min(runs, key=lambda setting: runs[setting].numbers["validation_error"])
        chosen = (module.SOFT["penalty"], module.SOFT["learning_rate"])
        print(f"{problem}: best penalty {best[0]:g}, learning rate {best[1]:g}; compared is {chosen}")
        for name, setting in (("best", best), ("compared", chosen)):
            if setting in runs:
                record_claim(
                    claim=f"constraints/{problem}-soft-validation-error-{name}",
                    value=runs[setting].numbers["validation_error"],
                    target="report",
                    seeds=(0,),
                    **join_origins([runs[setting]]),
                )
