"""A space-time grid, on which a network's output is a basis and a calculus differentiates it."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import AbstractCalculus, Box, FiniteDifference, FiniteVolume, Spectral
from .domains import AbstractDomain, Clock, fit_profiles
from .systems import Conditions, join_conditions
from .terms import difference_matrix, difference_weights

WALL_NODES = 4


class SpaceTimeGrid(AbstractDomain):
    """A grid in space, with its calculus, at some times.

    **Arguments:**

    - `calculus`: `Spectral` or `FiniteDifference` on the grid; or, on a periodic box, any calculus of values on a grid,
        such as a mesh that was moved.
    - `times`: increasing, the first the start, `(time,)`; they need not be even.
    - `accuracy`: the order of the time derivative, by finite differences on these times.
    - `clock`: the network's time coordinate; by default 0 at the first time and 1 at the last.

    **Raises:** `ValueError` for times that do not increase, or fewer than a stencil needs, and for a moved mesh between
    walls.
    """

    calculus: AbstractCalculus
    times: tuple[float, ...] = eqx.field(static=True)
    accuracy: int = eqx.field(static=True)
    clock: Clock = eqx.field(static=True)

    def __init__(
        self,
        calculus: AbstractCalculus,
        times: Float[Array, " time"] | np.ndarray,
        *,
        accuracy: int = 4,
        clock: Clock | None = None,
    ):
        self.calculus = calculus
        self.times = tuple(float(t) for t in np.asarray(times))
        self.accuracy = accuracy
        clock = Clock(self.times[0], self.times[-1] - self.times[0]) if clock is None else clock
        self.clock = Clock(*(float(number) for number in clock))

    def __check_init__(self):
        if not hasattr(self.calculus, "grid"):
            raise ValueError(
                f"SpaceTimeGrid needs a calculus on a grid, Spectral or FiniteDifference; got "
                f"{type(self.calculus).__name__}. A network of coordinates can be evaluated on the grid."
            )
        if self.walls() and not isinstance(self.calculus, (Spectral, FiniteDifference, FiniteVolume)):
            raise ValueError(
                f"Between walls SpaceTimeGrid needs a regular grid, Spectral, FiniteDifference or FiniteVolume; got "
                f"{type(self.calculus).__name__}. A mesh that was moved may be periodic."
            )
        if np.any(np.diff(self.times) <= 0):
            raise ValueError(f"The times of a SpaceTimeGrid must increase; got {self.times}.")
        if self.accuracy not in (2, 4):
            raise ValueError(f"The accuracy of the time derivative is 2 or 4; got {self.accuracy}.")
        if self.clock.start != self.times[0]:
            raise ValueError(
                f"The clock starts at {self.clock.start}, the times at {self.times[0]}; they must agree."
            )
        difference_matrix(np.asarray(self.times), self.accuracy)

    @property
    def box(self) -> Box:
        """The box of the grid."""
        return self.calculus.grid.box

    @property
    def duration(self) -> float:
        """From the first time to the last, in the unit of time."""
        return self.times[-1] - self.times[0]

    @property
    def space(self) -> tuple[int, ...]:
        """The number of points per space axis."""
        return self.calculus.grid.shape

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of times, then of points per space axis."""
        return (len(self.times), *self.space)

    @property
    def periodic(self) -> tuple[bool, ...]:
        """Whether time (never) and each space axis is periodic."""
        return (False, *self.calculus.grid.box.periodic)

    @property
    def axes(self) -> tuple[np.ndarray, ...]:
        """The times, then the coordinates along each space axis, one `(points,)` each."""
        return (np.asarray(self.times), *self.calculus.grid.axes)

    @property
    def elapsed(self) -> Float[Array, " point"]:
        """The time since the start at every point, as a share of the whole, `(point,)`."""
        share = (np.asarray(self.times) - self.times[0]) / self.duration
        return jnp.repeat(jnp.asarray(share, float), int(np.prod(self.space)))

    def encode(self, start: Float[Array, "channel *space"]) -> Float[Array, "in_channel time *space"]:
        """What the network is given: the start at every time, the clock, and the place on each axis.

        The place is `x` from 0 to 1 on an axis with walls, and `cos 2 pi x, sin 2 pi x` on a periodic one.

        **Arguments:**

        - `start`: the initial values, `(channel, *space)`.

        **Returns:** `(in_channel, time, *space)`, as many channels as `count_inputs` says.
        """
        grid, shape = self.calculus.grid, self.shape
        features = [jnp.broadcast_to(channel, shape) for channel in start]
        clock = self.clock(np.asarray(self.times))
        features.append(
            jnp.broadcast_to(jnp.asarray(clock, start.dtype).reshape((-1,) + (1,) * len(self.space)), shape)
        )
        for axis, points in enumerate(grid.axes):
            place = (points - grid.box.lower[axis]) / grid.box.lengths[axis]
            waves = (np.cos, np.sin) if grid.box.periodic[axis] else (lambda x: x / (2 * np.pi),)
            for wave in waves:
                along = jnp.asarray(wave(2 * np.pi * place), start.dtype)
                features.append(
                    jnp.broadcast_to(along.reshape((-1,) + (1,) * (len(self.space) - 1 - axis)), shape)
                )
        return jnp.stack(features)

    def count_inputs(self, channels: int) -> int:
        """How many channels `encode` makes.

        **Arguments:**

        - `channels`: those of the unknown.

        **Returns:** a number.
        """
        return channels + 1 + sum(2 if wraps else 1 for wraps in self.periodic[1:])

    def sample(self, start, channels):
        """The start itself, `(channel, *space)`; see `AbstractDomain.sample`."""
        expected = (channels, *self.space)
        if getattr(start, "shape", None) != expected:
            raise ValueError(
                f"The start must be (channel, *space) = {expected}; got {getattr(start, 'shape', start)}. Map over a "
                f"batch with jax.vmap."
            )
        return start

    def evaluate_basis(
        self, network: Callable, start: Float[Array, "channel *space"]
    ) -> Float[Array, "basis time channel *space"]:
        """The network's output as basis functions.

        **Arguments:**

        - `network`: maps `(in_channel, time, *space)` to `(basis * channel, time, *space)`.
        - `start`: the initial values, `(channel, *space)`.

        **Returns:** `(basis, time, channel, *space)`, what the calculus does not resolve removed.

        **Raises:** `ValueError` for an output of another shape.
        """
        out = network(self.encode(start))
        channels = start.shape[0]
        if out.ndim != len(self.shape) + 1 or out.shape[1:] != self.shape or out.shape[0] % channels:
            raise ValueError(
                f"The network must give (basis * channel, time, *space) = (basis * {channels}, "
                f"{', '.join(map(str, self.shape))}); got {out.shape}."
            )
        basis = out.reshape(-1, channels, *self.shape).swapaxes(1, 2)
        return jax.vmap(jax.vmap(self.calculus.project))(basis)

    def grow(self, basis):
        """Times the clock, `(basis, time, channel, *space)`; see `AbstractDomain.grow`."""
        clock = jnp.asarray(self.clock(np.asarray(self.times)), basis.dtype)
        return basis * clock.reshape((-1,) + (1,) * (basis.ndim - 2))

    def propose_nothing(self, start):
        """Of no function, `(0, time, channel, *space)`; see `AbstractDomain.propose_nothing`."""
        return jnp.zeros((0, len(self.times), *start.shape), start.dtype)

    def hold(self, start, basis, share=1.0):
        """At all times, `(time, channel, *space)`; see `AbstractDomain.hold`."""
        still = share * self.calculus.project(start)
        return jnp.broadcast_to(still, basis.shape[1:]).astype(basis.dtype)

    def differentiate_in_time(
        self, u: Float[Array, "time channel *space"]
    ) -> Float[Array, "time channel *space"]:
        """The time derivative of values on the grid.

        **Arguments:**

        - `u`: `(time, channel, *space)`.

        **Returns:** the same shape.
        """
        matrix = jnp.asarray(difference_matrix(np.asarray(self.times), self.accuracy), u.dtype)
        return jnp.tensordot(matrix, u, axes=(1, 0), precision=jax.lax.Precision.HIGHEST)

    def tabulate(self, terms, basis, lift, scale, *, conditioned):
        """By the calculus and differences in time, basis `(basis, time, ...)`; see `AbstractDomain.tabulate`."""
        wrap = self.calculus.field if conditioned else self.calculus.known

        def apply(term, u):
            return jax.vmap(lambda v: getattr(self.calculus, term.operator)(wrap(v), *term.arguments))(u)

        def all_terms(u):
            rows = [u, self.differentiate_in_time(u), *(apply(term, u) for term in terms.operators)]
            # (term, time, channel, *space) -> (point, term * channel)
            rows = jnp.moveaxis(jnp.stack(rows), (0, 2), (-2, -1))
            return rows.reshape(int(np.prod(self.shape)), -1)

        linear = jax.vmap(all_terms, out_axes=-1)(basis)
        # Walls with data make the operators affine; what they do to nothing at all belongs to the offset.
        linear = linear - all_terms(jnp.zeros_like(lift))[..., None] if conditioned else linear
        rest = [scale]
        if terms.time:
            rest.append(jnp.repeat(jnp.asarray(self.times, float), int(np.prod(self.space))))
        if terms.position:
            rest += [jnp.tile(place.ravel(), len(self.times)) for place in self.calculus.coordinates]
        rest = jnp.stack(rest, axis=-1).astype(linear.dtype)
        tables = jnp.concatenate([linear, jnp.zeros((*rest.shape, linear.shape[-1]), linear.dtype)], axis=1)
        return tables, jnp.concatenate([all_terms(lift), rest], axis=1)

    def start_conditions(self, basis, lift, start):
        """At every point; see `AbstractDomain.start_conditions`."""
        space = np.indices(self.space).reshape(len(self.space), -1).T
        places = np.concatenate([np.zeros((len(space), 1), int), space], axis=1)
        return Conditions(
            basis[:, 0].reshape(basis.shape[0], -1).T,
            (lift[0] - start).ravel(),
            np.tile(places, (start.shape[0], 1)),
        )

    def wall_conditions(self, basis, lift):
        """By extrapolation, at every time; see `AbstractDomain.wall_conditions`."""
        parts = []
        for axis, side in self.walls():
            matrix = jax.vmap(lambda u, axis=axis, side=side: self.apply_wall(u, axis, side)[0])(basis)
            at_wall, data = self.apply_wall(lift, axis, side)
            others = [1 if a == axis else n for a, n in enumerate(self.space)]
            place = np.indices((len(self.times), lift.shape[1], *others)).reshape(2 + len(others), -1).T
            place = np.delete(place, 1, axis=1)
            place[:, 1 + axis] = 0 if side == 0 else self.space[axis] - 1
            parts.append(
                Conditions(matrix.reshape(len(basis), at_wall.size).T, (at_wall - data).ravel(), place)
            )
        return join_conditions(parts, basis.shape[0], len(self.shape))

    def lift_walls(self, basis, lift):
        """Axis by axis; see `AbstractDomain.lift_walls`."""
        for axis, _ in self.walls()[::2]:
            points = (self.calculus.grid.axes[axis] - self.box.lower[axis]) / self.box.lengths[axis]
            powers = jnp.asarray(points[None] ** np.arange(3)[:, None], lift.dtype)
            profiles = fit_profiles(self.box, axis).astype(lift.dtype) @ powers
            profiles = profiles.reshape(2, *(len(points) if a == axis else 1 for a in range(len(self.space))))
            basis = jax.vmap(lambda u, a=axis, p=profiles: self._subtract(u, a, p, data=False))(basis)
            lift = self._subtract(lift, axis, profiles, data=True)
        return basis, lift

    def _subtract(self, field, axis, profiles, *, data):
        total = field
        for side in (0, 1):
            at_wall, given = self.apply_wall(field, axis, side)
            violation = at_wall - given if data else at_wall
            total = total - profiles[side] * jnp.expand_dims(violation, 2 + axis)
        return total

    def miss_walls(self, start):
        """By extrapolation; see `AbstractDomain.miss_walls`."""
        return [self.apply_wall(start[None], axis, side) for axis, side in self.walls()]

    def arrange(self, values):
        """`(time, channel, *space)`; see `AbstractDomain.arrange`."""
        return jnp.moveaxis(values.reshape(*self.shape, -1), -1, 1)

    def apply_wall(
        self, u: Float[Array, "time channel *space"], axis: int, side: int
    ) -> tuple[Float[Array, "time channel *wall"], Float[Array, "time channel *wall"]]:
        """The left side of a wall's condition, by extrapolation to the wall, and its data.

        **Arguments:**

        - `u`: `(time, channel, *space)`.
        - `axis`: the space axis.
        - `side`: 0 for the left wall, 1 for the right.

        **Returns:** `a u + b du/dn` and `g`, each `(time, channel, *wall)`.
        """
        grid = self.calculus.grid
        wall = grid.box.lower[axis] if side == 0 else grid.box.upper[axis]
        near = slice(0, WALL_NODES) if side == 0 else slice(-WALL_NODES, None)
        points = grid.axes[axis][near]
        values = jnp.moveaxis(u, 2 + axis, -1)[..., near]
        value, slope = (
            jnp.matmul(
                values,
                jnp.asarray(difference_weights(points, wall, order), u.dtype),
                precision=jax.lax.Precision.HIGHEST,
            )
            for order in (0, 1)
        )
        a, b, g = (jnp.asarray(x, u.dtype) for x in grid.box.boundaries[axis][side].robin())
        outward = -slope if side == 0 else slope
        return a * value + b * outward, jnp.broadcast_to(g, value.shape)
