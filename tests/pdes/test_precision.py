"""Single precision stays single, whether or not float64 is turned on in jax (property tests)."""

import re

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
    FourierSeries,
    GaussianRandomField,
    GrayScott,
    Grid,
    Heat,
    KuramotoSivashinsky,
    NavierStokes,
    Neumann,
    Outflow,
    Robin,
    Spectral,
    SumOfGaussians,
    UniformConstant,
    VectorBurgers,
    channel_names,
    evaluate_rate,
)

PERIODIC = Grid(Box(0.0, 2.0), 16)
SQUARE = Grid(Box((0.0, 0.0), (1.0, 2.0)), (16, 16))
WALLS = Grid(Box(0.0, 1.0, [(Robin(1.0, 0.5, np.array([0.3])), Outflow(0.1))]), 16)
WALLED_SQUARE = Grid(Box((0.0, 0.0), (1.0, 1.0), [(Dirichlet(np.ones(16)), Neumann(1.0))] * 2), (16, 16))

LAWS = {
    "burgers": (Burgers(0.1), [PERIODIC, WALLS, SQUARE, WALLED_SQUARE]),
    "vector burgers": (VectorBurgers(0.1), [SQUARE, WALLED_SQUARE]),
    "kuramoto-sivashinsky": (KuramotoSivashinsky(), [PERIODIC, WALLS]),
    "gray-scott": (GrayScott(), [PERIODIC, SQUARE]),
    "heat": (Heat(0.1, lambda x: jnp.sin(x[:1])), [PERIODIC, WALLS]),
    "advection-diffusion": (AdvectionDiffusion([1.0, 0.5], 0.1), [SQUARE, WALLED_SQUARE]),
    "navier-stokes": (NavierStokes(0.1, DiagonalForcing()), [SQUARE]),
    "diffusion-sorption": (DiffusionSorption(), [WALLS]),
}


def calculi(grid):
    periodic = [Spectral(grid)] if all(grid.box.periodic) else []
    return [*periodic, FiniteDifference(grid, 2), FiniteDifference(grid, 4), FiniteVolume(grid)]


@pytest.mark.parametrize("name", list(LAWS))
def test_no_double_precision_array_in_a_single_precision_rate(name):
    """Property: with float64 on, neither the rate nor any array on the way to it is of double precision.

    Parameters may be: Python numbers are weakly typed float64, converted where they are used. Constant coordinates are
    in jax's default precision and converted too.
    """
    law, grids = LAWS[name]
    for grid in grids:
        values = jnp.ones((len(channel_names(law, grid.dimensions)), *grid.shape), jnp.float32)
        for calculus in calculi(grid):
            rate = jax.eval_shape(lambda u, c=calculus: law.rate(0.0, c.field(u), c), values)
            assert rate.dtype == jnp.float32, (type(calculus), grid)
            program = str(jax.make_jaxpr(lambda u, c=calculus: evaluate_rate(law, c, u))(values))
            wide = set(re.findall(r"\b(?:f64|c128)\[[\d,]+\]", program))
            coordinates = {f"f64[{','.join(map(str, (size, *grid.shape)))}]" for size in (1, 2)}
            coordinates |= {f"f64[{','.join(map(str, grid.shape))}]"}
            allowed = coordinates if name in ("heat", "navier-stokes") else set()
            # Walls given as float64 arrays are converted on entry; pairs of numbers are weakly typed like numbers.
            allowed |= {"f64[1]", "f64[16]", "f64[2]", "f64[2,1]", "f64[2,1,1]"}
            assert wide <= allowed, (type(calculus), grid, wide - allowed)


@pytest.mark.parametrize("double", [True, False], ids=["float64 on", "float64 off"])
def test_rates_have_the_precision_of_the_unknown(double, request):
    """Property: also where parameters, walls and coordinates are strongly float64, and through `Autodiff`."""
    if not double:
        request.getfixturevalue("float32")
    law = Burgers(np.full(16, 0.1))
    single = jax.ShapeDtypeStruct((1, 16), jnp.float32)

    def precision(law, calculus, u):
        return jax.eval_shape(lambda u: evaluate_rate(law, calculus, u), u).dtype

    for grid in (PERIODIC, WALLS):
        for calculus in calculi(grid):
            assert precision(law, calculus, single) == jnp.float32, type(calculus)
    at_points = Autodiff(jnp.ones((3, 1), jnp.float32))
    assert jax.eval_shape(lambda: evaluate_rate(Burgers(0.1), at_points, jnp.sin)).dtype == jnp.float32
    for initial in (FourierSeries(), GaussianRandomField(cutoff=4), SumOfGaussians(), UniformConstant()):
        drawn = jax.eval_shape(lambda key, initial=initial: initial(PERIODIC, key=key), jax.random.key(0))
        assert drawn.dtype == jnp.result_type(float)


def test_double_precision_is_not_lost():
    """Property: float64 values keep their digits with Python, float32 and float64 parameters."""
    u = jnp.sin(np.pi * PERIODIC.coordinates)
    assert u.dtype == jnp.float64
    for nu in (0.125, np.float32(0.125), np.array(0.125)):
        rate = jax.jit(evaluate_rate)(Burgers(nu), Spectral(PERIODIC), u)
        exact = -0.125 * np.pi**2 * u - np.pi * u * jnp.cos(np.pi * PERIODIC.coordinates)
        np.testing.assert_allclose(rate, exact, atol=1e-13)


def test_single_precision_is_accurate_to_its_digits(float32):
    """Exact: second differences at a wall lose `1e-7 / h^2` and no more; contractions keep all digits."""
    grid = Grid(Box(0.0, 1.0, [(Dirichlet(1.0), Neumann(float(-np.sin(1.0))))]), 32)
    calculus = FiniteDifference(grid, 4)
    u = jnp.asarray(np.cos(grid.axes[0])[None], jnp.float32)
    got = calculus.laplacian(calculus.field(u))
    assert got.dtype == jnp.float32
    # 6e-8 per value, 5 / h^2 = 5000 for the sum of the weights, times the factor 3 of the weights at a wall.
    np.testing.assert_allclose(got, -u, atol=6e-8 * 5000 * 3)


def test_whole_numbers_become_floats():
    """Property: values given as integers are not truncated by the weights of a wall."""
    calculus = FiniteDifference(Grid(Box(0.0, 1.0, Dirichlet(0.5)), 8))
    values = np.arange(8)[None] ** 2
    whole, floating = (calculus.laplacian(calculus.field(v)) for v in (values, values.astype(float)))
    np.testing.assert_array_equal(whole, floating)
