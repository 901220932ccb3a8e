"""Trajectories: simulated by the method of lines, stored in HDF5, read from other people's files; images and series."""

from ._reader import StoredTrajectories, StoredValues
from ._writer import TrajectoryWriter
from .digits import load_digits
from .images import LabeledImages
from .integration import default_solver, evolve
from .irregular import Oscillators, SimulatedSeries, draw_oscillators, simulate_irregular, write_physionet
from .masked_series import MaskedSeries, Observations, Scale
from .mnist import read_idx, read_mnist
from .pdebench import read_pdebench
from .physionet import read_physionet
from .semi_implicit import SemiImplicit
from .simulation import simulate, simulate_chunks
from .storage import load_trajectories, open_trajectories, save_trajectories
from .trajectories import Trajectories, concatenate

__all__ = [
    "LabeledImages",
    "MaskedSeries",
    "Observations",
    "Oscillators",
    "Scale",
    "SemiImplicit",
    "SimulatedSeries",
    "StoredTrajectories",
    "StoredValues",
    "Trajectories",
    "TrajectoryWriter",
    "concatenate",
    "default_solver",
    "draw_oscillators",
    "evolve",
    "load_digits",
    "load_trajectories",
    "open_trajectories",
    "read_idx",
    "read_mnist",
    "read_pdebench",
    "read_physionet",
    "save_trajectories",
    "simulate",
    "simulate_chunks",
    "simulate_irregular",
    "write_physionet",
]
