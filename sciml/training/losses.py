"""Losses for models that step a field in time, `u -> u_next`: over one step, or unrolled over several.

Batches are windows `(batch, time, channel, *space)`, as `sciml.training.Windows` cuts them; a model sees
single fields `(channel, *space)`. Each loss is called as `loss(model, batch, key)` and returns a scalar; the
key is not used.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Step = Callable[[Float[Array, "channel *space"]], Float[Array, "channel *space"]]


def mean_square_error(
    prediction: Float[Array, "channel *space"], truth: Float[Array, "channel *space"]
) -> Float[Array, ""]:
    """Return the mean of `|prediction - truth|^2` over all entries.

    **Arguments:**

    - `prediction`: any shape, such as `(channel, *space)`.
    - `truth`: the same shape and unit.

    **Returns:** a scalar `()`, in the unit of the field squared.
    """
    return jnp.mean(jnp.abs(prediction - truth) ** 2)


def rollout(
    model: Step, initial: Float[Array, "channel *space"], steps: int, *, checkpoint: bool = False
) -> Float[Array, "time channel *space"]:
    """Apply a model again and again, feeding it its own predictions: `u_{n+1} = model(u_n)`.

    **Arguments:**

    - `model`: the step, `(channel, *space) -> (channel, *space)`.
    - `initial`: the field to start from, `(channel, *space)`. It is not part of the result.
    - `steps`: how often to apply the model.
    - `checkpoint`: compute each step again in the backward pass in place of storing what happened inside it:
        memory for one step in place of `steps`, for about a third more time.

    **Returns:** the predictions `(time=steps, channel, *space)`, the first being `model(initial)`.

    **Raises:** `ValueError` if the model changes the shape or dtype of the field.
    """
    return _unroll(model, initial, steps, cut=False, checkpoint=checkpoint)


def one_step_loss(
    model: Step, batch: Float[Array, "batch time channel *space"], key: PRNGKeyArray | None = None
) -> Float[Array, ""]:
    """Return the mean square error of one step, averaged over all neighboring times of all windows.

    **Arguments:**

    - `model`: the step, `(channel, *space) -> (channel, *space)`.
    - `batch`: windows `(batch, time, channel, *space)` of at least two times.
    - `key`: not used.

    **Returns:** a scalar `()`, in the unit of the field squared.

    **Raises:** `ValueError` if a window has fewer than two times.
    """
    _check_windows(batch, 2, "one_step_loss")
    predictions = jax.vmap(jax.vmap(model))(batch[:, :-1])
    return mean_square_error(predictions, batch[:, 1:])


class UnrolledLoss(eqx.Module):
    r"""The error of a model that is fed its own predictions for several steps.

    `loss = sum_k w_k error(u_k, truth_k) / sum_k w_k`, `u_k = model(u_{k-1})`, `k = 1..steps`, averaged
    over the batch.

    With `pushforward` the gradient passes through the last model call of each term only,
    `u_k = model(stop(u_{k-1}))`, and by default only the last term counts: the model learns to correct its own
    errors, at the memory of one step.

    **Arguments:**

    - `steps`: the number of model steps; windows must have `steps + 1` times.
    - `pushforward`: whether to cut the gradient between the steps.
    - `weights`: one weight per step, not negative; `None` for equal ones, or the last one only with
        `pushforward`.
    - `error`: the error of one field, `(prediction, truth) -> scalar`, both `(channel, *space)`.
    - `checkpoint`: recompute each step in the backward pass in place of storing its inside.

    **Returns:** (of a call with `(model, batch, key)`) a scalar `()`.

    **Raises:** `ValueError` for bad weights, or windows of another length than `steps + 1`.

    Reference: Brandstetter, Worrall, Welling, Message Passing Neural PDE Solvers, 2022, arXiv:2202.03376.
    """

    steps: int = eqx.field(static=True)
    pushforward: bool = eqx.field(static=True)
    weights: tuple[float, ...] = eqx.field(static=True)
    error: Callable[[Array, Array], Array] = eqx.field(static=True)
    checkpoint: bool = eqx.field(static=True)

    def __init__(
        self,
        steps: int,
        *,
        pushforward: bool = False,
        weights: tuple[float, ...] | None = None,
        error: Callable[[Array, Array], Array] = mean_square_error,
        checkpoint: bool = False,
    ):
        _check_steps(steps)
        if weights is None:
            weights = (0.0,) * (steps - 1) + (1.0,) if pushforward else (1.0,) * steps
        weights = tuple(float(weight) for weight in weights)
        if len(weights) != steps or min(weights) < 0 or not 0 < sum(weights) < float("inf"):
            raise ValueError(
                f"weights={weights} do not suit steps={steps}. Give one finite weight per step, none "
                "negative and not all zero, or None."
            )
        self.steps = steps
        self.pushforward = pushforward
        self.weights = weights
        self.error = error
        self.checkpoint = checkpoint

    def __call__(
        self, model: Step, batch: Float[Array, "batch time channel *space"], key: PRNGKeyArray | None = None
    ) -> Float[Array, ""]:
        """Return the loss of a batch of windows.

        **Arguments:**

        - `model`: the step, `(channel, *space) -> (channel, *space)`.
        - `batch`: windows `(batch, time=steps + 1, channel, *space)`.
        - `key`: not used.

        **Returns:** a scalar `()`.
        """
        _check_windows(batch, self.steps + 1, f"UnrolledLoss(steps={self.steps})", exactly=True)
        return jnp.mean(jax.vmap(lambda window: self._score(model, window))(batch))

    def _score(self, model: Step, window: Float[Array, "time channel *space"]) -> Float[Array, ""]:
        start = window[0]
        # Terms without weight at the front need no gradient where it is cut anyway: they cost a forward pass
        # only.
        silent = next(i for i, weight in enumerate(self.weights) if weight > 0) if self.pushforward else 0
        if silent:
            frozen = _stop_gradient(model)
            start = _unroll(frozen, jax.lax.stop_gradient(start), silent, cut=False, checkpoint=False)[-1]
        states = _unroll(model, start, self.steps - silent, cut=self.pushforward, checkpoint=self.checkpoint)
        errors = jax.vmap(self.error)(states, window[1 + silent :])
        weights = jnp.asarray(self.weights[silent:], dtype=errors.dtype)
        return jnp.sum(weights * errors) / jnp.sum(weights)


def _unroll(model: Step, initial: Array, steps: int, *, cut: bool, checkpoint: bool) -> Array:
    _check_steps(steps)

    def advance(state: Array, _: None) -> tuple[Array, Array]:
        following = model(jax.lax.stop_gradient(state) if cut else state)
        if following.shape != state.shape or following.dtype != state.dtype:
            raise ValueError(
                f"The model turned a field of {state.dtype}{list(state.shape)} into one of "
                f"{following.dtype}{list(following.shape)}, so it cannot be fed its own prediction. A step "
                "model keeps shape and dtype; in a window the axes are (batch, time, channel, *space)."
            )
        return following, following

    return jax.lax.scan(jax.checkpoint(advance) if checkpoint else advance, initial, length=steps)[1]


def _stop_gradient(model: Any) -> Any:
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(arrays), rest)


def _check_steps(steps: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps={steps!r} must be an integer of at least 1.")


def _check_windows(batch: Array, times: int, name: str, *, exactly: bool = False) -> None:
    shape = getattr(batch, "shape", None)
    if shape is None or len(shape) < 3:
        raise ValueError(
            f"{name} needs windows with axes (batch, time, channel, *space); found "
            f"{type(batch).__name__ if shape is None else tuple(shape)}. Cut them with "
            "sciml.training.Windows(trajectories, length, batch_size, seed=...)."
        )
    if shape[1] < times or (exactly and shape[1] != times):
        raise ValueError(
            f"{name} needs windows of {'' if exactly else 'at least '}{times} times; found {shape[1]} in "
            f"shape {tuple(shape)}. Cut them with sciml.training.Windows(trajectories, length={times}, ...)."
        )
