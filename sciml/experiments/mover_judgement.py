"""How good a mover's meshes are, beside the uniform ones and those of the classical mover; how fast it is."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..meshes import (
    Certified,
    DataFreeMover,
    MongeAmpere,
    StructuredMesh,
    certify,
    interpolation_error,
    uniform_mesh,
)
from ..meshes.lattice import VertexLattice
from ..meshes.structured import vertex_shape
from ..pdes import Grid

BATCH = 32  # meshes at once, where time is measured


class MeshJudgement(NamedTuple):
    """What was found of a mover's meshes.

    **Arguments:**

    - `rows`: for each solution one per method: the network's, `classical`, `uniform`.
    - `seconds`: of a classical solve without its certificate, the median, after compilation.
    - `corners`: for each solution by method the corners of the cells, `(2, corner, corner)`.
    """

    rows: list[dict[str, Any]]
    seconds: float
    corners: list[dict[str, np.ndarray]]


def judge_meshes(
    mover: DataFreeMover,
    u: Float[np.ndarray, "sample channel *space"],
    functions: PyTree,
    fine: Grid,
    grid: Grid,
    *,
    label: str,
) -> "MeshJudgement":
    """Measure the meshes for some solutions, in double precision.

    **Arguments:**

    - `mover`: the network.
    - `u`: the solutions `(sample, channel, *space)`.
    - `functions`: what is interpolated on the meshes: an `equinox.Module` that maps positions `(dim, *points)` to
        numbers `(*points,)`, with a leading axis `sample` on every array.
    - `fine`: the grid of the solutions.
    - `grid`: whose vertices are moved.
    - `label`: the network's name.

    The steps of Newton's method are those to the tolerance of `MongeAmpere`, without a relaxation before: from the
    proposal in the network's rows, from zero in those of `classical`; `None` where it does not converge.

    **Returns:** what was found.
    """
    with jax.enable_x64(True):
        solver = Certified(mover, MongeAmpere(max_newtons=100))
        zero, lattice, seconds, rows = jnp.zeros(vertex_shape(grid)), VertexLattice(grid), [], []
        corners = []

        @eqx.filter_jit
        def prepare(u):
            density = mover.monitor.density(u, fine)
            return density, mover.move_for(u, density, grid, throw=False)

        # One program for all three: the cost of compiling it is more than that of all its runs.
        attempt = eqx.filter_jit(lambda density, start, cold: solver.attempt(density, grid, start, cold=cold))
        measure = eqx.filter_jit(
            lambda density, function, mesh: (certify(mesh, density), interpolation_error(function, mesh).l2)
        )
        for index in range(len(u)):
            density, proposed = prepare(jnp.asarray(u[index], float))
            warm = attempt(density, proposed.potential, jnp.asarray(False))
            cold = attempt(density, zero, jnp.asarray(False))
            began = time.perf_counter()
            solved = jax.block_until_ready(attempt(density, zero, jnp.asarray(True)))
            seconds.append(time.perf_counter() - began)
            exact = StructuredMesh(grid, lattice.reference + lattice.gradient(solved.potential))
            meshes = {"uniform": uniform_mesh(grid), label: proposed.mesh, "classical": exact}
            corners.append({name: np.asarray(mesh.closed_vertices) for name, mesh in meshes.items()})
            function, scale = take_sample(functions, index), None
            for name, mesh in meshes.items():
                certificate, error = measure(density, function, mesh)
                scale = error if scale is None else scale
                newton = {label: warm, "classical": cold}.get(name)
                row = {
                    "method": name,
                    "sample": index,
                    "variation": float(certificate.variation),
                    "interpolation_ratio": float(scale / error),
                    "tangled": int(certificate.tangled),
                    "boundary_error": float(certificate.boundary_error),
                    "newton_steps": int(newton.newtons) if newton is not None and newton.converged else None,
                }
                if name == label:
                    row["family_distance"] = float(proposed.certificate.details["family_distance"])
                rows.append(row)
        return MeshJudgement(rows, statistics.median(seconds), corners)


def take_sample(tree: PyTree, index: int) -> PyTree:
    """One of several samples.

    **Arguments:**

    - `tree`: a pytree with a leading axis `sample` on every array.
    - `index`: which.

    **Returns:** the same without that axis.
    """
    return jax.tree.map(lambda x: x[index] if eqx.is_array(x) else x, tree)


def summarize_meshes(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The numbers of a report, from rows of `judge_meshes`.

    **Arguments:**

    - `rows`: the rows.

    **Returns:** numbers by method and metric.
    """
    found = {}
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]

        def gather(metric, own=own):
            return [row[metric] for row in own if row.get(metric) is not None]

        found[name] = {
            "variation": statistics.mean(gather("variation")),
            "largest_variation": max(gather("variation")),
            "interpolation_ratio": statistics.mean(gather("interpolation_ratio")),
            "smallest_interpolation_ratio": min(gather("interpolation_ratio")),
            "tangled": sum(gather("tangled")),
            "boundary_error": max(gather("boundary_error")),
        }
        if name != "uniform":
            steps = gather("newton_steps")
            # All failed: so says the count of failures, and the mean of nothing is none.
            found[name]["newton_steps"] = statistics.mean(steps) if steps else -1
            found[name]["largest_newton_steps"] = max(steps, default=-1)
            found[name]["newton_failures"] = len(own) - len(steps)
        if gather("family_distance"):
            found[name]["family_distance"] = max(gather("family_distance"))
    return found


def time_proposals(
    mover: DataFreeMover, u: Float[np.ndarray, "sample channel *space"], fine: Grid, grid: Grid
) -> float:
    """Seconds for each of a batch of proposals, without certificates, in double precision.

    **Arguments:**

    - `mover`: the network.
    - `u`: solutions `(sample, channel, *space)`.
    - `fine`: their grid.
    - `grid`: whose vertices are moved.

    **Returns:** seconds for one mesh, what the sensors see included.
    """
    with jax.enable_x64(True):
        many = jnp.asarray(np.resize(u, (BATCH, *u.shape[1:])), float)
        density = jax.lax.map(lambda u: mover.monitor.density(u, fine), many)

        @eqx.filter_jit
        def propose(u, density):
            return jax.vmap(lambda u, d: mover.propose(u, d, grid).gradient)(u, density)

        return _time(lambda: propose(many, density)) / BATCH


def _time(function: Callable[[], Array], repetitions: int = 9) -> float:
    """The median of the seconds of a call, without compilation."""
    jax.block_until_ready(function())
    seconds = []
    for _ in range(repetitions):
        began = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
