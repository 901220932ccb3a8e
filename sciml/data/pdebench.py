"""PDEBench files, read as trajectories.

PDEBench has three layouts for time-dependent problems, and this reads them all:

- *tensor* (1-D advection, Burgers, reaction-diffusion): `tensor` `(trajectory, time, x)`, `x-coordinate` `(x,)`,
  `t-coordinate`; parameters as attributes of the file (`beta`, `Nu`, `rho`).
- *variables* (compressible flow in 1, 2 and 3 dimensions): one array `(trajectory, time, x[, y[, z]])` for each of
  `density`, `pressure`, `Vx`, `Vy`, `Vz`, which become channels in that order; the same coordinates; attributes `eta`,
  `zeta`, `M`.
- *groups* (1-D diffusion-sorption, 2-D diffusion-reaction, shallow water): one group for each sample, named by the
  seed it was drawn with, `0000`, `0001`, ..., with `data` `(time, x[, y], channel)`, `grid/x` `(x,)`, `grid/y`,
  `grid/t` `(time,)`, and the generator's configuration as text.

What its generator does, and its documentation does not say:

- Where there is a `t-coordinate`, **it has one entry more than there are times**: `n + 1` multiples of the time step,
  from 0, for `n` stored times. The last entry belongs to nothing and is dropped; one that is exactly as long as the
  data is used as it is. `grid/t` is exactly as long as the data.
- Points are the centers of cells, periodic or not.
- Burgers' diffusion coefficient is `Nu / pi`, on a domain of length 2: `x-coordinate` runs from -1 to 1.
- The 2-D diffusion-reaction generator writes `(time, y, x, channel)`, while PDEBench's own loaders read the axes as
  `(time, x, y, channel)`. The published grid is square and the same along both axes, so that nothing but the names of
  the axes is at stake; this reads as the loaders do.
- Advection files from before August 2023, when the authors corrected them, have a wave speed that is wrong by a
  factor of two.

Not read: 2-D Darcy flow (`tensor` with `nu`), which is steady, and incompressible flow (`velocity`, `particles`,
`force`), whose files hold no coordinates. The facts above are from the generators and loaders published with the paper.

Reference: M. Takamoto, T. Praditia, R. Leiteritz, D. MacKinlay, F. Alesiani, D. Pflüger, M. Niepert, "PDEBench: An
Extensive Benchmark for Scientific Machine Learning", 2022, arXiv:2210.07182.
"""

import os
import re
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from ._checks import as_slice, as_slices
from ._hdf5 import list_datasets, open_hdf5
from ._writer import FORMAT
from .trajectories import Trajectories

_AXES = ("x", "y", "z")
_VARIABLES = ("density", "pressure", "Vx", "Vy", "Vz")
_EXPECTED = """\
  tensor (trajectory, time, x), x-coordinate (x,), t-coordinate (time,) or (time + 1,); or
  density, pressure, Vx[, Vy[, Vz]] (trajectory, time, x[, y[, z]]), x-coordinate[, y-coordinate[, z-coordinate]],
  t-coordinate; or
  0000, 0001, ...: each a group with data (time, x[, y], channel), grid/x (x,)[, grid/y (y,)], grid/t (time,)"""


def read_pdebench(
    path: str | os.PathLike,
    *,
    trajectories: slice = slice(None),
    time: slice | int = 1,
    space: slice | int | Sequence[slice | int] = 1,
    channels: tuple[str, ...] | None = None,
    law: dict | None = None,
) -> Trajectories:
    """Read a PDEBench file, or a part of one, whatever its layout.

    Only what is asked for is kept in memory. `save_trajectories` writes it in a format that is faster to read.

    **Arguments:**

    - `path`: the file.
    - `trajectories`: which trajectories to read.
    - `time`: which times to keep: a slice, or an integer to keep every n-th.
    - `space`: which points to keep: the same for every space axis, or a sequence with one for each. Points are dropped,
      not averaged.
    - `channels`: the channels' names; those of the file if it has them, else `u`, or `u0`, `u1`, ....
    - `law`: the law's description; if not given, `unknown` with the parameters that the file has.

    **Returns:** `Trajectories`, values `(trajectory, time, channel, *space)` of the file's dtype.

    **Raises:** `FileNotFoundError`; `ValueError` that lists the arrays found and expected, if the layout is none of
    PDEBench's; as `Trajectories`, if values are not finite or times do not increase.
    """
    if not isinstance(trajectories, slice) or (trajectories.step is not None and trajectories.step < 1):
        raise ValueError(
            f"trajectories={trajectories!r} must be a slice that runs forwards, such as slice(0, 100)."
        )
    time = as_slice(time, "time")
    with open_hdf5(path) as file:
        _refuse_others(file, path)
        samples = sorted((name for name in file if re.fullmatch(r"\d+", name)), key=int)
        read = _read_groups if samples else _read_arrays
        chosen = samples[trajectories] if samples else trajectories
        arguments, parameters = read(file, chosen, time, space, lambda why: _explain(file, path, why))
        metadata = {"source": "PDEBench", "file": os.path.basename(os.fspath(path))}
        config = _find_config(file, chosen[0]) if samples else None
    if config is not None:
        metadata["config"] = config
    law = {"name": "unknown", "parameters": parameters} if law is None else law
    names = arguments.pop("channels", None) if channels is None else channels
    return Trajectories(**arguments, channels=names, law=law, metadata=metadata)


def is_pdebench(path: str | os.PathLike) -> bool:
    """Whether a file is for `read_pdebench` rather than `load_trajectories`: HDF5 that is not of sciml's own format.

    **Arguments:**

    - `path`: the file.

    **Returns:** a boolean; whether the layout is one of PDEBench's shows when it is read.

    **Raises:** `FileNotFoundError`; `ValueError` for what is no HDF5 file.
    """
    with open_hdf5(path) as file:
        return file.attrs.get("format") != FORMAT


def _read_arrays(file, rows: slice, time: slice, space, explain: Callable) -> tuple[dict, dict]:
    names = ["tensor"] if "tensor" in file else [name for name in _VARIABLES if name in file]
    axes = [f"{axis}-coordinate" for axis in _AXES if f"{axis}-coordinate" in file]
    if not names or "t-coordinate" not in file or not axes:
        raise explain("The file has none of PDEBench's layouts.")
    points, times = [file[axis][()] for axis in axes], file["t-coordinate"][()]
    shape = file[names[0]].shape
    for name in names:
        if file[name].shape != shape or shape[2:] != tuple(axis.size for axis in points):
            raise explain(
                f"{name} {file[name].shape} should be (trajectory, time, {', '.join(_AXES[: len(axes)])})."
            )
    if times.shape not in ((shape[1],), (shape[1] + 1,)):
        raise explain(
            f"t-coordinate {times.shape} should have {shape[1]} entries, as {names[0]} has times, or one more."
        )
    parts = as_slices(space, len(axes))
    index = range(*rows.indices(shape[0]))
    if not index:
        raise ValueError(
            f"trajectories={rows} chooses none of the {shape[0]} trajectories. Choose some of them."
        )
    times = times[: shape[1]]
    values = np.empty(
        (
            len(index),
            times[time].size,
            len(names),
            *(axis[part].size for axis, part in zip(points, parts, strict=True)),
        ),
        file[names[0]].dtype,
    )
    for i, row in enumerate(index):
        for channel, name in enumerate(names):
            values[i, :, channel] = _read(file[name], (time, *parts), row)
    coordinates = tuple(axis[part] for axis, part in zip(points, parts, strict=True))
    arguments = {"values": values, "times": times[time], "coordinates": coordinates}
    if names != ["tensor"]:
        arguments["channels"] = tuple(names)
    return arguments, {
        name: value for name, value in file.attrs.items() if np.issubdtype(type(value), np.number)
    }


def _read_groups(file, chosen: list[str], time: slice, space, explain: Callable) -> tuple[dict, dict]:
    if not chosen:
        raise ValueError(f"trajectories chooses none of the {len(file)} samples. Choose some of them.")
    values, grid = None, None
    for i, name in enumerate(chosen):
        group = file[name]
        if "data" not in group or "grid/t" not in group or "grid/x" not in group:
            raise explain(f"The group {name} should hold data, grid/x and grid/t.")
        axes = [axis for axis in _AXES if f"grid/{axis}" in group]
        here = [group["grid/t"][()], *(group[f"grid/{axis}"][()] for axis in axes)]
        if group["data"].shape[:-1] != tuple(axis.size for axis in here):
            raise explain(f"{name}/data {group['data'].shape} should be (time, {', '.join(axes)}, channel).")
        if values is None:
            grid, parts = here, (time, *as_slices(space, len(axes)))
            kept = [axis[part] for axis, part in zip(grid, parts, strict=True)]
            channels = group["data"].shape[-1]
            values = np.empty(
                (len(chosen), kept[0].size, channels, *(axis.size for axis in kept[1:])), group["data"].dtype
            )
        same = group["data"].shape[-1] == channels and len(here) == len(grid)
        if not same or not all(map(np.array_equal, here, grid)):
            raise explain(
                f"The sample {name} is on another grid, at other times or of other channels than {chosen[0]}."
            )
        values[i] = np.moveaxis(_read(group["data"], parts), -1, 1)
    seeds = np.array([int(name) for name in chosen])
    return {"values": values, "times": kept[0], "coordinates": tuple(kept[1:]), "seeds": seeds}, {}


def _read(dataset, parts: tuple[slice, ...], row: int | None = None) -> Float[np.ndarray, "..."]:
    # HDF5 reads an interval fast and a stride one number at a time: take the interval, and thin it in memory.
    sizes = dataset.shape if row is None else dataset.shape[1:]
    bounds = [part.indices(size) for part, size in zip(parts, sizes, strict=False)]
    interval = tuple(slice(start, max(start, stop)) for start, stop, _ in bounds)
    block = dataset[interval if row is None else (row, *interval)]
    return block[tuple(slice(None, None, step) for _, _, step in bounds)]


def _refuse_others(file, path: str | os.PathLike) -> None:
    if "format" in file.attrs and "trajectories" in str(file.attrs["format"]):
        raise ValueError(
            f"{os.fspath(path)} is a file of sciml's own. Read it with sciml.data.load_trajectories."
        )
    if "tensor" in file and "nu" in file and "t-coordinate" not in file:
        raise _explain(file, path, "This is PDEBench's Darcy flow, which is steady: it has no trajectories.")
    if "velocity" in file and "particles" in file:
        raise _explain(file, path, "This is PDEBench's incompressible flow, whose files hold no coordinates.")


def _explain(file, path: str | os.PathLike, why: str) -> ValueError:
    return ValueError(
        f"{os.fspath(path)}: {why} Found:\n{list_datasets(file)}\nExpected one of:\n{_EXPECTED}\n"
        f"For other files, read the arrays with h5py and make Trajectories(values, times, coordinates) of them."
    )


def _find_config(file, name: str) -> str | None:
    # The diffusion-sorption generator wrote it on the file, the later ones on the group.
    config = file[name].attrs.get("config", file.attrs.get(f"{name}/config"))
    return config.decode() if isinstance(config, bytes) else config
