"""Branches of data-free movers: from what sensors see of a solution to features.

The last layer of a branch is linear and stands apart, as it may be trained by itself.
"""

import abc
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..nn import Convolution, Padding
from ..nn._layers import Perceptron, apply_linear
from ..pdes import Grid
from .basis import analyze, count_modes


class AbstractBranch(eqx.Module):
    """A network from sensors `(channel, *sensor)` to features `(feature,)`."""

    @property
    @abc.abstractmethod
    def features(self) -> int:
        """How many features it has."""

    @property
    @abc.abstractmethod
    def last(self) -> eqx.Module:
        """The last layer."""

    @abc.abstractmethod
    def replace_last(self, layer: eqx.Module) -> "AbstractBranch":
        """The same branch with another last layer.

        **Arguments:**

        - `layer`: the layer.

        **Returns:** the branch.
        """

    @abc.abstractmethod
    def prepare(self, seen: Float[Array, "channel *sensor"]) -> PyTree:
        """All but the last layer.

        **Arguments:**

        - `seen`: of size about one, `(channel, *sensor)`.

        **Returns:** what `finish` takes.
        """

    @abc.abstractmethod
    def finish(self, prepared: PyTree) -> Float[Array, " feature"]:
        """The last layer.

        **Arguments:**

        - `prepared`: what `prepare` returned.

        **Returns:** features `(feature,)`.
        """


class DenseBranch(AbstractBranch):
    """A multilayer perceptron over all sensors.

    **Arguments:**

    - `sensors`: the shape of what it is given, `(channel, *sensor)`.
    - `features`: how many it returns.
    - `width`, `depth`: of its hidden layers.
    - `activation`: the pointwise nonlinearity.
    - `key`: a random key.
    """

    network: Perceptron

    def __init__(
        self,
        sensors: tuple[int, ...],
        features: int,
        *,
        width: int = 128,
        depth: int = 2,
        activation: Callable[[Array], Array] = jax.nn.gelu,
        key: PRNGKeyArray,
    ):
        self.network = _start_small(
            Perceptron(math.prod(sensors), features, width=width, depth=depth, activation=activation, key=key)
        )

    @property
    def features(self):
        """See `AbstractBranch.features`."""
        return self.network.last.weight.shape[0]

    @property
    def last(self):
        """See `AbstractBranch.last`."""
        return self.network.last

    def replace_last(self, layer):
        """See `AbstractBranch.replace_last`."""
        return eqx.tree_at(lambda b: b.network.last, self, layer)

    def prepare(self, seen):
        """See `AbstractBranch.prepare`."""
        network = self.network
        x = network.activation(apply_linear(network.first, seen.reshape(-1)))
        if network.hidden is not None:

            def step(x, layer):
                return network.activation(apply_linear(layer, x)), None

            x = jax.lax.scan(step, x, network.hidden)[0]
        return x

    def finish(self, prepared):
        """See `AbstractBranch.finish`."""
        return apply_linear(self.network.last, prepared)


class ConvolutionBranch(AbstractBranch):
    """Convolutions, of which the first and the last leave out every other sensor, and a perceptron: as published.

    The first result is added to the third: 1 -> 8 (stride 2) -> 16 -> 8 (+) -> 1 (stride 2), then two layers.

    **Arguments:**

    - `sensors`: the shape of what it is given, `(channel, *sensor)`, two axes.
    - `features`: how many it returns.
    - `width`: of the perceptron's hidden layer.
    - `channels`: of the convolutions inside.
    - `periodic`: whether they go around the box; else they see zeros beyond walls.
    - `activation`: the pointwise nonlinearity.
    - `key`: a random key.

    **Raises:** `ValueError` for sensors of other than two axes, or whose number is not divisible by 4.
    """

    convolutions: tuple[Convolution, ...]
    network: Perceptron
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        sensors: tuple[int, ...],
        features: int,
        *,
        width: int = 1024,
        channels: tuple[int, int] = (8, 16),
        periodic: bool = False,
        activation: Callable[[Array], Array] = jnp.tanh,
        key: PRNGKeyArray,
    ):
        if len(sensors) != 3 or any(n % 4 for n in sensors[1:]):
            raise ValueError(
                f"ConvolutionBranch takes sensors (channel, x, y), x and y divisible by 4; got {sensors}. DenseBranch "
                "takes any."
            )
        *keys, dense = jax.random.split(key, 5)
        few, many = channels
        sizes = [(sensors[0], few), (few, many), (many, few), (few, 1)]
        padding = Padding.PERIODIC if periodic else Padding.ZEROS
        self.convolutions = tuple(
            Convolution(2, old, new, kernel_size=5, padding=padding, key=k)
            for (old, new), k in zip(sizes, keys, strict=True)
        )
        flat = math.prod(n // 4 for n in sensors[1:])
        self.network = Perceptron(flat, features, width=width, depth=1, activation=activation, key=dense)
        self.activation = activation

    @property
    def features(self):
        """See `AbstractBranch.features`."""
        return self.network.last.weight.shape[0]

    @property
    def last(self):
        """See `AbstractBranch.last`."""
        return self.network.last

    def replace_last(self, layer):
        """See `AbstractBranch.replace_last`."""
        return eqx.tree_at(lambda b: b.network.last, self, layer)

    def prepare(self, seen):
        """See `AbstractBranch.prepare`."""
        one, two, three, four = self.convolutions
        start = self.activation(one(seen)[:, ::2, ::2])
        x = self.activation(three(self.activation(two(start)))) + start
        x = self.activation(four(x)[:, ::2, ::2])
        return self.network.activation(apply_linear(self.network.first, x.reshape(-1)))

    def finish(self, prepared):
        """See `AbstractBranch.finish`."""
        return apply_linear(self.network.last, prepared)


class FieldBranch(AbstractBranch):
    """A network from field to field, such as `FNO` or `ConvNet`, and the coefficients of the field it returns.

    On a periodic box it commutes with translations, as the map it has to learn does. Its last layer joins the network's
    channels to one field.

    **Arguments:**

    - `network`: from `(channel, *sensor)` to `(hidden, *sensor)`, two channels or more for the last layer to join.
    - `hidden`: how many channels it returns.
    - `grid`: the sensors are at the points of this grid.
    - `modes`: as for `SpectralPotential`.
    - `activation`: before the last layer.
    - `key`: a random key.

    **Raises:** `ValueError` for more modes than sensors along an axis.
    """

    network: eqx.Module
    join: eqx.nn.Linear
    sensors: tuple[int, ...] = eqx.field(static=True)
    periodic: tuple[bool, ...] = eqx.field(static=True)
    modes: tuple[int, ...] = eqx.field(static=True)
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        network: eqx.Module,
        hidden: int,
        grid: Grid,
        modes: int | tuple[int, ...],
        *,
        activation: Callable[[Array], Array] = jax.nn.gelu,
        key: PRNGKeyArray,
    ):
        self.modes = count_modes(grid.box, modes)
        self.sensors, self.periodic = grid.shape, grid.box.periodic
        for axis, (sensors, count) in enumerate(zip(self.sensors, self.modes, strict=True)):
            if count > sensors:
                raise ValueError(
                    f"FieldBranch: {count} modes on axis {axis} are more than its {sensors} sensors. Take fewer modes, "
                    "or more sensors."
                )
        self.network = network
        self.join = _shrink(eqx.nn.Linear(hidden, 1, use_bias=False, key=key))
        self.activation = activation

    @property
    def features(self):
        """As many as there are modes."""
        return math.prod(self.modes)

    @property
    def last(self):
        """See `AbstractBranch.last`."""
        return self.join

    def replace_last(self, layer):
        """See `AbstractBranch.replace_last`."""
        return eqx.tree_at(lambda b: b.join, self, layer)

    def prepare(self, seen):
        """See `AbstractBranch.prepare`."""
        field = self.activation(self.network(seen))
        for n, count, periodic in zip(self.sensors, self.modes, self.periodic, strict=True):
            # The first axis of space goes to the end each time, so after all axes they stand as before.
            matrix = jnp.asarray(analyze(n, count, periodic).T, field.dtype)
            field = jnp.matmul(jnp.moveaxis(field, 1, -1), matrix, precision=jax.lax.Precision.HIGHEST)
        return field.reshape(len(field), -1)

    def finish(self, prepared):
        """See `AbstractBranch.finish`."""
        return (self.join.weight @ prepared)[0]


def _start_small(network: Perceptron) -> Perceptron:
    """Mappings begin near the identity, which is convex."""
    return eqx.tree_at(lambda n: n.last, network, _shrink(network.last))


def _shrink(layer: eqx.nn.Linear) -> eqx.nn.Linear:
    return jax.tree.map(lambda x: 0.1 * x, layer)
