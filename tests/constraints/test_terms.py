"""Tables of a law's linear terms: equal to the law itself on every calculus (exact), and refusals (bad input)."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.constraints import SpaceTimeGrid
from sciml.constraints.terms import LawResidual, difference_matrix, difference_weights, find_terms
from sciml.meshes import StructuredMesh
from sciml.pdes import (
    AbstractPDE,
    AdvectionDiffusion,
    Box,
    Burgers,
    DiagonalForcing,
    DiffusionSorption,
    FiniteDifference,
    GrayScott,
    Grid,
    KuramotoSivashinsky,
    NavierStokes,
    Spectral,
    VectorBurgers,
    channel_names,
)

LINE, SQUARE = Grid(Box(0.0, 1.0), 16), Grid(Box((0.0, 0.0), (1.0, 1.0)), (8, 8))
SORPTION = DiffusionSorption()
CASES = {
    "burgers": (Burgers(0.1), Spectral(LINE)),
    "vector": (VectorBurgers(0.1), FiniteDifference(SQUARE)),
    "kuramoto": (KuramotoSivashinsky(), Spectral(LINE, dealias=1.0)),
    "flow": (NavierStokes(0.01, DiagonalForcing()), Spectral(SQUARE, dealias=1.0)),
    "reaction": (GrayScott(), FiniteDifference(SQUARE)),
    "sorption": (SORPTION, FiniteDifference(Grid(SORPTION.domain(), 16))),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_tables_contract_to_the_law(case):
    """To rounding: the tables hold what the calculus does to each basis function, walls and their data included."""
    law, calculus = case
    domain = SpaceTimeGrid(calculus, np.linspace(0.0, 1.0, 6))
    terms = find_terms(law, calculus.dimensions)
    channels = len(channel_names(law, calculus.dimensions))

    @jax.jit
    def both(key):
        first, second, third = jax.random.split(key, 3)
        basis = jax.random.normal(first, (3, 6, channels, *domain.space))
        lift = 1 + jax.random.uniform(second, (6, channels, *domain.space))
        basis, lift = (
            jax.vmap(calculus.project)(x.reshape(-1, channels, *domain.space)).reshape(x.shape)
            for x in (basis, lift)
        )
        weights = jax.random.normal(third, (3,))
        scale = jnp.ones(int(np.prod(domain.shape)))
        tables, offset = domain.tabulate(terms, basis, lift, scale, conditioned=True)
        tabulated = jax.vmap(LawResidual(law, terms))(offset + tables @ weights)
        u = lift + jnp.tensordot(weights, basis, 1)
        rate = jax.vmap(lambda v: law.rate(0.0, calculus.field(v), calculus))(u)
        direct = domain.differentiate_in_time(u) - rate
        return tabulated, jnp.moveaxis(direct, 1, -1).reshape(-1, channels)

    tabulated, direct = both(jax.random.key(0))
    assert jnp.max(jnp.abs(tabulated - direct)) < 1e-11 * jnp.max(jnp.abs(direct))


class Nested(AbstractPDE):
    channels: ClassVar = ("u",)

    def rate(self, t, u, calculus):
        return calculus.partial(0.5 * u.value**2, 0)


class Driven(AbstractPDE):
    channels: ClassVar = ("u",)

    def rate(self, t, u, calculus):
        return jnp.sin(t) * calculus.partial(u, 0) + calculus.coordinates[:1]


def test_time_and_place_are_terms_where_a_law_uses_them():
    terms = find_terms(Driven(), 1)
    assert terms.time
    assert terms.position
    values = jnp.array([7.0, 2.0, 3.0, 1.0, 0.5, 0.25])  # u, u_t, u_x, weight, t, x
    assert LawResidual(Driven(), terms)(values)[0] == pytest.approx(2.0 - np.sin(0.5) * 3.0 - 0.25)
    assert not find_terms(Burgers(0.1), 1).time


def test_a_mesh_that_was_moved_is_a_grid_too():
    """Its operators and its coordinates are those that are tabulated: exact, against the law on the mesh."""
    grid = Grid(Box(0.0, 1.0), 12)
    nodes = jnp.asarray(grid.axes[0])
    mesh = StructuredMesh(grid, (nodes + 0.05 * jnp.sin(2 * jnp.pi * nodes))[None])
    domain, terms = SpaceTimeGrid(mesh, np.linspace(0.0, 1.0, 5)), find_terms(Driven(), 1)

    @jax.jit
    def both(key):
        basis = jax.random.normal(key, (1, 5, 1, 12))
        tables, offset = domain.tabulate(terms, basis, jnp.zeros((5, 1, 12)), jnp.ones(60), conditioned=True)
        tabulated = jax.vmap(LawResidual(Driven(), terms))(offset + tables[..., 0])
        rates = jax.vmap(lambda t, u: Driven().rate(t, mesh.field(u), mesh))(
            jnp.asarray(domain.times), basis[0]
        )
        return tabulated, (domain.differentiate_in_time(basis[0]) - rates).reshape(60, 1)

    tabulated, direct = both(jax.random.key(0))
    assert jnp.allclose(tabulated, direct, atol=1e-11)


@pytest.mark.parametrize(
    ("law", "error", "message"),
    [
        (Nested(), TypeError, "acts on the field itself"),
        (AdvectionDiffusion(jnp.ones(1), jnp.ones(16)), ValueError, "coefficient|fields over the grid"),
        (Burgers(jnp.ones(16)), ValueError, "parameters that are fields over the grid"),
        (SORPTION, ValueError, "defined in 1 space dimensions"),
    ],
)
def test_a_law_that_cannot_be_tabulated_is_refused(law, error, message):
    with pytest.raises(error, match=message):
        find_terms(law, 2 if law is SORPTION else 1)


@pytest.mark.parametrize("accuracy", [2, 4])
def test_the_time_derivative_has_its_order_on_uneven_times(accuracy):
    errors = []
    for count in (40, 80):
        times = np.linspace(0, 1, count) ** 2 + 0.3 * np.linspace(0, 1, count)
        errors.append(
            np.abs(difference_matrix(times, accuracy) @ np.sin(5 * times) - 5 * np.cos(5 * times)).max()
        )
    assert np.log(errors[0] / errors[1]) / np.log(79 / 39) > accuracy - 0.25


def test_weights_are_exact_on_polynomials():
    nodes = np.array([0.0, 0.3, 0.5, 1.1])
    for order, exact in ((0, 0.2**3), (1, 3 * 0.2**2), (2, 6 * 0.2)):
        assert difference_weights(nodes, 0.2, order) @ nodes**3 == pytest.approx(exact, abs=1e-12)
