"""Random end times and random times of observation: their distribution, their order, their bounds."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.diffeqs.steer import Steer

KEY = jax.random.key(0)
COUNT = 4000
KEYS = jax.random.split(KEY, COUNT)
UNEVEN = jnp.array([0.0, 0.1, 0.15, 0.6, 1.0])


def check_uniform(draws, low, high):
    """Kolmogorov and Smirnov's distance: that of a uniform sample is larger once in 1e5, and keys are fixed."""
    places = np.sort((np.asarray(draws) - low) / (high - low))
    assert places[0] >= 0
    assert places[-1] <= 1
    distance = np.abs(places - (np.arange(COUNT) + 0.5) / COUNT).max()
    assert distance < 2.5 / math.sqrt(COUNT)


@pytest.mark.parametrize(
    ("t0", "t1", "width"), [(0.0, 1.0, 0.5), (0, 1, 0.25), (1.0, -2.0, 2.5), (-3.0, 4.0, 6.9)]
)
def test_the_end_is_uniform_about_the_end(t0, t1, width):
    """Property: forwards and backwards in time, never before the start."""
    ends = jax.vmap(lambda key: Steer(width).draw_end(t0, t1, key=key))(KEYS)
    check_uniform(ends, t1 - width, t1 + width)
    assert (np.sign(ends - t0) == np.sign(t1 - t0)).all()


def test_times_are_uniform_up_to_half_of_the_gap_on_each_side():
    """Property: on even times, as published."""
    times = jnp.linspace(0.0, 2.0, 5)
    moved = np.asarray(jax.vmap(lambda key: Steer(1.0).jitter(times, key=key))(KEYS))
    assert (moved[:, 0] == 0).all()
    for i in (1, 2, 3):
        check_uniform(moved[:, i], times[i] - 0.25, times[i] + 0.25)
    # What would be past the end is at the end: half of the draws.
    assert np.mean(moved[:, -1] == 2.0) == pytest.approx(0.5, abs=0.03)
    early = moved[moved[:, -1] < 2.0, -1]
    assert early.min() >= 1.75
    assert early.mean() == pytest.approx(1.875, abs=0.005)
    # Each time moves by itself.
    correlations = np.corrcoef(moved[:, 1:].T) - np.eye(4)
    assert np.abs(correlations).max() < 5 / math.sqrt(COUNT)


@pytest.mark.parametrize("width", [0.2, 1.0])
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_uneven_times_stay_in_order_and_inside(width, dtype):
    """Property: each within its own half gaps, which do not overlap."""
    times = UNEVEN.astype(dtype)
    moved = jax.vmap(lambda key: Steer(width).jitter(times, key=key))(KEYS)
    assert moved.dtype == dtype
    moved, known = np.asarray(moved, float), np.asarray(times, float)
    assert (np.diff(moved, axis=1) > 0).all()
    assert moved.min() == known[0]
    assert moved.max() == known[-1]
    gaps, room = np.diff(known), np.finfo(dtype).eps
    assert (moved[:, 1:] >= known[1:] - width / 2 * gaps - room).all()
    assert (moved[:, :-1] <= known[:-1] + width / 2 * gaps + room).all()
    # They come near the ends of their ranges, so these are the ranges.
    assert (moved[:, 1:].min(axis=0) < known[1:] - 0.49 * width * gaps).all()
    assert (moved[:, 1:-1].max(axis=0) > known[1:-1] + 0.49 * width * gaps[1:]).all()


def test_whole_numbers_are_times(float32):
    """Property."""
    times = Steer(1.0).jitter(jnp.arange(4), key=KEY)
    assert times.dtype == Steer(0.5).draw_end(0, 1, key=KEY).dtype == jnp.float32
    assert not np.array_equal(times, np.arange(4))


def test_compiled_draws_are_the_same():
    """Exact: with times that are traced, too."""
    steer = Steer(0.5)
    end = jax.jit(lambda t0, t1: steer.draw_end(t0, t1, key=KEY))(0.0, 1.0)
    np.testing.assert_array_equal(end, steer.draw_end(0.0, 1.0, key=KEY))
    times = jax.jit(lambda times: steer.jitter(times, key=KEY))(UNEVEN)
    np.testing.assert_allclose(times, steer.jitter(UNEVEN, key=KEY), rtol=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Steer(0.0), r"Steer got width=0.0; expected a finite number > 0 and below t1 - t0"),
        (lambda: Steer(-0.5), "width=-0.5; expected"),
        (lambda: Steer(math.nan), "width=nan; expected"),
        (lambda: Steer(math.inf), "width=inf; expected"),
        (lambda: Steer("0.5"), "width='0.5'; expected"),
        (lambda: Steer(True), "width=True; expected"),
        (
            lambda: Steer(1.0).draw_end(0.0, 1.0, key=KEY),
            "from 0.0 to 1.0 before it begins; expected a width below 1",
        ),
        (
            lambda: Steer(0.5).draw_end(1.0, 0.8, key=KEY),
            "could end a solve from 1.0 to 0.8 before it begins",
        ),
        (lambda: Steer(0.5).draw_end(1.0, 1.0, key=KEY), "Draw from a narrower range, or solve for longer"),
        (lambda: Steer(1.5).jitter(UNEVEN, key=KEY), r"width=1.5\) would let times .* pass each other"),
        (lambda: Steer(0.5).jitter(UNEVEN[None], key=KEY), r"times of shape \(1, 5\); .*jax.vmap"),
        (
            lambda: Steer(0.5).jitter(UNEVEN[:1], key=KEY),
            r"shape \(1,\); expected \(time,\) with at least two",
        ),
        (lambda: Steer(0.5).jitter(UNEVEN[::-1], key=KEY), "expected times that increase. Sort them"),
        (lambda: Steer(0.5).jitter(jnp.array([0, 1, 1, 2]), key=KEY), "expected times that increase"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_width_that_is_too_large_for_traced_times_is_an_error_when_it_is_run():
    end = eqx.filter_jit(lambda t1: Steer(0.5).draw_end(0.0, t1, key=KEY))
    with pytest.raises(Exception, match=r"width=0.5\) could end a solve before it begins"):
        jax.block_until_ready(end(jnp.asarray(0.4)))
