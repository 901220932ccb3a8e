"""Irregular series from a latent system that is known: shaped like PhysioNet 2012, and written in its layout.

The latent state is that of uncoupled Stuart-Landau oscillators, each a point `(r cos a, r sin a)` with

    dr/dt = g r (1 - r^2),    da/dt = 2 pi / period,

whose solution is `r(t)^2 = 1 / (1 + (1 / r(0)^2 - 1) exp(-2 g t))`, so that what was there between two observations
is known exactly. A channel is a weighted sum of the latent state, in units of its own, with noise on what is observed.
It is observed at the times of a Poisson process: some channels about hourly, most a few times a day, and in some series
never.
"""

import dataclasses
import os
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float

from . import physionet
from .masked_series import MaskedSeries, Observations

FIRST_RECORD = 132539
"""The number of the first record, as in set A."""


@final
@dataclasses.dataclass(frozen=True, eq=False)
class Oscillators:
    """Stuart-Landau oscillators, and how the channels see them.

    `draw_oscillators` makes one at random.

    **Arguments:**

    - `periods`: in hours `(oscillator,)`.
    - `growth`: how fast amplitudes go to 1, per hour, a number > 0.
    - `loading`: the weights of the latent state in each channel `(channel, 2 * oscillator)`.
    - `offset`, `amplitude`: of each channel, in its unit `(channel,)`.
    - `rate`: how often each channel is observed, per hour `(channel,)`.
    - `present`: in which part of the series a channel is observed at all `(channel,)`.
    """

    periods: Float[np.ndarray, " oscillator"]
    growth: float
    loading: Float[np.ndarray, "channel latent"]
    offset: Float[np.ndarray, " channel"]
    amplitude: Float[np.ndarray, " channel"]
    rate: Float[np.ndarray, " channel"]
    present: Float[np.ndarray, " channel"]

    def solve(
        self, start: Float[np.ndarray, "*series latent"], times: Float[np.ndarray, " time"]
    ) -> Float[np.ndarray, "*series time latent"]:
        """The exact latent state at later times.

        **Arguments:**

        - `start`: the state at time 0, `(*series, latent)`: the first coordinates of all oscillators, then the second.
        - `times`: in hours `(time,)`.

        **Returns:** the states `(*series, time, latent)`.
        """
        x, y = np.split(start[..., None, :], 2, axis=-1)
        t = times[:, None]
        radius = 1 / np.sqrt(1 + (1 / (x**2 + y**2) - 1) * np.exp(-2 * self.growth * t))
        angle = np.arctan2(y, x) + 2 * np.pi * t / self.periods
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)

    def observe(self, state: Float[np.ndarray, "*series latent"]) -> Float[np.ndarray, "*series channel"]:
        """What the channels show, without noise.

        **Arguments:**

        - `state`: latent states `(*series, latent)`.

        **Returns:** values in the channels' units `(*series, channel)`.
        """
        return self.offset + self.amplitude * (state @ self.loading.T)


@final
@dataclasses.dataclass(frozen=True, eq=False)
class SimulatedSeries:
    """Irregular series, and the truth behind them.

    **Arguments:**

    - `system`: what made them.
    - `start`: the latent state of each series at time 0 `(series, latent)`.
    - `observations`: every single observation.
    - `series`: the observations put on full hours, as `read_physionet` would `(series, 49, 37)`.
    - `truth`: what the channels showed at full hours, without noise, observed or not `(series, 49, 37)`.
    """

    system: Oscillators
    start: Float[np.ndarray, "series latent"]
    observations: Observations
    series: MaskedSeries
    truth: Float[np.ndarray, "series time channel"]


def draw_oscillators(oscillators: int = 3, *, seed: int = 0) -> Oscillators:
    """Draw a system with PhysioNet's 37 channels.

    Periods are spread from 12 to 48 hours; offsets over the orders of magnitude that blood counts have.

    **Arguments:**

    - `oscillators`: their number; the latent state has twice as many components.
    - `seed`: the seed of the draw.

    **Returns:** the system.

    **Raises:** `ValueError` for a number below 1.
    """
    _check_count("oscillators", oscillators)
    rng = np.random.default_rng(seed)
    channels = len(physionet.CHANNELS)
    loading = rng.normal(size=(channels, 2 * oscillators))
    loading /= np.linalg.norm(loading, axis=1, keepdims=True)
    offset = 10 ** rng.uniform(0, 2, channels)
    return Oscillators(
        periods=np.geomspace(12, 48, oscillators),
        growth=1 / 12,
        loading=loading,
        offset=offset,
        amplitude=0.3 * offset / np.sqrt(oscillators),
        rate=10 ** rng.uniform(-1.3, 0.1, channels),
        present=rng.uniform(0.4, 1, channels),
    )


def simulate_irregular(
    count: int, *, seed: int, system: Oscillators | None = None, noise: float = 0.02
) -> SimulatedSeries:
    """Simulate irregular series with PhysioNet's times and channels.

    **Arguments:**

    - `count`: the number of series.
    - `seed`: the seed of initial states, of the times of observation and of the noise. Keep those of training and test
      apart, and their `system` the same.
    - `system`: what to observe; `draw_oscillators()` if not given.
    - `noise`: the standard deviation of an observation's error, in parts of the channel's amplitude, a number >= 0.

    **Returns:** the series, with the truth behind them. The attribute `In-hospital_death` is drawn with a probability
    that grows with the first oscillator's initial amplitude.

    **Raises:** `ValueError` for a number of series below 1, or a noise that is negative or not finite.
    """
    _check_count("count", count)
    if not (np.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise={noise!r} must be finite and >= 0, such as 0.02 of the channel's amplitude.")
    system = draw_oscillators() if system is None else system
    rng = np.random.default_rng(seed)
    oscillators = system.periods.size
    radius = rng.uniform(0.3, 1.5, (count, oscillators))
    angle = rng.uniform(0, 2 * np.pi, (count, oscillators))
    start = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    died = rng.random(count) < 1 / (1 + np.exp(-6 * (radius[:, 0] - 1.2)))
    observations = _observe_irregularly(system, start, noise, rng)
    hours = np.arange(float(physionet.HOURS))
    values, mask = observations.average_hourly(count, physionet.HOURS, len(physionet.CHANNELS))
    ids, attributes = FIRST_RECORD + np.arange(count), {"In-hospital_death": died.astype(float)}
    series = MaskedSeries(values, mask, hours, physionet.CHANNELS, ids, attributes)
    truth = system.observe(system.solve(start, hours))
    return SimulatedSeries(system, start, observations, series, truth)


def write_physionet(folder: str | os.PathLike, simulated: SimulatedSeries) -> tuple[Path, Path]:
    """Write simulated series as PhysioNet 2012 has them: a folder of records, and a file of outcomes.

    `read_physionet` gives the same series back, bit for bit. Descriptors and scores, which are not simulated, are -1,
    which says that they are not known.

    **Arguments:**

    - `folder`: where to write `set-a/*.txt` and `Outcomes-a.txt`; made if it is not there.
    - `simulated`: the series.

    **Returns:** the folder of records and the file of outcomes.

    **Raises:** `FileExistsError` if there are records in the folder already; `OSError` if it cannot be written.
    """
    records, outcomes = Path(folder) / "set-a", Path(folder) / "Outcomes-a.txt"
    records.mkdir(parents=True, exist_ok=True)
    if any(records.iterdir()) or outcomes.exists():
        raise FileExistsError(f"{folder} holds a set already. Give a folder that is empty or new.")
    seen = simulated.observations
    order = np.lexsort((seen.channel, seen.minute, seen.series))
    ends = np.searchsorted(seen.series[order], np.arange(len(simulated.series) + 1))
    for i, record in enumerate(simulated.series.ids.tolist()):
        unknown = [f"00:00,{name},-1" for name in (*physionet.DESCRIPTORS, "Weight")]
        lines = [physionet.HEADER, f"00:00,RecordID,{record}", *unknown]
        for j in order[ends[i] : ends[i + 1]]:
            hour, minute = divmod(int(seen.minute[j]), 60)
            lines.append(
                f"{hour:02}:{minute:02},{physionet.CHANNELS[seen.channel[j]]},{float(seen.value[j])!r}"
            )
        (records / f"{record}.txt").write_text("\n".join(lines) + "\n")
    died = simulated.series.attributes["In-hospital_death"].astype(int)
    rows = [f"{record},-1,-1,-1,-1,{dead}" for record, dead in zip(simulated.series.ids, died, strict=True)]
    outcomes.write_text("\n".join([",".join(physionet.OUTCOMES), *rows]) + "\n")
    return records, outcomes


def _observe_irregularly(system: Oscillators, start, noise: float, rng: np.random.Generator) -> Observations:
    """Poisson times on full minutes, noise, and four significant digits, as records have."""
    last = 60 * (physionet.HOURS - 1)
    expected = (
        system.rate * (physionet.HOURS - 1) * (rng.random((len(start), system.rate.size)) < system.present)
    )
    number = rng.poisson(expected)
    series, channel = (np.repeat(index.ravel(), number.ravel()) for index in np.indices(number.shape))
    minute = rng.integers(0, last + 1, series.size)
    values = np.empty(series.size)
    ends = np.searchsorted(series, np.arange(len(start) + 1))  # `series` is sorted: its index varied slowest
    for i in range(len(start)):
        mine = slice(ends[i], ends[i + 1])
        seen = system.observe(system.solve(start[i], minute[mine] / 60))
        values[mine] = seen[np.arange(len(seen)), channel[mine]]
    values += noise * system.amplitude[channel] * rng.normal(size=values.size)
    rounded = np.array([float(f"{value:.4g}") for value in values])
    return Observations(series, minute, channel, rounded)


def _check_count(name: str, count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
        raise ValueError(f"{name}={count!r} must be an integer of at least 1.")
