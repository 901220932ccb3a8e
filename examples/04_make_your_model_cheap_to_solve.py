"""Make a neural ODE cheap to solve by changing one line: `diffeqsolve` becomes `solve`, with a penalty.

Run: python examples/04_make_your_model_cheap_to_solve.py [--small]
"""

import sys

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from sciml.data import load_digits
from sciml.diffeqs import ErrorEstimate, solve


class Model(eqx.Module):
    """A model as one would write it for diffrax: an image flows, and a linear map reads its class."""

    field: eqx.nn.MLP
    readout: eqx.nn.Linear

    def __call__(self, images, regularizer):
        """The logits of a batch, which is one equation, and the solution."""
        solution = solve(  # was: diffrax.diffeqsolve(, and the line with the regularizer is new
            diffrax.ODETerm(lambda t, y, args: jax.vmap(self.field)(y)),
            diffrax.Tsit5(),
            t0=0.0,
            t1=1.0,
            dt0=0.5,
            y0=images,
            stepsize_controller=diffrax.PIDController(rtol=1e-5, atol=1e-5),
            regularizer=regularizer,
        )
        return jax.vmap(self.readout)(solution.ys[-1]), solution


def main(steps: int) -> None:
    """Train with and without the penalty, and compare."""
    train, test = load_digits()
    for name, weight in (("vanilla", 0.0), ("error penalty", 1.0)):
        keys = jax.random.split(jax.random.key(0))
        model = Model(
            eqx.nn.MLP(64, 64, 100, 1, jnp.tanh, jnp.tanh, key=keys[0]), eqx.nn.Linear(64, 10, key=keys[1])
        )
        model = fit(model, train, weight, steps)
        # No penalty, but a solution that knows how often the field was called.
        logits, solution = eqx.filter_jit(model)(test.images.reshape(len(test), -1), ())
        accuracy = jnp.mean(jnp.argmax(logits, axis=1) == test.labels)
        print(f"{name:>14}: {int(solution.stats['num_evaluations'])} evaluations, accuracy {accuracy:.3f}")


def fit(model: Model, data, weight: float, steps: int) -> Model:
    """Train on random batches."""
    optimizer = optax.adam(3e-3)
    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    x, labels = jnp.asarray(data.images.reshape(len(data), -1)), jnp.asarray(data.labels)

    def loss(model, rows):
        logits, solution = model(x[rows], ErrorEstimate())
        task = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]))
        return task + weight * solution.penalty

    @eqx.filter_jit
    def step(model, state, key):
        rows = jax.random.randint(key, (128,), 0, len(x))
        updates, state = optimizer.update(eqx.filter_grad(loss)(model, rows), state)
        return eqx.apply_updates(model, updates), state

    for number in range(steps):
        model, state = step(model, state, jax.random.key(number))
    return model


if __name__ == "__main__":
    main(5 if "--small" in sys.argv else 400)
