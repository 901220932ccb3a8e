"""Counting parameters and matching sizes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from sciml.nn import FNO, ConvNet, DeepONet, MessagePassing, UNet, count_parameters, match_width


def test_counts_what_a_formula_counts(key):
    """Exact: a one-dimensional FNO, layer by layer; a complex weight is two numbers."""
    width, modes, depth = 5, 3, 2
    layer = 2 * modes * width**2 + width**2 + width
    expected = (2 * width + width) + depth * layer + (width * 2 * width + 2 * width) + (2 * width * 4 + 4)
    assert count_parameters(FNO(1, 2, 4, width=width, modes=modes, depth=depth, key=key)) == expected
    assert count_parameters({"a": jnp.arange(3), "b": jnp.ones(2), "c": 1.0, "d": None}) == 2


BUILDERS = {
    "FNO": lambda key: lambda width: FNO(2, 1, 1, width=width, modes=4, key=key),
    "ConvNet": lambda key: lambda width: ConvNet(2, 1, 1, width=width, key=key),
    "UNet": lambda key: lambda width: UNet(2, 1, 1, width=width, key=key),
    "DeepONet": lambda key: lambda width: DeepONet((1, 8), 2, 1, width=width, key=key),
    "MessagePassing": lambda key: lambda width: MessagePassing(2, 3, 1, width=width, key=key),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_finds_the_nearest_width(key, name):
    """Property: neither neighbor is nearer to the target."""
    build, target = BUILDERS[name](key), 50_000

    def miss(width):
        return abs(count_parameters(eqx.filter_eval_shape(lambda: build(width))) - target)

    width = match_width(build, target, maximum=512)
    assert miss(width) <= min(miss(width - 1), miss(width + 1))


@pytest.mark.parametrize("name", BUILDERS)
def test_all_leaves_are_arrays(key, name):
    """Property: what `jax.jit`, `jax.grad` and optax need of a model."""
    leaves = jax.tree.leaves(BUILDERS[name](key)(3))
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float64 for leaf in leaves)


def test_the_ends_are_found(key):
    """Exact: targets equal to the counts at the first and at the last width."""
    build = BUILDERS["ConvNet"](key)
    for width in (1, 2, 7, 8):
        target = count_parameters(eqx.filter_eval_shape(lambda width=width: build(width)))
        assert match_width(build, target, maximum=8) == width


@pytest.mark.parametrize("target", [3, 10**9])
def test_a_target_out_of_reach_is_refused(key, target):
    with pytest.raises(
        ValueError, match=f"target_parameters={target}; the networks have .* at width 1 and .* at width 64"
    ):
        match_width(BUILDERS["ConvNet"](key), target, maximum=64)
