"""Trajectories: simulated by the method of lines, stored in HDF5, read from other people's files."""

from ._reader import StoredTrajectories, StoredValues
from ._writer import TrajectoryWriter
from .integration import default_solver, evolve
from .pdebench import read_pdebench
from .semi_implicit import SemiImplicit
from .simulation import simulate, simulate_chunks
from .storage import load_trajectories, open_trajectories, save_trajectories
from .trajectories import Trajectories, concatenate

__all__ = [
    "SemiImplicit",
    "StoredTrajectories",
    "StoredValues",
    "Trajectories",
    "TrajectoryWriter",
    "concatenate",
    "default_solver",
    "evolve",
    "load_trajectories",
    "open_trajectories",
    "read_pdebench",
    "save_trajectories",
    "simulate",
    "simulate_chunks",
]
