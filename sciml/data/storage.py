"""Storage: trajectories in HDF5 files, written in one piece or in chunks, read whole or in slices.

The layout, version 1:

```
/                 attributes: format = "sciml-trajectories", version = 1, complete = True
/values           (trajectory, time, channel, *space) float32 or float64, chunked along the trajectories
/times            (time,)
/coordinates/0    (space_0,); one more for each space axis, /coordinates/1 and so on
/seeds            (trajectory,) integers; -1 where not known
/channels         JSON text: the names
/law              JSON text: {"name": ..., "parameters": {...}}
/metadata         JSON text
/arrays/0         the arrays inside law and metadata, which their text names as {"$array": 0} and so on
```

A file is written under the name `.NAME.RANDOM.partial` in its folder and renamed when it is whole, `complete` last.
A process killed before leaves such a partial file, which can be deleted and which reads only if it was already whole,
and never touches a file that was there before.
"""

import os

from ._reader import StoredTrajectories
from ._writer import TrajectoryWriter
from .trajectories import Trajectories


def save_trajectories(
    path: str | os.PathLike,
    trajectories: Trajectories,
    *,
    overwrite: bool = False,
    compression: int | None = None,
) -> None:
    """Write trajectories to an HDF5 file, all or nothing.

    **Arguments:**

    - `path`: the file.
    - `trajectories`: what to write, values `(trajectory, time, channel, *space)`.
    - `overwrite`: whether a file of that name may be replaced.
    - `compression`: `None`, or the level of gzip, 1 (fast) to 9 (small).

    **Raises:** `FileExistsError` if there is a file and `overwrite` is false; `OSError` if the disk is full. Neither
    makes or changes a file.
    """
    with TrajectoryWriter(path, overwrite=overwrite, compression=compression) as writer:
        writer.append(trajectories)


def load_trajectories(path: str | os.PathLike) -> Trajectories:
    """Read all trajectories of a file into memory. `open_trajectories` reads slices of a larger one.

    **Arguments:**

    - `path`: the file.

    **Returns:** `Trajectories`, values `(trajectory, time, channel, *space)`, exactly what was saved.

    **Raises:** as `open_trajectories`.
    """
    with open_trajectories(path) as stored:
        return stored[:]


def open_trajectories(path: str | os.PathLike) -> StoredTrajectories:
    """Open a file of trajectories for reading in slices.

    ```python
    with open_trajectories("data.h5") as stored:
        part = stored[100:200]  # Trajectories in memory
        window = stored.values[17, 3:8]  # an array (time, channel, *space)
    ```

    **Arguments:**

    - `path`: the file.

    **Returns:** `StoredTrajectories`, values `(trajectory, time, channel, *space)` in the file.

    **Raises:** `FileNotFoundError`; `ValueError` that tells apart, and says what to do about: a file that is not HDF5,
    a truncated one, HDF5 of another program, a newer version of the format, and a write that did not end.
    """
    return StoredTrajectories(path)
