"""Flows past a cylinder, simulated from rest until they shed vortices, and their frequency."""

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .. import __version__
from .cylinder_flow import RADIUS, CylinderFlow, FlowState, check_positive_number, make_stepper
from .wakes import REACH, Wakes


def simulate_wakes(
    reynolds: Sequence[float],
    *,
    seeds: Sequence[int],
    frames: int = 40,
    interval: float = 0.375,
    spin_up: float = 80.0,
    reach: float = REACH,
    points: tuple[int, int] = (160, 192),
    step: float | None = None,
    extent: float = 40.0,
    sponge: float = 12.0,
    dtype: np.dtype | type = np.float32,
) -> Wakes:
    """Simulate flow past a cylinder, each trajectory from rest.

    Solved in double precision, whatever the default. At the same Reynolds number all developed flows are the same but
    for their phase, so the test set takes other Reynolds numbers than the training set:

    ```python
    train = simulate_wakes([80.0, 90.0, 100.0, 110.0, 120.0], seeds=range(5))
    test = simulate_wakes([85.0, 105.0], seeds=range(100, 102))
    values = train.sample(0, 3, points)  # u, v and vorticity, (3, *points)
    ```

    **Arguments:**

    - `reynolds`: the Reynolds number of each trajectory.
    - `seeds`: one integer for each, from which a time between 0 and 6, about one period of shedding, is drawn and added
        to `spin_up`.
    - `frames`: how many.
    - `interval`: between them; at Re 100 the period is 6.1 and vortices move by 0.9 times the interval.
    - `spin_up`: the time before the first frame; shedding is developed after about 60 at Re 100, later below.
    - `reach`: the radius up to which frames are kept.
    - `points`, `step`, `extent`, `sponge`: as for `CylinderFlow`.
    - `dtype`: of the stored values.

    **Returns:** the wakes, values `(trajectory, time, 3, xi, theta)`.

    **Raises:** `ValueError` for numbers out of range, or seeds that are not as many as Reynolds numbers;
    `FloatingPointError` for a flow that blew up, with the cure.
    """
    reynolds, seeds = [float(r) for r in reynolds], [int(s) for s in seeds]
    if len(reynolds) != len(seeds) or not reynolds:
        raise ValueError(
            f"simulate_wakes needs one seed for each Reynolds number; got {len(reynolds)} Reynolds numbers and "
            f"{len(seeds)} seeds. Write seeds=range({max(len(reynolds), 1)})."
        )
    flows = [CylinderFlow(r, points=points, step=step, extent=extent, sponge=sponge) for r in reynolds]
    found = []
    for flow, seed in zip(flows, seeds, strict=True):
        phase = 6 * np.random.default_rng(seed).uniform()
        found.append(simulate_cylinder(flow, spin_up + phase, frames, interval=interval, reach=reach))
    settings = {
        "points": list(flows[0].points),
        "step": flows[0].step,
        "extent": flows[0].extent,
        "sponge": flows[0].sponge,
        "spin_up": float(spin_up),
        "sciml": __version__,
        "jax": jax.__version__,
    }
    return Wakes(
        np.stack([values for values, _ in found]).astype(dtype),
        np.stack([forces for _, forces in found]).astype(dtype),
        np.asarray(reynolds),
        np.asarray(seeds),
        interval * np.arange(frames),
        flows[0].grid.spacing,
        settings,
    )


def simulate_cylinder(
    flow: CylinderFlow,
    spin_up: float,
    frames: int,
    *,
    interval: float,
    reach: float | None = None,
    trip: float = 1.0,
) -> tuple[Float[np.ndarray, "time 3 xi theta"], Float[np.ndarray, "time 2"]]:
    """Simulate one flow past a cylinder, in double precision.

    **Arguments:**

    - `flow`: what to solve and how finely.
    - `spin_up`: the time from rest to the first frame, rounded to steps.
    - `frames`: how many.
    - `interval`: between frames.
    - `reach`: the radius up to which frames are kept; by default none is, and only forces are returned.
    - `trip`: the vorticity of the two vortices that start the shedding; with 0 it starts from rounding, much later.

    **Returns:** velocity and vorticity on circles `(time, 3, xi, theta)`, and coefficients of drag and lift
    `(time, 2)`, both in float64.

    **Raises:** `ValueError` for numbers out of range; `FloatingPointError` for a flow that blew up, with the cure.
    """
    interval = check_positive_number("interval", interval)
    spin_up = check_positive_number("spin_up", spin_up)
    if int(frames) != frames or frames < 1:
        raise ValueError(f"frames must be an integer of at least 1; got {frames!r}.")
    circles = 0 if reach is None else _count_circles(flow, reach)
    every = math.ceil(interval / flow.step - 1e-9)
    step = interval / every
    first = max(1, round(spin_up / step))
    with jax.enable_x64(True):
        numbers = [jnp.asarray(n, jnp.float64) for n in (flow.reynolds, step, flow.sponge, trip)]
        values, forces = jax.device_get(
            _simulate(*numbers, jnp.asarray(first), jnp.asarray(every), flow.grid, circles, int(frames))
        )
    finite = np.isfinite(forces).all(axis=1)
    if not finite.all():
        when = first * step + interval * int(np.argmin(finite))
        raise FloatingPointError(
            f"The flow at Re {flow.reynolds:g} blew up before time {when:.4g}: steps of {step:.3g} are too long for "
            f"{flow.points[1]} points in the angle. Pass step={step / 2:.2g}, or fewer points in the angle."
        )
    return values, forces


@eqx.filter_jit
def _simulate(reynolds, step, sponge, trip, first, every, grid, circles, frames):
    stepper = make_stepper(reynolds, step, sponge, grid)

    def go(state: FlowState, count):
        return jax.lax.fori_loop(0, count, lambda _, s: stepper.advance(s), state)

    def frame(state, number):
        state = go(state, jnp.where(number == 0, first, every))
        return state, (stepper.observe(state, circles), stepper.measure_forces(state))

    return jax.lax.scan(frame, stepper.begin(trip), jnp.arange(frames))[1]


def measure_strouhal(times: Float[np.ndarray, " time"], lift: Float[np.ndarray, " time"]) -> float:
    """The frequency of shedding, by the times at which the lift rises through its mean.

    **Arguments:**

    - `times`: in diameters over the velocity of the oncoming flow, `(time,)`.
    - `lift`: its coefficient, `(time,)`.

    **Returns:** the Strouhal number, a scalar.

    **Raises:** `ValueError` for a series that holds less than one whole period.
    """
    times, lift = np.asarray(times, float), np.asarray(lift, float)
    lift = lift - lift.mean()
    below = np.flatnonzero((lift[:-1] < 0) & (lift[1:] >= 0))
    if len(below) < 2:
        raise ValueError(
            f"measure_strouhal needs a lift that rises through its mean twice or more; it does so {len(below)} times "
            f"from {times[0]:g} to {times[-1]:g}. Simulate longer: a period takes about 6, after a spin-up of 60."
        )
    share = lift[below] / (lift[below] - lift[below + 1])
    crossings = times[below] + share * (times[below + 1] - times[below])
    return float((len(crossings) - 1) / (crossings[-1] - crossings[0]))


def _count_circles(flow: CylinderFlow, reach: float) -> int:
    reach = check_positive_number("reach", reach)
    if not RADIUS < reach <= flow.sponge:
        raise ValueError(
            f"reach must be a radius between that of the cylinder, {RADIUS}, and that of the sponge, {flow.sponge:g}; "
            f"got {reach:g}. Choose a smaller window, or move the sponge out."
        )
    return max(5, math.ceil(math.log(reach / RADIUS) / flow.grid.spacing) + 1)
