"""The command line from end to end at smoke size, and its answers to mistakes (examples run; bad input as a table)."""

import json

import numpy as np
import pytest

from sciml.__main__ import main
from sciml.experiments import (
    Burgers1D,
    Burgers2D,
    NavierStokes2D,
    Split,
    find_experiment,
    list_experiments,
    read_config,
    read_table,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two evaluated runs of one experiment, of different methods."""
    folder = tmp_path_factory.mktemp("runs")
    for method in ("fno", "unet"):
        words = ["train", "burgers1d-fno", "--size", "smoke", "--quiet", "--method", method]
        assert main([*words, "--out", str(folder / method)]) == 0
    return folder


def test_a_run_holds_what_it_promises(runs):
    folder = runs / "fno"
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.json",
        "log.jsonl",
        "checkpoints",
        "metrics.csv",
        "prediction.png",
        "rollout.png",
    } <= names
    assert "prediction.png" in (folder / "report.md").read_text()
    experiment, size = read_config(folder)
    assert size == "smoke"
    assert experiment == Burgers1D.sized("smoke")
    rows = read_table(folder / "metrics.csv")
    assert {row["method"] for row in rows} == {"fno", "persistence"}
    assert all(np.isfinite(float(row["value"])) for row in rows)
    assert json.loads((folder / "log.jsonl").read_text().splitlines()[-1])["step"] == 20


def test_compare_makes_a_table_and_a_plot(runs, capsys):
    assert main(["compare", str(runs / "fno"), str(runs / "unet")]) == 0
    table = capsys.readouterr().out
    assert "| fno | persistence | unet |" in table
    assert {"comparison.md", "comparison.csv", "rollout.png"} <= {
        p.name for p in (runs / "comparison").iterdir()
    }


def test_evaluate_gives_the_same_numbers_again(runs):
    before = [r for r in read_table(runs / "fno" / "metrics.csv") if r["metric"] != "prediction_seconds"]
    assert main(["evaluate", str(runs / "fno"), "--quiet"]) == 0
    after = [r for r in read_table(runs / "fno" / "metrics.csv") if r["metric"] != "prediction_seconds"]
    assert before == after


def test_generated_data_train_the_same_as_simulated_ones(runs, tmp_path):
    """Property: bitwise, as the file holds the same numbers."""
    file = tmp_path / "d.h5"
    assert main(["generate", "burgers1d-fno", "--size", "smoke", "--out", str(file)]) == 0
    words = [
        "train",
        "burgers1d-fno",
        "--size",
        "smoke",
        "--quiet",
        "--data",
        str(file),
        "--out",
        str(tmp_path / "r"),
    ]
    assert main(words) == 0
    one, other = (
        [r["value"] for r in read_table(f / "metrics.csv") if r["metric"] == "one_step_nrmse"]
        for f in (runs / "fno", tmp_path / "r")
    )
    assert one == other


def test_a_finished_run_is_read_on_resume(runs, capsys):
    assert main(["train", "burgers1d-fno", "--resume", str(runs / "fno"), "--quiet"]) == 0
    assert "nRMSE of one step" in capsys.readouterr().out


@pytest.mark.parametrize("cls", [Burgers1D, Burgers2D, NavierStokes2D])
@pytest.mark.parametrize("size", ["smoke", "laptop", "paper"])
def test_every_experiment_has_every_size(cls, size):
    experiment = cls.sized(size)
    problem = experiment.problem()
    assert problem.calculus.grid.dimensions == (1 if cls is Burgers1D else 2)
    assert find_experiment(experiment.name) is cls
    assert set(cls.data_fields()) <= set(experiment.__dataclass_fields__)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["burgers2d-fno", "navier-stokes-fno"])
def test_the_other_experiments_run(name, tmp_path):
    words = ["train", name, "--size", "smoke", "--quiet", "--method", "cnn", "--out", str(tmp_path / "r")]
    assert main(words) == 0


def test_list_names_every_experiment(capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in list_experiments())


MISTAKES = {
    "command": (["trian"], "Did you mean 'train'?"),
    "experiment": (["train", "burgers1d-fnoo"], "Did you mean 'burgers1d-fno'?"),
    "no experiment": (["train"], "needs an experiment first"),
    "size": (["train", "burgers1d-fno", "--size", "latop"], "Did you mean 'laptop'?"),
    "existing run": (["train", "burgers1d-fno", "--size", "smoke", "--out", "{runs}/fno"], "not overwritten"),
    "no run to resume": (["train", "burgers1d-fno", "--resume", "{runs}/nothing"], "no run"),
    "not a run": (["evaluate", "{runs}"], "holds no config.json"),
    "changed": (["train", "burgers1d-fno", "--resume", "{runs}/fno", "--width", "16", "--quiet"], "width"),
    "changed size": (
        ["train", "burgers1d-fno", "--resume", "{runs}/fno", "--size", "paper"],
        "cannot be resumed",
    ),
    "other experiment": (["train", "burgers2d-fno", "--resume", "{runs}/fno"], "not of burgers2d-fno"),
    "data": (
        ["train", "burgers1d-fno", "--size", "smoke", "--data", "{runs}/fno/report.md", "--out", "{tmp}/r"],
        "HDF5",
    ),
    "folder": (["generate", "burgers1d-fno", "--size", "smoke", "--out", "{runs}/no/d.h5"], "Make it first"),
    "file": (
        ["generate", "burgers1d-fno", "--size", "smoke", "--out", "{runs}/fno/report.md"],
        "not overwritten",
    ),
    "overlap": (["train", "burgers1d-fno", "--test-first", "5", "--out", "{tmp}/r"], "has seen"),
}


@pytest.mark.parametrize("name", list(MISTAKES))
def test_mistakes_are_explained_and_destroy_nothing(name, runs, tmp_path, capfd):
    words, message = MISTAKES[name]
    before = sorted(path.name for path in runs.rglob("*"))
    try:
        status = main([word.format(runs=runs, tmp=tmp_path) for word in words])
    except SystemExit as stop:  # tyro's own way out
        status = stop.code
    assert status == 2
    captured = capfd.readouterr()
    assert message in captured.err + captured.out
    assert sorted(path.name for path in runs.rglob("*")) == before


def test_a_split_may_not_overlap():
    with pytest.raises(ValueError, match="both train and test"):
        Split(train=10, test_first=5)
