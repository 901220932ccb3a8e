"""Chains of blocks against the dense matrix (exact, to rounding), and coupled experts that use them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.constraints import (
    RESULTS,
    Coupled,
    ExactDerivative,
    Experts,
    HardConstraint,
    LevenbergMarquardt,
    solving,
)
from sciml.constraints.blocks import BlockProblem, solve_blocks
from sciml.constraints.matrices import Chain, Dense
from sciml.constraints.partitions import find_interfaces, is_chain, make_partition

from .problems import BURGERS, make_network, make_start, periodic


def make_chain(blocks=5, size=3, closed=True, positive=True):
    """A chain, and the same as a dense matrix."""
    keys = jax.random.split(jax.random.key(0), 3)
    diagonal = jax.random.normal(keys[0], (blocks, size, size))
    diagonal = diagonal + jnp.swapaxes(diagonal, 1, 2)
    diagonal = diagonal + (6 if positive else 0.5) * size * jnp.eye(size)
    if not positive:
        diagonal = diagonal.at[1].multiply(-1)
    beside = jax.random.normal(keys[1], (blocks - 1, size, size))
    border = (1.0 if closed else 0.0) * jax.random.normal(keys[2], (size, size))
    dense = np.array(jax.scipy.linalg.block_diag(*diagonal))
    for row, column, block in [(k + 1, k, beside[k]) for k in range(blocks - 1)] + [(blocks - 1, 0, border)]:
        cut = slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size)
        dense[cut] += block
        dense[cut[::-1]] += block.T
    return Chain(diagonal, beside, border), Dense(jnp.asarray(dense))


@pytest.mark.parametrize(
    ("blocks", "closed", "positive"), [(3, True, True), (6, False, True), (5, True, False)]
)
def test_a_chain_is_its_dense_matrix(blocks, closed, positive):
    chain, dense = make_chain(blocks, closed=closed, positive=positive)
    vector = jnp.sin(jnp.arange(3.0 * blocks))

    @jax.jit
    def both(matrix):
        scaled = matrix.rescale(1 + 0.1 * jnp.cos(vector)).shift(0.3)
        found = scaled.multiply(vector), scaled.diagonal(), scaled.solve(vector, positive=False)
        slope = jax.grad(lambda v: jnp.sum(jnp.sin(scaled.solve(v, positive=False))))(vector)
        return (*found, slope, scaled.solve(vector, positive=True), scaled.is_positive())

    for ours, theirs in zip(both(chain), both(dense), strict=True):
        if positive or np.all(np.isfinite(theirs)):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
    assert both(chain)[-1] == positive
    if positive:
        ours, theirs = (jax.jit(lambda m: m.smallest_eigenvalue())(m) for m in (chain, dense))
        assert theirs <= ours * (1 + 1e-12)
        assert ours <= 1.1 * theirs


def test_chained_blocks_are_solved_as_dense_ones():
    """Exact: weights, verdict and gradient of blocks that meet their neighbors, the last one and the first included."""
    keys = jax.random.split(jax.random.key(1), 4)
    tables, offset = jax.random.normal(keys[0], (4, 20, 2, 3)), jax.random.normal(keys[1], (4, 20, 2))
    meet = jax.random.normal(keys[2], (4, 2, 3))
    matrix = jnp.stack([jnp.eye(4)[k][:, None] - jnp.eye(4)[(k + 1) % 4][:, None] for k in range(4)])
    matrix = (matrix[:, None] * meet[:, :, None]).reshape(8, 12)

    @eqx.filter_jit
    def run(chain):
        def score(offset):
            problem = BlockProblem(tables, offset, matrix, jax.random.normal(keys[3], (8,)))
            choices = {"solver": LevenbergMarquardt(1e-14), "derivative": ExactDerivative(), "ridge": 1e-3}
            found = solve_blocks(law, problem, jnp.zeros((4, 3)), chain=chain, **choices)
            return jnp.sum(jnp.sin(found.value)), found

        return jax.grad(score, has_aux=True)(offset)

    (slope, chain), (exact, dense) = run(True), run(False)
    np.testing.assert_allclose(chain.value, dense.value, atol=1e-10)
    np.testing.assert_allclose(slope, exact, atol=1e-10)
    assert chain.result == dense.result == RESULTS.successful
    assert chain.smallest_eigenvalue == pytest.approx(float(dense.smallest_eigenvalue), rel=0.1)


def law(terms):
    return terms[0] + 0.3 * terms[0] * terms[1] - jnp.sin(terms[1])


@pytest.mark.parametrize(
    ("counts", "chained"),
    [((1, 8), True), ((1, 12), True), ((1, 4), False), ((2, 3), False), ((1, 1), False)],
)
def test_which_partitions_are_chains(counts, chained):
    domain = periodic()
    partition = make_partition(counts, domain)
    values = jnp.zeros((int(np.prod(domain.shape)), 1, 2))
    assert is_chain(partition, find_interfaces(partition, domain, values)) == chained


@pytest.mark.slow
def test_coupled_experts_are_solved_as_a_chain(monkeypatch):
    """The field and its certificate are those of one dense matrix; eight boxes around a period."""
    domain = periodic()
    layer = Experts(HardConstraint(make_network(domain), BURGERS, domain), (1, 8), Coupled())
    start = make_start(domain)
    chain = jax.jit(lambda start: layer(start, throw=False))(start)
    monkeypatch.setattr(solving, "is_chain", lambda *_: False)
    dense = jax.jit(lambda start: layer(start, throw=False))(start)
    np.testing.assert_allclose(chain.value, dense.value, atol=1e-6)
    assert chain.certificate.converged == dense.certificate.converged
    np.testing.assert_allclose(chain.certificate.objective, dense.certificate.objective, rtol=1e-6)
