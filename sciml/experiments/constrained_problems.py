"""Diffusion-sorption, Navier-Stokes and Burgers under a constraint: the published problems, and one that is easy."""

import dataclasses
from typing import ClassVar

import diffrax

from ..constraints import AbstractStart, LiftedStart
from ..pdes import (
    Box,
    Burgers,
    DiffusionSorption,
    FiniteDifference,
    FourierSeries,
    Grid,
    NavierStokes,
    PeriodicGaussian,
    Spectral,
    UniformConstant,
)
from .constrained import AbstractConstraintExperiment
from .constraint_methods import ConstraintNetwork, ConstraintTraining, Method
from .problem import Problem
from .settings import Split

# How many steps a method takes in the time of one of a single constraint in one dimension, on two cores.
PACE = {
    "soft": 3.2,
    "soft-published": 3.2,
    "supervised": 3.2,
    "experts-coupled": 0.45,
    "experts-own": 0.35,
    "experts-overlapping": 0.25,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SorptionConstraint(AbstractConstraintExperiment):
    """PDEBench's diffusion-sorption from a constant start, which contradicts both walls."""

    name: ClassVar[str] = "diffusion-sorption-constraint"
    summary: ClassVar[str] = "1-D diffusion-sorption under a constraint: one, experts, soft, supervised"
    elapsed: ClassVar[bool] = True
    power: ClassVar[float] = 0.5
    pace: ClassVar[dict[str, float]] = PACE

    seed: int = 0
    """Of the initial weights and the order of the batches."""
    method: Method = "experts-coupled"
    """What is compared."""
    points: int = 32
    """Cells of the training."""
    frames: int = 33
    """Times of the training, the start counted; even in the root of time."""
    refinement: int = 2
    """How many times finer, in space and time, the test is."""
    horizon: float = 500.0
    """The last time of the training, s."""
    until: float = 500.0
    """The last time of the test, s; later than the horizon for a test out of distribution."""
    partition: tuple[int, int] = (1, 4)
    """Boxes of the experts in time and space."""
    jumps: float = 1.0
    """The weight of jumps between coupled experts."""
    regularization: float = 1e-6
    """Of the weights in the test; chosen on the validation set. In training it is 1e-6, too."""
    penalty: float = 0.0
    """The weight of initial condition and walls as rows; 0 has the one exactly, the other from the calculus."""
    split: Split = Split(train=32, validation=4, test=16)
    """How many starts for what."""
    network: ConstraintNetwork = ConstraintNetwork()
    """The network."""
    training: ConstraintTraining = ConstraintTraining()
    """How to train."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        if size == "smoke":
            return cls(
                points=16,
                frames=9,
                split=Split(train=4, validation=1, test=2),
                network=ConstraintNetwork(basis=4, width=6, modes=4, depth=1),
                training=ConstraintTraining(steps=4, batch_size=2),
            )
        if size == "paper":
            return cls(
                points=512,
                frames=65,
                split=Split(train=8000, validation=100, test=1000),
                network=ConstraintNetwork(width=64, depth=5),
                training=ConstraintTraining(steps=4000, batch_size=6, learning_rate=1e-3),
            )
        return cls()

    @classmethod
    def data_fields(cls):
        """See `AbstractExperiment.data_fields`."""
        return ("points", "frames", "refinement", "horizon", "until", "split")

    def pose(self, points, times):
        """PDEBench's law and starts; see `AbstractConstraintExperiment.pose`."""
        law = DiffusionSorption()
        calculus = FiniteDifference(Grid(law.domain(), points))
        return Problem(law, calculus, UniformConstant(0.0, 0.2), times)

    def solver(self):
        """An implicit one: the layers at the walls are stiff."""
        return diffrax.Kvaerno5()


@dataclasses.dataclass(frozen=True, kw_only=True)
class NavierStokesConstraint(AbstractConstraintExperiment):
    """Unforced flow on a periodic square, from a smooth Gaussian field of vorticity.

    At laptop size it is followed for a fifth of the published time.
    """

    name: ClassVar[str] = "navier-stokes-constraint"
    summary: ClassVar[str] = "2-D Navier-Stokes under a constraint: one, experts, soft, supervised"
    published_start: ClassVar[AbstractStart] = LiftedStart()
    pace: ClassVar[dict[str, float]] = {
        "soft": 6.6,
        "soft-published": 6.6,
        "supervised": 6.6,
        "experts": 0.8,
        "experts-own": 0.83,
        "experts-coupled": 0.6,
        "experts-overlapping": 0.052,
    }

    seed: int = 0
    """Of the initial weights and the order of the batches."""
    method: Method = "experts-coupled"
    """What is compared."""
    viscosity: float = 1e-4
    """nu."""
    points: int = 24
    """Grid points per axis of the training."""
    frames: int = 9
    """Times of the training, the start counted."""
    refinement: int = 2
    """How many times finer, in space and time, the test is."""
    horizon: float = 1.0
    """The last time of the training."""
    until: float = 1.0
    """The last time of the test; later than the horizon for a test out of distribution."""
    partition: tuple[int, int, int] = (1, 4, 4)
    """Boxes of the experts in time and space."""
    jumps: float = 0.3
    """The weight of jumps between coupled experts; chosen on the validation set."""
    regularization: float = 1e-6
    """Of the weights in the test; chosen on the validation set. In training it is 1e-6, too."""
    penalty: float = 0.0
    """The weight of initial condition and walls as rows; 0 has the one exactly, the other from the calculus."""
    split: Split = Split(train=64, validation=4, test=8)
    """How many starts for what."""
    network: ConstraintNetwork = ConstraintNetwork(basis=16, width=12, modes=5, depth=3)
    """The network."""
    training: ConstraintTraining = ConstraintTraining(steps=300, batch_size=2, pretraining=0.8)
    """How to train."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        if size == "smoke":
            return cls(
                points=8,
                frames=6,
                refinement=1,
                horizon=0.5,
                until=0.5,
                split=Split(train=2, validation=1, test=1),
                network=ConstraintNetwork(basis=3, width=4, modes=3, depth=1),
                training=ConstraintTraining(steps=2, batch_size=1),
            )
        if size == "paper":
            return cls(
                points=64,
                frames=65,
                refinement=4,
                horizon=5.0,
                until=5.0,
                split=Split(train=4000, validation=100, test=100),
                network=ConstraintNetwork(basis=64, width=64, depth=8),
                training=ConstraintTraining(steps=20_000, learning_rate=1e-3),
            )
        return cls()

    @classmethod
    def data_fields(cls):
        """See `AbstractExperiment.data_fields`."""
        return ("viscosity", "points", "frames", "refinement", "horizon", "until", "split")

    def pose(self, points, times):
        """The published law and starts; see `AbstractConstraintExperiment.pose`."""
        grid = Grid(Box((0.0, 0.0), (1.0, 1.0)), (points, points))
        return Problem(NavierStokes(self.viscosity), Spectral(grid), PeriodicGaussian(0.8), times)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BurgersConstraint(AbstractConstraintExperiment):
    """Viscous Burgers on a periodic interval from random Fourier series."""

    name: ClassVar[str] = "burgers1d-constraint"
    summary: ClassVar[str] = "1-D viscous Burgers under a constraint: one, experts, soft, supervised"
    pace: ClassVar[dict[str, float]] = PACE

    seed: int = 0
    """Of the initial weights and the order of the batches."""
    method: Method = "experts-coupled"
    """What is compared."""
    viscosity: float = 0.02
    """nu."""
    length: float = 1.0
    """Of the domain; 2 in PDEBench's files."""
    points: int = 48
    """Grid points of the training."""
    frames: int = 25
    """Times of the training, the start counted."""
    refinement: int = 2
    """How many times finer, in space and time, the test is."""
    horizon: float = 0.5
    """The last time of the training."""
    until: float = 0.5
    """The last time of the test; later than the horizon for a test out of distribution."""
    partition: tuple[int, int] = (1, 4)
    """Boxes of the experts in time and space."""
    jumps: float = 1.0
    """The weight of jumps between coupled experts."""
    regularization: float = 1e-6
    """Of the weights in the test; chosen on the validation set. In training it is 1e-6, too."""
    penalty: float = 0.0
    """The weight of initial condition and walls as rows; 0 has the one exactly, the other from the calculus."""
    split: Split = Split(train=256, validation=8, test=32)
    """How many starts for what."""
    network: ConstraintNetwork = ConstraintNetwork(basis=24, width=20)
    """The network."""
    training: ConstraintTraining = ConstraintTraining(steps=400, pretraining=0.8)
    """How to train."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        if size == "smoke":
            return cls(
                points=16,
                frames=9,
                split=Split(train=4, validation=1, test=2),
                network=ConstraintNetwork(basis=4, width=6, modes=4, depth=1),
                training=ConstraintTraining(steps=4, batch_size=2),
            )
        if size == "paper":
            return cls(
                points=256,
                frames=65,
                split=Split(train=4000, validation=100, test=1000),
                network=ConstraintNetwork(basis=64, width=64, depth=5),
                training=ConstraintTraining(steps=20_000, learning_rate=1e-3),
            )
        return cls()

    @classmethod
    def data_fields(cls):
        """See `AbstractExperiment.data_fields`."""
        return ("viscosity", "length", "points", "frames", "refinement", "horizon", "until", "split")

    def pose(self, points, times):
        """Burgers' law; see `AbstractConstraintExperiment.pose`."""
        calculus = Spectral(Grid(Box(0.0, self.length), points))
        return Problem(Burgers(self.viscosity), calculus, FourierSeries(cutoff=2), times)
