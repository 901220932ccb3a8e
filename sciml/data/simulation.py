"""Simulated data sets: one law, many initial conditions, in chunks of bounded memory."""

import importlib.metadata
from collections.abc import Iterator, Sequence

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import __version__, _optional
from ..pdes import AbstractCalculus, AbstractInitialCondition, AbstractPDE, Spectral, channel_names, describe
from .integration import check_problem, default_solver, evolve, spectral_radius, stability_limit
from .trajectories import Trajectories, concatenate


def simulate(
    law: AbstractPDE,
    calculus: AbstractCalculus,
    initial: AbstractInitialCondition | Float[Array, "trajectory channel *space"],
    times: Float[Array, " time"],
    *,
    seeds: Sequence[int] | None = None,
    solver: diffrax.AbstractSolver | None = None,
    controller: diffrax.AbstractStepSizeController | None = None,
    dt0: float | None = None,
    max_steps: int = 1_000_000,
    memory: int = 2**28,
    dtype: np.dtype | type | None = None,
    progress: bool = True,
) -> Trajectories:
    """Solve a law from many initial conditions.

    ```python
    grid = Grid(Box(0.0, 1.0), 128)
    data = simulate(Burgers(1e-2), Spectral(grid), FourierSeries(), jnp.linspace(0, 1, 21), seeds=range(100))
    ```

    **Arguments:**

    - `law`: the equation.
    - `calculus`: how to differentiate in space.
    - `initial`: a distribution of initial conditions, drawn once per seed, or values `(trajectory, channel, *space)`.
    - `times`: when the solution is wanted, the first entry the start; strictly increasing, `(time,)`.
    - `seeds`: one integer per trajectory. Keep the seeds of training and test apart. With values given, optional.
    - `solver`, `controller`, `dt0`, `max_steps`: as for `evolve`.
    - `memory`: about how many bytes a chunk of trajectories solved together may take.
    - `dtype`: the precision to store; by default that of the solve.
    - `progress`: show a bar when there is more than one chunk (needs `tqdm`; without it none is shown).

    **Returns:** the trajectories, values `(trajectory, time, channel, *space)`.

    **Raises:** `ValueError` for input that does not fit, and for a fixed step that no explicit solver survives;
    `FloatingPointError` for a solution that is not finite, naming the trajectory, its seed and when it was lost;
    `RuntimeError` when the solver gave up.
    """
    chunks = simulate_chunks(
        law,
        calculus,
        initial,
        times,
        seeds=seeds,
        solver=solver,
        controller=controller,
        dt0=dt0,
        max_steps=max_steps,
        memory=memory,
        dtype=dtype,
        progress=progress,
    )
    return concatenate(list(chunks))


def simulate_chunks(
    law: AbstractPDE,
    calculus: AbstractCalculus,
    initial: AbstractInitialCondition | Float[Array, "trajectory channel *space"],
    times: Float[Array, " time"],
    *,
    seeds: Sequence[int] | None = None,
    solver: diffrax.AbstractSolver | None = None,
    controller: diffrax.AbstractStepSizeController | None = None,
    dt0: float | None = None,
    max_steps: int = 1_000_000,
    memory: int = 2**28,
    dtype: np.dtype | type | None = None,
    progress: bool = True,
) -> Iterator[Trajectories]:
    """As `simulate`, one chunk at a time: for data sets larger than memory, appended to a `TrajectoryWriter`.

    **Arguments:**

    - `law`, `calculus`, `initial`: the problem; `initial` is a distribution, or values `(trajectory, channel, *space)`.
    - `times`: `(time,)`.
    - `seeds`, `solver`, `controller`, `dt0`, `max_steps`, `memory`, `dtype`, `progress`: as for `simulate`.

    **Returns:** an iterator over consecutive `Trajectories`, values `(trajectory, time, channel, *space)`.

    **Raises:** as `simulate`.
    """
    starts, seeds = _as_source(calculus, initial, seeds)
    solver = default_solver(law, calculus) if solver is None else solver
    times = jnp.asarray(times)
    first = starts(slice(0, 1))
    check_problem(law, calculus, first[0], times)
    _check_starts(first)
    _check_fixed_step(law, calculus, first[0], times, solver, controller, dt0)
    size = _chunk_size(first[0], len(times), len(seeds), memory)
    return _run(
        law, calculus, starts, times, seeds, solver, controller, dt0, max_steps, size, dtype, progress
    )


def _run(law, calculus, starts, times, seeds, solver, controller, dt0, max_steps, size, dtype, progress):
    header = {
        "coordinates": tuple(calculus.grid.axes),
        "channels": channel_names(law, calculus.dimensions),
        "law": describe(law),
        "metadata": _provenance(calculus, solver, controller),
    }
    blocks = [slice(low, min(low + size, len(seeds))) for low in range(0, len(seeds), size)]
    with _progress_bar(len(seeds), shown=progress and len(blocks) > 1) as advance:
        for block in blocks:
            batch = starts(block)
            _check_starts(batch, seeds[block])
            count = len(batch)
            # The last chunk is filled up to the common size, so that it does not compile anew.
            filled = jnp.concatenate([batch, jnp.repeat(batch[-1:], size - count, axis=0)])
            values, steps, results = _solve(law, calculus, filled, times, solver, controller, dt0, max_steps)
            values = np.asarray(values[:count], dtype=dtype)
            _check_solved(values, seeds[block], np.asarray(times), results, np.asarray(steps), max_steps)
            yield Trajectories(values, np.asarray(times, dtype=np.float64), seeds=seeds[block], **header)
            advance(count)


@eqx.filter_jit
def _solve(law, calculus, starts, times, solver, controller, dt0, max_steps):
    def one(start):
        values, solution = evolve(
            law,
            calculus,
            start,
            times,
            solver=solver,
            controller=controller,
            dt0=dt0,
            max_steps=max_steps,
            adjoint=diffrax.ForwardMode(),
            throw=False,
        )
        return values, solution.stats["num_steps"], solution.result == diffrax.RESULTS.successful

    return jax.vmap(one)(starts)


def _as_source(calculus, initial, seeds):
    """A function from a slice to initial conditions, and the seeds."""
    if isinstance(initial, AbstractInitialCondition):
        if seeds is None:
            raise ValueError("A distribution of initial conditions needs seeds, such as seeds=range(100).")
        seeds = np.asarray(list(seeds), dtype=np.int64)
        if len(seeds) == 0:
            raise ValueError("seeds is empty: give one integer per trajectory, such as seeds=range(100).")
        draw = jax.jit(jax.vmap(lambda seed: initial(calculus.grid, key=jax.random.key(seed))))
        return lambda block: draw(jnp.asarray(seeds[block])), seeds
    values = jnp.asarray(initial)
    space = calculus.grid.dimensions
    if values.ndim != space + 2:
        raise ValueError(
            f"initial must be (trajectory, channel, *space), {space + 2} axes for this grid; got shape {values.shape}. "
            f"For one trajectory write initial[None]."
        )
    if len(values) == 0:
        raise ValueError("initial holds no trajectories: its leading axis is empty.")
    seeds = np.full(len(values), -1) if seeds is None else np.asarray(list(seeds), dtype=np.int64)
    if len(seeds) != len(values):
        raise ValueError(
            f"There are {len(values)} initial conditions and {len(seeds)} seeds; give one each, or no seeds."
        )
    return lambda block: values[block], seeds


def _chunk_size(start: Array, times: int, count: int, memory: int) -> int:
    # A solver keeps about 16 copies of the state (stages, error, interpolant) besides the saved values.
    per_trajectory = start.size * start.dtype.itemsize * (times + 16)
    return max(1, min(count, memory // per_trajectory))


def _check_starts(starts: Array, seeds: np.ndarray | None = None) -> None:
    axes = tuple(range(1, starts.ndim))
    good = np.asarray(jnp.all(jnp.isfinite(starts), axis=axes))
    if not good.all():
        which = int(np.argmin(good))
        seed = "" if seeds is None else f" (seed {seeds[which]})"
        raise ValueError(
            f"Initial condition {which}{seed} is not finite. Look at it before solving from it; nothing was solved."
        )


def _check_fixed_step(law, calculus, start, times, solver, controller, dt0) -> None:
    limit = stability_limit(solver)
    if not isinstance(controller, diffrax.ConstantStepSize) or limit is None or dt0 is None:
        return
    radius = float(spectral_radius(law, calculus, start, times[0]))
    # Power iteration is good to some per cent; a step within 10 % of the limit is given the benefit of the doubt.
    if float(dt0) * radius > 1.1 * limit:
        raise ValueError(
            f"The fixed step dt0={float(dt0):.3g} violates the stability (CFL) limit of {type(solver).__name__} on "
            f"this grid, about {limit / radius:.3g} at the initial condition. Take a smaller step, an adaptive "
            f"controller (controller=None), or an implicit solver (SemiImplicit() on Spectral, diffrax.Kvaerno5())."
        )


def _check_solved(values, seeds, times, good, steps, max_steps) -> None:
    axes = tuple(range(2, values.ndim))
    finite = np.isfinite(values).all(axis=axes)
    good = np.asarray(good)
    for which in range(len(values)):
        lost = f"Trajectory with seed {seeds[which]} ({which} in its chunk)"
        if good[which] and not finite[which].all():
            when = int(np.argmin(finite[which]))
            raise FloatingPointError(
                f"{lost} is not finite from times[{when}]={times[when]:.6g} on. The solution blew up or the step was "
                f"too long: use an adaptive controller with a smaller tolerance, a finer grid, or a stiff solver."
            )
        if not good[which]:
            raise RuntimeError(
                f"{lost} was given up after {steps[which]} steps (max_steps={max_steps}): the equation is too stiff "
                f"for the solver, or the solution blows up. Use SemiImplicit() on Spectral or diffrax.Kvaerno5() for "
                f"stiff laws; raise max_steps; check that the law is well posed with these parameters."
            )


def _provenance(calculus, solver, controller) -> dict:
    name = f"{type(calculus).__name__}"
    if isinstance(calculus, Spectral):
        name += f"(dealias={calculus.dealias:.6g})"
    return {
        "calculus": name,
        "solver": type(solver).__name__,
        "controller": "default" if controller is None else repr(controller),
        "sciml": __version__,
        "jax": jax.__version__,
        "diffrax": importlib.metadata.version("diffrax"),
    }


class _progress_bar:  # noqa: N801
    """A bar over trajectories; nothing where tqdm is not installed, as a bar is not worth an error."""

    def __init__(self, total: int, *, shown: bool):
        self.total, self.shown, self.bar = total, shown, None

    def __enter__(self):
        if self.shown:
            try:
                tqdm = _optional.require("tqdm", extra="train")
            except ImportError:
                return lambda count: None
            return lambda count: self._advance(tqdm, count)
        return lambda count: None

    def _advance(self, tqdm, count: int) -> None:
        if self.bar is None:
            # Made after the first chunk, whose compilation would ruin the estimate of the time left.
            self.bar = tqdm.tqdm(total=self.total, initial=count, desc="simulate", unit="trajectory")
        else:
            self.bar.update(count)

    def __exit__(self, *exception):
        if self.bar is not None:
            self.bar.close()
