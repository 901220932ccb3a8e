"""Derivatives of rates with respect to all that can be learned, and transformations (gradient, property)."""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.pdes import (
    AdvectionDiffusion,
    Autodiff,
    Box,
    Burgers,
    DiagonalForcing,
    DiffusionSorption,
    Dirichlet,
    FiniteDifference,
    FiniteVolume,
    GrayScott,
    Grid,
    Heat,
    KuramotoSivashinsky,
    NavierStokes,
    Neumann,
    Outflow,
    Robin,
    Spectral,
    VectorBurgers,
    evaluate_rate,
)

LINE, SQUARE = Grid(Box(0.0, 3.0), 12), Grid(Box((0.0, 0.0), (1.0, 2.0)), (8, 8))


def smooth(grid, channels):
    """Positive values without symmetry."""
    x = 2 * np.pi * np.stack(np.meshgrid(*(np.arange(n) / n for n in grid.shape), indexing="ij")).sum(0)
    return np.stack([1.0 + 0.3 * np.sin(x + channel) + 0.2 * np.cos(2 * x) for channel in range(channels)])


def walled(left, right, n=12):
    return Grid(Box(0.0, 1.0, [(left, right)]), n)


def over_a_square(wall):
    return Grid(Box((0.0, 0.0), (1.0, 1.0), [(wall, Neumann(0.3)), (Dirichlet(1.0), wall)]), (8, 8))


@dataclasses.dataclass(frozen=True)
class Learned:
    """Parameters, the law and the calculus made from them, and the number of channels."""

    parameters: tuple
    make: Callable
    channels: int = 1


FIELD = 0.1 + 0.05 * np.cos(2 * np.pi * np.arange(12) / 12)
SQUARE_FIELD = 0.1 + 0.05 * np.cos(2 * np.pi * np.arange(64) / 8).reshape(8, 8)
ALONG = np.linspace(0.5, 1.5, 8)[None]

CASES = {
    "burgers": Learned((0.1,), lambda nu: (Burgers(nu), Spectral(LINE))),
    "burgers, field": Learned((FIELD,), lambda nu: (Burgers(nu), FiniteDifference(LINE, 4))),
    "burgers, finite volumes": Learned((0.1,), lambda nu: (Burgers(nu), FiniteVolume(SQUARE))),
    "vector burgers": Learned((0.1,), lambda nu: (VectorBurgers(nu), Spectral(SQUARE)), 2),
    "heat, field": Learned((SQUARE_FIELD,), lambda k: (Heat(k), Spectral(SQUARE))),
    "heat, source": Learned((0.3, 0.1), lambda s, k: (Heat(k, lambda x: s * x), FiniteDifference(LINE, 2))),
    "advection": Learned(
        (np.array([1.0, -0.5]), SQUARE_FIELD),
        lambda c, k: (AdvectionDiffusion(c, k), FiniteDifference(SQUARE, 2)),
    ),
    "gray-scott": Learned(
        (0.2, 0.1, 0.04, 0.06), lambda *p: (GrayScott(*p), Spectral(SQUARE, dealias=0.5)), 2
    ),
    "kuramoto-sivashinsky": Learned((0.9, 0.2), lambda *p: (KuramotoSivashinsky(*p), Spectral(LINE))),
    "navier-stokes": Learned(
        (0.1, 0.5), lambda nu, amplitude: (NavierStokes(nu, DiagonalForcing(amplitude)), Spectral(SQUARE))
    ),
    "diffusion-sorption": Learned(
        (0.3, 0.29, 2.0, 0.35, 0.874),
        lambda *p: (DiffusionSorption(*p), FiniteDifference(Grid(DiffusionSorption(*p).domain(), 12), 2)),
    ),
    "dirichlet": Learned(
        (0.7,), lambda g: (Heat(0.1), FiniteDifference(walled(Dirichlet(g), Neumann(0.0)), 4))
    ),
    "neumann": Learned(
        (0.7,), lambda g: (Heat(0.1), FiniteDifference(walled(Neumann(g), Dirichlet(0.2)), 2))
    ),
    "robin": Learned(
        (1.2, 0.4, 0.9),
        lambda a, b, g: (Heat(0.1), FiniteDifference(walled(Dirichlet(1.0), Robin(a, b, g)), 4)),
    ),
    "outflow": Learned(
        (0.2,), lambda d: (Heat(0.1), FiniteDifference(walled(Dirichlet(1.0), Outflow(d)), 2))
    ),
    "data along walls": Learned(
        (ALONG,),
        lambda g: (AdvectionDiffusion([1.0, 0.5], 0.1), FiniteDifference(over_a_square(Dirichlet(g)), 4)),
    ),
    "inflow of finite volumes": Learned(
        (1.3,), lambda g: (Burgers(0.1), FiniteVolume(walled(Dirichlet(g), Neumann(0.0))))
    ),
}


def functional(case):
    """A number made from the rate, as a function of the parameters and of the values."""
    _, calculus = case.make(*map(jnp.asarray, case.parameters))
    shape = (case.channels, *calculus.grid.shape)
    weights = np.random.default_rng(0).standard_normal(shape)

    def total(parameters, values):
        law, calculus = case.make(*parameters)
        return jnp.sum(weights * jnp.tanh(0.1 * evaluate_rate(law, calculus, values)))

    return total, smooth(calculus.grid, case.channels)


@pytest.mark.parametrize("name", list(CASES))
def test_gradients(name):
    """Gradient: reverse and forward mode against central differences, for each parameter and the values."""
    case = CASES[name]
    total, values = functional(case)
    point = (tuple(jnp.asarray(p, float) for p in case.parameters), jnp.asarray(values))
    rng = np.random.default_rng(1)
    leaves, structure = jax.tree.flatten(point)

    @jax.jit
    def slopes(point, direction):
        gradient = jax.grad(lambda point: total(*point))(point)
        reverse = sum(jnp.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction)))
        forward = jax.jvp(lambda point: total(*point), (point,), (direction,))[1]
        step = 1e-5
        ahead, behind = (jax.tree.map(lambda p, d, s=s: p + s * d, point, direction) for s in (step, -step))
        return reverse, forward, (total(*ahead) - total(*behind)) / (2 * step)

    directions = [
        [rng.standard_normal(leaf.shape) * (i == j) for j, leaf in enumerate(leaves)]
        for i in range(len(leaves))
    ]
    stacked = [jnp.asarray(np.stack(column)) for column in zip(*directions, strict=True)]
    reverse, forward, differences = jax.jit(jax.vmap(slopes, in_axes=(None, 0)))(
        point, jax.tree.unflatten(structure, stacked)
    )
    np.testing.assert_allclose(reverse, forward, rtol=1e-9, atol=1e-12)
    # Central differences with a step of 1e-5: truncation 1e-10, rounding 1e-16 / 1e-5 of numbers of size 1 to 10.
    np.testing.assert_allclose(reverse, differences, rtol=1e-6, atol=1e-9)
    assert np.all(np.abs(reverse) > 1e-8)  # every parameter matters


def test_gradient_through_autodiff():
    """Gradient: of the rate of a function, with respect to its weights and the viscosity."""
    calculus = Autodiff(jnp.linspace(0.1, 0.9, 5)[:, None])

    @jax.jit
    @jax.value_and_grad
    def loss(weights):
        def unknown(x):
            return jnp.tanh(weights[0] * x + weights[1])

        return jnp.sum(evaluate_rate(Burgers(weights[2]), calculus, unknown) ** 2)

    weights = jnp.array([1.3, -0.2, 0.1])
    _, gradient = loss(weights)
    for i in range(3):
        step = 1e-5 * jnp.eye(3)[i]
        difference = (loss(weights + step)[0] - loss(weights - step)[0]) / 2e-5
        np.testing.assert_allclose(gradient[i], difference, rtol=1e-6)


BATCHES = {
    "law on spectral": lambda s: (Burgers(0.1 * s), Spectral(LINE)),
    "law on finite differences": lambda s: (AdvectionDiffusion(s, 0.1), FiniteDifference(LINE, 4)),
    "law on finite volumes": lambda s: (Burgers(0.1 * s), FiniteVolume(LINE)),
    "coefficient field": lambda s: (Heat(0.1 * s * jnp.ones(12)), FiniteDifference(LINE, 2)),
    "wall": lambda s: (Heat(0.1), FiniteDifference(walled(Robin(1.0, s, s**2), Dirichlet(s)), 2)),
    "domain of the law": lambda s: (
        DiffusionSorption(diffusivity=s),
        FiniteDifference(Grid(DiffusionSorption(diffusivity=s).domain(), 12), 2),
    ),
}


@pytest.mark.parametrize("name", list(BATCHES))
def test_maps_are_loops(name):
    """Property: vmap over laws, walls and values under jit is a loop over them, to rounding."""

    def one(parameter, values):
        return evaluate_rate(*BATCHES[name](parameter), values)

    parameters = jnp.array([0.5, 1.0, 1.7])
    values = jnp.stack([s * smooth(LINE, 1) for s in (1.0, 0.9, 0.7)])
    looped = np.stack([one(p, v) for p, v in zip(parameters, values, strict=True)])
    mapped = jax.jit(jax.vmap(one))(parameters, values)
    np.testing.assert_allclose(mapped, looped, rtol=1e-12, atol=1e-12 * np.max(np.abs(looped)))


def test_batches_of_laws_and_calculi_as_pytrees():
    """Property: stacked laws and calculi are mapped by `eqx.filter_vmap` like any pytree of arrays."""
    laws = eqx.filter_vmap(Burgers)(jnp.array([0.1, 0.2]))
    calculi = eqx.filter_vmap(lambda g: FiniteDifference(walled(Dirichlet(g), Neumann(g))))(
        jnp.array([0.5, 0.7])
    )
    values = jnp.asarray(smooth(LINE, 1))
    mapped = eqx.filter_jit(eqx.filter_vmap(lambda law, calculus: evaluate_rate(law, calculus, values)))(
        laws, calculi
    )
    for i, (nu, g) in enumerate([(0.1, 0.5), (0.2, 0.7)]):
        calculus = FiniteDifference(walled(Dirichlet(g), Neumann(g)))
        np.testing.assert_allclose(
            mapped[i], evaluate_rate(Burgers(nu), calculus, values), rtol=1e-12, atol=1e-12
        )


def test_whole_numbers_are_learned_too():
    """Property: `Burgers(1)` holds a float, which `eqx.filter_grad` does not leave out."""
    law = Burgers(1)
    assert eqx.is_inexact_array(law.viscosity)
    assert eqx.is_inexact_array(Dirichlet(np.arange(3)).value)
    gradient = eqx.filter_grad(lambda law: jnp.sum(evaluate_rate(law, Spectral(LINE), smooth(LINE, 1)) ** 2))(
        law
    )
    assert float(gradient.viscosity) != 0.0
