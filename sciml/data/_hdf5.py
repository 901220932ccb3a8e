"""HDF5 files: opened with errors that say what was found, and written so that only a whole one ever shows."""

import errno
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from typing import final

from .._optional import require

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def open_hdf5(path: str | os.PathLike):
    """Open an HDF5 file for reading.

    **Arguments:**

    - `path`: the file.

    **Returns:** an `h5py.File`.

    **Raises:** `FileNotFoundError` if there is none; `ValueError` that tells a directory, an empty file, a file of
    another kind, and a truncated or damaged HDF5 file apart.
    """
    h5py = require("h5py", extra="data")
    path = os.path.realpath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, "There is no such file. Check the name and the folder", path)
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder; expected an HDF5 file. Name the file in it.")
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        start = file.read(len(_SIGNATURE))
    if size == 0:
        raise ValueError(f"{path} is empty: 0 bytes. Make or download it again.")
    if start != _SIGNATURE:
        raise ValueError(
            f"{path} is not an HDF5 file: it begins with {start!r} instead of {_SIGNATURE!r}. "
            f"Check that it is the right file and that its download was not an error page."
        )
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EAGAIN):
            raise
        kind = "truncated" if "truncated" in str(error) or size < 2048 else "damaged"
        raise ValueError(
            f"{path} is a {kind} HDF5 file of {size} bytes (HDF5 says: {_first_line(error)}). "
            f"It cannot be repaired; copy, download or make it again."
        ) from error


def list_datasets(file, limit: int = 12) -> str:
    """List the arrays in an HDF5 file or group, for errors.

    **Arguments:**

    - `file`: an open `h5py.File` or group.
    - `limit`: the largest number of arrays to name.

    **Returns:** names with shapes and dtypes, one a line.
    """
    lines = []
    for name, shape, dtype in _walk(file, ""):
        if len(lines) == limit:
            lines.append("  ...")
            break
        lines.append(f"  {name} {shape} {dtype}")
    return "\n".join(lines) or "  (no arrays)"


def _walk(group, prefix: str) -> Iterator[tuple]:
    for name, item in group.items():
        if hasattr(item, "shape"):
            yield prefix + name, item.shape, item.dtype
        elif hasattr(item, "items"):
            yield from _walk(item, f"{prefix}{name}/")


@final
class AtomicFile:
    """An HDF5 file that shows under its name only once it is whole.

    It is written to `.NAME.RANDOM.partial` in the same folder, brought to the disk with fsync, and renamed. Whatever
    stops it before, the file that was under the name, if any, stays as it was.

    HDF5 cannot recover from a write that fails (it keeps the file open, and crashes the process as it ends), so it
    writes through a file object of ours that keeps the first error and lets everything after it seem to succeed.

    **Arguments:**

    - `path`: the file.
    - `overwrite`: whether a file of that name may be replaced.

    **Raises:** `FileExistsError` or `FileNotFoundError` (of the folder) before anything is written.
    """

    def __init__(self, path: str | os.PathLike, *, overwrite: bool):
        self.path = os.path.realpath(path)
        self._overwrite = overwrite
        self._check_target()
        folder, name = os.path.split(self.path)
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                errno.ENOENT, "There is no such folder to write to. Make it first", folder
            )
        h5py = require("h5py", extra="data")
        self._partial = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.partial")
        self._sink = _Sink(self._partial)
        self.file = h5py.File(self._sink, "w")

    def check(self) -> None:
        """Raise the first error that writing met, if it met one.

        **Raises:** `OSError` naming the file, the cause and the cure, when the disk failed.
        """
        error = self._sink.error
        if not isinstance(error, OSError):
            if error is not None:
                raise error
            return
        folder = os.path.dirname(self.path)
        cure = "Check the disk"
        if error.errno in _FULL:
            free = shutil.disk_usage(folder).free / 1e6
            cure = (
                f"{free:.3g} MB are free in {folder}. Make room, write to another disk, or pass compression=4"
            )
        message = (
            f"{error.strerror} after {self._sink.written / 1e6:.3g} MB; no file was made or changed. {cure}"
        )
        raise OSError(error.errno, message, self.path) from error

    def commit(self) -> None:
        """Close the file, bring it to the disk, and give it its name.

        **Raises:** `OSError` if the disk failed; then there is no new file, and no old one was changed.
        """
        try:
            self.file.close()
            self._sink.sync()
            self.check()
            self._check_target()
            os.replace(self._partial, self.path)
        finally:
            self.abort()
        _sync_folder(os.path.dirname(self.path))

    def abort(self) -> None:
        """Close the file and remove what was written; nothing happens after `commit`."""
        self._sink.discard = True
        self.file.close()
        self._sink.close()
        if os.path.exists(self._partial):
            os.unlink(self._partial)

    def _check_target(self) -> None:
        if os.path.isdir(self.path):
            raise IsADirectoryError(errno.EISDIR, "This is a folder. Name a file in it", self.path)
        if os.path.lexists(self.path) and not self._overwrite:
            raise FileExistsError(
                errno.EEXIST, "The file exists. Pass overwrite=True to replace it, or name another", self.path
            )


@final
class _Sink:
    """A file object for h5py that keeps the first error instead of raising it into HDF5."""

    def __init__(self, path: str):
        self._raw = io.FileIO(path, "x+")
        self.error: BaseException | None = None
        self.discard = False
        self.written = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def read(self, size: int = -1) -> bytes:
        return self._raw.read(size)

    def readinto(self, buffer) -> int:
        return self._raw.readinto(buffer)

    def write(self, data) -> int:
        view = memoryview(data).cast("B")
        size = len(view)
        self._try(self._write_all, view)
        return size

    def truncate(self, size: int) -> int:
        self._try(self._raw.truncate, size)
        return size

    def flush(self) -> None:
        pass  # unbuffered; `sync` is called once, at the end

    def sync(self) -> None:
        self._try(os.fsync, self._raw.fileno())

    def close(self) -> None:
        self._raw.close()

    def _write_all(self, view: memoryview) -> None:
        while len(view):
            count = self._raw.write(view)
            self.written += count
            view = view[count:]

    def _try(self, action, argument) -> None:
        if self.error is None and not self.discard:
            try:
                action(argument)
            except BaseException as error:  # also a KeyboardInterrupt: HDF5 must not see it either
                self.error = error


def _sync_folder(folder: str) -> None:
    # The rename itself must reach the disk; systems without folder handles do this by themselves.
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _first_line(error: OSError) -> str:
    return str(error).splitlines()[0].removeprefix("Unable to synchronously open file ").strip("()")
