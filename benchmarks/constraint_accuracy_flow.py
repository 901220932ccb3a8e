"""Constraints: Navier-Stokes by every method in about equal training time, on a finer grid than the training's."""

import dataclasses

from benchmarks._claims import record_claim
from benchmarks._constraint_methods import SEEDS, record_errors, run_methods, train
from benchmarks._runs import join_origins
from benchmarks._session import ROOT
from sciml.experiments.base import find_experiment

NAME = "navier-stokes-constraint"
# By `python -m benchmarks constraint_tuning`; what was not tuned takes what coupled experts do.
OTHERS = "hard experts-coupled experts experts-own soft-published supervised"
TUNED = {method: {"penalty": 0.0, "learning_rate": 1e-2} for method in OTHERS.split()}
TUNED["experts-overlapping"] = {"learning_rate": 1e-2}
TUNED["soft"] = {"penalty": 1.0, "learning_rate": 1e-2}
METHODS = {
    "hard": SEEDS,
    "experts-coupled": SEEDS,
    "experts-overlapping": SEEDS,
    "soft": SEEDS,
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
        NAME, METHODS, folder="constraints-flow", results="constraint-accuracy-flow", quick=quick, tuned=TUNED
    )
    record_errors("navier-stokes", found, {})
    tied = [found[name] for name in ("experts-coupled", "experts-overlapping") if name in found]
    best = min(tied, key=lambda measured: measured.mean("error"))
    for rival in ("hard", "soft"):
        if rival in found:
            record_claim(
                claim=f"constraints/navier-stokes-coupled-or-overlapping-over-{rival}",
                value=best.mean("error") / found[rival].mean("error"),
                target="< 1",
                seeds=SEEDS,
                **join_origins([*best.runs, *found[rival].runs]),
            )
    if not quick:
        unprepared()


def unprepared() -> None:
    """The same with weights that are solved for from the first step, which leaves time for few of them."""
    experiment = find_experiment(NAME).sized("laptop")
    training = dataclasses.replace(experiment.training, pretraining=0.0)
    for method in ("hard", "experts-coupled"):
        folder = ROOT / "runs" / "constraints-flow-unprepared"
        run = train(folder, NAME, "laptop", method, 0, training=training, **TUNED[method])
        record_claim(
            claim=f"constraints/navier-stokes-error-{method}-without-pretraining",
            value=run.numbers["error"],
            target="report",
            seeds=(0,),
            **join_origins([run]),
        )
