"""The writer of stored trajectories: chunk by chunk, and all or nothing."""

import os
from types import TracebackType
from typing import final

import numpy as np
from jaxtyping import Float

from . import _records
from ._hdf5 import AtomicFile
from .trajectories import Trajectories, check_same

FORMAT = "sciml-trajectories"
VERSION = 1
# Below HDF5's cache of 1 MiB, so that a compressed chunk is unpacked once, not again for each window in it.
_CHUNK_BYTES = 2**19


@final
class TrajectoryWriter:
    """A file of trajectories, written chunk by chunk, for data sets larger than memory.

    ```python
    with TrajectoryWriter("data.h5") as writer:
        for chunk in chunks:
            writer.append(chunk)  # Trajectories
    ```

    The file appears when the block ends without an exception; until then, and if it never does, nothing changes under
    that name.

    **Arguments:**

    - `path`: the file.
    - `overwrite`: whether a file of that name may be replaced.
    - `compression`: `None`, or the level of gzip, 1 (fast) to 9 (small).

    **Raises:** `FileExistsError` on entering the block, if there is a file and `overwrite` is false.
    """

    def __init__(self, path: str | os.PathLike, *, overwrite: bool = False, compression: int | None = None):
        whole = isinstance(compression, int) and not isinstance(compression, bool)
        if compression is not None and not (whole and 1 <= compression <= 9):
            raise ValueError(f"compression={compression!r} must be None or a level of gzip from 1 to 9.")
        self._path = path
        self._overwrite = overwrite
        self._compression = compression
        self._output: AtomicFile | None = None
        self._first: Trajectories | None = None
        self._metadata: dict = {}
        self._spoiled = False

    def __enter__(self) -> "TrajectoryWriter":
        self._output = AtomicFile(self._path, overwrite=self._overwrite)
        return self

    def __len__(self) -> int:
        return 0 if self._first is None or self._output is None else self._output.file["seeds"].shape[0]

    def append(self, trajectories: Trajectories) -> None:
        """Write a chunk after those before.

        **Arguments:**

        - `trajectories`: values `(trajectory, time, channel, *space)`, with the times, grid, channels, law and dtype
          of the first chunk. Metadata is kept as far as all chunks agree on it.

        **Raises:** `ValueError` naming what differs from the first chunk; `OSError` if the disk is full, after which
        no file will be made.
        """
        if self._output is None:
            raise ValueError(
                "The writer is not open. Write `with TrajectoryWriter(path) as writer:` and append in it."
            )
        self._output.check()
        if self._first is None:
            check_same(trajectories, trajectories, "The chunk")
            self._metadata = trajectories.metadata
        else:
            check_same(self._first, trajectories, "The chunk")
            self._metadata = _records.intersect(self._metadata, trajectories.metadata)
        try:
            if self._first is None:
                _create(self._output.file, trajectories, self._compression)
                # A copy: a view of one trajectory would keep the whole chunk in memory.
                self._first = trajectories[[0]]
            _extend(self._output.file["values"], trajectories.values)
            _extend(self._output.file["seeds"], trajectories.seeds)
            self._output.file.flush()
        except BaseException:
            self._spoiled = True
            self._output.check()  # the disk's own error says more than what HDF5 made of it
            raise
        self._output.check()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        output, self._output = self._output, None
        if kind is not None:
            output.abort()
            return
        try:
            output.check()
            if self._first is None or self._spoiled:
                reason = "a chunk could not be written" if self._spoiled else "nothing was appended"
                raise ValueError(
                    f"{os.fspath(self._path)} was not written: {reason}. Append Trajectories, all of them."
                )
            _finish(output.file, self._first, self._metadata)
        except BaseException:
            output.abort()
            raise
        output.commit()


def _create(file, template: Trajectories, compression: int | None) -> None:
    count, times, *field = template.values.shape
    step = template.values.itemsize * int(np.prod(field))
    rows = min(count, max(1, _CHUNK_BYTES // (step * times)))
    chunks = (rows, min(times, max(1, _CHUNK_BYTES // step)), *field)
    file.attrs["format"], file.attrs["version"], file.attrs["complete"] = FORMAT, VERSION, False
    file.create_dataset(
        "values",
        shape=(0, times, *field),
        maxshape=(None, times, *field),
        chunks=chunks,
        dtype=template.values.dtype,
        compression=compression,
        shuffle=compression is not None,
    )
    file.create_dataset("seeds", shape=(0,), maxshape=(None,), dtype=template.seeds.dtype, chunks=(1024,))
    file["times"] = template.times
    for axis, points in enumerate(template.coordinates):
        file[f"coordinates/{axis}"] = points
    file.require_group("coordinates")


def _extend(dataset, rows: Float[np.ndarray, "trajectory ..."]) -> None:
    start = dataset.shape[0]
    dataset.resize(start + len(rows), axis=0)
    dataset[start:] = rows


def _finish(file, template: Trajectories, metadata: dict) -> None:
    names = ("law", "metadata", "channels")
    texts, arrays = _records.encode(template.law, metadata, list(template.channels))
    for name, text in zip(names, texts, strict=True):
        file[name] = text
    for number, array in enumerate(arrays):
        file[f"arrays/{number}"] = array
    file.require_group("arrays")
    file.flush()
    file.attrs["complete"] = True
