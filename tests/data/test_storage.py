"""Property tests of stored trajectories: exact round trips, slices, and writes that are interrupted for real."""

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from sciml.data import _hdf5
from sciml.data.storage import TrajectoryWriter, load_trajectories, open_trajectories, save_trajectories
from sciml.data.trajectories import Trajectories, concatenate
from sciml.training.batches import Windows

ROOT = Path(__file__).resolve().parents[2]
LAW = {"name": "Burgers", "parameters": {"viscosity": 0.1 + 0.2, "field": np.linspace(0, 1, 7) / 3}}
METADATA = {
    "solver": "Kvaerno5",
    "rtol": 1e-300,
    "limit": float("inf"),
    "bad": float("nan"),
    "steps": [1, 2**70, None, True],
    "nested": {"list": [np.arange(3), "é"], "complex": np.array([1 + 2j])},
    "long": "x" * 100_000,  # HDF5 attributes end at 64 KiB
}


def make(count=5, dtype=np.float64, *, first=0, **changes):
    values = np.random.default_rng(first).normal(size=(count, 4, 2, 6, 3)).astype(dtype)
    arguments = {
        "law": LAW,
        "metadata": METADATA,
        "channels": ("u", "v"),
        "seeds": np.arange(first, first + count),
    }
    return Trajectories(
        values, np.linspace(0, 1, 4) / 3, (np.arange(6) / 7, np.arange(3) / 9), **(arguments | changes)
    )


def assert_same(first, second):
    for name in ("values", "times", "seeds"):
        ours, theirs = getattr(first, name), getattr(second, name)
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    assert all(map(np.array_equal, first.coordinates, second.coordinates))
    assert first.channels == second.channels
    np.testing.assert_equal(first.law, second.law)
    np.testing.assert_equal(first.metadata, second.metadata)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("compression", [None, 4])
def test_what_is_loaded_is_bitwise_what_was_saved(tmp_path, dtype, compression):
    data = make(dtype=dtype)
    save_trajectories(tmp_path / "data.h5", data, compression=compression)
    assert_same(load_trajectories(tmp_path / "data.h5"), data)
    assert os.listdir(tmp_path) == ["data.h5"]


@pytest.mark.parametrize("space", [(), (9,), (5, 4), (3, 4, 5)])
def test_every_number_of_space_axes_is_kept(tmp_path, space):
    values = np.random.default_rng(0).normal(size=(3, 2, 1, *space))
    data = Trajectories(values, [0.0, 1.0], tuple(np.arange(n) / n for n in space))
    save_trajectories(tmp_path / "data.h5", data)
    assert_same(load_trajectories(tmp_path / "data.h5"), data)


def test_the_same_data_makes_the_same_bytes(tmp_path):
    for name in "ab":
        save_trajectories(tmp_path / name, make())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_chunks_make_the_same_file_as_one_piece(tmp_path):
    chunks = [make(3, first=0), make(1, first=3), make(4, first=4)]
    with TrajectoryWriter(tmp_path / "data.h5") as writer:
        for chunk in chunks:
            writer.append(chunk)
        assert len(writer) == 8
    assert_same(load_trajectories(tmp_path / "data.h5"), concatenate(chunks))


def test_metadata_on_which_chunks_disagree_is_left_out(tmp_path):
    with TrajectoryWriter(tmp_path / "data.h5") as writer:
        writer.append(make(metadata={"solver": "Tsit5", "steps": 10}))
        writer.append(make(metadata={"solver": "Tsit5", "steps": 11}))
    assert load_trajectories(tmp_path / "data.h5").metadata == {"solver": "Tsit5"}


INDICES = [
    3,
    -1,
    slice(1, 4),
    slice(None, None, 2),
    (2, slice(1, 3)),
    (slice(None), 0, 1),
    (2, [0, 3], slice(None)),
    [1, 2, 4],
    [4, 0, 4],
    np.array([-1, 0]),
    (np.array([True, False, True, False, False]), slice(0, 2)),
    (Ellipsis, 0),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_slices_in_a_file_are_slices_in_memory(tmp_path, index):
    data = make()
    save_trajectories(tmp_path / "data.h5", data)
    with open_trajectories(tmp_path / "data.h5") as stored:
        assert stored.values.shape == data.values.shape
        assert stored.values.dtype == data.values.dtype
        assert np.array_equal(stored.values[index], data.values[index])


def test_an_axis_that_is_indexed_by_an_array_stays_in_its_place(tmp_path):
    data = make()
    save_trajectories(tmp_path / "data.h5", data)
    with open_trajectories(tmp_path / "data.h5") as stored:
        found = stored.values[1:3, 2, :, [2, 0, 0]]
    assert np.array_equal(found, data.values[1:3][:, 2][:, :, [2, 0, 0]])


def test_training_windows_are_cut_from_a_file_as_from_memory(tmp_path):
    data = make()
    save_trajectories(tmp_path / "data.h5", data)
    with open_trajectories(tmp_path / "data.h5") as stored:
        ours = Windows(stored.values, 2, 4, seed=0)
        theirs = Windows(data.values, 2, 4, seed=0)
        for step in range(5):
            assert np.array_equal(ours(step), theirs(step))
        assert ours.describe() == theirs.describe()


@pytest.mark.parametrize(
    "choice", [slice(1, 3), [4, 0], np.array([True, False, True, False, False])], ids=str
)
def test_some_trajectories_are_read_as_trajectories(tmp_path, choice):
    data = make()
    save_trajectories(tmp_path / "data.h5", data)
    with open_trajectories(tmp_path / "data.h5") as stored:
        assert len(stored) == 5
        assert_same(stored[choice], data[choice])
        assert repr(stored).replace("Stored", "") == repr(data)
        with pytest.raises(ValueError, match=r"stored\[2\] is not a choice of trajectories"):
            stored[2]
    with pytest.raises(ValueError, match="The file is closed"):
        stored.values[0]


def test_a_file_larger_than_memory_is_written_and_read_in_chunks(tmp_path):
    """In a process that may use less memory than the file has bytes."""
    script = """
    import resource
    import numpy as np
    from sciml.data.storage import TrajectoryWriter, open_trajectories
    from sciml.data.trajectories import Trajectories

    chunk = Trajectories(np.ones((64, 8, 1, 4096)), range(8), (range(4096),))
    with TrajectoryWriter("data.h5") as writer:
        writer.append(chunk)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, used + 2**27))
        for _ in range(19):
            writer.append(chunk)
    with open_trajectories("data.h5") as stored:
        assert stored.values.shape[0] * 8 * 4096 * 8 > 2 * 2**27
        assert sum(stored[i : i + 64].values.sum() for i in range(0, len(stored), 64)) == 20 * chunk.values.size
        try:
            stored[:]
        except MemoryError:
            print("too large")
    """
    assert "too large" in run(script, tmp_path).stdout


def run(script, folder):
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=True, timeout=120
    )


def start(script, folder):
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=folder, env=environment(), stdout=subprocess.PIPE
    )


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT)}


ENDLESS = """
import numpy as np
from sciml.data.storage import TrajectoryWriter
from sciml.data.trajectories import Trajectories
chunk = Trajectories(np.ones((16, 8, 1, 512)), range(8), (range(512),))
with TrajectoryWriter("data.h5", overwrite=True) as writer:
    while True:
        writer.append(chunk)
        print(len(writer), flush=True)
"""


@pytest.mark.parametrize("before", [True, False], ids=["over a file", "where there was none"])
def test_sigkill_in_the_middle_leaves_the_old_file_and_nothing_that_reads_as_whole(tmp_path, before):
    path = tmp_path / "data.h5"
    if before:
        save_trajectories(path, make())
        old = path.read_bytes()
    process = start(ENDLESS, tmp_path)
    try:
        for _ in range(20):
            assert process.stdout.readline()
        time.sleep(0.01)  # somewhere within a chunk
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (partial,) = (name for name in os.listdir(tmp_path) if name != "data.h5")
    assert partial.startswith(".data.h5.")
    assert partial.endswith(".partial")
    with pytest.raises(ValueError, match=r"incomplete|truncated|damaged|empty|not an HDF5 file"):
        load_trajectories(tmp_path / partial)
    if before:
        assert path.read_bytes() == old
    else:
        assert not path.exists()
    save_trajectories(path, make(), overwrite=True)  # what was left over is not in the way
    assert_same(load_trajectories(path), make())


REPEATED = """
import numpy as np
from sciml.data.storage import save_trajectories
from sciml.data.trajectories import Trajectories
for i in range(1_000_000):
    values = np.full((4, 8, 1, 512), float(i))
    save_trajectories("data.h5", Trajectories(values, range(8), (range(512),)), overwrite=True)
    if i < 3:
        print(i, flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.007, 0.012])
def test_sigkill_while_a_file_is_replaced_leaves_a_whole_one_old_or_new(tmp_path, delay):
    process = start(REPEATED, tmp_path)
    try:
        for _ in range(3):
            assert process.stdout.readline()
        time.sleep(delay)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    values = load_trajectories(tmp_path / "data.h5").values
    assert values.shape == (4, 8, 1, 512)
    assert np.unique(values).size == 1


def test_a_file_that_lacks_only_its_end_does_not_read_as_whole(tmp_path):
    """The partial file as it is between two appends."""
    with TrajectoryWriter(tmp_path / "data.h5") as writer:
        writer.append(make())
        writer.append(make())
        (partial,) = tmp_path.iterdir()
        (tmp_path / "copy").write_bytes(partial.read_bytes())
    with pytest.raises(
        ValueError, match=r"is incomplete: the program that wrote it was interrupted\. Delete it"
    ):
        load_trajectories(tmp_path / "copy")


def test_a_file_that_is_not_marked_complete_does_not_read_as_whole(tmp_path):
    save_trajectories(tmp_path / "data.h5", make())
    with h5py.File(tmp_path / "data.h5", "r+") as file:
        file.attrs["complete"] = False
    with pytest.raises(ValueError, match="is incomplete"):
        load_trajectories(tmp_path / "data.h5")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_in_the_block_makes_no_file_and_harms_none(tmp_path, error):
    save_trajectories(tmp_path / "old.h5", make())
    old = (tmp_path / "old.h5").read_bytes()

    def interrupted(name):
        with TrajectoryWriter(tmp_path / name, overwrite=True) as writer:
            writer.append(make())
            raise error

    for name in ("old.h5", "new.h5"):
        with pytest.raises(error):
            interrupted(name)
    assert os.listdir(tmp_path) == ["old.h5"]
    assert (tmp_path / "old.h5").read_bytes() == old


@pytest.mark.parametrize("compression", [None, 4])
def test_a_disk_that_is_full_is_an_error_that_harms_nothing(tmp_path, compression):
    """In a process of its own, which must end in peace: HDF5 by itself crashes when a write has failed."""
    save_trajectories(tmp_path / "data.h5", make())
    old = (tmp_path / "data.h5").read_bytes()
    script = f"""
    import errno, os, resource
    import numpy as np
    from sciml.data.storage import TrajectoryWriter, load_trajectories
    from sciml.data.trajectories import Trajectories

    values = np.random.default_rng(0).normal(size=(8, 8, 1, 512))
    chunk = Trajectories(values, range(8), (range(512),))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    for name in ("data.h5", "new.h5"):
        try:
            with TrajectoryWriter(name, overwrite=True, compression={compression}) as writer:
                for _ in range(100):
                    writer.append(chunk)
        except OSError as error:
            assert error.errno == errno.EFBIG and len(writer) == 0, error
            print(error)
    assert load_trajectories("data.h5").values.shape == (5, 4, 2, 6, 3)
    """
    output = run(script, tmp_path)
    assert output.stderr == ""
    lines = output.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "no file was made or changed" in line
        assert "Make room, write to another disk, or pass compression=4" in line
    assert os.listdir(tmp_path) == ["data.h5"]
    assert (tmp_path / "data.h5").read_bytes() == old


@pytest.mark.parametrize("call", ["_write_all", "fsync", "replace"])
def test_a_failure_at_any_step_harms_nothing(tmp_path, monkeypatch, call):
    save_trajectories(tmp_path / "data.h5", make())
    old = (tmp_path / "data.h5").read_bytes()

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    owner = _hdf5._Sink if call == "_write_all" else _hdf5.os
    with monkeypatch.context() as patch:
        patch.setattr(owner, call, fail)
        with pytest.raises(OSError, match="No space left on device") as caught:
            save_trajectories(tmp_path / "data.h5", make(first=9), overwrite=True)
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["data.h5"]
    assert (tmp_path / "data.h5").read_bytes() == old


def test_a_writer_whose_failure_is_hidden_makes_no_file(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    failures = []

    def write():
        with TrajectoryWriter(tmp_path / "data.h5") as writer:
            for _ in range(3):
                try:
                    writer.append(make(50))
                except OSError as error:
                    failures.append(error)

    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="no file was made"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(failures) == 3
    assert os.listdir(tmp_path) == []


def corrupt_header(file):
    del file["seeds"]


def newer(file):
    file.attrs["version"] = 2


def shorter(file):
    file["values"].resize(3, axis=0)


def renamed(file):
    file.attrs["format"] = "someone-elses"


def edited(change):
    def write(path):
        save_trajectories(path, make())
        with h5py.File(path, "r+") as file:
            change(file)

    return write


def truncated(keep):
    def write(path):
        save_trajectories(path, make(40))
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])

    return write


def other_program(path):
    with h5py.File(path, "w") as file:
        file["run/temperature"] = np.ones((3, 4), np.float32)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.mkdir(), "is a folder; expected an HDF5 file"),
        (lambda path: path.write_bytes(b""), "is empty: 0 bytes"),
        (
            lambda path: path.write_bytes(np.random.default_rng(0).bytes(4096)),
            "is not an HDF5 file: it begins with b",
        ),
        (
            lambda path: path.write_text("<!DOCTYPE html>"),
            "begins with b'<!DOCTYP' .* download was not an error page",
        ),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "is a truncated HDF5 file of 8 bytes"),
        (
            truncated(0.99),
            r"is a truncated HDF5 file of \d+ bytes \(HDF5 says: truncated file: eof = .*copy, download",
        ),
        (truncated(0.5), "is a truncated HDF5 file"),
        (truncated(0.01), "is a truncated HDF5 file"),
        (
            other_program,
            r"not of sciml: its attribute 'format' is None, .*\n  run/temperature \(3, 4\) float32\n.*read_pdebench",
        ),
        (edited(renamed), "its attribute 'format' is 'someone-elses', expected 'sciml-trajectories'"),
        (edited(newer), "has version 2 of the format; this sciml reads versions up to 1. Upgrade sciml"),
        (edited(corrupt_header), "does not hold what its format says .*seeds.*make it again"),
        (edited(shorter), r"values has shape \(3, 4, 2, 6, 3\), but the other arrays say \(5, 4, 2, 6, 3\)"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_was_found(tmp_path, write, message):
    path = tmp_path / "data.h5"
    write(path)
    for read in (load_trajectories, open_trajectories):
        with pytest.raises(ValueError, match=f"(?s){message}"):
            read(path)


def test_bytes_that_rot_in_a_compressed_file_are_found(tmp_path):
    path = tmp_path / "data.h5"
    save_trajectories(path, make(40), compression=1)
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        chunk = file["values"].id.get_chunk_info(0)
    content[chunk.byte_offset + 100 : chunk.byte_offset + 120] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged: its values cannot be read"):
        load_trajectories(path)


@pytest.mark.parametrize(
    ("error", "action", "message"),
    [
        (
            FileNotFoundError,
            lambda folder: load_trajectories(folder / "none.h5"),
            "no such file. Check the name",
        ),
        (
            FileExistsError,
            lambda folder: save_trajectories(folder / "data.h5", make()),
            "Pass overwrite=True",
        ),
        (
            FileExistsError,
            lambda folder: TrajectoryWriter(folder / "data.h5").__enter__(),
            "Pass overwrite=True",
        ),
        (IsADirectoryError, lambda folder: save_trajectories(folder, make()), "Name a file in it"),
        (
            FileNotFoundError,
            lambda folder: save_trajectories(folder / "no" / "a.h5", make()),
            "no such folder",
        ),
        (
            ValueError,
            lambda folder: save_trajectories(folder / "a.h5", make(), compression=11),
            "compression=11 must be",
        ),
        (
            ValueError,
            lambda folder: save_trajectories(folder / "a.h5", make(), compression="gzip"),
            "level of gzip",
        ),
        (
            ValueError,
            lambda folder: save_trajectories(folder / "a.h5", make().values),
            "is a ndarray; expected Traj",
        ),
        (ValueError, lambda folder: append(folder), "was not written: nothing was appended"),
        (
            ValueError,
            lambda folder: append(folder, make(), make(dtype=np.float32)),
            "holds float32 instead of float64",
        ),
        (
            ValueError,
            lambda folder: append(folder, make(), make().subsample(time=2)),
            "The chunk has other times",
        ),
        (ValueError, lambda folder: append(folder, make(), make(law=None)), "The chunk has other law"),
        (
            ValueError,
            lambda folder: TrajectoryWriter(folder / "a.h5").append(make()),
            "not open. Write `with",
        ),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(tmp_path, error, action, message):
    save_trajectories(tmp_path / "data.h5", make())
    old = (tmp_path / "data.h5").read_bytes()
    with pytest.raises(error, match=message):
        action(tmp_path)
    assert os.listdir(tmp_path) == ["data.h5"]
    assert (tmp_path / "data.h5").read_bytes() == old


def append(folder, *chunks):
    with TrajectoryWriter(folder / "a.h5") as writer:
        for chunk in chunks:
            writer.append(chunk)


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    def write():
        with TrajectoryWriter(tmp_path / "data.h5") as writer:
            writer.append(make())
            (tmp_path / "data.h5").write_text("precious")

    with pytest.raises(FileExistsError, match="overwrite"):
        write()
    assert (tmp_path / "data.h5").read_text() == "precious"
    assert os.listdir(tmp_path) == ["data.h5"]


def test_writing_through_a_link_replaces_the_file_and_keeps_the_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.h5").symlink_to(tmp_path / "elsewhere" / "data.h5")
    save_trajectories(tmp_path / "link.h5", make())
    assert (tmp_path / "link.h5").is_symlink()
    assert_same(load_trajectories(tmp_path / "elsewhere" / "data.h5"), make())
