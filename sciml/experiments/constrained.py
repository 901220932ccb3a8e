"""Experiments about constraints: fields that obey a law by a solve inside the network, beside others."""

import abc
import dataclasses
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import nn, training
from ..constraints import AbstractStart, Clock, SpaceTimeGrid, WeightedStart
from ..data import Trajectories, concatenate, save_trajectories
from ..pdes import Grid
from . import plots, report
from .base import AbstractExperiment, Curve, fingerprint
from .constrained_data import average_cells, match_times, observe, read_solutions, relative_error
from .constraint_methods import build_layer
from .interpolated import Interpolated
from .problem import Problem, load_parts, simulate_parts
from .runs import read_table, write_table


class AbstractConstraintExperiment(AbstractExperiment):
    """An experiment in which a network proposes a solution, or a basis of one, and a law judges it.

    A subclass is a frozen dataclass with at least the fields `seed`, `method`, `points`, `frames`, `refinement`,
    `horizon`, `until`, `partition`, `jumps`, `regularization`, `penalty`, `split`, `network` and `training`; it says
    what the law is. Training is on `points` per axis and `frames` times up to `horizon`; the test on `refinement` times
    as many, up to `until`, where the network still runs on a grid as fine as in training and its output is
    interpolated.
    """

    measured_on: ClassVar[str] = (
        "starts that were used for nothing else, on the finer grid, against solutions simulated there"
    )
    curve: ClassVar[Curve] = Curve("errors.csv", "time", "error", "time", "relative error", True, 1)
    elapsed: ClassVar[bool] = False
    power: ClassVar[float] = 1.0
    # By rows in the published diffusion-sorption, by construction in its Navier-Stokes.
    published_start: ClassVar[AbstractStart] = WeightedStart()
    # How many steps a method takes in the time of one of a single constraint, on two cores; 1 where not said.
    pace: ClassVar[dict[str, float]]

    @abc.abstractmethod
    def pose(self, points: int, times: np.ndarray) -> Problem:
        """The law and its starts.

        **Arguments:**

        - `points`: per space axis.
        - `times`: `(time,)`.

        **Returns:** the problem.
        """

    def solver(self) -> diffrax.AbstractSolver | None:
        """What simulates the solutions, if not the default of `simulate`."""
        return None

    @property
    def label(self) -> str:
        """The method."""
        return self.method

    def times(self, refinement: int, until: float) -> np.ndarray:
        """Times that are even on the clock.

        **Arguments:**

        - `refinement`: how many there are for one of the training's.
        - `until`: the last time, or the training's next tick after it.

        **Returns:** `(time,)`.
        """
        per_horizon = (self.frames - 1) * refinement
        share = (until / self.horizon) ** self.power
        ticks = np.arange(int(np.ceil((self.frames - 1) * share - 1e-9)) * refinement + 1) / per_horizon
        return self.horizon * ticks ** (1 / self.power)

    def fine_problem(self) -> Problem:
        """The problem on the grid and times of the test."""
        return self.pose(self.points * self.refinement, self.times(self.refinement, self.until))

    def training_domain(self) -> SpaceTimeGrid:
        """Where the method is trained."""
        return self._domain(self.points, self.times(1, self.horizon))

    def test_domains(self) -> tuple[SpaceTimeGrid, SpaceTimeGrid]:
        """Where the network runs in the test, and where the constraint is solved.

        The first has the shape of the training's grid. For a test beyond the horizon its times reach as far as the
        test's: the network proposes a basis for the whole of the time, whatever that is, as it did in training, and the
        law, which knows of seconds, finds other weights.
        """
        times = self.times(self.refinement, self.until)
        fine = self._domain(self.points * self.refinement, times)
        return self._domain(self.points, fine.clock.ticks(times[-1], self.frames)), fine

    def _domain(self, points: int, times: np.ndarray) -> SpaceTimeGrid:
        clock = Clock(0.0, float(times[-1]), self.power)
        return SpaceTimeGrid(self.pose(points, times).calculus, times, accuracy=2, clock=clock)

    def build(
        self,
        network: Callable,
        domain: SpaceTimeGrid,
        regularization: float = 1e-6,
        *,
        fixed: bool = False,
    ) -> Callable:
        """The method's layer around a network; see `build_layer`.

        **Arguments:**

        - `network`: the network.
        - `domain`: where.
        - `regularization`: of the weights.
        - `fixed`: whether the weights are 1 rather than solved for.

        **Returns:** a function from a start to a field.
        """
        return build_layer(
            self.method,
            network,
            self.pose(self.points, self.times(1, self.horizon)).law,
            domain,
            partition=self.partition,
            elapsed=self.elapsed,
            jumps=self.jumps,
            regularization=regularization,
            penalty=self.penalty,
            fixed=fixed,
            published_start=self.published_start,
        )

    def make_network(self) -> nn.FNO:
        """The network with its initial weights."""
        return self.network.build(self.training_domain(), 1, self.method, seed=self.seed)

    def generate(self, file, *, overwrite=False, progress=True):
        """Write the solutions as one file; see `AbstractExperiment.generate`."""
        with jax.enable_x64(True):
            parts = simulate_parts(self.fine_problem(), self.split, progress=progress, solver=self.solver())
        save_trajectories(file, concatenate(list(parts.values())), overwrite=overwrite)

    def train(self, folder, *, resume=False, data=None, progress=True):
        """Train on the law alone, or if the method is `supervised` on solutions; see `AbstractExperiment.train`."""
        if self.method == "constant":
            self._summarize(folder, 0.0, 0.0, 0)
            return
        with jax.enable_x64(True):
            parts = self._load(folder, data, progress)
            domain = self.training_domain()
            samples, matrix = self._sample(parts["train"])
            batches = training.Batches(jnp.asarray(samples, float), self.training.batch_size, seed=self.seed)
            network, stats = self.make_network(), []
            for stage in self.training.stages(self.method, self.pace):
                result = training.fit(
                    network,
                    self._make_loss(domain, matrix, fixed=stage.fixed),
                    batches,
                    optimizer=self.training.optimizer(stage),
                    steps=stage.steps,
                    key=jax.random.key(self.seed + 1),
                    clip=self.training.clip,
                    folder=folder / "pretraining" if stage.fixed else folder,
                    resume=resume or stage.fixed,
                    configuration=dataclasses.asdict(self),
                    progress=progress,
                )
                network, stats = result.last, [*stats, result.stats]
        self._summarize(
            folder,
            *(sum(getattr(s, name) for s in stats) for name in ("run_seconds", "compile_seconds", "skipped")),
        )

    def evaluate(self, folder, *, data=None, progress=True):
        """Compare with solutions, and certify; see `AbstractExperiment.evaluate`."""
        if self.method != "constant" and not (folder / "last.eqx").is_file():
            raise ValueError(
                f"{folder} holds no trained model yet (last.eqx). Go on with: sciml train {self.name} --resume {folder}"
            )
        with jax.enable_x64(True):
            parts = self._load(folder, data, progress)
            test, times, held = parts["test"].values, parts["test"].times, parts["validation"].values
            both = np.concatenate([held, test])
            if self.method == "constant":
                mean = parts["train"].values.mean(axis=0)
                predictions, numbers = np.broadcast_to(mean, both.shape), {}
            else:
                network = training.load_model(folder / "last.eqx", self.make_network())
                predictions, numbers = self._predict(network, both, times, len(held))
                numbers["parameters"] = nn.count_parameters(network)
        after = times > self.horizon * (1 + 1e-6)
        choosing, predictions = np.split(predictions, [len(held)])
        errors = {
            "error": relative_error(predictions, test, times, ~after),
            "validation_error": relative_error(choosing, held, times, ~after),
        }
        if after.any():
            errors["error_beyond"] = relative_error(predictions, test, times, after)
        summary = {row["metric"]: float(row["value"]) for row in read_table(folder / "summary.csv")}
        metrics = {name: float(np.mean(values)) for name, values in errors.items()}
        metrics["worst_error"] = float(np.max(errors["error"]))
        rows = [
            {"method": self.label, "seed": self.seed, "metric": metric, "value": value}
            for metric, value in (metrics | numbers | summary).items()
        ]
        write_table(folder / "metrics.csv", rows)
        space = tuple(range(2, test.ndim))
        by_time = np.sqrt(
            np.sum((predictions - test) ** 2, axis=space) / np.maximum(np.sum(test**2, axis=space), 1e-30)
        ).mean(axis=0)
        table = [
            {"method": self.label, "time": float(t), "error": float(error)}
            for t, error in zip(times, by_time, strict=True)
        ]
        write_table(folder / self.curve.file, table)
        plots.save(
            plots.draw_curves({self.label: [(times, by_time)]}, self.curve), folder / self.curve.picture
        )
        report.write_report(folder, self, rows, [self.curve.picture])

    def _make_loss(self, domain, matrix=None, *, fixed=False):
        def loss(network, batch, key):
            layer = self.build(network, domain, fixed=fixed)
            field = jax.vmap(lambda start: layer(start, throw=False))(batch[:, 0])
            if self.method == "supervised":
                axes = tuple(range(1, batch.ndim))
                error = jnp.sum((observe(field.value, matrix, 1) - batch) ** 2, axes) / jnp.sum(
                    batch**2, axes
                )
            else:
                error = field.loss
            metrics = {
                "iterations": jnp.mean(field.certificate.iterations.astype(float)),
                "converged": jnp.mean(field.certificate.converged.astype(float)),
            }
            return jnp.mean(jnp.sqrt(error)), metrics

        return loss

    def _predict(self, network, trajectories, times, skip):
        """Predictions for all, and what certificates and clocks say of those after the first few."""
        coarse, domain = self.test_domains()
        matrix = match_times(domain.clock, domain.axes[0], times)

        @eqx.filter_jit
        def predict(network, start):
            finer = Interpolated(network, coarse, domain)
            field = self.build(finer, domain, self.regularization)(start, throw=False)
            return field.value, field.certificate

        values, certificates, seconds = [], [], []
        for trajectory in trajectories:
            start = jnp.asarray(trajectory[0], float)
            began = time.perf_counter()
            value, certificate = jax.block_until_ready(predict(network, start))
            seconds.append(time.perf_counter() - began)
            values.append(np.asarray(observe(value, matrix, 0)))
            certificates.append(certificate)
        certificates, seconds = (
            certificates[skip:],
            seconds[max(skip, 1) :] or seconds,
        )  # the first one compiles
        names = ("equation_rms", "start_violation", "wall_violation", "value_jump", "converged")
        numbers = {
            name: float(np.mean([np.asarray(getattr(certificate, name)) for certificate in certificates]))
            for name in names
        }
        iterations = [float(np.mean(certificate.iterations)) for certificate in certificates]
        numbers["iterations"] = float(np.mean(iterations))
        numbers["prediction_seconds"] = statistics.median(seconds)
        return np.stack(values), numbers

    def _sample(self, trajectories: Trajectories) -> tuple[np.ndarray, np.ndarray | None]:
        """What training sees: solutions on its grid, and how to bring a field to their times if these are others."""
        grid: Grid = self.fine_problem().calculus.grid
        values = average_cells(trajectories.values, grid, self.refinement)
        own, fine = self.times(1, self.horizon), self.times(self.refinement, self.until)
        clock = self.training_domain().clock
        if match_times(clock, fine, trajectories.times) is None:
            return values[:, : len(self.times(self.refinement, self.horizon)) : self.refinement], None
        times = trajectories.times[trajectories.times <= self.horizon * (1 + 1e-6)]
        return values[:, : len(times)], match_times(clock, own, times)

    def _summarize(self, folder, run_seconds, compile_seconds, skipped) -> None:
        seconds = {
            "training_seconds": run_seconds,
            "compile_seconds": compile_seconds,
            "skipped": skipped,
        }
        write_table(
            folder / "summary.csv", [{"metric": name, "value": value} for name, value in seconds.items()]
        )

    def _load(self, folder: pathlib.Path, data: pathlib.Path | None, progress: bool):
        problem = self.fine_problem()
        if data is not None:
            return read_solutions(data, problem, self.split)
        # Runs of one experiment that differ in method or seed only share their data.
        fixed = {k: v for k, v in dataclasses.asdict(self).items() if k in self.data_fields()}
        cache = folder.parent / "data" / f"{self.name}-{fingerprint(fixed)}.h5"
        if not cache.is_file():
            cache.parent.mkdir(parents=True, exist_ok=True)
            self.generate(cache, overwrite=True, progress=progress)
        return load_parts(cache, problem, self.split)
