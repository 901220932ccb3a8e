"""Weights that stay, and weights that fall or grow exponentially."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sciml.diffeqs.coefficients import Constant, ExponentialAnnealing
from sciml.training import fit


def follow(coefficient, steps):
    """The weights of so many steps, in one compiled loop."""

    def step(state, _):
        return coefficient.update(
            state, evaluations=jnp.asarray(31), loss=jnp.asarray(1.0)
        ), coefficient.value(state)

    return jax.lax.scan(step, coefficient.init(), length=steps)[1]


@pytest.mark.parametrize("weight", [0.0, 2.5, 3])
def test_a_constant_stays(weight):
    """Exact."""
    np.testing.assert_array_equal(follow(Constant(weight), 4), np.full(4, float(weight)))


@pytest.mark.parametrize(("initial", "final"), [(100.0, 10.0), (0.1, 5.0), (3.0, 3.0), (1, 1e-9)])
def test_annealing_is_the_formula_and_then_stays(initial, final):
    """Exact: `l0 exp(-t log(l0 / l1) / T)`, as published, and the ends to the last bit."""
    weights = np.asarray(follow(ExponentialAnnealing(initial, final, 20), 30))
    times = np.minimum(np.arange(30), 20)
    np.testing.assert_allclose(weights, initial * np.exp(-times * math.log(initial / final) / 20), rtol=1e-13)
    assert weights[0] == initial
    assert (weights[20:] == final).all()


def test_single_precision_stays_single(float32):
    """Property."""
    weights = follow(ExponentialAnnealing(100.0, 10.0, 3), 4)
    assert weights.dtype == follow(Constant(1.0), 1).dtype == jnp.float32
    np.testing.assert_allclose(weights, [100, 46.415888, 21.544347, 10], rtol=1e-6)


@pytest.mark.parametrize("coefficient", [Constant(0.5), ExponentialAnnealing(1.0, 0.25, 4)])
def test_in_training_they_are_the_state_of_the_loss(coefficient):
    """Exact: the weight of a step is that before its update."""

    def loss(w, batch, state, key):
        weight = coefficient.value(state)
        new = coefficient.update(state, evaluations=jnp.asarray(7), loss=w**2)
        return w**2 + weight * w, {"weight": weight}, new

    result = fit(
        jnp.asarray(1.0),
        loss,
        lambda step: np.zeros(1),
        optimizer=optax.sgd(0.1),
        steps=6,
        key=jax.random.key(0),
        loss_state=coefficient.init(),
        progress=False,
    )
    np.testing.assert_array_equal([record["weight"] for record in result.history], follow(coefficient, 6))
    assert coefficient.value(result.loss_state) == follow(coefficient, 7)[-1]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Constant(-1.0),
            "Constant got coefficient=-1.0; expected a finite number >= 0. A negative weight",
        ),
        (lambda: Constant(math.inf), "coefficient=inf; expected a finite number >= 0"),
        (lambda: Constant(math.nan), "coefficient=nan; expected"),
        (lambda: Constant("1"), "coefficient='1'; expected"),
        (lambda: Constant(True), "coefficient=True; expected"),
        (lambda: Constant(None), "coefficient=None; expected"),
        (
            lambda: ExponentialAnnealing(0.0, 1.0, 10),
            r"ExponentialAnnealing got initial=0.0; expected a finite number > 0. For no penalty use Constant\(0.0\)",
        ),
        (lambda: ExponentialAnnealing(1.0, 0.0, 10), "final=0.0; expected a finite number > 0"),
        (lambda: ExponentialAnnealing(-1.0, 1.0, 10), "initial=-1.0; expected a finite number > 0"),
        (lambda: ExponentialAnnealing(1.0, math.nan, 10), "final=nan; expected a finite number > 0"),
        (lambda: ExponentialAnnealing(1.0, 0.1, 0), "steps=0; expected a positive integer"),
        (lambda: ExponentialAnnealing(1.0, 0.1, 2.5), "steps=2.5; expected a positive integer"),
        (lambda: ExponentialAnnealing(1.0, 0.1, True), "steps=True; expected a positive integer"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build()
