"""What an experiment is: a frozen dataclass that names everything which fixes it, and four verbs.

The verbs are those of the command line: `generate` data, `train`, `evaluate`, and (over several runs) `compare`. A run
is a folder. Whatever an experiment measures it writes there as tidy tables, and pictures and a report beside them.
"""

import abc
import dataclasses
import difflib
import hashlib
import importlib
import json
import pathlib
from typing import Any, ClassVar, NamedTuple, Self

_EXPERIMENTS = {
    "burgers1d-fno": ("sciml.experiments.burgers1d", "Burgers1D"),
    "burgers2d-fno": ("sciml.experiments.burgers2d", "Burgers2D"),
    "navier-stokes-fno": ("sciml.experiments.navier_stokes", "NavierStokes2D"),
    "spiral-node": ("sciml.experiments.spirals", "SpiralODE"),
    "spiral-nsde": ("sciml.experiments.spirals", "SpiralSDE"),
    "digits-node": ("sciml.experiments.digits", "DigitsODE"),
    "digits-nsde": ("sciml.experiments.digits", "DigitsSDE"),
    "physionet-latent-ode": ("sciml.experiments.physionet", "PhysioNet"),
    "moons-ffjord": ("sciml.experiments.moons", "Moons"),
    "ring-mover": ("sciml.experiments.movers", "RingMover"),
    "burgers2d-mover": ("sciml.experiments.movers", "Burgers2DMover"),
    "burgers2d-mmpde": ("sciml.experiments.moving_problems", "Burgers2DMoving"),
    "front-mmpde": ("sciml.experiments.moving_problems", "FrontMoving"),
    "gray-scott-mmpde": ("sciml.experiments.moving_problems", "GrayScottMoving"),
    "cylinder-mmpde": ("sciml.experiments.cylinder", "CylinderMoving"),
    "diffusion-sorption-constraint": ("sciml.experiments.constrained_problems", "SorptionConstraint"),
    "navier-stokes-constraint": ("sciml.experiments.constrained_problems", "NavierStokesConstraint"),
    "burgers1d-constraint": ("sciml.experiments.constrained_problems", "BurgersConstraint"),
}
SIZES = ("smoke", "laptop", "paper")


class Curve(NamedTuple):
    """A curve that each evaluated run of an experiment holds as a table, for `sciml compare` to draw.

    **Arguments:**

    - `file`: the table, with a column `method`.
    - `x`, `y`: its columns to draw.
    - `xlabel`, `ylabel`: what they are, with units.
    - `logarithmic`: whether `y` is.
    - `start`: the first point to draw; an error that starts at 0 cannot be drawn on a logarithmic axis.
    """

    file: str
    x: str
    y: str
    xlabel: str
    ylabel: str
    logarithmic: bool = False
    start: int = 0

    @property
    def picture(self) -> str:
        """The name of the picture `sciml compare` makes."""
        return self.file.replace(".csv", ".png")


class Scatter(NamedTuple):
    """One metric of runs against another, for `sciml compare` to draw.

    **Arguments:**

    - `x`, `y`: names of metrics in `metrics.csv`.
    - `xlabel`, `ylabel`: what they are, with units.
    """

    x: str
    y: str
    xlabel: str
    ylabel: str

    @property
    def picture(self) -> str:
        """The name of the picture `sciml compare` makes."""
        return f"{self.y}-{self.x}.png"


class AbstractExperiment(abc.ABC):
    """One experiment: a frozen dataclass whose fields fix every number it will give.

    Equal fields mean an equal experiment, to the bit on one machine. The seeds of training, validation and test are
    separate fields and may not overlap.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    measured_on: ClassVar[str]
    curve: ClassVar["Curve"]
    scatters: ClassVar[tuple["Scatter", ...]] = ()

    @classmethod
    @abc.abstractmethod
    def sized(cls, size: str) -> Self:
        """The experiment at a size: `smoke` (seconds), `laptop` (minutes on 2 cores), `paper` (published, for GPUs).

        **Arguments:**

        - `size`: one of `SIZES`.

        **Returns:** an instance.
        """

    @abc.abstractmethod
    def generate(self, file: pathlib.Path, *, overwrite: bool = False, progress: bool = True) -> None:
        """Write the data the experiment trains and tests on.

        **Arguments:**

        - `file`: where to.
        - `overwrite`: replace a file that exists.
        - `progress`: show a bar.
        """

    @abc.abstractmethod
    def train(
        self,
        folder: pathlib.Path,
        *,
        resume: bool = False,
        data: pathlib.Path | None = None,
        progress: bool = True,
    ) -> None:
        """Train the method the fields name.

        **Arguments:**

        - `folder`: the run.
        - `resume`: go on where a run in `folder` stopped.
        - `data`: a file that `generate` wrote; simulated and cached beside the run when not given.
        - `progress`: show bars.
        """

    @abc.abstractmethod
    def evaluate(
        self, folder: pathlib.Path, *, data: pathlib.Path | None = None, progress: bool = True
    ) -> None:
        """Measure a trained run on the test set and write its tables, pictures and report.

        **Arguments:**

        - `folder`: the run.
        - `data`: as for `train`.
        - `progress`: show bars.
        """

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """What to call this run's method in tables and pictures."""

    @classmethod
    @abc.abstractmethod
    def data_fields(cls) -> tuple[str, ...]:
        """The names of the fields that the data depends on."""


def list_experiments() -> dict[str, type[AbstractExperiment]]:
    """Every experiment by name.

    **Returns:** a dictionary from name to class.
    """
    return {name: find_experiment(name) for name in _EXPERIMENTS}


def find_experiment(name: str) -> type[AbstractExperiment]:
    """Look an experiment up.

    **Arguments:**

    - `name`: its name, as `sciml list` shows it.

    **Returns:** its class.

    **Raises:** `ValueError` with the nearest name for one that does not exist.
    """
    if name not in _EXPERIMENTS:
        raise ValueError(suggest("experiment", name, _EXPERIMENTS))
    module, attribute = _EXPERIMENTS[name]
    return getattr(importlib.import_module(module), attribute)


def suggest(noun: str, name: str, known) -> str:
    """The message for a misspelled name.

    **Arguments:**

    - `noun`: what kind of thing it is.
    - `name`: what was given.
    - `known`: the names there are.

    **Returns:** a sentence with the nearest name, if one is near, and all of them.
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"There is no {noun} {name!r}.{hint} There are: {', '.join(known)}."


def fingerprint(value: Any) -> str:
    """A short name for a configuration: equal for equal values, on every machine.

    **Arguments:**

    - `value`: a dataclass or anything JSON can hold.

    **Returns:** ten hexadecimal digits.
    """
    plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:10]
