"""Let the error choose the monitor: gradients of an error through a converged mesh.

A mesh is the solution of the Monge-Ampere equation, so an error on it has a derivative with respect to all that the
density was made of: here the monitor's exponent and weight. It costs one linear solve, whatever the mesh took.

Run: python examples/09_differentiate_through_a_mesh.py [--small]
"""

import sys

import jax
import jax.numpy as jnp
import optax

from sciml.meshes import HessianMonitor, MongeAmpere, interpolation_error, uniform_mesh
from sciml.pdes import Box, Dirichlet, Grid

jax.config.update("jax_enable_x64", True)


def ring(x):
    """A thin ring."""
    radius = jnp.sqrt((x[0] - 0.5) ** 2 + (x[1] - 0.5) ** 2 + 1e-12)
    return jnp.exp(-(((radius - 0.25) / 0.06) ** 2))


def main(cells: int, steps: int) -> None:
    """Lower the error of the interpolant by Adam on two numbers."""
    grid = Grid(Box((0.0, 0.0), (1.0, 1.0), Dirichlet(0.0)), (cells, cells))
    values = ring(grid.coordinates)[None]

    def log_error(logarithms):
        exponent, weight = jnp.exp(logarithms)
        monitor = HessianMonitor(exponent, weight, cap=None)
        moved = MongeAmpere().move(monitor.density(values, grid), grid, throw=False)
        return jnp.log(interpolation_error(ring, moved.mesh).l2), moved.certificate

    step = jax.jit(jax.value_and_grad(log_error, has_aux=True))
    parameters = jnp.log(jnp.array([1.0, 0.5]))
    optimizer = optax.adam(0.1)
    state = optimizer.init(parameters)
    print(f"uniform mesh: error {interpolation_error(ring, uniform_mesh(grid)).l2:.3e}")
    for number in range(steps):
        (value, certificate), slope = step(parameters)
        exponent, weight = jnp.exp(parameters)
        if number % max(1, steps // 6) == 0 or number == steps - 1:
            mark = "" if certificate.valid else " (the mesh is not valid)"
            print(
                f"step {number:2}: exponent {exponent:.2f}, weight {weight:.2f}, error {jnp.exp(value):.3e}{mark}"
            )
        updates, state = optimizer.update(slope, state)
        parameters = optax.apply_updates(parameters, updates)


if __name__ == "__main__":
    main(*((12, 3) if "--small" in sys.argv else (32, 30)))
