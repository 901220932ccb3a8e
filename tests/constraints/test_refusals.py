"""What is refused rather than answered wrongly: contradictory conditions, too little precision, an unfinished solve.

The other refusals stand where the thing is tested that refuses: laws without a table in `test_terms.py`, too few
points, dependent and infinite functions in `test_hard.py` and `test_points.py`, devices in `test_placement.py`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.constraints import (
    RESULTS,
    HardConstraint,
    LevenbergMarquardt,
    PointwiseResiduals,
    least_squares,
)
from sciml.constraints.conditions import check_corners
from sciml.constraints.terms import LawResidual, find_terms
from sciml.pdes import DiffusionSorption, Dirichlet, Outflow

from .problems import BURGERS, fixed, make_start, periodic, walled

SORPTION = DiffusionSorption()


def test_the_corner_of_diffusion_sorption_is_refused_where_both_are_to_be_exact():
    """A constant start contradicts both of its walls; one that meets them is let through."""
    domain = walled(walls=(Dirichlet(1.0), Outflow(5e-4)))
    check = eqx.filter_jit(lambda start: check_corners(domain, start, start))
    agreeing = jnp.cos(jnp.pi * domain.calculus.coordinates / 2) ** 2
    assert jnp.array_equal(check(agreeing), agreeing)
    with pytest.raises(Exception, match="initial condition contradicts a wall"):
        jax.block_until_ready(check(jnp.full((1, 24), 0.1)))


def test_weights_that_were_not_found_are_not_used():
    """Unless `throw=False` is said, when the certificate tells: see `test_hard.py`."""
    domain = periodic(8, 6)
    basis = fixed(jax.random.normal(jax.random.key(0), (3, *domain.shape)))
    layer = HardConstraint(basis, BURGERS, domain, solver=LevenbergMarquardt(max_steps=1), frozen=0)
    with pytest.raises(Exception, match="did not converge within max_steps"):
        jax.block_until_ready(eqx.filter_jit(lambda s: layer(s).weights)(make_start(domain)))


def test_single_precision_says_where_it_is_too_little():
    """Two functions that differ by 1e-5: dependent to the Gram matrix in float32, and found in float64."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=50)
    columns = np.stack([first, first + 1e-5 * rng.normal(size=50)], -1)[:, None]

    def solve(dtype):
        problem = PointwiseResiduals(lambda terms: terms)
        args = (jnp.asarray(columns, dtype), jnp.asarray(-columns @ np.array([1.0, 2.0]), dtype))
        return least_squares(problem, jnp.zeros(2, dtype), args, throw=False)

    found = jax.jit(lambda: solve(jnp.float64))()
    assert found.result == RESULTS.successful
    assert jnp.allclose(found.value, jnp.array([1.0, 2.0]), atol=1e-6)
    with jax.enable_x64(False):
        result = jax.jit(lambda: solve(jnp.float32))().result
        assert result == RESULTS.dependent
        assert "jax_enable_x64" in RESULTS[result]


def test_the_residual_of_diffusion_sorption_has_no_kink_at_nothing():
    """Its slope in the value exists there and is met from both sides; that of the power law is infinite."""
    residual = LawResidual(SORPTION, find_terms(SORPTION, 1))

    @jax.jit
    @jax.vmap
    def slope(u):
        return jax.grad(lambda v: residual(jnp.array([v, 0.0, 1.0, 1.0]))[0])(u)

    left, middle, right = slope(jnp.array([-1e-9, 0.0, 1e-9]))
    assert jnp.isfinite(middle)
    assert abs(left - middle) < 0.02 * abs(slope(jnp.array([1e-6]))[0])
    assert abs(right - middle) < 0.02 * abs(slope(jnp.array([1e-6]))[0])
