"""A run killed with SIGKILL at any moment and started again ends as one never killed (property tests)."""

import signal

import pytest

from benchmarks._kills import finish_run, kill_at_random, list_differences, list_unreadable, start_run


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_twenty_times_at_random_moments(tmp_path):
    assert kill_at_random(tmp_path, steps=1500, kills=20, seed=0) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_before_chosen_changes_of_the_folder(tmp_path):
    """A checkpoint takes some twenty changes: the numbers fall into all its phases, and those of a start."""
    steps = 30
    finish_run(tmp_path / "unbroken", steps)
    for event in (1, 3, 4, 6, 9, 12, 16, 20, 25, 31, 38, 46, 55, 65, 76, 88):
        process = start_run(tmp_path / "killed", steps, event)
        process.communicate(timeout=200)
        assert list_unreadable(tmp_path / "killed") == []
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
    finish_run(tmp_path / "killed", steps)
    assert list_differences(tmp_path / "killed", tmp_path / "unbroken") == []


def test_killed_once_while_a_checkpoint_is_written(tmp_path):
    """The quick version of the two above: the kill falls into the second checkpoint."""
    finish_run(tmp_path / "unbroken", 12)
    process = start_run(tmp_path / "killed", 12, 40)
    process.communicate(timeout=200)
    assert process.returncode == -signal.SIGKILL
    assert list((tmp_path / "killed" / "checkpoints").glob("*tmp*"))
    assert list_unreadable(tmp_path / "killed") == []
    finish_run(tmp_path / "killed", 12)
    assert list_differences(tmp_path / "killed", tmp_path / "unbroken") == []


def test_what_is_not_whole_or_not_the_same_is_found(tmp_path):
    """Property: the checks above can fail."""
    (tmp_path / "a" / "checkpoints").mkdir(parents=True)
    (tmp_path / "b" / "checkpoints").mkdir(parents=True)
    for name in ("last.eqx", "best.eqx"):
        (tmp_path / "a" / name).write_bytes(b"one")
        (tmp_path / "b" / name).write_bytes(b"one")
    (tmp_path / "b" / "best.eqx").write_bytes(b"two")
    (tmp_path / "a" / "log.jsonl").write_text('{"step": 1, "seconds": 1}\n')
    (tmp_path / "b" / "log.jsonl").write_text('{"step": 1, "seconds": 2}\n{"ste')
    (tmp_path / "b" / "fit.json").write_text('{"steps"')
    assert sorted(list_unreadable(tmp_path / "b")) == ["best.eqx", "fit.json", "last.eqx"]
    (tmp_path / "b" / "log.jsonl").write_text('{"step": 1, "seconds": 2}\n')
    assert list_differences(tmp_path / "b", tmp_path / "a") == ["best.eqx"]
