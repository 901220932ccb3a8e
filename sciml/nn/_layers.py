"""Pieces the networks share: layers stacked and scanned, and linear maps over channels or over the last axis."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._checks import check_positive


def stack_layers(make: Callable[[PRNGKeyArray], eqx.Module], depth: int, key: PRNGKeyArray) -> eqx.Module:
    """Build equal layers as one module whose arrays have a leading layer axis.

    **Arguments:**

    - `make`: builds one layer from a key.
    - `depth`: the number of layers.
    - `key`: a random key.

    **Returns:** the layer with a leading axis of length `depth` on every array.
    """
    return eqx.filter_vmap(make)(jax.random.split(key, depth))


def scan_layers(layers: eqx.Module, x: Array, unroll: int, *extra: Array) -> Array:
    """Apply stacked layers one after another, `x <- layer(x, *extra)`, compiling the layer once.

    **Arguments:**

    - `layers`: what `stack_layers` made.
    - `x`: what the first layer takes and every layer returns.
    - `unroll`: layers laid out per turn of the loop.
    - `extra`: further arguments, the same for every layer.

    **Returns:** what the last layer returns, of the shape of `x`.
    """
    arrays, static = eqx.partition(layers, eqx.is_array)

    def step(x, layer):
        return eqx.combine(layer, static)(x, *extra), None

    return jax.lax.scan(step, x, arrays, unroll=unroll)[0]


class ChannelLinear(eqx.Module):
    """An affine map of the channels, the same at every point: `y_o = sum_i W_oi x_i + b_o`.

    **Arguments:**

    - `in_channels`, `out_channels`: the numbers of channels.
    - `key`: a random key (keyword only).
    """

    weight: Float[Array, "out_channel in_channel"]
    bias: Float[Array, " out_channel"]

    def __init__(self, in_channels: int, out_channels: int, *, key: PRNGKeyArray):
        bound = 1 / math.sqrt(in_channels)
        self.weight = jax.random.uniform(key, (out_channels, in_channels), minval=-bound, maxval=bound)
        self.bias = jnp.zeros(out_channels)

    def __call__(self, x: Float[Array, "in_channel *space"]) -> Float[Array, "out_channel *space"]:
        """Map the channels of a field.

        **Arguments:**

        - `x`: a field `(in_channel, *space)`.

        **Returns:** a field `(out_channel, *space)`.
        """
        y = jnp.einsum("oi,i...->o...", self.weight, x)
        return y + self.bias.reshape((-1,) + (1,) * (x.ndim - 1))


def apply_linear(linear: eqx.nn.Linear, x: Float[Array, "*rows feature"]) -> Float[Array, "*rows out"]:
    """Apply a linear layer to the last axis.

    **Arguments:**

    - `linear`: the layer.
    - `x`: features `(*rows, feature)`.

    **Returns:** features `(*rows, out)`.
    """
    y = x @ linear.weight.T
    return y if linear.bias is None else y + linear.bias


class Perceptron(eqx.Module):
    """A multilayer perceptron over the last axis, all leaves of which are arrays (in equinox's the activation is one).

    **Arguments:**

    - `in_features`, `out_features`, `width`: the sizes.
    - `depth`: the number of hidden layers, at least 1.
    - `activation`: the pointwise nonlinearity.
    - `unroll`: see `FNO`.
    - `key`: a random key (keyword only).
    """

    first: eqx.nn.Linear
    hidden: eqx.nn.Linear | None
    last: eqx.nn.Linear
    activation: Callable[[Array], Array] = eqx.field(static=True)
    unroll: int = eqx.field(static=True)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        width: int,
        depth: int,
        activation: Callable[[Array], Array],
        unroll: int = 1,
        key: PRNGKeyArray,
    ):
        check_positive(
            "Perceptron", in_features=in_features, out_features=out_features, width=width, depth=depth
        )
        first, hidden, last = jax.random.split(key, 3)
        self.first = eqx.nn.Linear(in_features, width, key=first)
        self.hidden = None
        if depth > 1:
            self.hidden = stack_layers(lambda k: eqx.nn.Linear(width, width, key=k), depth - 1, hidden)
        self.last = eqx.nn.Linear(width, out_features, key=last)
        self.activation = activation
        self.unroll = unroll

    def __call__(self, x: Float[Array, "*rows feature"]) -> Float[Array, "*rows out"]:
        """Map every row of features.

        **Arguments:**

        - `x`: features `(*rows, feature)`.

        **Returns:** features `(*rows, out)`.
        """
        x = self.activation(apply_linear(self.first, x))
        if self.hidden is not None:

            def step(x, layer):
                return self.activation(apply_linear(layer, x)), None

            x = jax.lax.scan(step, x, self.hidden, unroll=self.unroll)[0]
        return apply_linear(self.last, x)
