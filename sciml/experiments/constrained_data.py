"""The solutions that a constraint is compared with, simulated or PDEBench's at its own times, and how far off one is.

A file of PDEBench keeps its times. A constraint is solved at times of its own, and its answer interpolated to those of
the file, which near the start may be too few to differentiate. In space the file is brought to the grid of the test:
cells are averaged between walls, and points left out on a periodic axis.
"""

import pathlib

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import data as stored
from ..constraints import Clock
from ..pdes import Burgers, Grid, describe
from .interpolated import interpolate_along, interpolate_points
from .problem import Problem, load_parts
from .settings import Split


def read_solutions(file: pathlib.Path, problem: Problem, split: Split) -> dict[str, stored.Trajectories]:
    """Read training, validation and test sets from a file of `sciml generate` or of PDEBench.

    Of PDEBench's trajectories the first are for training, the next for validation, the next for the test.

    **Arguments:**

    - `file`: the file.
    - `problem`: what it must hold, on the grid and until the last time of the test.
    - `split`: how many of each.

    **Returns:** `{"train": ..., "validation": ..., "test": ...}`, values `(trajectory, time, channel, *space)`.

    **Raises:** `ValueError` that names the first difference.
    """
    if not stored.is_pdebench(file):
        return load_parts(file, problem, split)
    sizes = {part: len(seeds) for part, seeds in split.ranges().items()}
    whole = stored.read_pdebench(file, trajectories=slice(0, sum(sizes.values())))
    if len(whole) < sum(sizes.values()):
        raise ValueError(
            f"{file} has {len(whole)} trajectories; the experiment asks for {sizes}. Ask for fewer, such as "
            f"--split.train {max(1, len(whole) // 2)}."
        )
    _check_law(file, whole, problem)
    grid = problem.calculus.grid
    values = _match_grid(file, whole, grid)
    last = problem.times[-1]
    keep = whole.times <= last * (1 + 1e-6)
    if whole.times[0] > 1e-6 * last or not np.any(whole.times >= last * (1 - 0.02)):
        raise ValueError(
            f"{file} has times from {whole.times[0]:g} to {whole.times[-1]:g}; the experiment needs 0 to {last:g}. Set "
            f"its --horizon and --until."
        )
    whole = stored.Trajectories(
        values[:, keep], whole.times[keep], grid.axes, law=describe(problem.law), seeds=whole.seeds
    )
    return dict(zip(sizes, whole.split(*sizes.values()), strict=True))


def average_cells(values: np.ndarray, grid: Grid, factor: int, axis: int = 3) -> np.ndarray:
    """Bring values to a grid with fewer points: means of cells between walls, every so-many-th point where periodic.

    **Arguments:**

    - `values`: with the space axes of `grid` from `axis` on, `(..., *space)`.
    - `grid`: the finer or the coarser grid; of interest is what is periodic.
    - `factor`: how many times fewer.
    - `axis`: the first space axis.

    **Returns:** `(..., *fewer)`.
    """
    for at, periodic in enumerate(grid.box.periodic, axis):
        if periodic:
            values = np.take(values, np.arange(0, values.shape[at], factor), axis=at)
        else:
            shape = (*values.shape[:at], values.shape[at] // factor, factor, *values.shape[at + 1 :])
            values = values.reshape(shape).mean(axis=at + 1)
    return values


def match_times(clock: Clock, own: np.ndarray, times: np.ndarray) -> np.ndarray | None:
    """The matrix that brings a field to the times of the data.

    **Arguments:**

    - `clock`: on which both are read, `(time,)`.
    - `own`: the times of the field, `(time,)`.
    - `times`: those of the data, `(observed,)`.

    **Returns:** `(observed, time)`, or `None` where the times are the same.
    """
    if len(own) == len(times) and np.allclose(own, times, rtol=1e-5, atol=1e-6 * own[-1]):
        return None
    return interpolate_points(clock(own), clock(np.asarray(times, float)), None)


def observe(values: Float[Array, "..."], matrix: np.ndarray | None, axis: int) -> Float[Array, "..."]:
    """A field at the times of the data.

    **Arguments:**

    - `values`: `(..., time, channel, *space)`.
    - `matrix`: `(observed, time)`, or `None` where the times are the same.
    - `axis`: that of time.

    **Returns:** `(..., observed, channel, *space)`.
    """
    return values if matrix is None else interpolate_along(jnp.asarray(values), axis, matrix)


def relative_error(
    prediction: np.ndarray, truth: np.ndarray, times: np.ndarray, which: np.ndarray
) -> np.ndarray:
    """The relative L2 error over space and a part of the time, as integrals, whatever the distance of times.

    **Arguments:**

    - `prediction`, `truth`: `(trajectory, time, channel, *space)`.
    - `times`: `(time,)`.
    - `which`: the times that count, `(time,)`.

    **Returns:** `(trajectory,)`.
    """
    weights = (np.gradient(times) * which).reshape((-1,) + (1,) * (truth.ndim - 2))
    axes = tuple(range(1, truth.ndim))
    return np.sqrt(
        np.sum(weights * (prediction - truth) ** 2, axis=axes) / np.sum(weights * truth**2, axis=axes)
    )


def _check_law(file, whole, problem) -> None:
    """The parameters a file tells; that of Burgers is divided by pi, as the generator does."""
    told = whole.law["parameters"].get("Nu")
    if told is not None and isinstance(problem.law, Burgers):
        viscosity = float(told) / np.pi
        if not np.isclose(viscosity, float(problem.law.viscosity), rtol=1e-4):
            raise ValueError(
                f"{file} has Nu = {float(told):g}, a viscosity of Nu / pi = {viscosity:.6g}; the experiment's is "
                f"{float(problem.law.viscosity):g}. Set --viscosity {viscosity:.6g}."
            )
    channels, expected = whole.values.shape[2], len(problem.law.channels)
    if channels != expected:
        raise ValueError(
            f"{file} has {channels} channels, {whole.channels}; {type(problem.law).__name__} has {expected}."
        )


def _match_grid(file, whole, grid) -> np.ndarray:
    found = tuple(len(axis) for axis in whole.coordinates)
    if len(found) != len(grid.shape) or any(n % m for n, m in zip(found, grid.shape, strict=True)):
        raise ValueError(
            f"{file} has {found} points, which cannot be averaged to the test's {grid.shape}. Choose --points and "
            f"--refinement whose product divides each number."
        )
    (factor,) = {n // m for n, m in zip(found, grid.shape, strict=True)}
    for axis, (points, length) in enumerate(zip(whole.coordinates, grid.box.lengths, strict=True)):
        here = float(points[-1] - points[0]) * len(points) / (len(points) - 1)
        if not np.isclose(here, length, rtol=1e-3):
            raise ValueError(
                f"{file} is on a domain of length {here:.6g} along axis {axis}; the experiment's is {length:g}. Set "
                f"its --length, if it has one."
            )
    return average_cells(whole.values, grid, factor)
