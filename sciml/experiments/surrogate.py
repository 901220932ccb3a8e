"""Training a network that steps a PDE's solution from one frame to the next."""

import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from .. import data as stored
from .. import training
from .judgement import one_step_error
from .settings import Optimization


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
