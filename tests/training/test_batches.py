"""Minibatches: what is in them, whatever holds the data (exact and property tests)."""

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.training import Batches, Windows

ROWS = np.arange(10.0)[:, None] * np.ones((10, 3))
# 3 trajectories, 7 times: the value says which is where.
TRAJECTORIES = (100 * np.arange(3)[:, None] + np.arange(7)[None, :])[:, :, None].astype(float)


class Lazy:
    """Anything that has a shape and slices; it counts what is read."""

    def __init__(self, array):
        self.shape, self.dtype, self.array, self.read = array.shape, array.dtype, array, 0

    def __getitem__(self, index):
        part = self.array[index]
        self.read += part.size
        return part


@pytest.mark.parametrize("batch_size", [1, 3, 5, 10])
def test_an_epoch_visits_each_sample_at_most_once_in_an_order_of_its_own(batch_size):
    batches = Batches(ROWS, batch_size, seed=1)
    per_epoch = 10 // batch_size
    epochs = [
        [int(row) for s in range(e * per_epoch, (e + 1) * per_epoch) for row in batches(s)[:, 0]]
        for e in range(20)
    ]
    assert all(len(set(epoch)) == per_epoch * batch_size for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1 or batch_size == 10
    assert {row for epoch in epochs for row in epoch} == set(range(10))


def test_a_batch_is_a_function_of_seed_and_step():
    first, second = Batches(ROWS, 4, seed=1), Batches(ROWS, 4, seed=1)
    backwards = [second(s) for s in reversed(range(30))][::-1]
    for step in range(30):
        np.testing.assert_array_equal(first(step), backwards[step])
    other = Batches(ROWS, 4, seed=2)
    assert any((first(s) != other(s)).any() for s in range(5))


def test_the_order_is_that_of_the_raw_bits_of_philox():
    """Written out, so that a new NumPy cannot change a run that is resumed with it."""
    first = [Batches(ROWS, 5, seed=7)(step)[:, 0].astype(int).tolist() for step in range(4)]
    expected = []
    for epoch in range(2):
        bits = np.random.Philox(key=np.array([7, epoch], dtype=np.uint64)).random_raw(10)
        order = sorted(range(10), key=lambda i: bits[i])
        expected += [sorted(order[:5]), sorted(order[5:])]
    assert first == expected
    assert first[0] == [1, 3, 4, 6, 8]


def test_trees_keep_their_structure_and_their_rows_together():
    batch = Batches({"x": ROWS, "y": (2 * ROWS[:, 0], np.arange(10))}, 4, seed=0)(3)
    np.testing.assert_array_equal(2 * batch["x"][:, 0], batch["y"][0])
    np.testing.assert_array_equal(batch["x"][:, 0], batch["y"][1])
    assert batch["y"][1].dtype == np.arange(10).dtype


def hold(kind: str, array: np.ndarray, folder):
    if kind == "hdf5":
        with h5py.File(folder / "data.h5", "w") as file:
            file["data"] = array
        return h5py.File(folder / "data.h5", "r")["data"]
    if kind == "memmap":
        np.save(folder / "data.npy", array)
        return np.load(folder / "data.npy", mmap_mode="r")
    return {"device": jnp.asarray, "lazy": Lazy}[kind](array)


@pytest.mark.parametrize("kind", ["device", "lazy", "hdf5", "memmap"])
def test_the_batch_is_the_same_wherever_the_data_lies(kind, tmp_path):
    held = Batches({"u": hold(kind, ROWS, tmp_path), "i": np.arange(10)}, 4, seed=5)
    plain = Batches({"u": ROWS, "i": np.arange(10)}, 4, seed=5)
    for step in range(6):
        np.testing.assert_array_equal(held(step)["u"], plain(step)["u"])
        np.testing.assert_array_equal(held(step)["i"], plain(step)["i"])
    assert isinstance(held(0)["u"], jax.Array if kind == "device" else np.ndarray)


@pytest.mark.parametrize("kind", ["device", "lazy", "hdf5", "memmap"])
@pytest.mark.parametrize(("length", "stride"), [(2, 1), (3, 2), (7, 1)])
def test_the_windows_are_the_same_wherever_the_trajectories_lie(kind, length, stride, tmp_path):
    held = Windows(hold(kind, TRAJECTORIES, tmp_path), length, 3, seed=5, stride=stride)
    plain = Windows(TRAJECTORIES, length, 3, seed=5, stride=stride)
    for step in range(5):
        np.testing.assert_array_equal(held(step), plain(step))


@pytest.mark.parametrize(
    ("length", "stride", "starts"), [(3, 1, [0, 1, 2, 3, 4]), (3, 3, [0, 3]), (7, 1, [0])]
)
def test_an_epoch_of_windows_is_every_window(length, stride, starts):
    windows = Windows(TRAJECTORIES, length, 1, seed=0, stride=stride)
    assert windows.samples == 3 * len(starts)
    seen = {tuple(windows(step)[0, :, 0].astype(int)) for step in range(windows.samples)}
    assert seen == {tuple(100 * i + t + np.arange(length)) for i in range(3) for t in starts}


def test_a_file_is_read_by_the_batch():
    source = Lazy(TRAJECTORIES)
    Windows(source, 2, 4, seed=0)(0)
    assert source.read == 2 * 4


def test_the_description_fits_json_and_names_what_fixes_the_batches():
    assert Batches({"x": ROWS}, 4, seed=5).describe() == {
        "kind": "Batches",
        "batch_size": 4,
        "seed": 5,
        "data": {"['x']": "float64[10, 3]"},
    }
    described = Windows(TRAJECTORIES, 2, 4, seed=5, stride=3).describe()
    assert described["stride"] == 3
    assert described["data"] == {"data": "float64[3, 7, 1]"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Batches(ROWS, 11, seed=0), "batch_size=11 is more than the 10 samples there are"),
        (lambda: Batches(ROWS, 0, seed=0), "batch_size=0 must be an integer of at least 1"),
        (lambda: Batches(ROWS, 2.0, seed=0), "batch_size=2.0 must be an integer"),
        (lambda: Batches(ROWS, 2, seed=-1), r"seed=-1 must be an integer from 0 to 2\*\*64 - 1"),
        (lambda: Batches(ROWS, 2, seed=2**64), "must be an integer from 0"),
        (lambda: Batches((), 2, seed=0), "holds no arrays"),
        (
            lambda: Batches([[1.0, 2.0]], 2, seed=0),
            r"\[0\]\[0\] is of type float, .* np.asarray turns a list",
        ),
        (lambda: Batches(np.float64(3.0), 2, seed=0), r"has shape \(\); expected axes \(sample, \.\.\.\)"),
        (
            lambda: Batches((ROWS, ROWS[:9]), 2, seed=0),
            r"leading axes \(sample\): \[0\]: \(10,\), \[1\]: \(9,\)",
        ),
        (lambda: Batches(ROWS[:0], 2, seed=0), "The data is empty"),
        (lambda: Batches(ROWS, 2, seed=0)(-1), "an integer from 0 on"),
        (lambda: Batches(ROWS, 2, seed=0)("a"), "an integer from 0 on"),
        (lambda: Windows(TRAJECTORIES, 8, 2, seed=0), "length=8 does not fit in trajectories of 7 times"),
        (lambda: Windows(TRAJECTORIES, 0, 2, seed=0), "length=0 must be an integer"),
        (lambda: Windows(TRAJECTORIES, 2, 2, seed=0, stride=0), "stride=0 must be an integer"),
        (lambda: Windows(TRAJECTORIES, 2, 19, seed=0), "batch_size=19 is more than the 18 windows"),
        (
            lambda: Windows(np.ones(5), 2, 2, seed=0),
            r"shape \(5,\); expected axes \(trajectory, time, \.\.\.\)",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
