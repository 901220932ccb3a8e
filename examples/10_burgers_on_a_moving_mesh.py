"""Solve Burgers' equation on a mesh that moves with its front, beside fixed meshes of 1, 4 and 16 times the nodes.

Run: python examples/10_burgers_on_a_moving_mesh.py [--small]
"""

import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure

from sciml.data import evolve
from sciml.meshes import Cubic, evolve_moving, interpolate, plots
from sciml.pdes import Box, Burgers, FiniteVolume, Grid, Spectral

jax.config.update("jax_enable_x64", True)

TIMES = jnp.array([0.0, 0.2, 0.4])


def bump(x):
    """A periodic bump: positions `(2, *points)` to values `(1, *points)`."""
    return jnp.exp(-4 * jnp.sum(jnp.sin(jnp.pi * (x - 0.3)) ** 2, axis=0))[None]


def square(cells):
    """The periodic unit square."""
    return Grid(Box((0.0, 0.0), (1.0, 1.0)), (cells, cells))


def solve_fixed(law, calculus):
    """On a mesh that stays: the values at the last time, and seconds without compilation."""
    solve = eqx.filter_jit(lambda times: evolve(law, calculus, bump(calculus.grid.coordinates), times)[0][-1])
    jax.block_until_ready(solve(TIMES))
    began = time.perf_counter()
    values = jax.block_until_ready(solve(TIMES))
    return values, time.perf_counter() - began


def main(cells, fine, viscosity):
    """Solve on each mesh, measure each against the same truth, draw the mesh that moved."""
    law, there = Burgers(viscosity), square(fine)
    truth, _ = solve_fixed(law, Spectral(there))

    def error(values, mesh):
        # Over the whole domain, not at the nodes: all are reconstructed alike.
        rebuilt = interpolate(values, mesh, there.coordinates, Cubic())
        return float(jnp.linalg.norm(rebuilt - truth) / jnp.linalg.norm(truth))

    for times_as_many, n in ((1, cells), (4, 2 * cells), (16, 4 * cells)):
        values, seconds = solve_fixed(law, FiniteVolume(square(n)))
        print(f"fixed, {times_as_many:2} x the nodes: error {error(values, square(n)):.4f}, {seconds:.2f} s")

    evolve_moving(law, square(cells), bump, TIMES, conservative=True)  # compiles
    began = time.perf_counter()
    solution = jax.block_until_ready(evolve_moving(law, square(cells), bump, TIMES, conservative=True))
    seconds = time.perf_counter() - began
    print(
        f"moving,  1 x the nodes: error {error(solution.values[-1], solution.mesh(-1)):.4f}, {seconds:.2f} s"
    )
    print(f"mass changed by {float(abs(solution.totals[-1] / solution.totals[0] - 1)[0]):.1e}")
    print(f"smallest Jacobian of a cell's corner {float(solution.certificates.smallest_corner.min()):.3f}")

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, index in zip(axes, (0, -1), strict=True):
        plots.draw_mesh(solution.mesh(index), ax=ax)
        ax.set_title(f"t = {float(solution.times[index]):g}")
    figure.savefig("moving_burgers.png", dpi=120)


if __name__ == "__main__":
    if "--small" in sys.argv:
        main(12, 64, 1e-2)
    else:
        main(48, 512, 2e-3)
