"""Learned interpolation: the value at a point is a sum of those at its nearest nodes, with weights from a network."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ._checks import check_positive
from ._layers import Perceptron
from .neighbors import Periods, _shorten, _spread_periods, nearest_points


class AbstractLearnedInterpolation(eqx.Module):
    """`value(y) = sum_j w_j(y, x_1, ..., x_k) value_j` over the `k` nodes that are nearest to `y`."""

    neighbors: eqx.AbstractVar[int]
    periods: eqx.AbstractVar[Periods]

    @abc.abstractmethod
    def weigh(
        self, queries: Float[Array, "query dim"], near: Float[Array, "query neighbor dim"]
    ) -> Float[Array, "query neighbor"]:
        """The weights.

        **Arguments:**

        - `queries`: positions `(query, dim)`, a length.
        - `near`: positions of the nearest nodes `(query, neighbor, dim)`, nearest first.

        **Returns:** `(query, neighbor)`.
        """

    def __call__(
        self,
        values: Float[Array, "channel node"],
        nodes: Float[Array, "node dim"],
        queries: Float[Array, "query dim"],
        senders: Int[Array, "query neighbor"] | None = None,
    ) -> Float[Array, "channel query"]:
        """Interpolate.

        **Arguments:**

        - `values`: at the nodes, `(channel, node)`.
        - `nodes`: their positions `(node, dim)`, a length.
        - `queries`: where values are wanted, `(query, dim)`.
        - `senders`: what `find` says, `(query, neighbor)`, where that is known already.

        **Returns:** `(channel, query)`.

        **Raises:** `ValueError` for a wrong shape, or fewer nodes than neighbors.
        """
        name = type(self).__name__
        if values.ndim != 2 or values.shape[1:] != nodes.shape[:1]:
            raise ValueError(
                f"{name} got values of shape {values.shape} for nodes {nodes.shape}; expected (channel, node) and "
                "(node, dim). If the first axis is a batch, use jax.vmap."
            )
        if senders is None:
            senders = self.find(nodes, queries)
        if senders.shape != (len(queries), self.neighbors):
            raise ValueError(
                f"{name} got senders of shape {senders.shape} for {len(queries)} queries; it interpolates from "
                f"{self.neighbors} neighbors each. Take those that find(nodes, queries) returns."
            )
        return jnp.einsum("qk,cqk->cq", self.weigh(queries, nodes[senders]), values[:, senders])

    def find(
        self, nodes: Float[Array, "node dim"], queries: Float[Array, "query dim"]
    ) -> Int[Array, "query neighbor"]:
        """The nodes a value is made of: the search is the larger part of an interpolation.

        **Arguments:**

        - `nodes`: positions `(node, dim)`, a length.
        - `queries`: where values are wanted, `(query, dim)`.

        **Returns:** indices of nodes `(query, neighbor)`, nearest first.

        **Raises:** `ValueError` for a wrong shape, or fewer nodes than neighbors.
        """
        return nearest_points(queries, nodes, self.neighbors, periods=self.periods)


class RelativeInterpolation(AbstractLearnedInterpolation):
    """Weights that see relative positions only, and with which constants and linear functions are exact.

    Each neighbor gets a score from its offset and distance, in units of the mean distance of the neighbors, by one
    network for all. A softmax of scores and distances gives positive weights; a function linear in the offset times
    these makes their sum one and their mean position the query, as moving least squares does.

    **Arguments:**

    - `dims`: how many coordinates a position has.
    - `neighbors`: how many nodes a value is made of.
    - `width`, `depth`: of the network.
    - `periods`: as for `nearest_neighbors`.
    - `activation`: between its layers.
    - `key`: a random key.

    **Raises:** `ValueError` for a bad size.
    """

    score: Perceptron
    neighbors: int = eqx.field(static=True)
    periods: Periods = eqx.field(static=True)

    def __init__(
        self,
        dims: int,
        *,
        neighbors: int = 12,
        width: int = 32,
        depth: int = 2,
        periods: Periods = None,
        activation: Callable[[Array], Array] = jax.nn.gelu,
        key: PRNGKeyArray,
    ):
        check_positive("RelativeInterpolation", dims=dims, neighbors=neighbors, width=width, depth=depth)
        score = Perceptron(dims + 1, 1, width=width, depth=depth, activation=activation, key=key)
        # At the start distances decide.
        self.score = eqx.tree_at(lambda p: p.last.weight, score, 0.1 * score.last.weight)
        self.neighbors, self.periods = neighbors, periods

    def weigh(self, queries, near):
        """See `AbstractLearnedInterpolation.weigh` for shapes; each row sums to one."""
        periods = _spread_periods("RelativeInterpolation", self.periods, near.shape[-1])
        offsets = _shorten(near - queries[:, None], periods)
        # Not at the kink of the root, whose derivative is NaN, where a query is a node.
        distances = jnp.sqrt(jnp.sum(offsets**2, axis=-1, keepdims=True) + 1e-24)
        unit = jnp.mean(distances, axis=1, keepdims=True)
        offsets, distances = offsets / unit, distances / unit
        scores = self.score(jnp.concatenate([offsets, distances], axis=-1)) - 4 * distances**2
        positive = jax.nn.softmax(scores, axis=1)
        center = jnp.sum(positive * offsets, axis=1, keepdims=True)
        around = offsets - center
        spread = jnp.einsum("qkd,qke->qde", positive * around, around)
        # Nodes on a line say nothing of what is beside it.
        spread = spread + 1e-6 * jnp.eye(near.shape[-1], dtype=spread.dtype)
        slope = jnp.linalg.solve(spread, jnp.swapaxes(center, 1, 2))
        return (positive * (1 - around @ slope))[..., 0]


class AbsoluteInterpolation(AbstractLearnedInterpolation):
    """The published form: a network of all absolute coordinates, and weights that need not sum to one.

    **Arguments:**

    - `dims`, `neighbors`, `periods`, `key`: as for `RelativeInterpolation`; 30 neighbors as published.
    - `widths`: of the hidden layers.

    **Raises:** `ValueError` for a bad size.

    **Reference:** Hu, Wang, Ma, "Better neural PDE solvers through data-free mesh movers", ICLR 2024.
    """

    layers: tuple[eqx.nn.Linear, ...]
    neighbors: int = eqx.field(static=True)
    periods: Periods = eqx.field(static=True)

    def __init__(
        self,
        dims: int,
        *,
        neighbors: int = 30,
        widths: tuple[int, ...] = (128, 64),
        periods: Periods = None,
        key: PRNGKeyArray,
    ):
        check_positive("AbsoluteInterpolation", dims=dims, neighbors=neighbors)
        sizes = ((neighbors + 1) * dims, *widths, neighbors)
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = tuple(
            eqx.nn.Linear(before, after, key=k) for before, after, k in zip(sizes, sizes[1:], keys)
        )
        self.neighbors, self.periods = neighbors, periods

    def weigh(self, queries, near):
        """See `AbstractLearnedInterpolation.weigh` for shapes; rows need not sum to one."""
        x = jnp.concatenate([near.reshape(len(near), -1), queries], axis=1)
        for layer in self.layers[:-1]:
            x = jnp.tanh(jax.vmap(layer)(x))
        return jax.vmap(self.layers[-1])(x)
