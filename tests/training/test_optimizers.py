"""Optimizers: exact pairs against optax's own, and properties of a step."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sciml.experiments.settings import Steps
from sciml.training import muon


class Network(eqx.Module):
    """All kinds of arrays; the first two layers are stacked, three each."""

    stacked: eqx.nn.Linear
    norms: eqx.nn.LayerNorm
    linear: eqx.nn.Linear
    last: eqx.nn.Linear
    kernel: eqx.nn.Conv1d

    def __init__(self, key):
        keys = jax.random.split(key, 4)
        self.stacked = eqx.filter_vmap(lambda k: eqx.nn.Linear(6, 8, key=k))(jax.random.split(keys[0], 3))
        self.norms = eqx.filter_vmap(lambda _: eqx.nn.LayerNorm(6))(jnp.arange(3))
        self.linear = eqx.nn.Linear(6, 8, key=keys[1])
        self.last = eqx.nn.Linear(6, 2, key=keys[2])
        self.kernel = eqx.nn.Conv1d(4, 5, 3, key=keys[3])


@pytest.fixture(scope="module")
def slopes():
    network = Network(jax.random.key(0))
    leaves, tree = jax.tree.flatten(network)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(
        tree, [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    )


def take_step(slopes, optimizer):
    return optimizer.update(slopes, optimizer.init(slopes), slopes)[0]


def test_step_of_a_matrix_leaves_no_direction_behind(slopes):
    """Property: singular values are alike, whatever those of the slope are."""
    step = take_step(slopes, muon(1e-2)).linear.weight
    values, before = (jnp.linalg.svd(x, compute_uv=False) for x in (step, slopes.linear.weight))
    assert values.min() / values.max() > 0.6 > 0.4 > before.min() / before.max()
    assert float(jnp.sqrt(jnp.mean(step**2))) == pytest.approx(1.5e-2, rel=0.2)


def test_layers_that_are_stacked_are_matrices_each(slopes):
    """Exact pair: a step of all at once, and of one after the other."""
    whole = take_step(slopes, muon(1e-2)).stacked.weight
    for k in range(3):
        one = jax.tree.map(lambda x, k=k: x[k], slopes.stacked)
        np.testing.assert_allclose(whole[k], take_step(one, muon(1e-2)).weight, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "pick",
    [
        lambda network: network.stacked.bias,
        lambda network: network.norms.weight,
        lambda network: network.linear.bias,
        lambda network: network.last.weight,
        lambda network: network.kernel.weight,
    ],
)
def test_what_is_no_matrix_is_left_to_adam(slopes, pick):
    """Exact pair: those steps are optax's, stacked biases and norms, too, which have two axes."""
    found, expected = (pick(take_step(slopes, optimizer)) for optimizer in (muon(1e-2), optax.nadam(1e-2)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "tuned", "expected"),
    [
        ({}, (), lambda rate: optax.adam(rate)),
        ({}, ("adam", 3.0), lambda rate: optax.adam(3 * rate)),
        ({}, ("muon", 1.0), muon),
        ({"optimizer": "adam"}, ("muon", 3.0), lambda rate: optax.adam(rate)),
        ({"optimizer": "muon"}, ("adam", 3.0), muon),
    ],
)
def test_settings_say_which_optimizer_and_what_is_given_by_hand_counts(slopes, settings, tuned, expected):
    """Exact pair: the second step, at which the rate is the largest."""
    found, wanted = Steps(learning_rate=1e-2, **settings).make_optimizer(20, *tuned), expected(1e-2)
    state = found.update(slopes, found.init(slopes), slopes)[1]
    other = wanted.update(slopes, wanted.init(slopes), slopes)[1]
    one, two = found.update(slopes, state, slopes)[0], wanted.update(slopes, other, slopes)[0]
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9)
