"""What a data-free mover is trained on: the residual of the Monge-Ampere equation at points of the box.

    mean r^2,    r = log(m(x) det(I + H) / theta)    or    r = m(x) det(I + H) / theta - 1,        x = xi + grad phi

`theta` is the mean of the same density `m` that stands on the left, so that the residual can be zero. The logarithm
weighs cells that are too small and too large alike; below a small determinant it goes on as a straight line, so that a
map that is folded somewhere is pulled back. Two penalties join: of the smaller eigenvalue of `I + H`, if it is
negative, and, for a potential that does not keep walls, of the displacement across them.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ._checks import check_weight, check_whole
from .data_free import DataFreeMover, determine, make_density
from .densities import AbstractDensity
from .mesh import Density
from .monitors import AbstractMonitor
from .potentials import AbstractPotential, Extent, Lattice, Scattered
from .sensors import AbstractSensors, PointCloud

_FLOOR = 0.05  # of the determinant, below which its logarithm is a straight line


class Samples(eqx.Module):
    """Solutions to train on, without the solutions: what is seen of them, and the densities of their meshes.

    **Arguments:**

    - `seen`: by the mover's sensors, `(sample, channel, *sensor)`.
    - `density`: all of one kind, with a leading axis `sample` on every array.
    - `mean`: of each density over the box, `(sample,)`.
    """

    seen: Float[Array, "sample channel *sensor"]
    density: AbstractDensity
    mean: Float[Array, " sample"]


def make_samples(
    u: Float[Array, "sample channel *space"] | PointCloud,
    sensors: AbstractSensors,
    monitor: AbstractMonitor,
    *,
    chunk: int = 64,
) -> Samples:
    """Put together what a mover is trained on.

    **Arguments:**

    - `u`: the solutions `(sample, channel, *space)`, or a `PointCloud` with a leading axis `sample` on both arrays.
    - `sensors`: of the mover.
    - `monitor`: of the mover.
    - `chunk`: so many solutions are looked at together.

    **Returns:** the samples.

    **Raises:** `ValueError` for solutions of another shape than the sensors are for.
    """
    u = jax.tree.map(lambda x: jnp.asarray(x, float), u)
    return _make_samples(u, sensors, monitor, min(chunk, len(jax.tree.leaves(u)[0])))


def average_density(density: Density, extent: Extent, points: int = 128) -> Float[Array, ""]:
    """The mean of a density over the box, by the midpoint rule.

    **Arguments:**

    - `density`: positions `(dim, *points)` to numbers `(*points,)`.
    - `extent`: the box.
    - `points`: of the rule, along each axis.

    **Returns:** a scalar.
    """
    axes = (jnp.asarray((np.arange(points) + 0.5) / points, float),) * extent.dimensions
    return jnp.mean(density(extent.place(Lattice(axes).positions)))


@eqx.filter_jit
def _make_samples(u, sensors: AbstractSensors, monitor: AbstractMonitor, chunk: int) -> Samples:
    extent = Extent(sensors.grid.box)

    def one(u):
        density = make_density(u, sensors, monitor)
        return Samples(sensors.see(u, density), density, average_density(density, extent))

    return jax.lax.map(one, u, batch_size=chunk)


class AbstractSampling(eqx.Module):
    """Where the residual is taken."""

    @abc.abstractmethod
    def draw(self, density: Density, extent: Extent, *, key: PRNGKeyArray) -> Lattice | Scattered:
        """Draw points.

        **Arguments:**

        - `density`: of the sample, positions `(dim, *points)` to numbers `(*points,)`.
        - `extent`: the box.
        - `key`: a random key.

        **Returns:** the points.
        """


class JitteredLattice(AbstractSampling):
    """All combinations of coordinates of which one is drawn in each of equal parts of an axis.

    Where the map is right, points that are even before the move follow the density after it.

    **Arguments:**

    - `points`: along each axis.

    **Raises:** `ValueError` for less than two points.
    """

    points: int = eqx.field(static=True, default=48)

    def __check_init__(self):
        check_whole("JitteredLattice", "points", self.points, 2)

    def draw(self, density, extent, *, key):
        """See `AbstractSampling.draw`."""
        jitter = jax.random.uniform(key, (extent.dimensions, self.points))
        return Lattice(tuple((jnp.arange(self.points) + jitter) / self.points))


class ByDensity(AbstractSampling):
    """Points drawn by the density, as published: from even candidates, each at most once.

    The density is that at the points before the move.

    **Arguments:**

    - `points`: how many.
    - `candidates`: so many times as many candidates.

    **Raises:** `ValueError` for less than two points, or no candidates.
    """

    points: int = eqx.field(static=True, default=120)
    candidates: int = eqx.field(static=True, default=40)

    def __check_init__(self):
        check_whole("ByDensity", "points", self.points, 2)
        check_whole("ByDensity", "candidates", self.candidates, 1)

    def draw(self, density, extent, *, key):
        """See `AbstractSampling.draw`."""
        even, noise = jax.random.split(key)
        positions = jax.random.uniform(even, (extent.dimensions, self.points * self.candidates))
        chances = jnp.log(density(extent.place(positions)))
        # The largest of logarithm plus Gumbel noise are a sample without replacement.
        drawn = chances + jax.random.gumbel(noise, chances.shape)
        return Scattered(positions[:, jax.lax.top_k(drawn, self.points)[1]])


class AbstractResidual(eqx.Module):
    """How `m det / theta` differs from one."""

    @abc.abstractmethod
    def __call__(
        self, share: Float[Array, "*points"], determinant: Float[Array, "*points"]
    ) -> Float[Array, "*points"]:
        """The residual.

        **Arguments:**

        - `share`: `m / theta`, `(*points,)`.
        - `determinant`: `(*points,)`, of any sign.

        **Returns:** `(*points,)`.
        """


class LogarithmicResidual(AbstractResidual):
    """`log(m det / theta)`, with a straight line for the logarithm of a determinant that is small or negative."""

    def __call__(self, share, determinant):
        """See `AbstractResidual.__call__` for shapes."""
        line = np.log(_FLOOR) + (determinant - _FLOOR) / _FLOOR
        curve = jnp.log(jnp.maximum(determinant, _FLOOR))
        return jnp.log(share) + jnp.where(determinant > _FLOOR, curve, line)


class RelativeResidual(AbstractResidual):
    """`m det / theta - 1`, as published."""

    def __call__(self, share, determinant):
        """See `AbstractResidual.__call__` for shapes."""
        return share * determinant - 1


class PhysicsLoss(eqx.Module):
    """The loss of a data-free mover, as `sciml.training.fit` takes it: `loss(mover, samples, key)`.

    **Arguments:**

    - `sampling`: where the residual is taken.
    - `residual`: what it is.
    - `wall_weight`: of the mean square of the displacement across walls, in units of their distance; only for
        potentials that do not keep them.
    - `convexity_weight`: of the mean square of negative eigenvalues of `I + H`.
    - `diagonal`: whether negative diagonal entries are penalized instead, as published. That they are positive does not
        make a map convex.

    **Raises:** `ValueError` for a weight that is negative or not finite.
    """

    sampling: AbstractSampling = JitteredLattice()
    residual: AbstractResidual = LogarithmicResidual()
    wall_weight: float = 1000.0
    convexity_weight: float = 1.0
    diagonal: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        check_weight("PhysicsLoss", "wall_weight", self.wall_weight)
        check_weight("PhysicsLoss", "convexity_weight", self.convexity_weight)

    def __call__(
        self, mover: DataFreeMover, samples: Samples, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The mean loss of some samples.

        **Arguments:**

        - `mover`: the mover.
        - `samples`: a batch of them.
        - `key`: a random key.

        **Returns:** the loss, a scalar, and its parts by name, scalars.
        """
        potential = mover.potential
        points, walls = self.draw(potential, samples, key=key)
        seen = jax.vmap(mover.family.normalize)(samples.seen)
        prepared = jax.vmap(potential.prepare)(seen, points)
        at_walls = None if walls is None else jax.vmap(potential.prepare)(seen, walls)
        return self.measure(potential, samples, points, prepared, walls, at_walls)

    def draw(
        self, potential: AbstractPotential, samples: Samples, *, key: PRNGKeyArray
    ) -> tuple[Lattice | Scattered, Scattered | None]:
        """Draw points inside and on walls, for each sample its own.

        **Arguments:**

        - `potential`: whose box it is.
        - `samples`: the samples.
        - `key`: a random key.

        **Returns:** points with a leading axis `sample`; and those on walls, `None` for a potential that keeps them.
        """
        extent = potential.extent
        inside, outside = jax.random.split(key)
        keys = jax.random.split(inside, len(samples.seen))
        points = jax.vmap(lambda d, k: self.sampling.draw(d, extent, key=k))(samples.density, keys)
        if potential.keeps_walls:
            return points, None
        count = max(1, self.sampling.points // 4)
        keys = jax.random.split(outside, len(samples.seen))
        return points, jax.vmap(lambda k: _draw_on_walls(extent, count, key=k))(keys)

    def measure(
        self,
        potential: AbstractPotential,
        samples: Samples,
        points: Lattice | Scattered,
        prepared: PyTree,
        walls: Scattered | None,
        prepared_at_walls: PyTree,
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The loss, with all but the last layer of the network worked out.

        **Arguments:**

        - `potential`: for its last layer.
        - `samples`: the samples.
        - `points`, `walls`: as `draw` returned them.
        - `prepared`, `prepared_at_walls`: of `potential.prepare` there.

        **Returns:** the loss, a scalar, and its parts by name, scalars.
        """

        def inside(density, mean, points, prepared):
            found = potential.finish(prepared, points)
            extent = potential.extent
            x = extent.place(points.positions) + found.gradient
            determinant, least = determine(found.hessian)
            entries = jnp.stack(found.hessian[: extent.dimensions]) + 1 if self.diagonal else least[None]
            folded = jnp.sum(jnp.mean(jnp.minimum(0.0, entries).reshape(len(entries), -1) ** 2, axis=1))
            return jnp.mean(self.residual(density(x) / mean, determinant) ** 2), folded

        residual, folded = jax.vmap(inside)(samples.density, samples.mean, points, prepared)
        parts = {"equation": jnp.mean(residual), "convexity": jnp.mean(folded)}
        total = parts["equation"] + self.convexity_weight * parts["convexity"]
        if walls is not None:
            found = jax.vmap(potential.finish)(prepared_at_walls, walls)
            parts["walls"] = _across_walls(potential.extent, found.gradient)
            total = total + self.wall_weight * parts["walls"]
        return total, parts


def published_loss() -> PhysicsLoss:
    """The loss as published: weights 1, 1000 and 1, the relative residual, points by density, diagonal entries.

    **Returns:** the loss.
    """
    return PhysicsLoss(ByDensity(), RelativeResidual(), 1000.0, 1.0, diagonal=True)


def refine_last_layer(
    mover: DataFreeMover,
    loss: PhysicsLoss,
    batches: Callable[[int], Samples],
    *,
    key: PRNGKeyArray,
    rounds: int = 5,
    steps: int = 100,
) -> tuple[DataFreeMover, list[float]]:
    """Train the last layer alone by a quasi-Newton method, with all before it worked out once per batch: L-BFGS.

    **Arguments:**

    - `mover`: trained so far.
    - `loss`: what to minimize.
    - `batches`: a function of the round, counted from 0, that returns samples.
    - `key`: a random key.
    - `rounds`: so many batches, one after another.
    - `steps`: of the method on each.

    **Returns:** the mover with another last layer, and the loss on each batch after its steps. A batch whose loss is
    not finite afterwards changes nothing.
    """
    losses = []
    for number in range(rounds):
        layer, value = _refine(mover, loss, batches(number), jax.random.fold_in(key, number), steps)
        losses.append(float(value))
        if np.isfinite(losses[-1]):
            better = mover.potential.replace_last_layer(layer)
            mover = eqx.tree_at(lambda m: m.potential, mover, better)
    return mover, losses


@eqx.filter_jit
def _refine(mover: DataFreeMover, loss: PhysicsLoss, samples: Samples, key: PRNGKeyArray, steps: int):
    potential = mover.potential
    points, walls = loss.draw(potential, samples, key=key)
    seen = jax.vmap(mover.family.normalize)(samples.seen)
    prepared = jax.vmap(potential.prepare)(seen, points)
    at_walls = None if walls is None else jax.vmap(potential.prepare)(seen, walls)
    params, static = eqx.partition(potential.last_layer, eqx.is_inexact_array)

    def objective(params):
        changed = potential.replace_last_layer(eqx.combine(params, static))
        return loss.measure(changed, samples, points, prepared, walls, at_walls)[0]

    optimizer = optax.lbfgs(memory_size=20)
    evaluate = optax.value_and_grad_from_state(objective)

    def step(carry, _):
        params, state = carry
        value, slope = evaluate(params, state=state)
        change, state = optimizer.update(slope, state, params, value=value, grad=slope, value_fn=objective)
        return (optax.apply_updates(params, change), state), None

    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), None, length=steps)
    return eqx.combine(params, static), objective(params)


def _draw_on_walls(extent: Extent, count: int, *, key: PRNGKeyArray) -> Scattered:
    """Points on each wall in turn, `(dim, side * count)`."""
    sides = []
    for axis, periodic in enumerate(extent.periodic):
        if periodic:
            continue
        for end in (0.0, 1.0):
            key, own = jax.random.split(key)
            positions = jax.random.uniform(own, (extent.dimensions, count))
            sides.append(positions.at[axis].set(end))
    return Scattered(jnp.concatenate(sides, axis=1))


def _across_walls(extent: Extent, gradient: Array) -> Array:
    """The mean square of the displacement across walls, from that on each wall in turn `(sample, dim, point)`."""
    axes = [axis for axis, periodic in enumerate(extent.periodic) if not periodic for _ in range(2)]
    parts = jnp.split(gradient, len(axes), axis=2)
    squares = [
        jnp.mean((part[:, axis] / extent.lengths[axis]) ** 2) for axis, part in zip(axes, parts, strict=True)
    ]
    return sum(squares) / len(squares)
