"""The reader of stored trajectories: values stay on the disk until they are indexed."""

import json
import os
from typing import Any, final

import numpy as np
from jaxtyping import Float, Int

from . import _records
from ._hdf5 import list_datasets, open_hdf5
from ._summaries import summarize
from ._writer import FORMAT, VERSION
from .trajectories import Trajectories


@final
class StoredTrajectories:
    """Trajectories in a file: `Trajectories` whose values stay on the disk until a slice is taken.

    `stored[10:20]`, `stored[[3, 5]]` and `stored[mask]` read trajectories into memory, as `Trajectories`. Close it
    with `close`, or use it in a `with` block.

    **Arguments:**

    - `path`: the file.
    """

    values: "StoredValues"
    """The values `(trajectory, time, channel, *space)`: `shape`, `dtype`, and NumPy's indexing."""
    times: Float[np.ndarray, " time"]
    coordinates: tuple[Float[np.ndarray, " _"], ...]
    channels: tuple[str, ...]
    law: dict
    seeds: Int[np.ndarray, " trajectory"]
    metadata: dict

    def __init__(self, path: str | os.PathLike):
        self._file = open_hdf5(path)
        try:
            _check_header(self._file, os.fspath(path))
            self._read()
        except (KeyError, AttributeError, TypeError, json.JSONDecodeError) as error:
            found = list_datasets(self._file)
            self._file.close()
            raise ValueError(
                f"{os.fspath(path)} is marked complete but does not hold what its format says ({error}). Found:\n"
                f"{found}\nIt was changed after it was written; make it again."
            ) from error
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> None:
        file = self._file
        arrays = [file["arrays"][str(i)][()] for i in range(len(file["arrays"]))]
        self.values = StoredValues(file["values"])
        self.times = file["times"][()]
        self.coordinates = tuple(file["coordinates"][str(i)][()] for i in range(len(file["coordinates"])))
        self.seeds = file["seeds"][()]
        self.channels = tuple(json.loads(file["channels"].asstr()[()]))
        self.law = _records.decode(file["law"].asstr()[()], arrays)
        self.metadata = _records.decode(file["metadata"].asstr()[()], arrays)

    def close(self) -> None:
        """Close the file; values can no longer be read."""
        self._file.close()

    def __enter__(self) -> "StoredTrajectories":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def __len__(self) -> int:
        return self.values.shape[0]

    def __getitem__(self, selection: slice | list[int] | np.ndarray) -> Trajectories:
        if isinstance(selection, tuple) or (not isinstance(selection, slice) and np.ndim(selection) != 1):
            raise ValueError(
                f"stored[{selection!r}] is not a choice of trajectories. Give a slice, a list of indices or a mask; "
                f"for arrays, index stored.values (trajectory, time, channel, *space)."
            )
        chosen = np.arange(len(self))[selection]
        return Trajectories(
            self.values[selection] if isinstance(selection, slice) else self.values[chosen],
            self.times,
            self.coordinates,
            channels=self.channels,
            law=self.law,
            seeds=self.seeds[chosen],
            metadata=self.metadata,
        )

    def __repr__(self) -> str:
        return f"StoredTrajectories({summarize(self) if self._file else 'closed'})"


@final
class StoredValues:
    """Values `(trajectory, time, channel, *space)` in a file, read when they are indexed.

    Indices are integers, slices that run forwards, and at most one array of indices in any order, whose axis stays in
    its place; what comes back is a NumPy array. It can be the data of `sciml.training.Windows`.

    **Arguments:**

    - `dataset`: an `h5py.Dataset`.
    """

    def __init__(self, dataset: Any):
        self._dataset = dataset
        self.shape = dataset.shape
        self.dtype = dataset.dtype
        self.ndim = dataset.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index) -> Float[np.ndarray, "..."]:
        if not self._dataset:
            raise ValueError("The file is closed. Read inside the `with` block that opened it.")
        parts = index if isinstance(index, tuple) else (index,)
        arrays = [i for i, part in enumerate(parts) if isinstance(part, (list, np.ndarray)) and np.ndim(part)]
        if len(arrays) != 1 or Ellipsis in [part for i, part in enumerate(parts) if i not in arrays]:
            return self._take(index)
        # HDF5 reads indices in increasing order, each once.
        (position,) = arrays
        wanted = np.arange(self.shape[position])[np.asarray(parts[position])]
        unique, inverse = np.unique(wanted, return_inverse=True)
        block = self._take((*parts[:position], unique, *parts[position + 1 :]))
        axis = sum(isinstance(part, slice) for part in parts[:position])
        return block if np.array_equal(unique, wanted) else np.take(block, inverse, axis=axis)

    def _take(self, index) -> Float[np.ndarray, "..."]:
        try:
            return self._dataset[index]
        except OSError as error:
            raise ValueError(
                f"{self._dataset.file.filename} is damaged: its values cannot be read ({error}). Make it again."
            ) from error


def _check_header(file, path: str) -> None:
    found, version = file.attrs.get("format"), file.attrs.get("version")
    if found != FORMAT:
        raise ValueError(
            f"{path} is HDF5, but not of sciml: its attribute 'format' is {found!r}, expected {FORMAT!r}. Found:\n"
            f"{list_datasets(file)}\n"
            f"If it is from PDEBench, read it with sciml.data.read_pdebench; otherwise read its arrays with h5py, and "
            f"make Trajectories(values, times, coordinates) of them."
        )
    if version > VERSION:
        raise ValueError(
            f"{path} has version {version} of the format; this sciml reads versions up to {VERSION}. Upgrade sciml."
        )
    if not file.attrs["complete"]:
        raise ValueError(
            f"{path} is incomplete: the program that wrote it was interrupted. Delete it; make it again."
        )
    shape = file["values"].shape
    sizes = [len(file["coordinates"][str(axis)]) for axis in range(len(file["coordinates"]))]
    expected = (len(file["seeds"]), len(file["times"]), len(json.loads(file["channels"].asstr()[()])), *sizes)
    if shape != expected:
        raise KeyError(f"values has shape {shape}, but the other arrays say {expected}")
