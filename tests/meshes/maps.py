"""Smooth maps of a box onto itself, with meshes moved by them."""

import jax.numpy as jnp
import numpy as np

from sciml.meshes import StructuredMesh
from sciml.meshes.structured import reference_vertices
from sciml.pdes import Box, Grid, Neumann, Periodic

WALL, SEAM = (Neumann(0.0),) * 2, (Periodic(),) * 2
SIDES = {"walls": (WALL, WALL), "mixed": (WALL, SEAM), "torus": (SEAM, SEAM)}
LINES = {"line": (WALL,), "circle": (SEAM,)}


def make_grid(shape, sides) -> Grid:
    """A grid in a box that is no unit square and does not begin at 0."""
    lower = (-0.5, 1.0)[: len(shape)]
    upper = (1.0, 2.2)[: len(shape)]
    return Grid(Box(lower, upper, sides), shape)


def move(grid, seed=0, strength=0.8, waves=2, shift=0.0) -> StructuredMesh:
    """A mesh moved by the gradient of a random potential, convex for a strength below 1.

    Along periodic axes the mesh may be shifted as a whole, too.
    """
    rng = np.random.default_rng(seed)
    # By NumPy, which compiles nothing.
    reference = np.asarray(reference_vertices(grid))
    modes = list(np.ndindex((waves + 1,) * grid.dimensions))[1:]
    sizes = rng.uniform(-1, 1, len(modes))
    sizes *= strength / abs(sizes).sum()
    phases = rng.uniform(0, 2 * np.pi, (len(modes), grid.dimensions))
    moved = reference + shift * np.array(grid.box.periodic).reshape((-1,) + (1,) * grid.dimensions)
    for mode, size, phase in zip(modes, sizes, phases):
        numbers = [
            k * np.pi * (1 + wraps) / length
            for k, wraps, length in zip(mode, grid.box.periodic, grid.box.lengths)
        ]
        angles = [
            k * (x - low) + p * wraps
            for k, x, low, p, wraps in zip(numbers, reference, grid.box.lower, phase, grid.box.periodic)
        ]
        for axis, number in enumerate(numbers):
            product = -size * number / sum(k**2 for k in numbers)
            for other, angle in enumerate(angles):
                product = product * (np.sin(angle) if other == axis else np.cos(angle))
            moved[axis] += product
    return StructuredMesh(grid, jnp.asarray(moved))


def tangle(mesh) -> StructuredMesh:
    """The mesh with one vertex put behind its neighbor."""
    place = (0, *(n // 2 for n in mesh.vertices.shape[1:]))
    vertices = np.array(mesh.vertices)
    vertices[place] += 1.7 * mesh.grid.spacing[0]
    return StructuredMesh(mesh.grid, jnp.asarray(vertices))


def find_corners(mesh) -> np.ndarray:
    """The vertices, and those at a seam again; by NumPy, which compiles nothing."""
    vertices = np.asarray(mesh.vertices)
    for axis, wraps in enumerate(mesh.grid.box.periodic):
        if wraps:
            first = vertices.take([0], axis + 1)
            first[axis] += mesh.grid.box.lengths[axis]
            vertices = np.concatenate([vertices, first], axis + 1)
    return vertices


def find_points(mesh) -> np.ndarray:
    """The points of the unknowns."""
    points = np.asarray(mesh.vertices)
    for axis, wraps in enumerate(mesh.grid.box.periodic, start=1):
        if not wraps:
            points = 0.5 * (
                points.take(range(points.shape[axis] - 1), axis)
                + points.take(range(1, points.shape[axis]), axis)
            )
    return points


def find_volumes(mesh) -> np.ndarray:
    """Lengths or areas of the cells."""
    corners = find_corners(mesh)
    if len(corners) == 1:
        return np.diff(corners[0])
    (rising, falling) = corners[:, 1:, 1:] - corners[:, :-1, :-1], corners[:, :-1, 1:] - corners[:, 1:, :-1]
    return 0.5 * (rising[0] * falling[1] - rising[1] * falling[0])


def find_averages(function, mesh) -> np.ndarray:
    """Averages over cells of a function of NumPy arrays, by Gauss' formula with five points per axis, `(1, *cell)`."""
    nodes, weights = np.polynomial.legendre.leggauss(5)
    s, w = (nodes + 1) / 2, weights / 2
    corners = find_corners(mesh)
    if len(corners) == 1:
        low, high = corners[:, :-1], corners[:, 1:]
        return sum(wi * function(low + si * (high - low)) for si, wi in zip(s, w))[None]
    a, b, c, d = corners[:, :-1, :-1], corners[:, 1:, :-1], corners[:, :-1, 1:], corners[:, 1:, 1:]
    total = 0.0
    for p, wp in zip(s, w):
        for q, wq in zip(s, w):
            along, across = (1 - q) * (b - a) + q * (d - c), (1 - p) * (c - a) + p * (d - b)
            place = (1 - p) * ((1 - q) * a + q * c) + p * ((1 - q) * b + q * d)
            total = total + wp * wq * function(place) * (along[0] * across[1] - along[1] * across[0])
    return (total / find_volumes(mesh))[None]


def scatter(grid, count, seed=0):
    """Random points of the box, `(dim, count)`."""
    low, high = (np.array(ends)[:, None] for ends in (grid.box.lower, grid.box.upper))
    return jnp.asarray(np.random.default_rng(seed).uniform(low, high, (grid.dimensions, count)))
