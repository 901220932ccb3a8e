"""Train a network that moves meshes, on the Monge-Ampere equation alone; then let Newton's method certify what it says.

Run: python examples/11_train_a_mover_without_data.py [--small]
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sciml import training
from sciml.meshes import (
    Certified,
    DataFreeMover,
    DenseBranch,
    Gaussian,
    GridSensors,
    HessianMonitor,
    JitteredLattice,
    LogarithmicResidual,
    PhysicsLoss,
    SpectralPotential,
    describe_family,
    make_samples,
)
from sciml.pdes import Box, Grid, Neumann

SQUARE = Box((0.0, 0.0), (1.0, 1.0), Neumann(0.0))


def bumps(grid, count, seed):
    """Your solutions, here a bump anywhere in the middle: `(sample, 1, *space)`."""
    centers = np.random.default_rng(seed).uniform(0.3, 0.7, (count, 2, 1, 1))
    return jnp.exp(-jnp.sum((grid.coordinates - centers) ** 2, axis=1, keepdims=True) / (2 * 0.08**2))


def main(cells, steps):
    """Sample solutions, train, move a mesh for one that was not seen."""
    fine, grid = Grid(SQUARE, (2 * cells, 2 * cells)), Grid(SQUARE, (cells, cells))
    monitor = HessianMonitor(smoothing=Gaussian(2.0))
    sensors = GridSensors(Grid(SQUARE, (cells // 2,) * 2), fine.shape)

    seen, held = (
        make_samples(bumps(fine, count, seed), sensors, monitor) for count, seed in ((64, 0), (8, 1))
    )
    branch = DenseBranch(sensors.shape, 16 * 16, width=96, depth=2, key=jax.random.key(0))
    mover = DataFreeMover(
        SpectralPotential(SQUARE, branch, 16), sensors, describe_family(seen.seen, held.seen), monitor
    )
    trained = training.fit(
        mover,
        PhysicsLoss(JitteredLattice(2 * cells), LogarithmicResidual()),
        training.Batches(seen, 8, seed=0),
        optimizer=optax.adam(optax.cosine_decay_schedule(3e-3, steps)),
        steps=steps,
        key=jax.random.key(1),
        trainable=mover.trainable(),
        progress=False,
    ).last

    (unseen,) = bumps(fine, 1, seed=2)
    density = monitor.density(unseen, fine)
    for name, network in (("untrained", mover), ("trained", trained)):
        certificate = network.move_for(unseen, density, grid, throw=False).certificate
        print(
            f"{name}: mass per cell varies by {100 * float(certificate.variation):.0f} %, "
            f"{int(certificate.tangled)} cells are tangled"
        )
    certified = Certified(trained).move_for(unseen, density, grid)
    print(
        f"certified: residual {float(certified.certificate.residual):.1e}, "
        f"{int(certified.certificate.details['newtons'])} Newton steps from the proposal"
    )


if __name__ == "__main__":
    if "--small" in sys.argv:
        main(16, 20)
    else:
        main(32, 600)
