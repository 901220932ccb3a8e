"""Training and judging a network that steps a PDE's solution from one frame to the next."""

import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from .. import data as stored
from .. import nn, training
from ..pdes import AbstractCalculus, AbstractInitialCondition, AbstractPDE, Grid, describe, evaluate_rate
from ..training import metrics
from .settings import Optimization, Split


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


class Surrogate(eqx.Module):
    """One step of a solution: `u + change * network(u / size)`.

    The network sees fields of size about one and predicts a change of size about one.

    **Arguments:**

    - `network`: `(channel, *space) -> (channel, *space)`.
    - `size`: the root mean square of each training channel, `(channel,)`; not trained.
    - `change`: that of its change over one frame, `(channel,)`; not trained.
    """

    network: eqx.Module
    size: Float[Array, " channel"]
    change: Float[Array, " channel"]

    def __call__(self, u: Float[Array, "channel *space"]) -> Float[Array, "channel *space"]:
        """Step by one frame.

        **Arguments:**

        - `u`: the field `(channel, *space)`.

        **Returns:** the field one frame later, `(channel, *space)`.
        """
        column = (-1,) + (1,) * (u.ndim - 1)
        size, change = (jax.lax.stop_gradient(x).reshape(column) for x in (self.size, self.change))
        return u + (change * self.network(u / size)).astype(u.dtype)


def simulate_parts(problem: Problem, split: Split, *, progress: bool) -> dict[str, stored.Trajectories]:
    """Simulate training, validation and test sets.

    **Arguments:**

    - `problem`: what to simulate.
    - `split`: how many of each, and their seeds.
    - `progress`: show a bar.

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


def make_surrogate(
    network: eqx.Module, values: Float[np.ndarray, "trajectory time channel *space"]
) -> Surrogate:
    """Wrap a network with the scales of its training data.

    **Arguments:**

    - `network`: `(channel, *space) -> (channel, *space)`.
    - `values`: the training set, `(trajectory, time, channel, *space)`.

    **Returns:** the step model.
    """
    axes = tuple(axis for axis in range(values.ndim) if axis != 2)

    def scale(array):
        return jnp.asarray(np.sqrt(np.mean(np.asarray(array, np.float64) ** 2, axis=axes)), jnp.float32)

    return Surrogate(network, scale(values), scale(np.diff(values, axis=1)))


def train_surrogate(
    model: Surrogate,
    parts: dict[str, stored.Trajectories],
    optimization: Optimization,
    *,
    seed: int,
    folder: pathlib.Path,
    resume: bool,
    configuration: dict,
    progress: bool,
) -> training.FitResult:
    """Fit a step model to trajectories, keeping the model of the best one-step validation error.

    **Arguments:**

    - `model`: the step.
    - `parts`: training and validation sets, values `(trajectory, time, channel, *space)`.
    - `optimization`: how.
    - `seed`: of the order of the batches.
    - `folder`, `resume`, `configuration`, `progress`: as for `sciml.training.fit`.

    **Returns:** what `fit` returns.
    """
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, optimization.learning_rate, max(1, optimization.steps // 20), optimization.steps
    )
    validation = jnp.asarray(parts["validation"].values)
    loss = training.one_step_loss
    if optimization.unroll > 1:
        loss = training.UnrolledLoss(optimization.unroll, pushforward=optimization.pushforward)
    return training.fit(
        model,
        loss,
        training.Windows(
            jnp.asarray(parts["train"].values), optimization.unroll + 1, optimization.batch_size, seed=seed
        ),
        optimizer=optax.adam(schedule),
        steps=optimization.steps,
        key=jax.random.key(seed),
        validate=lambda candidate: one_step_error(candidate, validation),
        clip=optimization.clip,
        folder=folder,
        resume=resume,
        configuration=configuration,
        progress=progress,
    )


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


def make_network(
    method: str,
    grid: Grid,
    channels: int,
    *,
    width: int,
    modes: int,
    depth: int,
    seed: int,
) -> eqx.Module:
    """A Fourier neural operator, or a convolutional network with as many parameters.

    **Arguments:**

    - `method`: `fno`, `unet` or `cnn`.
    - `grid`: the grid of the fields.
    - `channels`: how many channels they have.
    - `width`, `modes`, `depth`: of the Fourier neural operator; the others take the width that gives them as many
        parameters.
    - `seed`: of the initial weights.

    **Returns:** `(channel, *space) -> (channel, *space)`.
    """
    key = jax.random.key(seed)
    dimensions, periodic = grid.dimensions, grid.box.periodic

    def operator(width: int):
        return nn.FNO(
            dimensions,
            channels,
            channels,
            width=width,
            modes=modes,
            depth=depth,
            periodic=periodic,
            residual=True,  # as the networks it is compared with
            unroll=depth,
            key=key,
        )

    if method == "fno":
        return operator(width)
    padding = tuple(nn.Padding.PERIODIC if wraps else nn.Padding.REFLECT for wraps in periodic)
    builders = {
        "unet": lambda width: nn.UNet(dimensions, channels, channels, width=width, padding=padding, key=key),
        "cnn": lambda width: nn.ConvNet(
            dimensions, channels, channels, width=width, padding=padding, key=key
        ),
    }
    build = builders[method]
    target = nn.count_parameters(eqx.filter_eval_shape(operator, width))
    return build(nn.match_width(build, target))
