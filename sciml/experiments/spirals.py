"""Two spirals: a cubic oscillator from many starts, and the same with noise, known by its mean and variance only."""

import dataclasses
from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..diffeqs import SOSRI
from ..diffeqs.models import BatchField, NeuralODE, NeuralSDE, Perceptron
from .dynamics import AbstractDynamicsExperiment, Outcome, Training
from .regularization import Regularization
from .settings import Split

DAMPING, SPEED = 0.1, 2.0


class CubedPerceptron(eqx.Module):
    """A perceptron of the cubes of the state: `f(t, y) = W_2 tanh(W_1 y^3 + b_1) + b_2`.

    **Arguments:**

    - `mlp`: the perceptron.
    """

    mlp: eqx.nn.MLP

    def __call__(self, t, y, args=None):
        """The rate of change.

        **Arguments:**

        - `t`: not used, a scalar.
        - `y`: the state `(dim,)`.
        - `args`: not used.

        **Returns:** the rate `(dim,)`.
        """
        return self.mlp(y**3)


def spiral(y: np.ndarray) -> np.ndarray:
    """The field, `x' = -a x^3 + b y^3, y' = -b x^3 - a y^3`, with `a = 0.1` and `b = 2`.

    **Arguments:**

    - `y`: states `(..., 2)`.

    **Returns:** rates `(..., 2)`.
    """
    cubes = y**3
    return -DAMPING * cubes + SPEED * cubes[..., ::-1] * np.array([1.0, -1.0])


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpiralODE(AbstractDynamicsExperiment):
    """Learn the field of a spiral from trajectories of many starts."""

    name: ClassVar[str] = "spiral-node"
    summary: ClassVar[str] = (
        "spirals from many starts by a neural ODE: vanilla, STEER, TayNODE, RNODE, ERNODE, ..."
    )
    budget: ClassVar[float] = 100.0
    coefficients: ClassVar[dict[str, float]] = {
        "taynode": 1e-6,
        "rnode": 1e-5,
        "er": 1e-3,
        "er2": 1e-3,
        "sr": 1e-4,
        "er-sr": 1e-3,
        "local-uniform": 0.001,
        "local-steps": 0.001,
        "local-hairer": 100.0,
        "budget": 0.001,
    }

    seed: int = 0
    """Of the initial weights, the order of the batches, and all that is drawn."""
    horizon: float = 1.5
    """The last time."""
    frames: int = 30
    """Times of a trajectory, the start counted."""
    width: int = 50
    """Hidden units of the field."""
    tolerance: float = 1e-5
    """Relative and absolute, of Tsit5."""
    first_step: float = 0.1
    """What the solver tries first."""
    split: Split = Split(train=256, validation=64, test=64)
    """How many trajectories for what."""
    regularization: Regularization = Regularization()
    """The method."""
    training: Training = Training(steps=1000, batch_size=32, learning_rate=1e-2)
    """How to train."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        if size == "smoke":
            tiny = Split(train=16, validation=4, test=4)
            return cls(width=8, frames=5, horizon=0.3, split=tiny, training=Training(steps=8, batch_size=8))
        if size == "paper":
            return cls(training=Training(steps=20_000, batch_size=32, learning_rate=1e-2))
        return cls()

    @classmethod
    def data_fields(cls):
        """See `AbstractExperiment.data_fields`."""
        return ("horizon", "frames", "split")

    def make_data(self):
        """Trajectories from a ring of starts; see `AbstractDynamicsExperiment.make_data`."""
        parts = {}
        for name, seeds in self.split.ranges().items():
            starts = np.stack([_draw_start(seed) for seed in seeds])
            times = np.linspace(0, self.horizon, self.frames)
            parts[name] = {"y": _integrate(starts, times).astype(np.float32)}
        return parts

    def build(self, train):
        """A perceptron of the cubes."""
        mlp = eqx.nn.MLP(2, 2, self.width, 1, jnp.tanh, key=jax.random.key(self.seed))
        return NeuralODE(
            BatchField(CubedPerceptron(mlp)),
            t1=self.horizon,
            dt0=self.first_step,
            controller=diffrax.PIDController(rtol=self.tolerance, atol=self.tolerance),
            throw=False,
        )

    def apply(self, model, batch, *, regularizer, steer, key):
        """The squared distance along the trajectory; see `AbstractDynamicsExperiment.apply`."""
        times = jnp.linspace(0, self.horizon, self.frames)
        when = times if steer is None else steer.jitter(times, key=key)
        y, solution = model(batch["y"][:, 0], times=when, regularizer=regularizer, key=key)
        return Outcome(_distance(y, batch["y"]), solution)

    def measure(self, model, part, *, key):
        """The squared distance; see `AbstractDynamicsExperiment.measure`."""
        outcome = self.apply(model, part, regularizer=(), steer=None, key=None)
        return {"loss": outcome.loss}, outcome.solution.stats


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpiralSDE(AbstractDynamicsExperiment):
    """Learn drift and diffusion of a spiral with noise from the mean and variance of many paths, as in 2021."""

    name: ClassVar[str] = "spiral-nsde"
    summary: ClassVar[str] = "mean and variance of a noisy spiral by a neural SDE: vanilla, ERNSDE, LRNDE"
    budget: ClassVar[float] = 150.0
    coefficients: ClassVar[dict[str, float]] = {
        "er": 0.2,
        "er2": 0.1,
        "local-uniform": 0.2,
        "local-steps": 0.2,
        "budget": 0.1,
    }

    seed: int = 0
    """Of the initial weights and the noise."""
    noise: float = 0.2
    """gamma, of the noise `gamma u dW`."""
    frames: int = 30
    """Times in [0, 1], the start counted."""
    paths: int = 10_000
    """Of the data."""
    width: int = 50
    """Hidden units of the drift."""
    tolerance: float = 0.3
    """Relative and absolute, of SOSRI."""
    delta: float = 1.0
    """The weight of the drift in SOSRI's estimate of the error."""
    first_step: float = 0.01
    """What the solver tries first."""
    regularization: Regularization = Regularization()
    """The method."""
    training: Training = Training(steps=250, batch_size=100, optimizer="adabelief", learning_rate=1e-2)
    """How to train; a batch is so many paths."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        if size == "smoke":
            return cls(width=8, frames=4, paths=64, tolerance=3.0, training=Training(steps=6, batch_size=8))
        return cls()

    @classmethod
    def data_fields(cls):
        """See `AbstractExperiment.data_fields`."""
        return ("noise", "frames", "paths")

    def is_stochastic(self):
        """It is."""
        return True

    def make_data(self):
        """Mean and variance of three independent sets of paths; see `AbstractDynamicsExperiment.make_data`."""
        parts = {}
        for seed, name in enumerate(("train", "validation", "test")):
            paths = _simulate_paths(self.paths, self.frames, self.noise, seed)
            parts[name] = {"mean": paths.mean(axis=0), "variance": paths.var(axis=0)}
        return {name: {k: v.astype(np.float32) for k, v in part.items()} for name, part in parts.items()}

    def make_batches(self, train):
        """The same targets in each step; see `AbstractDynamicsExperiment.make_batches`."""
        return lambda step: train

    def build(self, train):
        """A perceptron of the cubes for the drift, a linear diffusion."""
        drift, diffusion = jax.random.split(jax.random.key(self.seed))
        return NeuralSDE(
            BatchField(CubedPerceptron(eqx.nn.MLP(2, 2, self.width, 1, jnp.tanh, key=drift))),
            BatchField(Perceptron(2, depth=0, key=diffusion)),
            dt0=self.first_step,
            solver=SOSRI(delta=self.delta),
            controller=diffrax.PIDController(rtol=self.tolerance, atol=self.tolerance),
            throw=False,
        )

    def apply(self, model, batch, *, regularizer, steer, key):
        """Squared distances of mean and variance; see `AbstractDynamicsExperiment.apply`."""
        times = jnp.linspace(0, 1, self.frames)
        when = times if steer is None else steer.jitter(times, key=key)
        return self._solve(model, batch, self.training.batch_size, when, regularizer, key)

    def measure(self, model, part, *, key):
        """Squared distances of mean and variance of ten times as many paths; see `AbstractDynamicsExperiment`."""
        times = jnp.linspace(0, 1, self.frames)
        outcome = self._solve(model, part, 10 * self.training.batch_size, times, (), key)
        return {"loss": outcome.loss}, outcome.solution.stats

    def _solve(self, model, batch, paths, times, regularizer, key):
        starts = jnp.tile(jnp.asarray([2.0, 0.0]), (paths, 1))
        y, solution = model(starts, times=times, regularizer=regularizer, key=key)
        mean, variance = jnp.mean(y, axis=1), jnp.var(y, axis=1)
        loss = jnp.sum((mean - batch["mean"]) ** 2) + jnp.sum((variance - batch["variance"]) ** 2)
        return Outcome(loss, solution)


def _draw_start(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(1.0, 2.0)
    return radius * np.array([np.cos(angle), np.sin(angle)])


def _integrate(starts: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Classical Runge-Kutta in double precision, with steps so small that the error is far below any model's."""
    substeps = max(1, int(np.ceil((times[1] - times[0]) / 2e-3)))
    h, y, kept = (times[1] - times[0]) / substeps, starts, [starts]
    for _ in times[1:]:
        for _ in range(substeps):
            k1 = spiral(y)
            k2 = spiral(y + h / 2 * k1)
            k3 = spiral(y + h / 2 * k2)
            k4 = spiral(y + h * k3)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        kept.append(y)
    return np.stack(kept, axis=1)


def _simulate_paths(paths: int, frames: int, noise: float, seed: int) -> np.ndarray:
    """Euler-Maruyama with 40 steps between two times, paths `(path, time, 2)`."""
    substeps = 40
    h, rng = 1 / ((frames - 1) * substeps), np.random.default_rng(seed)
    y = np.tile([2.0, 0.0], (paths, 1))
    kept = [y]
    for _ in range(frames - 1):
        for _ in range(substeps):
            y = y + h * spiral(y) + noise * y * np.sqrt(h) * rng.normal(size=y.shape)
        kept.append(y)
    return np.stack(kept, axis=1)


def _distance(y, truth):
    """The mean squared distance of trajectories with the time first and with the sample first."""
    return jnp.mean(jnp.sum((y - jnp.swapaxes(truth, 0, 1)) ** 2, axis=-1))
