"""Flow past a cylinder: shedding frequency and forces against published ones, and what a moving mesh saves in error.

The mesh of 2500 nodes covers a window around the cylinder. Its error is that of piecewise linear interpolation of both
velocities in L2, at Reynolds numbers that took no part in any choice. Four meshes are compared:

- graded: finer at the cylinder, and fixed;
- finer: graded more, to where it was best for a fixed mesh, and fixed;
- mean: moved once, for the mean of the monitor over the training frames, and fixed;
- moved: the graded one, moved for the monitor of each frame, from the mesh of the frame before.
"""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from benchmarks._claims import record_claim
from benchmarks._results import write_results
from benchmarks._session import ROOT, current_session
from sciml.data import CylinderFlow, Wakes, measure_strouhal, sample_wake, simulate_cylinder, simulate_wakes
from sciml.meshes import (
    Gaussian,
    Graded,
    GriddedDensity,
    HessianMonitor,
    HoleGrading,
    Spring,
    interpolation_error,
    mesh_with_hole,
    plots,
)
from sciml.pdes import Box, Grid, Neumann

LOWER, UPPER, NODES = (-1.5, -2.5), (8.0, 2.5), 2500
GRADING = HoleGrading(0.5, finest=0.35, reach=1.0)
FINER = HoleGrading(0.5, finest=0.25, reach=1.0)
MONITOR = HessianMonitor(0.67, 6.0, smoothing=Gaussian(1.5), cap=0.9)
MOVER = Spring(tolerance=1e-2)
GRID = Grid(Box(LOWER, UPPER, Neumann(0.0)), (190, 100))
TRAIN, TEST = (80.0, 100.0, 120.0), (90.0, 110.0)
PICTURE = ROOT / "docs" / "pictures" / "cylinder.png"


def run(quick: bool) -> None:
    """Run the benchmark.

    **Arguments:**

    - `quick`: coarsely, and not until shedding is developed.
    """
    jax.config.update("jax_enable_x64", True)
    measure_shedding(quick)
    measure_meshes(quick)


def measure_shedding(quick: bool) -> None:
    """Strouhal number, drag and lift, by resolution at Re 100 and by Reynolds number.

    **Arguments:**

    - `quick`: coarsely, and not until shedding is developed.
    """
    cases = (
        [(100.0, (96, 96))] if quick else [(100.0, (n, k)) for n, k in ((96, 128), (128, 192), (192, 192))]
    )
    if not quick:
        cases += [(reynolds, (160, 192)) for reynolds in (70.0, 80.0, 100.0, 120.0, 130.0)]
    frames, interval, rows = 200, 0.125, []
    for reynolds, points in cases:
        start = time.perf_counter()
        flow = CylinderFlow(reynolds, points=points)
        _, forces = simulate_cylinder(flow, 30.0 if quick else 100.0, frames, interval=interval)
        strouhal = measure_strouhal(interval * np.arange(frames), forces[:, 1])
        row = {
            "reynolds": reynolds,
            "circles": points[0],
            "angles": points[1],
            "step": flow.step,
            "strouhal": strouhal,
            "drag": float(np.mean(forces[:, 0])),
            "lift": float(np.ptp(forces[:, 1]) / 2),
            "seed": None,
            "dtype": "float64",
            "compile_seconds": None,
            "run_seconds": time.perf_counter() - start,
            "evaluations": None,
            "error": strouhal / find_strouhal(reynolds) - 1,
        }
        rows.append(row)
        print(
            ", ".join(
                f"{name} {row[name]:.4g}" for name in ("reynolds", "circles", "strouhal", "drag", "lift")
            )
        )
    write_results("cylinder-shedding", rows)
    middle = next(row for row in rows if row["reynolds"] == 100 and (quick or row["circles"] == 160))
    record_claim(
        claim="foundation/cylinder-strouhal-re-100",
        value=middle["strouhal"],
        target="within 0.0082 of 0.1645",
    )
    record_claim(claim="foundation/cylinder-drag-re-100", value=middle["drag"], target="within 0.03 of 1.33")
    record_claim(claim="foundation/cylinder-lift-re-100", value=middle["lift"], target="within 0.02 of 0.33")
    worst = max(abs(row["error"]) for row in rows)
    record_claim(claim="foundation/cylinder-strouhal-worst-relative-error", value=worst, target="<= 0.05")


def find_strouhal(reynolds: float) -> float:
    """Measured by Williamson for parallel shedding, 1988, doi:10.1063/1.866978.

    **Arguments:**

    - `reynolds`: the Reynolds number, 49 to 178.

    **Returns:** the Strouhal number, a scalar.
    """
    return -3.3265 / reynolds + 0.1816 + 1.6e-4 * reynolds


class Component(eqx.Module):
    """One channel of a wake, as a function of position.

    **Arguments:**

    - `values`: on the circles `(xi, theta)`.
    - `spacing`: of the circles, a scalar.
    """

    values: Float[Array, "xi theta"]
    spacing: Float[Array, ""]

    def __call__(self, x):
        """The channel at positions `(2, *points)`, `(*points,)`."""
        return sample_wake(self.values[None], self.spacing, x)[0]


def measure_error(mesh, wakes: Wakes, trajectory: int, frame: int) -> float:
    """The interpolation error of both velocities in L2.

    **Arguments:**

    - `mesh`: the mesh.
    - `wakes`: the wakes.
    - `trajectory`, `frame`: which.

    **Returns:** the error, a scalar.
    """
    values, spacing = jnp.asarray(wakes.values[trajectory, frame, :2], float), jnp.asarray(wakes.spacing)
    return float(np.hypot(*(interpolation_error(Component(v, spacing), mesh).l2 for v in values)))


def make_density(wakes: Wakes, trajectory: int, frame: int) -> Float[Array, "x y"]:
    """The monitor of the velocities of a frame.

    **Arguments:**

    - `wakes`: the wakes.
    - `trajectory`, `frame`: which.

    **Returns:** positive numbers `(x, y)` on the grid of the window.
    """
    return MONITOR.evaluate(wakes.sample(trajectory, frame, GRID.coordinates)[:2], GRID)


def measure_meshes(quick: bool) -> None:
    """The error of the meshes over all frames of the test trajectories, tangles, and seconds for a mesh.

    **Arguments:**

    - `quick`: few nodes and frames of a flow that does not shed yet.
    """
    options = {"points": (96, 96), "spin_up": 2.0, "frames": 3} if quick else {"frames": 20}
    train = simulate_wakes(TRAIN[:1] if quick else TRAIN, seeds=range(1 if quick else 3), **options)
    test = simulate_wakes(TEST[:1] if quick else TEST, seeds=range(100, 101 if quick else 102), **options)
    nodes = 600 if quick else NODES
    graded, finer = (mesh_with_hole(LOWER, UPPER, grading, nodes=nodes) for grading in (GRADING, FINER))

    def wrap(values):
        return Graded(GriddedDensity(values, GRID), GRADING)

    frames = len(train.times)
    mean = sum(make_density(train, i, k) for i in range(len(train)) for k in range(frames))
    fixed = MOVER.move(wrap(mean), graded, throw=False)
    rows = []
    for trajectory in range(len(test)):
        moved = None  # phases differ
        for frame in range(frames):
            density = wrap(make_density(test, trajectory, frame))
            jax.block_until_ready(density)
            start = time.perf_counter()
            moved = MOVER.move(density, graded, start=moved, throw=False)
            jax.block_until_ready(moved)
            seconds = time.perf_counter() - start
            meshes = {"graded": graded, "finer": finer, "mean": fixed.mesh, "moved": moved.mesh}
            for kind, mesh in meshes.items():
                rows.append(
                    {
                        "reynolds": float(test.reynolds[trajectory]),
                        "frame": frame,
                        "mesh": kind,
                        "nodes": mesh.points.shape[1],
                        "seed": int(test.seeds[trajectory]),
                        "dtype": "float64",
                        "compile_seconds": None,
                        "run_seconds": seconds if kind == "moved" else None,
                        "evaluations": int(moved.certificate.iterations) if kind == "moved" else None,
                        "error": measure_error(mesh, test, trajectory, frame),
                        "tangled": int(moved.certificate.tangled) if kind == "moved" else None,
                    }
                )
    write_results("cylinder-meshes", rows)
    report(rows)
    if not quick and current_session().folder == ROOT / "benchmarks":
        draw(test, moved.mesh)


def report(rows: list[dict]) -> None:
    """Record the ratios of the errors, root mean squares over all frames.

    **Arguments:**

    - `rows`: one for each mesh of each frame.
    """
    errors = {
        kind: np.sqrt(np.mean([row["error"] ** 2 for row in rows if row["mesh"] == kind]))
        for kind in ("graded", "finer", "mean", "moved")
    }
    moves = [row for row in rows if row["mesh"] == "moved"]
    record_claim(
        claim="meshes/cylinder-interpolation-moved-over-graded",
        value=errors["moved"] / min(errors["graded"], errors["finer"]),
        target="<= 0.7",
    )
    record_claim(
        claim="meshes/cylinder-interpolation-moved-over-mean",
        value=errors["moved"] / errors["mean"],
        target="report",
    )
    print(", ".join(f"{kind} {error:.4g}" for kind, error in errors.items()))
    tangled = sum(row["tangled"] for row in moves)
    record_claim(claim="meshes/cylinder-tangled-triangles", value=tangled, target="== 0")
    # The first of each trajectory starts from the graded mesh, and the very first is compiled.
    seconds = np.median([row["run_seconds"] for row in moves if row["frame"]])
    record_claim(claim="meshes/cylinder-seconds-for-a-mesh", value=seconds, target="<= 0.2")


def draw(wakes: Wakes, mesh) -> None:
    """The vorticity of the last frame, and its mesh.

    **Arguments:**

    - `wakes`: the wakes.
    - `mesh`: that of the last frame.
    """
    figure = Figure(figsize=(9, 9.6), layout="constrained")
    top, bottom = figure.subplots(2, 1)
    vorticity = np.array(wakes.sample(-1, -1, GRID.coordinates)[2])
    vorticity[np.hypot(*np.asarray(GRID.coordinates)) < GRADING.radius] = np.nan
    extent = (LOWER[0], UPPER[0], LOWER[1], UPPER[1])
    image = top.imshow(vorticity.T, origin="lower", extent=extent, cmap="RdBu_r", vmin=-3, vmax=3)
    top.set_title(f"vorticity at Re {wakes.reynolds[-1]:g}")
    figure.colorbar(image, ax=top, shrink=0.7)
    plots.draw_mesh(mesh, ax=bottom)
    bottom.set_title(f"its mesh of {mesh.points.shape[1]} nodes")
    for ax in (top, bottom):
        ax.set_aspect("equal")
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110)
