"""Fields that obey a law: a network proposes a basis, a solve finds the weights, a certificate says how well."""

from .backends import AbstractBackend, Jaxopt, Optimistix
from .certificate import Certificate
from .conditions import (
    AbstractStart,
    AbstractWalls,
    DiscretizedWalls,
    LiftedStart,
    LiftedWalls,
    WeightedStart,
    WeightedWalls,
)
from .couplings import AbstractCoupling, AbstractSpread, Coupled, Independent, Overlapping, OwnRows
from .domains import AbstractDomain, Clock
from .experts import Experts
from .gate import Gate, GatedField, RejectedError
from .grids import SpaceTimeGrid
from .hard import ConstrainedField, HardConstraint, evaluate_field
from .implicit import AbstractDerivative, ExactDerivative, GaussNewtonDerivative, StopGradient
from .least_squares import LeastSquaresSolution, least_squares
from .levenberg_marquardt import RESULTS, LevenbergMarquardt
from .placement import AbstractRoad, Compiler, OnDevices, Pmap, ShardMap, make_device_mesh
from .points import SpaceTimePoints, scatter_points
from .projections import Conserved, DivergenceFree
from .residuals import AbstractResiduals, FunctionResiduals, PointwiseResiduals
from .sampling import AbstractSampling, AllPoints, ResidualPoints, UniformPoints
from .scaling import AbstractScaling, NonDimensional, PublishedRows, RowScales
from .soft import SoftConstraint

__all__ = [
    "RESULTS",
    "AbstractBackend",
    "AbstractCoupling",
    "AbstractDerivative",
    "AbstractDomain",
    "AbstractResiduals",
    "AbstractRoad",
    "AbstractSampling",
    "AbstractScaling",
    "AbstractSpread",
    "AbstractStart",
    "AbstractWalls",
    "AllPoints",
    "Certificate",
    "Clock",
    "Compiler",
    "Conserved",
    "ConstrainedField",
    "Coupled",
    "DiscretizedWalls",
    "DivergenceFree",
    "ExactDerivative",
    "Experts",
    "FunctionResiduals",
    "Gate",
    "GatedField",
    "GaussNewtonDerivative",
    "HardConstraint",
    "Independent",
    "Jaxopt",
    "LeastSquaresSolution",
    "LevenbergMarquardt",
    "LiftedStart",
    "LiftedWalls",
    "NonDimensional",
    "OnDevices",
    "Optimistix",
    "Overlapping",
    "OwnRows",
    "Pmap",
    "PointwiseResiduals",
    "PublishedRows",
    "RejectedError",
    "ResidualPoints",
    "RowScales",
    "ShardMap",
    "SoftConstraint",
    "SpaceTimeGrid",
    "SpaceTimePoints",
    "StopGradient",
    "UniformPoints",
    "WeightedStart",
    "WeightedWalls",
    "evaluate_field",
    "least_squares",
    "make_device_mesh",
    "scatter_points",
]
