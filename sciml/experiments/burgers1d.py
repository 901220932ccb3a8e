"""Burgers' equation in one dimension: a Fourier neural operator learns shocks forming and merging."""

import dataclasses
from typing import ClassVar

import numpy as np

from ..pdes import Box, Burgers, FourierSeries, Grid, Spectral
from .autoregressive import AbstractSurrogateExperiment
from .networks import Architecture
from .problem import Problem
from .settings import Optimization, Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Burgers1D(AbstractSurrogateExperiment):
    """Learn to step `u_t + u u_x = nu u_xx` on a periodic unit interval from random Fourier series."""

    name: ClassVar[str] = "burgers1d-fno"
    summary: ClassVar[str] = "1-D viscous Burgers, step model: FNO against U-Net, CNN and persistence"

    seed: int = 0
    """Of the initial weights and the order of the batches."""
    viscosity: float = 0.01
    """nu."""
    points: int = 128
    """Grid points."""
    horizon: float = 1.0
    """The last time."""
    frames: int = 21
    """Times of a trajectory, the start counted."""
    cutoff: int = 5
    """The largest wavenumber of the starts."""
    split: Split = Split()
    """How many trajectories for what."""
    architecture: Architecture = Architecture(width=32, modes=24, depth=4)
    """The network."""
    optimization: Optimization = Optimization()
    """How to train."""

    @classmethod
    def sized(cls, size):
        """See `AbstractExperiment.sized`."""
        if size == "smoke":
            tiny = Split(train=8, validation=2, test=2)
            quick = Optimization(steps=20, batch_size=4)
            return cls(
                points=32,
                frames=5,
                horizon=0.2,
                split=tiny,
                architecture=Architecture(width=8, modes=8, depth=2),
                optimization=quick,
            )
        if size == "paper":
            many = Split(train=8192, validation=256, test=1024)
            long = Optimization(steps=50_000, batch_size=64, learning_rate=1e-3)
            return cls(
                points=1024,
                split=many,
                architecture=Architecture(width=64, modes=32),
                viscosity=1e-3,
                optimization=long,
            )
        return cls()

    @classmethod
    def data_fields(cls):
        """See `AbstractSurrogateExperiment.data_fields`."""
        return ("viscosity", "points", "horizon", "frames", "cutoff", "split")

    def problem(self):
        """See `AbstractSurrogateExperiment.problem`."""
        calculus = Spectral(Grid(Box(0.0, 1.0), self.points))
        initial = FourierSeries(cutoff=self.cutoff)
        return Problem(
            Burgers(self.viscosity), calculus, initial, np.linspace(0.0, self.horizon, self.frames)
        )
