"""What a data-free mover sees of a solution: numbers at the points of a small regular grid.

A solution comes on a grid or as a point cloud. Sensors make `(channel, *sensor)` of it, always of the same shape, and
refuse what they were not made for.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..pdes import Grid
from ._checks import check_positive, check_whole
from .mesh import Density


class PointCloud(eqx.Module):
    """A solution at scattered points.

    **Arguments:**

    - `points`: positions `(dim, node)`, a length.
    - `values`: the solution there `(channel, node)`.

    **Raises:** `ValueError` where the two do not fit together.
    """

    points: Float[Array, "dim node"]
    values: Float[Array, "channel node"]

    def __check_init__(self):
        shapes = jnp.shape(self.points), jnp.shape(self.values)
        if any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:
            raise ValueError(
                f"A PointCloud has points (dim, node) and values (channel, node); got {shapes[0]} and {shapes[1]}. For "
                "a batch of clouds use jax.vmap."
            )


Solution = Float[Array, "channel *space"] | PointCloud


class AbstractSensors(eqx.Module):
    """Makes `(channel, *sensor)` of a solution and of the density of its mesh."""

    grid: eqx.AbstractVar[Grid]
    channels: eqx.AbstractVar[int]

    @property
    @abc.abstractmethod
    def needs_solution(self) -> bool:
        """Whether they look at the solution, and not at the density."""

    @abc.abstractmethod
    def see(self, u: Solution | None, density: Density | None) -> Float[Array, "channel *sensor"]:
        """Look.

        **Arguments:**

        - `u`: the solution, `(channel, *space)` or a point cloud; `None` where only the density is looked at.
        - `density`: of the mesh to make, positions `(dim, *points)` to numbers `(*points,)`; `None` where it is not
            looked at.

        **Returns:** `(channel, *sensor)`.

        **Raises:** `ValueError` for a solution of another shape than these sensors are for.
        """

    @property
    def shape(self) -> tuple[int, ...]:
        """That of what they see, `(channel, *sensor)`."""
        return (self.channels, *self.grid.shape)


class GridSensors(AbstractSensors):
    """Means of a solution on a grid, over blocks of its points; on a periodic axis a block begins at its sensor.

    **Arguments:**

    - `grid`: where the sensors are.
    - `space`: the shape of the solution, `(*space,)`, a multiple of the sensors' along each axis.
    - `channels`: how many channels the solution has.

    **Raises:** `ValueError` for a shape that is no multiple.
    """

    grid: Grid
    space: tuple[int, ...] = eqx.field(static=True)
    channels: int = eqx.field(static=True)

    def __init__(self, grid: Grid, space: tuple[int, ...], channels: int = 1):
        self.grid, self.space, self.channels = grid, tuple(space), channels
        if len(space) != grid.dimensions or any(n % m for n, m in zip(space, grid.shape, strict=True)):
            raise ValueError(
                f"GridSensors take means over whole blocks: the solution's shape must be a multiple of {grid.shape} "
                f"along each axis; got {space}."
            )

    @property
    def needs_solution(self):
        """They look at nothing else."""
        return True

    def see(self, u, density):
        """See `AbstractSensors.see`."""
        expected = (self.channels, *self.space)
        if isinstance(u, PointCloud) or jnp.shape(u) != expected:
            found = "a PointCloud" if isinstance(u, PointCloud) else f"an array {jnp.shape(u)}"
            batch = not isinstance(u, PointCloud) and jnp.shape(u)[1:] == expected
            cure = (
                "for a batch write jax.vmap"
                if batch
                else "interpolate it to that grid, or train a mover for this one"
            )
            raise ValueError(
                f"This mover was trained on solutions of shape {expected} (channel, *space); got {found}: {cure}."
            )
        blocks = []
        for n, m in zip(self.space, self.grid.shape, strict=True):
            blocks += [m, n // m]
        axes = tuple(range(2, 2 + 2 * len(self.space), 2))
        return jnp.mean(jnp.reshape(u, (self.channels, *blocks)), axis=axes)


class CloudSensors(AbstractSensors):
    """Means of a point cloud around each sensor, weighted by a Gaussian of the distance.

    Neither the order of the nodes nor their number matters. Where no node is near, the nearest ones decide.

    **Arguments:**

    - `grid`: where the sensors are.
    - `channels`: how many channels the solution has.
    - `width`: the standard deviation of the weight, in spacings of the sensors.

    **Raises:** `ValueError` for a width that is not positive, or less than one channel.
    """

    grid: Grid
    channels: int = eqx.field(static=True)
    width: float = eqx.field(static=True)

    def __init__(self, grid: Grid, channels: int = 1, width: float = 0.5):
        check_positive("CloudSensors", "width", width)
        check_whole("CloudSensors", "channels", channels, 1)
        self.grid, self.channels, self.width = grid, channels, width

    @property
    def needs_solution(self):
        """They look at nothing else."""
        return True

    def see(self, u, density):
        """See `AbstractSensors.see`."""
        expected = (self.grid.dimensions, self.channels)
        if not isinstance(u, PointCloud) or (len(u.points), len(u.values)) != expected:
            found = (
                f"one with points {u.points.shape} and values {u.values.shape}"
                if isinstance(u, PointCloud)
                else f"an array {jnp.shape(u)}"
            )
            raise ValueError(
                f"This mover was trained on a PointCloud with points ({expected[0]}, node) and values ({expected[1]}, "
                f"node); got {found}. Write PointCloud(points, values)."
            )
        box, dtype = self.grid.box, u.values.dtype
        sensors = self.grid.coordinates.reshape(len(u.points), -1)
        squares = 0.0
        for axis, (h, length, periodic) in enumerate(
            zip(self.grid.spacing, box.lengths, box.periodic, strict=True)
        ):
            distance = sensors[axis].astype(dtype)[:, None] - u.points[axis].astype(dtype)
            if periodic:
                distance = distance - length * jnp.round(distance / length)
            squares = squares + (distance / (self.width * h)) ** 2
        weights = jax.nn.softmax(-squares / 2, axis=1)
        return (u.values @ weights.T).reshape(self.shape)


class DensitySensors(AbstractSensors):
    """The logarithm of the density itself, without its mean, at the sensors.

    A mover with these needs no solution, and takes one on any grid, as long as a monitor makes a density of it.

    **Arguments:**

    - `grid`: where the sensors are.
    """

    grid: Grid

    @property
    def channels(self):
        """One."""
        return 1

    @property
    def needs_solution(self):
        """They look at the density."""
        return False

    def see(self, u, density):
        """See `AbstractSensors.see`."""
        logarithm = jnp.log(density(self.grid.coordinates))
        return (logarithm - jnp.mean(logarithm))[None]
