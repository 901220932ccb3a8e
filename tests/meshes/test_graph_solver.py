"""MM-PDE's two branches: symmetries that hold whatever the weights are (exact, property), and bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml import nn
from sciml.meshes import GraphStep, MovingMeshSolver

ONE = (1.0, 1.0)
COUNT = 30


def branch(key, **options):
    return GraphStep(
        1, 2, 0.2, **{"neighbors": 5, "width": 8, "depth": 2, "periods": ONE, "key": key, **options}
    )


@pytest.fixture(scope="module")
def solver():
    one, two, three, four = jax.random.split(jax.random.key(0), 4)
    gather, scatter = (
        nn.RelativeInterpolation(2, neighbors=5, width=8, periods=ONE, key=k) for k in (one, two)
    )
    return MovingMeshSolver(branch(three), branch(four), gather, scatter, lambda u: u)


@pytest.fixture(scope="module")
def nodes():
    return jax.random.uniform(jax.random.key(5), (COUNT, 2))


@pytest.fixture(scope="module")
def values():
    return jax.random.normal(jax.random.key(6), (1, COUNT))


def test_neither_the_order_of_nodes_nor_a_shift_matters(solver, nodes, values):
    """Property: shuffled nodes give shuffled values; everything moved along, across the seam, gives the same."""
    moved = (nodes + 0.02 * jnp.sin(2 * jnp.pi * nodes)) % 1
    step = jax.jit(lambda u, x, y: solver(u, x, y))
    found = step(values, nodes, moved)
    order = jax.random.permutation(jax.random.key(7), COUNT)
    np.testing.assert_allclose(step(values[:, order], nodes[order], moved), found[:, order], atol=1e-9)
    np.testing.assert_allclose(step(values, nodes, moved[order]), found, atol=1e-9)
    np.testing.assert_allclose(step(values, (nodes + 0.41) % 1, (moved + 0.41) % 1), found, atol=1e-9)


def test_both_branches_and_the_cut_add_up(solver, nodes, values):
    """Exact: from the parts by hand, and the round trip has no step in it."""
    moved = (nodes + 0.1) % 1

    @jax.jit
    def parts(u):
        there = solver.gather(u, nodes, moved)
        back = solver.scatter(solver.moved(there, moved), moved, nodes)
        return solver.fixed(u, nodes) + back + u, solver.scatter(there, moved, nodes) + u

    both, trip = parts(values)
    np.testing.assert_allclose(solver(values, nodes, moved), both, atol=1e-12)
    np.testing.assert_allclose(solver.round_trip(values, nodes, moved), trip, atol=1e-12)


def test_gradients_reach_every_part_and_the_moved_nodes(solver, nodes, values):
    """Gradient: a mover can be trained along with the solver."""
    given = eqx.tree_at(lambda s: s.cut, solver, jax.tree_util.Partial(jnp.tanh))
    gradient, along = jax.jit(jax.grad(lambda s, y: jnp.sum(s(values, nodes, y) ** 2), argnums=(0, 1)))(
        given, (nodes + 0.1) % 1
    )
    assert jnp.any(along != 0)
    for part in (gradient.fixed, gradient.moved, gradient.gather, gradient.scatter):
        assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(part))
        assert any(jnp.any(leaf != 0) for leaf in jax.tree.leaves(part))


def test_bad_input(nodes, values):
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"GraphStep.spacing .* positive; got 0"):
        GraphStep(1, 2, 0.0, key=key)
    with pytest.raises(ValueError, match=r"values of shape \(1, 30\) and nodes of shape \(29, 2\)"):
        branch(key)(values, nodes[1:])
    with pytest.raises(ValueError, match="k=30 for 30 points"):
        branch(key, neighbors=30)(values, nodes)
