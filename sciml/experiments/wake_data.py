"""The wakes of the cylinder experiment: training, validation and test at Reynolds numbers of their own."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..data import Wakes, load_wakes, simulate_wakes

VELOCITIES = 2  # the first channels of a wake; the third is vorticity, which follows from them
_MIDDLE, _STRETCH = 100.0, 5.0  # of the Reynolds numbers, as methods are told them
_FIRST_SEED = {"train": 0, "validation": 1000, "test": 2000}


@dataclasses.dataclass(frozen=True)
class Reynolds:
    """Reynolds numbers, one trajectory each. All developed flows at one number are the same but for their phase."""

    train: tuple[float, ...] = (75.0, 80.0, 95.0, 100.0, 105.0, 120.0, 125.0)
    """To train on."""
    validation: tuple[float, ...] = (85.0, 115.0)
    """To choose the best model by."""
    test: tuple[float, ...] = (90.0, 110.0)
    """To report on; never used for a choice."""

    def __post_init__(self):
        for name, others in (("validation", self.train), ("test", (*self.train, *self.validation))):
            both = sorted(set(getattr(self, name)) & set(others))
            if both:
                raise ValueError(
                    f"Reynolds.{name} has {both[0]:g}, which is trained on or chosen by: a model would be measured on "
                    "what it has seen. Take numbers between the others."
                )
        for name in _FIRST_SEED:
            if not getattr(self, name):
                raise ValueError(f"Reynolds.{name} needs at least one number; got none.")


class Wake(NamedTuple):
    """Frames of one wake, or one of them without its axis `time`; what methods take for the truth.

    **Arguments:**

    - `values`: velocities on circles `(time, 2, xi, theta)`.
    - `feature`: what methods are told of the Reynolds number, `(time, 1)`: about -1 to 1 from 80 to 120.
    """

    values: Float[Array, "time 2 xi theta"]
    feature: Float[Array, "time 1"]


def list_wakes(wakes: Wakes) -> list[Wake]:
    """The trajectories apart.

    **Arguments:**

    - `wakes`: all of them.

    **Returns:** one `Wake` for each.
    """
    found = []
    for values, reynolds in zip(wakes.values, wakes.reynolds, strict=True):
        feature = np.full((len(values), 1), _STRETCH * np.log(reynolds / _MIDDLE), np.float32)
        found.append(Wake(np.asarray(values[:, :VELOCITIES], np.float32), feature))
    return found


def find_viscosity(feature: Float[Array, " 1"]) -> Float[Array, ""]:
    """One over the Reynolds number.

    **Arguments:**

    - `feature`: what methods are told of it, `(1,)`.

    **Returns:** a scalar.
    """
    return jnp.exp(-feature[0] / _STRETCH) / _MIDDLE


def simulate_all(
    reynolds: Reynolds, *, frames: int, interval: float, spin_up: float, points: Sequence[int]
) -> Wakes:
    """Simulate the wakes of all parts.

    **Arguments:**

    - `reynolds`: their numbers.
    - `frames`, `interval`, `spin_up`, `points`: as for `simulate_wakes`.

    **Returns:** all trajectories, those of the test last.
    """
    numbers, seeds = _list(reynolds)
    return simulate_wakes(
        numbers, seeds=seeds, frames=frames, interval=interval, spin_up=spin_up, points=tuple(points)
    )


def load_all(
    file: pathlib.Path, reynolds: Reynolds, *, frames: int, interval: float, points: Sequence[int]
) -> dict[str, Wakes]:
    """Read the wakes of all parts.

    **Arguments:**

    - `file`: what `save_wakes` wrote.
    - `reynolds`, `frames`, `interval`, `points`: what is expected.

    **Returns:** `{"train": ..., "validation": ..., "test": ...}`.

    **Raises:** `ValueError` for a file of other wakes.
    """
    whole = load_wakes(file)
    numbers, seeds = _list(reynolds)
    expected = {
        "Reynolds numbers": (list(whole.reynolds), numbers),
        "seeds": (list(whole.seeds), seeds),
        "frames": (len(whole.times), frames),
        "interval": (round(float(whole.times[1] - whole.times[0]), 6), round(float(interval), 6)),
        "points": (list(whole.settings["points"]), list(points)),
    }
    for name, (found, wanted) in expected.items():
        if found != wanted:
            raise ValueError(
                f"{file} holds wakes with {name} {found}; the experiment has {wanted}. Generate it anew with these "
                "settings."
            )
    parts, first = {}, 0
    for name in _FIRST_SEED:
        rows = slice(first, first + len(getattr(reynolds, name)))
        first = rows.stop
        cut = {key: getattr(whole, key)[rows] for key in ("values", "forces", "reynolds", "seeds")}
        parts[name] = dataclasses.replace(whole, **cut)
    return parts


def measure_size(wakes: Wakes, points: Float[Array, "2 point"]) -> Float[Array, " 2"]:
    """The standard deviation of each velocity over the domain.

    **Arguments:**

    - `wakes`: the wakes.
    - `points`: evenly spread over the domain, `(2, point)`.

    **Returns:** `(2,)`.
    """
    count = len(wakes.times)
    frames = [
        np.asarray(wakes.sample(i, k, points))[:VELOCITIES]
        for i in range(len(wakes))
        for k in range(0, count, max(1, count // 4))
    ]
    return jnp.asarray(np.std(np.stack(frames), axis=(0, 2)), jnp.float32)


def _list(reynolds: Reynolds) -> tuple[list[float], list[int]]:
    numbers, seeds = [], []
    for name, first in _FIRST_SEED.items():
        own = getattr(reynolds, name)
        numbers += [float(r) for r in own]
        seeds += range(first, first + len(own))
    return numbers, seeds
