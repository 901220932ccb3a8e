"""The cylinder experiment at smoke size (examples run; bad input)."""

import dataclasses

import numpy as np
import pytest

from sciml.experiments.base import find_experiment
from sciml.experiments.comparison import compare
from sciml.experiments.runs import read_config, read_table, write_config
from sciml.experiments.wake_data import Reynolds

slow = pytest.mark.slow
METHODS = ["moving", "identity", "mean-adapted", "published", "published-identity", "gnn", "gnn-big"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def run(runs, **settings):
    experiment = dataclasses.replace(find_experiment("cylinder-mmpde").sized("smoke"), **settings)
    folder = runs / experiment.label
    folder.mkdir()
    write_config(folder, experiment, "smoke")
    experiment.train(folder, progress=False)
    experiment.evaluate(folder, progress=False)
    return folder


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("method", ["persistence", *(pytest.param(m, marks=slow) for m in METHODS)])
def test_every_method_is_measured_against_the_fine_truth(runs, method):
    folder = run(runs, method=method)
    numbers = {row["metric"]: float(row["value"]) for row in read_table(folder / "metrics.csv")}
    assert all(np.isfinite(value) for value in numbers.values())
    assert numbers["nodes"] == 300
    assert numbers["invalid_meshes"] == 0
    # No method is nearer to the truth than its nodes can show.
    assert numbers["one_step_error"] >= 0.5 * numbers["one_step_floor"] > 0
    assert numbers["rollout_error"] >= 0.5 * numbers["rollout_floor"] > 0
    assert len(read_table(folder / "rollout.csv")) == 4
    assert (folder / "film.png").is_file()
    assert read_config(folder)[0].reynolds == Reynolds((100.0,), (90.0,), (95.0,))


@slow
@pytest.mark.usefixtures("float32")
def test_runs_are_compared_in_pictures_and_a_film(runs, tmp_path):
    table = compare([runs / "moving-300", runs / "identity-300"], tmp_path)
    assert "identity-300" in table
    assert (tmp_path / "film.gif").stat().st_size > 1000
