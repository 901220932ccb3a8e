"""Sums over points against JAX's own derivatives of the whole sum (exact), and the terms a law is nonlinear in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.constraints import contractions
from sciml.constraints.contractions import sum_curvature, sum_squares, vary_slopes
from sciml.constraints.nonlinearity import find_curved


def sorption(terms):
    u, u_t, u_xx = terms
    return u_t - 0.5 * u_xx / (1 + 0.4 * (u**2 + 1e-2) ** -0.063)


def burgers(terms):
    return terms[1] + terms[0] * terms[2] - 0.1 * terms[2]


def linear(terms):
    return 2 * terms[0] - (terms[1] + terms[2]) / 3


def system(terms):
    return jnp.stack([terms[0] * terms[1], jnp.sin(terms[2])])


def tall(terms):
    return jnp.concatenate([terms**2, jnp.exp(terms[:1]) * terms[1:2]])


def branching(terms):
    return jnp.where(terms[0] > 0, terms[1] * terms[2], terms[2])


def opaque(terms):
    return jnp.sum(jnp.sort(terms)) * terms[0]


LAWS = {
    sorption: {(0, 0), (0, 2)},
    burgers: {(0, 2)},
    linear: set(),
    system: {(0, 1), (2, 2)},
    tall: {(0, 0), (1, 1), (2, 2), (0, 1)},
}


def pairs(function):
    found = find_curved(function, jax.ShapeDtypeStruct((3,), jnp.float64))
    return [tuple(sorted((head, other))) for head, *others in found for other in (head, *others)]


@pytest.mark.parametrize("law", LAWS)
def test_pairs_with_a_second_derivative_are_found(law):
    """Each once, and of pairs of different terms none that has no second derivative."""
    found = pairs(law)
    assert len(found) == len(set(found))
    assert LAWS[law] <= set(found)
    assert {pair for pair in found if pair[0] != pair[1]} == {p for p in LAWS[law] if p[0] != p[1]}


@pytest.mark.parametrize("law", [branching, opaque, jax.jit(burgers), jax.nn.softmax])
def test_no_pair_is_missed_where_values_decide_or_nothing_is_known(law):
    """Whatever has a second derivative somewhere is among the pairs."""
    points = jax.random.normal(jax.random.key(1), (50, 3))
    bent = jax.jit(jax.vmap(jax.hessian(law)))(points).reshape(-1, 3, 3)
    there = np.argwhere(np.any(np.abs(bent) > 1e-12, axis=0))
    assert {tuple(sorted(pair)) for pair in there.tolist()} <= set(pairs(law))


@pytest.mark.parametrize("points", [30, 1200])  # one sum, and one in parts
@pytest.mark.parametrize("law", [sorption, linear, system, tall, branching, opaque])
def test_sums_are_derivatives_of_half_the_sum_of_squares(law, points):
    tables = jax.random.normal(jax.random.key(0), (points, 3, 4))
    offset = jax.random.normal(jax.random.key(1), (points, 3))
    value = jnp.array([0.3, -0.2, 0.5, 0.1])
    change = jax.tree.map(lambda x: x[::-1], (tables, offset))

    def rows(value, tables=tables, offset=offset):
        return jax.vmap(law)(offset + tables @ value).ravel()

    @jax.jit
    def both(value):
        def gradient(*args):
            return jax.grad(lambda v: 0.5 * jnp.sum(rows(v, *args) ** 2))(value)

        jacobian, bent = jax.jacfwd(rows)(value), jax.hessian(lambda v: 0.5 * jnp.sum(rows(v) ** 2))(value)
        found = sum_squares(law, tables, offset, value)
        zero, ours = jax.jvp(lambda *args: vary_slopes(law, *args, value), (tables, offset), change)
        _, theirs = jax.jvp(gradient, (tables, offset), change)
        exact = (0.5 * jnp.sum(rows(value) ** 2), gradient(tables, offset), jacobian.T @ jacobian)
        return (*found, found.gram + sum_curvature(law, tables, offset, value), ours, zero), (
            *exact,
            bent,
            theirs,
            0 * value,
        )

    for ours, theirs in zip(*both(value), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10 * np.max(np.abs(theirs)))


def test_many_terms_are_differentiated_as_few_are(monkeypatch):
    """Property: backward, as for many terms, and forward, as for few."""
    terms = jax.random.normal(jax.random.key(2), (20, 3))
    few = jax.jit(lambda x: contractions.bend(system, x))(terms)
    monkeypatch.setattr(contractions, "FEW", 0)
    many = jax.jit(lambda x: contractions.bend(system, x))(terms)
    assert few.second.keys() == many.second.keys()
    for ours, theirs in zip(*map(jax.tree.leaves, (few, many)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-14)
