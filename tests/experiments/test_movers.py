"""Experiments that train movers without data: each runs, by a form of its own, and measures the classical mesh beside
it (examples run; exact and bad input)."""

import dataclasses

import numpy as np
import pytest

from sciml.__main__ import main
from sciml.experiments import find_experiment, read_config, read_table

RUNS = [
    pytest.param(("ring-mover", "spectral"), id="ring-mover"),
    pytest.param(("burgers2d-mover", "spectral"), id="burgers2d-mover", marks=pytest.mark.slow),
    pytest.param(("ring-mover", "branch-trunk"), id="branch-trunk", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=RUNS)
def run(request, tmp_path_factory):
    """Each at size smoke."""
    name, method = request.param
    out = tmp_path_factory.mktemp("runs") / f"{name}-{method}"
    words = ["train", name, "--size", "smoke", "--quiet", "--method", method, "--out", str(out)]
    assert main(words) == 0
    return name, method, out


def test_it_measures_the_network_beside_the_classical_and_the_uniform_mesh(run):
    _, method, out = run
    found = {}
    for row in read_table(out / "metrics.csv"):
        found.setdefault(row["method"], {})[row["metric"]] = float(row["value"])
    assert set(found) == {method, "classical", "uniform"}
    assert all(np.isfinite(value) for metrics in found.values() for value in metrics.values())
    assert found["uniform"]["interpolation_ratio"] == 1
    assert found["classical"]["variation"] < found["uniform"]["variation"]
    assert found["classical"]["tangled"] == found["classical"]["newton_failures"] == 0
    # Exact by construction, or only penalized.
    assert (found[method]["boundary_error"] == 0) == (method == "spectral")
    assert {"training_seconds", "prediction_seconds", "parameters"} <= set(found[method])
    experiment, size = read_config(out)
    assert (size, experiment.label) == ("smoke", method)
    for picture in ("meshes.png", "moved.png"):
        assert (out / picture).is_file()
        assert picture in (out / "report.md").read_text()


def test_data_are_a_function_of_the_fields():
    """Exact; and no radius of the test is one of training."""
    experiment = find_experiment("ring-mover").sized("smoke")
    one, two = (experiment.make_data(False) for _ in range(2))
    for part, arrays in one.items():
        np.testing.assert_array_equal(arrays["u"], two[part]["u"])
        assert arrays["u"].shape == (len(arrays["place"]), 1, experiment.points, experiment.points)
    assert not set(one["train"]["place"]) & set(one["test"]["place"])
    fewer = dataclasses.replace(experiment, points=12).make_data(False)
    assert fewer["test"]["u"].shape[-1] == 12


def test_a_run_that_was_not_trained_is_refused(tmp_path):
    experiment = find_experiment("ring-mover").sized("smoke")
    with pytest.raises(ValueError, match="holds no trained model yet"):
        experiment.evaluate(tmp_path, progress=False)
