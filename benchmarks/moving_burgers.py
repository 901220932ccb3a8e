"""Burgers' equation in two dimensions with a steep front: a moving mesh against fixed ones, error and cost of each.

The law is `u_t + u u_x + u u_y = nu lap u` with `nu = 1e-3`, from a bump on the periodic unit square. Every solution is
reconstructed by the same cubics on the grid of the truth, a Fourier solution in `TRUTH**2` modes, and its error is the
root mean square over that whole grid, relative to the truth.
"""

import functools
import statistics
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._session import ROOT
from benchmarks._timing import measure
from sciml.data import evolve
from sciml.meshes import Cubic, HessianMonitor, evolve_moving, interpolate, plots
from sciml.pdes import Box, Burgers, FiniteDifference, FiniteVolume, Grid, Spectral

VISCOSITY = 1e-3
TIMES = (0.0, 0.2, 0.4)
CELLS = 64
FIXED = (64, 128, 256)
TRUTH = 768
CALCULI = {"finite-difference": FiniteDifference, "finite-volume": FiniteVolume, "spectral": Spectral}
MONITORS = {"weight-3": HessianMonitor(), "weight-1": HessianMonitor(weight=1.0)}
PICTURE = ROOT / "docs" / "pictures" / "moving-burgers.png"


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: a mild front on small grids.
    """
    jax.config.update("jax_enable_x64", True)
    viscosity, cells = (1e-2, 16) if quick else (VISCOSITY, CELLS)
    fixed, truth = ((16, 32), 64) if quick else (FIXED, TRUTH)
    law, times = Burgers(viscosity), jnp.array(TIMES)
    judge = Judge(law, times, truth)
    print(f"the truth in {truth}^2 modes differs from that in half as many by {judge.doubt:.1e}", flush=True)
    rows, errors = [], {}
    for n in fixed:
        for name, calculus in CALCULI.items():
            row, _ = judge.solve(functools.partial(compile_fixed(law, calculus, n), times), name, n)
            errors["fixed", name, n] = row["error"]
            rows.append(row)
    last = None
    for monitor, given in MONITORS.items():
        for conservative in (False, True):
            name = f"moving-{'conservative' if conservative else 'pointwise'}-{monitor}"
            solve = functools.partial(solve_moving, law, cells, times, given, conservative)
            row, solution = judge.solve(solve, name, cells)
            errors["moving", name, cells] = row["error"]
            rows.append({**row, "tangled": int(jnp.sum(solution.certificates.tangled))})
            if monitor == "weight-3" and conservative:
                last = solution
    for row in rows:
        row.setdefault("tangled", 0)
    write_results("moving-burgers", rows)
    # The default monitor decides, whichever is better.
    default = max(e for (kind, name, _), e in errors.items() if kind == "moving" and "weight-3" in name)
    twice = min(e for (kind, _, n), e in errors.items() if kind == "fixed" and n == fixed[1])
    record_claim(claim="meshes/moving-burgers-error-over-fixed-128", value=default / twice, target="< 1")
    seconds = {(row["method"], row["cells"]): row["run_seconds"] for row in rows}
    best = min((e, name) for (kind, name, n), e in errors.items() if kind == "fixed" and n == fixed[1])[1]
    slow = statistics.median(
        seconds[name, cells] for kind, name, _ in errors if kind == "moving" and "weight-3" in name
    )
    record_claim(
        claim="meshes/moving-burgers-time-over-fixed-128",
        value=slow / seconds[best, fixed[1]],
        target="report",
    )
    record_claim(
        claim="meshes/moving-burgers-tangled-cells", value=sum(row["tangled"] for row in rows), target="== 0"
    )
    if not quick:
        draw(judge, last)


def bump(x):
    """The start, periodic: positions `(2, *points)` to `(1, *points)`."""
    return jnp.exp(
        -jnp.sum(jnp.sin(jnp.pi * (x - 0.3)) ** 2, axis=0, keepdims=True) / (2 * (0.12 * jnp.pi) ** 2)
    )


def square(n: int) -> Grid:
    """The periodic unit square in `n x n` cells."""
    return Grid(Box((0.0, 0.0), (1.0, 1.0)), (n, n))


def compile_fixed(law, calculus, n):
    """A function of the times, compiled once: the last values on a fixed mesh, the mesh, and what `evolve` reports."""
    grid = square(n)

    @eqx.filter_jit
    def solve(times):
        values, report = evolve(law, calculus(grid), bump(grid.coordinates), times)
        return values[-1], report

    def call(times):
        values, report = solve(times)
        return values, grid, report

    return call


def solve_moving(law, n, times, monitor, conservative):
    """On a moving mesh: the last values, the mesh, and the whole solution."""
    solution = evolve_moving(law, square(n), bump, times, monitor=monitor, conservative=conservative)
    return solution.values[-1], solution.mesh(-1), solution


class Judge:
    """Knows the truth."""

    def __init__(self, law, times, modes: int):
        self.grid = square(modes)
        finest, half = (self._truth(law, times, n) for n in (modes, modes // 2))
        self.values = finest
        coarse = interpolate(half, square(modes // 2), self.grid.coordinates, Cubic())
        self.doubt = self.measure(coarse)

    @staticmethod
    def _truth(law, times, n):
        grid = square(n)
        return evolve(law, Spectral(grid), bump(grid.coordinates), times)[0][-1]

    def measure(self, values) -> float:
        """The error of values on the grid of the truth."""
        return float(jnp.sqrt(jnp.mean((values - self.values) ** 2) / jnp.mean(self.values**2)))

    def solve(self, solve: Callable, name: str, cells: int):
        """Time a method and measure its error; a row of results, and what else it returned."""
        timing = measure(lambda: jax.block_until_ready(solve()), repeats=1)
        values, mesh, more = timing.output
        rebuilt = eqx.filter_jit(interpolate)(values, mesh, self.grid.coordinates, Cubic())
        error = self.measure(rebuilt)
        print(f"{name}, {cells}^2: error {error:.4f}, {timing.run_seconds:.2f} s", flush=True)
        row = {
            "seed": None,
            "dtype": "float64",
            "compile_seconds": timing.compile_seconds,
            "run_seconds": timing.run_seconds,
            "evaluations": int(more.statistics["evaluations"]) if hasattr(more, "statistics") else None,
            "error": error,
            "method": name,
            "cells": cells,
        }
        return row, more


def draw(judge: Judge, solution) -> None:
    """The truth and the mesh at the last time."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    image = left.imshow(
        np.asarray(judge.values[0]).T, origin="lower", extent=(0, 1, 0, 1), cmap="viridis", vmin=0
    )
    left.set_title("the solution")
    figure.colorbar(image, ax=left, shrink=0.7)
    plots.draw_mesh(solution.mesh(-1), ax=right)
    right.set_title(f"its mesh, {CELLS} x {CELLS} cells")
    for ax in (left, right):
        ax.set_aspect("equal")
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110)
