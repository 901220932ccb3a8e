"""A U-Net on a graph whose edges stay while its nodes move: messages on ever coarser graphs, joined by skips.

The coarse graphs come from the edges alone. Of every graph a largest set of nodes is kept no two of which are joined,
about a fourth of them on a triangle mesh; every other node belongs to one of its neighbors in that set, and two kept
nodes are joined where any of their nodes are. So the coarse graphs stay, too: they are made once, and what moves is
where a coarse node is, the mean of its own.
"""

import itertools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ._checks import check_positive
from ._layers import Perceptron, scan_layers, stack_layers
from .message_passing import Aggregation, MessageLayer


class GraphLevel(eqx.Module):
    """One graph of a hierarchy, and what of it belongs to the next.

    **Arguments:**

    - `senders`: the neighbors of each node `(node, neighbor)`; rows are filled up by the node itself.
    - `parents`: the node of the next graph that each belongs to, `(node,)`.
    - `children`: the nodes that belong to each of the next graph, `(parent, child)`; rows are filled up by the first.
    - `sizes`: how many nodes belong to each of the next graph, `(parent,)`.
    """

    senders: Int[Array, "node neighbor"]
    parents: Int[Array, " node"]
    children: Int[Array, "parent child"]
    sizes: Int[
        Array, " parent"
    ]  # whole numbers: weights in their place would be trained as the network's own are

    @property
    def shares(self) -> Float[Array, "parent child"]:
        """The weights of the children, which add up to one, `(parent, child)`."""
        sizes = self.sizes[:, None]
        return jnp.where(jnp.arange(self.children.shape[1]) < sizes, 1 / sizes, 0.0)

    def pool(self, values: Float[Array, "node feature"]) -> Float[Array, "parent feature"]:
        """The mean over the nodes that belong together.

        **Arguments:**

        - `values`: `(node, feature)`.

        **Returns:** `(parent, feature)`.
        """
        return jnp.sum(values[self.children] * self.shares.astype(values.dtype)[..., None], axis=1)


class GraphHierarchy(eqx.Module):
    """A graph and coarser ones, made by `coarsen_graph`.

    **Arguments:**

    - `levels`: from the graph itself on, each with its way to the next.
    - `senders`: the neighbors in the coarsest graph, `(node, neighbor)`.
    """

    levels: tuple[GraphLevel, ...]
    senders: Int[Array, "node neighbor"]

    @property
    def nodes(self) -> tuple[int, ...]:
        """How many nodes each graph has."""
        return (*(len(level.senders) for level in self.levels), len(self.senders))


def coarsen_graph(edges: Int[np.ndarray, "edge 2"], nodes: int, *, levels: int) -> GraphHierarchy:
    """Make coarser graphs of a graph. It runs in NumPy; nothing is random.

    **Arguments:**

    - `edges`: the ends of each edge, once, `(edge, 2)`.
    - `nodes`: how many.
    - `levels`: how many coarser graphs.

    **Returns:** all of them.

    **Raises:** `ValueError` for edges between nodes that do not exist, or a graph too small for so many levels.
    """
    check_positive("coarsen_graph", nodes=nodes, levels=levels + 1)
    edges = np.asarray(edges)
    if edges.ndim != 2 or edges.shape[1] != 2 or (edges.size and not 0 <= edges.min() <= edges.max() < nodes):
        raise ValueError(
            f"coarsen_graph needs edges (edge, 2) between nodes 0 to {nodes - 1}; got shape {edges.shape} with indices "
            f"from {edges.min(initial=0)} to {edges.max(initial=0)}."
        )
    found, count = [], nodes
    for level in range(levels):
        touching = _list_neighbors(edges, count)
        parents = _choose_parents(touching)
        coarse = int(parents.max()) + 1
        if coarse < 2:
            raise ValueError(
                f"coarsen_graph: a graph of {nodes} nodes has only one left at level {level + 1} of {levels}. Ask for "
                f"levels={level}."
            )
        groups = [np.flatnonzero(parents == k) for k in range(coarse)]
        children = _fill(groups, [group[0] for group in groups])
        arrays = _fill(touching, range(count)), parents, children, [len(group) for group in groups]
        found.append(GraphLevel(*(jnp.asarray(a, jnp.int32) for a in arrays)))
        edges = np.unique(np.sort(parents[edges], axis=1), axis=0)
        edges, count = edges[edges[:, 0] != edges[:, 1]], coarse
    last = _fill(_list_neighbors(edges, count), range(count))
    return GraphHierarchy(tuple(found), jnp.asarray(last, jnp.int32))


class GraphUNet(eqx.Module):
    """Messages down a hierarchy of graphs and up again, at level `l` with `width * min(2**l, 2)` features.

    Edges carry the offset of their ends over the mean length of edges of their graph, and its length. Nothing else is
    known of where nodes are, so the network is the same wherever the mesh is.

    **Arguments:**

    - `dims`: how many coordinates a node has.
    - `node_features`, `out_features`: per node.
    - `width`: the features of the finest graph.
    - `levels`: how many coarser graphs.
    - `depth`: how often messages are passed on each graph, down and up.
    - `activation`: between layers.
    - `key`: a random key.

    **Raises:** `ValueError` for a bad size.
    """

    encode: Perceptron
    down: tuple[MessageLayer, ...]
    coarsen: tuple[eqx.nn.Linear, ...]
    bottom: MessageLayer
    refine: tuple[eqx.nn.Linear, ...]
    up: tuple[MessageLayer, ...]
    norm: eqx.nn.LayerNorm
    decode: Perceptron
    levels: int = eqx.field(static=True)
    depth: int = eqx.field(static=True)

    def __init__(
        self,
        dims: int,
        node_features: int,
        out_features: int,
        *,
        width: int = 32,
        levels: int = 2,
        depth: int = 2,
        activation: Callable[[Array], Array] = jax.nn.silu,
        key: PRNGKeyArray,
    ):
        check_positive(
            "GraphUNet", dims=dims, node_features=node_features, out_features=out_features, width=width
        )
        check_positive("GraphUNet", levels=levels + 1, depth=depth)
        keys = iter(jax.random.split(key, 4 * levels + 3))
        widths = [width * min(2**level, 2) for level in range(levels + 1)]

        def messages(size):
            def make(key):
                return MessageLayer(
                    size,
                    dims + 1,
                    message_depth=1,
                    aggregation=Aggregation.MEAN,
                    activation=activation,
                    key=key,
                )

            return stack_layers(make, depth, next(keys))

        self.encode = Perceptron(
            node_features, width, width=width, depth=1, activation=activation, key=next(keys)
        )
        self.down = tuple(messages(size) for size in widths[:-1])
        # What goes to a coarser graph also knows where its node is from there.
        self.coarsen = tuple(
            eqx.nn.Linear(fine + dims, coarse, key=next(keys)) for fine, coarse in itertools.pairwise(widths)
        )
        self.bottom = messages(widths[-1])
        self.refine = tuple(
            eqx.nn.Linear(coarse + dims, fine, key=next(keys)) for fine, coarse in itertools.pairwise(widths)
        )
        self.up = tuple(messages(size) for size in widths[:-1])
        self.norm = eqx.nn.LayerNorm(width)
        self.decode = Perceptron(
            width, out_features, width=width, depth=1, activation=activation, key=next(keys)
        )
        self.levels, self.depth = levels, depth

    def __call__(
        self,
        nodes: Float[Array, "node feature"],
        positions: Float[Array, "node dim"],
        hierarchy: GraphHierarchy,
    ) -> Float[Array, "node out"]:
        """Apply the network.

        **Arguments:**

        - `nodes`: node features `(node, feature)`.
        - `positions`: of the nodes `(node, dim)`, a length.
        - `hierarchy`: of the graph, by `coarsen_graph` with as many levels.

        **Returns:** `(node, out)`.

        **Raises:** `ValueError` for another number of nodes, features or levels.
        """
        self._check(nodes, positions, hierarchy)
        h, skips, edges, places = self.encode(nodes), [], [], []
        for level, layers, mix in zip(hierarchy.levels, self.down, self.coarsen, strict=True):
            edge = _describe_edges(positions, level.senders)
            h = scan_layers(layers, h, self.depth, level.senders, edge)
            centers = level.pool(positions)
            away = (positions - centers[level.parents]) / _edge_length(positions, level.senders)
            skips.append(h)
            edges.append(edge)
            places.append(away.astype(h.dtype))
            h = level.pool(h @ mix.weight[:, : h.shape[1]].T + places[-1] @ mix.weight[:, h.shape[1] :].T)
            h, positions = h + mix.bias, centers
        h = scan_layers(
            self.bottom, h, self.depth, hierarchy.senders, _describe_edges(positions, hierarchy.senders)
        )
        for k in reversed(range(self.levels)):
            level, mix = hierarchy.levels[k], self.refine[k]
            # Linear in both parts: what comes from the coarse node is multiplied once, before it is handed out.
            size = h.shape[1]
            handed = (h @ mix.weight[:, :size].T + mix.bias)[level.parents]
            h = skips[k] + handed + places[k] @ mix.weight[:, size:].T
            h = scan_layers(self.up[k], h, self.depth, level.senders, edges[k])
        return self.decode(jax.vmap(self.norm)(h))

    def _check(self, nodes, positions, hierarchy) -> None:
        features, count = self.encode.first.in_features, hierarchy.nodes[0]
        if nodes.shape != (count, features) or positions.shape[:1] != (count,):
            raise ValueError(
                f"GraphUNet got nodes of shape {nodes.shape} at positions {positions.shape}; it was built for "
                f"(node, {features}), and the hierarchy for {count} nodes."
            )
        if len(hierarchy.levels) != self.levels:
            raise ValueError(
                f"GraphUNet has {self.levels} levels; the hierarchy has {len(hierarchy.levels)}. Write "
                f"coarsen_graph(edges, nodes, levels={self.levels})."
            )


def _edge_length(positions: Array, senders: Array) -> Array:
    """The mean length of edges, a scalar."""
    along = positions[:, None] - positions[senders]
    lengths = jnp.sqrt(jnp.sum(along**2, axis=-1) + 1e-24)
    return jnp.sum(lengths) / jnp.sum(senders != jnp.arange(len(senders))[:, None])


def _describe_edges(positions: Array, senders: Array) -> Array:
    """Offset and length in units of the mean edge, `(node, neighbor, dim + 1)`."""
    along = (positions[:, None] - positions[senders]) / _edge_length(positions, senders)
    return jnp.concatenate([along, jnp.sqrt(jnp.sum(along**2, axis=-1, keepdims=True) + 1e-12)], axis=-1)


def _list_neighbors(edges: np.ndarray, count: int) -> list[np.ndarray]:
    both = np.concatenate([edges, edges[:, ::-1]])
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    return np.split(both[:, 1], np.cumsum(np.bincount(both[:, 0], minlength=count))[:-1])


def _choose_parents(touching: list[np.ndarray]) -> np.ndarray:
    """For each node the number of the kept one it belongs to: itself, or the neighbor with the fewest so far."""
    count = len(touching)
    kept = np.zeros(count, bool)
    blocked = np.zeros(count, bool)
    for node in range(count):
        if not blocked[node]:
            kept[node] = True
            blocked[touching[node]] = True
    number = np.cumsum(kept) - 1
    parents, sizes = np.where(kept, number, -1), np.ones(int(kept.sum()), int)
    for node in np.flatnonzero(~kept):
        near = number[touching[node][kept[touching[node]]]]
        parents[node] = near[np.argmin(sizes[near])]
        sizes[parents[node]] += 1
    return parents


def _fill(rows, fillers) -> np.ndarray:
    """Rows of different lengths as one array, filled up at their ends."""
    most = max(map(len, rows))
    return np.array(
        [[*row, *[filler] * (most - len(row))] for row, filler in zip(rows, fillers, strict=True)]
    )
