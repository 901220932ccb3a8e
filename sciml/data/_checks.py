"""Checks: what each part of a data set must be, and the errors that say so."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from . import _records
from ._summaries import brief

UNRECORDED = -1
"""The seed of a trajectory whose seed is not known."""


def check_coordinates(coordinates) -> tuple[Float[np.ndarray, " _"], ...]:
    """Check the space axes: one array of finite numbers `(space_i,)` for each.

    **Returns:** read-only arrays `(space_i,)`.

    **Raises:** `ValueError` naming the axis.
    """
    if not isinstance(coordinates, (tuple, list)):
        raise ValueError(
            f"coordinates is a {type(coordinates).__name__}; expected a tuple with one array (space_i,) for each "
            f"space axis. In one dimension write coordinates=(x,)."
        )
    return tuple(_check_axis(axis, f"coordinates[{i}]") for i, axis in enumerate(coordinates))


def check_values(
    values, coordinates: tuple[Float[np.ndarray, " _"], ...]
) -> Float[np.ndarray, "trajectory time channel *space"]:
    """Check the shape and dtype of values against the space axes.

    **Returns:** a read-only array `(trajectory, time, channel, *space)`.

    **Raises:** `ValueError` naming the shape; a missing trajectory or channel axis is recognized.
    """
    array = np.asarray(values)
    sizes = "".join(f", {axis.size}" for axis in coordinates)
    expected = f"(trajectory, time, channel{sizes})"
    if array.ndim != 3 + len(coordinates):
        cure = "Give one array of coordinates for each space axis."
        if array.ndim == 2 + len(coordinates):
            cure = (
                "If it is a single trajectory (time, channel, *space), pass values[None]; "
                "if it has no channel axis (trajectory, time, *space), pass values[:, :, None]."
            )
        raise ValueError(
            f"values has shape {array.shape}, {array.ndim} axes; expected {3 + len(coordinates)}: {expected}. {cure}"
        )
    if array.dtype not in (np.float32, np.float64):
        raise ValueError(f"values has dtype {array.dtype}; expected float32 or float64. Cast it with astype.")
    if 0 in array.shape:
        raise ValueError(
            f"values has shape {array.shape}, which is empty; expected at least one of each axis."
        )
    for axis, (length, points) in enumerate(zip(array.shape[3:], coordinates, strict=True)):
        if length != points.size:
            raise ValueError(
                f"values has shape {array.shape}, but coordinates[{axis}] has {points.size} points where values has "
                f"{length}; expected {expected}. Check the order of the axes."
            )
    return _freeze(array)


def check_times(times, count: int) -> Float[np.ndarray, " time"]:
    """Check that there are `count` times, and that they increase.

    **Returns:** a read-only array `(time,)`.

    **Raises:** `ValueError` naming the first time that is wrong.
    """
    array = _check_axis(times, "times")
    if array.size != count:
        raise ValueError(
            f"times has {array.size} entries, but values has {count} along its time axis. Give each its time."
        )
    steps = np.diff(array)
    if np.any(steps <= 0):
        i = int(np.argmax(steps <= 0))
        raise ValueError(
            f"times must increase, but times[{i + 1}]={array[i + 1]:g} follows times[{i}]={array[i]:g}. "
            f"Sort times and values alike, or drop what is there twice."
        )
    return array


def check_channels(channels: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """Check that there are `count` different names, or make them up.

    **Returns:** the names.

    **Raises:** `ValueError` naming them.
    """
    if channels is None:
        return ("u",) if count == 1 else tuple(f"u{i}" for i in range(count))
    if not isinstance(channels, (tuple, list)) or not all(isinstance(name, str) for name in channels):
        raise ValueError(f"channels={channels!r} must be a tuple of names, such as ('u',) or ('u', 'v').")
    if len(channels) != count or len(set(channels)) != count:
        raise ValueError(
            f"channels={channels!r} must be {count} different names: values has {count} along its channel axis."
        )
    return tuple(channels)


def check_law(law: dict | None) -> dict:
    """Check a law's description, `{"name": text, "parameters": {...}}`; `None` is a law that is not known.

    **Returns:** the description as a record; parameters of any shape.

    **Raises:** `ValueError` if the name is missing, or an entry is something a file cannot hold.
    """
    if law is None:
        return {"name": "unknown", "parameters": {}}
    named = isinstance(law, dict) and isinstance(law.get("name"), str)
    if not named or not isinstance(law.get("parameters"), dict):
        raise ValueError(
            f"law={brief(law)} must be a description such as "
            f"{{'name': 'Burgers', 'parameters': {{'viscosity': 0.01}}}}. sciml.pdes.describe(law) makes one of a law."
        )
    return _records.normalize(law, "law")


def check_seeds(seeds, count: int) -> Int[np.ndarray, " trajectory"]:
    """Check that there are `count` integers; `None` means that they are not known.

    **Returns:** a read-only array `(trajectory,)`.

    **Raises:** `ValueError` naming shape and dtype.
    """
    if seeds is None:
        return _freeze(np.full(count, UNRECORDED))
    # A typed JAX key has a dtype that NumPy does not know.
    plain = isinstance(getattr(seeds, "dtype", np.dtype(int)), np.dtype)
    array = np.asarray(seeds) if plain else seeds
    if not plain or array.shape != (count,) or array.dtype.kind not in "iu":
        raise ValueError(
            f"seeds has shape {array.shape} and dtype {array.dtype}; expected {count} integers, one each. "
            f"Pass the integers that the keys were made from, or seeds=None."
        )
    return _freeze(array)


def check_metadata(metadata: dict | None) -> dict:
    """Check that metadata is a dictionary that a file can hold; `None` is none.

    **Returns:** the metadata as a record; arrays of any shape.

    **Raises:** `ValueError` naming the entry.
    """
    if metadata is not None and not isinstance(metadata, dict):
        raise ValueError(f"metadata is a {type(metadata).__name__}; expected a dictionary with text keys.")
    return _records.normalize(metadata or {}, "metadata")


def check_finite(
    values: Float[np.ndarray, "trajectory time channel *space"], seeds: Int[np.ndarray, " trajectory"]
) -> None:
    """Refuse values that are infinite or not numbers.

    **Arguments:** values `(trajectory, time, channel, *space)` and seeds `(trajectory,)`.

    **Raises:** `ValueError` naming the first trajectory at fault.
    """
    # One trajectory at a time: a mask of everything would cost a quarter of the data's memory again.
    for index, trajectory in enumerate(values):
        finite = np.isfinite(trajectory)
        if not finite.all():
            time = int(np.argmin(finite.reshape(finite.shape[0], -1).all(axis=1)))
            raise ValueError(
                f"Trajectory {index} (seed {seeds[index]}) is not finite: {int((~finite).sum())} of its "
                f"{finite.size} values, the first at time index {time}. Leave it out, or simulate it with smaller "
                f"steps or tolerances."
            )


def as_slice(selection: slice | int, name: str) -> slice:
    """Read a choice along one axis: a slice, or an integer that keeps every n-th entry.

    **Returns:** a slice that runs forwards.

    **Raises:** `ValueError` if it is neither, or runs backwards.
    """
    chosen = selection
    if isinstance(chosen, (int, np.integer)) and not isinstance(chosen, bool):
        chosen = slice(None, None, int(chosen))
    if not isinstance(chosen, slice) or (chosen.step is not None and chosen.step < 1):
        raise ValueError(
            f"{name}={selection!r} must be a slice that runs forwards, such as slice(0, 100), or an integer of at "
            f"least 1 that keeps every n-th entry."
        )
    return chosen


def as_slices(selection: slice | int | Sequence[slice | int], axes: int) -> tuple[slice, ...]:
    """Read a choice along the space axes: one for all, or one for each.

    **Returns:** one slice for each axis.

    **Raises:** `ValueError` if the number of choices is not the number of axes, or one is not a slice or a stride.
    """
    if not isinstance(selection, (tuple, list)):
        selection = (selection,) * axes
    if len(selection) != axes:
        raise ValueError(
            f"space={selection!r} has {len(selection)} entries, but there are {axes} space axes."
        )
    return tuple(as_slice(part, f"space[{axis}]") for axis, part in enumerate(selection))


def _check_axis(axis, name: str) -> Float[np.ndarray, " _"]:
    array = np.asarray(axis)
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}; expected numbers (n,).")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    finite = np.isfinite(array)
    if not finite.all():
        raise ValueError(f"{name}[{int(np.argmin(finite))}] is not finite. Check where it was computed.")
    return _freeze(array)


def _freeze(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.setflags(write=False)
    return view
