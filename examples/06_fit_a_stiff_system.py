"""Fit the rates of Robertson's reactions, which differ by nine orders of magnitude, and see how stiff they are.

Run: python examples/06_fit_a_stiff_system.py [--small]
"""

import sys

import diffrax
import jax
import jax.numpy as jnp
import optax

from sciml.diffeqs import Max, StiffnessEstimate, solve

jax.config.update("jax_enable_x64", True)  # a stiff system asks for it

TRUE_RATES = jnp.array([0.04, 3e7, 1e4])
SIZES = jnp.array([1.0, 3e-5, 1.0])


def reactions(t, y, rates):
    """Robertson's three reactions between three species."""
    k1, k2, k3 = rates
    slow, fast, back = k1 * y[0], k2 * y[1] ** 2, k3 * y[1] * y[2]
    return jnp.stack([back - slow, slow - fast - back, fast])


def simulate(rates, times):
    """The species over time `(time, 3)`, and how stiff the system was at most, in 1/s."""
    solution = solve(
        diffrax.ODETerm(reactions),
        diffrax.Kvaerno5(),
        0.0,
        times[-1],
        1e-4,
        jnp.array([1.0, 0.0, 0.0]),
        rates,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=1e-5, atol=1e-9, pcoeff=0.3, icoeff=0.4),
        # The largest stiffness of any step, from two stages the solver computes anyway.
        regularizer=StiffnessEstimate(reduction=Max(), scaled=False),
        max_steps=4096,
    )
    return solution.ys, solution.penalty


def main(steps: int) -> None:
    """Recover the rates from what is seen at twenty times."""
    times = jnp.geomspace(1e-3, 1e3, 20)
    seen, stiffness = simulate(TRUE_RATES, times)
    print(f"stiffness at the true rates: {stiffness:.3g} per second")

    def loss(log_rates):
        y, _ = simulate(jnp.exp(log_rates), times)
        return jnp.mean(((y - seen) / SIZES) ** 2)

    guess = jnp.log(TRUE_RATES * jnp.array([2.0, 0.3, 3.0]))
    optimizer = optax.adam(0.1)
    state = optimizer.init(guess)
    slope = jax.jit(jax.value_and_grad(loss))
    for number in range(steps):
        value, gradient = slope(guess)
        updates, state = optimizer.update(gradient, state)
        guess = optax.apply_updates(guess, updates)
        if number % max(1, steps // 5) == 0:
            print(
                f"step {number:3}: loss {value:.2e}, rates over the true ones {jnp.exp(guess) / TRUE_RATES}"
            )
    print(f"found {jnp.exp(guess)}, true {TRUE_RATES}")


if __name__ == "__main__":
    main(3 if "--small" in sys.argv else 150)
