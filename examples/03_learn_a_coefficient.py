"""Learn a PDE's coefficient from data, by differentiating through the simulator.

Run: python examples/03_learn_a_coefficient.py [--small]
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sciml.data import evolve
from sciml.pdes import Box, Burgers, FourierSeries, Grid, Spectral


def main(points: int, steps: int) -> None:
    """Recover a viscosity from noisy snapshots of one solution."""
    true_viscosity, times = 0.03, np.linspace(0.0, 0.3, 4)
    calculus = Spectral(Grid(Box(0.0, 1.0), points))
    start = FourierSeries(cutoff=3)(calculus.grid, key=jax.random.key(0))
    clean, _ = evolve(Burgers(true_viscosity), calculus, start, times)
    seen = clean + 0.01 * jax.random.normal(jax.random.key(1), clean.shape)

    def loss(log_viscosity):
        values, _ = evolve(Burgers(jnp.exp(log_viscosity)), calculus, start, times, max_steps=512)
        return jnp.mean((values - seen) ** 2)

    guess = jnp.log(0.1)
    optimizer = optax.adam(0.1)
    state = optimizer.init(guess)
    step = jax.jit(jax.value_and_grad(loss))
    for number in range(steps):
        value, slope = step(guess)
        updates, state = optimizer.update(slope, state)
        guess = optax.apply_updates(guess, updates)
        if number % max(1, steps // 5) == 0:
            print(f"step {number:3}: loss {value:.6f}, viscosity {jnp.exp(guess):.5f}")
    print(f"found {jnp.exp(guess):.5f}, true {true_viscosity}")


if __name__ == "__main__":
    main(*((32, 5) if "--small" in sys.argv else (64, 80)))
