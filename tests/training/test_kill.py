"""A run killed with SIGKILL at any moment and started again ends as one never killed (property tests)."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from sciml.training import load_model

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = pathlib.Path(__file__).with_name("small_run.py")


def start(folder: pathlib.Path, steps: int, *event: int) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), str(folder), str(steps), *map(str, event)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def finish(folder: pathlib.Path, steps: int) -> None:
    process = start(folder, steps)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    # Only a power failure, not a kill, may leave a checkpoint in place that does not read.
    assert "does not read" not in errors


def read_log(folder: pathlib.Path) -> list[dict]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


def check_readable(folder: pathlib.Path) -> None:
    """Whatever is under its final name is whole."""
    if (folder / "fit.json").exists():
        json.loads((folder / "fit.json").read_text())
    if (folder / "log.jsonl").exists():
        for line in (folder / "log.jsonl").read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                json.loads(line)
    for path in folder.glob("*.eqx"):
        with pytest.raises(ValueError, match="another model"):
            load_model(path, like=None)  # read to its end and found whole, before it is compared with nothing


def check_same(folder: pathlib.Path, unbroken: pathlib.Path) -> None:
    for name in ("last.eqx", "best.eqx"):
        assert (folder / name).read_bytes() == (unbroken / name).read_bytes(), name
    assert read_log(folder) == read_log(unbroken)
    assert not list(folder.glob(".*.tmp"))
    assert not list((folder / "checkpoints").glob("*tmp*"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_twenty_times_at_random_moments(tmp_path):
    steps, moments = 1500, random.Random(0)
    finish(tmp_path / "unbroken", steps)
    for _ in range(20):
        process = start(tmp_path / "killed", steps)
        try:
            assert process.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0.0, 0.9))
            assert process.poll() is None, "the run is too short for twenty kills"
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == -signal.SIGKILL
        check_readable(tmp_path / "killed")
    finish(tmp_path / "killed", steps)
    check_same(tmp_path / "killed", tmp_path / "unbroken")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_before_chosen_changes_of_the_folder(tmp_path):
    """A checkpoint takes some twenty changes: the numbers fall into all its phases, and those of a start."""
    steps = 30
    finish(tmp_path / "unbroken", steps)
    for event in (1, 3, 4, 6, 9, 12, 16, 20, 25, 31, 38, 46, 55, 65, 76, 88):
        process = start(tmp_path / "killed", steps, event)
        process.communicate(timeout=200)
        check_readable(tmp_path / "killed")
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
    finish(tmp_path / "killed", steps)
    check_same(tmp_path / "killed", tmp_path / "unbroken")


def test_killed_once_while_a_checkpoint_is_written(tmp_path):
    """The quick version of the two above: the kill falls into the second checkpoint."""
    finish(tmp_path / "unbroken", 12)
    process = start(tmp_path / "killed", 12, 40)
    process.communicate(timeout=200)
    assert process.returncode == -signal.SIGKILL
    assert list((tmp_path / "killed" / "checkpoints").glob("*tmp*"))
    check_readable(tmp_path / "killed")
    finish(tmp_path / "killed", 12)
    check_same(tmp_path / "killed", tmp_path / "unbroken")
