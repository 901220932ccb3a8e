"""Experiments about neural differential equations: every one runs, by a method of its own, and refuses what it cannot
do (examples run; exact and property tests of their data; bad input as a table)."""

import dataclasses
import gzip
import typing

import numpy as np
import pytest

from sciml.__main__ import main
from sciml.data import simulate_irregular, write_physionet
from sciml.experiments import find_experiment, read_config, read_table
from sciml.experiments.regularization import Method, Regularization
from sciml.experiments.spirals import DAMPING, _integrate, _simulate_paths, spiral
from sciml.training import Batches

RUNS = {
    "spiral-node": "taynode",
    "spiral-nsde": "local-uniform",
    "digits-node": "budget",
    "digits-nsde": "er",
    "physionet-latent-ode": "steer",
    "moons-ffjord": "rnode",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module", params=RUNS.items(), ids=lambda item: item[0])
def run(request, folder):
    """Every experiment, trained at size smoke, each by another method."""
    name, method = request.param
    out = folder / name
    words = ["train", name, "--size", "smoke", "--quiet", "--method", method, "--out", str(out)]
    assert main(words) == 0
    return name, method, out


def test_it_measures_what_it_promises(run):
    name, method, out = run
    rows = {row["metric"]: float(row["value"]) for row in read_table(out / "metrics.csv")}
    assert all(np.isfinite(value) for value in rows.values())
    assert rows["evaluations"] >= 7 or "sde" in name
    assert rows["unfinished"] == 0
    assert {"prediction_seconds", "training_seconds", "parameters", "steps", "rejected_steps"} <= set(rows)
    experiment, size = read_config(out)
    assert size == "smoke"
    assert experiment.label == method
    training = read_table(out / "training.csv")
    assert len(training) == experiment.training.steps
    assert (out / "training.png").is_file()
    assert "training.png" in (out / "report.md").read_text()


def test_evaluating_again_gives_the_same_numbers(run):
    _, _, out = run
    before = [row for row in read_table(out / "metrics.csv") if row["metric"] != "prediction_seconds"]
    assert main(["evaluate", str(out), "--quiet"]) == 0
    assert before == [row for row in read_table(out / "metrics.csv") if row["metric"] != "prediction_seconds"]


def test_generated_data_is_the_data(run, tmp_path):
    """Property: what `generate` writes is what the experiment makes, to the bit."""
    name, _, out = run
    file = tmp_path / "data.h5"
    experiment, _ = read_config(out)
    experiment.generate(file)
    made, read = experiment.make_data(), experiment._load(file)
    for part, arrays in made.items():
        for key, array in arrays.items():
            np.testing.assert_array_equal(array, read[part][key])
    other = find_experiment("moons-ffjord" if name != "moons-ffjord" else "spiral-node").sized("smoke")
    with pytest.raises(ValueError, match="holds the data of"):
        other._load(file)


def test_two_methods_are_compared(folder, run, capsys):
    name, _, out = run
    if name != "spiral-node":
        pytest.skip("one experiment is enough")
    other = folder / "vanilla"
    words = ["train", name, "--size", "smoke", "--quiet", "--out", str(other)]
    assert main(words) == 0
    assert main(["compare", str(out), str(other), "--out", str(folder / "comparison")]) == 0
    assert "| taynode | vanilla |" in capsys.readouterr().out
    assert {"comparison.md", "comparison.csv", "training.png"} <= {
        path.name for path in (folder / "comparison").iterdir()
    }


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("size", ["smoke", "laptop", "paper"])
def test_every_size_is_there_with_weights_for_every_method(name, size):
    experiment = find_experiment(name).sized(size)
    assert set(experiment.data_fields()) <= set(experiment.__dataclass_fields__)
    methods = set(typing.get_args(Method)) - {"vanilla", "steer"}
    if experiment.is_stochastic():
        methods -= {"taynode", "rnode", "sr", "er-sr", "local-hairer"}
    assert set(experiment.coefficients) == methods
    for method in methods:
        assert Regularization(method=method).build(stochastic=experiment.is_stochastic())


def test_training_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    """Property: the coefficient's state is part of the run; a run stopped half way ends as one that was not."""
    experiment = dataclasses.replace(
        find_experiment("digits-node").sized("smoke"), regularization=Regularization(method="budget")
    )
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    experiment.train(whole, progress=False)
    original = Batches.__call__

    def stop(self, step):
        if step == 5:
            raise KeyboardInterrupt
        return original(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "__call__", stop)
        with pytest.raises(KeyboardInterrupt):
            experiment.train(halves, progress=False)
    experiment.train(halves, resume=True, progress=False)
    assert (whole / "training.csv").read_text() == (halves / "training.csv").read_text()
    assert (whole / "last.eqx").read_bytes() == (halves / "last.eqx").read_bytes()


# Data.


def test_a_spiral_keeps_its_law():
    """Exact: without damping x^4 + y^4 is conserved; with it the trajectory is that of smaller steps."""
    starts, times = np.array([[1.5, 0.2], [-0.3, 1.1]]), np.linspace(0, 1, 5)
    y = _integrate(starts, times)
    rate = np.sum(4 * y**3 * spiral(y), axis=-1)
    np.testing.assert_allclose(rate, -4 * DAMPING * np.sum(y**6, axis=-1), rtol=1e-12)
    finer = _integrate(starts, np.linspace(0, 1, 2001))[:, ::500]
    np.testing.assert_allclose(y, finer, atol=1e-9)


def test_noisy_spirals_without_noise_are_spirals():
    """Exact, to the error of Euler's method with steps of 1/1160."""
    y = _simulate_paths(2, 30, 0.0, 0)
    exact = _integrate(np.array([[2.0, 0.0]]), np.linspace(0, 1, 30))
    np.testing.assert_allclose(y, np.repeat(exact, 2, axis=0), atol=0.15)
    assert np.std(_simulate_paths(50, 3, 0.2, 0)[:, -1]) > 0.01


def test_mnist_is_read_from_a_folder(tmp_path):
    """Exact: four files of MNIST's layout, cut to 40 images each."""
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        images = rng.integers(0, 256, (40, 28, 28)).astype(np.uint8)
        labels = np.tile(np.arange(10), 4).astype(np.uint8)
        header = np.array([2051, 40, 28, 28], ">i4").tobytes()
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(np.array([2049, 40], ">i4").tobytes() + labels.tobytes())
        )
    experiment = dataclasses.replace(find_experiment("digits-node").sized("paper"))
    parts = experiment._load(tmp_path)
    assert {name: len(part["label"]) for name, part in parts.items()} == {
        "train": 30,
        "validation": 10,
        "test": 40,
    }
    assert parts["test"]["x"].shape == (40, 784)
    np.testing.assert_allclose(parts["test"]["x"].ravel(), images.ravel() / 255, rtol=1e-6)


def test_physionet_is_read_from_a_folder(tmp_path):
    """Property: a set in PhysioNet's layout, split without overlap, scaled by the part to train on."""
    write_physionet(tmp_path, simulate_irregular(20, seed=0))
    experiment = find_experiment("physionet-latent-ode").sized("smoke")
    parts = experiment._load(tmp_path)
    assert {name: len(part["mask"]) for name, part in parts.items()} == {
        "train": 14,
        "validation": 2,
        "test": 4,
    }
    seen = parts["train"]["values"][parts["train"]["mask"]]
    assert (seen.min(), seen.max()) == (0, 1)
    assert parts["test"]["times"][0, -1] == experiment.horizon


# Bad input.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "vanilla", "coefficient": 1.0}, "vanilla has no penalty"),
        ({"method": "steer", "final_coefficient": 1.0}, "steer has no penalty"),
        ({"method": "er", "evaluations": 20.0}, "belongs to a budget"),
        ({"method": "er", "loss_limit": 0.1}, "belongs to a budget"),
        ({"method": "budget", "final_coefficient": 1.0}, "budget adapts the weight"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Regularization(**fields)


@pytest.mark.parametrize("method", ["taynode", "rnode", "sr", "er-sr", "local-hairer"])
def test_methods_for_ordinary_equations_are_refused_for_stochastic_ones(method):
    with pytest.raises(ValueError, match="for ordinary differential equations"):
        Regularization(method=method).build(stochastic=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digits-node", "--size", "paper"], "Pass --data FOLDER"),
        (["digits-node", "--size", "smoke", "--method", "er", "--coefficient", "-1"], "coefficient=-1"),
        (["spiral-node", "--size", "smoke", "--data", "."], "is a folder"),
        (["spiral-node", "--size", "smoke", "--data", "missing.h5"], "There is no file missing.h5"),
        (["spiral-nsde", "--size", "smoke", "--method", "taynode"], "ordinary differential equations"),
    ],
)
def test_mistakes_are_explained(words, message, tmp_path, capsys):
    assert main(["train", *words, "--quiet", "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
