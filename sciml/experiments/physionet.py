"""Irregular, masked series of the shape of PhysioNet 2012, by a latent ODE; simulated, or read from a folder."""

import dataclasses
import pathlib
from typing import ClassVar

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from ..data import MaskedSeries, Scale, draw_oscillators, read_physionet, simulate_irregular
from ..diffeqs import solve
from ..diffeqs.models import BatchField, LatentODE, anneal_kl, build_latent_ode, masked_mean
from .dynamics import AbstractDynamicsExperiment, Outcome, Training
from .regularization import Regularization
from .settings import Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhysioNet(AbstractDynamicsExperiment):
    """Reconstruct series of 37 channels at 49 hours, of which few are observed, from a latent state."""

    name: ClassVar[str] = "physionet-latent-ode"
    summary: ClassVar[str] = (
        "masked series by a latent ODE: vanilla, STEER, TayNODE, RNODE, ERNODE, SRNODE, LRNDE"
    )
    budget: ClassVar[float] = 70.0
    growth: ClassVar[float] = 1e4  # penalized from the start, it does not learn to oscillate
    coefficients: ClassVar[dict[str, float]] = {
        "taynode": 1e-3,
        "rnode": 1e-2,
        "er": 0.1,
        "er2": 0.1,
        "sr": 0.01,
        "er-sr": 0.1,
        "local-uniform": 0.1,
        "local-steps": 0.1,
        "local-hairer": 100.0,
        "budget": 1e-5,
    }

    seed: int = 0
    """Of the initial weights, the order of the batches, and all that is drawn."""
    noise: float = 0.05
    """The standard deviation of an observation in the likelihood, in units of a channel's range."""
    periods: tuple[float, ...] = (96.0,)
    """In hours, of the oscillators behind the simulated series. Short ones are hardly learned in minutes."""
    latent: int = 20
    """Components of the latent state."""
    horizon: float = 5.0
    """What the 48 hours are in the equation's time. Its rates are below 1, so this bounds how far the state moves."""
    tolerance: float = 1e-5
    """Relative and absolute, of Tsit5."""
    first_step: float = 1.0
    """What the solver tries first."""
    split: Split = Split(train=400, validation=100, test=100)
    """How many series for what."""
    regularization: Regularization = Regularization()
    """The method."""
    training: Training = Training(steps=1500, batch_size=50, learning_rate=3e-3)
    """How to train."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        if size == "smoke":
            tiny = Split(train=16, validation=4, test=4)
            return cls(latent=4, tolerance=1e-2, split=tiny, training=Training(steps=4, batch_size=8))
        if size == "paper":
            many = Split(train=6400, validation=800, test=800)
            # As in 2023. The tolerance needs JAX_ENABLE_X64=1.
            long = Training(steps=3000, batch_size=512, optimizer="adamax", learning_rate=1e-2)
            return cls(noise=0.01, horizon=1.0, tolerance=1.4e-8, split=many, training=long)
        return cls()

    @classmethod
    def data_fields(cls):
        """See `AbstractExperiment.data_fields`."""
        return ("periods", "split", "horizon")

    def make_data(self):
        """Simulated series; see `AbstractDynamicsExperiment.make_data`."""
        system = draw_oscillators(len(self.periods))
        system = dataclasses.replace(system, periods=np.array(self.periods))
        # One draw for each part: a series has no seed of its own.
        drawn = {
            name: simulate_irregular(len(seeds), seed=seeds.start, system=system).series
            for name, seeds in self.split.ranges().items()
        }
        return _scale(drawn, self.horizon)

    def read_folder(self, folder: pathlib.Path):
        """Read PhysioNet 2012's sets, such as `set-a`; see `AbstractDynamicsExperiment.read_folder`."""
        sets = sorted(path for path in folder.glob("set-*") if path.is_dir()) or [folder]
        seen, test = read_physionet(sets).split(0.2, seed=0)
        train, validation = seen.split(0.1, seed=1)
        return _scale({"train": train, "validation": validation, "test": test}, self.horizon)

    def build(self, train):
        """The model of 2021, at the experiment's tolerance."""
        model = build_latent_ode(train["values"].shape[2], self.latent, key=jax.random.key(self.seed))
        return dataclasses.replace(
            model,
            noise=self.noise,
            dt0=self.first_step,
            controller=diffrax.PIDController(rtol=self.tolerance, atol=self.tolerance),
            throw=False,
        )

    def apply(self, model, batch, *, regularizer, steer, key):
        """The negative evidence lower bound, its divergence annealed; see `AbstractDynamicsExperiment.apply`."""
        draw, jitter, key = jax.random.split(key, 3)
        times = batch["times"][0]
        when = times if steer is None else steer.jitter(times, key=jitter)
        mean, deviation = _encode(model, batch)
        start = mean + deviation * jax.random.normal(draw, mean.shape)
        prediction, solution = _decode(model, start, when, regularizer, key)
        error = _squared_error(prediction, batch)
        divergence = jnp.mean((mean**2 + deviation**2 - 1) / 2 - jnp.log(deviation))
        return Outcome(error / (2 * model.noise**2) + batch["kl_weight"][0] * divergence, solution)

    def make_batches(self, train):
        """Batches that know how much the divergence weighs; see `AbstractDynamicsExperiment.make_batches`."""
        batches = super().make_batches(train)
        epoch = max(1, len(train["values"]) // self.training.batch_size)

        def batch(step):
            weight = anneal_kl(step // epoch)
            return {**batches(step), "kl_weight": jnp.full(self.training.batch_size, weight, jnp.float32)}

        return batch

    def measure(self, model, part, *, key):
        """The error of what was observed, from the mean of the latent state; see `AbstractDynamicsExperiment`."""
        mean, _ = _encode(model, part)
        prediction, solution = _decode(model, mean, part["times"][0], (), None)
        return {"error": _squared_error(prediction, part)}, solution.stats


def _encode(model: LatentODE, batch):
    return jax.vmap(model.encoder)(batch["values"], batch["mask"], batch["times"])


def _decode(model: LatentODE, start, times, regularizer, key):
    """Predictions `(time, series, channel)`, all series as one equation."""
    solution = solve(
        diffrax.ODETerm(BatchField(model.dynamics)),
        model.solver,
        times[0],
        times[-1],
        model.dt0,
        start,
        regularizer=regularizer,
        key=key,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=model.controller,
        adjoint=model.adjoint,
        max_steps=model.max_steps,
        throw=model.throw,
    )
    # What was not reached is infinite, and would turn the gradient into NaN even where it is not used.
    states = jnp.where(jnp.isfinite(solution.ys), solution.ys, 0)
    return jax.vmap(jax.vmap(model.decoder))(states), solution


def _squared_error(prediction, batch):
    difference = jnp.swapaxes(prediction, 0, 1) - batch["values"]
    return jnp.mean(jax.vmap(masked_mean)(jnp.where(batch["mask"], difference, 0) ** 2, batch["mask"]))


def _scale(parts: dict[str, MaskedSeries], horizon: float):
    """Channels from 0 to 1 by the extremes of the part to train on; 48 hours as the interval from 0 to `horizon`."""
    scaled = {name: part.normalize(parts["train"], scale=Scale.RANGE) for name, part in parts.items()}
    return {
        name: {
            "values": part.values.astype(np.float32),
            "mask": part.mask,
            "times": np.tile((horizon * part.times / part.times[-1]).astype(np.float32), (len(part), 1)),
        }
        for name, part in scaled.items()
    }
