"""What a penalty adds to one training step at the same number of solver steps; TayNODE and RNODE measured beside it."""

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._timing import compare, measure
from sciml.experiments.base import find_experiment
from sciml.experiments.digits import DigitsODE
from sciml.experiments.regularization import Regularization
from sciml.training import load_model

GLOBAL = ("er", "er2", "sr")
LOCAL = ("local-uniform", "local-steps", "local-hairer")
PEERS = ("taynode", "rnode")


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: the size smoke, few rounds.
    """
    experiment = find_experiment("digits-node").sized("smoke" if quick else "laptop")
    model = _train(experiment)
    # Without a regularizer, `solve` is diffrax itself.
    plain = build_step(experiment, model, None)
    starts = {"diffrax": measure(plain, repeats=1)}
    steps = int(starts["diffrax"].output[-1])
    rows, ratios = [], {}
    for method in ("vanilla", *GLOBAL, *LOCAL, *PEERS):
        regularizer = Regularization(method).build(stochastic=False)
        step = build_step(experiment, model, regularizer)
        starts[method] = measure(step, repeats=1)
        made = int(starts[method].output[-1])
        if made != steps:
            raise RuntimeError(f"{method} made {made} solver steps, and plain diffrax {steps}.")
        found = compare(step, plain, repeats=5 if quick else 400)
        ratios[method] = found.ratio
        extra = (found.ratio - 1) * steps
        print(f"{method}: {found.ratio:.3f} of diffrax alone, {extra:.2f} solver steps more", flush=True)
        for name, timing in (("diffrax", found.second), (method, found.first)):
            row = {"seed": experiment.seed, "dtype": "float32", "evaluations": 6 * steps + 1, "error": None}
            times = {"compile_seconds": starts[name].compile_seconds, "run_seconds": timing.run_seconds}
            rows.append({**row, **times, "round": method, "method": name, "solver_steps": steps})
    write_results("regularization-overhead", rows)
    names = {"vanilla": "counting", "taynode": "taynode", "rnode": "rnode"}
    for method, name in names.items():
        record_claim(
            claim=f"regularization/overhead-of-{name}",
            value=ratios[method],
            target="report",
            seeds=(experiment.seed,),
        )
    record_claim(
        claim="regularization/overhead-of-global",
        value=max(ratios[method] for method in GLOBAL),
        target="<= 1.10",
        seeds=(experiment.seed,),
    )
    record_claim(
        claim="regularization/overhead-of-local-in-solver-steps",
        value=max((ratios[method] - 1) * steps for method in LOCAL),
        target="<= 2",
        seeds=(experiment.seed,),
    )


def build_step(experiment: DigitsODE, model: eqx.Module, regularizer: Any) -> Callable[[], Any]:
    """One step of training, compiled at its first call: loss, gradient, update.

    **Arguments:**

    - `experiment`: whose loss and optimizer.
    - `model`: at which weights.
    - `regularizer`: as for `solve`.

    **Returns:** a function without arguments; what it returns ends with the number of the solver's steps.
    """
    data = experiment.make_data()["train"]
    batch = jax.tree.map(jnp.asarray, experiment.make_batches(data)(0))
    weights, rest = eqx.partition(model, eqx.is_inexact_array)
    optimizer = experiment.training.build()
    held = optimizer.init(weights)

    def loss(weights, batch, key):
        outcome = experiment.apply(
            eqx.combine(weights, rest), batch, regularizer=regularizer, steer=None, key=key
        )
        penalty = 0 if regularizer is None else sum(outcome.solution.penalty, jnp.zeros(()))
        return outcome.loss + 0.1 * penalty, outcome.solution.stats["num_steps"]

    @jax.jit
    def step(weights, held, batch, key):
        (value, steps), slope = jax.value_and_grad(loss, has_aux=True)(weights, batch, key)
        updates, held = optimizer.update(slope, held, weights)
        return eqx.apply_updates(weights, updates), held, value, steps

    key = jax.random.key(0)
    return lambda: step(weights, held, batch, key)


def _train(experiment: DigitsODE) -> eqx.Module:
    """The model as vanilla training leaves it, which takes the solver more steps than one with initial weights."""
    vanilla = dataclasses.replace(experiment, regularization=Regularization())
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "run"
        folder.mkdir()
        vanilla.train(folder, progress=False)
        return load_model(folder / "last.eqx", experiment.build(experiment.make_data()["train"]))
