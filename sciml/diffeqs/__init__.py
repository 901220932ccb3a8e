"""Neural differential equations that are cheap to solve: solver heuristics as penalties, beside their comparators."""

from .coefficients import AbstractCoefficient, Constant, ExponentialAnnealing
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
from .solve import RegularizedSolution, is_finished, solve
from .sri import SOSRI, SOSRI2, SRIW1
from .steer import Steer
from .step_budget import BudgetReport, BudgetResult, StepBudget

__all__ = [
    "SOSRI",
    "SOSRI2",
    "SRIW1",
    "AbstractCoefficient",
    "AbstractReduction",
    "AbstractRegularizer",
    "BudgetReport",
    "BudgetResult",
    "Constant",
    "ErrorEstimate",
    "ExponentialAnnealing",
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
    "Steer",
    "StepBudget",
    "StiffnessEstimate",
    "Sum",
    "TaylorDerivative",
    "UniformTime",
    "is_finished",
    "solve",
]
