"""A small data-free mover for rings, trained for a second or two: what the tests of movers share."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from sciml import training
from sciml.meshes import (
    DataFreeMover,
    DenseBranch,
    Gaussian,
    GridSensors,
    HessianMonitor,
    JitteredLattice,
    PhysicsLoss,
    SpectralPotential,
    describe_family,
    make_samples,
)
from sciml.pdes import Box, Grid, Neumann

BOX = Box((0.0, 0.0), (1.0, 1.0), Neumann(0.0))
FINE, GRID, SENSORS = (Grid(BOX, (n, n)) for n in (32, 16, 8))
MONITOR = HessianMonitor(smoothing=Gaussian(2.0))
MODES = 12


@jax.jit
def ring(radius, shift=0.0):
    """A ring of thickness 0.06, `(1, 32, 32)`."""
    x, y = FINE.coordinates
    distance = jnp.sqrt((x - 0.5 - shift) ** 2 + (y - 0.5) ** 2)
    return jnp.exp(-(((distance - radius) / 0.06) ** 2) / 2)[None]


@functools.cache
def samples():
    """What the mover is trained on."""
    return make_samples(
        jax.vmap(ring)(jnp.linspace(0.2, 0.35, 12)), GridSensors(SENSORS, FINE.shape), MONITOR
    )


def untrained(potential=None, seed=0):
    """A mover with its initial weights."""
    sensors = GridSensors(SENSORS, FINE.shape)
    if potential is None:
        branch = DenseBranch(sensors.shape, MODES**2, width=32, key=jax.random.key(seed))
        potential = SpectralPotential(BOX, branch, MODES)
    return DataFreeMover(potential, sensors, describe_family(samples().seen), MONITOR)


@functools.cache
def trained():
    """A mover after 400 steps."""
    mover = untrained()
    return training.fit(
        mover,
        PhysicsLoss(JitteredLattice(20)),
        training.Batches(samples(), 6, seed=0),
        optimizer=optax.adam(optax.cosine_decay_schedule(1e-2, 400)),
        steps=400,
        key=jax.random.key(1),
        trainable=mover.trainable(),
        progress=False,
    ).last


def exaggerate(mover, factor):
    """The same mover with another size of its last layer: far enough, its meshes fold."""
    potential = mover.potential
    layer = jax.tree.map(lambda x: factor * x, potential.last_layer)
    return eqx.tree_at(lambda m: m.potential, mover, potential.replace_last_layer(layer))
