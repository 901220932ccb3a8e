"""Flow past a circular cylinder: vorticity and stream function in log-polar coordinates.

Lengths are in diameters, velocities in that of the oncoming flow, along x. With `r = exp(xi) / 2` and the angle theta,

    r^2 w_t + psi_theta w_xi - psi_xi w_theta = (w_xixi + w_thetatheta) / Re,      psi_xixi + psi_thetatheta = -r^2 w,
    u_r = psi_theta / r,      u_theta = -psi_xi / r,

so circles of equal `xi` crowd at the wall, where vorticity is made, and no metric but `r^2` is left.

- **In the angle** Fourier modes, products by the two-thirds rule. **In xi** compact differences of fourth order, which
  couple three neighbors: both equations are tridiagonal systems, one for each mode.
- **In time** third-order backward differences for diffusion, extrapolation for advection.
- **At the wall** both velocities vanish: two conditions for psi and none for the vorticity. Its value at the wall is
  what makes the slip vanish, in the same step and exactly, by adding a multiple of the solution for unit vorticity at
  the wall. For mode zero it is given by the pressure, which is single-valued, `w_xi = 0`.
- **At the outer circle** psi goes over into a potential flow without bounds, `psi' + k psi = 2 r` for the mode of the
  oncoming flow and 0 for the others. Nothing is blocked. Beyond the radius `sponge` the viscosity rises to what cells
  there resolve, so that the wake leaves smoothly.

Measured at Re 100 (`benchmarks/cylinder.py`): Strouhal number 0.1644, mean drag coefficient 1.32, amplitude of lift
0.32; others find 0.164 to 0.166, 1.32 to 1.35 and 0.32 to 0.34.

**Reference:** Glowinski and Pironneau, "Numerical methods for the first biharmonic equation and for the two-dimensional
Stokes problem", 1979, doi:10.1137/1021028 (the influence of the wall); Ascher, Ruuth and Wetton, "Implicit-explicit
methods for time-dependent partial differential equations", 1995, doi:10.1137/0732037.
"""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .log_polar import LogPolarGrid, Tridiagonal, numerov_mean, numerov_rows

RADIUS = 0.5
_NEW, _OLD = 11 / 6, (3.0, -1.5, 1 / 3)  # the weights of the values that make up the rate of change
_AHEAD = (3.0, -3.0, 1.0)  # and of those that extrapolate
_COURANT = 0.35  # of the longest step, times the number of modes; 0.45 was lost at the start
_LONGEST = 0.01  # step with few modes, which advection from circle to circle allows
_COARSEST = 1.25  # the squared distance of circles, by Numerov's twelfth of the rate of decay; 1.6 was lost
_TRIP_PLACES, _TRIP_AREA = (1.3, 2.4), 0.3


class CylinderFlow(eqx.Module):
    """What flows past the cylinder, and how finely it is solved.

    **Arguments:**

    - `reynolds`: the Reynolds number of diameter and oncoming flow. Vortices are shed from about 47 on; from about 190
        on the flow would not stay in a plane.
    - `points`: intervals in xi and points in the angle.
    - `step`: the longest step of time; by default what the advection of the highest mode at the wall allows. Steps are
        made shorter to fit a whole number into the interval between two frames.
    - `extent`: the radius of the outer circle.
    - `sponge`: the radius from which on the viscosity rises.

    **Raises:** `ValueError` for numbers that are not positive, radii that are not in order, and points that are too
        few or too far apart for the step.
    """

    reynolds: float
    points: tuple[int, int]
    step: float
    extent: float
    sponge: float

    def __init__(
        self,
        reynolds: float = 100.0,
        *,
        points: tuple[int, int] = (160, 192),
        step: float | None = None,
        extent: float = 40.0,
        sponge: float = 12.0,
    ):
        owner = "CylinderFlow"
        points = tuple(points)
        if len(points) != 2 or any(n != int(n) for n in points) or points[0] < 16 or points[1] < 24:
            raise ValueError(
                f"{owner}.points must be two integers, at least 16 intervals in xi and 24 points in the angle; got "
                f"{points}. (96, 128) is coarse, (160, 192) fine for Re 100."
            )
        self.points = (int(points[0]), int(points[1]))
        self.reynolds = check_positive_number(f"{owner}.reynolds", reynolds)
        default = min(_LONGEST, _COURANT / (self.points[1] // 3 + 1))
        self.step = check_positive_number(f"{owner}.step", default if step is None else step)
        self.extent = check_positive_number(f"{owner}.extent", extent)
        self.sponge = check_positive_number(f"{owner}.sponge", sponge)
        if not RADIUS < self.sponge < self.extent:
            raise ValueError(
                f"{owner} needs {RADIUS} < sponge < extent, the radii of cylinder, sponge and outer circle; got sponge "
                f"{self.sponge:g} and extent {self.extent:g}. Take sponge=12.0, extent=40.0."
            )

        layer = math.sqrt(12 * _COARSEST * self.step / (_NEW * self.reynolds * RADIUS**2))
        least = math.ceil(math.log(self.extent / RADIUS) / layer)
        if self.points[0] < least:
            raise ValueError(
                f"{owner}: {self.points[0]} intervals in xi do not resolve the layer of vorticity that a step of "
                f"{self.step:.3g} makes at the wall at Re {self.reynolds:g}, and would blow up. Pass points=({least}, "
                f"{self.points[1]}) or more intervals, or a smaller extent than {self.extent:g}."
            )

    @property
    def grid(self) -> LogPolarGrid:
        """Where vorticity and stream function are known."""
        return LogPolarGrid(*self.points, RADIUS, self.extent)


class FlowState(eqx.Module):
    """A flow at one time, with what the next step needs of the three before.

    **Arguments:**

    - `vorticity`: the latest first, modes `(3, xi, 2, mode)`.
    - `advection`: `psi_theta w_xi - psi_xi w_theta` at the same times `(3, xi, 2, mode)`.
    - `stream`: the stream function `(xi, 2, mode)`.
    """

    vorticity: Float[Array, "3 xi 2 mode"]
    advection: Float[Array, "3 xi 2 mode"]
    stream: Float[Array, "xi 2 mode"]


class Stepper(eqx.Module):
    """The linear systems of a step, factored.

    **Arguments:**

    - `grid`: of the flow.
    - `viscosity`: on each circle `(xi,)`; the first is one over the Reynolds number.
    - `step`: of time, a scalar.
    - `momentum`, `poisson`: the systems for vorticity and stream function.
    - `wall`: vorticity, stream function and slip for unit vorticity at the wall, `(xi, mode)` twice and `(mode,)`. For
        mode zero, no vorticity and the stream function of a point vortex.
    """

    grid: LogPolarGrid
    viscosity: Float[Array, " xi"]
    step: Float[Array, ""]
    momentum: Tridiagonal
    poisson: Tridiagonal
    wall: tuple[Float[Array, "xi mode"], Float[Array, "xi mode"], Float[Array, " mode"]]

    def begin(self, trip: Float[Array, ""]) -> FlowState:
        """A flow set in motion at once, with two vortices in the wake that break its symmetry.

        **Arguments:**

        - `trip`: their vorticity, a scalar.

        **Returns:** the state.
        """
        x, y = (
            self.grid.radii[:, None] * np.stack([np.cos(self.grid.theta), np.sin(self.grid.theta)])[:, None]
        )
        first, second = (np.exp(-((x - place) ** 2 + y**2) / _TRIP_AREA) for place in _TRIP_PLACES)
        vorticity = self.grid.to_modes(trip * jnp.asarray(first - second)).at[0].set(0)
        vorticity, stream = self._stop_slip(vorticity)
        advection = self._advect(vorticity, stream)
        return FlowState(jnp.stack([vorticity] * 3), jnp.stack([advection] * 3), stream)

    def advance(self, state: FlowState) -> FlowState:
        """The state one step later.

        **Arguments:**

        - `state`: the state.

        **Returns:** the next.
        """
        h, squares = self.grid.spacing, jnp.asarray(self.grid.radii)[:, None, None] ** 2
        old = sum(w * v for w, v in zip(_OLD, state.vorticity)) / self.step
        ahead = sum(w * v for w, v in zip(_AHEAD, state.advection))
        source = (ahead - squares * old) / self.viscosity[:, None, None]
        # At the wall the value zero, or for the mean the slope zero, by the equation's own second derivative.
        mean = jnp.arange(self.grid.modes) == 0
        first = jnp.where(mean, h**2 * (source[0] / 3 + source[1] / 6), 0)
        right = jnp.concatenate([first[None], h**2 * numerov_mean(source), jnp.zeros_like(source[:1])])
        vorticity, stream = self._stop_slip(self.momentum.solve(right))
        advection = self._advect(vorticity, stream)
        return FlowState(
            jnp.concatenate([vorticity[None], state.vorticity[:2]]),
            jnp.concatenate([advection[None], state.advection[:2]]),
            stream,
        )

    def measure_forces(self, state: FlowState) -> Float[Array, "2"]:
        """Coefficients of drag and lift, over half the squared velocity of the oncoming flow.

        The pressure along the wall is `p_theta = w_xi / Re`, so both come from the vorticity at the wall.

        **Arguments:**

        - `state`: the state.

        **Returns:** `(2,)`.
        """
        vorticity = state.vorticity[0]
        excess = (self.grid.wall_slope(vorticity) - vorticity[0])[:, 1]
        return -4 * jnp.pi * RADIUS * self.viscosity[0] * jnp.stack([excess[1], excess[0]])

    def observe(self, state: FlowState, circles: int) -> Float[Array, "3 xi theta"]:
        """Velocity along x and y, and vorticity.

        **Arguments:**

        - `state`: the state.
        - `circles`: how many, from the wall on.

        **Returns:** `(3, xi, theta)`.
        """
        grid = self.grid
        radii, cos, sin = jnp.asarray(grid.radii)[:, None], np.cos(grid.theta), np.sin(grid.theta)
        outward = grid.to_values(grid.turn(state.stream)) / radii
        around = -grid.to_values(grid.slope(state.stream)) / radii
        u, v = outward * cos - around * sin, outward * sin + around * cos
        return jnp.stack([u, v, grid.to_values(state.vorticity[0])])[:, :circles]

    def _stop_slip(self, vorticity: Array) -> tuple[Array, Array]:
        """Complete a vorticity that is zero at the wall, and the stream function to it."""
        grid, h = self.grid, self.grid.spacing
        source = jnp.asarray(grid.radii)[:, None, None] ** 2 * vorticity
        # The oncoming flow is `psi = r sin theta`, so the mode of sin theta is -i / 2.
        edge = grid.radius * math.exp((grid.intervals - 0.5) * h)
        outer = jnp.zeros_like(vorticity[0]).at[1, 1].set(-edge)
        right = jnp.concatenate([jnp.zeros_like(source[:1]), -(h**2) * numerov_mean(source), outer[None]])
        stream = self.poisson.solve(right)
        of_vorticity, of_stream, of_slip = self.wall
        amount = -grid.wall_slope(stream) / of_slip
        return vorticity + amount * of_vorticity[:, None], stream + amount * of_stream[:, None]

    def _advect(self, vorticity: Array, stream: Array) -> Array:
        grid = self.grid
        outward = grid.to_values(grid.turn(stream)) * grid.to_values(grid.slope(vorticity))
        around = grid.to_values(grid.slope(stream)) * grid.to_values(grid.turn(vorticity))
        return grid.to_modes(outward - around)


def make_stepper(
    reynolds: Float[Array, ""], step: Float[Array, ""], sponge: Float[Array, ""], grid: LogPolarGrid
) -> Stepper:
    """Factor the linear systems of a step.

    **Arguments:**

    - `reynolds`: the Reynolds number, a scalar.
    - `step`: of time, a scalar.
    - `sponge`: the radius from which on the viscosity rises, a scalar.
    - `grid`: the grid.

    **Returns:** the stepper.
    """
    h, k, radii = grid.spacing, jnp.arange(grid.modes, dtype=float), jnp.asarray(grid.radii)
    # Up to cells' Reynolds numbers of two, twice as far out.
    viscosity = 1 / reynolds + 0.5 * h * radii * jnp.clip(radii / sponge - 1, 0, 1) ** 2
    mean, one, zero = k == 0, jnp.ones((1, grid.modes)), jnp.zeros((1, grid.modes))
    a = k**2 + (_NEW / step * radii**2 / viscosity)[:, None]
    lower, middle, upper = numerov_rows(a, h)
    momentum = Tridiagonal.factor(
        jnp.concatenate([zero, lower, -one]),
        jnp.concatenate([jnp.where(mean, -1 - h**2 * a[:1] / 3, 1), middle, one]),
        jnp.concatenate([jnp.where(mean, 1 - h**2 * a[1:2] / 6, 0), upper, zero]),
    )
    lower, middle, upper = numerov_rows(jnp.broadcast_to(k**2, a.shape), h)
    poisson = Tridiagonal.factor(
        jnp.concatenate([zero, lower, k[None] / 2 - 1 / h]),
        jnp.concatenate([one, middle, k[None] / 2 + 1 / h]),
        jnp.concatenate([zero, upper, zero]),
    )
    unit = jnp.zeros((len(radii), grid.modes)).at[0].set(jnp.where(mean, 0, 1))
    vorticity = momentum.solve(unit)
    source = numerov_mean(radii[:, None] ** 2 * vorticity)
    stream = poisson.solve(jnp.concatenate([zero, -(h**2) * source, zero]))
    stream = jnp.where(mean, jnp.asarray(grid.xi)[:, None], stream)
    wall = (vorticity, stream, grid.wall_slope(stream))
    return Stepper(grid, viscosity, step, momentum, poisson, wall)


def check_positive_number(name: str, value: float) -> float:
    """Refuse what is not a positive, finite number.

    **Arguments:**

    - `name`: what it is called.
    - `value`: the number.

    **Returns:** it as a float.

    **Raises:** `ValueError` with name and value.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be a positive, finite number; got {value!r}.")
    return number
