"""Every example runs, at a small size, as a user would start it (examples run)."""

import os
import pathlib
import subprocess
import sys

import pytest

EXAMPLES = sorted((pathlib.Path(__file__).parents[1] / "examples").glob("[0-9]*.py"))


LONG = {"15_three_pillars_on_one_law"}
CASES = [
    pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem in LONG else ()) for path in EXAMPLES
]


@pytest.mark.parametrize("path", CASES)
def test_example(path, tmp_path):
    # Warnings of ours are errors here; those of other packages are theirs.
    done = subprocess.run(
        [sys.executable, str(path), "--small"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(path.parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) >= 2
    assert len(path.read_text().splitlines()) < 150


def test_there_are_examples():
    assert len(EXAMPLES) >= 3
