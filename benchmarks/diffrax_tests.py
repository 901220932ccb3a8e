"""diffrax's own tests of `diffeqsolve`, run with `sciml.diffeqs.solve` in its place; needs a checkout of diffrax.

`SCIML_DIFFRAX=FOLDER python -m benchmarks diffrax_tests`, with the checkout of the version that is installed. Its
`test` folder is copied into a temporary one, so that the installed diffrax is tested; nothing of it is kept. All files
take more than an hour: `SCIML_DIFFRAX_FILES=test_event,test_solver` runs these again, and the claims count the last run
of each file.
"""

import csv
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

from benchmarks._claims import record_claim
from benchmarks._replacement import KINDS, VARIABLE
from benchmarks._results import write_results
from benchmarks._session import ROOT, current_session

CHECKOUT, CHOSEN = "SCIML_DIFFRAX", "SCIML_DIFFRAX_FILES"
# Every file whose tests call `diffeqsolve`, quick ones first.
FILES = (
    "test_step_to",
    "test_progress_meter",
    "test_interpolation",
    "test_global_interpolation",
    "test_vmap",
    "test_saveat_solution",
    "test_adaptive_stepsize_controller",
    "test_event",
    "test_solver",
    "test_sde2",
    "test_adjoint",
    "test_integrate",
    "test_underdamped_langevin",
    "test_detest",
)
# Of one file with diffrax itself, in seconds, so that one does not take the time of all others.
LIMIT = 600


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: two files only.
    """
    given = os.environ.get(CHECKOUT)
    if not given:
        print(f"Not run: set {CHECKOUT} to a checkout of diffrax {importlib.metadata.version('diffrax')}.")
        return
    tests = _find_tests(pathlib.Path(given))
    files = tuple(filter(None, os.environ.get(CHOSEN, "").split(","))) or (FILES[:2] if quick else FILES)
    if not set(files) <= set(FILES):
        raise ValueError(f"{CHOSEN}={','.join(files)} must name some of {', '.join(FILES)}.")
    with tempfile.TemporaryDirectory() as temporary:
        shutil.copytree(tests, pathlib.Path(temporary) / "test")
        for file in files:
            rows = _compare(pathlib.Path(temporary), file)
            # After each file, so that a run that is stopped leaves what it has found.
            if rows:
                write_results(_name(file), rows)
                _record()


def _compare(folder: pathlib.Path, file: str) -> list[dict[str, object]]:
    """Run one file in each way; a row of results for each, nothing if one took too long."""
    rows, good = [], {}
    for kind in KINDS:
        outcomes, seconds = _run_file(folder, file, kind)
        if outcomes is None:
            print(f"{file}, {kind}: stopped after {seconds:.0f} s; not compared", flush=True)
            return []
        good[kind] = {name for name, outcome in outcomes.items() if outcome == "passed"}
        print(f"{file}, {kind}: {len(good[kind])} of {len(outcomes)} passed, {seconds:.0f} s", flush=True)
        lost = sorted(good["diffrax"] - good[kind])
        for name in lost:
            print(f"  passes with diffrax only: {name}", flush=True)
        row = {"seed": None, "dtype": "float64", "compile_seconds": None, "evaluations": None}
        counts = {
            "file": file,
            "kind": kind,
            "tests": len(outcomes),
            "passed": len(good[kind]),
            "lost": len(lost),
        }
        rows.append({**row, "run_seconds": seconds, "error": None, **counts})
    return rows


def _name(file: str) -> str:
    return f"diffrax-{file.replace('_', '-')}"


def _record() -> None:
    """The claims, from the results of all files that were ever compared."""
    lost, passed = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    for file in FILES:
        path = current_session().folder / "results" / f"{_name(file)}.csv"
        if path.is_file():
            with open(path, newline="") as handle:
                for row in csv.DictReader(handle):
                    lost[row["kind"]] += int(row["lost"])
                    passed[row["kind"]] += int(row["passed"])
    record_claim(claim="regularization/diffrax-tests-lost", value=max(lost.values()), target="== 0")
    record_claim(claim="regularization/diffrax-tests-passed", value=min(passed.values()), target="report")


def _find_tests(checkout: pathlib.Path) -> pathlib.Path:
    """The tests, if they are those of the version that is installed."""
    project, installed = checkout / "pyproject.toml", importlib.metadata.version("diffrax")
    if not project.is_file() or not (checkout / "test" / "helpers.py").is_file():
        raise ValueError(
            f"{CHECKOUT}={checkout} is no checkout of diffrax: it has no pyproject.toml, or no test folder. "
            f"Get the tag v{installed} of diffrax's repository."
        )
    version = re.search(r'^version = "(.*)"', project.read_text(), re.MULTILINE)
    if version is None or version[1] != installed:
        raise ValueError(
            f"{CHECKOUT}={checkout} is diffrax {version and version[1]}, and {installed} is installed: "
            f"get the tag v{installed}."
        )
    return checkout / "test"


def _run_file(folder: pathlib.Path, file: str, kind: str) -> tuple[dict[str, str] | None, float]:
    """Run one file in a process of its own; outcomes by the name of a test, `None` at the limit, and seconds."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", f"test/{file}.py", "-p", "benchmarks._replacement", "-q"]
    # The options are diffrax's own; its `slow` tests are left out.
    types = "beartype.beartype(conf=beartype.BeartypeConf(strategy=beartype.BeartypeStrategy.On))"
    options = [f"--jaxtyping-packages=diffrax,{types}", f"--junitxml={report}", "-m", "not slow", "--tb=line"]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, VARIABLE: kind, "PYTHONPATH": paths}
    start = time.perf_counter()
    # What diffrax itself did not get done in time is not compared, and ours gets longer than it.
    limit = LIMIT if kind == "diffrax" else 3 * LIMIT
    try:
        done = subprocess.run(
            command + options, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return None, limit
    seconds = time.perf_counter() - start
    if kind != "diffrax" and not re.search(r"calls replaced: [1-9]", done.stdout):
        raise RuntimeError(f"{file} called no `diffeqsolve` that was replaced:\n{done.stdout}\n{done.stderr}")
    return _read(report), seconds


def _read(report: pathlib.Path) -> dict[str, str]:
    cases = ElementTree.parse(report).iter("testcase")
    return {
        f"{case.get('classname')}::{case.get('name')}": next(
            (part.tag for part in case if part.tag in ("failure", "error", "skipped")), "passed"
        )
        for case in cases
    }
