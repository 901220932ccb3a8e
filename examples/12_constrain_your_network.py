"""Your network, your law: the network proposes 12 functions, the law picks their weights, a certificate says how well.

Run: python examples/12_constrain_your_network.py [--small]
"""

import sys
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from sciml.constraints import Coupled, Experts, HardConstraint, SpaceTimeGrid
from sciml.data import evolve
from sciml.nn import FNO
from sciml.pdes import AbstractPDE, Box, FourierSeries, Grid, Spectral
from sciml.training import fit

jax.config.update("jax_enable_x64", True)


class Fisher(AbstractPDE):
    """Yours: a population that spreads and grows, `u_t = D lap u + r u (1 - u)`."""

    spread: float = 0.01
    growth: float = 2.0
    channels: ClassVar = ("u",)

    def rate(self, t, u, calculus):
        """Pointwise in the value and in linear operators of the field."""
        return self.spread * calculus.laplacian(u) + self.growth * u.value * (1 - u.value)


def main(steps: int) -> None:
    """Train without data, then compare with a solver."""
    domain = SpaceTimeGrid(Spectral(Grid(Box(0.0, 1.0), 32)), jnp.linspace(0.0, 1.0, 17))
    draw = FourierSeries(cutoff=2, maximum=0.4, mean=0.5)
    key = jax.random.key(0)
    # Any Equinox module from (in_channel, time, x) to (function, time, x) will do.
    network = FNO(2, domain.count_inputs(1), 12, width=12, modes=5, depth=2, periodic=(False, True), key=key)

    def constrain(network):
        return Experts(HardConstraint(network, Fisher(), domain), (1, 2), Coupled())

    @jax.jit
    def batches(step):
        keys = jax.random.split(jax.random.key(step + 1), 4)
        return jax.vmap(lambda k: draw(domain.calculus.grid, key=k))(keys)

    def loss(network, starts, key):
        fields = jax.vmap(lambda start: constrain(network)(start, throw=False))(starts)
        converged = jnp.mean(fields.certificate.converged.astype(float))
        return jnp.mean(jnp.sqrt(fields.loss)), {"converged": converged}

    optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, steps))
    trained = fit(network, loss, batches, optimizer=optimizer, steps=steps, key=key, progress=False)
    for record in trained.history[:: max(1, len(trained.history) // 5)]:
        print(
            f"step {record['step']}: loss {record['loss']:.4f}, {record['converged']:.0%} of solves converged"
        )

    start = draw(domain.calculus.grid, key=jax.random.key(10**6))
    field = eqx.filter_jit(constrain(trained.last))(start)
    truth, _ = evolve(Fisher(), domain.calculus, start, jnp.asarray(domain.times))
    print(field.certificate)
    off = jnp.linalg.norm(field.value - truth) / jnp.linalg.norm(truth)
    print(f"error against a solver: {100 * off:.2f} %")


if __name__ == "__main__":
    main(10 if "--small" in sys.argv else 300)
