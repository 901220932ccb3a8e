"""Exact resume: a training run killed with SIGKILL twenty times at random moments, against one never killed."""

import pathlib
import tempfile

from benchmarks._claims import record_claim
from benchmarks._kills import kill_at_random


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: two kills.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = kill_at_random(
            pathlib.Path(folder), steps=300 if quick else 1500, kills=2 if quick else 20, seed=0
        )
    for name in found:
        print(f"unreadable or different: {name}")
    record_claim(
        claim="foundation/kill-resume-files-unreadable-or-different",
        value=len(found),
        target="== 0",
        seeds=(0,),
    )
