"""Solvers on moving meshes against their control, whose mesh stays, and against other networks on fixed meshes.

Runs are kept in `runs/moving-mesh`; one that is there with the same settings is read, so that the hours this takes may
be cut into pieces. After each data set and seed its rows are recorded.
"""

import dataclasses
import itertools
import pathlib
import statistics
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._runs import Run, join_origins, keep_run
from benchmarks._session import ROOT
from sciml.experiments.base import find_experiment
from sciml.experiments.moving_steps import choose_stride

SEEDS = (0, 1, 2)
LEARNED = {"moving": (0,), "identity": (0,)}
# On the same nodes, which stay: a network that learns all, one that corrects the classical step, and that alone.
CONTROLS = ("identity", "corrected-identity", "classical-volumes")
CORRECTED = {"corrected": SEEDS, "corrected-identity": SEEDS}
UNTRAINED = dict.fromkeys(["persistence", "classical", "classical-volumes", "classical-moving"], (0,))
PAIRS = {**CORRECTED, **LEARNED, **UNTRAINED}
PUBLISHED = {"published": SEEDS, "published-identity": SEEDS}
GRIDS = dict.fromkeys(["unet", "fno", "cnn"], (0,))
MESSAGES = dict.fromkeys(["gnn", "gnn-big"], (0,))
PAIRED = (
    ("corrected", "corrected-identity"),
    ("moving", "identity"),
    ("published", "published-identity"),
    ("classical-moving", "classical-volumes"),
    ("corrected", "classical"),  # a spectral method on the grid; on triangles the step that is corrected
    ("classical-moving", "classical"),
)


class _Saving(NamedTuple):
    """How many times the nodes of `moved**2` a fixed mesh is to need, sought among `fixed` nodes per axis."""

    target: str
    moved: int
    fixed: tuple[int, ...] = (48, 64, 96)


class _Set(NamedTuple):
    """A data set, its fields, and what moving is to reach over its control in one step and in a rollout."""

    label: str
    experiment: str
    fields: dict
    target: str
    methods: dict[str, tuple[int, ...]]
    saving: _Saving | None = None

    @property
    def controls(self) -> tuple[str, ...]:
        """Those whose nodes stay; on triangles the classical step is the same there as on nodes that move."""
        return (*CONTROLS, "classical") if self.experiment == "cylinder-mmpde" else CONTROLS

    @property
    def best(self) -> str:
        """The moving form that is to reach the target."""
        return "corrected" if "corrected" in self.methods else "moving"


_SETS = (
    _Set(
        "burgers-48",
        "burgers2d-mmpde",
        {"nodes": 48},
        "<= 0.55",
        {**PAIRS, **PUBLISHED, **GRIDS, **MESSAGES},
        _Saving(">= 2", 48),
    ),
    _Set("front-48", "front-mmpde", {"nodes": 48}, "<= 0.35", {**PAIRS, **GRIDS}, _Saving(">= 6", 32)),
    _Set("burgers-24", "burgers2d-mmpde", {"nodes": 24}, "<= 0.8", PAIRS),
    _Set(
        "ring-48",
        "front-mmpde",
        {"nodes": 48, "family": "ring"},
        "<= 0.35",
        PAIRS,
        _Saving(">= 6", 32, (48, 96)),
    ),
    # Fronts half as thick, whose truth has twice the points per axis.
    _Set(
        "front-thin-48",
        "front-mmpde",
        {"nodes": 48, "thickness": 0.55, "points": 384},
        "<= 0.35",
        {**CORRECTED, **UNTRAINED},
        _Saving(">= 6", 48, (96, 128)),
    ),
    _Set("allen-cahn-48", "front-mmpde", {"nodes": 48, "family": "allen-cahn"}, "<= 0.35", PAIRS),
    _Set("gray-scott-48", "gray-scott-mmpde", {"nodes": 48}, "<= 0.7", {**PAIRS, **GRIDS}),
    _Set(
        "cylinder",
        "cylinder-mmpde",
        {},
        "<= 0.7",
        {
            **CORRECTED,
            **LEARNED,
            **MESSAGES,
            **dict.fromkeys(["published", "published-identity", "mean-adapted"], (0,)),
            **dict.fromkeys(["persistence", "classical", "classical-moving"], (0,)),
        },
    ),
)


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: size smoke, one seed, one data set, nothing kept.
    """
    if quick:
        with tempfile.TemporaryDirectory() as folder:
            methods = dict.fromkeys(("corrected", "corrected-identity"), (0,))
            small = _SETS[0]._replace(fields={}, methods=methods, saving=None)
            _compare(small, pathlib.Path(folder), "smoke", seeds=(0,))
        return
    # Seed by seed, so that a run that is cut short has something of every data set.
    folder = ROOT / "runs" / "moving-mesh"
    for seed in SEEDS:
        for problem in _SETS:
            _compare(problem, folder, "laptop", seeds=SEEDS[: seed + 1])
    for problem in _SETS:
        if problem.saving:
            _count_nodes(problem, problem.saving, folder)


class _Runs:
    """The runs of a data set, by method and seed."""

    def __init__(self, found: dict[tuple[str, int], Run]):
        self.found = found

    def of(self, *methods: str) -> list[Run]:
        """Those of some methods."""
        return [run for (method, _), run in self.found.items() if method in methods]

    def mean(self, method: str, metric: str) -> float:
        """The mean over seeds."""
        return statistics.mean(run.numbers[metric] for run in self.of(method))

    def compare_means(self, method: str, control: str, metric: str) -> float:
        """The mean of a method over that of its control, over the seeds that both have; what is untrained has none."""
        errors, others = (
            {seed: run.numbers[metric] for (name, seed), run in self.found.items() if name == which}
            for which in (method, control)
        )
        if control in UNTRAINED:
            return statistics.mean(errors.values()) / statistics.mean(others.values())
        both = errors.keys() & others.keys()
        return sum(errors[seed] for seed in both) / sum(others[seed] for seed in both)

    def ratios(self, method: str, control: str, metric: str) -> list[float]:
        """One for each seed that both have."""
        return [
            run.numbers[metric] / self.found[control, seed].numbers[metric]
            for (name, seed), run in self.found.items()
            if name == method and (control, seed) in self.found
        ]


def _compare(problem: _Set, folder: pathlib.Path, size: str, seeds: tuple[int, ...]) -> None:
    methods = {
        method: tuple(seed for seed in own if seed in seeds) for method, own in problem.methods.items()
    }
    runs = _Runs(
        {
            (method, seed): _train(problem, folder, size, method, seed)
            for method, some in methods.items()
            for seed in some
        }
    )
    write_results(
        f"moving-mesh-{problem.label}",
        [_row(method, seed, run) for (method, seed), run in runs.found.items()],
    )
    prefix, best = f"moving-mesh/{problem.label}", problem.best
    controls = [method for method in problem.controls if methods.get(method)]
    moving = [
        method for method in ("moving", "corrected", "published", "classical-moving") if method in methods
    ]
    for metric, name in (("one_step_error", "one-step"), ("rollout_error", "rollout")):
        # Each control over the seeds that both have; the one that is nearest counts.
        nearest = {control: runs.compare_means(best, control, metric) for control in controls}
        control = max(nearest, key=lambda control: nearest[control])
        record_claim(
            claim=f"{prefix}-{name}-over-best-identity",
            value=nearest[control],
            target=problem.target,
            seeds=[seed for seed in methods[best] if control in UNTRAINED or seed in methods[control]],
            **join_origins(runs.of(best, control)),
        )
    for form, other in PAIRED:
        if form in methods and other in methods:
            used = [seed for seed in methods[form] if seed in methods[other]]
            _report_pair(prefix, runs, form, other, used)
    record_claim(
        claim=f"{prefix}-invalid-meshes",
        value=sum(run.numbers["invalid_meshes"] for run in runs.of(*moving)),
        target="<= 0",
        seeds=seeds,
        **join_origins(runs.of(*moving)),
    )
    # Those of all methods are among the results; `control` is that of the rollout.
    for method in (best, control):
        record_claim(
            claim=f"{prefix}-rollout-error-{method}",
            value=runs.mean(method, "rollout_error"),
            target="report",
            seeds=() if method in UNTRAINED else methods[method],
            **join_origins(runs.of(method)),
        )


def _report_pair(prefix: str, runs: _Runs, form: str, control: str, seeds: list[int]) -> None:
    """A form over its control: the means over seeds, and of rollouts the least and the most of one seed."""
    metrics = {"floor": "one_step_floor", "one-step": "one_step_error", "rollout": "rollout_error"}
    if form == "published":
        metrics |= {"one-step-node-mse": "one_step_node_mse", "rollout-node-mse": "rollout_node_mse"}
    for name, metric in metrics.items():
        ratios = runs.ratios(form, control, metric)
        spread = {"mean": runs.mean(form, metric) / runs.mean(control, metric)}
        if len(ratios) > 1 and name.startswith("rollout"):
            spread |= {"least": min(ratios), "most": max(ratios)}
        for which, value in spread.items():
            record_claim(
                claim=f"{prefix}-{name}-{form}-over-{control}{'' if which == 'mean' else '-' + which}",
                value=value,
                target="report",
                seeds=() if form in UNTRAINED else seeds,
                **join_origins(runs.of(form, control)),
            )


def with_nodes(problem: _Set, nodes: int, which: str) -> _Set:
    """A data set on another number of nodes.

    **Arguments:**

    - `problem`: on 48 per axis.
    - `nodes`: how many it shall be.
    - `which`: names those runs.

    **Returns:** the data set.
    """
    if nodes == 48:
        return problem
    fields = {
        **problem.fields,
        "nodes": nodes,
        "judge_every": judge_between(nodes, problem.fields.get("points", 192)),
    }
    return problem._replace(label=f"{problem.label}-{which}-{nodes}", fields=fields)


def judge_between(nodes: int, points: int = 192) -> int:
    """Every how many points of the truth errors are measured, so that those are not nodes more often than not.

    **Arguments:**

    - `nodes`: per axis.
    - `points`: of the truth, per axis.

    **Returns:** the stride.
    """
    return choose_stride(points // nodes)


def find_equivalent(wanted: float, moved: int, errors: Sequence[float], fixed: Sequence[int]) -> float:
    """How many times the nodes of a mesh that moves one that stays needs for the same error.

    Between two meshes errors are a power of the nodes. Beyond the finest it needs more than that, and this is what is
    told: a bound from below.

    **Arguments:**

    - `wanted`: the error where the mesh moves.
    - `moved`: its nodes per axis.
    - `errors`: of meshes that stay; they fall with the nodes.
    - `fixed`: their nodes per axis.

    **Returns:** the ratio of all nodes; NaN where the coarsest is better already, or errors do not fall.
    """
    if wanted > errors[0] or any(after >= before for before, after in itertools.pairwise(errors)):
        return float("nan")
    finer = np.interp(-np.log(wanted), -np.log(errors), np.log(fixed))
    return float(np.exp(finer) / moved) ** 2


def _count_nodes(problem: _Set, saving: _Saving, folder: pathlib.Path) -> None:
    """How many times the nodes of the moving form its control needs for the same error in a rollout."""
    used = [
        _train(with_nodes(problem, nodes, "fixed"), folder, "laptop", "corrected-identity", 0)
        for nodes in saving.fixed
    ]
    errors = [run.numbers["rollout_error"] for run in used]
    moved = with_nodes(problem, saving.moved, "moved")
    # Where these are the runs that were compared above there are several.
    seeds = problem.methods["corrected"] if moved is problem else (0,)
    own = [_train(moved, folder, "laptop", "corrected", seed) for seed in seeds]
    wanted, used = statistics.mean(run.numbers["rollout_error"] for run in own), [*used, *own]
    record_claim(
        claim=f"moving-mesh/{problem.label}-nodes-of-a-fixed-mesh-over-{saving.moved}x{saving.moved}-moved",
        value=find_equivalent(wanted, saving.moved, errors, saving.fixed),
        target=saving.target,
        seeds=seeds,
        **join_origins(used),
    )


def _train(problem: _Set, folder: pathlib.Path, size: str, method: str, seed: int) -> Run:
    default = find_experiment(problem.experiment).sized(size)
    experiment = dataclasses.replace(default, **problem.fields, method=method, seed=seed)
    where = folder / f"{problem.label}-{method}-{seed}"
    run = keep_run(where, experiment, size)
    numbers = run.numbers
    print(
        f"{problem.label}, {method}, seed {seed}: one step {numbers['one_step_error']:.4f}, rollout "
        f"{numbers['rollout_error']:.4f}",
        flush=True,
    )
    return run


def _row(method: str, seed: int, run: Run) -> dict[str, object]:
    numbers = run.numbers
    return {
        "seed": seed,
        **run.origin,
        "dtype": "float32",
        "compile_seconds": numbers.get("compile_seconds", 0.0),
        "run_seconds": numbers["training_seconds"],
        "evaluations": numbers["parameters"],
        "error": numbers["rollout_error"],
        "method": method,
        "one_step_error": numbers["one_step_error"],
        "one_step_floor": numbers["one_step_floor"],
        "one_step_node_mse": numbers["one_step_node_mse"],
        "last_error": numbers["last_error"],
        "rollout_floor": numbers["rollout_floor"],
        "invalid_meshes": numbers["invalid_meshes"],
        "blown_up": numbers["blown_up"],
        "step_seconds": numbers["step_seconds"],
        "update_seconds": numbers.get("update_seconds"),
    }
