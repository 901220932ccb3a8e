"""A neural SDE by its moments: drift and noise of an Ornstein-Uhlenbeck process, with an adaptive Ito solver.

Run: python examples/05_neural_sde.py [--small]
"""

import sys

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from sciml.diffeqs import SOSRI, ErrorEstimate
from sciml.diffeqs.models import BatchField, NeuralSDE, Perceptron

RATE, NOISE = 2.0, 0.5


def main(paths: int, steps: int) -> None:
    """Learn `dy = -2 y dt + 0.5 dW` from mean and variance over time."""
    times = jnp.linspace(0.0, 1.0, 11)
    mean = 2.0 * jnp.exp(-RATE * times)
    variance = NOISE**2 / (2 * RATE) * (1 - jnp.exp(-2 * RATE * times))
    keys = jax.random.split(jax.random.key(0))
    model = NeuralSDE(
        BatchField(Perceptron(1, width=16, key=keys[0])),
        BatchField(Perceptron(1, depth=0, key=keys[1])),
        solver=SOSRI(),
        controller=diffrax.PIDController(rtol=0.1, atol=0.1),
    )

    def loss(model, key):
        # All paths are one equation: one sequence of steps, on which a penalty makes sense.
        y, solution = model(jnp.full((paths, 1), 2.0), times=times, regularizer=ErrorEstimate(), key=key)
        found = jnp.mean(y[..., 0], axis=1), jnp.var(y[..., 0], axis=1)
        task = jnp.sum((found[0] - mean) ** 2) + jnp.sum((found[1] - variance) ** 2)
        return task + 1e-3 * solution.penalty, (task, solution.stats)

    optimizer = optax.adam(1e-2)
    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state, key):
        (_, seen), slope = eqx.filter_value_and_grad(loss, has_aux=True)(model, key)
        updates, state = optimizer.update(slope, state)
        return eqx.apply_updates(model, updates), state, seen

    for number in range(steps):
        model, state, (task, stats) = step(model, state, jax.random.key(number))
        if number % max(1, steps // 5) == 0:
            drifts, noises = stats["num_evaluations"], stats["num_diffusion_evaluations"]
            print(
                f"step {number:3}: loss {task:.4f}, {drifts} evaluations of the drift, {noises} of the noise"
            )
    drift, noise = (
        jax.vmap(lambda y, f=f: f(0.0, y))(jnp.array([[[0.5]], [[1.5]]]))
        for f in (model.drift, model.diffusion)
    )
    print(f"drift at 0.5 and 1.5: {drift.ravel()} (true: {-RATE * 0.5}, {-RATE * 1.5})")
    print(f"noise there: {jnp.abs(noise).ravel()} (true: {NOISE})")


if __name__ == "__main__":
    main(*((16, 5) if "--small" in sys.argv else (256, 300)))
