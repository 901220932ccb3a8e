"""Losses of step models, against closed forms and finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.training import UnrolledLoss, mean_square_error, one_step_loss, rollout


class Factor(eqx.Module):
    """`u -> a u`: its rollout, losses and gradients are known."""

    a: jax.Array

    def __call__(self, u):
        return self.a * u


MODEL = Factor(jnp.asarray(0.8))
# Three windows of four times, one channel, one point; the truth is u, 2 u, 3 u, 4 u.
BATCH = jnp.array([1.0, -2.0, 0.5])[:, None, None, None] * jnp.arange(1.0, 5.0)[:, None, None]
SQUARE = jnp.mean(jnp.array([1.0, -2.0, 0.5]) ** 2)


def value_and_slope(loss, batch=BATCH):
    return jax.value_and_grad(lambda a: loss(Factor(a), batch, None))(jnp.asarray(0.8))


def test_rollout_returns_the_powers_without_the_first_field():
    """Exact."""
    states = rollout(MODEL, jnp.ones((1, 3)), 4)
    np.testing.assert_allclose(
        states, 0.8 ** jnp.arange(1, 5)[:, None, None] * jnp.ones((4, 1, 3)), rtol=1e-14
    )


def test_one_step_loss_averages_all_neighbors():
    """Exact: the errors of the steps 1->2, 2->3, 3->4 are (a n - (n + 1))."""
    value, slope = value_and_slope(one_step_loss)
    n, a = np.arange(1, 4), 0.8
    np.testing.assert_allclose(value, SQUARE * np.mean((a * n - n - 1) ** 2), rtol=1e-14)
    np.testing.assert_allclose(slope, SQUARE * np.mean(2 * n * (a * n - n - 1)), rtol=1e-14)


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("weights", [None, (1.0, 0.0, 2.0)])
def test_unrolled_loss_differentiates_through_all_steps(weights, checkpoint):
    """Exact: u_k = a^k u_0."""
    value, slope = value_and_slope(UnrolledLoss(3, weights=weights, checkpoint=checkpoint))
    k, a, w = np.arange(1, 4), 0.8, np.array(weights or (1.0, 1.0, 1.0))
    w = w / w.sum()
    np.testing.assert_allclose(value, SQUARE * np.sum(w * (a**k - k - 1) ** 2), rtol=1e-14)
    np.testing.assert_allclose(slope, SQUARE * np.sum(w * 2 * k * a ** (k - 1) * (a**k - k - 1)), rtol=1e-13)


@pytest.mark.parametrize("weights", [None, (0.0, 1.0, 3.0), (1.0, 1.0, 1.0)])
def test_pushforward_differentiates_through_the_last_call_only(weights):
    """Exact: the value is that of the unrolled loss; in the slope u_{k-1} is a constant."""
    value, slope = value_and_slope(UnrolledLoss(3, pushforward=True, weights=weights))
    k, a, w = np.arange(1, 4), 0.8, np.array(weights or (0.0, 0.0, 1.0))
    w = w / w.sum()
    np.testing.assert_allclose(value, SQUARE * np.sum(w * (a**k - k - 1) ** 2), rtol=1e-14)
    np.testing.assert_allclose(slope, SQUARE * np.sum(w * 2 * a ** (k - 1) * (a**k - k - 1)), rtol=1e-13)


@pytest.mark.parametrize("loss", [one_step_loss, UnrolledLoss(3), UnrolledLoss(3, checkpoint=True)])
def test_gradient_against_finite_differences(loss):
    """Gradient, of a nonlinear model."""
    batch = jax.random.normal(jax.random.key(0), (2, 4, 2, 5))

    def value(a):
        return loss(lambda u: jnp.sin(a * u + jnp.roll(u, 1)), batch, None)

    slope = (value(0.7 + 1e-5) - value(0.7 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(value)(0.7), slope, rtol=1e-8)


def test_one_unrolled_step_is_the_one_step_loss():
    """Property."""
    batch = BATCH[:, :2]
    for pushforward in (False, True):
        np.testing.assert_allclose(
            value_and_slope(UnrolledLoss(1, pushforward=pushforward), batch),
            value_and_slope(one_step_loss, batch),
            rtol=1e-14,
        )


def test_the_error_can_be_chosen():
    """Exact."""
    loss = UnrolledLoss(1, error=lambda prediction, truth: jnp.max(jnp.abs(prediction - truth)))
    np.testing.assert_allclose(
        loss(MODEL, BATCH[:, :2], None), np.mean(1.2 * np.array([1, 2, 0.5])), rtol=1e-14
    )


def test_mean_square_error_of_complex_fields_is_real():
    """Exact."""
    error = mean_square_error(jnp.array([1j, 1.0]), jnp.array([0.0, 1.0]))
    assert error == 0.5
    assert error.dtype == jnp.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rollout(MODEL, jnp.ones((1, 3)), 0), "steps=0 must be an integer of at least 1"),
        (
            lambda: rollout(lambda u: u[:1], jnp.ones((2, 3)), 2),
            r"float64\[2, 3\] into one of float64\[1, 3\]",
        ),
        (lambda: one_step_loss(MODEL, BATCH[:, :1]), r"at least 2 times; found 1 in shape \(3, 1, 1, 1\)"),
        (
            lambda: one_step_loss(MODEL, (BATCH, BATCH)),
            r"axes \(batch, time, channel, \*space\); found tuple",
        ),
        (lambda: UnrolledLoss(2)(MODEL, BATCH), r"UnrolledLoss\(steps=2\) needs windows of 3 times; found 4"),
        (lambda: UnrolledLoss(0), "steps=0 must be an integer"),
        (lambda: UnrolledLoss(2, weights=(1.0,)), r"weights=\(1.0,\) do not suit steps=2"),
        (lambda: UnrolledLoss(2, weights=(1.0, -1.0)), "none negative"),
        (lambda: UnrolledLoss(2, weights=(0.0, 0.0)), "not all zero"),
        (lambda: UnrolledLoss(2, weights=(1.0, float("nan"))), "one finite weight per step"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
