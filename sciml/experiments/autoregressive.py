"""Experiments about surrogates that step a solution from frame to frame: what their three verbs do."""

import abc
import dataclasses
import pathlib
from typing import ClassVar

import equinox as eqx
import numpy as np

from .. import data as stored
from .. import nn, training
from ..pdes import channel_names
from . import plots, report
from .base import AbstractExperiment, Curve, fingerprint
from .judgement import Judgement, judge
from .problem import Problem, load_parts, simulate_parts
from .runs import write_table
from .surrogate import make_surrogate, train_surrogate


class AbstractSurrogateExperiment(AbstractExperiment):
    """An experiment whose method is a network that steps the solution of a PDE.

    A subclass is a frozen dataclass with at least the fields `split`, `architecture`, `optimization` and `seed`; it
    says what the problem is.
    """

    measured_on: ClassVar[str] = (
        "test trajectories whose seeds were used for nothing else; means over trajectories"
    )
    curve: ClassVar[Curve] = Curve(
        "rollout.csv", "time", "nrmse", "time", "rollout nRMSE", logarithmic=True, start=1
    )

    @abc.abstractmethod
    def problem(self) -> Problem:
        """The law, its grid, its starts and its times `(time,)`."""

    def network(self) -> eqx.Module:
        """The network with its initial weights, `(channel, *space) -> (channel, *space)`."""
        law, calculus, *_ = self.problem()
        channels = channel_names(law, calculus.grid.dimensions)
        return self.architecture.build(calculus.grid, len(channels), seed=self.seed)

    @property
    def label(self) -> str:
        """The method's name."""
        return self.architecture.method

    def generate(self, file, *, overwrite=False, progress=True):
        """Simulate the three sets and write them as one file; see `AbstractExperiment.generate`."""
        parts = simulate_parts(self.problem(), self.split, progress=progress)
        stored.save_trajectories(file, stored.concatenate(list(parts.values())), overwrite=overwrite)

    def train(self, folder, *, resume=False, data=None, progress=True):
        """Train the network; see `AbstractExperiment.train`."""
        parts = self._load(folder, data, progress)
        train_surrogate(
            make_surrogate(self.network(), parts["train"].values),
            parts,
            self.optimization,
            seed=self.seed,
            folder=folder,
            resume=resume,
            configuration=dataclasses.asdict(self),
            progress=progress,
        )

    def evaluate(self, folder, *, data=None, progress=True):
        """Judge the best model beside persistence; see `AbstractExperiment.evaluate`."""
        file = folder / "best.eqx"
        if not file.is_file():
            raise ValueError(
                f"{folder} holds no trained model yet (best.eqx). Go on with: sciml train {self.name} --resume {folder}"
            )
        parts = self._load(folder, data, progress)
        problem, truth = self.problem(), parts["test"]
        model = training.load_model(file, make_surrogate(self.network(), parts["train"].values))
        judgements = {
            self.label: judge(model, truth, problem),
            "persistence": judge(_persist, truth, problem),
        }
        judgements[self.label].numbers["parameters"] = nn.count_parameters(model.network)
        judgements["persistence"].numbers["parameters"] = 0
        self._write(folder, judgements, truth)

    def _write(
        self, folder: pathlib.Path, judgements: dict[str, Judgement], truth: stored.Trajectories
    ) -> None:
        rows, curves = [], []
        for method, judgement in judgements.items():
            for metric, value in judgement.numbers.items():
                rows.append({"method": method, "seed": self.seed, "metric": metric, "value": value})
            for time, error in zip(truth.times, judgement.rollout, strict=True):
                curves.append(
                    {"method": method, "seed": self.seed, "time": float(time), "nrmse": float(error)}
                )
        write_table(folder / "metrics.csv", rows)
        write_table(folder / "rollout.csv", curves)
        pictures = {
            "prediction.png": plots.draw_prediction(truth, judgements[self.label].prediction),
            "rollout.png": plots.draw_curves(
                {m: [(truth.times, j.rollout)] for m, j in judgements.items()}, self.curve
            ),
        }
        for name, figure in pictures.items():
            plots.save(figure, folder / name)
        report.write_report(folder, self, rows, list(pictures))

    def _load(self, folder: pathlib.Path, data: pathlib.Path | None, progress: bool):
        problem = self.problem()
        if data is not None:
            return load_parts(data, problem, self.split)
        # Runs of one experiment that differ in method or seed only share their data.
        fixed = {k: v for k, v in dataclasses.asdict(self).items() if k in self.data_fields()}
        cache = folder.parent / "data" / f"{self.name}-{fingerprint(fixed)}.h5"
        if not cache.is_file():
            cache.parent.mkdir(parents=True, exist_ok=True)
            parts = simulate_parts(problem, self.split, progress=progress)
            stored.save_trajectories(cache, stored.concatenate(list(parts.values())), overwrite=True)
        return load_parts(cache, problem, self.split)


def _persist(u: np.ndarray) -> np.ndarray:
    """Predict no change, `(channel, *space)`."""
    return u
