"""Laws, the domains they live on, and the calculi that differentiate for them."""

from .advection_diffusion import AdvectionDiffusion
from .autodiff import Autodiff
from .boundaries import AbstractBoundary, AbstractWall, Dirichlet, Neumann, Outflow, Periodic, Robin
from .burgers import Burgers, VectorBurgers
from .calculus import AbstractCalculus, Field
from .diffusion_sorption import DiffusionSorption
from .domain import Box, Grid
from .finite_difference import FiniteDifference
from .finite_volume import FiniteVolume, minmod, van_leer
from .gray_scott import GrayScott
from .heat import Heat
from .initial import (
    AbstractInitialCondition,
    FourierSeries,
    GaussianRandomField,
    PeriodicGaussian,
    SumOfGaussians,
    UniformConstant,
)
from .kuramoto_sivashinsky import KuramotoSivashinsky
from .law import (
    AbstractPDE,
    AbstractSemilinearPDE,
    channel_names,
    check_channels,
    check_compatible,
    describe,
    evaluate_rate,
)
from .nagumo import Nagumo
from .navier_stokes import DiagonalForcing, NavierStokes
from .spectral import Spectral
from .spots import Spots

__all__ = [
    "AbstractBoundary",
    "AbstractCalculus",
    "AbstractInitialCondition",
    "AbstractPDE",
    "AbstractSemilinearPDE",
    "AbstractWall",
    "AdvectionDiffusion",
    "Autodiff",
    "Box",
    "Burgers",
    "DiagonalForcing",
    "DiffusionSorption",
    "Dirichlet",
    "Field",
    "FiniteDifference",
    "FiniteVolume",
    "FourierSeries",
    "GaussianRandomField",
    "GrayScott",
    "Grid",
    "Heat",
    "KuramotoSivashinsky",
    "Nagumo",
    "NavierStokes",
    "Neumann",
    "Outflow",
    "Periodic",
    "PeriodicGaussian",
    "Robin",
    "Spectral",
    "Spots",
    "SumOfGaussians",
    "UniformConstant",
    "VectorBurgers",
    "channel_names",
    "check_channels",
    "check_compatible",
    "describe",
    "evaluate_rate",
    "minmod",
    "van_leer",
]
