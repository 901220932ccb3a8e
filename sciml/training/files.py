"""Files that are whole or absent: written aside, synced, then renamed into place."""

import errno
import os
import pathlib


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that a reader, at any moment and after any crash, sees the old content or the new,
    never a part.

    **Arguments:**

    - `path`: the file to write or replace; its folder must exist.
    - `data`: the whole content.

    **Raises:** `OSError` that names the file if it cannot be written; what was there before stays.
    """
    path = pathlib.Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{path} cannot be written: the folder {path.parent} does not exist. Make it first."
        )
    if path.is_dir():
        raise IsADirectoryError(f"{path} cannot be written: it is a folder. Give the name of a file in it.")
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        sync_folder(path.parent)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise explain_write_error(error, path, "What was there before is unchanged.") from error
        raise


def sync_folder(path: pathlib.Path) -> None:
    """Make the renames inside a folder survive a power failure.

    **Arguments:**

    - `path`: the folder.
    """
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explain_write_error(error: Exception, path: str | os.PathLike[str], state: str) -> OSError:
    """Turn a failed write, from Python or from a library's own storage layer, into an error that says what
    to do.

    **Arguments:**

    - `error`: what was raised; storage layers put the system's message inside their own.
    - `path`: what was being written.
    - `state`: a sentence about what is on disk now.

    **Returns:** the `OSError` to raise, with the error number where one is known.
    """
    number = error.errno if isinstance(error, OSError) and error.errno else None
    text = str(error)
    full = {
        errno.ENOSPC: "No space left on device",
        errno.EDQUOT: "Disk quota exceeded",
        errno.EFBIG: "File too large",
    }
    number = next((code for code, message in full.items() if code == number or message in text), number)
    if number in full:
        return OSError(
            number,
            f"There is no space left ({full[number]}) to write {path}. {state} Free some space, then go on.",
        )
    return OSError(
        number or errno.EIO, f"{path} could not be written ({type(error).__name__}: {text}). {state}"
    )
