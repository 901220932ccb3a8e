"""Meshes: movers to rounding and their certificates, what moved meshes save in error, time, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import _meshes
from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._session import ROOT, current_session
from benchmarks._timing import compare, measure
from sciml._optional import require
from sciml.meshes import (
    CellExactMongeAmpere,
    Diagonal,
    HessianMonitor,
    MongeAmpere,
    ParabolicRelaxation,
    Ring,
    interpolation_error,
    uniform_mesh,
)

PICTURES = ROOT / "docs" / "pictures"
TARGETS = {"shock": ">= 20", "gaussian-ring": ">= 6", "gaussian": ">= 4"}


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: on meshes of 24 x 24 instead of 64 x 64.
    """
    jax.config.update("jax_enable_x64", True)
    n = 24 if quick else 64
    solve_problems(n)
    refuse_coarse((12,) if quick else (20, 32))
    time_movers((24, 32) if quick else (64, 128, 256))
    reduce_interpolation_error(n)
    reduce_finite_element_error()
    differentiate(n)
    if not quick:
        draw(n)


def solve_problems(n: int) -> None:
    """Movement's rings and bells: the residual at vertices, and the evenness of cells by a finer formula.

    **Arguments:**

    - `n`: cells along an axis.
    """
    rows = []
    movers = {"monge-ampere": MongeAmpere(), "cell-exact": CellExactMongeAmpere()}
    for name, density in _meshes.PROBLEMS.items():
        grid = _meshes.square(n)
        uniform = uniform_mesh(grid).masses(density, 6)
        for kind, mover in movers.items():
            moved = mover.move(density, grid, throw=False)
            certificate = moved.certificate
            rows.append(
                {
                    "problem": name,
                    "mover": kind,
                    "cells": n,
                    "seed": None,
                    "dtype": "float64",
                    "compile_seconds": None,
                    "run_seconds": None,
                    "evaluations": int(certificate.iterations),
                    "error": float(certificate.residual),
                    "relaxations": int(certificate.details["relaxations"]),
                    "newtons": int(certificate.details["newtons"]),
                    # By ten points in each direction; the solver of cells takes three.
                    "variation": _variation(moved.mesh.masses(density, 10)),
                    "variation_uniform": _variation(uniform),
                    "volume_ratio": float(certificate.volume_ratio),
                    "smallest_corner": float(certificate.smallest_corner),
                    "tangled": int(certificate.tangled),
                    "valid": bool(certificate.valid),
                }
            )
    write_results("meshes-problems", rows)
    nodal, exact = ([row for row in rows if row["mover"] == kind] for kind in movers)
    record_claim(
        claim="meshes/monge-ampere-residual", value=max(row["error"] for row in nodal), target="<= 1e-10"
    )
    record_claim(
        claim="meshes/tangled-cells-on-rings-and-bells",
        value=sum(row["tangled"] for row in rows),
        target="== 0",
    )
    record_claim(
        claim="meshes/cell-exact-variation", value=max(row["variation"] for row in exact), target="<= 1e-3"
    )


def refuse_coarse(sizes: tuple[int, ...]) -> None:
    """On meshes too coarse for a ring, count those that have a concave cell and are valid all the same.

    **Arguments:**

    - `sizes`: cells along an axis.
    """
    wrong, concave = 0, 0
    for n in sizes:
        for density in _meshes.PROBLEMS.values():
            moved = CellExactMongeAmpere().move(density, _meshes.square(n), throw=False)
            folded = float(jnp.min(moved.mesh.corner_jacobians)) <= 0
            concave += folded
            wrong += folded and bool(moved.certificate.valid)
    print(f"{concave} coarse meshes have concave cells")
    record_claim(claim="meshes/concave-meshes-marked-valid", value=wrong, target="== 0")


def time_movers(sizes: tuple[int, ...]) -> None:
    """The hybrid against relaxation alone to the same tolerance, compile time, and the cost of a cell by size.

    **Arguments:**

    - `sizes`: cells along an axis, the first for the comparison with relaxation.
    """
    density = _meshes.PROBLEMS["demo-ring"]
    rows, per_cell = [], {}
    relaxation = ParabolicRelaxation(tolerance=1e-8)
    for n in sizes:
        grid = _meshes.square(n)
        jax.clear_caches()
        hybrid = measure(
            lambda grid=grid: MongeAmpere(tolerance=1e-8).move(density, grid, throw=False).mesh.vertices
        )
        per_cell[n] = hybrid.run_seconds / n**2
        rows.append(_timing_row("hybrid", n, hybrid))
        if n == sizes[0]:
            record_claim(claim="meshes/compile-seconds", value=hybrid.compile_seconds, target="<= 5")
            both = compare(
                lambda grid=grid: relaxation.move(density, grid, throw=False).mesh.vertices,
                lambda grid=grid: MongeAmpere(tolerance=1e-8).move(density, grid, throw=False).mesh.vertices,
                repeats=15,
            )
            rows.append(_timing_row("relaxation", n, both.first))
            record_claim(claim="meshes/relaxation-time-over-hybrid", value=both.ratio, target=">= 2")
            exact = measure(
                lambda grid=grid: CellExactMongeAmpere().move(density, grid, throw=False).mesh.vertices
            )
            rows.append(_timing_row("cell-exact", n, exact))
    record_claim(
        claim="meshes/cost-per-cell-largest-over-smallest-mesh",
        value=per_cell[sizes[-1]] / per_cell[sizes[0]],
        target="<= 2",
    )
    write_results("meshes-time", rows)


def reduce_interpolation_error(n: int) -> None:
    """Piecewise linear interpolation, uniform over moved, each with its better diagonal; the default monitor.

    **Arguments:**

    - `n`: cells along an axis.
    """
    grid, rows = _meshes.square(n), []
    error = jax.jit(interpolation_error, static_argnums=0)
    for name, function in _meshes.FUNCTIONS.items():
        density = HessianMonitor().density(function(grid.coordinates)[None], grid)
        moved = MongeAmpere().move(density, grid, throw=False)
        before, after = (error(function, mesh) for mesh in (uniform_mesh(grid), moved.mesh))
        rows.append(
            {
                "function": name,
                "cells": n,
                "seed": None,
                "dtype": "float64",
                "compile_seconds": None,
                "run_seconds": None,
                "evaluations": int(moved.certificate.iterations),
                "error": float(after.l2),
                "error_uniform": float(before.l2),
                "largest": float(after.largest),
                "largest_uniform": float(before.largest),
                "tangled": int(moved.certificate.tangled),
                "valid": bool(moved.certificate.valid),
            }
        )
        record_claim(
            claim=f"meshes/interpolation-{name}-uniform-over-moved",
            value=float(before.l2 / after.l2),
            target=TARGETS[name],
        )
    write_results("meshes-interpolation", rows)


def reduce_finite_element_error(n: int = 20) -> None:
    """Movement's Helmholtz demonstration: the error of linear finite elements on the moved mesh, default monitor.

    **Arguments:**

    - `n`: cells along an axis; Movement's 20.
    """
    grid, rows = _meshes.square(n), []
    density = HessianMonitor().density(_meshes.helmholtz(grid.coordinates)[None], grid)
    moved = MongeAmpere().move(density, grid)
    for diagonal in Diagonal:
        for kind, mesh in (("uniform", uniform_mesh(grid)), ("moved", moved.mesh)):
            rows.append(
                {
                    "mesh": kind,
                    "diagonal": diagonal.name.lower(),
                    "cells": n,
                    "seed": None,
                    "dtype": "float64",
                    "compile_seconds": None,
                    "run_seconds": None,
                    "evaluations": None,
                    "error": _meshes.solve_helmholtz(mesh, diagonal),
                }
            )
    write_results("meshes-helmholtz", rows)
    error = {(row["mesh"], row["diagonal"]): row["error"] for row in rows}
    record_claim(
        claim="meshes/helmholtz-uniform-error",
        value=error["uniform", "shorter"],
        target="within 1e-6 of 0.0102338",
    )
    record_claim(claim="meshes/helmholtz-moved-error", value=error["moved", "shorter"], target="<= 0.0028")


def differentiate(n: int) -> None:
    """The gradient of a functional of the mesh with respect to the ring it follows, against central differences.

    **Arguments:**

    - `n`: cells along an axis.
    """
    grid, mover = _meshes.square(n), MongeAmpere(tolerance=1e-12)

    @jax.jit
    def functional(parameters):
        density = Ring(parameters[0], parameters[1], parameters[2], parameters[3:])
        vertices = mover.move(density, grid, throw=False).mesh.vertices
        return jnp.mean(jnp.sin(3 * vertices[0]) * vertices[1] ** 2)

    point = jnp.array([10.0, 100.0, 0.25, 0.45, 0.55])
    found = jax.jit(jax.grad(functional))(point)
    errors = []
    for i in range(len(point)):
        step = 2e-3 * point[i] * jnp.eye(len(point))[i]
        near, far = (functional(point + k * step) - functional(point - k * step) for k in (1, 2))
        numeric = (8 * near - far) / (12 * step[i])
        errors.append(
            float(
                abs(found[i] - numeric) / jnp.max(abs(found))
                if abs(found[i]) < 1e-8
                else abs(found[i] / numeric - 1)
            )
        )
    record_claim(
        claim="meshes/implicit-gradient-relative-error", value=float(np.max(errors)), target="<= 1e-6"
    )


def draw(n: int) -> None:
    """The picture of the README: a ring and a shock with their meshes.

    **Arguments:**

    - `n`: cells along an axis.
    """
    if current_session().folder != ROOT / "benchmarks":
        return
    from sciml.meshes.plots import draw_density, draw_mesh

    pyplot = require("matplotlib.pyplot", extra="plots")
    grid = _meshes.square(n)
    coarse = _meshes.square(n // 2)
    figure, axes = pyplot.subplots(1, 3, figsize=(12.0, 4.2), layout="constrained")
    for ax, (name, function) in zip(axes, _meshes.FUNCTIONS.items(), strict=True):
        density = HessianMonitor().density(function(grid.coordinates)[None], grid)
        draw_density(density, grid, ax=ax)
        draw_mesh(MongeAmpere().move(density, coarse).mesh, ax=ax)
        ax.set_title(name)
    PICTURES.mkdir(exist_ok=True)
    figure.savefig(PICTURES / "meshes.png", dpi=110)
    pyplot.close(figure)


def _variation(masses) -> float:
    return float(jnp.std(masses) / jnp.mean(masses))


def _timing_row(mover: str, n: int, timing) -> dict[str, object]:
    return {
        "mover": mover,
        "cells": n,
        "seed": None,
        "dtype": "float64",
        "compile_seconds": timing.compile_seconds,
        "run_seconds": timing.run_seconds,
        "evaluations": None,
        "error": None,
    }
