"""Triangle meshes that several tests use, built without the package's own triangulations."""

import jax
import numpy as np

from sciml.meshes import Diagonal, TriangleMesh, triangulate, uniform_mesh
from sciml.pdes import Box, Dirichlet, Grid


def square(n, diagonal=Diagonal.FALLING, **options):
    """The unit square as `n x n` squares cut in two, `n >= 4`."""
    return triangulate(
        uniform_mesh(Grid(Box((0.0, 0.0), (1.0, 1.0), Dirichlet(0.0)), (n, n))), diagonal, **options
    )


def lattice(nx, ny, keep=lambda x, y: True):
    """Points and triangles of unit squares whose center `keep` accepts, cut along the falling diagonal."""
    number = {}
    points, triangles = [], []

    def node(i, j):
        if (i, j) not in number:
            number[i, j] = len(points)
            points.append((float(i), float(j)))
        return number[i, j]

    for i in range(nx):
        for j in range(ny):
            if keep(i + 0.5, j + 0.5):
                a, b, c, d = node(i, j), node(i + 1, j), node(i + 1, j + 1), node(i, j + 1)
                triangles += [(a, b, d), (b, c, d)]
    return np.array(points).T, np.array(triangles)


def l_shape(n=4):
    """Three quarters of a square with `2 n` cells along a side."""
    points, triangles = lattice(2 * n, 2 * n, lambda x, y: x < n or y < n)
    return points / (2 * n), triangles


def disk(rings=4):
    """Points on rings around the origin, and a fan of triangles between them."""
    points, triangles, before = [(0.0, 0.0)], [], [0]
    for ring in range(1, rings + 1):
        count = 6 * ring
        here = list(range(len(points), len(points) + count))
        angle = 2 * np.pi * np.arange(count) / count
        points += list(zip(ring / rings * np.cos(angle), ring / rings * np.sin(angle), strict=True))
        for k in range(count):
            inner = before[(k * len(before) // count) % len(before)]
            triangles.append((here[k], here[(k + 1) % count], inner))
            following = before[((k + 1) * len(before) // count) % len(before)]
            if following != inner:
                triangles.append((inner, following, here[(k + 1) % count])[::-1])
        before = here
    return np.array(points).T, np.array(triangles)


def boundary_of(mesh):
    """Which nodes are on the boundary, in NumPy: nothing is compiled for one shape of mesh only."""
    return np.any(np.asarray(mesh.connectivity.members), axis=0)


def sliding_of(mesh):
    """Which nodes may slide, in NumPy."""
    rails = np.asarray(mesh.connectivity.rails)
    return rails[:, 0] != rails[:, 1]


def scatter(mesh, size, seed=0):
    """The mesh with its inner nodes moved at random by up to `size`."""
    rng = np.random.default_rng(seed)
    shift = rng.uniform(-size, size, mesh.points.shape) * ~boundary_of(mesh)
    return mesh.move_to(jax.device_put((np.asarray(mesh.points) + shift).astype(mesh.points.dtype)))


def rotate(points, angle):
    """Points `(2, node)` turned about the origin."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]]) @ points


def from_arrays(n, **options):
    """The unit square as `n x n` squares cut in two, for any `n`."""
    points, triangles = lattice(n, n)
    return TriangleMesh(points / n, triangles, **options)
