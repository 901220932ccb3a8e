"""Mesh movers that learn from solutions alone: the ring whose radius varies, and fronts of Burgers' equation."""

import abc
import dataclasses
import pathlib
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .. import nn, training
from ..meshes import (
    AbstractMonitor,
    AbstractSensors,
    DataFreeMover,
    DensitySensors,
    Gaussian,
    GridSensors,
    HessianMonitor,
    make_samples,
    refine_last_layer,
)
from ..meshes.splines import Knots, evaluate_spline, find_knots, fit_spline
from ..pdes import Box, Burgers, FourierSeries, Grid, Neumann, Spectral
from . import plots, report
from .arrays import Parts, load_parts, save_parts
from .base import AbstractExperiment, Curve, fingerprint
from .mover_judgement import judge_meshes, summarize_meshes, take_sample, time_proposals
from .mover_methods import MoverNetwork, MoverTraining
from .mover_plots import draw_meshes
from .problem import Problem, simulate_parts
from .runs import read_table, write_table
from .settings import Split


class AbstractMoverExperiment(AbstractExperiment):
    """An experiment whose method is a network that moves meshes to solutions.

    A subclass is a frozen dataclass with at least the fields `seed`, `points`, `cells`, `sensors`, `split`, `network`
    and `training`; it says what the solutions are.
    """

    measured_on: ClassVar[str] = (
        "solutions that were used for nothing else; the uniform and the classical mesh on the same"
    )
    curve: ClassVar[Curve] = Curve(
        "meshes.csv", "place", "variation", "place", "variation of the cells' masses"
    )
    equivariant: ClassVar[bool]

    @abc.abstractmethod
    def make_data(self, progress: bool) -> Parts:
        """The solutions, a function of the fields alone.

        **Arguments:**

        - `progress`: show a bar.

        **Returns:** `{"train": ..., "validation": ..., "test": ...}`, each with `u` `(sample, channel, *space)` and
        `place` `(sample,)`, by which results are drawn.
        """

    @abc.abstractmethod
    def box(self) -> Box:
        """The domain."""

    @abc.abstractmethod
    def see(self) -> AbstractSensors:
        """What the mover sees."""

    @abc.abstractmethod
    def functions(self, part: dict[str, np.ndarray]) -> PyTree:
        """What is interpolated on the meshes.

        **Arguments:**

        - `part`: arrays `(sample, ...)`.

        **Returns:** a module that maps positions `(dim, *points)` to numbers `(*points,)`, with a leading axis
        `sample`.
        """

    @property
    def label(self) -> str:
        """The method's name."""
        return self.network.method

    def fine(self) -> Grid:
        """The grid of the solutions."""
        return Grid(self.box(), (self.points,) * 2)

    def grid(self) -> Grid:
        """The grid whose vertices are moved."""
        return Grid(self.box(), (self.cells,) * 2)

    def monitor(self) -> AbstractMonitor:
        """The default monitor, smoothed by one cell of the mesh."""
        return HessianMonitor(smoothing=Gaussian(self.points / self.cells))

    def build(self, train: Float[Array, "sample channel *sensor"], validation: Array) -> DataFreeMover:
        """The mover with its initial weights.

        **Arguments:**

        - `train`, `validation`: what the sensors see of these, `(sample, channel, *sensor)`.

        **Returns:** the mover.
        """
        return self.network.build(
            self.see(), self.monitor(), train, validation, equivariant=self.equivariant, seed=self.seed
        )

    def generate(self, file, *, overwrite=False, progress=True):
        """Write the solutions as one file; see `AbstractExperiment.generate`."""
        save_parts(file, self.make_data(progress), experiment=self.name, overwrite=overwrite)

    def train(self, folder, *, resume=False, data=None, progress=True):
        """Train on the Monge-Ampere equation; see `AbstractExperiment.train`."""
        parts = self._load(folder, data, progress)
        samples, held = (
            make_samples(parts[name]["u"], self.see(), self.monitor()) for name in ("train", "validation")
        )
        mover, grid, loss = self.build(samples.seen, held.seen), self.grid(), self.training.loss()
        solutions = jnp.asarray(parts["validation"]["u"], float)

        @eqx.filter_jit
        def measure(mover, u, density):
            certificate = mover.move_for(u, density, grid, throw=False).certificate
            return certificate.variation, certificate.tangled

        def validate(mover):
            pairs = [measure(mover, u, take_sample(held.density, i)) for i, u in enumerate(solutions)]
            variation, tangled = (jnp.stack(x) for x in zip(*pairs, strict=True))
            # A tangled mesh is worse than any other.
            return jnp.mean(variation) + jnp.sum(tangled), {"tangled": jnp.sum(tangled)}

        result = training.fit(
            mover,
            loss,
            training.Batches(samples, self.training.batch_size, seed=self.seed),
            optimizer=self.training.optimizer(),
            steps=self.training.steps,
            key=jax.random.key(self.seed + 1),
            validate=validate,
            clip=self.training.clip,
            trainable=mover.trainable(),
            folder=folder,
            resume=resume,
            configuration=dataclasses.asdict(self),
            progress=progress,
        )
        if self.training.rounds:
            self._refine(folder, result.best, samples, validate)
        seconds = {
            "training_seconds": result.stats.run_seconds,
            "compile_seconds": result.stats.compile_seconds,
            "skipped": result.stats.skipped,
        }
        write_table(
            folder / "summary.csv", [{"metric": name, "value": value} for name, value in seconds.items()]
        )

    def evaluate(self, folder, *, data=None, progress=True):
        """Judge the best mover beside the classical one; see `AbstractExperiment.evaluate`."""
        file = folder / "best.eqx"
        if not file.is_file():
            raise ValueError(
                f"{folder} holds no trained model yet (best.eqx). Go on with: sciml train {self.name} --resume {folder}"
            )
        parts = self._load(folder, data, progress)
        seen, held = (
            make_samples(parts[name]["u"], self.see(), self.monitor()).seen
            for name in ("train", "validation")
        )
        mover, test = training.load_model(file, self.build(seen, held)), parts["test"]
        judgement = judge_meshes(
            mover, test["u"], self.functions(test), self.fine(), self.grid(), label=self.label
        )
        numbers = summarize_meshes(judgement.rows)
        numbers["classical"]["prediction_seconds"] = judgement.seconds
        numbers[self.label]["prediction_seconds"] = time_proposals(mover, test["u"], self.fine(), self.grid())
        numbers[self.label] |= {
            row["metric"]: float(row["value"]) for row in read_table(folder / "summary.csv")
        }
        numbers[self.label]["parameters"] = nn.count_parameters(mover.potential)
        self._write(folder, judgement, numbers, test)

    def _write(self, folder, judgement, numbers, test) -> None:
        table = [
            {"method": method, "seed": self.seed, "metric": metric, "value": value}
            for method, metrics in numbers.items()
            for metric, value in metrics.items()
        ]
        write_table(folder / "metrics.csv", table)
        points: dict[tuple[str, float], list[float]] = {}
        for row in judgement.rows:
            points.setdefault((row["method"], float(test["place"][row["sample"]])), []).append(
                row["variation"]
            )
        meshes = [
            {"method": method, "place": place, "variation": float(np.mean(values))}
            for (method, place), values in sorted(points.items())
        ]
        write_table(folder / "meshes.csv", meshes)
        curves = {}
        for method in numbers:
            own = [(row["place"], row["variation"]) for row in meshes if row["method"] == method]
            curves[method] = [tuple(np.array(own).T)]
        pictures = {
            "meshes.png": plots.draw_curves(curves, self.curve),
            "moved.png": draw_meshes(judgement, test, self.box(), methods=(self.label, "classical")),
        }
        for name, figure in pictures.items():
            plots.save(figure, folder / name)
        report.write_report(folder, self, table, list(pictures))

    def _refine(self, folder: pathlib.Path, mover: DataFreeMover, samples, validate) -> None:
        """Keep the last layer of the quasi-Newton method, if it is better on the validation set."""
        batches = training.Batches(samples, min(20, len(samples.seen)), seed=self.seed + 2)
        refined, _ = refine_last_layer(
            mover,
            self.training.loss(),
            batches,
            key=jax.random.key(self.seed + 3),
            rounds=self.training.rounds,
        )
        if validate(refined)[0] < validate(mover)[0]:
            training.save_model(folder / "best.eqx", refined)

    def _load(self, folder: pathlib.Path, data: pathlib.Path | None, progress: bool) -> Parts:
        like = {
            name: {"u": np.broadcast_to(np.float32(0), (count, 1, self.points, self.points))}
            for name, count in self.count_samples().items()
        }
        if data is not None:
            return load_parts(data, experiment=self.name, like=like)
        # Runs of one experiment that differ in method or seed only share their data.
        fixed = {k: v for k, v in dataclasses.asdict(self).items() if k in self.data_fields()}
        cache = folder.parent / "data" / f"{self.name}-{fingerprint(fixed)}.h5"
        if not cache.is_file():
            cache.parent.mkdir(parents=True, exist_ok=True)
            save_parts(cache, self.make_data(progress), experiment=self.name, overwrite=True)
        return load_parts(cache, experiment=self.name, like=like)

    def count_samples(self) -> dict[str, int]:
        """How many solutions each part has."""
        return {name: len(seeds) for name, seeds in self.split.ranges().items()}


class RingProfile(eqx.Module):
    """A ring of Gaussian profile, `exp(-(|x - c| - r)^2 / (2 s^2))`.

    **Arguments:**

    - `radius`: `r`, a scalar, a length.
    - `thickness`: `s`, a scalar, a length.
    """

    radius: Float[Array, ""]
    thickness: Float[Array, ""]

    def __call__(self, x: Float[Array, "2 *points"]) -> Float[Array, "*points"]:
        """Its values.

        **Arguments:**

        - `x`: positions `(2, *points)`.

        **Returns:** `(*points,)`.
        """
        distance = jnp.sqrt((x[0] - 0.5) ** 2 + (x[1] - 0.5) ** 2)
        return jnp.exp(-(((distance - self.radius) / self.thickness) ** 2) / 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RingMover(AbstractMoverExperiment):
    """Move meshes to rings whose radius varies, on the unit square with walls."""

    name: ClassVar[str] = "ring-mover"
    summary: ClassVar[str] = "meshes for rings of any radius, learned without data: spectral or branch-trunk"
    curve: ClassVar[Curve] = Curve(
        "meshes.csv", "place", "variation", "radius", "variation of the cells' masses"
    )
    equivariant: ClassVar[bool] = False

    seed: int = 0
    """Of the initial weights and the order of the batches."""
    smallest: float = 0.15
    """Radius."""
    largest: float = 0.40
    """Radius."""
    thickness: float = 0.02
    """The standard deviation of a ring's profile."""
    points: int = 96
    """Grid points per axis of the solutions."""
    cells: int = 48
    """Cells per axis of the mesh."""
    sensors: int = 12
    """Sensors per axis: means of the solution over blocks."""
    split: Split = Split(train=64, validation=8, test=9)
    """How many radii for what. Those of the test are even from the smallest to the largest."""
    network: MoverNetwork = MoverNetwork()
    """The network."""
    training: MoverTraining = MoverTraining()
    """How to train."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        if size == "smoke":
            return cls(
                thickness=0.06,
                points=24,
                cells=12,
                sensors=6,
                split=Split(train=8, validation=8, test=3),
                network=MoverNetwork(modes=8, width=16, features=8, trunk_width=8),
                training=MoverTraining(steps=20, batch_size=4, lattice=16),
            )
        if size == "paper":
            return cls(split=Split(train=512, validation=32, test=33), training=MoverTraining(steps=30_000))
        return cls()

    @classmethod
    def data_fields(cls):
        """See `AbstractExperiment.data_fields`."""
        return ("smallest", "largest", "thickness", "points", "split")

    def box(self):
        """The unit square with walls."""
        return Box((0.0, 0.0), (1.0, 1.0), Neumann(0.0))

    def see(self):
        """Means over blocks; see `AbstractMoverExperiment.see`."""
        return GridSensors(Grid(self.box(), (self.sensors,) * 2), (self.points,) * 2)

    def make_data(self, progress):
        """Rings of different radii; see `AbstractMoverExperiment.make_data`."""
        x = self.fine().coordinates
        parts = {}
        for name, seeds in self.split.ranges().items():
            # Multiples of the golden ratio fill an interval evenly; none comes twice, and none is among the test's.
            share = np.array([(seed + 1) * (5**0.5 - 1) / 2 % 1 for seed in seeds])
            if name == "test":
                share = np.linspace(0, 1, len(seeds))
            radius = self.smallest + (self.largest - self.smallest) * share
            u = [RingProfile(r, self.thickness)(x)[None] for r in radius]
            parts[name] = {"u": np.stack(u).astype(np.float32), "place": radius}
        return parts

    def functions(self, part):
        """The rings themselves; see `AbstractMoverExperiment.functions`."""
        with jax.enable_x64(True):
            radius = jnp.asarray(part["place"], float)
            return RingProfile(radius, jnp.full_like(radius, self.thickness))


class SplineFunction(eqx.Module):
    """Cubic splines through values on a grid.

    **Arguments:**

    - `coefficients`: of the spline, `(*padded,)`.
    - `knots`: where the values stand.
    """

    coefficients: Float[Array, "*padded"]
    knots: tuple[Knots, ...] = eqx.field(static=True)

    def __call__(self, x: Float[Array, "dim *points"]) -> Float[Array, "*points"]:
        """Its values.

        **Arguments:**

        - `x`: positions `(dim, *points)`.

        **Returns:** `(*points,)`.
        """
        return evaluate_spline(self.coefficients, self.knots, x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Burgers2DMover(AbstractMoverExperiment):
    """Move meshes to the fronts of `u_t + u u_x + u u_y = nu lap u` on a periodic unit square."""

    name: ClassVar[str] = "burgers2d-mover"
    summary: ClassVar[str] = (
        "meshes for fronts of 2-D Burgers, learned without data: spectral or branch-trunk"
    )
    curve: ClassVar[Curve] = Curve(
        "meshes.csv", "place", "variation", "time", "variation of the cells' masses"
    )
    equivariant: ClassVar[bool] = True

    seed: int = 0
    """Of the initial weights and the order of the batches."""
    viscosity: float = 5e-3
    """nu."""
    points: int = 96
    """Grid points per axis of the solutions."""
    cells: int = 48
    """Cells per axis of the mesh."""
    sensors: int = 32
    """Sensors per axis: the logarithm of the density."""
    horizon: float = 0.4
    """The last time."""
    frames: int = 5
    """Times of a trajectory, the start counted."""
    cutoff: int = 2
    """The largest wavenumber of the starts."""
    split: Split = Split(train=64, validation=4, test=8)
    """How many trajectories for what."""
    network: MoverNetwork = MoverNetwork(modes=31, width=96, depth=4)
    """The network."""
    training: MoverTraining = MoverTraining(steps=3000, lattice=48)
    """How to train."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        if size == "smoke":
            return cls(
                viscosity=2e-2,
                points=24,
                cells=12,
                sensors=12,
                horizon=0.1,
                frames=2,
                split=Split(train=4, validation=2, test=2),
                network=MoverNetwork(modes=9, width=24, features=8, trunk_width=8),
                training=MoverTraining(steps=20, batch_size=4, lattice=16),
            )
        if size == "paper":
            return cls(
                viscosity=2e-3,
                points=192,
                frames=31,
                horizon=1.0,
                split=Split(train=512, validation=16, test=64),
                network=MoverNetwork(modes=47, width=192, depth=4),
                training=MoverTraining(steps=100_000, batch_size=32),
            )
        return cls()

    @classmethod
    def data_fields(cls):
        """See `AbstractExperiment.data_fields`."""
        return ("viscosity", "points", "horizon", "frames", "cutoff", "split")

    def box(self):
        """The unit square, periodic."""
        return Box((0.0, 0.0), (1.0, 1.0))

    def see(self):
        """The density; see `AbstractMoverExperiment.see`."""
        return DensitySensors(Grid(self.box(), (self.sensors,) * 2))

    def make_data(self, progress):
        """Simulated solutions; see `AbstractMoverExperiment.make_data`."""
        times = np.linspace(0.0, self.horizon, self.frames)
        problem = Problem(
            Burgers(self.viscosity), Spectral(self.fine()), FourierSeries(cutoff=self.cutoff), times
        )
        parts = {}
        for name, trajectories in simulate_parts(problem, self.split, progress=progress).items():
            u = trajectories.values
            parts[name] = {"u": u.reshape(-1, *u.shape[2:]), "place": np.tile(times, len(u))}
        return parts

    def functions(self, part):
        """Splines through the solutions; see `AbstractMoverExperiment.functions`."""
        with jax.enable_x64(True):
            knots = find_knots(self.fine(), (self.points,) * 2)
            values = jnp.asarray(part["u"][:, 0], float)
            return SplineFunction(jax.vmap(lambda v: fit_spline(v, knots))(values), knots)

    def count_samples(self):
        """One for each trajectory and time."""
        return {name: self.frames * len(seeds) for name, seeds in self.split.ranges().items()}
