"""Training runs in processes of their own, killed with SIGKILL and started again."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

from benchmarks._session import ROOT
from sciml.training import load_model

SCRIPT = pathlib.Path(__file__).with_name("_small_run.py")


def start_run(folder: pathlib.Path, steps: int, *event: int) -> subprocess.Popen:
    """Start a small training run, or go on with it.

    **Arguments:**

    - `folder`: where its checkpoints are.
    - `steps`: how many steps it has.
    - `event`: at which change of the folder it kills itself; at none if not given.

    **Returns:** the process. It prints "ready" when training begins.
    """
    command = [sys.executable, str(SCRIPT), str(folder), str(steps), *map(str, event)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def finish_run(folder: pathlib.Path, steps: int) -> None:
    """Start a run, or go on with it, and wait until it has ended.

    **Arguments:**

    - `folder`: where its checkpoints are.
    - `steps`: how many steps it has.

    **Raises:** `RuntimeError` if it fails, or finds a checkpoint that does not read: only a power failure, not a
    kill, may leave one.
    """
    process = start_run(folder, steps)
    _, errors = process.communicate(timeout=200)
    if process.returncode != 0 or "does not read" in errors:
        raise RuntimeError(f"The run in {folder} ended with status {process.returncode}.\n{errors}")


def kill_at_random(
    folder: pathlib.Path, *, steps: int, kills: int, seed: int, longest: float = 0.9
) -> list[str]:
    """Kill a run at random moments, then let it end.

    **Arguments:**

    - `folder`: an empty folder; the run goes into `killed`, one that is never killed into `unbroken`.
    - `steps`: how many steps each has.
    - `kills`: how many kills.
    - `seed`: of the moments.
    - `longest`: the longest time from the start of training to a kill, in seconds.

    **Returns:** what was unreadable after a kill, and what differs at the end; nothing, if all is well.

    **Raises:** `RuntimeError` if the run ends before it has been killed so often.
    """
    moments = random.Random(seed)
    finish_run(folder / "unbroken", steps)
    found = []
    for _ in range(kills):
        process = start_run(folder / "killed", steps)
        try:
            ready = process.stdout.readline()
            time.sleep(moments.uniform(0.0, longest))
            if ready != "ready\n" or process.poll() is not None:
                raise RuntimeError(f"{steps} steps are too few for {kills} kills, or the run failed.")
        finally:
            process.kill()
            process.communicate()
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"The run ended with status {process.returncode}, not by the kill.")
        found += list_unreadable(folder / "killed")
    finish_run(folder / "killed", steps)
    return found + list_differences(folder / "killed", folder / "unbroken")


def list_unreadable(folder: pathlib.Path) -> list[str]:
    """Read whatever is under its final name in the folder of a run.

    **Arguments:**

    - `folder`: the run.

    **Returns:** the files that are not whole.
    """
    bad = []
    if (folder / "fit.json").exists() and not _is_json((folder / "fit.json").read_text()):
        bad.append("fit.json")
    if (folder / "log.jsonl").exists():
        lines = (folder / "log.jsonl").read_text().splitlines(keepends=True)
        # The last line may be one that was being written; it is cut off when the run goes on.
        bad += ["log.jsonl" for line in lines if line.endswith("\n") and not _is_json(line)]
    for path in folder.glob("*.eqx"):
        try:
            load_model(path, like=None)
        except ValueError as error:
            # Read to its end and found whole, before it is compared with no model at all.
            bad += [] if "another model" in str(error) else [path.name]
    return bad


def list_differences(folder: pathlib.Path, unbroken: pathlib.Path) -> list[str]:
    """Compare a run that was killed with one that was not, bit for bit.

    **Arguments:**

    - `folder`, `unbroken`: the two.

    **Returns:** the files that differ (but for times in the log), and temporary ones that were left.
    """
    different = [
        name
        for name in ("last.eqx", "best.eqx")
        if (folder / name).read_bytes() != (unbroken / name).read_bytes()
    ]
    different += ["log.jsonl"] if _read_log(folder) != _read_log(unbroken) else []
    left = [*folder.glob(".*.tmp"), *(folder / "checkpoints").glob("*tmp*")]
    return different + [path.name for path in left]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def _read_log(folder: pathlib.Path) -> list[dict]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]
