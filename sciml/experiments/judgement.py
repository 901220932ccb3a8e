"""Judging a step model on trajectories it has not seen."""

import time
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import data as stored
from .. import training
from ..pdes import evaluate_rate
from ..training import metrics
from .problem import Problem


@eqx.filter_jit
def one_step_error(
    model: Callable, values: Float[Array, "trajectory time channel *space"]
) -> Float[Array, ""]:
    """The nRMSE of single steps, averaged over trajectories.

    **Arguments:**

    - `model`: the step, `(channel, *space) -> (channel, *space)`.
    - `values`: trajectories `(trajectory, time, channel, *space)`.

    **Returns:** a scalar `()`, without unit.
    """

    def one(trajectory):
        return metrics.nrmse(jax.vmap(model)(trajectory[:-1]), trajectory[1:])

    # One trajectory at a time: a validation set in one piece would hold every activation of the network.
    return jnp.mean(jax.lax.map(one, values))


@eqx.filter_jit
def roll_out(
    model: Callable, starts: Float[Array, "trajectory channel *space"], steps: int
) -> Float[Array, "trajectory time channel *space"]:
    """Feed a model its own predictions.

    **Arguments:**

    - `model`: the step, `(channel, *space) -> (channel, *space)`.
    - `starts`: initial conditions `(trajectory, channel, *space)`.
    - `steps`: how many steps.

    **Returns:** the start and the predictions after it, `(trajectory, time=steps + 1, channel, *space)`.
    """

    def one(start):
        return jnp.concatenate([start[None], training.rollout(model, start, steps)])

    return jax.lax.map(one, starts)


class Judgement(NamedTuple):
    """What `judge` found: numbers by name, the rollout error `(time,)`, and the predictions.

    `prediction` is `(trajectory, time, channel, *space)`.
    """

    numbers: dict[str, float]
    rollout: np.ndarray
    prediction: np.ndarray


def judge(model: Callable, truth: stored.Trajectories, problem: Problem) -> Judgement:
    """Measure a step model on trajectories it has not seen.

    **Arguments:**

    - `model`: the step, `(channel, *space) -> (channel, *space)`.
    - `truth`: the test set, values `(trajectory, time, channel, *space)`.
    - `problem`: the law they solve.

    **Returns:** a `Judgement`.
    """
    values = jnp.asarray(truth.values)
    times = jnp.asarray(truth.times, values.dtype)
    steps = values.shape[1] - 1
    prediction = roll_out(model, values[:, 0], steps)
    began = time.perf_counter()
    jax.block_until_ready(roll_out(model, values[:, 0], steps))
    seconds = time.perf_counter() - began
    rollout = jax.vmap(metrics.rollout_error)(prediction, values)
    kept = jax.vmap(lambda p, v: metrics.correlation_time(p, v, times))(prediction, values)
    middle = steps // 2
    bands = jnp.mean(jax.vmap(metrics.spectral_error)(prediction[:, middle], values[:, middle]), axis=0)
    numbers = {
        "one_step_nrmse": one_step_error(model, values),
        "rollout_nrmse": jnp.mean(rollout[:, 1:]),
        "final_nrmse": jnp.mean(rollout[:, -1]),
        "correlation_time": jnp.mean(jnp.minimum(kept, times[-1])),
        "spectral_error_low": bands[0],
        "spectral_error_middle": bands[1],
        "spectral_error_high": bands[2],
        "residual": _residual(prediction, problem),
        "residual_of_truth": _residual(values, problem),
        "prediction_seconds": seconds / len(values),
    }
    return Judgement(
        {name: float(value) for name, value in numbers.items()},
        np.asarray(jnp.mean(rollout, axis=0)),
        np.asarray(prediction),
    )


@eqx.filter_jit
def _residual(values: Array, problem: Problem) -> Array:
    """The trapezoidal rule's residual over a frame, relative to the rate of change of the field itself.

    The truth has one too, as frames are far apart; it is what the prediction's is to be compared with.
    """
    law, calculus, _, times = problem
    spacing = jnp.diff(jnp.asarray(times, values.dtype)).reshape((-1,) + (1,) * (values.ndim - 2))

    def one(trajectory):
        rates = jax.vmap(lambda u, t: evaluate_rate(law, calculus, u, t))(trajectory, jnp.asarray(times))
        mean_rates = 0.5 * (rates[1:] + rates[:-1])

        def residual(u):
            return (jnp.diff(u, axis=0) / spacing - mean_rates) / jnp.sqrt(jnp.mean(mean_rates**2))

        return metrics.residual_error(residual, trajectory)

    return jnp.mean(jax.lax.map(one, values))
