"""Monitors: from a solution to a density."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sciml.meshes import (
    ArcLengthMonitor,
    FunctionMonitor,
    Gaussian,
    GradientHessianMonitor,
    GradientMonitor,
    HelmholtzFilter,
    HessianMonitor,
    MongeAmpere,
    StructuredMesh,
    uniform_mesh,
)
from sciml.meshes.errors import interpolation_error
from sciml.meshes.structured import reference_vertices
from sciml.pdes import Box, Dirichlet, Grid, Neumann, Periodic

RAW = {"smoothing": None, "cap": None}
TORUS = Grid(Box((0.0, 0.0), (1.0, 2.0)), (12, 10))
WALLS = Grid(Box((0.0, 0.0), (1.0, 2.0), Neumann(0.0)), (12, 10))
LINE = Grid(Box(0.0, 1.0, Neumann(0.0)), 16)
CIRCLE = Grid(Box(0.0, 1.0), 16)
MIXED = Grid(Box((0.0, 0.0), (1.0, 2.0), (Periodic(), Neumann(0.0))), (12, 10))
BOTH = GradientHessianMonitor()
LAPLACIAN = FunctionMonitor(lambda u, calculus: 1 + calculus.laplacian(u)[0] ** 2)


def random_solution(grid, channels=1, seed=0):
    """Smooth, and neither even nor odd anywhere."""
    x, *more = (c / length for c, length in zip(np.asarray(grid.coordinates), grid.box.lengths, strict=True))
    y = more[0] if more else 0.3
    waves = [np.sin(2 * np.pi * (x + c) + 1.0) + np.cos(2 * np.pi * (y - x) + seed) for c in range(channels)]
    return jnp.asarray(np.exp(waves))


def moved(grid):
    """A mesh with cells of all sizes, whose nodes slide along walls."""
    x = np.asarray(reference_vertices(grid))
    scale = np.reshape(grid.box.lengths, (-1,) + (1,) * grid.dimensions)
    return StructuredMesh(grid, jnp.asarray(x + 0.1 * scale * np.sin(2 * np.pi * x / scale)))


def differences(u, grid):
    """Gradient and Hessian on a periodic grid, by NumPy."""

    def first(v, axis):
        return (np.roll(v, -1, axis) - np.roll(v, 1, axis)) / (2 * grid.spacing[axis])

    def second(v, axis):
        return (np.roll(v, -1, axis) - 2 * v + np.roll(v, 1, axis)) / grid.spacing[axis] ** 2

    u = np.asarray(u)
    gradient = np.stack([first(u, 0), first(u, 1)])
    mixed = first(first(u, 0), 1)
    return gradient, np.stack([second(u, 0), mixed, mixed, second(u, 1)])


# Formulas.


def norm(entries):
    return np.sqrt(np.sum(entries**2, axis=0))


def over_mean(values):
    return values / values.mean()


FORMULAS = {
    "the text's gradient": (
        GradientMonitor(2.0, relative=False, **RAW),
        lambda g, h: 1 + norm(g) / 2.0,
    ),
    "the released code's gradient": (
        GradientMonitor(0.01, **RAW),
        lambda g, h: 1 + norm(g) / (0.01 * norm(g).mean()),
    ),
    "arc length": (
        ArcLengthMonitor(2.0, relative=False, **RAW),
        lambda g, h: np.sqrt(1 + norm(g) ** 2 / 4),
    ),
    "Hessian": (
        HessianMonitor(0.4, 3.0, **RAW),
        lambda g, h: 1 + 3 * over_mean(norm(h) ** 0.4),
    ),
    "gradient and Hessian": (
        GradientHessianMonitor(1.0, 2.0, 0.5, 1.0, **RAW),
        lambda g, h: 1 + 2 * over_mean(norm(g)) + over_mean(norm(h) ** 0.5),
    ),
    "function": (
        FunctionMonitor(lambda u, calculus: 2 + calculus.partial(u, 0)[0] ** 2, **RAW),
        lambda g, h: 2 + g[0] ** 2,
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_against_numpy(name):
    """Exact, up to the smoothing of powers at zero, which takes 0.025 from `|d|^0.4`; with mean one."""
    monitor, formula = FORMULAS[name]
    u = random_solution(TORUS)
    expected = over_mean(formula(*differences(u[0], TORUS)))
    np.testing.assert_allclose(monitor.evaluate(u, TORUS), expected, rtol=0.03 if "Hessian" in name else 5e-3)


def test_the_exponent_of_the_gradient_monitor_is_half_the_dimensions():
    """Exact: in one dimension the root."""
    u = jnp.asarray(np.sin(3 * LINE.coordinates) + LINE.coordinates**2)
    slope = np.gradient(np.asarray(u[0]), LINE.spacing[0])
    found = GradientMonitor(1.0, relative=False, **RAW).evaluate(u, LINE)
    np.testing.assert_allclose(
        found[1:-1] / found[1], (np.sqrt(1 + abs(slope)) / np.sqrt(1 + abs(slope[1])))[1:-1]
    )


# What monitors do not see.


@pytest.mark.parametrize("mesh", [WALLS, moved(WALLS), moved(CIRCLE)], ids=["walls", "moved", "circle"])
def test_constant_and_linear_solutions_have_the_uniform_density(mesh):
    """Property: exactly uniform where all there is to normalize is rounding, also at walls."""
    x = mesh.coordinates
    np.testing.assert_allclose(BOTH.evaluate(0 * x[:1] + 1 / 3, mesh), 1.0, rtol=1e-12)
    if len(x) == 2:  # no line is periodic
        np.testing.assert_allclose(BOTH.evaluate((1e6 + 2 * x[0] - x[1])[None], mesh), 1.0, rtol=1e-9)


@pytest.mark.parametrize("monitor", [ArcLengthMonitor(relative=False), BOTH], ids=["arc length", "both"])
def test_the_gradient_at_a_constant_solution_is_finite(monitor):
    """Property: powers and roots of zero have no derivative."""
    function = jax.jit(jax.grad(lambda u: monitor.evaluate(u, LINE)[3]))
    assert np.all(np.isfinite(function(jnp.full((1, 16), 1 / 3))))
    assert np.all(np.isfinite(function(jnp.zeros((1, 16)))))


def test_boundary_conditions_make_no_derivatives():
    """Exact: the same density for any condition at the walls, kept or broken."""
    u = random_solution(LINE)
    other = Grid(Box(0.0, 1.0, Dirichlet(7.0)), LINE.shape)
    np.testing.assert_array_equal(HessianMonitor().evaluate(u, LINE), HessianMonitor().evaluate(u, other))


@pytest.mark.parametrize("monitor", [ArcLengthMonitor(), BOTH], ids=["arc length", "both"])
def test_units_do_not_matter(monitor):
    """Exact: neither that of the solution nor those of its channels."""
    u = np.array(random_solution(LINE, channels=3))
    u[2] = 0.1
    expected = monitor.evaluate(u[:2], LINE)
    np.testing.assert_allclose(monitor.evaluate(u, LINE), expected, rtol=1e-12)
    np.testing.assert_allclose(monitor.evaluate(1e30 * u, LINE), expected, rtol=1e-9)
    scales = np.array([[1e-9], [1e9], [1.0]])
    np.testing.assert_allclose(monitor.evaluate(scales * u, LINE), expected, rtol=1e-9)


# Symmetries.


@pytest.mark.parametrize("monitor", [BOTH, LAPLACIAN], ids=["gradient and Hessian", "function"])
def test_mirrored_and_rolled_solutions_have_mirrored_and_rolled_densities(monitor):
    """Property."""
    u = random_solution(MIXED)
    found = monitor.evaluate(u, MIXED)
    np.testing.assert_allclose(monitor.evaluate(np.asarray(u)[..., ::-1], MIXED), found[:, ::-1], rtol=1e-9)
    np.testing.assert_allclose(monitor.evaluate(np.roll(u, 5, 1), MIXED), np.roll(found, 5, 0), rtol=1e-9)


def test_the_unmoved_mesh_is_the_grid():
    """Property: the chain rule with the identity."""
    u = random_solution(WALLS)
    np.testing.assert_allclose(BOTH.evaluate(u, uniform_mesh(WALLS)), BOTH.evaluate(u, WALLS), rtol=1e-8)


def test_derivatives_on_a_moved_mesh_are_those_in_space():
    """Exact, up to differences: the curvature of a bell at the moved points, and the mean over the domain."""
    mesh = moved(Grid(Box(0.0, 1.0, Neumann(0.0)), 96))
    x = mesh.coordinates - 0.4
    bell = jnp.exp(-8 * x**2)
    found = HessianMonitor(1.0, 1e6, **RAW).evaluate(bell, mesh)
    scale = jnp.sum(abs(bell * (256 * x**2 - 16))[0] * mesh.volumes)
    np.testing.assert_allclose(found * scale, abs(bell * (256 * x**2 - 16))[0], atol=0.2)
    assert float(jnp.sum(found * mesh.volumes)) == pytest.approx(1.0, abs=1e-12)


def test_the_density_of_a_solution_on_a_moved_mesh_is_found_in_space():
    """Exact, up to interpolation: about that of the same function on a grid; and even at walls."""
    mesh = moved(Grid(Box(0.0, 1.0, Neumann(0.0)), 96))
    step = lambda x: jnp.tanh(10 * (x - 0.4))  # noqa: E731
    found = jax.jit(lambda u: BOTH.density(u, mesh)(mesh.grid.coordinates))(step(mesh.coordinates))
    expected = BOTH.evaluate(step(mesh.grid.coordinates), mesh.grid)
    np.testing.assert_allclose(found, expected, rtol=0.1)


# Smoothing and cap.


def test_the_cap_is_met_and_only_where_it_is_passed():
    """Exact: the share of the mass above the smallest value."""
    u = random_solution(LINE)

    def share(monitor):
        values = monitor.evaluate(u, LINE)
        return float(1 - jnp.min(values) / jnp.mean(values))

    free = share(HessianMonitor(4.0, 50.0, cap=None))
    assert free > 0.8
    assert share(HessianMonitor(4.0, 50.0)) == pytest.approx(0.8, abs=1e-12)
    assert share(HessianMonitor()) <= 0.75


def test_smoothing_is_that_of_the_values():
    """Exact."""
    u = random_solution(LINE)
    raw = HessianMonitor(**RAW).evaluate(u, LINE)
    for smoothing in (Gaussian(1.5), HelmholtzFilter(2.0)):
        found = HessianMonitor(smoothing=smoothing, cap=None).evaluate(u, LINE)
        np.testing.assert_allclose(found, smoothing.smooth(raw, LINE), rtol=1e-12)


# Derivatives, precision, batches.


@pytest.mark.parametrize("monitor", [ArcLengthMonitor(relative=False), BOTH], ids=["arc length", "both"])
def test_densities_are_differentiable_in_the_solution(monitor):
    """Gradient against finite differences, through smoothing, mean and spline."""
    x = jnp.array([[0.1, 0.5]])
    function = jax.jit(lambda u: monitor.density(u, LINE)(x))
    check_grads(function, (random_solution(LINE),), order=1, modes=["rev"], eps=1e-6, rtol=1e-5)


def test_the_numbers_of_a_monitor_are_leaves():
    """Gradient against finite differences, and `vmap` over weights."""
    u = random_solution(LINE)
    value = jax.jit(lambda p, w: HessianMonitor(p, w).evaluate(u, LINE)[3])
    check_grads(value, (0.4, 3.0), order=1, modes=["rev"], rtol=1e-6)
    weights = jnp.array([1.0, 3.0])
    monitors = eqx.filter_vmap(lambda w: HessianMonitor(0.4, w))(weights)
    found = eqx.filter_vmap(lambda monitor: monitor.evaluate(u, LINE))(monitors)
    np.testing.assert_allclose(found[1], HessianMonitor().evaluate(u, LINE), rtol=1e-12)


def test_single_precision_is_enough_and_kept():
    """Exact, to the precision; a constant and a line are still seen as such."""
    u = random_solution(LINE)
    expected = HessianMonitor().evaluate(u, LINE)
    found = HessianMonitor().evaluate(u.astype(jnp.float32), LINE)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    for flat in (jnp.full(LINE.shape, 0.1), 100 + LINE.coordinates[0]):
        values = HessianMonitor().evaluate(flat[None].astype(jnp.float32), LINE)
        np.testing.assert_allclose(values, 1.0, rtol=1e-6)


def test_batches_are_mapped_over():
    """`vmap` against a loop, through the density."""
    batch = jnp.stack([random_solution(LINE, seed=seed) for seed in range(3)])
    densities = jax.jit(jax.vmap(lambda u: HessianMonitor().density(u, LINE)))(batch)
    found = jax.jit(jax.vmap(lambda density: density(LINE.coordinates)))(densities)
    np.testing.assert_allclose(found[2], HessianMonitor().evaluate(batch[2], LINE), rtol=1e-11)


# What it is for.


@pytest.mark.slow
def test_the_default_makes_a_shock_cheap_to_interpolate():
    """Exact: the references' table D2 has 21.6 times the uniform mesh's accuracy at 32 x 32.

    The shock is narrower than a cell. So its monitor is made on a lattice twice as fine, and smoothed by a cell of the
    mesh.
    """
    coarse, fine = (Grid(Box((0.0, 0.0), (1.0, 1.0), Neumann(0.0)), (n, n)) for n in (32, 64))

    def shock(x):
        return jnp.tanh(50 * (x[0] + x[1] - 1))

    density = HessianMonitor(smoothing=Gaussian(2.0)).density(shock(fine.coordinates)[None], fine)
    mesh = MongeAmpere().move(density, coarse).mesh
    uniform, found = (interpolation_error(shock, m).l2 for m in (uniform_mesh(coarse), mesh))
    assert float(uniform / found) > 20


# What is refused.

NAN = jnp.ones((1, 12, 10)).at[0, 3, 4].set(jnp.nan)
BAD = {
    "no channel": (
        lambda: HessianMonitor().density(jnp.ones((12, 10)), TORUS),
        ["HessianMonitor", "u[None]"],
    ),
    "another grid": (
        lambda: HessianMonitor().density(jnp.ones((1, 9, 9)), TORUS),
        ["(1, 9, 9)", "another grid"],
    ),
    "NaN": (lambda: GradientMonitor().density(NAN, TORUS), ["GradientMonitor", "nan", "(0, 3, 4)", "finite"]),
    "no mesh": (
        lambda: HessianMonitor().evaluate(jnp.ones((1, 12, 10)), 12),
        ["Grid", "int", "resample(u, mesh, grid)"],
    ),
    "exponent": (lambda: HessianMonitor(0.0), ["HessianMonitor.exponent", "above 0", "0.0"]),
    "weight": (lambda: HessianMonitor(0.4, -1.0), ["HessianMonitor.weight", "at least 0", "-1.0"]),
    "alpha": (lambda: ArcLengthMonitor(0.0), ["ArcLengthMonitor.alpha", "above 0"]),
    "weights": (
        lambda: GradientHessianMonitor(hessian_weight=-2.0),
        ["GradientHessianMonitor.hessian_weight"],
    ),
    "cap": (lambda: GradientMonitor(cap=1.0), ["GradientMonitor.cap", "between 0 and 1", "1.0"]),
    "smoothing": (
        lambda: HessianMonitor(smoothing=1.0),
        ["HessianMonitor.smoothing", "Gaussian(cells)", "1.0"],
    ),
    "function": (lambda: FunctionMonitor(3.0), ["FunctionMonitor", "3.0"]),
    "function's shape": (
        lambda: FunctionMonitor(lambda u, calculus: 1 + u.value).evaluate(jnp.ones((1, 12, 10)), TORUS),
        ["one number for each point", "(12, 10)", "(1, 12, 10)"],
    ),
    "function's sign": (
        lambda: FunctionMonitor(lambda u, calculus: u.value[0], **RAW).density(
            random_solution(TORUS) - 1, TORUS
        ),
        ["FunctionMonitor", "at x = (", "add a floor"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    call, words = BAD[name]
    with pytest.raises(ValueError) as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)
