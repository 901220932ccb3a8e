"""Move a mesh to where your own function needs it, and read what the mesh is worth.

Run: python examples/08_move_a_mesh.py [--small]
"""

import sys

import jax
import jax.numpy as jnp

from sciml.meshes import HessianMonitor, MongeAmpere, interpolation_error, plots, uniform_mesh
from sciml.pdes import Box, Dirichlet, Grid

jax.config.update("jax_enable_x64", True)


def ripple(x):
    """Yours: positions `(dim, *points)` to numbers `(*points,)`."""
    return jnp.tanh(30 * (x[1] - 0.5 - 0.15 * jnp.sin(2 * jnp.pi * x[0])))


def main(cells: int) -> None:
    """Sample the function, make a density of it, move the mesh, compare."""
    grid = Grid(Box((0.0, 0.0), (1.0, 1.0), Dirichlet(0.0)), (cells, cells))
    density = HessianMonitor().density(ripple(grid.coordinates)[None], grid)
    moved = MongeAmpere().move(density, grid)

    certificate = moved.certificate
    print(f"residual {certificate.residual:.1e} after {certificate.iterations} iterations")
    print(
        f"mass per cell varies by {100 * certificate.variation:.1f} %, {certificate.tangled} cells are tangled"
    )
    before, after = (interpolation_error(ripple, mesh).l2 for mesh in (uniform_mesh(grid), moved.mesh))
    print(
        f"error of the interpolant: {before:.2e} uniform, {after:.2e} moved, {before / after:.1f} times smaller"
    )

    ax = plots.draw_density(density, grid)
    plots.draw_mesh(moved.mesh, ax=ax)
    ax.figure.savefig("moved_mesh.png", dpi=120)


if __name__ == "__main__":
    main(16 if "--small" in sys.argv else 48)
