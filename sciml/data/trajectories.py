"""Trajectories: solutions of one law on one grid at the same times, from several initial conditions.

A data set, not a field: this is the one place in the library with a leading `trajectory` axis. The arrays are NumPy
arrays in host memory, because a data set may be larger than a device; `jnp.asarray` moves a part of it.
"""

import dataclasses
from collections.abc import Sequence
from typing import final

import numpy as np
from jaxtyping import Float, Int

from . import _records
from ._checks import (
    UNRECORDED,
    as_slice,
    as_slices,
    check_channels,
    check_coordinates,
    check_finite,
    check_law,
    check_metadata,
    check_seeds,
    check_times,
    check_values,
)
from ._summaries import brief, summarize


@final
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Trajectories:
    """Solutions of one law on one grid at the same times, read-only.

    `data[10:20]`, `data[[3, 5]]` and `data[mask]` choose trajectories and give `Trajectories` again.

    **Arguments:**

    - `values`: the solutions `(trajectory, time, channel, *space)`, float32 or float64, finite.
    - `times`: the times `(time,)`, increasing, in the law's unit of time.
    - `coordinates`: one array `(space_i,)` for each space axis, in the law's unit of length; `()` for an ODE.
    - `channels`: the channels' names; `u`, or `u0`, `u1`, ..., if not given.
    - `law`: `{"name": text, "parameters": {...}}`, as `sciml.pdes.describe` writes it; parameters may be
      arrays `(...)`.
    - `seeds`: the integer `(trajectory,)` that each initial condition was drawn with; `UNRECORDED` (-1) if not given.
    - `metadata`: anything else worth keeping: solver, tolerances, versions. Text, numbers, arrays `(...)`, lists.

    **Raises:** `ValueError` naming the shape, the trajectory or the entry that does not fit, and what to do.
    """

    values: Float[np.ndarray, "trajectory time channel *space"]
    times: Float[np.ndarray, " time"]
    coordinates: tuple[Float[np.ndarray, " _"], ...]
    channels: tuple[str, ...] | None = dataclasses.field(default=None, kw_only=True)
    law: dict | None = dataclasses.field(default=None, kw_only=True)
    seeds: Int[np.ndarray, " trajectory"] | None = dataclasses.field(default=None, kw_only=True)
    metadata: dict | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self):
        coordinates = check_coordinates(self.coordinates)
        values = check_values(self.values, coordinates)
        checked = {
            "values": values,
            "times": check_times(self.times, values.shape[1]),
            "coordinates": coordinates,
            "channels": check_channels(self.channels, values.shape[2]),
            "law": check_law(self.law),
            "seeds": check_seeds(self.seeds, values.shape[0]),
            "metadata": check_metadata(self.metadata),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        check_finite(self.values, self.seeds)

    def __len__(self) -> int:
        return self.values.shape[0]

    def __getitem__(self, selection: slice | Sequence[int] | np.ndarray) -> "Trajectories":
        if isinstance(selection, tuple) or (not isinstance(selection, slice) and np.ndim(selection) != 1):
            raise ValueError(
                f"data[{selection!r}] is not a choice of trajectories. Give a slice, a list of indices or a mask: "
                f"data[3:4] is a data set of one. For arrays, index data.values (trajectory, time, channel, *space)."
            )
        if not isinstance(selection, slice):
            selection = np.asarray(selection)
        return dataclasses.replace(self, values=self.values[selection], seeds=self.seeds[selection])

    def __repr__(self) -> str:
        return f"Trajectories({summarize(self)})"

    def split(self, *sizes: int) -> tuple["Trajectories", ...]:
        """Cut into consecutive, disjoint parts: `train, test = data.split(800, 200)`.

        **Arguments:**

        - `sizes`: the number of trajectories in each part; trajectories left over at the end are in none.

        **Returns:** one `Trajectories` `(size, time, channel, *space)` for each size.

        **Raises:** `ValueError` if there are too few trajectories, or if two parts would share a seed: the same
        solution in training and in test.
        """
        if not sizes or any(
            isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1 for n in sizes
        ):
            raise ValueError(
                f"split{sizes} needs sizes that are integers of at least 1, such as split(800, 200)."
            )
        if sum(sizes) > len(self):
            raise ValueError(
                f"split{sizes} asks for {sum(sizes)} trajectories; there are {len(self)}. Ask for fewer."
            )
        ends = np.cumsum(sizes)
        parts = tuple(self[int(end - size) : int(end)] for size, end in zip(sizes, ends, strict=True))
        known = [np.unique(part.seeds[part.seeds != UNRECORDED]) for part in parts]
        seeds, counts = np.unique(np.concatenate(known), return_counts=True)
        if np.any(counts > 1):
            raise ValueError(
                f"split{sizes} would put trajectories of the same seed {seeds[counts > 1][0]} in two parts, so that "
                f"a model would be tested on what it was trained on. Give each its own seed, or seeds=None."
            )
        return parts

    def subsample(
        self, *, time: slice | int = 1, space: slice | int | Sequence[slice | int] = 1
    ) -> "Trajectories":
        """Keep some times and some grid points. Points are dropped, not averaged: fine scales alias.

        **Arguments:**

        - `time`: a slice of time indices, or an integer to keep every n-th.
        - `space`: the same for every space axis, or a sequence with one for each.

        **Returns:** `Trajectories` `(trajectory, fewer times, channel, *fewer points)`.

        **Raises:** `ValueError` if a slice is empty or runs backwards, or if `space` has not one entry for each axis.
        """
        time = as_slice(time, "time")
        space = as_slices(space, len(self.coordinates))
        return dataclasses.replace(
            self,
            values=self.values[(slice(None), time, slice(None), *space)],
            times=self.times[time],
            coordinates=tuple(axis[part] for axis, part in zip(self.coordinates, space, strict=True)),
        )


def concatenate(parts: Sequence[Trajectories]) -> Trajectories:
    """Join data sets along the trajectory axis.

    **Arguments:**

    - `parts`: data sets of one law, grid, dtype and one set of times and channels.

    **Returns:** `Trajectories` `(sum of trajectories, time, channel, *space)`, with the metadata on which all agree.

    **Raises:** `ValueError` naming the first thing in which two parts differ.
    """
    parts = list(parts)
    if not parts:
        raise ValueError("concatenate([]) has nothing to join. Give at least one Trajectories.")
    metadata = parts[0].metadata
    for index, part in enumerate(parts[1:], start=1):
        check_same(parts[0], part, f"Part {index}")
        metadata = _records.intersect(metadata, part.metadata)
    return dataclasses.replace(
        parts[0],
        values=np.concatenate([part.values for part in parts]),
        seeds=np.concatenate([part.seeds for part in parts]),
        metadata=metadata,
    )


def check_same(first: Trajectories, other: Trajectories, noun: str) -> None:
    """Refuse to join data sets that differ in more than their trajectories.

    **Arguments:**

    - `first`: the data set to agree with; anything with its `times`, `coordinates`, `channels`, `law` and `values`.
    - `other`: the data set to join.
    - `noun`: what to call `other` in the error.

    **Raises:** `ValueError` naming what differs.
    """
    if not isinstance(other, Trajectories):
        raise ValueError(
            f"{noun} is a {type(other).__name__}; expected Trajectories. Wrap the arrays in one."
        )
    advice = "Only what differs in nothing but its trajectories can be joined; keep the rest apart."
    for name in ("channels", "law", "times", "coordinates"):
        ours, theirs = getattr(first, name), getattr(other, name)
        if not _records.equal(ours, theirs):
            raise ValueError(f"{noun} has other {name}: {brief(theirs)} instead of {brief(ours)}. {advice}")
    if first.values.dtype != other.values.dtype:
        raise ValueError(
            f"{noun} holds {other.values.dtype} instead of {first.values.dtype}. Cast one with astype."
        )
