"""Projections: they do what they say to rounding, are projections, and are their own derivatives (property)."""

import jax
import jax.numpy as jnp
import pytest

from sciml.constraints import Conserved, DivergenceFree
from sciml.pdes import Box, Dirichlet, Grid, Spectral

GRIDS = {
    "flat": Grid(Box((0.0, 0.0), (1.0, 2.0)), (12, 9)),
    "solid": Grid(Box((0.0, 0.0, 0.0), (1.0, 1.0, 2.0)), (6, 5, 8)),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_nothing_of_the_divergence_is_left(grid):
    @jax.jit
    def measure(key):
        project, calculus = DivergenceFree(grid), Spectral(grid, dealias=1.0)
        v, other = jax.random.normal(key, (2, grid.dimensions, *grid.shape))
        free = project(v)
        u = calculus.field(free)
        divergence = sum(calculus.partial(u, axis)[axis] for axis in range(grid.dimensions))
        again = project(free)
        symmetric = jnp.sum(project(other) * v) - jnp.sum(other * free)
        means = jnp.mean(v - free, axis=tuple(range(1, v.ndim)))
        return divergence, again - free, symmetric, means

    for left in measure(jax.random.key(0)):
        assert jnp.max(jnp.abs(left)) < 1e-11


def test_a_field_without_divergence_is_left_alone():
    grid = GRIDS["flat"]
    x, y = grid.coordinates
    k = 2 * jnp.pi
    v = jnp.stack([jnp.sin(k * x) * jnp.sin(jnp.pi * y) * jnp.pi, jnp.cos(k * x) * jnp.cos(jnp.pi * y) * k])
    assert jnp.allclose(DivergenceFree(grid)(v), v, atol=1e-12)


def test_the_mass_is_kept():
    grid = Grid(Box(0.0, 1.0, Dirichlet(0.0)), 7)
    field, like = jax.random.normal(jax.random.key(1), (2, 3, 7))
    kept = Conserved(grid)(field, like)
    assert jnp.allclose(kept.sum(axis=1), like.sum(axis=1), atol=1e-14)
    assert jnp.allclose(kept - field, (kept - field)[:, :1], atol=1e-14)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DivergenceFree(Grid(Box(0.0, 1.0), 8)), "two or three axes"),
        (lambda: DivergenceFree(Grid(Box((0, 0), (1, 1), Dirichlet(0.0)), (8, 8))), "periodic"),
        (lambda: DivergenceFree(GRIDS["flat"])(jnp.ones((1, 12, 9))), "one channel per axis"),
        (lambda: Conserved(GRIDS["flat"])(jnp.ones((1, 12, 9)), jnp.ones((1, 12, 8))), "`like`"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
