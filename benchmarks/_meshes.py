"""Test problems of mesh movers, and what a mesh is worth on them: shared by the benchmark and its tests."""

import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from sciml.meshes import Bell, Ring, assemble_mass, assemble_stiffness, triangulate
from sciml.pdes import Box, Dirichlet, Grid

CENTER = (0.5, 0.5)
# Movement's tests and demonstrations, on the unit square. What they call radius is sometimes its square.
PROBLEMS = {
    "ring": Ring(10.0, 200.0, 0.15, CENTER),
    "demo-ring": Ring(20.0, 200.0, 0.4, CENTER),
    "bell": Bell(50.0, 100.0, CENTER),
    "thin-ring": Ring(10.0, 800.0, 0.0156**0.5, CENTER),
    "sharp-bell": Bell(50.0, 400.0, CENTER),
}


def square(n: int) -> Grid:
    """The unit square with walls in `n x n` cells."""
    return Grid(Box((0.0, 0.0), (1.0, 1.0), Dirichlet(0.0)), (n, n))


def shock(x):
    """A front along a diagonal, 0.04 wide."""
    return jnp.tanh(50 * (x[0] + x[1] - 1))


def gaussian_ring(x):
    """A ring of radius 0.25 and width 0.02."""
    distance = jnp.sqrt((x[0] - 0.5) ** 2 + (x[1] - 0.5) ** 2 + 1e-24)
    return jnp.exp(-((distance - 0.25) ** 2) / (2 * 0.02**2))


def gaussian(x):
    """A bump of width 0.1."""
    return jnp.exp(-((x[0] - 0.5) ** 2 + (x[1] - 0.5) ** 2) / 0.1**2)


FUNCTIONS = {"shock": shock, "gaussian-ring": gaussian_ring, "gaussian": gaussian}


def helmholtz(x):
    """The solution of Movement's demonstration: a bump of width 0.1 off the center."""
    return jnp.exp(-((x[0] - 0.51) ** 2 + (x[1] - 0.65) ** 2) / 0.1**2)


def solve_helmholtz(mesh, diagonal) -> float:
    """Solve `-lap u + u = f` with linear finite elements, and return the L2 error of the solution.

    `f` is made of `helmholtz`, whose values also hold on the boundary.
    """
    triangles = triangulate(mesh, diagonal)
    points = np.asarray(triangles.points)
    n = points.shape[1]
    mass, stiffness = (
        scipy.sparse.coo_matrix((np.asarray(v), (np.asarray(r), np.asarray(c))), shape=(n, n)).tocsr()
        for r, c, v in (assemble_mass(triangles), assemble_stiffness(triangles))
    )
    corners = points[:, np.asarray(triangles.triangles)]
    areas = np.asarray(triangles.volumes)
    load, squares = np.zeros(n), None
    exact, places, weights = [], [], []
    for barycentric, weight in zip(*_quadrature(), strict=True):
        x = np.einsum("k,dtk->dt", barycentric, corners)
        places.append(barycentric)
        weights.append(weight)
        exact.append(np.asarray(helmholtz(x)))
        for k in range(3):
            values = weight * areas * _source(x) * barycentric[k]
            np.add.at(load, np.asarray(triangles.triangles)[:, k], values)
    boundary = np.flatnonzero(np.asarray(triangles.on_boundary))
    inner = np.setdiff1d(np.arange(n), boundary)
    u = np.asarray(helmholtz(points)).copy()
    operator = (stiffness + mass).tocsr()
    right = load[inner] - operator[inner][:, boundary] @ u[boundary]
    u[inner] = scipy.sparse.linalg.spsolve(operator[inner][:, inner].tocsc(), right)
    at_corners = u[np.asarray(triangles.triangles)]
    squares = sum(
        w * areas * (at_corners @ b - e) ** 2 for b, w, e in zip(places, weights, exact, strict=True)
    )
    return float(np.sqrt(np.sum(squares)))


def _source(x):
    r2 = (x[0] - 0.51) ** 2 + (x[1] - 0.65) ** 2
    width = 0.1**2
    value = np.exp(-r2 / width)
    laplacian = value * (4 * r2 / width**2 - 4 / width)
    return value - laplacian


def _quadrature(points: int = 5):
    """Gauss' formula on a square, collapsed to a triangle: barycentric coordinates, and weights that add up to one."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    s, w = (nodes + 1) / 2, weights / 2
    places, found = [], []
    for a, wa in zip(s, w, strict=True):
        for b, wb in zip(s, w, strict=True):
            places.append(np.array([1 - a, a * (1 - b), a * b]))
            found.append(2 * a * wa * wb)
    return places, found
