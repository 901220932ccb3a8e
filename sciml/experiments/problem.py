"""What a surrogate learns to imitate, and its data: training, validation and test sets, simulated or read."""

import pathlib
from typing import NamedTuple

import diffrax
import numpy as np

from .. import data as stored
from ..pdes import AbstractCalculus, AbstractInitialCondition, AbstractPDE, describe
from .settings import Split


class Problem(NamedTuple):
    """What a surrogate learns to imitate: a law on a grid from a distribution of starts, at given times.

    **Arguments:**

    - `law`: the equation.
    - `calculus`: how to differentiate in space.
    - `initial`: the distribution of starts.
    - `times`: the frames of every trajectory, the first its start, `(time,)`.
    """

    law: AbstractPDE
    calculus: AbstractCalculus
    initial: AbstractInitialCondition
    times: np.ndarray


def simulate_parts(
    problem: Problem, split: Split, *, progress: bool, solver: diffrax.AbstractSolver | None = None
) -> dict[str, stored.Trajectories]:
    """Simulate training, validation and test sets.

    **Arguments:**

    - `problem`: what to simulate.
    - `split`: how many of each, and their seeds.
    - `progress`: show a bar.
    - `solver`: as for `sciml.data.simulate`.

    **Returns:** `{"train": ..., "validation": ..., "test": ...}`, values `(trajectory, time, channel, *space)`.
    """
    return {
        part: stored.simulate(
            problem.law,
            problem.calculus,
            problem.initial,
            problem.times,
            seeds=seeds,
            dtype=np.float32,
            solver=solver,
            progress=progress,
        )
        for part, seeds in split.ranges().items()
    }


def load_parts(file: pathlib.Path, problem: Problem, split: Split) -> dict[str, stored.Trajectories]:
    """Read the three sets from a file and check that they are this experiment's.

    **Arguments:**

    - `file`: what `sciml generate` wrote.
    - `problem`, `split`: what it must hold.

    **Returns:** as `simulate_parts`, values `(trajectory, time, channel, *space)`.

    **Raises:** `ValueError` that names the first difference.
    """
    whole = stored.load_trajectories(file)
    _check_data(file, whole, problem)
    parts = {}
    rows = {int(seed): row for row, seed in enumerate(whole.seeds)}
    for part, seeds in split.ranges().items():
        missing = [seed for seed in seeds if seed not in rows]
        if missing:
            raise ValueError(
                f"{file} lacks {len(missing)} of the {len(seeds)} {part} trajectories (first: seed {missing[0]}). "
                f"Generate it anew with these settings, or ask for fewer."
            )
        parts[part] = whole[[rows[seed] for seed in seeds]]
    return parts


def _check_data(file, whole, problem) -> None:
    expected = describe(problem.law)
    if _rounded(whole.law) != _rounded(expected):
        raise ValueError(
            f"{file} holds solutions of {whole.law}; the experiment is about {expected}. Generate it anew."
        )
    if whole.values.shape[3:] != problem.calculus.grid.shape:
        raise ValueError(
            f"{file} has a grid of {whole.values.shape[3:]} points; the experiment has {problem.calculus.grid.shape}. "
            f"Generate it anew, or set the experiment's points."
        )
    if whole.times.shape != np.shape(problem.times) or not np.allclose(whole.times, problem.times, rtol=1e-5):
        raise ValueError(
            f"{file} has {len(whole.times)} times from {whole.times[0]:g} to {whole.times[-1]:g}; the experiment has "
            f"{len(problem.times)} from {problem.times[0]:g} to {problem.times[-1]:g}. Generate it anew."
        )


def _rounded(law: dict) -> dict:
    """A law's description to float32 precision, as parameters pass through it when x64 is off."""

    def clean(value):
        if isinstance(value, float):
            return float(np.float32(value))
        if isinstance(value, (list, tuple, np.ndarray)):
            return [clean(x) for x in value]
        return value

    return {"name": law["name"], "parameters": {k: clean(v) for k, v in law["parameters"].items()}}
