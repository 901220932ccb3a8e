"""A constraint by other solvers and with other derivatives: the same field (property), and gradients that differ."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.constraints import (
    ExactDerivative,
    Experts,
    GaussNewtonDerivative,
    HardConstraint,
    Jaxopt,
    LevenbergMarquardt,
    OnDevices,
    Optimistix,
    OwnRows,
    ShardMap,
    StopGradient,
)

from .problems import BURGERS, make_network, make_start, periodic

TIGHT = LevenbergMarquardt(1e-12, 200)


def make_layer(network, **choices):
    return HardConstraint(network, BURGERS, periodic(16, 8), frozen=0, **({"solver": TIGHT} | choices))


@eqx.filter_jit
def run(choices):
    """The field, and the gradient of a supervised loss with respect to the network."""
    domain = periodic(16, 8)
    parameters, rest = eqx.partition(make_network(domain, 3), eqx.is_array)

    def score(parameters):
        field = make_layer(eqx.combine(parameters, rest), **choices)(make_start(domain), throw=False)
        return jnp.mean((field.value - 1) ** 2), field

    gradient, field = jax.grad(score, has_aux=True)(parameters)
    return field.value, jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradient)])


@pytest.mark.parametrize(
    ("derivative", "change"),
    [pytest.param(GaussNewtonDerivative(), 1e-3, marks=pytest.mark.slow), (StopGradient(), 1e-2)],
)
def test_derivatives_are_chosen_where_the_layer_is(derivative, change):
    """The same field whatever the derivative, and another supervised gradient than the exact one."""
    value, exact = run({"derivative": ExactDerivative()})
    same, gradient = run({"derivative": derivative})
    np.testing.assert_allclose(same, value, atol=1e-6)
    assert jnp.linalg.norm(gradient - exact) > change * jnp.linalg.norm(exact)


@pytest.mark.slow
@pytest.mark.parametrize("backend", [Optimistix(1e-12), Jaxopt(1e-12)])
def test_other_libraries_solve_a_layer(backend):
    """The same field and, as the derivative is ours, the same gradient."""
    value, exact = run({})
    same, gradient = run({"solver": backend})
    np.testing.assert_allclose(same, value, atol=1e-6)
    np.testing.assert_allclose(gradient, exact, atol=1e-5 * jnp.max(jnp.abs(exact)))


class _Mesh:
    """A mesh of more devices than there are, which only its sizes are asked of."""

    axis_names = ("batch", "expert")
    shape = {"batch": 1, "expert": 4}  # noqa: RUF012


def test_a_library_that_cannot_run_on_devices_is_refused():
    domain = periodic()
    layer = HardConstraint(make_network(domain), BURGERS, domain, solver=Optimistix())
    with pytest.raises(ValueError, match="Optimistix does not run inside"):
        OnDevices(Experts(layer, (1, 4), OwnRows()), _Mesh(), ShardMap())
