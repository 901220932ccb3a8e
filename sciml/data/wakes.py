"""Trajectories of flow past a cylinder: sampled at any points, stored.

A wake is known on circles around the cylinder, crowded at its wall, up to a radius that holds the window of interest.
Anywhere else it is interpolated by cubics through four circles and four angles, so that a mesh whose nodes move is
given the truth at its nodes, and errors can be measured between them.
"""

import json
import math
import os
import pathlib
import zipfile

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .cylinder_flow import RADIUS

CHANNELS = ("u", "v", "vorticity")
REACH = 9.0  # beyond the corners of a window of x up to 8 and y up to 2.5
_FORMAT = "sciml-wakes-1"
_ARRAYS = ("values", "forces", "reynolds", "seeds", "times")


class Wakes(eqx.Module):
    """Flows past a cylinder at the same times, each at its own Reynolds number. Lengths are in diameters.

    **Arguments:**

    - `values`: velocity along x and y, and vorticity, on circles `(trajectory, time, 3, xi, theta)`.
    - `forces`: coefficients of drag and lift, `(trajectory, time, 2)`.
    - `reynolds`: the Reynolds numbers, `(trajectory,)`.
    - `seeds`: from which the phases of shedding were drawn, `(trajectory,)`.
    - `times`: from the first frame on, in diameters over the velocity of the oncoming flow, `(time,)`.
    - `spacing`: of the circles in `xi = log(2 r)`.
    - `settings`: what else fixes the simulation, by name.
    """

    values: Float[np.ndarray, "trajectory time 3 xi theta"]
    forces: Float[np.ndarray, "trajectory time 2"]
    reynolds: Float[np.ndarray, " trajectory"]
    seeds: Int[np.ndarray, " trajectory"]
    times: Float[np.ndarray, " time"]
    spacing: float = eqx.field(static=True)
    settings: dict = eqx.field(static=True)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def reach(self) -> float:
        """The radius up to which the wakes are known."""
        return RADIUS * math.exp((self.values.shape[-2] - 1) * self.spacing)

    def sample(
        self, trajectory: int, frame: int, points: Float[Array, "2 *points"]
    ) -> Float[Array, "3 *points"]:
        """Velocity and vorticity at any points.

        **Arguments:**

        - `trajectory`, `frame`: which.
        - `points`: positions `(2, *points)`. Those inside of the cylinder are taken to its wall.

        **Returns:** `(3, *points)`: u, v and vorticity.

        **Raises:** `ValueError` for points beyond the reach of the wakes, or positions without two coordinates.
        """
        _check_points(points, self.reach)
        return _sample(
            jnp.asarray(self.values[trajectory, frame]), jnp.asarray(self.spacing), jnp.asarray(points)
        )


def sample_wake(
    values: Float[Array, "channel xi theta"],
    spacing: float | Float[Array, ""],
    points: Float[Array, "2 *points"],
) -> Float[Array, "channel *points"]:
    """Interpolate fields on circles around the cylinder; it works under `jit`, `vmap` and `grad`.

    **Arguments:**

    - `values`: on the circles `(channel, xi, theta)`, such as `wakes.values[0, 3]`.
    - `spacing`: of the circles in `xi = log(2 r)`, a scalar.
    - `points`: positions `(2, *points)`. Those inside of the cylinder are taken to its wall, those beyond the last
        circle give NaN.

    **Returns:** `(channel, *points)`, to fourth order in the distances of circles and angles.
    """
    circles, angles = values.shape[1:]
    x, y = jnp.asarray(points)
    squares = jnp.maximum(x**2 + y**2, RADIUS**2)
    along = jnp.log(squares / RADIUS**2) / 2 / spacing
    around = jnp.arctan2(y, x) * (angles / (2 * jnp.pi))
    first = jax.lax.stop_gradient(jnp.clip(jnp.floor(along), 1, circles - 3))
    turn = jax.lax.stop_gradient(jnp.floor(around))
    rows = first.astype(int) + jnp.arange(-1, 3).reshape((4,) + (1,) * x.ndim)
    columns = jnp.mod(turn.astype(int) + jnp.arange(-1, 3).reshape((4,) + (1,) * x.ndim), angles)
    by_row, by_column = _cubic_weights(along - first), _cubic_weights(around - turn)
    total = sum(
        by_row[i] * sum(by_column[j] * values[:, rows[i], columns[j]] for j in range(4)) for i in range(4)
    )
    # Rounding may put a point of the last circle beyond it.
    return jnp.where(along <= circles - 1 + 1e-4, total, jnp.nan)


_sample = jax.jit(sample_wake)


def save_wakes(path: str | os.PathLike, wakes: Wakes, *, overwrite: bool = False) -> None:
    """Write wakes to an npz file, all or nothing.

    **Arguments:**

    - `path`: the file.
    - `wakes`: what to write, values `(trajectory, time, 3, xi, theta)`.
    - `overwrite`: whether a file of that name may be replaced.

    **Raises:** `FileExistsError` if there is one and it may not.
    """
    path = pathlib.Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; it is not overwritten. Pass overwrite=True, or name another.")
    header = {"format": _FORMAT, "spacing": wakes.spacing, "settings": wakes.settings}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    arrays = {name: np.asarray(getattr(wakes, name)) for name in _ARRAYS}
    try:
        with partial.open("wb") as stream:
            np.savez(stream, header=np.asarray(json.dumps(header)), **arrays)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_wakes(path: str | os.PathLike) -> Wakes:
    """Read what `save_wakes` wrote.

    **Arguments:**

    - `path`: the file.

    **Returns:** the wakes, values `(trajectory, time, 3, xi, theta)`.

    **Raises:** `ValueError` for what is no such file, or is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as handle:
            header = json.loads(str(handle["header"]))
            arrays = {name: handle[name] for name in _ARRAYS}
    except FileNotFoundError:
        raise
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} holds no wakes, or is damaged ({error}). Simulate and save them anew."
        ) from error
    if header.get("format") != _FORMAT:
        raise ValueError(
            f"{path} has the format {header.get('format')!r}; expected {_FORMAT!r}. Simulate and save it anew."
        )
    return Wakes(**arrays, spacing=header["spacing"], settings=header["settings"])


def _cubic_weights(t: Array) -> list[Array]:
    """Lagrange's, of the values at -1, 0, 1 and 2."""
    return [
        -t * (t - 1) * (t - 2) / 6,
        (t + 1) * (t - 1) * (t - 2) / 2,
        -(t + 1) * t * (t - 2) / 2,
        (t + 1) * t * (t - 1) / 6,
    ]


def _check_points(points, reach: float) -> None:
    shape = jnp.shape(points)
    if not shape or shape[0] != 2:
        raise ValueError(f"Wakes.sample needs points (2, *points); got an array {shape}.")
    if isinstance(points, jax.core.Tracer):
        return
    radii = np.hypot(*np.asarray(points))
    if not np.all(radii <= reach * (1 + 1e-6)):
        raise ValueError(
            f"Wakes.sample knows the flow up to a radius of {reach:.4g}; got a point at {np.max(radii):.4g}. Simulate "
            f"with a larger `reach`."
        )
