"""Exact tests of the reader of IDX files and of MNIST, on files of the true layout that these tests write."""

import gzip
import struct

import numpy as np
import pytest

from sciml.data import read_idx, read_mnist

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
RNG = np.random.default_rng(0)


def encode(array):
    """As the IDX format has it: two zeros, a type, the number of axes, big-endian lengths, big-endian values."""
    array = np.asarray(array)  # numpy's scalars have no byte order
    header = struct.pack(">BBBB", 0, 0, CODES[array.dtype.str[1:]], array.ndim)
    return (
        header
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


def write_mnist(folder, names="{}-{}-idx{}-ubyte", pack=lambda content: content, sizes=(7, 5)):
    written = {}
    for part, size in zip(("train", "t10k"), sizes, strict=True):
        images = RNG.integers(0, 256, (size, 28, 28)).astype(np.uint8)
        images.flat[:2] = 0, 255
        labels = (np.arange(size) % 10).astype(np.uint8)
        (folder / names.format(part, "images", 3)).write_bytes(pack(encode(images)))
        (folder / names.format(part, "labels", 1)).write_bytes(pack(encode(labels)))
        written[part] = images, labels
    return written


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 3, 4, 5), (0, 28)])
def test_every_type_and_shape_is_read_back(tmp_path, kind, shape):
    array = np.asarray(100 * RNG.normal(size=shape)).astype(kind)
    (tmp_path / "array").write_bytes(encode(array))
    found = read_idx(tmp_path / "array")
    assert np.array_equal(found, array)
    assert found.dtype == array.dtype
    assert found.dtype.isnative


@pytest.mark.parametrize("names", ["{}-{}-idx{}-ubyte", "{}-{}.idx{}-ubyte"])
@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_is_read_under_its_names_zipped_or_not(tmp_path, names, zipped):
    written = write_mnist(tmp_path, names + ".gz" * zipped, gzip.compress if zipped else bytes)
    for data, (images, labels) in zip(read_mnist(tmp_path), written.values(), strict=True):
        assert data.images.shape == (len(labels), 1, 28, 28)
        assert data.images.dtype == np.float32
        assert data.images.min() == 0
        assert data.images.max() == 1
        assert np.array_equal(np.rint(data.images[:, 0] * 255), images)
        assert np.array_equal(data.labels, labels)


def test_the_bytes_of_the_published_header():
    """The first 16 bytes of train-images-idx3-ubyte: 00 00 08 03, 60000, 28, 28."""
    assert encode(np.zeros((60000, 28, 28), np.uint8))[:16].hex() == "00000803" + "0000ea60" + "0000001c" * 2


def _break(folder, name, content):
    write_mnist(folder)
    (folder / name).write_bytes(content)


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
GOOD = encode(np.zeros((7, 28, 28), np.uint8))
BAD = {
    "magic": (IMAGES, b"PK\3\4" + GOOD, r"starts with the bytes 50 4b 03 04, .*; expected 00 00, a type from 08, 09"),
    "type": (IMAGES, b"\0\0\7\3" + GOOD[4:], r"starts with the bytes 00 00 07 03, which is no IDX magic number"),
    "empty": (IMAGES, b"", r"starts with the bytes of an empty file"),
    "header": (IMAGES, GOOD[:10], r"ends within its header: 10 bytes; expected 16 for 3 axes"),
    "short": (IMAGES, GOOD[:-1], r"has 5487 bytes of values; expected 5488 for its shape \(7, 28, 28\) of uint8"),
    "long": (IMAGES, GOOD + b"\0", r"has 5489 bytes of values; expected 5488"),
    "gzip": (IMAGES, gzip.compress(GOOD)[:-9], r"is a damaged gzip file .* Fetch it again"),
    "shape": (IMAGES, encode(np.zeros((7, 9, 9), "u1")), r"uint8 of shape \(7, 9, 9\); expected .* \(image, 28, 28\)"),
    "axes": (IMAGES, encode(np.zeros((7, 784), "u1")), r"shape \(7, 784\); expected uint8 of shape \(image, 28"),
    "dtype": (IMAGES, encode(np.zeros((7, 28, 28), "f4")), r"holds float32 of shape \(7, 28, 28\); expected uint8"),
    "count": (LABELS, encode(np.zeros(6, "u1")), r"uint8 of shape \(6,\); expected uint8 of shape \(7,\), one label"),
    "label": (LABELS, encode(np.full(7, 10, np.uint8)), r"has the label 10; expected 0 to 9"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_is_not_mnist_is_named_with_what_was_expected(tmp_path, case):
    name, content, message = BAD[case]
    _break(tmp_path, name, content)
    with pytest.raises(ValueError, match=message) as caught:
        read_mnist(tmp_path)
    assert name in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    message = r"none of t10k-labels-idx1-ubyte, .*\.gz\. Put MNIST's four files in one folder"
    with pytest.raises(FileNotFoundError, match=message):
        read_mnist(tmp_path)
