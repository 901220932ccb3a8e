"""Property tests of the tables behind the claims, and exact tests of the timing, against a clock of our own."""

import csv
import subprocess

import jax.numpy as jnp
import pytest

from benchmarks import _timing, compare, measure, write_results
from benchmarks._session import describe_commit, open_session

ROW = {
    "seed": 0,
    "dtype": "float64",
    "compile_seconds": 1.5,
    "run_seconds": 0.1,
    "evaluations": None,
    "error": 1e-3,
}


@pytest.fixture
def folder(tmp_path):
    with open_session(tmp_path, "python -m benchmarks example") as session:
        yield session.folder


class Clock:
    """A clock that only goes on when it is told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(_timing, "time", clock)
    return clock


def test_a_table_has_the_columns_of_every_table_and_its_own(folder):
    path = write_results("burgers-1d", [{**ROW, "cells": 64}, {**ROW, "cells": 128, "device": "a GPU"}])
    assert path == folder / "results" / "burgers-1d.csv"
    rows = list(csv.DictReader(path.open(newline="")))
    assert list(rows[0]) == [
        *(
            "seed",
            "commit",
            "device",
            "dtype",
            "compile_seconds",
            "run_seconds",
            "evaluations",
            "error",
            "cells",
        )
    ]
    assert rows[0]["commit"]
    assert "cores" in rows[0]["device"]
    assert (rows[1]["device"], rows[1]["cells"], rows[1]["evaluations"]) == ("a GPU", "128", "")


def test_a_table_takes_the_place_of_the_last_one(folder):
    write_results("burgers", [ROW, ROW])
    path = write_results("burgers", [ROW])
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("Burgers.csv", [ROW], "must be lower-case letters"),
        ("../burgers", [ROW], "must be lower-case letters"),
        ("burgers", [], "has no rows"),
        ("burgers", [{"seed": 0}], r"Row 0 of 'burgers' lacks \['dtype', 'compile_seconds'"),
        ("burgers", [ROW, {**ROW, "cells": 1}], "Row 1 of 'burgers' has the columns"),
    ],
)
def test_a_bad_table_is_an_error(folder, name, rows, message):
    with pytest.raises(ValueError, match=message):
        write_results(name, rows)
    assert not (folder / "results").exists()


def test_no_table_is_written_outside_a_benchmark():
    with pytest.raises(RuntimeError, match="No benchmark is running"):
        write_results("burgers", [ROW])


def test_compilation_is_timed_apart(clock):
    durations = iter([10.0, 1.0, 3.0, 2.0])

    def function():
        clock.now += next(durations)
        return jnp.ones(2)

    timing = measure(function, repeats=3)
    assert (timing.compile_seconds, timing.run_seconds, timing.samples) == (8.0, 2.0, (1.0, 3.0, 2.0))
    assert timing.output.shape == (2,)


def test_two_functions_take_turns(clock):
    """A machine that slows down evenly during the run leaves the ratio as it is: here every call takes 10 % more."""
    calls, slowness = [], [1.0]

    def make(name, seconds):
        def function():
            calls.append(name)
            slowness[0] *= 1.1
            clock.now += seconds * slowness[0]

        return function

    comparison = compare(make("a", 3.0), make("b", 2.0), repeats=4)
    assert "".join(calls) == "ab" + "abba" * 2
    # Half of the rounds have a first, so the ratio is at most one call's slowing away from 3 / 2.
    assert 1.5 / 1.1 <= comparison.ratio <= 1.5 * 1.1
    assert len(comparison.first.samples) == len(comparison.second.samples) == 4


@pytest.mark.parametrize("repeats", [0, -1])
def test_no_repeats_is_an_error(repeats):
    with pytest.raises(ValueError, match=f"repeats must be at least 1; got {repeats}"):
        measure(lambda: None, repeats=repeats)
    with pytest.raises(ValueError, match=f"repeats must be at least 1; got {repeats}"):
        compare(lambda: None, lambda: None, repeats=repeats)


def test_the_commit_says_whether_the_code_was_changed(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    assert describe_commit(tmp_path) == "unknown"
    git("init")
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    for name in ("code.py", "README.md", "benchmarks/claims.csv"):
        (tmp_path / name).write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    clean = describe_commit(tmp_path)
    assert not clean.endswith("+")
    for name in ("README.md", "benchmarks/claims.csv", "benchmarks/results/a.csv"):
        (tmp_path / name).write_text("2")
    assert describe_commit(tmp_path) == clean, "what benchmarks write is not code"
    (tmp_path / "new.py").write_text("3")
    assert describe_commit(tmp_path) == f"{clean}+"
