"""Experiments about constraints: each runs, by a method of its own, and measures what it says (examples run)."""

import dataclasses

import h5py
import numpy as np
import pytest

from sciml.__main__ import main
from sciml.data import Trajectories
from sciml.experiments import find_experiment, read_table
from sciml.experiments.constrained_data import observe, read_solutions, relative_error
from sciml.experiments.interpolated import interpolation_matrix
from sciml.experiments.settings import Split

SLOW = pytest.mark.slow
RUNS = [
    ("diffusion-sorption-constraint", "experts-coupled", ()),
    ("diffusion-sorption-constraint", "constant", ()),
    pytest.param("diffusion-sorption-constraint", "soft-published", ("--horizon", "400"), marks=SLOW),
    pytest.param("diffusion-sorption-constraint", "experts", (), marks=SLOW),
    pytest.param("burgers1d-constraint", "supervised", (), marks=SLOW),
    pytest.param("burgers1d-constraint", "experts-overlapping", (), marks=SLOW),
    pytest.param("burgers1d-constraint", "soft", (), marks=SLOW),
    pytest.param("navier-stokes-constraint", "hard", (), marks=SLOW),
    pytest.param("navier-stokes-constraint", "experts-own", (), marks=SLOW),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize(("name", "method", "more"), RUNS)
def test_it_measures_what_it_promises(folder, name, method, more):
    out = folder / f"{name}-{method}"
    words = ["train", name, "--size", "smoke", "--quiet", "--method", method, "--out", str(out), *more]
    assert main(words) == 0
    rows = {row["metric"]: float(row["value"]) for row in read_table(out / "metrics.csv")}
    assert 0 < rows["error"] < 10
    assert ("error_beyond" in rows) == bool(more)
    assert rows["skipped"] == 0
    assert (out / "errors.png").is_file()
    if method != "constant":
        # the published methods alone may miss the start
        assert rows["start_violation"] < 1e-6 or method in ("soft-published", "experts")


def test_the_training_sees_the_test_grid_coarsened():
    """Every second time, means of cells between walls, every second node of a periodic axis."""
    for name in ("diffusion-sorption-constraint", "burgers1d-constraint"):
        experiment = find_experiment(name).sized("smoke")
        coarse, fine = experiment.test_domains()
        t, x = np.meshgrid(*fine.axes, indexing="ij")
        solutions = Trajectories((t + x)[None, :, None], fine.axes[0], (fine.axes[1],))
        seen, matrix = experiment._sample(solutions)
        t, x = np.meshgrid(*coarse.axes, indexing="ij")
        assert matrix is None
        assert np.allclose(seen[0, :, 0], t + x)


def write_sorption(path, count, cells=64, times=21):
    """As gen_diff_sorp.py writes: a group for each seed with (t, x, 1), cell centers and even times to 500."""
    rng = np.random.default_rng(0)
    t, x = np.meshgrid(np.linspace(0, 500, times), (np.arange(cells) + 0.5) / cells, indexing="ij")
    with h5py.File(path, "w") as file:
        for seed in range(count):
            first = rng.uniform(0, 0.2)
            front = np.exp(-x / np.sqrt(1e-4 * t + 1e-9))
            file.create_dataset(
                f"{seed:04}/data", data=(first + (1 - first) * front)[..., None], dtype="float32"
            )
            file.create_dataset(f"{seed:04}/grid/x", data=x[0], dtype="float32")
            file.create_dataset(f"{seed:04}/grid/t", data=t[:, 0], dtype="float32")


def write_burgers(path, count, points=64, viscosity=0.02):
    """As Data_Merge.py writes: (batch, t, x), a t-coordinate one longer, x from -1 to 1, Nu on the file."""
    t, x = np.meshgrid(np.arange(21) * 0.05, -1 + 2 * (np.arange(points) + 0.5) / points, indexing="ij")
    waves = [np.exp(-0.1 * t) * np.sin(np.pi * (x - 0.1 * number)) for number in range(count)]
    with h5py.File(path, "w") as file:
        file["tensor"] = np.stack(waves).astype(np.float32)
        file["x-coordinate"], file["t-coordinate"] = x[0], np.arange(22) * 0.05
        file.attrs["Nu"] = viscosity * np.pi


@pytest.mark.parametrize(
    "method", ["constant", pytest.param("supervised", marks=SLOW), pytest.param("hard", marks=SLOW)]
)
def test_files_of_pdebench_are_read(folder, method):
    file, out = folder / f"{method}.h5", folder / f"sorption-{method}"
    write_sorption(file, 7)
    words = ["train", "diffusion-sorption-constraint", "--size", "smoke", "--quiet", "--method", method]
    assert main([*words, "--data", str(file), "--out", str(out)]) == 0
    rows = {row["metric"]: float(row["value"]) for row in read_table(out / "metrics.csv")}
    assert 0 < rows["error"] < 10
    times = [float(row["time"]) for row in read_table(out / "errors.csv")]
    assert np.allclose(times, np.linspace(0, 500, 21))


def test_a_file_of_pdebench_is_brought_to_the_grid_and_keeps_its_times(tmp_path):
    """Cells averaged; a field on times of its own is interpolated to those of the file, to order four on the clock."""
    experiment = find_experiment("diffusion-sorption-constraint").sized("smoke")
    write_sorption(tmp_path / "file.h5", 7)
    parts = read_solutions(tmp_path / "file.h5", experiment.fine_problem(), experiment.split)
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [4, 1, 2]
    assert parts["test"].values.shape == (2, 21, 1, 32)
    with h5py.File(tmp_path / "file.h5") as file:
        assert np.allclose(
            parts["test"].values[1, :, 0], file["0006/data"][..., 0].reshape(21, 32, 2).mean(-1)
        )
    values, matrix = experiment._sample(parts["train"])
    assert values.shape == (4, 21, 1, 16)
    own, there = experiment.times(1, 500.0), parts["train"].times
    error = observe(np.exp(-own / 300.0)[None, :, None, None], matrix, 1)[0, :, 0, 0] - np.exp(-there / 300.0)
    assert np.abs(error).max() < 2e-3


BURGERS = dataclasses.replace(
    find_experiment("burgers1d-constraint").sized("smoke"),
    length=2.0,
    split=Split(train=3, validation=1, test=1),
)


def test_burgers_of_pdebench_is_read_on_its_domain(tmp_path):
    write_burgers(tmp_path / "file.h5", 5)
    test = read_solutions(tmp_path / "file.h5", BURGERS.fine_problem(), BURGERS.split)["test"]
    assert test.times[-1] == pytest.approx(0.5)
    x = -1 + (np.arange(0, 64, 2) + 0.5) / 32
    assert np.allclose(test.values[0, 0, 0], np.sin(np.pi * (x - 0.4)), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"viscosity": 0.01}, "Set --viscosity 0.02"),
        ({"length": 1.0}, "Set its --length"),
        ({"points": 24}, "cannot be averaged"),
        ({"horizon": 3.0, "until": 3.0}, "Set its --horizon and --until"),
        ({"split": Split(train=9, validation=1, test=1)}, "Ask for fewer"),
    ],
)
def test_a_file_of_another_problem_is_refused(tmp_path, change, message):
    experiment = dataclasses.replace(BURGERS, **change)
    write_burgers(tmp_path / "file.h5", 5)
    with pytest.raises(ValueError, match=message):
        read_solutions(tmp_path / "file.h5", experiment.fine_problem(), experiment.split)


def test_beyond_the_horizon_the_network_sees_the_whole_time():
    experiment = dataclasses.replace(find_experiment("diffusion-sorption-constraint")(), horizon=400.0)
    trained, (coarse, fine) = experiment.training_domain(), experiment.test_domains()
    assert trained.times[-1] == pytest.approx(400.0)
    assert 500.0 <= fine.times[-1] < 510.0
    assert coarse.times[-1] == pytest.approx(fine.times[-1])
    assert coarse.shape == trained.shape
    for domain in (trained, coarse, fine):
        clock = domain.clock(np.asarray(domain.times))
        assert np.allclose(np.diff(clock), 1 / (len(clock) - 1))
    assert np.isin(
        np.round(trained.times, 6), np.round(fine.times, 6)
    ).all()  # the test includes the training's times


@pytest.mark.parametrize("name", ["diffusion-sorption-constraint", "burgers1d-constraint"])
def test_interpolation_is_exact_on_polynomials_and_of_order_four_on_waves(name):
    experiment = find_experiment(name)()
    coarse, fine = experiment.test_domains()
    for axis in (0, 1):
        here, there = coarse.axes[axis], fine.axes[axis]
        if axis == 0:
            here, there = coarse.clock(here), fine.clock(there)
        matrix = interpolation_matrix(coarse, fine, axis)
        if coarse.periodic[axis]:
            error = np.abs(matrix @ np.sin(2 * np.pi * here) - np.sin(2 * np.pi * there)).max()
            # half way: 3 / 128 h^4 times the fourth derivative
            assert error < 3 / 128 * (2 * np.pi / len(here)) ** 4 * 1.1
        else:
            assert np.allclose(matrix @ here**3, there**3, atol=1e-11)


def test_errors_are_integrals_over_time():
    times = np.array([0.0, 1.0, 2.0, 10.0])
    truth = np.ones((1, 4, 1, 2))
    wrong = truth.copy()
    wrong[:, 3] += 1.0
    whole = relative_error(wrong, truth, times, np.ones(4, bool))
    assert whole == pytest.approx(np.sqrt(8 / (1 + 1 + 4.5 + 8)), rel=0.05)
    assert relative_error(wrong, truth, times, times < 5) == 0
