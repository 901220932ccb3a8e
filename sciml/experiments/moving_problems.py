"""The problems of the moving-mesh experiments: many fronts, few fronts, and spots."""

import dataclasses
from typing import ClassVar, Literal

import numpy as np

from ..pdes import (
    AdvectionDiffusion,
    Box,
    Burgers,
    FourierSeries,
    GrayScott,
    Grid,
    Nagumo,
    Spectral,
    Spots,
)
from .moving import AbstractMovingExperiment
from .moving_movers import MoverKind
from .moving_networks import Method, Networks
from .problem import Problem
from .settings import Split, Steps

LAPTOP = Split(train=80, validation=10, test=20)
PAPER = Split(train=80, validation=20, test=100)
TINY = Split(train=2, validation=1, test=1)
_SMOKE = {
    "points": 32,
    "nodes": 16,
    "frames": 7,
    "split": TINY,
    "rollout": 4,
    "networks": Networks(width=4, levels=1, graph_width=4, graph_depth=1),
    "optimization": Steps(steps=4, batch_size=2, mover_steps=4),
}
_PAPER = {
    "split": PAPER,
    "networks": Networks(width=64, neighbors=35, graph_width=128, graph_depth=6),
    "optimization": Steps(steps=100_000, batch_size=6, learning_rate=6e-4),
}

_SIZES = {"smoke": _SMOKE, "laptop": {}, "paper": _PAPER}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Burgers2DMoving(AbstractMovingExperiment):
    """Learn to step `u_t + u u_x + u u_y = nu lap u` from random Fourier series: steep fronts everywhere."""

    name: ClassVar[str] = "burgers2d-mmpde"
    summary: ClassVar[str] = "2-D Burgers with steep fronts: solvers on moving meshes against fixed ones"
    reflection: ClassVar[float | None] = -1.0

    seed: int = 0
    """Of the initial weights and the order of the batches."""
    method: Method = "moving"
    """`moving` keeps the solution on nodes that follow it, `corrected` corrects a classical step there; each has its
    control on nodes that stay, `identity` and `corrected-identity`. `published` is MM-PDE."""
    mover: MoverKind = "classical"
    """What moves the nodes of the published form: a data-free mover, too, frozen (`neural`) or trained along."""
    mover_run: str = ""
    """A run of `burgers2d-mover` to take that mover from; without one it is trained on the solver's own solutions."""
    nodes: int = 48
    """Nodes per axis."""
    points: int = 192
    """Grid points of the truth per axis."""
    frames: int = 31
    """Times of a trajectory, the start counted."""
    rollout: int = 20
    """Steps that are judged in a row."""
    judge_every: int = 3
    """Errors are measured at every such point of the truth along each axis; a number that has no factor in common with
    the points from node to node, so that nodes are not favored."""
    split: Split = LAPTOP
    """How many trajectories for what."""
    networks: Networks = Networks()
    """Sizes of the networks."""
    optimization: Steps = Steps()
    """How to train."""
    viscosity: float = 2e-3
    """nu."""
    horizon: float = 0.6
    """The last time."""
    cutoff: int = 2
    """The largest wavenumber of the starts."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        return cls(**_SIZES[size])

    @classmethod
    def data_fields(cls):
        """See `AbstractExperiment.data_fields`."""
        return ("points", "frames", "split", "viscosity", "horizon", "cutoff")

    def problem(self):
        """See `AbstractMovingExperiment.problem`."""
        return Problem(
            Burgers(self.viscosity),
            Spectral(_make_grid(self.points)),
            FourierSeries(cutoff=self.cutoff),
            _make_times(self.horizon, self.frames),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrontMoving(AbstractMovingExperiment):
    """Learn to step a solution with few sharp features: growing discs, shrinking discs, or a ring that is carried."""

    name: ClassVar[str] = "front-mmpde"
    summary: ClassVar[str] = "few sharp features: solvers on moving meshes against fixed ones"

    seed: int = 0
    """Of the initial weights and the order of the batches."""
    method: Method = "moving"
    """`moving` keeps the solution on nodes that follow it, `corrected` corrects a classical step there; each has its
    control on nodes that stay, `identity` and `corrected-identity`. `published` is MM-PDE."""
    mover: MoverKind = "classical"
    """What moves the nodes of the published form: a data-free mover, too, frozen (`neural`) or trained along."""
    mover_run: str = ""
    """A run of `burgers2d-mover` to take that mover from; without one it is trained on the solver's own solutions."""
    nodes: int = 48
    """Nodes per axis."""
    points: int = 192
    """Grid points of the truth per axis."""
    frames: int = 31
    """Times of a trajectory, the start counted."""
    rollout: int = 20
    """Steps that are judged in a row."""
    judge_every: int = 3
    """Errors are measured at every such point of the truth along each axis; a number that has no factor in common with
    the points from node to node, so that nodes are not favored."""
    split: Split = LAPTOP
    """How many trajectories for what."""
    networks: Networks = Networks()
    """Sizes of the networks."""
    optimization: Steps = Steps()
    """How to train."""
    family: Literal["front", "allen-cahn", "ring"] = "front"
    """Nagumo's fronts that advance, Allen and Cahn's that move by curvature, or a thin ring in a uniform flow."""
    thickness: float = 1.1
    """Of the fronts, `sqrt(D / r)`, in points of a truth of 192; with it a ring gets thinner, its diffusion slower."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        return cls(**_SIZES[size])

    @classmethod
    def data_fields(cls):
        """See `AbstractExperiment.data_fields`."""
        return ("points", "frames", "split", "family", "thickness")

    @property
    def reflection(self):
        """None for the ring, whose flow has a direction."""
        return None if self.family == "ring" else 1.0

    @property
    def small_steps(self):
        """By family, as diffusion asks for; see `VolumeStep`."""
        return {"front": (8, 5), "allen-cahn": (4, 15), "ring": (8, 3)}[self.family]

    @property
    def smoothing(self):
        """A thin ring wants a wider mesh: between its two edges and where it will be in a frame."""
        return 1.5 if self.family == "ring" else 1.0

    def coarse(self):
        """With the share of modes, of 1/2, 2/3 and 1, that is nearest to the truth of the validation."""
        return Spectral(self.grid, dealias=2 / 3 if self.family == "allen-cahn" else 1.0)

    @property
    def label(self):
        """The method, its nodes and the family."""
        return super().label if self.family == "front" else f"{super().label}-{self.family}"

    def problem(self):
        """See `AbstractMovingExperiment.problem`."""
        fine, length = _make_grid(self.points), self.thickness / 192
        if self.family == "ring":
            thinner = self.thickness / 1.1
            return Problem(
                AdvectionDiffusion((0.35, 0.2), 5e-5 * thinner**2),
                Spectral(fine),
                Spots(count=(1, 1), radii=(0.12, 0.25), edge=0.015 * thinner, shape="ring"),
                _make_times(0.9, self.frames),
            )
        cubic = Spectral(fine, dealias=0.5)
        edge = 2**0.5 * length
        if self.family == "allen-cahn":
            law = Nagumo(0.025, 0.025 / length**2, 0.5)
            return Problem(law, cubic, Spots(radii=(0.2, 0.3), edge=edge), _make_times(0.75, self.frames))
        law = Nagumo(166.0 * length**2, 166.0, 0.25)
        return Problem(law, cubic, Spots(radii=(0.08, 0.16), edge=edge), _make_times(0.6, self.frames))


@dataclasses.dataclass(frozen=True, kw_only=True)
class GrayScottMoving(AbstractMovingExperiment):
    """Learn to step Gray and Scott's reaction: a few spots that form and divide."""

    name: ClassVar[str] = "gray-scott-mmpde"
    summary: ClassVar[str] = "spots of Gray and Scott: solvers on moving meshes against fixed ones"
    small_steps: ClassVar[tuple[int, int]] = (4, 15)
    reflection: ClassVar[float | None] = 1.0

    seed: int = 0
    """Of the initial weights and the order of the batches."""
    method: Method = "moving"
    """`moving` keeps the solution on nodes that follow it, `corrected` corrects a classical step there; each has its
    control on nodes that stay, `identity` and `corrected-identity`. `published` is MM-PDE."""
    mover: MoverKind = "classical"
    """What moves the nodes of the published form: a data-free mover, too, frozen (`neural`) or trained along."""
    mover_run: str = ""
    """A run of `burgers2d-mover` to take that mover from; without one it is trained on the solver's own solutions."""
    nodes: int = 48
    """Nodes per axis."""
    points: int = 192
    """Grid points of the truth per axis."""
    frames: int = 31
    """Times of a trajectory, the start counted."""
    rollout: int = 20
    """Steps that are judged in a row."""
    judge_every: int = 3
    """Errors are measured at every such point of the truth along each axis; a number that has no factor in common with
    the points from node to node, so that nodes are not favored."""
    split: Split = LAPTOP
    """How many trajectories for what."""
    networks: Networks = Networks()
    """Sizes of the networks."""
    optimization: Steps = Steps()
    """How to train."""
    feed: float = 0.028
    """F."""
    kill: float = 0.062
    """k."""
    horizon: float = 900.0
    """The last time."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        return cls(**_SIZES[size])

    @classmethod
    def data_fields(cls):
        """See `AbstractExperiment.data_fields`."""
        return ("points", "frames", "split", "feed", "kill", "horizon")

    def coarse(self):
        """See `FrontMoving.coarse`."""
        return Spectral(self.grid, dealias=1.0)

    def problem(self):
        """See `AbstractMovingExperiment.problem`."""
        spots = Spots(count=(2, 4), radii=(0.03, 0.06), edge=0.008, low=(1.0, 0.0), high=(0.5, 0.25))
        law = GrayScott(feed=self.feed, kill=self.kill)
        return Problem(
            law, Spectral(_make_grid(self.points), dealias=0.5), spots, _make_times(self.horizon, self.frames)
        )


def _make_grid(points: int) -> Grid:
    return Grid(Box((0.0, 0.0), (1.0, 1.0)), (points, points))


def _make_times(horizon: float, frames: int) -> np.ndarray:
    return np.linspace(0.0, horizon, frames)
