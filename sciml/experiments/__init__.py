"""Named experiments: frozen dataclasses that fix everything, run by the command `sciml`."""

from .autoregressive import AbstractSurrogateExperiment
from .base import SIZES, AbstractExperiment, find_experiment, list_experiments
from .burgers1d import Burgers1D
from .burgers2d import Burgers2D
from .comparison import compare
from .navier_stokes import NavierStokes2D
from .networks import Architecture
from .problem import Problem
from .runs import read_config, read_table
from .settings import Optimization, Split
from .surrogate import Surrogate

__all__ = [
    "SIZES",
    "AbstractExperiment",
    "AbstractSurrogateExperiment",
    "Architecture",
    "Burgers1D",
    "Burgers2D",
    "NavierStokes2D",
    "Optimization",
    "Problem",
    "Split",
    "Surrogate",
    "compare",
    "find_experiment",
    "list_experiments",
    "read_config",
    "read_table",
]
