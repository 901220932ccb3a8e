"""The latent ODE: its encoder against a loop, what a mask hides, its loss against formulas, its gradient."""

import dataclasses

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.diffeqs.models import (
    BackwardEncoder,
    LatentODE,
    Reconstruction,
    TanhStack,
    anneal_kl,
    build_latent_ode,
    masked_mean,
)

KEY = jax.random.key(0)
TIMES = jnp.array([0.0, 0.1, 0.4, 0.5, 1.0])
FIXED = diffrax.ConstantStepSize()


def draw_series():
    values, mask = jax.random.split(jax.random.key(1))
    mask = jax.random.bernoulli(mask, 0.5, (5, 3)).at[2].set(False).at[0, 0].set(True)
    return jax.random.normal(values, (5, 3)), mask


def small(**fields):
    encoder, dynamics, decoder = jax.random.split(KEY, 3)
    return LatentODE(
        BackwardEncoder(3, 2, state=4, width=5, key=encoder),
        TanhStack(2, width=6, blocks=2, key=dynamics),
        eqx.nn.Linear(2, 3, key=decoder),
        **{"noise": 0.5, "dt0": 0.1, "controller": FIXED, "max_steps": 16, **fields},
    )


def test_the_published_model_has_the_published_sizes():
    """Exact: the layers' shapes; [m; s; values; mask; gap] is 100 + 75 numbers."""
    model = build_latent_ode(37, key=KEY)
    shapes = [layer.weight.shape for layer in model.encoder.update.layers]
    assert shapes == [(40, 175), (50, 40)]
    assert [layer.weight.shape for layer in model.encoder.new.layers] == [(40, 175), (100, 40)]
    assert [layer.weight.shape for layer in model.encoder.posterior.layers] == [(50, 100), (40, 50)]
    assert [layer.weight.shape for layer in model.dynamics.wide] == [(50, 20)] * 4
    assert model.decoder.weight.shape == (37, 20)
    assert (model.noise, model.controller.rtol, model.controller.atol) == (0.01, 1.4e-8, 1.4e-8)


def test_the_encoder_is_its_recursion_backwards_in_time():
    """Exact: against a loop over times in NumPy, which skips the time at which nothing was observed."""
    values, mask = draw_series()
    encoder = small().encoder

    def apply(mlp, x):
        first, second = ((np.asarray(layer.weight), np.asarray(layer.bias)) for layer in mlp.layers)
        return second[0] @ np.tanh(first[0] @ x + first[1]) + second[1]

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    m, s = np.zeros(4), np.zeros(4)
    for i in reversed(range(5)):
        if not np.any(mask[i]):
            continue
        gap = [TIMES[i + 1] - TIMES[i] if i < 4 else 0]
        x = np.concatenate([np.where(mask[i], values[i], 0), mask[i], gap])
        u, r = (sigmoid(apply(gate, np.concatenate([m, s, x]))) for gate in (encoder.update, encoder.reset))
        new_m, new_s = np.split(apply(encoder.new, np.concatenate([r * m, r * s, x])), 2)
        m, s = (1 - u) * new_m + u * m, np.abs((1 - u) * np.abs(new_s) + u * s)
    expected, raw = np.split(apply(encoder.posterior, np.concatenate([m, s])), 2)
    mean, deviation = encoder(values, mask, TIMES)
    np.testing.assert_allclose(mean, expected, rtol=1e-12)
    np.testing.assert_allclose(deviation, np.log1p(np.exp(raw)) + 1e-6, rtol=1e-12)


@pytest.fixture(scope="module")
def run():
    """The model compiled once: `run(model, values, mask, key)`."""
    return eqx.filter_jit(lambda model, values, mask, key: model(values, mask, TIMES, key=key))


@pytest.fixture(scope="module")
def differentiate():
    """The loss of the small model moved along a direction, and its derivatives; compiled once."""
    _, mask = draw_series()

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def differentiate(model, values):
        return model.loss(model(values, mask, TIMES, key=KEY), values, mask)

    return differentiate


def test_what_was_not_observed_does_not_matter(run, differentiate):
    """Property: not even NaN, in the prediction or in the loss' gradient."""
    values, mask = draw_series()
    hidden = jnp.where(mask, values, jnp.nan)
    seen, spoiled = run(small(), values, mask, KEY), run(small(), hidden, mask, KEY)
    assert np.array_equal(seen.prediction, spoiled.prediction)
    assert seen.prediction.shape == (5, 3)
    expected, found = differentiate(small(), values), differentiate(small(), hidden)
    for same, leaf in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        assert np.all(np.isfinite(leaf))
        assert np.array_equal(leaf, same)


def test_the_latent_state_starts_at_its_mean_without_a_key(run):
    """Exact: the first prediction is the decoder at the mean; with a key it is drawn, by the deviation."""
    model, (values, mask) = small(), draw_series()
    mean = run(model, values, mask, None)
    np.testing.assert_allclose(mean.prediction[0], model.decoder(mean.mean), rtol=1e-12)
    drawn = run(model, values, mask, KEY)
    z0 = mean.mean + mean.deviation * jax.random.normal(jax.random.split(KEY)[0], (2,))
    np.testing.assert_allclose(drawn.prediction[0], model.decoder(z0), rtol=1e-12)
    assert not np.allclose(drawn.prediction, mean.prediction)
    at_ends = model(values, mask, TIMES, output_times=TIMES[::4])
    np.testing.assert_allclose(at_ends.prediction, mean.prediction[::4], rtol=1e-12)


def test_the_loss_is_the_evidence_lower_bound(run):
    """Exact: the likelihood by jax's density, the divergence by a mean over 200000 draws, to 4 standard errors."""
    model, (values, mask) = small(), draw_series()
    result = run(model, values, mask, KEY)
    logpdf = jax.scipy.stats.norm.logpdf
    likelihood = jnp.mean(logpdf(values, result.prediction, model.noise)[mask])
    np.testing.assert_allclose(model.loss(result, values, mask, kl_weight=0.0), -likelihood, rtol=1e-12)
    z = result.mean + result.deviation * jax.random.normal(KEY, (200_000, 2))
    ratios = jnp.mean(logpdf(z, result.mean, result.deviation) - logpdf(z), axis=1)
    divergence = model.loss(result, values, mask) - model.loss(result, values, mask, kl_weight=0.0)
    assert abs(divergence - jnp.mean(ratios)) < 4 * jnp.std(ratios) / 200_000**0.5


def test_the_divergence_of_a_standard_normal_is_zero():
    result = Reconstruction(jnp.ones((2, 3)), jnp.zeros(4), jnp.ones(4), None)
    zero = jnp.zeros((2, 3), bool)
    loss = small(noise=1.0).loss(result, jnp.ones((2, 3)), zero)
    np.testing.assert_allclose(loss, np.log(2 * np.pi) / 2, rtol=1e-14)
    assert masked_mean(jnp.ones((2, 3)), zero) == 0
    assert masked_mean(jnp.array([1.0, 5.0, 9.0]), jnp.array([True, True, False])) == 3


def test_the_gradient_agrees_with_finite_differences(differentiate):
    """Gradient: along one direction through encoder, dynamics and decoder, fixed steps, float64."""
    model, (values, _) = small(), draw_series()
    trainable, static = eqx.partition(model, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(trainable)
    keys = jax.random.split(KEY, len(leaves))
    direction = [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]

    def loss(step):
        moved = jax.tree.unflatten(structure, [p + step * d for p, d in zip(leaves, direction, strict=True)])
        return differentiate(eqx.combine(moved, static), values)[0]

    gradient = jax.tree.leaves(differentiate(model, values)[1])
    found = sum(jnp.vdot(g, d) for g, d in zip(gradient, direction, strict=True))
    width = 1e-6  # rounding over width is 1e-10 of the loss
    np.testing.assert_allclose(found, (loss(width) - loss(-width)) / (2 * width), rtol=1e-6)


@pytest.mark.parametrize(("step", "weight"), [(0, 0.0), (10, 0.0), (11, 0.01), (110, 1 - 0.99**100)])
def test_the_weight_of_the_divergence_grows_as_published(step, weight):
    assert abs(anneal_kl(step) - weight) < 1e-12
    assert abs(anneal_kl(step + 90, wait=100) - weight) < 1e-12


VALUES, MASK = draw_series()
BAD = {
    "noise": (lambda: small(noise=0.0), r"LatentODE got noise=0.0; expected a finite number > 0"),
    "solver": (
        lambda: small(solver="tsit5"),
        r"LatentODE got solver='tsit5'; expected a AbstractSolver such as",
    ),
    "state": (
        lambda: BackwardEncoder(3, state=0, key=KEY),
        r"BackwardEncoder got state=0; expected a positive",
    ),
    "batch": (
        lambda: small()(VALUES[None], MASK[None], TIMES),
        r"values of shape \(1, 5, 3\); expected \(time, channel\)\. If the first axis is a batch, write jax.vmap",
    ),
    "mask": (
        lambda: small()(VALUES, MASK[:4], TIMES),
        r"a mask of shape \(4, 3\); expected \(time, channel\) twice",
    ),
    "times": (
        lambda: small()(VALUES, MASK, TIMES[1:]),
        r"LatentODE got times of shape \(4,\); expected \(5,\)",
    ),
    "replaced": (
        lambda: dataclasses.replace(small(), max_steps=-1),
        r"LatentODE got max_steps=-1; expected a positive integer",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
