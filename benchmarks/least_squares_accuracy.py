"""Correct digits on NIST's nonlinear regressions and on More, Garbow and Hillstrom's problems, beside other solvers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._claims import record_claim
from benchmarks._regression import Regression, load_classics, load_regressions
from benchmarks._results import write_results
from sciml.constraints import RESULTS, Jaxopt, LevenbergMarquardt, Optimistix, StopGradient, least_squares

MOST = 11.0  # digits: as many as are certified
CLOSE = 0.5  # of a digit, below which one solver is not worse than another
STEPS = 1000


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: every eighth problem.
    """
    jax.config.update("jax_enable_x64", True)
    solvers = {
        "ours": LevenbergMarquardt(1e-12, STEPS),
        "optimistix": Optimistix(1e-12, STEPS),
        "jaxopt": Jaxopt(1e-12, STEPS),
    }
    problems = load_regressions() + load_classics()
    rows, worse, solved = [], [], dict.fromkeys(solvers, 0)
    for problem in problems[::8] if quick else problems:
        digits = {}
        for name, solver in solvers.items():
            found = _make_solve(problem.rows, solver)(jnp.asarray(problem.start))
            digits[name] = count_digits(problem, np.asarray(found.value))
            solved[name] += digits[name] >= 6
            row = {"seed": None, "dtype": "float64", "compile_seconds": None, "run_seconds": None}
            counts = {"evaluations": int(found.iterations), "error": 10 ** -digits[name]}
            named = {
                "problem": problem.name,
                "solver": name,
                "digits": digits[name],
                "result": _name(found.result),
            }
            rows.append({**row, **counts, **named})
        print(problem.name, {name: round(value, 1) for name, value in digits.items()}, flush=True)
        if digits["ours"] < max(digits["optimistix"], digits["jaxopt"]) - CLOSE:
            worse.append(problem.name)
    print(f"six digits or more: {solved}; fewer digits than the best other: {worse}")
    write_results("least-squares-accuracy", rows)
    record_claim(
        claim="constraints/regressions-with-fewer-digits-than-the-best-other", value=len(worse), target="== 0"
    )
    for name, count in solved.items():
        record_claim(claim=f"constraints/regressions-solved-by-{name}", value=count, target="report")
    record_claim(claim="constraints/regressions", value=len(rows) // len(solvers), target="report")


@functools.lru_cache(maxsize=4)
def _make_solve(rows, solver):
    """One compiled solve for all starts of a problem. Ours as it is used, with its last step; others as they end."""
    last = {} if isinstance(solver, LevenbergMarquardt) else {"derivative": StopGradient()}
    return jax.jit(
        lambda start: least_squares(lambda value, _: rows(value), start, solver=solver, throw=False, **last)
    )


def _name(result) -> str:
    names = ("successful", "max_steps", "stalled", "dependent", "nonfinite")
    return next(name for name in names if result == getattr(RESULTS, name))


def count_digits(problem: Regression, value: np.ndarray) -> float:
    """Correct digits of the worst unknown, or of the sum of squares where only that is known.

    **Arguments:**

    - `problem`: the problem.
    - `value`: what was found, `(unknown,)`.

    **Returns:** between 0 and `MOST`.
    """
    if problem.certified is not None and np.all(problem.certified != 0):
        error = np.max(np.abs(value - problem.certified) / np.abs(problem.certified))
    else:
        objective = 0.5 * float(np.sum(np.asarray(problem.rows(jnp.asarray(value))) ** 2))
        error = objective if problem.objective == 0 else abs(objective / problem.objective - 1)
    if not np.isfinite(error):
        return 0.0
    return float(np.clip(-np.log10(max(error, 10.0**-MOST)), 0.0, MOST))
