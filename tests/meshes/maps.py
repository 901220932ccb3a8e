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


def scatter(grid, count, seed=0):
    """Random points of the box, `(dim, count)`."""
    low, high = (np.array(ends)[:, None] for ends in (grid.box.lower, grid.box.upper))
    return jnp.asarray(np.random.default_rng(seed).uniform(low, high, (grid.dimensions, count)))
