"""Series seen only now and then: values on common times, and a mask that says which of them were observed."""

import dataclasses
import enum
from collections.abc import Sequence
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Int


class Scale(enum.Enum):
    """What a channel is divided by when it is normalized."""

    MAXIMUM = "its largest value"
    RANGE = "its largest value minus its smallest"


@final
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class MaskedSeries:
    """Series on common times, of which only some values were observed; the others are 0.

    `data[10:20]`, `data[[3, 5]]` and `data[mask]` choose series and give `MaskedSeries` again. Like `Trajectories`, it
    is a data set in host memory, with a leading axis that models do not have.

    **Arguments:**

    - `values`: what was observed, 0 elsewhere `(series, time, channel)`.
    - `mask`: whether it was observed, of the same shape `(series, time, channel)`.
    - `times`: increasing, in the data's unit of time `(time,)`.
    - `channels`: the channels' names.
    - `ids`: a number by which to know each series again `(series,)`.
    - `attributes`: numbers that belong to a whole series, by name, each `(series,)`; NaN where not known.

    **Raises:** `ValueError` naming the shape that does not fit, or the first value that is not finite.
    """

    values: Float[np.ndarray, "series time channel"]
    mask: Bool[np.ndarray, "series time channel"]
    times: Float[np.ndarray, " time"]
    channels: tuple[str, ...]
    ids: Int[np.ndarray, " series"]
    attributes: dict[str, Float[np.ndarray, " series"]] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        count, times, channels = self.ids.size, self.times.size, len(self.channels)
        expected = (count, times, channels)
        for name in ("values", "mask"):
            shape = getattr(self, name).shape
            if shape != expected:
                raise ValueError(
                    f"{name} has shape {shape}; expected {expected} for {count} ids, {times} times and {channels} "
                    "channels. Check the order of the axes: (series, time, channel)."
                )
        for name, numbers in self.attributes.items():
            if numbers.shape != (count,):
                raise ValueError(
                    f"attributes[{name!r}] has shape {numbers.shape}; expected {(count,)}, one number for each series."
                )
        if np.any(np.diff(self.times) <= 0):
            raise ValueError(f"times={self.times} must increase. Sort them, and values and mask alike.")
        broken = np.argwhere(~np.isfinite(self.values))
        if broken.size:
            series, time, channel = broken[0]
            raise ValueError(
                f"The value of {self.channels[channel]} at time {self.times[time]:g} of series {self.ids[series]} is "
                "not finite. What was not observed is 0 in values and False in mask."
            )

    def __len__(self) -> int:
        return self.ids.size

    def __getitem__(self, selection: slice | Sequence[int] | np.ndarray) -> "MaskedSeries":
        if isinstance(selection, tuple) or (not isinstance(selection, slice) and np.ndim(selection) != 1):
            raise ValueError(
                f"data[{selection!r}] is not a choice of series. Give a slice, a list of indices or a mask: "
                "for the first series, data[:1] or data.values[0]."
            )
        attributes = {name: numbers[selection] for name, numbers in self.attributes.items()}
        return dataclasses.replace(
            self,
            values=self.values[selection],
            mask=self.mask[selection],
            ids=self.ids[selection],
            attributes=attributes,
        )

    def __repr__(self) -> str:
        return (
            f"MaskedSeries({self.values.shape} (series, time, channel), {self.values.dtype}, "
            f"{np.mean(self.mask) if self.mask.size else 0:.1%} observed, times {self.times[0]:g} to "
            f"{self.times[-1]:g}, attributes: {', '.join(self.attributes) or 'none'})"
        )

    def normalize(
        self, reference: "MaskedSeries | None" = None, *, scale: Scale = Scale.MAXIMUM
    ) -> "MaskedSeries":
        """Shift and scale every channel by its observed extremes; what was not observed stays 0.

            (x - minimum) / maximum      or      (x - minimum) / (maximum - minimum)

        The first is what the preparation of PhysioNet published with latent ODEs does, and what the published losses
        are measured in; the second fills the interval from 0 to 1.

        **Arguments:**

        - `reference`: the series to take the extremes of, such as those to train on; these if not given. (The
          published preparation takes those of all series, tested on or not.)
        - `scale`: what to divide by.

        **Returns:** the series, normalized `(series, time, channel)`.

        **Raises:** `ValueError` if the reference has other channels, or a channel none of whose values is positive is
        to be divided by its largest.
        """
        reference = self if reference is None else reference
        if reference.channels != self.channels:
            raise ValueError(
                f"The reference has the channels {reference.channels}; expected {self.channels}. Read both alike."
            )
        observed = np.where(reference.mask, reference.values, np.inf)
        low = observed.min(axis=(0, 1), initial=np.inf)
        high = np.where(reference.mask, reference.values, -np.inf).max(axis=(0, 1), initial=-np.inf)
        seen = np.isfinite(low)
        low, high = np.where(seen, low, 0), np.where(seen, high, 0)
        if scale is Scale.MAXIMUM and np.any(high < 0):
            name = self.channels[int(np.argmax(high < 0))]
            raise ValueError(
                f"The largest value of {name} is {high.min():g}: dividing by it would turn the channel around; "
                "expected a value >= 0. Use scale=Scale.RANGE."
            )
        divisor = high if scale is Scale.MAXIMUM else high - low
        divisor = np.where(divisor == 0, 1, divisor)
        values = np.where(self.mask, (self.values - low) / divisor, 0).astype(self.values.dtype)
        return dataclasses.replace(self, values=values)

    def split(self, test_fraction: float = 0.2, *, seed: int = 0) -> tuple["MaskedSeries", "MaskedSeries"]:
        """Split at random into series to train on and series to test on.

        **Arguments:**

        - `test_fraction`: the part to test on, between 0 and 1.
        - `seed`: the seed of the split.

        **Returns:** the series to train on and those to test on, each `(series, time, channel)`.

        **Raises:** `ValueError` for a fraction that leaves one part empty.
        """
        count = round(test_fraction * len(self)) if np.isfinite(test_fraction) else 0
        if not 0 < count < len(self):
            raise ValueError(
                f"test_fraction={test_fraction!r} would test on {count} of {len(self)} series; expected at least one "
                "to train and one to test on. Choose a fraction such as 0.2."
            )
        order = np.random.default_rng(seed).permutation(len(self))
        return self[np.sort(order[count:])], self[np.sort(order[:count])]


@final
@dataclasses.dataclass(frozen=True, eq=False)
class Observations:
    """Single observations, in any order: what irregular series are before they are put on common times.

    **Arguments:**

    - `series`, `minute`, `channel`: of which series, when, and what was observed; integers from 0 `(observation,)`.
    - `value`: what was seen `(observation,)`.
    """

    series: Int[np.ndarray, " observation"]
    minute: Int[np.ndarray, " observation"]
    channel: Int[np.ndarray, " observation"]
    value: Float[np.ndarray, " observation"]

    def average_hourly(
        self, count: int, hours: int, channels: int
    ) -> tuple[Float[np.ndarray, "series hour channel"], Bool[np.ndarray, "series hour channel"]]:
        """Put observations on full hours: each to the nearest, those of one hour averaged.

        Half past goes to the even hour, as in the published preparation of PhysioNet.

        **Arguments:**

        - `count`, `hours`, `channels`: how many series, hours (the first is 0) and channels there are.

        **Returns:** values and mask `(series, hour, channel)`.
        """
        index = (self.series, np.rint(self.minute / 60).astype(int), self.channel)
        total, number = np.zeros((count, hours, channels)), np.zeros((count, hours, channels))
        np.add.at(total, index, self.value)
        np.add.at(number, index, 1)
        return (total / np.maximum(number, 1)).astype(np.float32), number > 0
