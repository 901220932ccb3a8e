"""Where moving the mesh pays: steepness of fronts and viscosity, without a network.

The same finite volumes step from mesh to mesh on nodes that follow the solution and on nodes that stay; only the mesh
differs, and nothing is trained, so that many cases fit into minutes. Fronts and viscosities of half the width have a
truth of twice the points. Eight test trajectories a case.
"""

import dataclasses
import math
import pathlib
import tempfile
from typing import NamedTuple

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks.moving_mesh import find_equivalent, judge_between
from sciml.experiments.base import find_experiment
from sciml.experiments.runs import read_table, write_config
from sciml.experiments.settings import Split

FEW = Split(train=2, validation=2, test=8)
FIXED = (32, 48, 96)
MOVED = (32,)


class _Case(NamedTuple):
    """An equation, how steep its solutions are, and the points of the truth."""

    label: str
    experiment: str
    fields: dict
    points: int = 192


_CASES = (
    _Case("front-thick", "front-mmpde", {"thickness": 2.2}),
    _Case("front", "front-mmpde", {}),
    _Case("front-thin", "front-mmpde", {"thickness": 0.55}, 384),
    _Case("burgers-nu-8e-3", "burgers2d-mmpde", {"viscosity": 8e-3}),
    _Case("burgers-nu-2e-3", "burgers2d-mmpde", {}),
    _Case("burgers-nu-1e-3", "burgers2d-mmpde", {"viscosity": 1e-3}, 384),
)


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: size smoke, one case.
    """
    rows = []
    for case in _CASES[1:2] if quick else _CASES:
        with tempfile.TemporaryDirectory() as folder:
            rows += _measure(case, pathlib.Path(folder), quick)
    write_results("moving-mesh-map", rows)


def _measure(case: _Case, folder: pathlib.Path, quick: bool) -> list[dict[str, object]]:
    fixed, moved = ((8, 16), (8,)) if quick else (FIXED, MOVED)
    if case.points > 192:
        fixed = (*fixed, 128, 192)
    found = {
        (method, nodes): _roll(case, folder, method, nodes, quick)
        for method, some in (("classical-volumes", fixed), ("classical-moving", moved))
        for nodes in some
    }
    rows = []
    for (method, nodes), numbers in found.items():
        print(
            f"{case.label}, {method}, {nodes}: one step {numbers['one_step_error']:.4f}, rollout "
            f"{numbers['rollout_error']:.4f}",
            flush=True,
        )
        rows.append(
            {
                "seed": 0,
                "dtype": "float32",
                "compile_seconds": 0.0,
                "run_seconds": numbers["step_seconds"],
                "evaluations": 1,
                "error": numbers["rollout_error"],
                "case": case.label,
                "method": method,
                "nodes": nodes,
                **{
                    name: numbers[name]
                    for name in ("one_step_error", "one_step_floor", "rollout_floor", "invalid_meshes")
                },
            }
        )
    for nodes in moved:
        own, other = found["classical-moving", nodes], found["classical-volumes", nodes]
        claims = {
            f"floor-{nodes}": own["rollout_floor"] / other["rollout_floor"],
            f"rollout-{nodes}": own["rollout_error"] / other["rollout_error"],
        }
        for kind, metric in (("floor", "rollout_floor"), ("rollout", "rollout_error")):
            errors = [found["classical-volumes", n][metric] for n in fixed]
            claims[f"nodes-for-the-{kind}-of-{nodes}"] = find_equivalent(own[metric], nodes, errors, fixed)
        for name, value in claims.items():
            if math.isfinite(value):
                record_claim(
                    claim=f"moving-mesh/map-{case.label}-{name}", value=value, target="report", seeds=()
                )
    return rows


def _roll(case: _Case, folder: pathlib.Path, method: str, nodes: int, quick: bool) -> dict[str, float]:
    size = "smoke" if quick else "laptop"
    experiment = dataclasses.replace(
        find_experiment(case.experiment).sized(size), **case.fields, method=method, nodes=nodes
    )
    if not quick:
        judged = judge_between(nodes, case.points)
        experiment = dataclasses.replace(experiment, points=case.points, split=FEW, judge_every=judged)
    where = folder / f"{method}-{nodes}"
    where.mkdir()
    write_config(where, experiment, size)
    experiment.train(where, progress=False)
    experiment.evaluate(where, progress=False)
    return {row["metric"]: float(row["value"]) for row in read_table(where / "metrics.csv")}
