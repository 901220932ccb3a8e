"""Graphs coarsened, and a U-Net on them (exact, property, gradient)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml import nn


def lattice(n):
    """The edges of `n * n` points, each joined to its right, upper and upper right neighbor."""
    index = np.arange(n * n).reshape(n, n)
    pairs = [
        (index[:-1], index[1:]),
        (index[:, :-1], index[:, 1:]),
        (index[:-1, :-1], index[1:, 1:]),
    ]
    return np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in pairs])


def test_a_graph_is_coarsened_about_fourfold_and_nobody_is_left_out():
    """Property: every node has a parent next to it or itself; shares add up; no two kept nodes are joined."""
    edges = lattice(20)
    hierarchy = nn.coarsen_graph(edges, 400, levels=2)
    sizes = hierarchy.nodes
    assert 2.5 < sizes[0] / sizes[1] < 6
    assert 2.5 < sizes[1] / sizes[2] < 6
    for level in hierarchy.levels:
        parents, children = np.asarray(level.parents), np.asarray(level.children)
        assert np.array_equal(np.unique(parents), np.arange(len(children)))
        for k, row in enumerate(children):
            assert set(row) == set(np.flatnonzero(parents == k))
        np.testing.assert_allclose(np.sum(level.shares, axis=1), 1, rtol=1e-6)
        assert not jax.tree.leaves(eqx.filter(level, eqx.is_inexact_array))  # nothing that could be trained
    senders = np.asarray(hierarchy.levels[0].senders)
    found = {(min(i, int(j)), max(i, int(j))) for i, row in enumerate(senders) for j in row if i != j}
    assert found == {(int(min(e)), int(max(e))) for e in edges}


def test_the_network_does_not_see_where_the_mesh_is_and_reaches_across_it():
    """Property: moved as a whole and enlarged, nodes give the same; coarse graphs carry far (gradient)."""
    hierarchy = nn.coarsen_graph(lattice(12), 144, levels=1)
    net = nn.GraphUNet(2, 3, 2, width=4, levels=1, depth=1, key=jax.random.key(0))
    net = eqx.tree_at(lambda n: n.decode.last.bias, net, jnp.ones(2))
    places = jnp.stack(jnp.meshgrid(*[jnp.arange(12.0)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    places = places + 0.2 * jax.random.normal(jax.random.key(1), places.shape)
    x = jax.random.normal(jax.random.key(2), (144, 3))

    @eqx.filter_jit
    def run(x, places):
        found, pull = jax.vjp(lambda x: net(x, places, hierarchy), x)
        return found, pull(jnp.zeros_like(found).at[0, 0].set(1))[0]

    (first, slope), (second, _) = run(x, places), run(x, 3 * places + 5)
    assert first.shape == (144, 2)
    np.testing.assert_allclose(first, second, atol=1e-9)
    # The two rounds of messages on the finest graph alone would reach two edges far.
    far = np.max(np.abs(places - places[0]), axis=1) > 3.5
    assert np.max(np.abs(slope[far])) > 1e-8


MISTAKES = {
    "an edge to nowhere": (lambda: nn.coarsen_graph(np.array([[0, 7]]), 4, levels=1), "indices from 0 to 7"),
    "too many levels": (lambda: nn.coarsen_graph(lattice(3), 9, levels=4), r"Ask for levels=\d"),
    "another graph": (
        lambda: nn.GraphUNet(2, 3, 2, width=4, levels=1, depth=1, key=jax.random.key(0))(
            jnp.ones((16, 3)), jnp.ones((16, 2)), nn.coarsen_graph(lattice(3), 9, levels=1)
        ),
        "the hierarchy for 9 nodes",
    ),
    "another number of levels": (
        lambda: nn.GraphUNet(2, 3, 2, width=4, levels=2, depth=1, key=jax.random.key(0))(
            jnp.ones((9, 3)), jnp.ones((9, 2)), nn.coarsen_graph(lattice(3), 9, levels=1)
        ),
        "levels=2",
    ),
}


@pytest.mark.parametrize("name", list(MISTAKES))
def test_mistakes_are_explained(name):
    call, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        call()
