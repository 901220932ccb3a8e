"""Watch the solver's steps before and after training with a penalty: a plot of their sizes over time.

Run: python examples/07_watch_steps_fall.py [--small]
"""

import sys

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib
import optax

from sciml.diffeqs import ErrorEstimate, solve
from sciml.diffeqs.models import BatchField, TimeMLP

matplotlib.use("Agg")
from matplotlib import pyplot


def run(field, y0, **how):
    """Solve, with every step saved."""
    return solve(
        diffrax.ODETerm(field),
        diffrax.Tsit5(),
        0.0,
        1.0,
        0.05,
        y0,
        saveat=diffrax.SaveAt(t0=True, steps=True),
        stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-6),
        max_steps=128,
        **how,
    )


def main(steps: int) -> None:
    """Send one cloud of points onto another, with more and more weight on the solver's error."""
    start = jax.random.normal(jax.random.key(0), (64, 2))
    turn = jnp.array([[0.0, -1.0], [1.0, 0.0]])
    target = 2.0 * jnp.sin(start) @ turn
    optimizer = optax.adam(1e-2)
    _, ax = pyplot.subplots(figsize=(6.0, 3.5), layout="constrained")
    for weight in (0.0, 0.01, 0.1):
        field = BatchField(TimeMLP(2, width=64, final_activation=lambda x: x, key=jax.random.key(1)))
        state = optimizer.init(eqx.filter(field, eqx.is_inexact_array))

        def loss(field, weight=weight):
            solution = run(field, start, regularizer=ErrorEstimate(power=2, scaled=False))
            end = solution.ys[solution.stats["num_accepted_steps"]]
            return jnp.mean((end - target) ** 2) + weight * solution.penalty

        step = eqx.filter_jit(eqx.filter_value_and_grad(loss))
        for _ in range(steps):
            _, slope = step(field)
            updates, state = optimizer.update(slope, state)
            field = eqx.apply_updates(field, updates)
        solution = eqx.filter_jit(run)(field, start, regularizer=())
        accepted = int(solution.stats["num_accepted_steps"])
        times, end = solution.ts[: accepted + 1], solution.ys[accepted]
        ax.step(times[:-1], jnp.diff(times), where="post", marker=".", label=f"weight {weight:g}")
        error = jnp.mean((end - target) ** 2)
        evaluations = int(solution.stats["num_evaluations"])
        print(
            f"weight {weight:4g}: {evaluations:3} evaluations, {accepted} steps, squared distance {error:.4f}"
        )
    ax.set(xlabel="time", ylabel="step size", title="Steps of Tsit5 after training")
    ax.legend()
    pyplot.savefig("steps.png", dpi=120)
    print("wrote steps.png")


if __name__ == "__main__":
    main(3 if "--small" in sys.argv else 500)
