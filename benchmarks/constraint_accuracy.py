"""Constraints: diffusion-sorption by every method in about equal training time, and beyond the horizon."""

from benchmarks._claims import record_claim
from benchmarks._constraint_methods import SEEDS, Measured, record_errors, run_methods, train
from benchmarks._runs import join_origins
from benchmarks._session import ROOT

NAME = "diffusion-sorption-constraint"
BEST = "experts-coupled"
# By `python -m benchmarks constraint_tuning`; experts that were not tuned take what coupled ones do.
TUNED = {
    "soft": {"penalty": 1.0, "learning_rate": 3e-2},
    "hard": {"penalty": 0.0, "learning_rate": 1e-2},
    "experts-coupled": {"jumps": 0.3, "learning_rate": 1e-2},
    "experts": {"penalty": 0.0, "learning_rate": 1e-2},
    "soft-published": {"penalty": 0.0, "learning_rate": 3e-2},
    "supervised": {"penalty": 0.0, "learning_rate": 1e-2},
}
TUNED |= dict.fromkeys(("experts-own", "experts-overlapping"), TUNED["experts-coupled"])
METHODS = {
    "experts-coupled": SEEDS,
    "hard": SEEDS,
    "experts": SEEDS,
    "soft": SEEDS,
    "experts-own": SEEDS,
    "experts-overlapping": SEEDS,
    "soft-published": SEEDS,
    "supervised": (0,),  # sees solutions
    "constant": (0,),
}


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: size smoke, one seed, three methods.
    """
    found = run_methods(
        NAME, METHODS, folder="constraints", results="constraint-accuracy", quick=quick, tuned=TUNED
    )
    record_errors("diffusion-sorption", found, {BEST: "<= 0.036"})
    # The one that learns from solutions is shown above, and is no rival of those that do without.
    record_claim(
        claim="constraints/diffusion-sorption-coupled-over-best-other-without-data",
        value=found[BEST].mean("error")
        / min(one.mean("error") for method, one in found.items() if method not in (BEST, "supervised")),
        target="< 1",
        seeds=METHODS[BEST],
        **join_origins(run for measured in found.values() for run in measured.runs),
    )
    if not quick:
        beyond()


def beyond() -> None:
    """Train until t = 400 and test after, to t = 506."""
    folder = ROOT / "runs" / "constraints-beyond"
    runs = [train(folder, NAME, "laptop", BEST, seed, horizon=400.0, **TUNED[BEST]) for seed in SEEDS]
    record_claim(
        claim="constraints/diffusion-sorption-error-beyond-horizon",
        value=Measured(runs, SEEDS).mean("error_beyond"),
        target="<= 0.10",
        seeds=SEEDS,
        **join_origins(runs),
    )
