"""Scattered points of space and time, at which a basis of functions of the coordinates is differentiated exactly.

    u(t, x) = lift(t, x) + sum_i w_i b_i(t, x)

The functions `b_i` are a network of the place, such as a DeepONet, so that no grid is needed and every operator of a
law is automatic differentiation: there is no error of discretization, neither in space nor in time.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..pdes import Autodiff, Box
from .domains import AbstractDomain, Clock, fit_profiles
from .systems import Conditions, join_conditions


class SpaceTimePoints(AbstractDomain):
    """Points in a box and a span of time; the network and the start are functions.

    The network maps the start's values at `starts`, `(channel, place)`, and encoded places, `(point, feature)`, to
    `(basis * channel, point)`. That is what `sciml.nn.DeepONet` does. The start is a function `(dim,) -> (channel,)`.

    **Arguments:**

    - `box`: the domain in space, with the conditions on its walls.
    - `span`: the first time and the last.
    - `points`: where the law is enforced, time first, `(point, 1 + dim)`.
    - `starts`: where the initial condition is held and the network sees it, `(place, dim)`.
    - `on_walls`: where the walls' conditions are held, `(place, 1 + dim)` for each wall in the order of `walls()`.
    - `clock`: the network's time coordinate; by default 0 at the first time and 1 at the last.

    **Raises:** `ValueError` for points of another shape, outside of the box or the span, or not on their wall.
    """

    box: Box
    span: tuple[float, float] = eqx.field(static=True)
    points: Float[Array, "point axis"]
    starts: Float[Array, "place dim"]
    on_walls: tuple[Float[Array, "place axis"], ...]
    clock: Clock = eqx.field(static=True)

    def __init__(
        self,
        box: Box,
        span: tuple[float, float],
        points: Float[Array, "point axis"],
        *,
        starts: Float[Array, "place dim"],
        on_walls: tuple[Float[Array, "place axis"], ...] = (),
        clock: Clock | None = None,
    ):
        self.box = box
        self.span = (float(span[0]), float(span[1]))
        self.points = jnp.asarray(points, float)
        self.starts = jnp.asarray(starts, float)
        self.on_walls = tuple(jnp.asarray(places, float) for places in on_walls)
        clock = Clock(self.span[0], self.duration) if clock is None else clock
        self.clock = Clock(*(float(number) for number in clock))

    def __check_init__(self):
        first, last = self.span
        if not first < last:
            raise ValueError(f"The span is the first time and a later last one; got {self.span}.")
        if self.clock.start != first:
            raise ValueError(f"The clock starts at {self.clock.start}, the span at {first}; they must agree.")
        _check_inside("points", self.points, self.box, self.span)
        if self.starts.ndim != 2 or self.starts.shape[1] != self.dimensions:
            raise ValueError(
                f"starts are places (place, dim) = (place, {self.dimensions}), without a time; got {self.starts.shape}."
            )
        if len(self.on_walls) != len(self.walls()):
            raise ValueError(
                f"The box has {len(self.walls())} walls, (axis, side) = {self.walls()}; got points on "
                f"{len(self.on_walls)}. Give one array (place, 1 + dim) for each."
            )
        for (axis, side), places in zip(self.walls(), self.on_walls, strict=True):
            _check_inside("on_walls", places, self.box, self.span)
            wall = (self.box.lower, self.box.upper)[side][axis]
            if not jnp.allclose(places[:, 1 + axis], wall, atol=1e-6 * self.box.lengths[axis], rtol=0):
                raise ValueError(
                    f"Points on the wall (axis, side) = {(axis, side)} must have the coordinate {wall} on space axis "
                    f"{axis}; some have not."
                )
        if self.clock.power < 1 and jnp.any(self.points[:, 0] <= first):
            raise ValueError(
                f"With a clock of power {self.clock.power} < 1 the time derivative at the start is infinite: no point "
                f"may be at the first time {first}."
            )

    @property
    def shape(self):
        """One axis of points."""
        return (self.points.shape[0],)

    @property
    def duration(self):
        """From the first time to the last."""
        return self.span[1] - self.span[0]

    @property
    def elapsed(self):
        """Of every point, `(point,)`; see `AbstractDomain.elapsed`."""
        return (jax.lax.stop_gradient(self.points[:, 0]) - self.span[0]) / self.duration

    def count_inputs(self) -> int:
        """How many features `encode` makes.

        **Returns:** a number.
        """
        return 1 + sum(2 if wraps else 1 for wraps in self.box.periodic)

    def encode(self, place: Float[Array, " axis"]) -> Float[Array, " feature"]:
        """What the network is given of a place: the clock, and for each axis `x` from 0 to 1, or a cosine and a sine.

        **Arguments:**

        - `place`: time and coordinates, `(axis,)`.

        **Returns:** `(feature,)`.
        """
        features = [self.clock(place[0])]
        for axis, wraps in enumerate(self.box.periodic):
            x = (place[1 + axis] - self.box.lower[axis]) / self.box.lengths[axis]
            features += [jnp.cos(2 * jnp.pi * x), jnp.sin(2 * jnp.pi * x)] if wraps else [x]
        return jnp.stack(features)

    def sample(self, start, channels):
        """At `starts`, `(channel, place)`; see `AbstractDomain.sample`."""
        if not callable(start):
            raise ValueError(
                f"At scattered points the start is a function (dim,) -> (channel,), which can be differentiated; got "
                f"{type(start).__name__}. Interpolate values, or take a SpaceTimeGrid."
            )
        values = jax.vmap(start)(jax.lax.stop_gradient(self.starts))
        if values.shape[1:] != (channels,):
            raise ValueError(
                f"The start must map (dim,) to (channel,) = ({channels},); it gives {values.shape[1:]}."
            )
        return values.T

    def evaluate_basis(self, network, start):
        """A function from a place `(axis,)` to `(basis, channel)`; see `AbstractDomain.evaluate_basis`."""
        channels = jax.eval_shape(start, self.starts[0]).shape[0]
        values = self.sample(start, channels)

        def basis(place):
            out = network(values, self.encode(place)[None])
            if out.ndim != 2 or out.shape[1] != 1 or out.shape[0] % channels:
                raise ValueError(
                    f"The network must give (basis * channel, point) = (basis * {channels}, 1) for one place; got "
                    f"{out.shape}."
                )
            return out.reshape(-1, channels)

        return basis

    def propose_nothing(self, start):
        """To `(0, channel)`; see `AbstractDomain.propose_nothing`."""
        return lambda place: jnp.zeros((0, *start(place[1:]).shape))

    def grow(self, basis):
        """To `(basis, channel)`; see `AbstractDomain.grow`."""
        return lambda place: self.clock(place[0]) * basis(place)

    def hold(self, start, basis, share=1.0):
        """To `(channel,)`; see `AbstractDomain.hold`."""
        return lambda place: share * start(place[1:])

    def tabulate(self, terms, basis, lift, scale, *, conditioned):
        """By automatic differentiation, in space and time; see `AbstractDomain.tabulate`."""
        if conditioned and self.walls():
            raise ValueError(
                "There is no grid here that would discretize the walls. Take walls=WeightedWalls() or LiftedWalls()."
            )

        def at(place):
            t, x = place[0], place[1:]
            calculus = Autodiff(x[None])

            def function(t, x):
                place = jnp.concatenate([t[None], x])
                return jnp.concatenate([lift(place)[None], basis(place)]).ravel()

            value, slope = jax.jvp(lambda t: function(t, x), (t,), (jnp.ones_like(t),))
            field = calculus.field(lambda x: function(t, x))
            rows = [
                getattr(calculus, term.operator)(field, *term.arguments)[:, 0] for term in terms.operators
            ]
            # (term, 1 + basis, channel) -> (term * channel, 1 + basis)
            rows = jnp.stack([value, slope, *rows]).reshape(-1, value.size // terms.channels, terms.channels)
            return jnp.moveaxis(rows, 1, -1).reshape(terms.linear, -1)

        places = jax.lax.stop_gradient(self.points)
        linear = jax.vmap(at)(places)
        rest = [
            scale[:, None],
            *([places[:, :1]] if terms.time else []),
            *([places[:, 1:]] if terms.position else []),
        ]
        rest = jnp.concatenate(rest, axis=1).astype(linear.dtype)
        tables = jnp.concatenate(
            [linear[..., 1:], jnp.zeros((*rest.shape, linear.shape[-1] - 1), linear.dtype)], 1
        )
        return tables, jnp.concatenate([linear[..., 0], rest], axis=1)

    def start_conditions(self, basis, lift, start):
        """At `starts`; see `AbstractDomain.start_conditions`."""
        places = jnp.pad(jax.lax.stop_gradient(self.starts), ((0, 0), (1, 0)), constant_values=self.span[0])
        matrix, offset = jax.vmap(basis)(places), jax.vmap(lift)(places) - jax.vmap(start)(places[:, 1:])
        # Rows in the order of `sample`: channels first.
        return _make_conditions(matrix.transpose(2, 0, 1), offset.T)

    def wall_conditions(self, basis, lift):
        """At `on_walls`; see `AbstractDomain.wall_conditions`."""
        count, channels = jax.eval_shape(basis, self.points[0]).shape
        parts = [
            _make_conditions(
                jax.vmap(self._act(basis, *wall))(places).swapaxes(1, 2),
                jax.vmap(self._act(lift, *wall))(places) - self._data(*wall, channels),
            )
            for wall, places in self._on_walls()
        ]
        return join_conditions(parts, count, 1)

    def lift_walls(self, basis, lift):
        """Of functions; see `AbstractDomain.lift_walls`."""
        for axis, _ in self.walls()[::2]:
            profiles = fit_profiles(self.box, axis)
            basis = self._subtract(basis, axis, profiles, data=False)
            lift = self._subtract(lift, axis, profiles, data=True)
        return basis, lift

    def miss_walls(self, start):
        """At `on_walls`; see `AbstractDomain.miss_walls`."""
        lift = self.hold(start, None)
        channels = jax.eval_shape(start, self.starts[0]).shape[0]
        return [
            (jax.vmap(self._act(lift, *wall))(places), self._data(*wall, channels))
            for wall, places in self._on_walls()
        ]

    def arrange(self, values):
        """`(channel, point)`; see `AbstractDomain.arrange`."""
        return values.T

    def _on_walls(self):
        return zip(self.walls(), jax.lax.stop_gradient(self.on_walls), strict=True)

    def _act(self, function: Callable, axis: int, side: int) -> Callable:
        """The left side of a wall's condition, `a u + b du/dn`, for a function that ends with the channel."""
        outward = jnp.zeros(1 + self.dimensions).at[1 + axis].set((-1.0, 1.0)[side])

        def act(place):
            value, slope = jax.jvp(function, (place,), (outward.astype(place.dtype),))
            a, b, _ = self.box.boundaries[axis][side].robin()
            return _by_channel(a, value.shape[-1]) * value + _by_channel(b, value.shape[-1]) * slope

        return act

    def _data(self, axis, side, channels):
        return _by_channel(self.box.boundaries[axis][side].robin()[2], channels)

    def _subtract(self, function, axis, profiles, *, data):
        def subtracted(place):
            x = (place[1 + axis] - self.box.lower[axis]) / self.box.lengths[axis]
            total = function(place)
            for side in (0, 1):
                wall = (self.box.lower, self.box.upper)[side][axis]
                violation = self._act(function, axis, side)(place.at[1 + axis].set(wall))
                if data:
                    violation = violation - self._data(axis, side, violation.shape[-1])
                total = total - profiles[side] @ jnp.stack([jnp.ones_like(x), x, x**2]) * violation
            return total

        return subtracted


def scatter_points(
    box: Box,
    span: tuple[float, float],
    *,
    points: int,
    starts: int,
    walls: int = 0,
    clock: Clock | None = None,
    key: PRNGKeyArray,
) -> SpaceTimePoints:
    """Draw points at random, evenly in space and on the clock.

    **Arguments:**

    - `box`, `span`, `clock`: as for `SpaceTimePoints`.
    - `points`: how many in the inside.
    - `starts`: how many at the first time.
    - `walls`: how many on each wall.
    - `key`: a random key.

    **Returns:** the points.
    """
    lower, lengths = jnp.asarray(box.lower, float), jnp.asarray(box.lengths, float)
    power = 1.0 if clock is None else clock.power

    def draw(key, count):
        share = jax.random.uniform(key, (count, 1 + box.dimensions), float)
        time = span[0] + (span[1] - span[0]) * (1 - share[:, :1]) ** (1 / power)  # in (start, stop]
        return jnp.concatenate([time, lower + lengths * share[:, 1:]], axis=1)

    sides = [(axis, side) for axis, wraps in enumerate(box.periodic) if not wraps for side in (0, 1)]
    inside, first, *keys = jax.random.split(key, 2 + len(sides))
    on_walls = tuple(
        draw(key, walls).at[:, 1 + axis].set((box.lower, box.upper)[side][axis])
        for key, (axis, side) in zip(keys, sides, strict=True)
    )
    return SpaceTimePoints(
        box, span, draw(inside, points), starts=draw(first, starts)[:, 1:], on_walls=on_walls, clock=clock
    )


def _make_conditions(matrix: Array, offset: Array) -> Conditions:
    # All belong to the one box there is: that of the first point.
    return Conditions(matrix.reshape(offset.size, -1), offset.ravel(), np.zeros((offset.size, 1), int))


def _check_inside(name, places, box, span):
    if places.ndim != 2 or places.shape[1] != 1 + box.dimensions:
        raise ValueError(
            f"{name} are places (place, 1 + dim) = (place, {1 + box.dimensions}), time first; got {places.shape}."
        )
    lower, upper = (
        jnp.asarray([time, *corner]) for time, corner in zip(span, (box.lower, box.upper), strict=True)
    )
    outside = jnp.any((places < lower) | (places > upper), axis=1)
    if jnp.any(outside):
        raise ValueError(
            f"{int(jnp.sum(outside))} of {len(places)} {name} are outside of the box or the span, the first of them "
            f"{places[jnp.argmax(outside)].tolist()}; expected (t, *x) from {lower.tolist()} to {upper.tolist()}."
        )


def _by_channel(number, channels):
    number = jnp.asarray(number)
    if number.size not in (1, number.shape[0] if number.ndim else 1):
        raise ValueError(
            f"The data of a wall vary along it, shape {number.shape}, which has no meaning at scattered points. Give "
            f"single numbers, or one per channel."
        )
    return jnp.broadcast_to(number.reshape(-1), (channels,))
