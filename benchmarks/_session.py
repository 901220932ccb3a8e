"""Where a running benchmark writes, and what it says of the machine and the code it ran on."""

import contextlib
import contextvars
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"
# What benchmarks themselves write, and prose: changes there do not change what is measured.
NOT_CODE = (":(exclude)benchmarks/claims.csv", ":(exclude)benchmarks/results", ":(exclude,glob)**/*.md")


@dataclass(frozen=True)
class Session:
    """One run of one benchmark.

    **Arguments:**

    - `folder`: where `claims.csv` and `results/` are.
    - `command`: what a reader types to run the same.
    - `commit`: the code that ran.
    - `device`: the device that it ran on.
    """

    folder: Path
    command: str
    commit: str
    device: str


_current: contextvars.ContextVar[Session] = contextvars.ContextVar("session")


@contextlib.contextmanager
def open_session(folder: Path, command: str) -> Iterator[Session]:
    """Let the benchmark that runs inside the `with` block record into a folder.

    **Arguments:**

    - `folder`: where `claims.csv` and `results/` are, or will be.
    - `command`: what a reader types to run the same.

    **Returns:** the session.
    """
    folder.mkdir(parents=True, exist_ok=True)
    session = Session(folder, command, describe_commit(), describe_device())
    token = _current.set(session)
    try:
        yield session
    finally:
        _current.reset(token)


def current_session() -> Session:
    """Return the session of the benchmark that is running.

    **Returns:** the session.

    **Raises:** `RuntimeError` outside of one, so that a benchmark called by hand or by a test overwrites no record.
    """
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError(
            "No benchmark is running, so there is nowhere to record to. Run it by `python -m benchmarks NAME`, "
            "or inside `with open_session(folder, command):`."
        ) from None


def describe_commit(root: Path = ROOT) -> str:
    """Name the code: the short hash of the commit, with a `+` if files differ from it, or "unknown" without git.

    **Arguments:**

    - `root`: the top folder of the checkout.

    **Returns:** such as `"1a2b3c4"` or `"1a2b3c4+"`.
    """
    commit = _git(root, "rev-parse", "--short", "HEAD")
    if commit is None:
        return "unknown"
    changes = _git(root, "status", "--porcelain", "--", ".", *NOT_CODE)
    return commit if changes == "" else f"{commit}+"


def describe_device() -> str:
    """Name the device that JAX computes on.

    **Returns:** such as `"Intel(R) Xeon(R) CPU @ 2.80GHz, 2 cores"` or `"2 x NVIDIA H200"`.
    """
    devices = jax.devices()
    if devices[0].platform == "cpu":
        return f"{_cpu_name()}, {_cores()} cores"
    count = f"{len(devices)} x " if len(devices) > 1 else ""
    return f"{count}{devices[0].device_kind}"


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match[1].strip() if match else platform.processor() or platform.machine() or "CPU"
