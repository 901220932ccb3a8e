"""Metrics against values known in closed form (exact tests)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.training import metrics

GRID = 2 * np.pi * np.arange(64) / 64


def wave(number: int, shift: float = 0.0) -> jax.Array:
    return jnp.sin(number * jnp.asarray(GRID) + shift)[None]


def test_nrmse_of_nothing_is_one_and_of_a_scaled_field_is_the_excess():
    truth = jax.random.normal(jax.random.key(0), (3, 2, 8))
    assert metrics.nrmse(jnp.zeros_like(truth), truth) == 1
    assert metrics.nrmse(truth, truth) == 0
    np.testing.assert_allclose(metrics.nrmse(1.25 * truth, truth), 0.25, rtol=1e-14)


def test_nrmse_sums_over_channels_before_it_divides():
    truth = jnp.array([[3.0, 0.0], [0.0, 4.0]])
    prediction = truth.at[0, 0].add(1.0)
    np.testing.assert_allclose(metrics.nrmse(prediction, truth), 1 / 5, rtol=1e-15)


def test_rollout_error_divides_by_the_truth_of_the_same_time():
    truth = jnp.stack([wave(1), 2 * wave(1), 4 * wave(1)])
    np.testing.assert_allclose(metrics.rollout_error(truth + wave(1), truth), [1, 1 / 2, 1 / 4], rtol=1e-14)


def test_correlation_of_shifted_waves_is_the_cosine_of_the_shift():
    shifts = jnp.array([0.0, 0.5, 1.0, 3.0])
    truth = jnp.stack([3 * wave(2) + 1] * 4)
    prediction = jnp.stack([wave(2, shift) - 7 for shift in shifts])
    np.testing.assert_allclose(metrics.correlation(prediction, truth), jnp.cos(shifts), atol=1e-14)


def test_correlation_time_is_the_first_time_below():
    times = jnp.array([0.0, 0.5, 1.0, 1.5])
    truth = jnp.stack([wave(2)] * 4)
    prediction = jnp.stack(
        [wave(2, shift) for shift in (0.0, 0.6, 0.7, 0.1)]
    )  # cos(0.6)=0.825, cos(0.7)=0.765
    assert metrics.correlation_time(prediction, truth, times) == 1.0
    assert metrics.correlation_time(prediction, truth, times, threshold=0.9) == 0.5
    assert metrics.correlation_time(prediction, truth, times, threshold=0.5) == jnp.inf


def test_a_prediction_that_is_not_finite_has_lost_its_correlation():
    truth = jnp.stack([wave(2)] * 3)
    prediction = truth.at[1, 0, 5].set(jnp.nan)
    assert metrics.correlation_time(prediction, truth, jnp.arange(3.0)) == 1.0


def test_energy_spectrum_of_waves():
    """A sine of amplitude a has the mean square a^2 / 2, all of it at its wavenumber."""
    spectrum = metrics.energy_spectrum(2 + 3 * wave(4) + wave(9))
    expected = np.zeros(33)
    expected[[0, 4, 9]] = 4, 9 / 2, 1 / 2
    np.testing.assert_allclose(spectrum, expected, atol=1e-14)


def test_energy_spectrum_of_a_plane_wave_lies_at_the_length_of_its_wavevector():
    x, y = jnp.meshgrid(jnp.asarray(GRID), jnp.asarray(GRID), indexing="ij")
    spectrum = metrics.energy_spectrum(jnp.cos(3 * x + 4 * y)[None])
    np.testing.assert_allclose(spectrum[5], 0.5, rtol=1e-13)
    np.testing.assert_allclose(jnp.sum(spectrum), 0.5, rtol=1e-13)


def test_spectral_error_puts_each_wave_into_its_band():
    truth = jnp.sqrt(2.0) * wave(1)  # mean square one
    prediction = truth + 0.3 * jnp.sqrt(2.0) * wave(4) + 0.2 * jnp.sqrt(2.0) * wave(5)
    prediction = prediction + 0.1 * jnp.sqrt(2.0) * wave(20)
    np.testing.assert_allclose(metrics.spectral_error(prediction, truth), [0.3, 0.2, 0.1], rtol=1e-13)


@pytest.mark.parametrize("shape", [(2, 16), (1, 15), (3, 8, 10), (1, 4, 6, 5)])
def test_spectral_error_is_the_nrmse_by_parseval(shape):
    keys = jax.random.split(jax.random.key(1))
    prediction, truth = (jax.random.normal(key, shape) for key in keys)
    total = jnp.sqrt(jnp.sum(metrics.spectral_error(prediction, truth, edges=(0, 2, 4)) ** 2))
    np.testing.assert_allclose(total, metrics.nrmse(prediction, truth), rtol=1e-13)


def test_residual_error_is_the_root_mean_square():
    trajectory = jnp.arange(4.0)[:, None, None] * jnp.ones((4, 1, 5))
    assert metrics.residual_error(lambda u: u[1:] - u[:-1] - 3.0, trajectory) == 2.0


def test_metrics_go_through_vmap_and_jit():
    truth = jax.random.normal(jax.random.key(2), (5, 3, 1, 16))
    for metric in (metrics.nrmse, metrics.rollout_error):
        batched = jax.jit(jax.vmap(metric))(truth + 1, truth)
        np.testing.assert_allclose(batched[2], metric(truth[2] + 1, truth[2]), rtol=1e-13)
    batched = jax.jit(jax.vmap(metrics.correlation_time, in_axes=(0, 0, None)))(truth, truth, jnp.arange(3.0))
    assert jnp.all(batched == jnp.inf)
    assert jax.jit(jax.vmap(metrics.spectral_error))(truth[:, 0] + 1, truth[:, 0]).shape == (5, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda u: metrics.nrmse(u[1:], u), r"prediction has shape \(3, 1, 8\) and truth \(4, 1, 8\)"),
        (
            lambda u: metrics.rollout_error(u, u[1:]),
            r"`rollout\(model, u\[0\], steps\)` returns with u\[1:\]",
        ),
        (
            lambda u: metrics.correlation_time(u, u, jnp.arange(3.0)),
            r"times has shape \(3,\); expected .* \(4,\)",
        ),
        (lambda u: metrics.spectral_error(u[0], u[0], edges=(5, 5)), r"edges=\(5, 5\) must be wavenumbers"),
        (lambda u: metrics.spectral_error(u[0], u[0], edges=()), "must be wavenumbers"),
        (lambda u: metrics.energy_spectrum(u[0, 0]), r"shape \(8,\) has no space axis; expected \(channel"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((4, 1, 8)))
