"""A network with its first and second derivatives, carried forward beside the value in one pass.

Through a linear layer value and derivatives go alike; through an activation `f` they go by the chain rule,

    f(v)_i = f'(v) v_i,        f(v)_ij = f''(v) v_i v_j + f'(v) v_ij.

For a scalar output in two dimensions this is six times the work of the value, where nested reverse passes build, and
differentiate, a graph of the graph.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..nn._layers import Perceptron


class Jet(NamedTuple):
    """Features with their derivatives by position.

    **Arguments:**

    - `value`: `(point, feature)`.
    - `first`: `(dim, point, feature)`.
    - `second`: the pure ones of each axis, then the mixed ones, `(pair, point, feature)`.
    """

    value: Float[Array, "point feature"]
    first: Float[Array, "dim point feature"]
    second: Float[Array, "pair point feature"]

    def map(self, weight: Float[Array, "out feature"], shift: Float[Array, " out"]) -> "Jet":
        """Go through a linear layer.

        **Arguments:**

        - `weight`: `(out, feature)`.
        - `shift`: `(out,)`.

        **Returns:** the jet after it.
        """
        return Jet(self.value @ weight.T + shift, self.first @ weight.T, self.second @ weight.T)

    def apply(self, layer: eqx.nn.Linear) -> "Jet":
        """Go through a linear layer.

        **Arguments:**

        - `layer`: the layer.

        **Returns:** the jet after it.
        """
        return self.map(layer.weight, layer.bias)

    def activate(self, function: Callable[[Array], Array]) -> "Jet":
        """Go through an activation.

        **Arguments:**

        - `function`: pointwise.

        **Returns:** the jet after it.
        """
        one = jnp.ones_like(self.value)

        def differentiate(v):
            return jax.jvp(function, (v,), (one,))

        (value, slope), (_, bend) = jax.jvp(differentiate, (self.value,), (one,))
        axes = range(len(self.first))
        pairs = [(i, i) for i in axes] + list(itertools.combinations(axes, 2))
        squares = jnp.stack([self.first[i] * self.first[j] for i, j in pairs])
        return Jet(value, slope * self.first, bend * squares + slope * self.second)


def start_jet(
    columns: list[list[Float[Array, " point"]]],
    slopes: list[list[Float[Array, " point"]]],
    bends: list[list[Float[Array, " point"]]],
) -> Jet:
    """Features of which each depends on one coordinate.

    **Arguments:**

    - `columns`: for each axis its features, `(point,)` each.
    - `slopes`, `bends`: their first and second derivatives along that axis, `(point,)` each.

    **Returns:** the jet.
    """
    flat = [x for own in columns for x in own]
    owner = [axis for axis, own in enumerate(columns) for _ in own]
    axes = range(len(columns))

    def along(derivatives, axis):
        flat = [x for own in derivatives for x in own]
        return jnp.stack(
            [x if axis == mine else jnp.zeros_like(x) for x, mine in zip(flat, owner, strict=True)], -1
        )

    first = jnp.stack([along(slopes, axis) for axis in axes])
    pure = [along(bends, axis) for axis in axes]
    mixed = [jnp.zeros_like(pure[0]) for _ in itertools.combinations(axes, 2)]
    return Jet(jnp.stack(flat, -1), first, jnp.stack(pure + mixed))


def apply_layers(
    network: Perceptron, jet: Jet, *, last: bool = True, end: Callable[[Array], Array] | None = None
) -> Jet:
    """Go through a perceptron, from behind its first linear layer on.

    **Arguments:**

    - `network`: the perceptron.
    - `jet`: what has gone through its first linear layer.
    - `last`: whether to go through its last layer, too.
    - `end`: an activation after that.

    **Returns:** what comes out.
    """
    jet = jet.activate(network.activation)
    if network.hidden is not None:

        def step(jet, layer):
            return jet.apply(layer).activate(network.activation), None

        jet = jax.lax.scan(step, jet, network.hidden, unroll=network.unroll)[0]
    if last:
        jet = jet.apply(network.last)
    return jet if end is None else jet.activate(end)
