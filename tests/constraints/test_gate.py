"""The gate: what it lets through, what it tries next, what it refuses (property)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from sciml.constraints import Gate, HardConstraint, RejectedError, UniformPoints

from .problems import BURGERS, make_network, make_start, periodic


@pytest.mark.slow
def test_it_tries_more_points_and_then_refuses():
    domain = periodic(16, 8)
    whole = HardConstraint(make_network(domain, 4), BURGERS, domain)
    few = HardConstraint(whole.network, BURGERS, domain, sampling=UniformPoints(20))
    start, key = make_start(domain), jax.random.key(0)
    held_out, residual = (
        float(number)
        for number in (
            eqx.filter_jit(lambda layer: layer(start, key=key, throw=False).certificate.held_out_rms)(few),
            eqx.filter_jit(lambda layer: layer(start, throw=False).certificate.equation_rms)(whole),
        )
    )
    assert residual < held_out
    answer = Gate([few, whole], limit=2 * held_out)(start, key=key)
    assert (answer.accepted, answer.attempts) == (True, 1)
    answer = Gate([few, whole], limit=(residual + held_out) / 2)(start, key=key)
    assert (answer.accepted, answer.attempts) == (True, 2)
    strict = Gate([few, whole], limit=residual / 2)
    marked = strict(start, key=key, throw=False)
    assert (marked.accepted, marked.attempts) == (False, 2)
    with pytest.raises(RejectedError, match="None of 2 attempts"):
        strict(start, key=key)


def test_what_is_not_finite_is_not_accepted():
    domain = periodic(16, 8)
    layer = HardConstraint(lambda inputs: jnp.full((2, *domain.shape), jnp.nan), BURGERS, domain)
    assert not Gate([layer], limit=1e9)(make_start(domain), throw=False).accepted


@pytest.mark.parametrize(("layers", "limit"), [([], 1.0), ([None], 0.0), ([None], float("nan"))])
def test_bad_input_is_named(layers, limit):
    with pytest.raises(ValueError, match="at least one layer and a positive limit"):
        Gate(layers, limit=limit)
