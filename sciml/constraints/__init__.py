"""Fields that obey a law: a network proposes a basis, a solve finds the weights, a certificate says how well."""

from .blocks import RESULTS, LevenbergMarquardt
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
from .experts import Experts
from .gate import Gate, GatedField, RejectedError
from .grids import Clock, SpaceTimeGrid
from .hard import ConstrainedField, HardConstraint
from .placement import AbstractRoad, Compiler, OnDevices, Pmap, ShardMap, make_device_mesh
from .projections import Conserved, DivergenceFree
from .sampling import AbstractSampling, AllPoints, ResidualPoints, UniformPoints
from .scaling import AbstractScaling, NonDimensional, PublishedRows, RowScales
from .soft import SoftConstraint
from .solving import AbstractCoupling, AbstractSpread, Coupled, Independent, Overlapping, OwnRows

__all__ = [
    "RESULTS",
    "AbstractCoupling",
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
    "Experts",
    "Gate",
    "GatedField",
    "HardConstraint",
    "Independent",
    "LevenbergMarquardt",
    "LiftedStart",
    "LiftedWalls",
    "NonDimensional",
    "OnDevices",
    "Overlapping",
    "OwnRows",
    "Pmap",
    "PublishedRows",
    "RejectedError",
    "ResidualPoints",
    "RowScales",
    "ShardMap",
    "SoftConstraint",
    "SpaceTimeGrid",
    "UniformPoints",
    "WeightedStart",
    "WeightedWalls",
    "make_device_mesh",
]
