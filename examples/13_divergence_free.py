"""Make any network's output divergence-free, exactly, by one projection behind it; it costs two transforms.

Run: python examples/13_divergence_free.py [--small]
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from sciml.constraints import DivergenceFree
from sciml.nn import ConvNet
from sciml.pdes import Box, GaussianRandomField, Grid, Spectral

jax.config.update("jax_enable_x64", True)


def measure(velocity, calculus):
    """The largest divergence."""
    field = calculus.field(velocity)
    return jnp.max(jnp.abs(sum(calculus.partial(field, axis)[axis] for axis in range(2))))


def main(points: int, steps: int) -> None:
    """Learn the velocity of a vorticity, with and without the projection."""
    grid = Grid(Box((0.0, 0.0), (1.0, 1.0)), (points, points))
    calculus, project = Spectral(grid, dealias=1.0), DivergenceFree(grid)
    draw = GaussianRandomField(cutoff=4)

    def make(key):
        w = draw(grid, key=key)
        field = calculus.field(w)
        return w, jnp.concatenate([calculus.rotational_velocity(field, axis) for axis in range(2)])

    inputs, truths = jax.vmap(make)(jax.random.split(jax.random.key(0), 20))
    scale = jnp.std(truths)
    for name, last in (("the network alone", lambda v: v), ("projected", project)):
        network = ConvNet(2, 1, 2, width=8, depth=2, key=jax.random.key(1))
        optimizer = optax.adam(1e-2)
        state = optimizer.init(eqx.filter(network, eqx.is_inexact_array))

        @eqx.filter_jit
        def step(network, state, last=last, optimizer=optimizer):
            def loss(network):
                predictions = jax.vmap(lambda w: last(network(w)))(inputs[:16])
                return jnp.mean((predictions - truths[:16] / scale) ** 2)

            gradient = eqx.filter_grad(loss)(network)
            updates, state = optimizer.update(gradient, state)
            return eqx.apply_updates(network, updates), state

        for _ in range(steps):
            network, state = step(network, state)
        predicted = jax.vmap(lambda w, last=last, network=network: last(network(w)))(inputs[16:])
        error = jnp.linalg.norm(predicted - truths[16:] / scale) / jnp.linalg.norm(truths[16:] / scale)
        print(f"{name}: error {error:.3f}, largest divergence {measure(predicted[0], calculus):.1e}")


if __name__ == "__main__":
    main(*((16, 5) if "--small" in sys.argv else (32, 200)))
