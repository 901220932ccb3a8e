"""Exact tests of the PDEBench reader, on small files that these tests write in the layouts of its generators."""

import h5py
import numpy as np
import pytest

from sciml.data.pdebench import read_pdebench
from sciml.data.storage import save_trajectories
from sciml.data.trajectories import UNRECORDED, Trajectories

RNG = np.random.default_rng(0)
SIZES = {"x": 8, "y": 6, "z": 4}


def centers(size):
    return ((np.arange(size) + 0.5) / size).astype(np.float32)


def write_tensor(path, extra=1, times=5):
    """As Data_Merge.py writes 1-D Burgers: (batch, t, x), and a t-coordinate with one entry more."""
    tensor = RNG.normal(size=(7, times, 8)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["tensor"] = tensor
        file["x-coordinate"] = centers(8)
        file["t-coordinate"] = np.arange(times + extra, dtype=np.float32) * np.float32(0.01)
        file.attrs["Nu"] = 0.001
        file.attrs["note"] = "not a parameter"
    return tensor


def write_variables(path, axes="xy"):
    """As Data_Merge.py writes compressible flow: one array (batch, t, *space) for each variable."""
    names = ["density", "pressure", *(f"V{axis}" for axis in axes)]
    shape = (4, 5, *(SIZES[axis] for axis in axes))
    arrays = {name: RNG.normal(size=shape).astype(np.float32) for name in names}
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        for axis in axes:
            file[f"{axis}-coordinate"] = centers(SIZES[axis])
        file["t-coordinate"] = np.arange(6, dtype=np.float32) * np.float32(0.05)
        file.attrs["eta"], file.attrs["zeta"], file.attrs["M"] = 0.01, 0.02, 0.1
    return np.stack(list(arrays.values()), axis=2)


def write_groups(path, axes="xy", channels=2, seeds=(0, 1, 2, 10, 9999)):
    """As gen_diff_react.py and gen_diff_sorp.py write: one group for each seed, (t, *space, v), lzf."""
    data = {}
    with h5py.File(path, "w") as file:
        for seed in seeds:
            name = str(seed).zfill(4)
            data[seed] = RNG.normal(size=(5, *(SIZES[axis] for axis in axes), channels)).astype(np.float32)
            file.create_dataset(f"{name}/data", data=data[seed], dtype="float32", compression="lzf")
            for axis in axes:
                file.create_dataset(f"{name}/grid/{axis}", data=centers(SIZES[axis]), dtype="float32")
            file.create_dataset(f"{name}/grid/t", data=np.linspace(0, 500, 5), dtype="float32")
            if axes == "x":
                file.attrs[f"{name}/config"] = f"seed: {seed}"
            else:
                file[name].attrs["config"] = f"seed: {seed}"
    return np.stack([np.moveaxis(data[seed], -1, 1) for seed in seeds])


@pytest.mark.parametrize("extra", [0, 1])
def test_a_tensor_is_read_with_as_many_times_as_it_has(tmp_path, extra):
    tensor = write_tensor(tmp_path / "1D_Burgers_Sols_Nu0.001.hdf5", extra)
    data = read_pdebench(tmp_path / "1D_Burgers_Sols_Nu0.001.hdf5")
    assert np.array_equal(data.values, tensor[:, :, None])
    assert data.values.dtype == np.float32
    assert np.array_equal(data.times, np.arange(5, dtype=np.float32) * np.float32(0.01))
    assert np.array_equal(data.coordinates[0], centers(8))
    assert data.channels == ("u",)
    assert data.law == {"name": "unknown", "parameters": {"Nu": 0.001}}
    assert set(data.seeds) == {UNRECORDED}
    assert data.metadata == {"source": "PDEBench", "file": "1D_Burgers_Sols_Nu0.001.hdf5"}


@pytest.mark.parametrize("axes", ["x", "xy", "xyz"])
def test_variables_become_channels(tmp_path, axes):
    values = write_variables(tmp_path / "flow.hdf5", axes)
    data = read_pdebench(tmp_path / "flow.hdf5")
    assert np.array_equal(data.values, values)
    assert data.channels == ("density", "pressure", "Vx", "Vy", "Vz")[: 2 + len(axes)]
    assert [axis.size for axis in data.coordinates] == [SIZES[axis] for axis in axes]
    assert data.times.size == 5
    assert data.law["parameters"] == {"eta": 0.01, "zeta": 0.02, "M": 0.1}


@pytest.mark.parametrize(("axes", "channels"), [("x", 1), ("xy", 2), ("xy", 1)])
def test_groups_become_trajectories_with_their_seeds(tmp_path, axes, channels):
    values = write_groups(tmp_path / "groups.h5", axes, channels)
    data = read_pdebench(tmp_path / "groups.h5")
    assert np.array_equal(data.values, values)
    assert data.seeds.tolist() == [0, 1, 2, 10, 9999]
    assert np.array_equal(data.times, np.linspace(0, 500, 5, dtype=np.float32))
    assert data.channels == (("u",) if channels == 1 else ("u0", "u1"))
    assert data.metadata["config"] == "seed: 0"


@pytest.mark.parametrize("write", [write_tensor, write_variables, write_groups])
def test_a_part_is_that_part_of_the_whole(tmp_path, write):
    write(tmp_path / "data.h5")
    whole = read_pdebench(tmp_path / "data.h5")
    axes = len(whole.coordinates)
    part = read_pdebench(
        tmp_path / "data.h5",
        trajectories=slice(1, None, 2),
        time=slice(1, None),
        space=[slice(1, 6, 2)] * axes,
    )
    expected = whole[1::2].subsample(time=slice(1, None), space=[slice(1, 6, 2)] * axes)
    assert np.array_equal(part.values, expected.values)
    assert np.array_equal(part.times, expected.times)
    assert all(map(np.array_equal, part.coordinates, expected.coordinates))
    assert np.array_equal(part.seeds, expected.seeds)
    thin = read_pdebench(tmp_path / "data.h5", time=2, space=2)
    assert np.array_equal(thin.values, whole.subsample(time=2, space=2).values)


def test_what_the_caller_knows_better_is_taken(tmp_path):
    write_groups(tmp_path / "groups.h5")
    law = {"name": "DiffusionReaction", "parameters": {"k": 5e-3}}
    data = read_pdebench(tmp_path / "groups.h5", channels=("u", "v"), law=law)
    assert data.channels == ("u", "v")
    assert data.law == law


def test_only_what_is_asked_for_is_read(tmp_path):
    """A trajectory that is not finite is found if it is read, and is not in the way if it is not."""
    write_tensor(tmp_path / "data.h5")
    with h5py.File(tmp_path / "data.h5", "r+") as file:
        file["tensor"][3, 2] = np.nan
    with pytest.raises(
        ValueError, match=r"Trajectory 3 .* is not finite: 8 of its 40 values, the first at time index 2"
    ):
        read_pdebench(tmp_path / "data.h5")
    assert len(read_pdebench(tmp_path / "data.h5", trajectories=slice(0, 3))) == 3
    assert len(read_pdebench(tmp_path / "data.h5", time=slice(3, None))) == 7


def change(write, edit):
    def write_changed(path):
        write(path)
        with h5py.File(path, "r+") as file:
            edit(file)

    return write_changed


def replace(name, array):
    def edit(file):
        del file[name]
        if array is not None:
            file[name] = array

    return edit


def write_darcy(path):
    with h5py.File(path, "w") as file:
        file["tensor"], file["nu"] = np.ones((3, 1, 8, 8)), np.ones((3, 8, 8))
        file["x-coordinate"], file["y-coordinate"] = centers(8), centers(8)


def write_incompressible(path):
    with h5py.File(path, "w") as file:
        file["velocity"], file["particles"] = np.ones((1, 5, 8, 8, 2)), np.ones((1, 5, 8, 8, 1))
        file["force"], file["t"] = np.ones((1, 8, 8, 2)), np.ones((1, 5))


def write_foreign(path):
    with h5py.File(path, "w") as file:
        for i in range(30):
            file[f"run{i}/u"] = np.ones((3, 4))


def write_own(path):
    save_trajectories(path, Trajectories(np.ones((1, 2, 1, 3)), [0, 1], (np.arange(3),)))


EXPECTED = r".*Expected one of:\n  tensor \(trajectory, time, x\).*0000, 0001"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            write_foreign,
            r"none of PDEBench's layouts. Found:\n  run0/u \(3, 4\) float64\n.*  \.\.\.\n" + EXPECTED,
        ),
        (
            write_darcy,
            r"Darcy flow, which is steady.*nu \(3, 8, 8\) float64.*tensor \(3, 1, 8, 8\) float64" + EXPECTED,
        ),
        (write_incompressible, r"incompressible flow, whose files hold no coordinates.*velocity" + EXPECTED),
        (write_own, "a file of sciml's own. Read it with sciml.data.load_trajectories"),
        (lambda path: path.write_bytes(b"PK\x03\x04 a zip file"), "is not an HDF5 file"),
        (change(write_tensor, replace("t-coordinate", None)), "none of PDEBench's layouts" + EXPECTED),
        (change(write_tensor, replace("x-coordinate", None)), "none of PDEBench's layouts" + EXPECTED),
        (
            change(write_tensor, replace("x-coordinate", centers(9))),
            r"tensor \(7, 5, 8\) should be \(trajectory, time, x\)",
        ),
        (
            change(write_tensor, replace("tensor", np.ones((1, 7, 5, 8)))),
            r"tensor \(1, 7, 5, 8\) should be \(trajectory, time, x\). Found:\n  t-coordinate \(6,\) float32\n"
            + EXPECTED,
        ),
        (
            change(write_tensor, replace("t-coordinate", np.arange(4.0))),
            r"t-coordinate \(4,\) should have 5 entries",
        ),
        (
            change(write_tensor, replace("t-coordinate", np.arange(7.0))),
            r"\(7,\) should have 5 entries, .* or one more",
        ),
        (change(write_tensor, replace("t-coordinate", np.zeros(6))), "times must increase"),
        (
            change(write_variables, replace("Vy", np.ones((4, 5, 8)))),
            r"Vy \(4, 5, 8\) should be \(trajectory, time, x, y\)",
        ),
        (
            change(write_groups, replace("0002/data", None)),
            "The group 0002 should hold data, grid/x and grid/t",
        ),
        (
            change(write_groups, replace("0000/grid/t", np.arange(6.0))),
            r"0000/data \(5, 8, 6, 2\) should be \(time, x, y,",
        ),
        (change(write_groups, replace("0010/grid/x", np.arange(8.0))), "The sample 0010 is on another grid"),
        (change(write_groups, replace("0010/data", np.ones((5, 8, 6, 1)))), "or of other channels than 0000"),
    ],
)
def test_a_file_of_another_layout_says_what_was_found_and_expected(tmp_path, write, message):
    write(tmp_path / "data.h5")
    with pytest.raises(ValueError, match=f"(?s){message}"):
        read_pdebench(tmp_path / "data.h5")


@pytest.mark.parametrize("write", [write_tensor, write_groups])
@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"trajectories": 5}, "trajectories=5 must be a slice that runs forwards"),
        ({"trajectories": slice(None, None, -1)}, "must be a slice that runs forwards"),
        ({"trajectories": slice(50, None)}, "chooses none of the"),
        ({"time": -2}, "time=-2 must be a slice that runs forwards"),
        ({"time": slice(5, None)}, "is empty"),
        ({"space": (1, 1, 1)}, "has 3 entries, but there are"),
        ({"channels": ("a", "b", "c")}, "must be . different names"),
    ],
)
def test_a_wrong_choice_is_refused_with_a_cure(tmp_path, write, choice, message):
    write(tmp_path / "data.h5")
    with pytest.raises(ValueError, match=message):
        read_pdebench(tmp_path / "data.h5", **choice)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file.*burgers\.hdf5"):
        read_pdebench(tmp_path / "burgers.hdf5")
