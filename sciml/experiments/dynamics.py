"""Experiments about neural differential equations that are cheap to solve: what their three verbs do.

All methods of one experiment have the same model, solver, tolerance, first step, optimizer and number of steps; they
differ in the penalty. A batch is one equation, whose solver makes one sequence of steps, unless the experiment says
otherwise.
"""

import abc
import dataclasses
import pathlib
import statistics
import time
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .. import diffeqs, nn, training
from . import plots, report
from .arrays import Parts, load_parts, save_parts
from .base import AbstractExperiment, Curve
from .runs import read_table, write_table


@dataclasses.dataclass(frozen=True)
class Training:
    """How to optimize."""

    steps: int = 600
    """Optimizer steps."""
    batch_size: int = 128
    """Samples per step."""
    optimizer: Literal["adam", "adamax", "adabelief"] = "adam"
    """Which one."""
    learning_rate: float = 3e-3
    """The learning rate."""
    decay: bool = False
    """Whether it falls to nothing, as a cosine; else it stays, so that the last steps show what a method costs."""
    clip: float | None = None
    """The largest gradient norm."""

    def build(self) -> optax.GradientTransformation:
        """The optimizer.

        **Returns:** a transformation of optax.
        """
        rate = self.learning_rate
        rate = optax.cosine_decay_schedule(rate, self.steps) if self.decay else rate
        return getattr(optax, self.optimizer)(rate)


class Outcome(NamedTuple):
    """What a model made of a batch.

    **Arguments:**

    - `loss`: the loss without penalties, a scalar.
    - `solution`: what `solve` returned, or its `vmap`.
    """

    loss: Float[Array, ""]
    solution: diffeqs.RegularizedSolution

    @property
    def evaluations(self) -> Float[Array, ""]:
        """Evaluations of the field, the mean over solves, a scalar."""
        return jnp.mean(self.solution.stats["num_evaluations"].astype(float))

    @property
    def finished(self) -> Bool[Array, ""]:
        """Whether every solve came to its end, a scalar."""
        return diffeqs.is_finished(self.solution)


class AbstractDynamicsExperiment(AbstractExperiment):
    """An experiment whose model is a neural differential equation.

    A subclass is a frozen dataclass with at least the fields `seed`, `regularization` and `training`; it says what the
    data is, what the model is, and what is made of a batch. Its class variables are the weight of each method's penalty
    at the end of training, by how much weights grow until then, and the evaluations of a budget.
    """

    coefficients: ClassVar[dict[str, float]]
    budget: ClassVar[float]
    growth: ClassVar[float] = 1.0
    measured_on: ClassVar[str] = (
        "samples that were used for nothing else; evaluations are those of the solver on them"
    )
    curve: ClassVar[Curve] = Curve(
        "training.csv", "step", "evaluations", "training step", "evaluations of the field"
    )

    @abc.abstractmethod
    def make_data(self) -> Parts:
        """The data, a function of the fields alone.

        **Returns:** `{"train": ..., "validation": ..., "test": ...}`, each arrays by name `(sample, ...)`.
        """

    def read_folder(self, folder: pathlib.Path) -> Parts:
        """Read a public data set from its folder.

        **Arguments:**

        - `folder`: where its files are.

        **Returns:** as `make_data`, arrays `(sample, ...)`.

        **Raises:** `ValueError` for an experiment that has no public data set.
        """
        raise ValueError(
            f"{folder} is a folder; {self.name} reads a file that `sciml generate {self.name}` wrote."
        )

    @abc.abstractmethod
    def build(self, train: dict[str, np.ndarray]) -> eqx.Module:
        """The model with its initial weights.

        **Arguments:**

        - `train`: the part to train on, arrays `(sample, ...)`.

        **Returns:** the model.
        """

    @abc.abstractmethod
    def apply(
        self,
        model: eqx.Module,
        batch: dict[str, Array],
        *,
        regularizer: tuple[diffeqs.AbstractRegularizer, ...],
        steer: diffeqs.Steer | None,
        key: PRNGKeyArray | None,
    ) -> Outcome:
        """Solve for a batch.

        **Arguments:**

        - `model`: the model.
        - `batch`: arrays `(sample, ...)`.
        - `regularizer`: the penalties.
        - `steer`: how times vary, or `None`.
        - `key`: a random key; `None` where a model is measured that has no noise.

        **Returns:** the outcome.
        """

    @abc.abstractmethod
    def measure(
        self, model: eqx.Module, part: dict[str, Array], *, key: PRNGKeyArray
    ) -> tuple[dict[str, Float[Array, ""]], Any]:
        """Measure a model, without any penalty or variation of times.

        **Arguments:**

        - `model`: the model.
        - `part`: arrays `(sample, ...)`.
        - `key`: a random key, for models with noise.

        **Returns:** numbers by name, and the `stats` of the solve.
        """

    def is_stochastic(self) -> bool:
        """Whether the equation is. **Returns:** a boolean."""
        return False

    def select(self, state: Any) -> Any:
        """The part of the state that TayNODE and RNODE look at.

        **Arguments:**

        - `state`: the state of the equation.

        **Returns:** a part of it.
        """
        return state

    @property
    def label(self) -> str:
        """The method, and what was set by hand."""
        return self.regularization.label

    def generate(self, file, *, overwrite=False, progress=True):
        """Write the data as one file; see `AbstractExperiment.generate`."""
        save_parts(file, self.make_data(), experiment=self.name, overwrite=overwrite)

    def train(self, folder, *, resume=False, data=None, progress=True):
        """Train by the method; see `AbstractExperiment.train`."""
        parts = self._load(data)
        default = self.coefficients.get(self.regularization.method, 0.0)
        coefficient = self.regularization.schedule(default, self.growth, self.budget, self.training.steps)
        result = training.fit(
            self.build(parts["train"]),
            self._make_loss(coefficient),
            self.make_batches(parts["train"]),
            optimizer=self.training.build(),
            steps=self.training.steps,
            key=jax.random.key(self.seed + 1),
            loss_state=(coefficient.init(), jnp.zeros((), jnp.int32)),
            clip=self.training.clip,
            folder=folder,
            resume=resume,
            configuration=dataclasses.asdict(self),
            progress=progress,
        )
        names = ("step", "evaluations", "task", "penalty", "coefficient")
        write_table(
            folder / "training.csv",
            [{"method": self.label, **{name: record[name] for name in names}} for record in result.history],
        )
        state, unfinished = result.loss_state
        summary = {
            "training_seconds": result.stats.run_seconds,
            "compile_seconds": result.stats.compile_seconds,
            "unfinished": int(unfinished),
            "skipped": result.stats.skipped,
        }
        write_table(
            folder / "summary.csv", [{"metric": name, "value": value} for name, value in summary.items()]
        )
        if self.regularization.method == "budget":
            print(coefficient.report(state))
        if unfinished:
            print(
                f"In {int(unfinished)} training steps max_steps was reached; they trained on the penalty only."
            )

    def make_batches(self, train: dict[str, np.ndarray]) -> Any:
        """The batches to train on.

        **Arguments:**

        - `train`: arrays `(sample, ...)`.

        **Returns:** a function of the step, as `sciml.training.fit` takes it.
        """
        return training.Batches(jax.tree.map(jnp.asarray, train), self.training.batch_size, seed=self.seed)

    def evaluate(self, folder, *, data=None, progress=True):
        """Measure the last model; see `AbstractExperiment.evaluate`."""
        file = folder / "last.eqx"
        if not file.is_file():
            raise ValueError(
                f"{folder} holds no trained model yet (last.eqx). Go on with: sciml train {self.name} --resume {folder}"
            )
        parts = self._load(data)
        model = training.load_model(file, self.build(parts["train"]))
        measure = eqx.filter_jit(lambda model, part, key: self.measure(model, part, key=key))
        key = jax.random.key(self.seed + 2)
        numbers = {}
        for name in ("test", "validation"):
            part = jax.tree.map(jnp.asarray, parts[name])
            found, stats = measure(model, part, key)
            numbers |= {f"{name}_{metric}": float(value) for metric, value in found.items()}
            if name == "test":
                numbers |= {
                    "evaluations": float(jnp.mean(stats["num_evaluations"])),
                    "steps": float(jnp.mean(stats["num_steps"])),
                    "rejected_steps": float(jnp.mean(stats["num_rejected_steps"])),
                    "prediction_seconds": _time(measure, model, part, key),
                }
        numbers |= {row["metric"]: float(row["value"]) for row in read_table(folder / "summary.csv")}
        numbers["parameters"] = nn.count_parameters(model)
        rows = [
            {"method": self.label, "seed": self.seed, "metric": metric, "value": value}
            for metric, value in numbers.items()
        ]
        write_table(folder / "metrics.csv", rows)
        table = read_table(folder / self.curve.file)
        x, y = (np.array([float(row[column]) for row in table]) for column in (self.curve.x, self.curve.y))
        plots.save(plots.draw_curves({self.label: [(x, y)]}, self.curve), folder / self.curve.picture)
        report.write_report(folder, self, rows, [self.curve.picture])

    def _make_loss(self, coefficient: diffeqs.AbstractCoefficient):
        select = None if type(self).select is AbstractDynamicsExperiment.select else self.select
        regularizer = self.regularization.build(stochastic=self.is_stochastic(), select=select)
        steer = (
            diffeqs.Steer(self.regularization.steer_width) if self.regularization.method == "steer" else None
        )

        def loss(model, batch, state, *, key):
            held, unfinished = state
            outcome = self.apply(model, batch, regularizer=regularizer, steer=steer, key=key)
            penalty = sum(outcome.solution.penalty, jnp.zeros(()))
            penalty = jnp.mean(penalty)
            task = jnp.where(outcome.finished, outcome.loss, 0)
            weight = jax.lax.stop_gradient(coefficient.value(held))
            held = coefficient.update(
                held, evaluations=outcome.evaluations, loss=jax.lax.stop_gradient(outcome.loss)
            )
            metrics = {
                "task": outcome.loss,
                "penalty": penalty,
                "coefficient": weight,
                "evaluations": outcome.evaluations,
            }
            return task + weight * penalty, metrics, (held, unfinished + ~outcome.finished)

        return loss

    def _load(self, data: pathlib.Path | None) -> Parts:
        if data is not None and data.is_dir():
            return self.read_folder(data)
        made = self.make_data()
        return made if data is None else load_parts(data, experiment=self.name, like=made)


def _time(function: Any, *args: Any, repetitions: int = 20) -> float:
    """Seconds of one call, the median, without compilation."""
    seconds = []
    for _ in range(repetitions):
        began = time.perf_counter()
        jax.block_until_ready(function(*args))
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
