"""The scalar Burgers equation in two dimensions: fronts that meet at angles."""

import dataclasses
from typing import ClassVar

import numpy as np

from ..pdes import Box, Burgers, FourierSeries, Grid, Spectral
from .autoregressive import AbstractSurrogateExperiment
from .networks import Architecture
from .problem import Problem
from .settings import Optimization, Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Burgers2D(AbstractSurrogateExperiment):
    """Learn to step `u_t + u u_x + u u_y = nu lap u` on a periodic unit square from random Fourier series."""

    name: ClassVar[str] = "burgers2d-fno"
    summary: ClassVar[str] = "2-D scalar Burgers, step model: FNO against U-Net, CNN and persistence"

    seed: int = 0
    """Of the initial weights and the order of the batches."""
    viscosity: float = 0.01
    """nu."""
    points: int = 48
    """Grid points per axis."""
    horizon: float = 0.5
    """The last time."""
    frames: int = 11
    """Times of a trajectory, the start counted."""
    cutoff: int = 2
    """The largest wavenumber of the starts."""
    split: Split = Split(train=128, validation=16, test=32)
    """How many trajectories for what."""
    architecture: Architecture = Architecture(width=20, modes=12, depth=3)
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
                horizon=0.1,
                split=tiny,
                architecture=Architecture(width=6, modes=4, depth=2),
                optimization=quick,
            )
        if size == "paper":
            many = Split(train=2048, validation=128, test=256)
            long = Optimization(steps=50_000, batch_size=32, learning_rate=1e-3)
            return cls(
                points=192,
                viscosity=2e-3,
                frames=31,
                horizon=1.0,
                split=many,
                architecture=Architecture(width=32, modes=24),
                optimization=long,
            )
        return cls()

    @classmethod
    def data_fields(cls):
        """See `AbstractSurrogateExperiment.data_fields`."""
        return ("viscosity", "points", "horizon", "frames", "cutoff", "split")

    def problem(self):
        """See `AbstractSurrogateExperiment.problem`."""
        calculus = Spectral(Grid(Box((0.0, 0.0), (1.0, 1.0)), (self.points, self.points)))
        initial = FourierSeries(cutoff=self.cutoff)
        return Problem(
            Burgers(self.viscosity), calculus, initial, np.linspace(0.0, self.horizon, self.frames)
        )
