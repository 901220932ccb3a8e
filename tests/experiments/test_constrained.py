"""Experiments about constraints: each runs, by a method of its own, and measures what it says (examples run)."""

import dataclasses

import numpy as np
import pytest

from sciml.__main__ import main
from sciml.experiments import find_experiment, read_table
from sciml.experiments.constrained import relative_error

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
        coarse, fine = experiment.domains()
        t, x = np.meshgrid(*fine.axes, indexing="ij")
        seen = experiment._coarsen((t + x)[None, :, None])[0, :, 0]
        t, x = np.meshgrid(*coarse.axes, indexing="ij")
        assert np.allclose(seen, t + x)


def test_beyond_the_horizon_the_network_is_the_same():
    """The axis of time is longer, its ticks are as far apart, and its continuation ends where it did."""
    experiment = dataclasses.replace(find_experiment("diffusion-sorption-constraint")(), horizon=400.0)
    coarse, fine = experiment.domains()
    assert coarse.times[-1] == pytest.approx(400.0)
    assert 490 < fine.times[-1] <= 500.0
    ticks = np.diff(fine.clock(np.asarray(fine.times)))
    assert np.allclose(ticks, 1 / 64)
    networks = [experiment.make_network(fine=fine) for fine in (False, True)]
    lengths = [
        len(domain.times) + np.ceil(network.padding[0] * len(domain.times))
        for network, domain in zip(networks, (coarse, fine), strict=True)
    ]
    assert lengths == [40, 80]


def test_errors_are_integrals_over_time():
    times = np.array([0.0, 1.0, 2.0, 10.0])
    truth = np.ones((1, 4, 1, 2))
    wrong = truth.copy()
    wrong[:, 3] += 1.0
    whole = relative_error(wrong, truth, times, np.ones(4, bool))
    assert whole == pytest.approx(np.sqrt(8 / (1 + 1 + 4.5 + 8)), rel=0.05)
    assert relative_error(wrong, truth, times, times < 5) == 0
