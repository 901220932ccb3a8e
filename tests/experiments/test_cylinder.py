"""The cylinder experiment at smoke size (examples run; bad input)."""

import dataclasses
from typing import get_args

import jax.numpy as jnp
import numpy as np
import pytest

from sciml.experiments.base import find_experiment
from sciml.experiments.comparison import compare
from sciml.experiments.cylinder import METHODS, MOVED, make_mesh
from sciml.experiments.runs import read_config, read_table, write_config
from sciml.experiments.triangle_steps import MovingTriangles, _pick, apply_step, look_at
from sciml.experiments.wake_data import Reynolds

slow = pytest.mark.slow
TRAINED = [method for method in get_args(METHODS) if method != "persistence"]


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
@pytest.mark.parametrize("method", ["persistence", *(pytest.param(m, marks=slow) for m in TRAINED)])
def test_every_method_is_measured_against_the_fine_truth(runs, method):
    folder = run(runs, method=method)
    numbers = {row["metric"]: float(row["value"]) for row in read_table(folder / "metrics.csv")}
    assert all(np.isfinite(value) for value in numbers.values())
    assert numbers["nodes"] == 300
    assert numbers["invalid_meshes"] == 0
    assert 0 < numbers["validation_rollout_error"] < 10
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


@slow
@pytest.mark.usefixtures("float32")
def test_what_is_trained_on_is_what_rollouts_do(runs):
    """Exact but for rounding: predictions of the samples are the classical steps from mesh to mesh, frame by frame."""
    experiment = dataclasses.replace(find_experiment("cylinder-mmpde").sized("smoke"), method="corrected")
    parts = experiment._load(runs / "any", None, False)
    samples, prior = experiment._sample(runs / "any", "validation", parts), experiment.prior()
    wake, window = experiment._list_truths(parts["validation"])[0], experiment.window(parts["train"])
    one = {name: jnp.asarray(x[0]) for name, x in samples.items()}
    meshes = [make_mesh(300, MOVED).move_to(points) for points in one["points"]]
    for k in (0, 3):
        feature = one["feature"][k]
        found = apply_step(prior, one["u"][k], meshes[k], meshes[k + 1], feature)
        np.testing.assert_allclose(one["predicted"][k], found, atol=1e-4)
        np.testing.assert_allclose(
            one["started"][k], prior(one["fresh"][k], meshes[k + 1], feature), atol=1e-4
        )
        seen = look_at(jnp.asarray(wake.values[k]), window.spacing, meshes[k + 1].points)
        np.testing.assert_allclose(one["fresh"][k], seen, atol=1e-6)
    # A rollout starts as training has it: on the mesh that was made for its first frame.
    started = MovingTriangles(prior, experiment.follower(), window).start(_pick(wake, 0))
    np.testing.assert_allclose(started[0], one["fresh"][0], atol=1e-5)
    np.testing.assert_allclose(started[1], one["points"][1], atol=1e-5)
    # The first two meshes are one; later they move, so that none of these could be taken for another.
    for other in (one["started"][3], one["predicted"][2], one["predicted"][4]):
        assert float(jnp.max(abs(one["predicted"][3] - other))) > 1e-3


class _Grow:
    """A step that multiplies by a thousand."""

    def __call__(self, u):
        return 1e3 * u


@pytest.mark.usefixtures("float32")
def test_a_rollout_that_blows_up_stops_says_where_and_keeps_what_it_has(runs, capsys, monkeypatch):
    experiment = dataclasses.replace(find_experiment("cylinder-mmpde").sized("smoke"), method="persistence")
    folder = runs / "blown-up"
    folder.mkdir()
    experiment.train(folder, progress=False)
    monkeypatch.setattr("sciml.experiments.cylinder._Stay", _Grow)
    experiment.evaluate(folder, progress=False)
    assert "blew up, the first at step 1" in capsys.readouterr().out
    numbers = {row["metric"]: float(row["value"]) for row in read_table(folder / "metrics.csv")}
    assert numbers["blown_up"] > 0
    assert numbers["last_error"] == 10
    with np.load(folder / "film.npz") as film:
        assert 1 <= len(film["found"]) < experiment.frames
        assert np.all(np.isfinite(film["nodes"]))


MISTAKES = {
    "tested where it was trained": (lambda: Reynolds(test=(100.0,)), "Reynolds.test has 100"),
    "chosen where it was trained": (lambda: Reynolds(validation=(80.0,)), "Reynolds.validation has 80"),
    "no test": (lambda: Reynolds(test=()), "Reynolds.test needs at least one number"),
}


@pytest.mark.parametrize("name", list(MISTAKES))
def test_mistakes_are_explained(name):
    call, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.usefixtures("float32")
def test_wakes_of_another_experiment_are_refused(runs):
    experiment = dataclasses.replace(find_experiment("cylinder-mmpde").sized("smoke"), method="persistence")
    (data,) = (runs / "data").glob("cylinder-mmpde-??????????.npz")
    with pytest.raises(ValueError, match=r"holds wakes with frames 7; the experiment has 9"):
        dataclasses.replace(experiment, frames=9)._load(runs / "x", data, False)
