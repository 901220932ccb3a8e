"""Tests of simulated irregular series: exact latent states, statistics of what is observed, files read back."""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sciml.data import draw_oscillators, read_physionet, simulate_irregular, write_physionet


@pytest.fixture(scope="module")
def simulated():
    return simulate_irregular(60, seed=1)


def test_the_latent_solution_solves_its_equation():
    """Exact: against an independent integrator at a tolerance of 1e-11."""
    system = draw_oscillators(2, seed=3)
    start = np.array([0.4, -1.2, 0.3, 0.5])
    times = np.array([0.0, 3.0, 17.5, 48.0])

    def rate(t, z):
        x, y = z[:2], z[2:]
        speed = 2 * np.pi / system.periods
        pull = system.growth * (1 - x**2 - y**2)
        return np.concatenate([pull * x - speed * y, pull * y + speed * x])

    expected = solve_ivp(rate, (0, 48), start, t_eval=times, rtol=1e-11, atol=1e-12).y.T
    np.testing.assert_allclose(system.solve(start, times), expected, rtol=1e-8, atol=1e-9)
    both = system.solve(np.stack([start, 2 * start]), times)
    np.testing.assert_array_equal(both[0], system.solve(start, times))


def test_series_have_physionet_s_shape_and_are_the_truth_plus_noise(simulated):
    """Property: an hourly value is off by the noise, 0.02 amplitudes, by its rounding to four digits, and by how far
    the channel moves in the half hour to the full one.
    """
    data, system = simulated.series, simulated.system
    assert data.values.shape == simulated.truth.shape == (60, 49, 37)
    assert 0.1 < data.mask.mean() < 0.5
    assert np.all(data.values[~data.mask] == 0)
    assert np.all(data.values[data.mask] > 0)
    error = ((data.values - simulated.truth) / system.amplitude)[data.mask]
    assert 0.01 < np.std(error) < 0.25
    assert abs(np.mean(error)) < 0.01
    never = ~data.mask.any(axis=1)
    assert 0.05 < never.mean() < 0.5


def test_without_noise_an_observation_is_what_the_channel_shows(simulated):
    """Exact, to the four digits that are kept."""
    exact = simulate_irregular(3, seed=1, noise=0.0)
    seen = exact.observations
    state = [
        exact.system.solve(exact.start[i], np.array([m / 60]))[0] for i, m in zip(seen.series, seen.minute)
    ]
    shown = exact.system.observe(np.stack(state))[np.arange(seen.series.size), seen.channel]
    np.testing.assert_allclose(seen.value, shown, rtol=6e-4)
    assert seen.minute.min() >= 0
    assert seen.minute.max() <= 48 * 60


def test_the_seed_fixes_the_series_and_the_system_is_shared(simulated):
    again = simulate_irregular(60, seed=1)
    assert np.array_equal(simulated.series.values, again.series.values)
    other = simulate_irregular(60, seed=2)
    assert not np.array_equal(simulated.series.values, other.series.values)
    assert np.array_equal(simulated.system.loading, other.system.loading)
    rates = draw_oscillators(seed=5)
    dense = dataclasses.replace(rates, rate=np.full(37, 5.0), present=np.ones(37))
    assert simulate_irregular(2, seed=0, system=dense).series.mask.mean() > 0.9


def test_files_are_read_back_bit_for_bit(simulated, tmp_path):
    """Exact: what the reader makes of the files is what the simulator says, and the files are of the true layout."""
    records, outcomes = write_physionet(tmp_path, simulated)
    data, expected = read_physionet(records, outcomes), simulated.series
    assert np.array_equal(data.values, expected.values)
    assert np.array_equal(data.mask, expected.mask)
    assert np.array_equal(data.times, expected.times)
    assert np.array_equal(data.ids, expected.ids)
    assert data.channels == expected.channels
    death = "In-hospital_death"
    assert np.array_equal(data.attributes[death], expected.attributes[death])
    assert 0 < expected.attributes[death].mean() < 1
    lines = (records / "132539.txt").read_text().splitlines()
    assert lines[:3] == ["Time,Parameter,Value", "00:00,RecordID,132539", "00:00,Age,-1"]
    stamps = [line.split(",")[0] for line in lines[1:]]
    assert stamps == sorted(stamps)
    assert all(len(stamp) == 5 for stamp in stamps)
    with pytest.raises(FileExistsError, match="holds a set already"):
        write_physionet(tmp_path, simulated)


BAD = {
    "count": (lambda: simulate_irregular(0, seed=0), r"count=0 must be an integer of at least 1"),
    "bool": (lambda: simulate_irregular(True, seed=0), r"count=True must be an integer"),
    "noise": (lambda: simulate_irregular(1, seed=0, noise=-1.0), r"noise=-1.0 must be finite and >= 0"),
    "oscillators": (lambda: draw_oscillators(0), r"oscillators=0 must be an integer of at least 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
