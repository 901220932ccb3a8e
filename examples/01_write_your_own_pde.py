"""Write your own PDE: Fisher's equation, simulated, checked against itself on another calculus, and drawn.

Run: python examples/01_write_your_own_pde.py [--small]
"""

import sys
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sciml.data import evolve, simulate
from sciml.pdes import AbstractPDE, Box, FiniteDifference, Grid, Spectral, SumOfGaussians


class Fisher(AbstractPDE):
    """A population that spreads and grows: u_t = D u_xx + r u (1 - u)."""

    diffusivity: Array
    growth: Array
    channels: ClassVar[tuple[str, ...]] = ("u",)

    def rate(self, t, u, calculus):
        """A pointwise formula of `u.value` and linear operators of the field `u`."""
        return self.diffusivity * calculus.laplacian(u) + self.growth * u.value * (1 - u.value)


def main(points: int, trajectories: int) -> None:
    """Simulate it and compare two ways to differentiate."""
    law = Fisher(jnp.asarray(1e-3), jnp.asarray(5.0))
    grid = Grid(Box(0.0, 1.0), points)
    starts = SumOfGaussians(count=3, signed=False, amplitudes=(0.1, 0.3))
    times = np.linspace(0.0, 1.0, 11)

    data = simulate(law, Spectral(grid), starts, times, seeds=range(trajectories))
    print(data)

    again, _ = evolve(law, FiniteDifference(grid, 4), data.values[0, 0], times)
    difference = np.linalg.norm(again - data.values[0]) / np.linalg.norm(data.values[0])
    print(f"spectral against fourth-order finite differences: {difference:.1e}")
    print("population over time:", np.round(data.values[0].mean(axis=(1, 2)), 3))


if __name__ == "__main__":
    main(*((32, 2) if "--small" in sys.argv else (128, 20)))
