"""Experiments about constraints: each runs, by a method of its own, and measures what it says (examples run)."""

import dataclasses

import numpy as np
import pytest

from sciml.__main__ import main
from sciml.experiments import find_experiment, read_table
from sciml.experiments.constrained import relative_error
from sciml.experiments.interpolated import interpolation_matrix

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
        seen = experiment._coarsen((t + x)[None, :, None])[0, :, 0]
        t, x = np.meshgrid(*coarse.axes, indexing="ij")
        assert np.allclose(seen, t + x)


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
