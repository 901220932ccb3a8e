"""Two half moons in the plane, as a density: a continuous normalizing flow, each sample with steps of its own."""

import dataclasses
from typing import ClassVar

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from ..diffeqs.models import FFJORD, ConcatSquash
from .dynamics import AbstractDynamicsExperiment, Outcome, Training
from .regularization import Regularization
from .settings import Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moons(AbstractDynamicsExperiment):
    """Fit the density of points near two half circles, with the exact trace."""

    name: ClassVar[str] = "moons-ffjord"
    summary: ClassVar[str] = "the density of two moons by FFJORD: vanilla, STEER, TayNODE, RNODE, ERNODE, ..."
    budget: ClassVar[float] = 20.0
    coefficients: ClassVar[dict[str, float]] = {
        "taynode": 1e-4,
        "rnode": 1e-2,
        "er": 1.0,
        "er2": 0.1,
        "sr": 1e-2,
        "er-sr": 1.0,
        "local-uniform": 1.0,
        "local-steps": 1.0,
        "local-hairer": 100.0,
        "budget": 1.0,
    }

    seed: int = 0
    """Of the initial weights, the order of the batches, and all that is drawn."""
    noise: float = 0.1
    """The standard deviation of the points around the half circles."""
    width: int = 32
    """Hidden units of the field, in two layers."""
    tolerance: float = 1e-4
    """Relative and absolute, of Tsit5."""
    first_step: float = 0.2
    """What the solver tries first."""
    split: Split = Split(train=4096, validation=512, test=512)
    """How many points for what."""
    regularization: Regularization = Regularization()
    """The method."""
    training: Training = Training(steps=800, batch_size=128, learning_rate=3e-3)
    """How to train."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        if size == "smoke":
            tiny = Split(train=64, validation=16, test=16)
            return cls(width=8, tolerance=1e-2, split=tiny, training=Training(steps=4, batch_size=16))
        if size == "paper":
            return cls(width=64, training=Training(steps=20_000, batch_size=512, learning_rate=1e-3))
        return cls()

    @classmethod
    def data_fields(cls):
        """See `AbstractExperiment.data_fields`."""
        return ("noise", "split")

    def make_data(self):
        """Points near two half circles; see `AbstractDynamicsExperiment.make_data`."""
        return {
            name: {"x": _draw_points(len(seeds), self.noise, seeds.start)}
            for name, seeds in self.split.ranges().items()
        }

    def select(self, state):
        """The point, without its density; see `AbstractDynamicsExperiment.select`."""
        return state[0]

    def build(self, train):
        """A flow with the network of FFJORD."""
        return FFJORD(
            ConcatSquash(2, width=self.width, depth=2, key=jax.random.key(self.seed)),
            dim=2,
            dt0=self.first_step,
            controller=diffrax.PIDController(rtol=self.tolerance, atol=self.tolerance),
            throw=False,
        )

    def apply(self, model, batch, *, regularizer, steer, key):
        """The negative logarithm of the density; see `AbstractDynamicsExperiment.apply`."""
        end, key = jax.random.split(key)
        t1 = None if steer is None else steer.draw_end(model.t0, model.t1, key=end)
        keys = jax.random.split(key, len(batch["x"]))
        density, solution = jax.vmap(
            lambda x, key: model.log_prob(x, t1=t1, regularizer=regularizer, key=key)
        )(batch["x"], keys)
        return Outcome(-jnp.mean(density), solution)

    def measure(self, model, part, *, key):
        """The negative logarithm of the density; see `AbstractDynamicsExperiment.measure`."""
        density, solution = jax.vmap(lambda x: model.log_prob(x, regularizer=()))(part["x"])
        return {"loss": -jnp.mean(density)}, solution.stats


def _draw_points(count: int, noise: float, seed: int) -> np.ndarray:
    """Points near two interleaved half circles `(point, 2)`."""
    rng = np.random.default_rng(seed)
    angle, lower = rng.uniform(0, np.pi, count), rng.random(count) < 0.5
    x = np.where(lower, 1 - np.cos(angle), np.cos(angle)) - 0.5
    y = np.where(lower, 0.5 - np.sin(angle), np.sin(angle)) - 0.25
    points = np.stack([x, y], axis=1) * 1.5 + noise * rng.normal(size=(count, 2))
    return points.astype(np.float32)
