"""Meshes whose nodes go where the solution needs them."""

from .certificate import Certificate, MeshError, certify, check_certificate
from .densities import AbstractDensity, Bell, Ring, Uniform, check_density
from .gridded import GriddedDensity
from .mesh import AbstractMesh
from .monge_ampere import CellExactMongeAmpere, MongeAmpere, ParabolicRelaxation
from .monitors import (
    AbstractMonitor,
    ArcLengthMonitor,
    FunctionMonitor,
    GradientHessianMonitor,
    GradientMonitor,
    HessianMonitor,
)
from .mover import AbstractMover, Moved
from .smoothing import AbstractSmoothing, Gaussian, HelmholtzFilter
from .structured import StructuredMesh, uniform_mesh

__all__ = [
    "AbstractDensity",
    "AbstractMesh",
    "AbstractMonitor",
    "AbstractMover",
    "AbstractSmoothing",
    "ArcLengthMonitor",
    "Bell",
    "CellExactMongeAmpere",
    "Certificate",
    "FunctionMonitor",
    "Gaussian",
    "GradientHessianMonitor",
    "GradientMonitor",
    "GriddedDensity",
    "HelmholtzFilter",
    "HessianMonitor",
    "MeshError",
    "MongeAmpere",
    "Moved",
    "ParabolicRelaxation",
    "Ring",
    "StructuredMesh",
    "Uniform",
    "certify",
    "check_certificate",
    "check_density",
    "uniform_mesh",
]
