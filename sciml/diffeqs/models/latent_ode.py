"""Latent differential equations for series that were observed irregularly.

A network reads the series backwards in time and says where the latent state started, as a normal distribution; the
latent state moves by a differential equation, and is read at any time. It is trained as a variational autoencoder.

Reference: Y. Rubanova, R. Chen, D. Duvenaud, "Latent ODEs for Irregularly-Sampled Time Series", 2019,
arXiv:1907.03907; sizes as in A. Pal, Y. Ma, V. Shah, C. Rackauckas, 2021, arXiv:2105.03918.
"""

import math
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..solve import solve
from ._checks import check_callable, check_sizes, check_solving, check_vector
from .fields import TanhStack


class BackwardEncoder(eqx.Module):
    """A gated recurrent unit with a mean and a deviation for its state, run over a masked series from its end.

    At each time `x = [values; mask; time to the next]`, with `h = [m; s]`:

        u = sigmoid(U [h; x]),   r = sigmoid(R [h; x]),   [m'; s'] = N [r m; r s; x]
        m <- (1 - u) m' + u m,   s <- |(1 - u) |s'| + u s|

    where `U`, `R`, `N` have one hidden layer each. At a time without any observation the state stays as it is. What is
    left at the beginning goes through one more hidden layer, to the mean and the deviation of the latent state.

    **Arguments:**

    - `channels`: of the series.
    - `latent`: the components of the latent state.
    - `state`: the size of `m` and of `s`.
    - `width`: of the hidden layers of the gates.
    - `key`: a random key.

    **Raises:** `ValueError` for a size that is not a positive integer.

    Reference: Y. Rubanova, R. Chen, D. Duvenaud, 2019, arXiv:1907.03907.
    """

    update: eqx.nn.MLP
    reset: eqx.nn.MLP
    new: eqx.nn.MLP
    posterior: eqx.nn.MLP

    def __init__(
        self, channels: int, latent: int = 20, *, state: int = 50, width: int = 40, key: PRNGKeyArray
    ):
        check_sizes("BackwardEncoder", channels=channels, latent=latent, state=state, width=width)
        update, reset, new, posterior = jax.random.split(key, 4)
        given = 2 * state + 2 * channels + 1
        self.update = eqx.nn.MLP(given, state, width, 1, jnp.tanh, key=update)
        self.reset = eqx.nn.MLP(given, state, width, 1, jnp.tanh, key=reset)
        self.new = eqx.nn.MLP(given, 2 * state, width, 1, jnp.tanh, key=new)
        self.posterior = eqx.nn.MLP(2 * state, 2 * latent, 50, 1, jnp.tanh, key=posterior)

    def __call__(
        self,
        values: Float[Array, "time channel"],
        mask: Bool[Array, "time channel"],
        times: Float[Array, " time"],
    ) -> tuple[Float[Array, " latent"], Float[Array, " latent"]]:
        """Read a series.

        **Arguments:**

        - `values`: `(time, channel)`; what was not observed does not matter.
        - `mask`: whether it was observed `(time, channel)`.
        - `times`: increasing `(time,)`.

        **Returns:** the mean and the standard deviation of the latent state at the first time, `(latent,)` each.
        """
        # Data in single precision may meet weights in double.
        dtype = jnp.result_type(values, self.update.layers[0].weight)
        gaps = jnp.append(jnp.diff(times), 0).astype(dtype)
        seen = mask.astype(dtype)
        inputs = jnp.concatenate([jnp.where(mask, values, 0).astype(dtype), seen, gaps[:, None]], axis=1)

        def step(h, given):
            x, observed = given
            moved = jnp.where(observed, self._move(*h, x), jnp.stack(h))
            return (moved[0], moved[1]), None

        start = jnp.zeros(self.update.out_size, dtype)
        (m, s), _ = jax.lax.scan(step, (start, start), (inputs, jnp.any(mask, axis=1)), reverse=True)
        mean, raw = jnp.split(self.posterior(jnp.concatenate([m, s])), 2)
        # The deviation must be positive; its absolute value, as published, has no derivative at 0.
        return mean, jax.nn.softplus(raw) + 1e-6

    def _move(self, m: Array, s: Array, x: Array) -> Float[Array, "2 state"]:
        """The new mean and deviation of the recurrent state, `(2, state)`."""
        everything = jnp.concatenate([m, s, x])
        u, r = jax.nn.sigmoid(self.update(everything)), jax.nn.sigmoid(self.reset(everything))
        new_m, new_s = jnp.split(self.new(jnp.concatenate([r * m, r * s, x])), 2)
        return jnp.stack([(1 - u) * new_m + u * m, jnp.abs((1 - u) * jnp.abs(new_s) + u * s)])


class LatentODE(eqx.Module):
    """A latent differential equation, an encoder that finds where it starts, and a decoder that reads it.

        q(z0) = encoder(series),    dz/dt = dynamics(t, z),    prediction(t) = decoder(z(t))

    `build_latent_ode(37, key=key)` has the sizes of the PhysioNet experiment of 2021.

    **Arguments:**

    - `encoder`: `encoder(values, mask, times)` gives a mean and a deviation, such as `BackwardEncoder`.
    - `dynamics`: `dynamics(t, z, args)`, a module, such as `TanhStack`.
    - `decoder`: a module or function of one latent state.
    - `noise`: the standard deviation of an observation, a number, in the data's unit.
    - `dt0`: the first step, a number; `None` leaves it to diffrax.
    - `solver`, `controller`, `adjoint`, `max_steps`: how the equation is solved and differentiated, as for
        `diffrax.diffeqsolve`. The tolerance of 1.4e-8 is that of the published experiments.
    - `throw`: whether to stop when `max_steps` is reached; if not, `solution.result` says so.

    **Raises:** `ValueError` for a noise that is not positive and finite, or for what is not a solver, a controller, an
    adjoint.

    Reference: Y. Rubanova, R. Chen, D. Duvenaud, 2019, arXiv:1907.03907.
    """

    encoder: Callable[..., Any]
    dynamics: Callable[..., Any]
    decoder: Callable[..., Any]
    noise: float = eqx.field(default=0.01, static=True)
    dt0: float | None = eqx.field(default=None, static=True)
    solver: diffrax.AbstractSolver = diffrax.Tsit5()
    controller: diffrax.AbstractStepSizeController = diffrax.PIDController(rtol=1.4e-8, atol=1.4e-8)
    adjoint: diffrax.AbstractAdjoint = diffrax.RecursiveCheckpointAdjoint()
    max_steps: int | None = eqx.field(default=4096, static=True)
    throw: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        check_callable("LatentODE", encoder=self.encoder, dynamics=self.dynamics, decoder=self.decoder)
        check_solving("LatentODE", self.solver, self.controller, self.adjoint, self.max_steps)
        if not (math.isfinite(self.noise) and self.noise > 0):
            raise ValueError(
                f"LatentODE got noise={self.noise!r}; expected a finite number > 0, in the unit of the data."
            )

    def __call__(
        self,
        values: Float[Array, "time channel"],
        mask: Bool[Array, "time channel"],
        times: Float[Array, " time"],
        *,
        output_times: Float[Array, " output"] | None = None,
        regularizer: Any = None,
        key: PRNGKeyArray | None = None,
    ) -> "Reconstruction":
        """Encode a series, and predict it.

        **Arguments:**

        - `values`: one series, without a batch axis `(time, channel)`; what was not observed does not matter.
        - `mask`: whether it was observed `(time, channel)`.
        - `times`: increasing `(time,)`. The published experiments scale them to the interval from 0 to 1.
        - `output_times`: when predictions are wanted, not before the first time `(output,)`; `times` if not given.
            (STEER jitters them.)
        - `regularizer`: as for `solve`.
        - `key`: the random key of the latent state, and of regularizers that need one. Without a key the latent state
            starts at its mean, as it should when a model is evaluated.

        **Returns:** the prediction `(output, channel)`, the distribution of the latent state at the first time, and
        what `solve` returned.

        **Raises:** `ValueError` for shapes that do not belong together; as `solve`.
        """
        _check_series(values, mask, times)
        output_times = times if output_times is None else output_times
        mean, deviation = self.encoder(values, mask, times)
        z0 = mean
        if key is not None:
            draw, key = jax.random.split(key)
            z0 = mean + deviation * jax.random.normal(draw, mean.shape, mean.dtype)
        solution = solve(
            diffrax.ODETerm(self.dynamics),
            self.solver,
            times[0],
            jnp.maximum(times[-1], output_times[-1]),
            self.dt0,
            z0,
            regularizer=regularizer,
            key=key,
            saveat=diffrax.SaveAt(ts=output_times),
            stepsize_controller=self.controller,
            adjoint=self.adjoint,
            max_steps=self.max_steps,
            throw=self.throw,
        )
        return Reconstruction(eqx.filter_vmap(self.decoder)(solution.ys), mean, deviation, solution)

    def loss(
        self,
        reconstruction: "Reconstruction",
        values: Float[Array, "time channel"],
        mask: Bool[Array, "time channel"],
        *,
        kl_weight: float | Float[Array, ""] = 1.0,
    ) -> Float[Array, ""]:
        """The negative evidence lower bound of a series, in the published scaling.

            mean over observed of [(x - prediction)^2 / (2 noise^2) + log(noise sqrt(2 pi))]
                + kl_weight * mean over components of KL(N(m, s^2) || N(0, 1))

        The bound itself has sums for both means: its weight is `latent / observed` in these units.

        **Arguments:**

        - `reconstruction`: what the model returned.
        - `values`: the series `(time, channel)`.
        - `mask`: what was observed of it `(time, channel)`.
        - `kl_weight`: the weight of the divergence, a scalar; `anneal_kl` gives the published one.

        **Returns:** a scalar. `reconstruction.solution.penalty` is not in it.
        """
        m, s = reconstruction.mean, reconstruction.deviation
        divergence = jnp.mean((m**2 + s**2 - 1) / 2 - jnp.log(s))
        # Masked before it is squared: a value that was not observed may be NaN, and 0 * NaN would reach the gradient.
        error = masked_mean(jnp.where(mask, values - reconstruction.prediction, 0) ** 2, mask)
        constant = math.log(self.noise * math.sqrt(2 * math.pi))
        return error / (2 * self.noise**2) + constant + kl_weight * divergence


class Reconstruction(eqx.Module):
    """What a latent ODE makes of a series.

    **Arguments:**

    - `prediction`: at the output times `(output, channel)`.
    - `mean`, `deviation`: of the latent state at the first time `(latent,)`.
    - `solution`: what `solve` returned, with its `penalty`.
    """

    prediction: Float[Array, "output channel"]
    mean: Float[Array, " latent"]
    deviation: Float[Array, " latent"]
    solution: Any


def build_latent_ode(
    channels: int,
    latent: int = 20,
    *,
    key: PRNGKeyArray,
) -> LatentODE:
    """Build the latent ODE of the PhysioNet experiment of 2021; `eqx.tree_at` or `dataclasses.replace` changes a part.

    **Arguments:**

    - `channels`: of the series, 37 for PhysioNet.
    - `latent`: the components of the latent state.
    - `key`: a random key.

    **Returns:** the model.

    **Raises:** `ValueError` for a size that is not a positive integer.
    """
    encoder, dynamics, decoder = jax.random.split(key, 3)
    return LatentODE(
        BackwardEncoder(channels, latent, key=encoder),
        TanhStack(latent, key=dynamics),
        eqx.nn.Linear(latent, channels, key=decoder),
    )


def masked_mean(x: Float[Array, "*shape"], mask: Bool[Array, "*shape"]) -> Float[Array, ""]:
    """The mean of what was observed; 0 if nothing was.

    **Arguments:**

    - `x`: numbers of any shape `(*shape)`.
    - `mask`: which of them to take `(*shape)`.

    **Returns:** a scalar.
    """
    return jnp.sum(jnp.where(mask, x, 0)) / jnp.maximum(jnp.sum(mask), 1)


def anneal_kl(step: int | Float[Array, ""], *, wait: int = 10, ratio: float = 0.99) -> Float[Array, ""]:
    """The weight of the divergence, which grows from 0: `max(0, 1 - ratio^(step - wait))`.

    **Arguments:**

    - `step`: the epoch, a scalar, as published in 2021; in 2023 it is the step, with `wait=100`.
    - `wait`: how long the weight stays 0.
    - `ratio`: how slowly it grows.

    **Returns:** a scalar between 0 and 1.
    """
    return jnp.maximum(0.0, 1.0 - ratio ** (jnp.asarray(step, float) - wait))


def _check_series(values, mask, times) -> None:
    if values.ndim == 3:
        raise ValueError(
            f"LatentODE got values of shape {values.shape}; expected (time, channel). If the first axis is a batch, "
            "write jax.vmap(model, in_axes=(0, 0, None))(values, mask, times)."
        )
    if values.ndim != 2 or mask.shape != values.shape:
        raise ValueError(
            f"LatentODE got values of shape {values.shape} and a mask of shape {mask.shape}; expected (time, channel) "
            "twice."
        )
    check_vector("LatentODE", "times", times, values.shape[0])
