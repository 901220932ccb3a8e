"""Judging a method on moving or fixed nodes: single steps and rollouts, beside what its nodes could show at best."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .moving_steps import LOST, Rollout

BETWEEN_STEPS, BETWEEN_ROLLOUTS = 5, 10  # frames between the starts of what is judged


def judge_steps(
    truths: list, steps: int, roll: Callable[[Any], Rollout], label: str
) -> tuple[dict[str, float], tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]]:
    """Roll a method out from frames of the truth.

    **Arguments:**

    - `truths`: trajectories, each a pytree of arrays `(time, ...)`.
    - `steps`: of a rollout.
    - `roll`: steps from the first of some frames to the last, beside the others.
    - `label`: names the method, for what is said of rollouts that blow up.

    **Returns:** numbers by name, `blown_up_at` the first step at which a rollout did or 0; and the mean errors and
    floors of rollouts, each `(time,)`.

    **Raises:** `ValueError` for rollouts that do not fit in the trajectories.
    """
    count = len(jax.tree.leaves(truths[0])[0])
    check_rollout(steps, count)

    def gather(length: int, every: int) -> Rollout:
        found = [
            jax.tree.map(np.asarray, roll(_cut(frames, start, start + length + 1)))
            for frames in truths
            for start in range(0, count - length, every)
        ]
        return jax.tree.map(lambda *x: np.stack(x), *found)

    single, rolls = gather(1, BETWEEN_STEPS), gather(steps, BETWEEN_ROLLOUTS)
    bad = np.logical_or.accumulate(~(rolls.errors <= LOST), axis=1)  # NaN, too, and all that follows
    lost = bad.any(axis=1)
    first = int(np.min(np.argmax(bad[lost], axis=1))) + 1 if lost.any() else 0
    if lost.any():
        print(
            f"{label}: {lost.sum()} of {len(lost)} rollouts blew up, the first at step {first}. Errors from there on "
            f"count as {LOST:.0f}. A network wants more training, more noise or a longer unroll; a classical step more "
            f"substeps or stages."
        )
    errors = np.where(bad, LOST, rolls.errors)
    numbers = {
        "one_step_error": float(np.mean(np.where(single.errors <= LOST, single.errors, LOST))),
        "one_step_floor": float(np.mean(single.floors)),
        "one_step_node_mse": float(np.mean(single.node_errors)),
        "rollout_error": float(np.mean(errors)),
        "last_error": float(np.mean(errors[:, -1])),
        "rollout_floor": float(np.mean(rolls.floors)),
        "rollout_node_mse": float(np.mean(np.nan_to_num(rolls.node_errors, nan=1e3))),
        "invalid_meshes": int(np.sum(~single.valid) + np.sum(~rolls.valid & ~bad)),
        "blown_up": int(lost.sum()),
        "blown_up_at": first,
    }
    return numbers, (np.mean(errors, axis=0), np.mean(rolls.floors, axis=0))


def check_rollout(steps: int, frames: int) -> None:
    """Refuse rollouts that do not fit in the trajectories.

    **Arguments:**

    - `steps`: of a rollout.
    - `frames`: of a trajectory.

    **Raises:** `ValueError` with both.
    """
    if not 1 <= steps < frames:
        raise ValueError(
            f"rollout={steps} steps do not fit in trajectories of {frames} frames; take 1 to {frames - 1}."
        )


def _cut(frames, start: int, stop: int):
    """A piece of a pytree of arrays `(time, ...)`."""
    return jax.tree.map(lambda x: jnp.asarray(x[start:stop]), frames)
