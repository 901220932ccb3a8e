"""The same experts on one device and on four: the same numbers, each device stops when its own experts have converged.

Run: python examples/14_experts_on_four_devices.py [--small]

The four devices are simulated on the CPU. On a machine with GPUs leave the first lines out.
"""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"

import sys

import equinox as eqx
import jax
import jax.numpy as jnp

from sciml.constraints import (
    Experts,
    HardConstraint,
    OnDevices,
    OwnRows,
    ShardMap,
    SpaceTimeGrid,
    make_device_mesh,
)
from sciml.nn import FNO
from sciml.pdes import Box, Burgers, FourierSeries, Grid, Spectral

jax.config.update("jax_enable_x64", True)


def main(points: int) -> None:
    """Solve, differentiate, compare."""
    domain = SpaceTimeGrid(Spectral(Grid(Box(0.0, 1.0), points)), jnp.linspace(0.0, 0.3, 16))
    network = FNO(
        2,
        domain.count_inputs(1),
        6,
        width=6,
        modes=4,
        depth=1,
        periodic=(False, True),
        key=jax.random.key(0),
    )
    starts = jax.vmap(lambda key: FourierSeries(cutoff=2)(domain.calculus.grid, key=key))(
        jax.random.split(jax.random.key(1), 4)
    )
    mesh = make_device_mesh(batch=2, expert=2)

    def loss(network, placed):
        layer = Experts(HardConstraint(network, Burgers(0.05), domain), (1, 4), OwnRows())
        if placed:
            fields = OnDevices(layer, mesh, ShardMap())(starts)
        else:
            fields = jax.vmap(lambda start: layer(start, throw=False))(starts)
        return jnp.mean(jnp.sqrt(fields.loss)), fields.certificate.iterations

    run = eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))
    (one, iterations), gradient = run(network, False)
    (four, _), sharded = run(network, True)
    print(f"{len(jax.devices())} devices as {dict(mesh.shape)}; iterations of each expert:")
    print(iterations)
    print(f"loss {one:.12f} on one device, {four:.12f} on four")
    pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(sharded), strict=True)
    print(f"largest difference of the gradients: {max(float(jnp.max(jnp.abs(a - b))) for a, b in pairs):.1e}")


if __name__ == "__main__":
    main(16 if "--small" in sys.argv else 64)
