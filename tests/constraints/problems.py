"""Small constraints that tests share: a basis that does not depend on the start, and one that a network proposes."""

import jax
import jax.numpy as jnp
import numpy as np

from sciml.constraints import SpaceTimeGrid
from sciml.nn import FNO
from sciml.pdes import Box, Burgers, Dirichlet, FiniteDifference, FourierSeries, Grid, Heat, Spectral

BURGERS = Burgers(0.05)


def periodic(points=24, times=12, until=0.3):
    return SpaceTimeGrid(Spectral(Grid(Box(0.0, 1.0), points)), np.linspace(0.0, until, times))


def walled(points=24, times=16, until=0.1, walls=None):
    walls = walls or (Dirichlet(0.0), Dirichlet(0.0))
    return SpaceTimeGrid(
        FiniteDifference(Grid(Box(0.0, 1.0, [walls]), points)), np.linspace(0.0, until, times)
    )


def make_network(domain, basis=6, seed=0):
    return FNO(
        len(domain.shape),
        domain.count_inputs(1),
        basis,
        width=6,
        modes=4,
        depth=1,
        periodic=domain.periodic,
        key=jax.random.key(seed),
    )


def make_start(domain, seed=1):
    return FourierSeries(cutoff=2)(domain.calculus.grid, key=jax.random.key(seed))


def fixed(basis):
    """A network that gives the same basis `(basis * channel, time, *space)` whatever it sees."""
    return lambda inputs: basis


def heat_modes(domain, count, conductivity=0.1):
    """`sin(k pi x)`, the law's own modes on the unit interval between cold walls, times powers of time."""
    t, x = np.meshgrid(*domain.axes, indexing="ij")
    return jnp.asarray(
        np.stack([np.sin(np.pi * x) * (t / domain.times[-1]) ** power for power in range(count)])
    )


HEAT = Heat(0.1)
