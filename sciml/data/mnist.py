"""MNIST and the data sets distributed like it (Fashion-MNIST, KMNIST): arrays in IDX files, as they are or gzipped.

An IDX file is big-endian: two zero bytes, one byte for the type, one byte for the number of axes, a 4-byte length for
each axis, then the values in row-major order.

Reference: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition",
Proc. IEEE 86 (1998), doi:10.1109/5.726791.
"""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from .images import LabeledImages

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_SIDE, _CLASSES = 28, 10


def read_mnist(folder: str | os.PathLike) -> tuple[LabeledImages, LabeledImages]:
    """Read the four files of MNIST from a folder.

    They are found under their published names, `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, and the same with
    `t10k`; with `.idx` for `-idx`, as some tools unpack them; each with or without `.gz`.

    **Arguments:**

    - `folder`: where the files are. Nothing is downloaded.

    **Returns:** the images `(image, 1, 28, 28)` to train on and those to test on, pixels from 0 to 1 in float32.

    **Raises:** `FileNotFoundError` naming the file that is missing; `ValueError` naming the magic number, the type, the
    shape or the label that is not MNIST's, and what was expected.
    """
    return _read_part(Path(folder), "train"), _read_part(Path(folder), "t10k")


def read_idx(path: str | os.PathLike) -> Shaped[np.ndarray, "..."]:
    """Read an IDX file, gzipped or not.

    **Arguments:**

    - `path`: the file.

    **Returns:** its array, of whatever shape `(...)` and type the file says, in the machine's byte order.

    **Raises:** `FileNotFoundError`; `ValueError` naming the magic number or the size that is wrong.
    """
    path = Path(path)
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is a damaged gzip file ({error}). Fetch it again.") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise ValueError(
            f"{path} starts with the bytes {content[:4].hex(' ') or 'of an empty file'}, which is no IDX magic number; "
            f"expected 00 00, a type from {', '.join(f'{code:02x}' for code in _TYPES)}, and the number of axes. "
            "If it is an archive, unpack it."
        )
    dtype, axes = np.dtype(_TYPES[content[2]]), content[3]
    if len(content) < 4 + 4 * axes:
        raise ValueError(
            f"{path} ends within its header: {len(content)} bytes; expected {4 + 4 * axes} for {axes} axes. "
            "Fetch it again."
        )
    shape = tuple(int(length) for length in np.frombuffer(content, ">u4", count=axes, offset=4))
    size, expected = len(content) - 4 - 4 * axes, math.prod(shape) * dtype.itemsize
    if size != expected:
        raise ValueError(
            f"{path} has {size} bytes of values; expected {expected} for its shape {shape} of {dtype.name}. "
            "Fetch it again."
        )
    return np.frombuffer(content, dtype, offset=4 + 4 * axes).reshape(shape).astype(dtype.newbyteorder("="))


def _read_part(folder: Path, part: str) -> LabeledImages:
    images, labels = _find(folder, f"{part}-images", 3), _find(folder, f"{part}-labels", 1)
    pixels, classes = read_idx(images), read_idx(labels)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[1:] != (_SIDE, _SIDE):
        raise ValueError(
            f"{images} holds {pixels.dtype} of shape {pixels.shape}; expected uint8 of shape "
            f"(image, {_SIDE}, {_SIDE}). For other images, read_idx gives the array as it is."
        )
    if classes.dtype != np.uint8 or classes.shape != pixels.shape[:1]:
        raise ValueError(
            f"{labels} holds {classes.dtype} of shape {classes.shape}; expected uint8 of shape {pixels.shape[:1]}, one "
            f"label for each image of {images.name}. Do the two files belong together?"
        )
    if np.any(classes >= _CLASSES):
        raise ValueError(
            f"{labels} has the label {classes.max()}; expected 0 to {_CLASSES - 1}. Is it of another data set?"
        )
    return LabeledImages(pixels[:, None].astype(np.float32) / np.float32(255), classes.astype(np.int32))


def _find(folder: Path, stem: str, axes: int) -> Path:
    names = [f"{stem}{mark}idx{axes}-ubyte{suffix}" for mark in ("-", ".") for suffix in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"{folder} has none of {', '.join(names)}. Put MNIST's four files in one folder and give that folder."
    )
