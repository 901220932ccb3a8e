"""A law of one's own, written once and used through every calculus, and laws as plain data (exact tests)."""

import json
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from sciml.pdes import (
    AbstractPDE,
    AdvectionDiffusion,
    Autodiff,
    Box,
    Burgers,
    DiagonalForcing,
    DiffusionSorption,
    Dirichlet,
    FiniteDifference,
    FiniteVolume,
    Grid,
    NavierStokes,
    Spectral,
    describe,
    evaluate_rate,
)


# All that a law must be: its parameters, the names of its channels, its rate.
class KortewegDeVries(AbstractPDE):
    """Long waves in shallow water, `u_t + 6 u u_x + delta u_xxx = 0`."""

    delta: Array
    channels: ClassVar = ("u",)

    def rate(self, t, u, calculus):
        return -6 * u.value * calculus.partial(u, 0) - self.delta * calculus.partial(u, 0, 3)


SPEED, BOX = 4.0, Box(-12.0, 12.0)


def soliton(p):
    """`c/2 sech(sqrt(c)/2 x)^2`, which moves at speed `c` without changing its shape when `delta` is 1."""
    return SPEED / 2 / jnp.cosh(jnp.sqrt(SPEED) / 2 * p) ** 2


def soliton_rate(x):
    """`-c du/dx` by hand."""
    return SPEED**1.5 / 2 * np.tanh(x) / np.cosh(x) ** 2


@pytest.mark.parametrize(
    ("make", "n", "tolerance"),
    [
        (
            Spectral,
            192,
            2e-7,
        ),  # u' jumps by 1e-9 where the box is glued; u''' multiplies that by 17^2 / pi
        (FiniteDifference, 384, 0.2),  # h^2 / 4 times the fifth derivative of the soliton, about 200
        (lambda grid: FiniteDifference(grid, 4), 384, 4e-3),
        (FiniteVolume, 384, 0.2),
    ],
    ids=["spectral", "second order", "fourth order", "finite volumes"],
)
def test_a_law_of_ones_own(make, n, tolerance):
    """Exact: the soliton's rate is that of a shape moving at its speed; at the ends of the box it is 1e-10 high."""
    grid = Grid(BOX, n)
    x = grid.axes[0]
    got = eqx.filter_jit(evaluate_rate)(KortewegDeVries(jnp.asarray(1.0)), make(grid), soliton(x)[None])
    np.testing.assert_allclose(got[0], SPEED * soliton_rate(x), atol=tolerance)


def test_a_law_of_ones_own_through_autodiff():
    """Exact: of the soliton as a function, at scattered points."""
    x = np.random.default_rng(0).uniform(-3.0, 3.0, (9, 1))
    got = evaluate_rate(KortewegDeVries(jnp.asarray(1.0)), Autodiff(jnp.asarray(x)), soliton)
    np.testing.assert_allclose(got[0], SPEED * soliton_rate(x[:, 0]), atol=1e-12)


def test_a_law_of_ones_own_between_walls():
    """Exact: a cubic, which second-order differences and their walls reproduce without error."""
    grid = Grid(Box(0.0, 1.0, [(Dirichlet(1.0), Dirichlet(2.0))]), 16)
    x = grid.axes[0]
    got = evaluate_rate(KortewegDeVries(jnp.asarray(0.5)), FiniteDifference(grid, 4), (1 + x**3)[None])
    np.testing.assert_allclose(got[0], -6 * (1 + x**3) * 3 * x**2 - 0.5 * 6, atol=1e-9)


def test_laws_as_plain_data():
    """Exact: what a file header and a configuration hold survives JSON."""
    described = [
        describe(law)
        for law in (
            KortewegDeVries(jnp.asarray(0.5)),
            Burgers(np.array([0.1, 0.2])),
            AdvectionDiffusion([1.0, -0.5], 0.25),
            NavierStokes(0.125, DiagonalForcing(0.5)),
            NavierStokes(0.125),
        )
    ]
    assert json.loads(json.dumps(described)) == described
    assert described[0] == {"name": "KortewegDeVries", "parameters": {"delta": 0.5}}
    assert described[1]["parameters"] == {"viscosity": [0.1, 0.2]}
    assert described[2]["parameters"] == {"velocity": [1.0, -0.5], "diffusivity": 0.25}
    assert described[3]["parameters"]["forcing"].startswith("DiagonalForcing")
    assert described[4]["parameters"] == {"viscosity": 0.125, "forcing": None}
    assert describe(DiffusionSorption())["parameters"]["exponent"] == 0.874
