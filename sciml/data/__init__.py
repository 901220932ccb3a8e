"""Trajectories: simulated by the method of lines, stored in HDF5, read from other people's files; images and series."""

from ._reader import StoredTrajectories, StoredValues
from ._writer import TrajectoryWriter
from .cylinder_flow import CylinderFlow
from .cylinder_simulation import measure_strouhal, simulate_cylinder, simulate_wakes
from .digits import load_digits
from .images import LabeledImages
from .integration import default_solver, evolve
from .irregular import Oscillators, SimulatedSeries, draw_oscillators, simulate_irregular, write_physionet
from .masked_series import MaskedSeries, Observations, Scale
from .mnist import read_idx, read_mnist
from .pdebench import is_pdebench, read_pdebench
from .physionet import read_physionet
from .semi_implicit import SemiImplicit
from .simulation import simulate, simulate_chunks
from .storage import load_trajectories, open_trajectories, save_trajectories
from .trajectories import Trajectories, concatenate
from .wakes import Wakes, load_wakes, sample_wake, save_wakes

__all__ = [
    "CylinderFlow",
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
    "Wakes",
    "concatenate",
    "default_solver",
    "draw_oscillators",
    "evolve",
    "is_pdebench",
    "load_digits",
    "load_trajectories",
    "load_wakes",
    "measure_strouhal",
    "open_trajectories",
    "read_idx",
    "read_mnist",
    "read_pdebench",
    "read_physionet",
    "sample_wake",
    "save_trajectories",
    "save_wakes",
    "simulate",
    "simulate_chunks",
    "simulate_cylinder",
    "simulate_irregular",
    "simulate_wakes",
    "write_physionet",
]
