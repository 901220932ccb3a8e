"""Experiments about solvers on moving meshes: every method on the same data, judged against the same fine truth.

The truth is on a fine grid. A method has a fraction of its nodes, fixed or moving, and may see of the truth what is at
them. It is judged after reconstruction on the fine grid, over steps of its own.
"""

import abc
import dataclasses
import math
import os
import pathlib
import statistics
import time
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import nn, training
from ..data import evolve
from ..meshes import Follower, Gaussian, HessianMonitor, MovingStep, VolumeStep
from ..pdes import AbstractCalculus, AbstractPDE, Grid
from . import plots, report
from .autoregressive import AbstractSurrogateExperiment
from .base import Curve, Scatter, fingerprint
from .moving_judgement import check_rollout, judge_steps
from .moving_losses import BranchLoss, FixedLoss, MovingLoss, Unmoved
from .moving_movers import (
    DrivenLoss,
    DrivenSolver,
    MoverKind,
    build_mover,
    load_mover,
    make_mover_samples,
    train_mover,
)
from .moving_networks import BRANCHES, CORRECTED, NEAR, build_model, measure_scales
from .moving_samples import (
    add_images,
    add_sample_images,
    digest,
    measure_corrections,
    sample_ahead,
    sample_branches,
    sample_fixed,
    sample_moving,
)
from .moving_steps import (
    AbstractStepper,
    BranchStepper,
    GridStepper,
    MovingStepper,
    Rollout,
    choose_stride,
    list_nodes,
    record,
    roll_beside,
)
from .runs import read_table, write_table

MOVING = ("moving", "corrected")
MOVES = (*MOVING, "classical-moving")
UNTRAINED = ("persistence", "classical", "classical-volumes", "classical-moving")


class AbstractMovingExperiment(AbstractSurrogateExperiment):
    """An experiment whose methods step a solution on moving or fixed nodes.

    A subclass is a frozen dataclass with at least the fields `seed`, `method`, `nodes`, `split`, `networks`,
    `optimization`, `frames`, `rollout` and `judge_every`; it says what the problem is.
    """

    measured_on: ClassVar[str] = (
        "test trajectories whose seeds were used for nothing else, against the fine truth; means over trajectories"
    )
    curve: ClassVar[Curve] = Curve(
        "rollout.csv", "step", "error", "step", "relative error against the fine truth", logarithmic=True
    )
    mover: ClassVar[MoverKind] = "classical"
    mover_run: ClassVar[str] = ""
    # What the solution is multiplied by where space is turned by 180 degrees, for laws that allow it and to swap axes.
    reflection: ClassVar[float | None] = None
    # Steps in the time of one of `corrected`, measured on two cores. The published form and its control take three and
    # two times as long as a step; both get half as many steps.
    pace: ClassVar[dict[str, float]] = {
        "identity": 1.5,
        "unet": 1.4,
        "cnn": 0.22,
        "fno": 8.0,
        "gnn-big": 0.6,
        "published": 0.5,
        "published-identity": 0.5,
    }
    # The optimizer and a factor of the learning rate, by `python -m benchmarks moving_mesh_tuning`; else Adam and one.
    tuned: ClassVar[dict[str, tuple[str, float]]] = {"cnn": ("adam", 3.0), "fno": ("adam", 1 / 3)}
    # Of the classical step from frame to frame on 48 nodes per axis: how many small ones, of how many stages.
    small_steps: ClassVar[tuple[int, int]] = (8, 3)
    # Over how many cells of the nodes' grid the density is smoothed that the mesh is made for.
    smoothing: ClassVar[float] = 1.0
    scatters: ClassVar[tuple[Scatter, ...]] = (
        Scatter("nodes", "rollout_error", "nodes per axis", "relative error, mean over the rollout"),
        Scatter("step_seconds", "rollout_error", "seconds per step", "relative error, mean over the rollout"),
    )

    @abc.abstractmethod
    def problem(self):
        """The law, its fine grid, its starts and its times `(time,)`."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the method."""
        return max(1, round(self.optimization.steps * self.pace.get(self.method, 1.0)))

    @property
    def label(self):
        """The method and its nodes per axis."""
        moved = "" if self.mover == "classical" else f"-{self.mover}"
        return f"{self.method}{moved}-{self.nodes}"

    @property
    def fine(self) -> Grid:
        """The grid of the truth."""
        return self.problem().calculus.grid

    @property
    def grid(self) -> Grid:
        """The grid of the nodes."""
        fine = self.fine
        if any(n % self.nodes for n in fine.shape):
            raise ValueError(
                f"nodes={self.nodes} must divide the {fine.shape[0]} points of the truth; take one of "
                f"{[k for k in range(8, fine.shape[0]) if fine.shape[0] % k == 0]}."
            )
        stride = fine.shape[0] // self.nodes
        if math.gcd(stride, self.judge_every) > 1:
            raise ValueError(
                f"judge_every={self.judge_every} measures errors at every node or every so many nodes of nodes="
                f"{self.nodes}, which are {stride} points of the truth apart, and too seldom between them. Take "
                f"judge_every={choose_stride(stride)}."
            )
        return Grid(fine.box, (self.nodes,) * fine.dimensions)

    def follower(self) -> Follower:
        """What moves the mesh; a neural mover that was trained takes the place of its own."""
        seen = 2  # times finer than the nodes the solution is looked at
        smooth = HessianMonitor(smoothing=Gaussian(seen * self.smoothing))
        return Follower(self.grid, refinement=seen, monitor=smooth)

    def coarse(self) -> AbstractCalculus:
        """What the classical method solves on nodes that stay."""
        return eqx.tree_at(lambda c: c.grid, self.problem().calculus, self.grid)

    def prior(self) -> VolumeStep:
        """The classical step that methods correct."""
        # Cells that have moved are down to a quarter as wide as those that stay.
        problem, finer = self.problem(), max(1.0, self.nodes / (48 if self.method in MOVES else 192))
        small = (math.ceil(count * finer) for count in self.small_steps)
        return VolumeStep(problem.law, float(problem.times[1] - problem.times[0]), *small)

    def __post_init__(self):
        if self.mover != "classical" and self.method != "published":
            raise ValueError(
                f"mover={self.mover} is for method=published, whose second branch a network may move; got "
                f"method={self.method}. Write --mover classical, or --method published."
            )
        if self.mover == "classical" and self.mover_run:
            raise ValueError(
                f"mover_run={self.mover_run} names a neural mover, but mover is classical. Write --mover neural to "
                "have it frozen, or --mover joint to train it along."
            )

    def network(self):
        """The method's model with its initial weights and no scales, a module; `None` for a method without."""
        return self._build(np.ones((1, 2, len(self.channels()), 1, 1), np.float32))

    def channels(self) -> tuple[str, ...]:
        """The names of the solution's channels."""
        return self.problem().law.channels

    def train(self, folder, *, resume=False, data=None, progress=True):
        """Train the method; see `AbstractExperiment.train`."""
        self._check()
        began = time.perf_counter()
        if self.method in UNTRAINED:
            write_table(folder / "summary.csv", [{"metric": "training_seconds", "value": 0.0}])
            return
        parts = self._load(folder, data, progress)
        samples = {part: self._sample(folder, part, parts) for part in ("train", "validation")}
        model = self._build_for(samples["train"])
        prepared = time.perf_counter() - began
        seconds = 0.0
        if self.mover != "classical":
            model = DrivenSolver(model, self._prepare_mover(folder, samples, resume, progress))
            prepared = time.perf_counter() - began
        if self.method in BRANCHES:
            first = self._fit(model, samples, folder / "round_trip", resume, progress, pretrain=True)
            model, seconds = first.best, first.stats.run_seconds
        result = self._fit(model, samples, folder, resume, progress, pretrain=False)
        numbers = {
            "training_seconds": seconds + result.stats.run_seconds,
            "compile_seconds": result.stats.compile_seconds,
            "preparation_seconds": prepared,
            "update_seconds": result.stats.run_seconds / result.stats.steps,
        }
        write_table(
            folder / "summary.csv", [{"metric": name, "value": value} for name, value in numbers.items()]
        )

    def evaluate(self, folder, *, data=None, progress=True):
        """Roll out beside the truth; see `AbstractExperiment.evaluate`."""
        trained = self._read_summary(folder)
        parts = self._load(folder, data, progress)
        stepper = self._stepper(folder, parts)
        numbers, curve = self._judge(stepper, self._list_truths(parts["test"]), self._size(parts["train"]))
        numbers |= trained | {"validation_rollout_error": self._validate(stepper, parts)}
        model = getattr(stepper, "model", None)
        numbers["parameters"] = 0 if self.method in UNTRAINED else nn.count_parameters(model)
        rows = [
            {"method": self.label, "seed": self.seed, "metric": metric, "value": value}
            for metric, value in numbers.items()
        ]
        write_table(folder / "metrics.csv", rows)
        write_table(
            folder / "rollout.csv",
            [
                {"method": self.label, "seed": self.seed, "step": k + 1, "error": float(e), "floor": float(f)}
                for k, (e, f) in enumerate(zip(curve[0], curve[1], strict=True))
            ],
        )
        film = self._film(stepper, parts["test"])
        np.savez_compressed(folder / "film.npz", **film)
        steps = np.arange(1, self.rollout + 1)
        drawn = {self.label: [(steps, curve[0])], "reconstruction of the truth": [(steps, curve[1])]}
        plots.save(plots.draw_curves(drawn, self.curve), folder / "rollout.png")
        plots.save(plots.draw_film(film, self.label, times=parts["test"].times), folder / "film.png")
        report.write_report(folder, self, rows, ["rollout.png", "film.png"])

    def _check(self) -> None:
        """Refuse what would fail only after a training."""
        check_rollout(self.rollout, self.frames)
        _ = self.grid

    def _read_summary(self, folder: pathlib.Path) -> dict[str, float]:
        """What a training that came to its end has written."""
        file = folder / "summary.csv"
        if not file.is_file():
            raise ValueError(
                f"{folder} holds no trained model yet (summary.csv). Go on with: sciml train {self.name} --resume "
                f"{folder}"
            )
        return {row["metric"]: float(row["value"]) for row in read_table(file)}

    def _film(self, stepper: AbstractStepper, test) -> dict[str, np.ndarray]:
        """What `draw_film` takes: a rollout from the start of the first test trajectory, until it blows up."""
        truth, box = test.values[0], self.fine.box
        found, nodes = map(
            np.asarray, record(stepper, jnp.asarray(truth[0]), len(truth) - 1, self.judge_every)
        )
        lost = ~(np.max(abs(found.reshape(len(found), -1)), axis=1) < 1e3)
        kept = slice(np.argmax(lost) if lost.any() else len(found))
        thin = (kept, -1, *[slice(None, None, self.judge_every)] * self.fine.dimensions)
        return {
            "truth": truth[thin],
            "found": found[kept].astype(np.float32),
            "nodes": nodes[kept].astype(np.float32),
            "periods": np.where(box.periodic, box.lengths, 0.0),
        }

    def _list_truths(self, part) -> list:
        """The trajectories of a part, each a pytree of arrays `(time, ...)` that the method's `start` takes one of."""
        return list(part.values)

    def _roll(self, stepper: AbstractStepper, frames, size: np.ndarray) -> Rollout:
        """Step from the first of frames `(time, ...)` to the last, beside the others."""
        return roll_beside(stepper, frames, size, self.judge_every)

    def _time(self, stepper: AbstractStepper, start, repetitions: int = 5) -> float:
        """Seconds of a step from a frame of the truth, the median, without compilation."""
        step = eqx.filter_jit(lambda state: stepper.step(state))
        state = jax.block_until_ready(eqx.filter_jit(stepper.start)(start))
        jax.block_until_ready(step(state))
        seconds = []
        for _ in range(repetitions):
            began = time.perf_counter()
            state, _ = jax.block_until_ready(step(state))
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds)

    def _validate(self, stepper: AbstractStepper, parts) -> float:
        """The error of rollouts on the validation set, by which settings are chosen."""
        truths, size = self._list_truths(parts["validation"]), self._size(parts["train"])
        roll, label = (lambda frames: self._roll(stepper, frames, size)), f"{self.label}, validation"
        return judge_steps(truths, self.rollout, roll, label)[0]["rollout_error"]

    def _judge(self, stepper: AbstractStepper, truths: list, size: np.ndarray):
        numbers, curves = judge_steps(
            truths, self.rollout, lambda frames: self._roll(stepper, frames, size), self.label
        )
        start = jax.tree.map(lambda x: jnp.asarray(x[0]), truths[0])
        return numbers | {"nodes": self.nodes, "step_seconds": self._time(stepper, start)}, curves

    def _stepper(self, folder: pathlib.Path, parts) -> AbstractStepper:
        grid, fine, problem = self.grid, self.fine, self.problem()
        fourier = all(grid.box.periodic) and self._prefers_fourier(parts["validation"])
        if self.method == "persistence":
            return GridStepper(_stay, grid, fine, fourier)
        if self.method == "classical-moving":
            return MovingStepper(self.prior(), self.follower(), fine, self.prior())
        if self.method == "classical-volumes":
            return GridStepper(Unmoved(self.prior(), grid), grid, fine, fourier)
        if self.method == "classical":
            step = _Classical(problem.law, self.coarse(), jnp.asarray(problem.times[:2]))
            return GridStepper(step, grid, fine, fourier)
        file = folder / "best.eqx"
        if not file.is_file():
            raise ValueError(
                f"{folder} holds no trained model yet (best.eqx). Go on with: sciml train {self.name} --resume {folder}"
            )
        coarse = sample_fixed(parts["train"].values[:1], fine, grid)["u"]
        model, follower = self._build(coarse), self.follower()
        if self.mover != "classical":
            model = DrivenSolver(model, self._build_mover(folder, parts))
        model = training.load_model(file, model)
        if self.mover != "classical":
            model, follower = model.solver, Follower(grid, monitor=follower.monitor, mover=model.mover)
        if self.method in MOVING:
            return MovingStepper(model, follower, fine, self.prior() if self.method in CORRECTED else None)
        if self.method in BRANCHES or self.method.startswith("gnn"):
            return BranchStepper(model, follower if self.method == "published" else None, grid, fine)
        step = Unmoved(model, grid) if isinstance(model, MovingStep) else model
        return GridStepper(step, grid, fine, fourier)

    def _prefers_fourier(self, validation) -> bool:
        """Whether a fixed grid's Fourier series is nearer to the truth than cubic interpolation, by validation."""
        steppers = [GridStepper(_stay, self.grid, self.fine, fourier) for fourier in (False, True)]
        size, values = self._size(validation), validation.values
        # The first frame is where a rollout starts; the floors of all others count.
        frames = [jnp.asarray(trajectory) for trajectory in values]
        cubic, series = (
            np.mean([roll_beside(s, pair, size, self.judge_every).floors for pair in frames])
            for s in steppers
        )
        return bool(series < cubic)

    def _size(self, part) -> jax.Array:
        """The standard deviation of each channel of a part, `(channel,)`."""
        values = part.values
        return jnp.asarray(np.std(values, axis=(0, 1, *range(3, values.ndim)), dtype=np.float64), jnp.float32)

    def _sample(self, folder: pathlib.Path, part: str, parts) -> dict[str, np.ndarray]:
        """The samples of a method, cached beside the data; those to train on with their images."""
        kinds = {"moving": "moving", "corrected": "ahead", "published": "branch"}
        kind = kinds.get(self.method, "fixed")
        images = part == "train" and self.optimization.images and self.reflection is not None
        if kind == "ahead" and images:
            plain = dataclasses.replace(
                self, optimization=dataclasses.replace(self.optimization, images=False)
            )
            return add_sample_images(plain._sample(folder, part, parts), self.reflection, self.grid)
        values = parts[part].values
        if kind == "fixed" or self.mover != "classical":
            # Nodes go over into nodes: images of the samples are samples of the images, at a part of their memory.
            samples = sample_fixed(values, self.fine, self.grid)
            return {"u": add_images(samples["u"], self.reflection)} if images else samples
        if images:
            values = add_images(values, self.reflection)
        fixed = {k: v for k, v in dataclasses.asdict(self).items() if k in (*self.data_fields(), "nodes")}
        fixed |= {"images": images, "data": digest(parts[part].values)}
        if kind == "branch":
            fixed["near"] = (self.networks.neighbors, NEAR)
        if kind == "ahead":
            fixed["small_steps"] = self.small_steps
        if kind == "moving":
            fixed["starts"] = "fresh"
        if self.smoothing != 1:
            fixed["smoothing"] = self.smoothing
        cache = folder.parent / "data" / f"{self.name}-{kind}-{part}-{fingerprint(fixed)}.npz"
        if not cache.is_file():
            cache.parent.mkdir(parents=True, exist_ok=True)
            if kind == "moving":
                found = sample_moving(values, self.fine, self.follower())
            elif kind == "ahead":
                found = sample_ahead(values, self.fine, self.follower(), self.prior())
            else:
                sizes = self.networks.neighbors, NEAR
                found = sample_branches(values, self.fine, self.follower(), *sizes)
            partial = cache.with_suffix(f".{os.getpid()}.partial.npz")  # another run may be at it
            np.savez(partial, **found)
            partial.replace(cache)
        with np.load(cache) as stored:
            return {name: stored[name] for name in stored.files}

    def _fit(self, model, samples, folder, resume, progress, *, pretrain: bool):
        settings, steps = self.optimization, self.steps
        if self.method in BRANCHES:
            trips = round(settings.round_trips * steps)
            steps = max(1, trips) if pretrain else max(1, steps - trips)
        loss = self._loss(samples["train"], pretrain)
        length = max(2, settings.unroll + 1)
        trajectories, frames = samples["validation"]["u"].shape[:2]
        most = min(32, trajectories * (frames - length + 1))
        validation = training.Windows(samples["validation"], length, most, seed=0)
        held = [jax.tree.map(jnp.asarray, validation(step)) for step in range(4)]
        quiet = eqx.tree_at(lambda x: x.noise, loss, 0.0)
        measure = eqx.filter_jit(lambda candidate, batch: quiet(candidate, batch, key=jax.random.key(0)))
        return training.fit(
            model,
            loss,
            training.Windows(samples["train"], length, settings.batch_size, seed=self.seed),
            optimizer=settings.make_optimizer(steps, *self.tuned.get(self.method, ())),
            steps=steps,
            key=jax.random.key(self.seed + 1),
            validate=lambda candidate: sum(measure(candidate, batch) for batch in held) / len(held),
            validate_every=max(1, steps // 10),
            clip=settings.clip,
            trainable=self._choose_trainable(model, pretrain),
            folder=folder,
            resume=resume,
            configuration=dataclasses.asdict(self) | {"tuned": self.tuned.get(self.method)},
            progress=progress,
        )

    def _build_mover(self, folder: pathlib.Path, parts):
        """A neural mover like the one that was trained, to be read into."""
        if self.mover_run:
            return load_mover(pathlib.Path(self.mover_run), self)
        follower = self.follower()
        solutions = {name: self._sample(folder, name, parts)["u"] for name in ("train", "validation")}
        return build_mover(follower, make_mover_samples(follower, solutions), seed=self.seed)

    def _choose_trainable(self, model: eqx.Module, pretrain: bool):
        if self.mover == "classical":
            return eqx.is_inexact_array
        return model.trainable(self.mover == "joint" and not pretrain)

    def _prepare_mover(self, folder: pathlib.Path, samples, resume: bool, progress: bool):
        """A neural mover: read from its run, or trained on the samples."""
        if self.mover_run:
            return load_mover(pathlib.Path(self.mover_run), self)
        solutions = {name: part["u"] for name, part in samples.items()}
        return train_mover(
            self.follower(),
            make_mover_samples(self.follower(), solutions),
            seed=self.seed,
            steps=self.optimization.mover_steps,
            folder=folder / "mover",
            resume=resume and (folder / "mover" / "fit.json").is_file(),
            progress=progress,
        )

    def _build(self, u: np.ndarray, ahead: np.ndarray | None = None, change=None) -> eqx.Module:
        prior = self.prior() if self.method in CORRECTED else None
        return build_model(
            self.method, self.networks, self.grid, u, ahead, seed=self.seed, prior=prior, change=change
        )

    def _build_for(self, samples: dict[str, np.ndarray]) -> eqx.Module:
        """The model with the scales of its samples."""
        if self.method not in CORRECTED:
            if "fresh" not in samples:
                return self._build(samples["u"])
            return self._build(samples["fresh"], np.roll(samples["u"], -1, axis=1))  # at nodes that stay
        change = jnp.asarray(measure_corrections(self.prior(), samples, self.grid))
        return self._build(samples["u"], change=change)

    def _loss(self, samples: dict[str, np.ndarray], pretrain: bool):
        settings, grid = self.optimization, self.grid
        if self.method in MOVING:
            return MovingLoss(grid, settings.noise, settings.unroll, settings.pushforward)
        if self.method in BRANCHES or self.method.startswith("gnn"):
            unroll = 0 if pretrain else settings.unroll
            size, change = measure_scales(samples["u"])[:2]
            if self.mover != "classical":
                joint = self.mover == "joint"
                return DrivenLoss(
                    self.follower(), settings.noise, unroll, size, change, joint, settings.pushforward
                )
            nodes, model = list_nodes(grid), self._build(samples["u"][:1])
            plan = eqx.filter_jit(model.plan)(nodes, nodes)
            return BranchLoss(grid, settings.noise, unroll, size, change, plan, settings.pushforward)
        return FixedLoss(grid, settings.noise, settings.unroll, settings.pushforward)


class _Classical(eqx.Module):
    """The law, solved on the method's own nodes."""

    law: AbstractPDE
    calculus: AbstractCalculus
    times: jax.Array

    def __call__(self, u):
        return evolve(self.law, self.calculus, u, self.times)[0][-1]


def _stay(u):
    """Predict no change, `(channel, *space)`."""
    return u
