"""Two-dimensional Navier-Stokes in vorticity form, forced as in the Fourier neural operator's paper."""

import dataclasses
from typing import ClassVar

import numpy as np

from ..pdes import Box, DiagonalForcing, GaussianRandomField, Grid, NavierStokes, Spectral
from .autoregressive import AbstractSurrogateExperiment
from .networks import Architecture
from .problem import Problem
from .settings import Optimization, Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class NavierStokes2D(AbstractSurrogateExperiment):
    """Learn to step the vorticity of a forced flow on a periodic unit square from Gaussian random fields."""

    name: ClassVar[str] = "navier-stokes-fno"
    summary: ClassVar[str] = "2-D Navier-Stokes vorticity, step model: FNO against U-Net, CNN and persistence"

    seed: int = 0
    """Of the initial weights and the order of the batches."""
    viscosity: float = 1e-3
    """nu."""
    forcing: float = 0.1
    """The amplitude of the forcing."""
    points: int = 48
    """Grid points per axis."""
    horizon: float = 10.0
    """The last time."""
    frames: int = 11
    """Times of a trajectory, the start counted."""
    split: Split = Split(train=128, validation=16, test=32)
    """How many trajectories for what."""
    architecture: Architecture = Architecture(width=20, modes=12, depth=4)
    """The network."""
    optimization: Optimization = Optimization(steps=1000, batch_size=16)
    """How to train."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        if size == "smoke":
            tiny = Split(train=4, validation=2, test=2)
            quick = Optimization(steps=10, batch_size=4)
            return cls(
                points=16,
                frames=4,
                horizon=1.0,
                split=tiny,
                architecture=Architecture(width=6, modes=4, depth=2),
                optimization=quick,
            )
        if size == "paper":
            many = Split(train=1000, validation=100, test=200)
            long = Optimization(steps=100_000, batch_size=32, learning_rate=1e-3)
            return cls(
                points=64,
                viscosity=1e-3,
                frames=51,
                horizon=50.0,
                split=many,
                architecture=Architecture(width=32, modes=12),
                optimization=long,
            )
        return cls()

    @classmethod
    def data_fields(cls):
        """See `AbstractSurrogateExperiment.data_fields`."""
        return ("viscosity", "forcing", "points", "horizon", "frames", "split")

    def problem(self):
        """See `AbstractSurrogateExperiment.problem`."""
        calculus = Spectral(Grid(Box((0.0, 0.0), (1.0, 1.0)), (self.points, self.points)))
        law = NavierStokes(self.viscosity, DiagonalForcing(self.forcing))
        return Problem(law, calculus, GaussianRandomField(), np.linspace(0.0, self.horizon, self.frames))
