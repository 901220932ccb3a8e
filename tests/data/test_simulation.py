"""The method of lines: order in time, gradients, chunks, and every mistake a user can make."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest

from sciml.data import SemiImplicit, TrajectoryWriter, evolve, load_trajectories, simulate, simulate_chunks
from sciml.pdes import (
    Autodiff,
    Box,
    Burgers,
    DiffusionSorption,
    FiniteDifference,
    FourierSeries,
    GrayScott,
    Grid,
    Heat,
    Spectral,
)

GRID = Grid(Box(0.0, 1.0), 32)
SPECTRAL = Spectral(GRID)
START = FourierSeries(cutoff=2)(GRID, key=jax.random.key(0))
TIMES = np.linspace(0.0, 0.1, 3)
FIXED = diffrax.ConstantStepSize()


@pytest.mark.parametrize("nu", [1e-3, 0.5])
def test_the_semi_implicit_method_is_of_order_four_stiff_or_not(nu):
    """Order: fixed steps against a fine one; at nu = 0.5 the steps are beyond any explicit method's limit."""

    def solve(steps):
        return evolve(
            Burgers(nu),
            SPECTRAL,
            START,
            np.array([0.0, 0.4]),
            controller=FIXED,
            dt0=0.4 / steps,
            max_steps=2000,
        )[0][-1]

    truth = solve(640)
    errors = [float(jnp.linalg.norm(solve(n) - truth)) for n in (20, 40)]
    if nu == 1e-3:
        assert np.log2(errors[0] / errors[1]) > 3.75
    else:
        # |L| h = 27 at 40 steps, far beyond the explicit limit of 3.5; the solution itself has decayed to about 1e-9.
        assert errors[1] < 1e-6


@pytest.mark.parametrize(
    ("calculus", "solver"),
    [
        (SPECTRAL, SemiImplicit()),
        pytest.param(SPECTRAL, diffrax.Tsit5(), marks=pytest.mark.slow),
        (
            FiniteDifference(GRID),
            diffrax.Kvaerno5(root_finder=optimistix.Newton(rtol=1e-8, atol=1e-8, norm=optimistix.max_norm)),
        ),
    ],
)
def test_gradients_through_a_solve(calculus, solver):
    """Gradient: of a viscosity, on fixed steps, against central differences."""

    def loss(nu):
        values, _ = evolve(
            Burgers(nu),
            calculus,
            START,
            np.array([0.0, 0.05]),
            solver=solver,
            controller=FIXED,
            dt0=5e-3,
            max_steps=16,
        )
        return jnp.sum(values[-1] ** 2)

    compiled = jax.jit(loss)
    slope = (compiled(0.02 + 1e-5) - compiled(0.02 - 1e-5)) / 2e-5
    # The difference quotient's own error is 1e-9; a root finder that stops at 1e-8 may add ten times that.
    np.testing.assert_allclose(jax.grad(loss)(0.02), slope, rtol=1e-6)


@pytest.mark.slow
def test_spectral_and_finite_differences_agree():
    errors = []
    for n in (32, 64):
        grid = Grid(Box(0.0, 1.0), n)
        start = FourierSeries(cutoff=2)(grid, key=jax.random.key(0))
        one, other = (
            evolve(Burgers(0.05), calculus, start, TIMES)[0][-1]
            for calculus in (Spectral(grid), FiniteDifference(grid))
        )
        errors.append(float(jnp.linalg.norm(one - other) / jnp.linalg.norm(one)))
    assert abs(np.log2(errors[0] / errors[1]) - 2) < 0.25


def test_chunks_and_files_change_nothing(tmp_path):
    """Property: in one piece, in chunks, or through a file: the same trajectories, in the order of their seeds."""
    seeds = [5, 3, 8, 1, 2]
    options = {"seeds": seeds, "controller": FIXED, "dt0": 0.01, "progress": False}
    whole = simulate(Burgers(0.01), SPECTRAL, FourierSeries(), TIMES, **options)
    chunked = list(simulate_chunks(Burgers(0.01), SPECTRAL, FourierSeries(), TIMES, memory=12_000, **options))
    assert len(chunked) > 1
    with TrajectoryWriter(tmp_path / "d.h5") as writer:
        for chunk in chunked:
            writer.append(chunk)
    stored = load_trajectories(tmp_path / "d.h5")
    np.testing.assert_allclose(stored.values, whole.values, atol=1e-12)
    assert list(whole.seeds) == list(stored.seeds) == seeds
    assert whole.law["name"] == "Burgers"
    assert whole.channels == ("u",)
    single = simulate(Burgers(0.01), SPECTRAL, FourierSeries(), TIMES, **{**options, "seeds": [8]})
    np.testing.assert_allclose(single.values[0], whole.values[2], atol=1e-12)


def test_single_precision(float32):
    start = jnp.asarray(START, jnp.float32)
    data = simulate(Burgers(0.01), SPECTRAL, start[None], TIMES, progress=False)
    assert data.values.dtype == np.float32


def test_a_fixed_step_within_the_limit_is_taken():
    data = simulate(
        Heat(0.1),
        FiniteDifference(GRID),
        START[None],
        TIMES,
        solver=diffrax.Euler(),
        controller=FIXED,
        dt0=2e-3,
        progress=False,
    )
    assert np.abs(data.values[0, -1]).max() <= np.abs(data.values[0, 0]).max()


def run(law=None, calculus=SPECTRAL, initial=None, times=TIMES, **options):
    law = Burgers(0.01) if law is None else law
    initial = START[None] if initial is None else initial
    return simulate(law, calculus, initial, times, progress=False, **options)


BAD = {
    "no trajectory axis": (lambda: run(initial=START), r"initial\[None\]"),
    "channels": (lambda: run(GrayScott()), "2 channel"),
    "backwards": (lambda: run(times=TIMES[::-1]), "increase strictly"),
    "repeated": (lambda: run(times=np.array([0.0, 0.1, 0.1])), "increase strictly"),
    "nan time": (lambda: run(times=np.array([0.0, np.nan])), "increase strictly"),
    "one time": (lambda: run(times=np.array([0.0])), "at least 2"),
    "not finite": (lambda: run(initial=START[None] * jnp.nan), "Initial condition 0 is not finite"),
    "parameter": (lambda: run(Burgers(float("inf"))), "viscosity must be finite"),
    "cfl": (lambda: run(solver=diffrax.Tsit5(), controller=FIXED, dt0=0.1), r"stability \(CFL\) limit"),
    "no step": (lambda: run(controller=FIXED), "needs dt0"),
    "steps": (lambda: run(max_steps=2), "given up after"),
    "blow-up": (lambda: run(initial=1e4 * START[None], controller=FIXED, dt0=0.05), "not finite from times"),
    "two terms": (lambda: run(calculus=FiniteDifference(GRID), solver=SemiImplicit()), "Tsit5"),
    "no seeds": (lambda: run(initial=FourierSeries()), "needs seeds"),
    "empty seeds": (lambda: run(initial=FourierSeries(), seeds=[]), "seeds is empty"),
    "seeds": (lambda: run(seeds=[1, 2]), "2 seeds"),
    "autodiff": (lambda: evolve(Burgers(0.1), Autodiff(jnp.zeros((3, 1))), START, TIMES), "not a grid"),
    "dimensions": (
        lambda: run(
            DiffusionSorption(), Spectral(Grid(Box((0.0, 0.0), (1.0, 1.0)), (8, 8))), jnp.zeros((1, 1, 8, 8))
        ),
        "1 space dimensions",
    ),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input(name):
    call, message = BAD[name]
    with pytest.raises((ValueError, FloatingPointError, RuntimeError), match=message):
        call()
