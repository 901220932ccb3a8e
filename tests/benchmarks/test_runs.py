"""Kept runs: trained once, read afterwards, with the commit and the device they ran on."""

import csv
import dataclasses

import pytest

from benchmarks import _runs
from benchmarks._results import write_results
from benchmarks._runs import join_origins, keep_run
from benchmarks._session import open_session
from sciml.experiments.base import find_experiment
from sciml.experiments.runs import write_table


def test_a_run_is_trained_once_and_keeps_its_origin(tmp_path, monkeypatch):
    experiment = find_experiment("burgers1d-constraint").sized("smoke")
    trained = []

    def evaluate(self, folder, **_):
        write_table(folder / "metrics.csv", [{"metric": "error", "value": 0.5}])

    monkeypatch.setattr(type(experiment), "train", lambda self, folder, **_: trained.append(folder))
    monkeypatch.setattr(type(experiment), "evaluate", evaluate)
    monkeypatch.setattr(_runs.jax, "clear_caches", lambda: None)
    with open_session(tmp_path / "out", "a command") as session:
        first = keep_run(tmp_path / "run", experiment, "smoke")
        assert first == ({"error": 0.5}, {"commit": session.commit, "device": session.device})
        later = dataclasses.replace(session, commit="another", device="a GPU")
        monkeypatch.setattr(_runs, "current_session", lambda: later)
        assert keep_run(tmp_path / "run", experiment, "smoke") == first
        assert trained == [tmp_path / "run"]
        with pytest.raises(RuntimeError, match=r"holds a run with other settings\. Move it away"):
            keep_run(tmp_path / "run", dataclasses.replace(experiment, seed=1), "smoke")
        row = dict.fromkeys(("seed", "dtype", "compile_seconds", "run_seconds", "evaluations", "error"))
        rows = list(csv.DictReader(write_results("kept", [{**row, "commit": "another"}]).open(newline="")))
        assert rows[0]["commit"] == "another"
    other = first._replace(origin={"commit": "another", "device": first.origin["device"]})
    assert join_origins([first, other, first]) == {
        "commit": f"{first.origin['commit']} another",
        "device": first.origin["device"],
    }
