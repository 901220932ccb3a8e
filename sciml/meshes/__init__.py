"""Meshes whose nodes go where the solution needs them: monitors, movers, certificates, transfer, laws on moving meshes.

    density = HessianMonitor().density(u, grid)
    moved = MongeAmpere().move(density, grid)
    moved.mesh, moved.certificate

A density of nodes is any function of position. A mover makes a mesh whose cells share it evenly, and a certificate that
is measured on this mesh. A mesh is a calculus, on which every law of `sciml.pdes` runs.
"""

from .branches import AbstractBranch, ConvolutionBranch, DenseBranch, FieldBranch
from .capacity import Demand, check_capacity, describe_capacity, estimate_demand
from .certificate import Certificate, MeshError, certify, check_certificate
from .certified import Certified
from .data_free import DataFreeMover
from .densities import AbstractDensity, Bell, Ring, Uniform, check_density
from .errors import ErrorNorms, interpolation_error
from .family import Family, describe_family
from .flow_step import FlowStep
from .following import Followed, Follower
from .graph_solver import GraphStep, MovingMeshSolver, SolverPlan
from .gridded import GriddedDensity
from .holes import Graded, HoleGrading, mesh_with_hole
from .location import Location, locate, locate_triangles
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
from .moving import MovingSolution, evolve_moving
from .moving_state import MovingStep
from .physics_loss import (
    AbstractResidual,
    AbstractSampling,
    ByDensity,
    JitteredLattice,
    LogarithmicResidual,
    PhysicsLoss,
    RelativeResidual,
    Samples,
    average_density,
    make_samples,
    published_loss,
    refine_last_layer,
)
from .planned import PlannedTransfer, plan_transfer
from .plots import animate, draw_density, draw_mesh, draw_quality
from .potentials import (
    AbstractPotential,
    BranchTrunkPotential,
    Derivatives,
    Extent,
    Lattice,
    Scattered,
    SpectralPotential,
)
from .remapping import remap
from .sensors import AbstractSensors, CloudSensors, DensitySensors, GridSensors, PointCloud
from .sequence import follow
from .smoothing import AbstractSmoothing, Gaussian, HelmholtzFilter
from .structured import StructuredMesh, uniform_mesh
from .transfer import AbstractInterpolation, Cubic, Linear, interpolate, resample
from .triangle_elements import (
    apply_mass,
    apply_stiffness,
    assemble_mass,
    assemble_stiffness,
    find_slopes,
    lump_mass,
)
from .triangle_following import TriangleFollower
from .triangle_maps import move_through
from .triangle_movers import AbstractTriangleMover, LaplacianSmoothing, Spring
from .triangle_readers import read_mesh, triangulate_points
from .triangle_state import TriangleStep, make_hierarchy
from .triangle_transfer import PlannedTriangles, plan_triangles
from .triangles import TriangleMesh
from .triangulation import Diagonal, triangulate
from .volume_step import VolumeStep
from .volumes import MeshFiniteVolume

__all__ = [
    "AbstractBranch",
    "AbstractDensity",
    "AbstractInterpolation",
    "AbstractMesh",
    "AbstractMonitor",
    "AbstractMover",
    "AbstractPotential",
    "AbstractResidual",
    "AbstractSampling",
    "AbstractSensors",
    "AbstractSmoothing",
    "AbstractTriangleMover",
    "ArcLengthMonitor",
    "Bell",
    "BranchTrunkPotential",
    "ByDensity",
    "CellExactMongeAmpere",
    "Certificate",
    "Certified",
    "CloudSensors",
    "ConvolutionBranch",
    "Cubic",
    "DataFreeMover",
    "Demand",
    "DenseBranch",
    "DensitySensors",
    "Derivatives",
    "Diagonal",
    "ErrorNorms",
    "Extent",
    "Family",
    "FieldBranch",
    "FlowStep",
    "Followed",
    "Follower",
    "FunctionMonitor",
    "Gaussian",
    "Graded",
    "GradientHessianMonitor",
    "GradientMonitor",
    "GraphStep",
    "GridSensors",
    "GriddedDensity",
    "HelmholtzFilter",
    "HessianMonitor",
    "HoleGrading",
    "JitteredLattice",
    "LaplacianSmoothing",
    "Lattice",
    "Linear",
    "Location",
    "LogarithmicResidual",
    "MeshError",
    "MeshFiniteVolume",
    "MongeAmpere",
    "Moved",
    "MovingMeshSolver",
    "MovingSolution",
    "MovingStep",
    "ParabolicRelaxation",
    "PhysicsLoss",
    "PlannedTransfer",
    "PlannedTriangles",
    "PointCloud",
    "RelativeResidual",
    "Ring",
    "Samples",
    "Scattered",
    "SolverPlan",
    "SpectralPotential",
    "Spring",
    "StructuredMesh",
    "TriangleFollower",
    "TriangleMesh",
    "TriangleStep",
    "Uniform",
    "VolumeStep",
    "animate",
    "apply_mass",
    "apply_stiffness",
    "assemble_mass",
    "assemble_stiffness",
    "average_density",
    "certify",
    "check_capacity",
    "check_certificate",
    "check_density",
    "describe_capacity",
    "describe_family",
    "draw_density",
    "draw_mesh",
    "draw_quality",
    "estimate_demand",
    "evolve_moving",
    "find_slopes",
    "follow",
    "interpolate",
    "interpolation_error",
    "locate",
    "locate_triangles",
    "lump_mass",
    "make_hierarchy",
    "make_samples",
    "mesh_with_hole",
    "move_through",
    "plan_transfer",
    "plan_triangles",
    "published_loss",
    "read_mesh",
    "refine_last_layer",
    "remap",
    "resample",
    "triangulate",
    "triangulate_points",
    "uniform_mesh",
]
