"""Meshes whose nodes go where the solution needs them."""

from .certificate import Certificate, MeshError, certify, check_certificate
from .mesh import AbstractMesh
from .monge_ampere import CellExactMongeAmpere, MongeAmpere, ParabolicRelaxation
from .mover import AbstractMover, Moved
from .structured import StructuredMesh, uniform_mesh

__all__ = [
    "AbstractMesh",
    "AbstractMover",
    "CellExactMongeAmpere",
    "Certificate",
    "MeshError",
    "MongeAmpere",
    "Moved",
    "ParabolicRelaxation",
    "StructuredMesh",
    "certify",
    "check_certificate",
    "uniform_mesh",
]
