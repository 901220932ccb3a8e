"""Message passing against a loop over edges, and its symmetries."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.nn import Aggregation, MessagePassing, measure_displacements, nearest_neighbors

NODES, EDGES = 6, 14


def _make(key, **options):
    return MessagePassing(2, 3, 1, **{"width": 5, "depth": 2, **options}, key=key)


def _graph(key):
    a, b, c, d = jax.random.split(key, 4)
    # Node 5 receives nothing.
    senders, receivers = jax.random.randint(a, EDGES, 0, NODES), jax.random.randint(b, EDGES, 0, NODES - 1)
    return jax.random.normal(c, (NODES, 2)), senders, receivers, jax.random.normal(d, (EDGES, 3))


def _loop(model, nodes, senders, receivers, edges):
    """The equations of the docstring, edge by edge."""
    h = np.stack([model.encode(node) for node in nodes])
    for index in range(model.layers.norm.weight.shape[0]):
        layer = jax.tree.map(lambda leaf, index=index: leaf[index], model.layers)
        n = np.stack([layer.norm(row) for row in h])
        inbox = [[] for _ in nodes]
        for j, i, edge in zip(senders.tolist(), receivers.tolist(), edges, strict=True):
            m = layer.from_sender(n[j]) + layer.from_receiver(n[i]) + layer.from_edge(edge)
            m = layer.activation(m)
            for linear in layer.hidden:
                m = layer.activation(linear(m))
            inbox[i].append(m)
        total = np.stack([np.sum(np.stack(m), axis=0) if m else np.zeros(h.shape[1]) for m in inbox])
        if layer.aggregation is Aggregation.MEAN:
            total /= np.array([max(len(m), 1) for m in inbox])[:, None]
        h = h + np.stack([layer.update(jnp.concatenate([a, b])) for a, b in zip(n, total, strict=True)])
    return np.stack([model.decode(model.norm(row)) for row in h])


@pytest.mark.parametrize("aggregation", list(Aggregation))
@pytest.mark.parametrize("message_depth", [1, 2, 3])
def test_equals_a_loop_over_edges(key, aggregation, message_depth):
    """Exact: the linear maps done per node are those done per edge, to rounding."""
    model = _make(key, aggregation=aggregation, message_depth=message_depth)
    graph = _graph(key)
    np.testing.assert_allclose(model(*graph), _loop(model, *graph), atol=1e-12)


@pytest.mark.parametrize("aggregation", list(Aggregation))
def test_both_forms_of_a_graph_agree(key, aggregation):
    """Exact: a row of senders per node, and the same edges in any order, with gradients."""
    model = _make(key, aggregation=aggregation)
    points = jax.random.uniform(key, (8, 3))
    senders = nearest_neighbors(points, 4)
    edges, nodes = measure_displacements(points, senders), points[:, :2]
    order = jax.random.permutation(key, 32)
    receivers = jnp.repeat(jnp.arange(8), 4)[order]

    def run(*graph):
        return jax.value_and_grad(lambda m: jnp.sum(m(*graph) ** 2))(model)

    dense = run(nodes, senders, None, edges)
    flat = run(nodes, senders.reshape(-1)[order], receivers, edges.reshape(-1, 3)[order])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), dense, flat)


def test_renaming_the_nodes_renames_the_output(key):
    """Property: equivariance to permutations."""
    model = _make(key)
    nodes, senders, receivers, edges = _graph(key)
    order = jax.random.permutation(key, NODES)
    place = jnp.argsort(order)
    np.testing.assert_allclose(
        model(nodes[order], place[senders], place[receivers], edges),
        model(nodes, senders, receivers, edges)[order],
        atol=1e-12,
    )


def test_padding_edges_are_ignored(key):
    """Property: an edge to the node one past the last changes neither the result nor the gradient."""
    model = _make(key)
    nodes, senders, receivers, edges = _graph(key)
    more = (
        nodes,
        jnp.concatenate([senders, jnp.array([NODES, 0])]),
        jnp.concatenate([receivers, jnp.array([NODES, NODES])]),
        jnp.concatenate([edges, jnp.zeros((2, 3))]),
    )

    def run(graph):
        return jax.value_and_grad(lambda m: jnp.sum(m(*graph) ** 2))(model)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12),
        run(more),
        run((nodes, senders, receivers, edges)),
    )


def test_news_travels_one_edge_per_layer(key):
    """Property: on a path, a node hears from those at most `depth` edges away and no others."""
    model = _make(key, depth=2)
    nodes = jax.random.normal(key, (6, 2))
    senders, receivers, edges = jnp.arange(5), jnp.arange(1, 6), jnp.ones((5, 3))
    change = model(nodes.at[0].add(1.0), senders, receivers, edges) - model(nodes, senders, receivers, edges)
    assert jnp.all(jnp.abs(change[:3]) > 1e-8)
    assert jnp.all(change[3:] == 0)


def test_batches_by_vmap_and_gradients_by_finite_differences(key):
    """Gradient: by the node features of a batch with one graph, against central differences."""
    model = _make(key, activation=jnp.tanh)
    nodes, senders, receivers, edges = _graph(key)
    batch = jnp.stack([nodes, 2 * nodes])

    def along(s):
        return jnp.sum(jax.vmap(model, (0, None, None, None))(batch + s, senders, receivers, edges) ** 2)

    # The error of the difference is its step squared.
    np.testing.assert_allclose(
        jax.grad(along)(0.3), (along(0.3 + 1e-5) - along(0.3 - 1e-5)) / 2e-5, rtol=1e-6
    )


def test_no_linear_map_per_edge_is_wider_than_the_edge_features(key):
    """Property: with `message_depth=1`, work per edge grows with the width, not with its square."""
    nodes, senders = jnp.zeros((50, 2)), jnp.zeros((50, 35), int)
    edges = jnp.zeros((50, 35, 3))

    def flops(width):
        model = MessagePassing(
            2, 3, 1, width=width, depth=1, message_depth=1, activation=jax.nn.relu, key=key
        )
        return jax.jit(model.__call__).lower(nodes, senders, None, edges).cost_analysis()["flops"]

    per_node = 50 * 2 * 8 * 64**2  # eight products of width by width, two operations each
    assert flops(64) < per_node + 50 * 35 * 64 * 20


def test_the_program_does_not_grow_with_depth(key):
    """Property: as many operations with 6 layers as with 2, where layers are scanned one by one."""
    graph = _graph(key)

    def count(depth):
        network = _make(key, depth=depth, unroll=1)
        return len(jax.jit(network.__call__).lower(*graph).as_text().splitlines())

    assert count(6) == count(2)


def test_layers_laid_out_are_the_layers_scanned(key):
    graph = _graph(key)
    found = [eqx.filter_jit(_make(key, depth=3, unroll=unroll))(*graph) for unroll in (1, 2, 8)]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-12)
