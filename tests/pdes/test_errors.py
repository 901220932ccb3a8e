"""Bad input is refused with the value, what was expected and the cure (property tests)."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.pdes import (
    AbstractPDE,
    AdvectionDiffusion,
    Autodiff,
    Box,
    Burgers,
    DiffusionSorption,
    Dirichlet,
    FiniteDifference,
    FiniteVolume,
    FourierSeries,
    GaussianRandomField,
    GrayScott,
    Grid,
    Heat,
    KuramotoSivashinsky,
    NavierStokes,
    Neumann,
    Outflow,
    Periodic,
    Robin,
    Spectral,
    SumOfGaussians,
    VectorBurgers,
    channel_names,
    evaluate_rate,
)

NAN, INF = float("nan"), float("inf")
LINE, SQUARE = Grid(Box(0.0, 1.0), 16), Grid(Box((0.0, 0.0), (1.0, 1.0)), (8, 9))
ONE = jnp.ones((1, 16))


def refused(call, *words):
    """Assert that `call` raises an error which holds every one of the words."""
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    message = str(caught.value)
    missing = [word for word in words if word not in message]
    assert not missing, message


PARAMETERS = {
    "viscosity": (lambda: Burgers(-0.1), ["Burgers.viscosity", ">= 0", "-0.1"]),
    "viscosity field": (lambda: Burgers(np.array([0.1, -0.2])), ["Burgers.viscosity", "minimum -0.2"]),
    "viscosity nan": (lambda: VectorBurgers(np.array([0.1, NAN])), ["VectorBurgers.viscosity", "finite"]),
    "viscosity text": (lambda: Burgers("0.1"), ["Burgers.viscosity", "number", "'0.1'"]),
    "diffusivity": (lambda: AdvectionDiffusion(1.0, -1.0), ["AdvectionDiffusion.diffusivity", ">= 0"]),
    "velocity": (lambda: AdvectionDiffusion([1.0, INF], 1.0), ["AdvectionDiffusion.velocity", "finite"]),
    "kill": (lambda: GrayScott(kill=-0.1), ["GrayScott.kill", ">= 0", "-0.1"]),
    "hyper-diffusion": (lambda: KuramotoSivashinsky(1.0, 0.0), ["hyper_diffusion", "> 0", "0.0"]),
    "anti-diffusion": (lambda: KuramotoSivashinsky(NAN), ["anti_diffusion", "finite"]),
    "porosity": (lambda: DiffusionSorption(porosity=0.0), ["DiffusionSorption.porosity", "> 0"]),
    "porosity of 1": (lambda: DiffusionSorption(porosity=1.0), ["DiffusionSorption.porosity", "< 1", "1.0"]),
    "navier-stokes": (lambda: NavierStokes(-1e-3), ["NavierStokes.viscosity", ">= 0"]),
    "dirichlet": (lambda: Dirichlet(NAN), ["Dirichlet.value", "finite"]),
    "neumann": (lambda: Neumann(np.array([1.0, INF])), ["Neumann.slope", "finite"]),
    "robin": (lambda: Robin(1.0, NAN), ["Robin.b", "finite"]),
    "empty robin": (lambda: Robin(0.0, 0.0, 1.0), ["a u + b du/dn = g", "non-zero"]),
    "outflow": (lambda: Outflow(-0.1), ["Outflow.diffusivity", ">= 0"]),
    "gaussians": (lambda: SumOfGaussians(widths=(0.2, 0.1)), ["widths", "(0.2, 0.1)", "low <= high"]),
    "flat gaussians": (lambda: SumOfGaussians(widths=(0.0, 0.1)), ["widths", "0 < low"]),
    "cutoff": (lambda: FourierSeries(cutoff=0), ["cutoff", "at least 1", "0"]),
    "rough field": (
        lambda: GaussianRandomField(alpha=1.0)(SQUARE, key=jax.random.key(0)),
        ["alpha", "1.0", "not be a function"],
    ),
}
DOMAINS = {
    "unknown boundary": (
        lambda: Box(0.0, 1.0, "reflecting"),
        ["'reflecting'", "Dirichlet, Neumann, Robin or Outflow"],
    ),
    "unknown side": (
        lambda: Box(0.0, 1.0, [(Periodic(), "left")]),
        ["Unknown boundary 'left'", "axis 0", "Dirichlet(0.0)"],
    ),
    "class": (lambda: Box(0.0, 1.0, [(Dirichlet, Dirichlet)]), ["Unknown boundary", "instance"]),
    "one-sided periodic": (
        lambda: Box((0.0, 0.0), (1.0, 1.0), [Periodic(), (Periodic(), Neumann(0.0))]),
        ["Axis 1", "one side only", "Periodic, Neumann"],
    ),
    "three sides": (lambda: Box(0.0, 1.0, [(Periodic(),) * 3]), ["pair (left, right)"]),
    "too many pairs": (
        lambda: Box(0.0, 1.0, (Dirichlet(0.0), Neumann(0.0))),
        ["one lower corner", "2 boundary pairs"],
    ),
    "corners": (lambda: Box((0.0, 0.0), (1.0,)), ["lower=(0.0, 0.0)", "upper=(1.0,)"]),
    "reversed": (lambda: Box((0.0, 1.0), (1.0, 0.0)), ["Axis 1", "[1.0, 0.0]"]),
    "infinite": (lambda: Box(0.0, INF), ["finite", "inf"]),
    "no box": (lambda: Grid((0.0, 1.0), 16), ["needs a Box first", "(0.0, 1.0)", "Grid(Box("]),
    "axes of a grid": (lambda: Grid(Box(0.0, 1.0), (8, 8)), ["shape=(8, 8)", "1 axes"]),
    "too few points": (lambda: Grid(Box(0.0, 1.0), 3), ["at least 4 points", "(3,)"]),
    "too few for the stencil": (
        lambda: evaluate_rate(
            KuramotoSivashinsky(), FiniteDifference(Grid(Box(0.0, 1.0), 6), 4), jnp.ones((1, 6))
        ),
        ["at least 8 points", "axis 0 has 6", "Refine"],
    ),
}


def partial(calculus, *arguments):
    return lambda: calculus.partial(calculus.field(jnp.ones((1, *calculus.grid.shape))), *arguments)


CALCULI = {
    "order": (lambda: FiniteDifference(LINE, 3), ["order 2 or 4", "3", "Spectral"]),
    "walls": (
        lambda: Spectral(Grid(Box(0.0, 1.0, Dirichlet(0.0)), 16)),
        ["axes [0]", "FiniteDifference(grid)"],
    ),
    "one walled axis": (
        lambda: Spectral(Grid(Box((0.0, 0.0), (1.0, 1.0), [Periodic(), Neumann(0.0)]), (8, 8))),
        ["axes [1]"],
    ),
    "dealias": (lambda: Spectral(LINE, dealias=1.5), ["(0, 1]", "1.5"]),
    "axis": (partial(Spectral(SQUARE), 2), ["axis 2", "2 axes"]),
    "negative axis": (partial(FiniteDifference(SQUARE), -1), ["axis -1", "from 0"]),
    "negative order": (partial(FiniteVolume(SQUARE), 0, -1), ["non-negative integer", "(-1, 0)"]),
    "fractional order": (partial(Spectral(LINE), 0, 0.5), ["non-negative integer", "(0.5,)"]),
    "orders": (
        lambda: Spectral(SQUARE).derivative(Spectral(SQUARE).field(jnp.ones((1, 8, 9))), (1,)),
        ["2 here", "(1,)", "(2, 0)"],
    ),
    "expression": (
        lambda: Spectral(LINE).laplacian(ONE),
        ["the field itself", "u.value * calculus.partial(u, 0)"],
    ),
    "flux of an expression": (
        lambda: FiniteVolume(LINE).flux_divergence(ONE, lambda v, axis: v),
        ["the field itself"],
    ),
    "function on a grid": (
        lambda: FiniteDifference(LINE).field(jnp.sin),
        ["FiniteDifference.field", "array"],
    ),
    "array for autodiff": (
        lambda: Autodiff(jnp.ones((3, 1))).field(ONE),
        ["function of one point", "Spectral or FiniteDifference"],
    ),
    "points": (lambda: Autodiff(jnp.ones(3)), ["(point, dim)", "(3,)"]),
    "scalar function": (lambda: Autodiff(jnp.ones((3, 1))).field(lambda x: x[0]), ["shape ()", "atleast_1d"]),
    "mapped function": (
        lambda: Autodiff(jnp.ones((3, 1))).field(lambda x: jnp.ones((1, 3))),
        ["shape (1, 3)", "do not map over points"],
    ),
    "velocity on a line": (
        lambda: Spectral(LINE).rotational_velocity(Spectral(LINE).field(ONE), 0),
        ["rotational_velocity", "two axes"],
    ),
    "velocity between walls": (
        lambda: (lambda c: c.rotational_velocity(c.field(jnp.ones((1, 8, 8))), 0))(
            FiniteDifference(Grid(Box((0.0, 0.0), (1.0, 1.0), Dirichlet(0.0)), (8, 8)))
        ),
        ["periodic", "(False, False)"],
    ),
}


def on_square(wall, channels=1):
    calculus = FiniteDifference(Grid(Box((0.0, 0.0), (1.0, 1.0), [wall, Neumann(0.0)]), (8, 9)))
    return lambda: calculus.laplacian(calculus.field(jnp.ones((channels, 8, 9))))


WALL_DATA = {
    "points of another wall": (on_square(Dirichlet(np.ones(8))), ["Dirichlet", "(8,)", "(1, 9)"]),
    "too many channels": (
        on_square(Neumann(np.ones((3, 1)))),
        ["Neumann", "(3, 1)", "(1, 9)", "per channel"],
    ),
    "a field": (on_square(Robin(1.0, 1.0, np.ones((1, 8, 9)))), ["Robin", "(1, 8, 9)", "(1, 9)"]),
    "channels without a wall": (on_square(Dirichlet(np.ones(2)), 2), ["(2,)", "(2, 9)", "(channel, 1,)"]),
}


class Drops(AbstractPDE):
    """A rate that lost its channel axis."""

    channels: ClassVar = ("u",)

    def rate(self, t, u, calculus):
        return -u.value[0]


class Nameless(AbstractPDE):
    """A law whose author forgot to name the channels."""

    def rate(self, t, u, calculus):
        return -u.value


class UsesField(AbstractPDE):
    """The field in a pointwise formula."""

    channels: ClassVar = ("u",)

    def rate(self, t, u, calculus):
        return jnp.sin(u) * calculus.partial(u, 0)


RATES = {
    "too few channels": (
        lambda: evaluate_rate(GrayScott(), Spectral(LINE), ONE),
        ["GrayScott", "2 channel(s), u, v", "with 1"],
    ),
    "a batch for channels": (
        lambda: evaluate_rate(Burgers(0.1), Spectral(LINE), jnp.ones((5, 16))),
        ["1 channel(s)", "with 5", "jax.vmap"],
    ),
    "channels per axis": (
        lambda: evaluate_rate(VectorBurgers(0.1), Spectral(SQUARE), jnp.ones((1, 8, 9))),
        ["2 channel(s), u, v", "with 1"],
    ),
    "batch": (
        lambda: evaluate_rate(Burgers(0.1), FiniteDifference(SQUARE), jnp.ones((5, 1, 8, 9))),
        ["(channel, 8, 9)", "(5, 1, 8, 9)", "batch axis", "jax.vmap"],
    ),
    "no channel": (
        lambda: evaluate_rate(Burgers(0.1), FiniteVolume(SQUARE), jnp.ones((8, 9))),
        ["(8, 9)", "channel axis is missing", "u[None]"],
    ),
    "transposed": (
        lambda: evaluate_rate(Burgers(0.1), Spectral(SQUARE), jnp.ones((1, 9, 8))),
        ["(channel, 8, 9)", "(1, 9, 8)", "another grid"],
    ),
    "dimensions": (
        lambda: evaluate_rate(KuramotoSivashinsky(), Spectral(SQUARE), jnp.ones((1, 8, 9))),
        ["KuramotoSivashinsky", "1 space dimensions", "has 2"],
    ),
    "vorticity on a line": (
        lambda: evaluate_rate(NavierStokes(0.1), Spectral(LINE), ONE),
        ["NavierStokes", "2 space dimensions", "has 1"],
    ),
    "vorticity by autodiff": (
        lambda: evaluate_rate(NavierStokes(0.1), Autodiff(jnp.ones((3, 2))), lambda x: x[:1]),
        ["Autodiff", "non-local", "Use Spectral", "velocity form"],
    ),
    "velocity of another dimension": (
        lambda: evaluate_rate(AdvectionDiffusion([1.0, 2.0], 0.1), FiniteDifference(LINE), ONE),
        ["velocity has 2 components", "1 axes"],
    ),
    "velocity field without its axis": (
        lambda: evaluate_rate(AdvectionDiffusion(np.ones(16), 0.1), FiniteDifference(LINE), ONE),
        ["velocity has 16 components", "one component per axis"],
    ),
    "coefficient of another grid": (
        lambda: evaluate_rate(Heat(np.ones(12)), Spectral(LINE), ONE),
        ["(channel, 16)", "(1, 12)", "another grid"],
    ),
    "coefficient with a channel": (
        lambda: evaluate_rate(Burgers(np.ones((3, 1))), Spectral(LINE), ONE),
        ["Burgers.rate", "(1, 16)", "(3, 16)", "parameters of shape () or (16,)"],
    ),
    "lost channel": (
        lambda: evaluate_rate(Drops(), FiniteDifference(LINE), ONE),
        ["Drops.rate", "(1, 16)", "got (16,)", "u.value[:1]"],
    ),
    "nameless": (
        lambda: evaluate_rate(Nameless(), FiniteDifference(LINE), ONE),
        ["Nameless does not name its channels", "channels: ClassVar"],
    ),
    "field as value": (
        lambda: evaluate_rate(UsesField(), Spectral(LINE), ONE),
        ["u.value", "not its values"],
    ),
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name)
        for table in (PARAMETERS, DOMAINS, CALCULI, WALL_DATA, RATES)
        for name, case in table.items()
    ],
)
def test_bad_input(case):
    call, words = case
    refused(call, *words)


@pytest.mark.parametrize(
    "use",
    [
        lambda u: u + 1.0,
        lambda u: 1.0 - u,
        lambda u: jnp.ones((1, 16)) * u,
        lambda u: np.ones((1, 16)) * u,
        lambda u: u**2,
        lambda u: -u,
        lambda u: u[0],
        jnp.exp,
    ],
)
def test_a_field_is_not_its_values(use):
    """Property: every way to mistake the unknown for its values says what to write instead."""
    refused(lambda: use(Spectral(LINE).field(ONE)), "u.value")


def test_unknown_values_are_left_to_the_program():
    """Property: what is traced cannot be checked, and is let through rather than failing to compile."""
    rate = jax.jit(
        lambda nu, g: evaluate_rate(Burgers(nu), FiniteDifference(Grid(Box(0.0, 1.0, Dirichlet(g)), 16)), ONE)
    )
    assert np.all(np.isfinite(rate(-1.0, 2.0)))
    assert channel_names(jax.eval_shape(VectorBurgers, 1.0), 2) == ("u", "v")
