"""Handwritten digits, classified by a neural ODE or SDE: the images of 2021, on a data set that is at hand."""

import dataclasses
import pathlib
from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ..data import load_digits, read_mnist
from ..data.digits import choose_within_classes
from ..diffeqs import SOSRI
from ..diffeqs.models import BatchField, Each, NeuralODE, NeuralSDE, Perceptron, TimeMLP
from .arrays import Parts
from .dynamics import AbstractDynamicsExperiment, Outcome, Training
from .regularization import Regularization


class _AbstractDigits(AbstractDynamicsExperiment):
    """Images to classify: scikit-learn's digits, or MNIST from a folder."""

    def make_data(self) -> Parts:
        """Scikit-learn's digits; see `AbstractDynamicsExperiment.make_data`."""
        if self.images == "mnist":
            raise ValueError(
                f"{self.name} with images=mnist reads MNIST's four files, which are not downloaded. Pass --data FOLDER."
            )
        return self._split(*load_digits(seed=self.split_seed))

    def read_folder(self, folder: pathlib.Path) -> Parts:
        """Read MNIST; see `AbstractDynamicsExperiment.read_folder`."""
        return self._split(*read_mnist(folder))

    def _split(self, seen, test) -> Parts:
        held_out = choose_within_classes(seen.labels, 0.15, self.split_seed)
        parts = {"train": seen[~held_out], "validation": seen[held_out], "test": test}
        return {
            name: {"x": part.images.reshape(len(part), -1), "label": part.labels}
            for name, part in parts.items()
        }

    @classmethod
    def data_fields(cls):
        """See `AbstractExperiment.data_fields`."""
        return ("images", "split_seed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DigitsODE(_AbstractDigits):
    """Classify images by `y(0) = image, dy/dt = f(t, y), label = readout(y(1))`."""

    name: ClassVar[str] = "digits-node"
    summary: ClassVar[str] = "digits by a neural ODE: vanilla, STEER, TayNODE, RNODE, ERNODE, SRNODE, LRNDE"
    budget: ClassVar[float] = 28.0
    coefficients: ClassVar[dict[str, float]] = {
        "taynode": 1e-4,
        "rnode": 1e-4,
        "er": 1.0,
        "er2": 1.0,
        "sr": 0.1,
        "er-sr": 1.0,
        "local-uniform": 1.0,
        "local-steps": 1.0,
        "local-hairer": 100.0,
        "budget": 1e-3,
    }

    seed: int = 0
    """Of the initial weights, the order of the batches, and all that is drawn."""
    images: str = "digits"
    """digits: scikit-learn's, 8 by 8 pixels. mnist: those in the folder given as --data."""
    split_seed: int = 0
    """Of the choice of test and validation images."""
    width: int = 100
    """Hidden units of the field."""
    tolerance: float = 1e-6
    """Relative and absolute, of Tsit5."""
    first_step: float = 0.5
    """What the solver tries first."""
    regularization: Regularization = Regularization()
    """The method."""
    training: Training = Training()
    """How to train."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        if size == "smoke":
            return cls(width=8, tolerance=1e-3, training=Training(steps=8, batch_size=32))
        if size == "paper":
            # As in 2023. The tolerance needs JAX_ENABLE_X64=1.
            many = Training(steps=7500, batch_size=512, learning_rate=1e-3)
            return cls(images="mnist", tolerance=1.4e-8, training=many)
        return cls()

    def build(self, train):
        """A time-dependent perceptron between the image and a linear readout."""
        field, readout = jax.random.split(jax.random.key(self.seed))
        pixels = train["x"].shape[1]
        return NeuralODE(
            BatchField(TimeMLP(pixels, width=self.width, key=field)),
            readout=Each(eqx.nn.Linear(pixels, 10, key=readout)),
            dt0=self.first_step,
            controller=diffrax.PIDController(rtol=self.tolerance, atol=self.tolerance),
            throw=False,
        )

    def apply(self, model, batch, *, regularizer, steer, key):
        """Cross entropy; see `AbstractDynamicsExperiment.apply`."""
        t1 = None if steer is None else steer.draw_end(model.t0, model.t1, key=key)
        logits, solution = model(batch["x"], t1=t1, regularizer=regularizer, key=key)
        return Outcome(_cross_entropy(logits, batch["label"]), solution)

    def measure(self, model, part, *, key):
        """Accuracy and cross entropy; see `AbstractDynamicsExperiment.measure`."""
        logits, solution = model(part["x"], regularizer=())
        numbers = {
            "accuracy": jnp.mean(jnp.argmax(logits, axis=1) == part["label"]),
            "loss": _cross_entropy(logits, part["label"]),
        }
        return numbers, solution.stats


@dataclasses.dataclass(frozen=True, kw_only=True)
class DigitsSDE(_AbstractDigits):
    """Classify images by a neural SDE in 32 components, as in 2021; at test by the mean over ten paths."""

    name: ClassVar[str] = "digits-nsde"
    summary: ClassVar[str] = "digits by a neural SDE: vanilla, STEER, ERNSDE, LRNDE"
    budget: ClassVar[float] = 60.0
    coefficients: ClassVar[dict[str, float]] = {
        "er": 1.0,
        "er2": 0.1,
        "local-uniform": 1.0,
        "local-steps": 1.0,
        "budget": 1e-3,
    }

    seed: int = 0
    """Of the initial weights, the order of the batches, and all that is drawn."""
    images: str = "digits"
    """digits: scikit-learn's, 8 by 8 pixels. mnist: those in the folder given as --data."""
    split_seed: int = 0
    """Of the choice of test and validation images."""
    components: int = 32
    """Of the state."""
    width: int = 64
    """Hidden units of the drift."""
    tolerance: float = 0.14
    """Relative and absolute, of SOSRI."""
    first_step: float = 0.1
    """What the solver tries first."""
    paths: int = 10
    """Of the noise, at test."""
    regularization: Regularization = Regularization()
    """The method."""
    training: Training = Training(steps=300, learning_rate=1e-2)
    """How to train."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        if size == "smoke":
            return cls(
                components=8, width=8, paths=2, training=Training(steps=6, batch_size=16, learning_rate=1e-2)
            )
        if size == "paper":
            return cls(images="mnist", training=Training(steps=4000, batch_size=512, learning_rate=1e-2))
        return cls()

    def is_stochastic(self):
        """It is."""
        return True

    def build(self, train):
        """A perceptron for the drift and a linear diffusion, between two linear maps."""
        keys = jax.random.split(jax.random.key(self.seed), 4)
        n, pixels = self.components, train["x"].shape[1]
        return NeuralSDE(
            BatchField(Perceptron(n, width=self.width, key=keys[0])),
            BatchField(Perceptron(n, depth=0, key=keys[1])),
            embed=Each(eqx.nn.Linear(pixels, n, key=keys[2])),
            readout=Each(eqx.nn.Linear(n, 10, key=keys[3])),
            dt0=self.first_step,
            solver=SOSRI(),
            controller=diffrax.PIDController(rtol=self.tolerance, atol=self.tolerance),
            throw=False,
        )

    def apply(self, model, batch, *, regularizer, steer, key):
        """Cross entropy along one path; see `AbstractDynamicsExperiment.apply`."""
        t1 = None if steer is None else steer.draw_end(model.t0, model.t1, key=key)
        logits, solution = model(batch["x"], t1=t1, regularizer=regularizer, key=key)
        return Outcome(_cross_entropy(logits, batch["label"]), solution)

    def measure(self, model, part, *, key):
        """Accuracy and cross entropy of the mean logits; see `AbstractDynamicsExperiment.measure`."""
        keys = jax.random.split(key, self.paths)
        # One path after the other: side by side they would all make as many steps as the longest.
        logits, stats = jax.lax.map(lambda key: _predict(model, part["x"], key), keys)
        logits = jnp.mean(logits, axis=0)
        numbers = {
            "accuracy": jnp.mean(jnp.argmax(logits, axis=1) == part["label"]),
            "loss": _cross_entropy(logits, part["label"]),
        }
        return numbers, stats


def _predict(model, x, key):
    logits, solution = model(x, regularizer=(), key=key)
    names = ("num_evaluations", "num_steps", "num_rejected_steps")
    return logits, {name: solution.stats[name] for name in names}


def _cross_entropy(logits, labels):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))
