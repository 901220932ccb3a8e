"""What a run returns, and what it remembers on the way."""

import dataclasses
from typing import Any

from jaxtyping import PyTree


class NonFiniteError(FloatingPointError):
    """Training was stopped, as several steps in a row gave a loss, gradient or update that is not finite."""


@dataclasses.dataclass(frozen=True)
class FitStats:
    """How a run went.

    **Arguments:**

    - `steps`: the number of steps done, skipped ones counted.
    - `skipped`: how many were skipped because a number was not finite.
    - `best_step`: the step of the best validation; `None` without one that was finite.
    - `best_value`: what `validate` returned then.
    - `stopped_early`: whether `patience` ran out.
    - `resumed_from`: the step of the checkpoint this call went on from; `None` if it started the run.
    - `compile_seconds`: time of the first step of each call, which is its compilation.
    - `run_seconds`: time of everything else in the loop, over all calls, validation and checkpoints included.
    """

    steps: int
    skipped: int
    best_step: int | None
    best_value: float | None
    stopped_early: bool
    resumed_from: int | None
    compile_seconds: float
    run_seconds: float


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What `fit` returns.

    **Arguments:**

    - `last`: the model after the last step.
    - `best`: the model of the best validation; the same as `last` without validation or with
        `keep_best=False`.
    - `history`: the records of the log, each with `"step"`, `"loss"`, `"skipped"`, `"seconds"`, and, where
        there are any, the metrics of the loss, `"validation"` and its metrics. A number that is not finite
        is `None`.
    - `stats`: how the run went.
    - `loss_state`: what the loss carried after the last step; `None` where it carries nothing.
    """

    last: PyTree
    best: PyTree
    history: list[dict[str, Any]]
    stats: FitStats
    loss_state: PyTree = None


@dataclasses.dataclass
class Counters:
    """What the host has to remember besides the log; saved in every checkpoint.

    **Arguments:**

    - `step`, `skipped`: the number of steps done, and of those skipped.
    - `best_value`, `best_step`: the best validation, and its step.
    - `stale`: the number of validations since the best one.
    - `finished`, `stopped_early`: whether the run is over, and whether because of `patience`.
    - `compile_seconds`, `run_seconds`: as in `FitStats`.
    """

    step: int = 0
    best_value: float | None = None
    best_step: int | None = None
    stale: int = 0
    skipped: int = 0
    finished: bool = False
    stopped_early: bool = False
    compile_seconds: float = 0.0
    run_seconds: float = 0.0
