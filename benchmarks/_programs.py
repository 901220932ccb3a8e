"""Measurements that need a process of their own, such as those with several simulated devices."""

import json
import os
import subprocess
import sys
from typing import Any

from benchmarks._session import ROOT


def run_program(name: str, *words: str) -> Any:
    """Run a script of this folder, and read the last line that it prints.

    **Arguments:**

    - `name`: the script, such as `_slow_expert.py`.
    - `words`: its arguments.

    **Returns:** what the line says, in JSON.

    **Raises:** `RuntimeError` with the end of its errors, if it failed.
    """
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name} {' '.join(words)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])
