"""The data of an experiment as named arrays, in parts, in one HDF5 file."""

import io
import pathlib

import numpy as np

from .._optional import require
from ..training.files import write_atomically

PARTS = ("train", "validation", "test")
Parts = dict[str, dict[str, np.ndarray]]


def save_parts(file: pathlib.Path, parts: Parts, *, experiment: str, overwrite: bool) -> None:
    """Write the parts.

    **Arguments:**

    - `file`: where to.
    - `parts`: by part and name, arrays `(sample, ...)`.
    - `experiment`: whose data they are.
    - `overwrite`: replace a file that exists.

    **Raises:** `FileExistsError` for one that exists, unless it is to be replaced.
    """
    if file.exists() and not overwrite:
        raise FileExistsError(f"{file} exists; it is not overwritten. Pass overwrite=True, or name another.")
    h5py = require("h5py", extra="data")
    stream = io.BytesIO()
    with h5py.File(stream, "w") as handle:
        handle.attrs["experiment"] = experiment
        for part, arrays in parts.items():
            for name, array in arrays.items():
                handle.create_dataset(f"{part}/{name}", data=array, track_times=False)
    write_atomically(file, stream.getvalue())


def load_parts(file: pathlib.Path, *, experiment: str, like: Parts) -> Parts:
    """Read what `save_parts` wrote.

    **Arguments:**

    - `file`: the file.
    - `experiment`: whose data it must hold.
    - `like`: the parts this experiment expects, for names and shapes `(sample, ...)`.

    **Returns:** by part and name, arrays `(sample, ...)`.

    **Raises:** `ValueError` that names the first difference.
    """
    h5py = require("h5py", extra="data")
    if not file.is_file():
        raise ValueError(f"There is no file {file}. `sciml generate {experiment} --out {file}` writes it.")
    try:
        handle = h5py.File(file, "r")
    except OSError as error:
        raise ValueError(f"{file} is not an HDF5 file, or is damaged ({error}). Generate it anew.") from error
    with handle:
        found = handle.attrs.get("experiment")
        if found != experiment:
            raise ValueError(
                f"{file} holds the data of {found}; expected that of {experiment}. Generate it anew."
            )
        parts = {part: {name: np.asarray(x) for name, x in handle[part].items()} for part in handle}
    for part, arrays in like.items():
        for name, array in arrays.items():
            shape = parts.get(part, {}).get(name, np.zeros(0)).shape
            if shape != array.shape:
                raise ValueError(
                    f"{file} has {part}/{name} of shape {shape}; the experiment's settings give {array.shape}. "
                    "Generate it with the same settings."
                )
    return parts
