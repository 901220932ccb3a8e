"""Neural differential equations that are cheap to solve: solver heuristics as penalties, beside their comparators."""

from .frozen_steps import FrozenSteps
from .local_estimates import (
    HairerStep,
    LocalErrorEstimate,
    LocalStiffnessEstimate,
    SolverStep,
    SolverSteps,
    UniformTime,
)
from .path_integrals import JacobianNorm, KineticEnergy, TaylorDerivative
from .reductions import AbstractReduction, Max, Mean, Sum
from .regularizers import AbstractRegularizer, ErrorEstimate, StiffnessEstimate
from .solve import RegularizedSolution, solve
from .sri import SOSRI, SOSRI2, SRIW1

__all__ = [
    "SOSRI",
    "SOSRI2",
    "SRIW1",
    "AbstractReduction",
    "AbstractRegularizer",
    "ErrorEstimate",
    "FrozenSteps",
    "HairerStep",
    "JacobianNorm",
    "KineticEnergy",
    "LocalErrorEstimate",
    "LocalStiffnessEstimate",
    "Max",
    "Mean",
    "RegularizedSolution",
    "SolverStep",
    "SolverSteps",
    "StiffnessEstimate",
    "Sum",
    "TaylorDerivative",
    "UniformTime",
    "solve",
]
