"""Summaries: what values and data sets look like in a few words."""

import numpy as np


def summarize(data) -> str:
    """Say in a few lines what a data set holds.

    **Arguments:**

    - `data`: `Trajectories`, or what `open_trajectories` gives.

    **Returns:** the lines, without a name around them.
    """
    gigabytes = data.values.dtype.itemsize * np.prod(data.values.shape, dtype=float) / 1e9
    size = f"{gigabytes:.2f} GB" if gigabytes >= 1 else f"{gigabytes * 1e3:.3g} MB"
    parameters = ", ".join(f"{name}={brief(value)}" for name, value in data.law["parameters"].items())
    lines = [
        f"values: {tuple(data.values.shape)} (trajectory, time, channel, *space), {data.values.dtype}, {size}",
        f"times: {brief(data.times)}",
        f"coordinates: {brief(data.coordinates)}",
        f"channels: {', '.join(data.channels)}",
        f"law: {data.law['name']}({parameters})",
        f"seeds: {brief(data.seeds)}",
        f"metadata: {', '.join(data.metadata) or 'none'}",
    ]
    return "\n  " + "\n  ".join(lines) + "\n"


def brief(value) -> str:
    """Write a value in at most a few words: an array by its ends and its shape.

    **Arguments:**

    - `value`: an array of any shape, a tuple of arrays, or anything with a `repr`.

    **Returns:** one line.
    """
    if isinstance(value, tuple) and all(isinstance(entry, np.ndarray) for entry in value):
        return " x ".join(map(brief, value)) or "none"
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.size > 1:
        return f"{value[0]:g} ... {value[-1]:g} ({value.size})"
    if isinstance(value, np.ndarray):
        return f"{value[0]:g} (1)" if value.shape == (1,) else f"array {value.shape}"
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
