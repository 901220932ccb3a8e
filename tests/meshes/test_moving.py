"""The method of lines on meshes that move with the solution."""

import functools
from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.data import evolve
from sciml.meshes import (
    Cubic,
    FunctionMonitor,
    HessianMonitor,
    MeshError,
    MeshFiniteVolume,
    Moved,
    certify,
    evolve_moving,
    interpolate,
    uniform_mesh,
)
from sciml.meshes._moving_checks import check_solution
from sciml.meshes.forms import ConservativeForm, PointwiseForm
from sciml.meshes.motion import Motion
from sciml.meshes.moving import _Within
from sciml.pdes import (
    AbstractPDE,
    AdvectionDiffusion,
    Box,
    Burgers,
    Dirichlet,
    FiniteDifference,
    FiniteVolume,
    Grid,
    Heat,
    NavierStokes,
    Neumann,
    Periodic,
)

TIMES = jnp.array([0.0, 0.1, 0.2])
LINE = Grid(Box(0.0, 1.0), 32)
FORMS = pytest.mark.parametrize("conservative", [False, True], ids=["pointwise", "conservative"])


def bump(x):
    return jnp.exp(-(((x[0] - 0.3) / 0.1) ** 2) / 2)[None]


def in_the_middle(u, calculus):
    """A monitor of the position, whatever the solution: a mesh that starts uniform has far to go."""
    x = calculus.coordinates
    return 1 + 8 * jnp.exp(-100 * jnp.sum((x - 0.5) ** 2, axis=0))


def uniform(grid):
    mesh = uniform_mesh(grid)
    return Moved(mesh, certify(mesh, lambda x: 1 + 0 * x[0]), jnp.zeros(mesh.vertices.shape[1:]))


def on_a_line(solution):
    """At fixed points, as nodes are elsewhere in every solve."""
    x = jnp.linspace(0, 1, 100, endpoint=False)[None]
    return interpolate(solution.values[-1], solution.mesh(-1), x, Cubic())


@functools.cache
def burgers(conservative):
    return evolve_moving(Burgers(5e-3), LINE, bump, TIMES, conservative=conservative)


# Exact.


@pytest.mark.parametrize(
    ("slope", "conservative"),
    [(2.0, False), (0.0, False), (0.0, True)],
    ids=["linear", "constant", "averages"],
)
def test_what_is_linear_is_carried_exactly_by_a_moving_mesh(slope, conservative):
    """Between walls that give its slope: moving nodes see it change linearly in time. Averages: if it is constant."""
    law = AdvectionDiffusion([0.3], 0.01)
    grid = Grid(Box(0.0, 1.0, [(Neumann(-slope), Neumann(slope))]), 32)

    def exact(t, x):
        return 0.7 + slope * (x - 0.3 * t)

    solution = evolve_moving(
        law,
        grid,
        exact(0.0, grid.coordinates),
        TIMES,
        monitor=FunctionMonitor(in_the_middle),
        start=uniform(grid),
        conservative=conservative,
        # Steps known to be stable: where there is no error, the usual ones grow until rounding does.
        controller=diffrax.ConstantStepSize(),
        dt0=5e-4,
    )
    for index, t in enumerate(TIMES):
        values = exact(t, solution.mesh(index).coordinates)
        np.testing.assert_allclose(solution.values[index], values, atol=1e-11 if slope else 1e-12)
    assert jnp.max(abs(solution.vertices[-1] - solution.vertices[0])) > 0.05


def test_mass_is_conserved_to_rounding():
    solution = burgers(True)
    np.testing.assert_allclose(solution.totals / solution.totals[0], 1, rtol=1e-13)
    # The other form conserves it to its order only.
    assert jnp.max(abs(burgers(False).totals / solution.totals[0] - 1)) > 1e-7


@pytest.mark.slow
def test_heat_in_a_box_with_walls_and_a_seam():
    """Against the solution, with the mass conserved between insulating walls and each mesh certified."""
    grid = Grid(Box((0.0, 0.0), (1.0, 1.0), [(Periodic(), Periodic()), (Neumann(), Neumann())]), (12, 12))

    def exact(t, x):
        wave = jnp.cos(2 * jnp.pi * x[0]) * jnp.cos(jnp.pi * x[1])
        return (1 + jnp.exp(-5 * jnp.pi**2 * 0.05 * t) * wave)[None]

    solution = evolve_moving(
        Heat(0.05), grid, functools.partial(exact, 0.0), jnp.array([0.0, 0.1]), conservative=True
    )
    error = solution.values[-1] - exact(0.1, solution.mesh(-1).coordinates)
    assert jnp.max(abs(error)) < 0.03
    np.testing.assert_allclose(solution.totals / solution.totals[0], 1, rtol=1e-13)
    assert np.all(solution.certificates.valid)
    assert np.all(solution.certificates.smallest_corner < 0.9)


# Order.


@functools.cache
def prescribe(n, conservative):
    """For values on a smooth mesh that moves smoothly: their rate along the paths of the nodes, and the exact one.

    Of a constant, and of a function that is carried and spread; the mesh is far from uniform.
    """
    grid, k = Grid(Box((0.0, 0.0), (1.0, 1.0)), (n, n)), 2 * jnp.pi
    motion = Motion(grid, HessianMonitor(), jnp.asarray(1.0), FiniteDifference)
    form = (ConservativeForm if conservative else PointwiseForm)(AdvectionDiffusion([1.0, 2.0], 0.1), motion)

    @eqx.filter_jit
    def rate(form, function):
        xi = form.motion.lattice.reference
        wave = jnp.prod(jnp.cos(k * xi), axis=0)
        potential, drift = 0.006 * wave, 0.01 * jnp.cos(k * xi[0]) - 0.007 * wave
        x = form.motion.mesh(potential).coordinates
        state = form.open(
            function[0] + function[1] * jnp.sum(jnp.sin(k * x), axis=0, keepdims=True), potential
        )
        change = form.hold(state, drift)(0.0, state)
        along = form.motion.lattice.gradient(drift) - jnp.array([1.0, 2.0]).reshape(2, 1, 1)
        exact = function[1] * jnp.sum(along * k * jnp.cos(k * x) - 0.1 * k**2 * jnp.sin(k * x), axis=0)
        found = change["u"][0]
        if conservative:
            # d(V u)/dt = V du/dt + u dV/dt
            found = found - state["u"][0] * change["volume"]
        return found, exact

    return lambda *function: rate(form, jnp.array(function))


@FORMS
def test_the_order_on_a_prescribed_moving_mesh(conservative):
    """Order two, in the largest error and for averages in the mean one."""
    norm = np.mean if conservative else np.max
    coarse, fine = (norm(abs(np.subtract(*prescribe(n, conservative)(0.0, 1.0)))) for n in (32, 64))
    assert abs(np.log2(coarse / fine) - 2) < 0.25


@FORMS
def test_a_constant_has_no_rate_on_a_moving_mesh(conservative):
    """Exact, in two dimensions: what averages gain by the sweep of faces is what their cells grow by."""
    found, _ = prescribe(32, conservative)(3.0, 0.0)
    np.testing.assert_allclose(found, 0, atol=1e-11)


# Against fixed meshes.


def sine(x):
    return 1 + jnp.sin(2 * jnp.pi * x)


def solve_by_quadrature(x, t, viscosity):
    """The solution of Burgers' equation from `sine`, by Cole and Hopf's transformation."""
    y = np.linspace(-0.5, 0.5, 4001)
    origin = x[:, None] - t - y
    log = np.cos(2 * np.pi * origin) / (4 * np.pi * viscosity) - y**2 / (4 * viscosity * t)
    weight = np.exp(log - log.max(axis=1, keepdims=True))
    return 1 + (weight * np.sin(2 * np.pi * origin)).sum(axis=1) / weight.sum(axis=1)


def test_a_steep_front_is_better_than_on_four_times_the_nodes():
    """Burgers' equation at nu = 5e-3: errors at the nodes, in the mean square over the domain.

    With a third of the usual weight: limited fluxes want smoother meshes than an interpolation does.
    """
    monitor = HessianMonitor(weight=1.0)
    solution = evolve_moving(Burgers(5e-3), LINE, sine, 2 * TIMES, conservative=True, monitor=monitor)
    mesh = solution.mesh(-1)
    x, volumes = mesh.coordinates[0], MeshFiniteVolume(mesh).volumes
    exact = solve_by_quadrature(np.asarray(x), 0.4, 5e-3)
    moved = np.sqrt(np.sum(volumes * (solution.values[-1, 0] - exact) ** 2))
    fine = Grid(Box(0.0, 1.0), 128)
    values, _ = evolve(Burgers(5e-3), FiniteVolume(fine), sine(fine.coordinates), 2 * TIMES)
    exact = solve_by_quadrature(fine.axes[0], 0.4, 5e-3)
    fixed = np.sqrt(np.mean((values[-1, 0] - exact) ** 2))
    assert moved < 0.7 * fixed
    # Nodes travel with the front: where they are closest is where it is.
    tight = x[jnp.argmin(volumes)] % 1
    assert abs(tight - 0.9) < 0.02
    assert np.all(solution.certificates.valid)
    assert solution.statistics["evaluations"] == 7 * solution.statistics["steps"]


@pytest.mark.slow
@FORMS
def test_a_front_between_walls_is_better_than_on_four_times_the_nodes(conservative):
    """Burgers' traveling wave at nu = 2e-3, against the best of two fixed calculi."""
    walls = [(Dirichlet(1.0), Dirichlet(0.0))]
    grid, fine = Grid(Box(0.0, 1.0, walls), 32), Grid(Box(0.0, 1.0, walls), 128)
    times = jnp.array([0.0, 0.2, 0.4])
    start = functools.partial(wave, 0.0)
    solution = evolve_moving(Burgers(2e-3), grid, start, times, conservative=conservative)
    mesh = solution.mesh(-1)
    moved = jnp.sqrt(jnp.sum(mesh.volumes * (solution.values[-1] - wave(0.4, mesh.coordinates))[0] ** 2))
    for fixed in (FiniteDifference(fine), FiniteVolume(fine)):
        values, _ = evolve(Burgers(2e-3), fixed, start(fine.coordinates), times)
        error = jnp.sqrt(jnp.mean((values[-1] - wave(0.4, fine.coordinates)) ** 2))
        assert moved < error / 3


def wave(t, x):
    """Burgers' traveling wave, from 1 to 0."""
    return (0.5 - 0.5 * jnp.tanh((x[0] - 0.3 - t / 2) / (4 * 2e-3)))[None]


# Property.


def test_a_solve_goes_on_from_where_one_ended():
    """In the mean square, as steps differ, and nodes with them."""
    first = evolve_moving(Burgers(5e-3), LINE, bump, TIMES / 2, relaxation_time=2e-3)
    second = evolve_moving(
        Burgers(5e-3), LINE, first.values[-1], TIMES / 2, relaxation_time=2e-3, start=first.moved(-1)
    )
    assert jnp.sqrt(jnp.mean((on_a_line(second) - on_a_line(burgers(False))) ** 2)) < 2e-3
    assert second.statistics["relaxations"] == 0


def test_a_function_is_asked_inside_the_box_only():
    """A bump at the seam, given on the box and not repeated: nodes on either side of it see it."""

    def seam(x):
        inside = (x >= 0) & (x < 1)
        return jnp.where(inside, jnp.exp(-((jnp.minimum(x, 1 - x) / 0.1) ** 2) / 2), jnp.nan)

    at = _Within(seam, LINE)(jnp.array([[-1e-18, 1.0, 1.25, -0.25]]))
    np.testing.assert_allclose(at, seam(jnp.array([[0.0, 0.0, 0.25, 0.75]])))
    solution = evolve_moving(Heat(1e-2), LINE, seam, TIMES[:2])
    assert np.all(np.isfinite(solution.values))
    assert jnp.max(solution.values[0]) > 0.99


def test_values_on_the_grid_serve_as_a_function_does():
    found = evolve_moving(Burgers(5e-3), LINE, bump(LINE.coordinates), TIMES)
    assert jnp.mean(abs(on_a_line(found) - on_a_line(burgers(False)))) < 0.02


@FORMS
def test_single_precision_stays(conservative):
    """Whether or not double precision is turned on; read from the traced program."""

    def solve(viscosity):
        def single(x):
            return bump(x).astype(jnp.float32)

        return evolve_moving(Burgers(viscosity), LINE, single, TIMES, conservative=conservative, throw=False)

    for number in (jnp.float32(5e-3), jnp.float64(5e-3)):
        found = eqx.filter_eval_shape(solve, number)
        assert found.values.dtype == found.potentials.dtype == jnp.float32


@pytest.mark.slow
def test_in_single_precision(float32):
    solution = evolve_moving(Burgers(5e-3), LINE, bump, np.array([0.0, 0.1, 0.2]))
    assert solution.values.dtype == solution.potentials.dtype == jnp.float32
    np.testing.assert_allclose(solution.totals[-1], burgers(False).totals[-1], rtol=1e-2)


@pytest.mark.slow
def test_gradient_with_respect_to_viscosity_and_vmap():
    """Against central differences, with fixed steps; and mapped over two viscosities."""

    def loss(viscosity):
        solution = evolve_moving(
            Burgers(viscosity),
            LINE,
            bump,
            TIMES[:2],
            controller=diffrax.ConstantStepSize(),
            dt0=5e-3,
            max_steps=32,
        )
        return jnp.sum(solution.values[-1] ** 2 * solution.mesh(-1).volumes)

    at, h = jnp.asarray(5e-3), 2e-6
    gradient = jax.grad(loss)(at)
    difference = (loss(at + h) - loss(at - h)) / (2 * h)
    np.testing.assert_allclose(gradient, difference, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(loss)(jnp.array([4e-3, 5e-3]))[1], loss(at), rtol=1e-9)


# Solves that come to a stop.


class Explosion(AbstractPDE):
    """`u_t = u^2`: from `u0` infinite at `1 / u0`."""

    channels: ClassVar[tuple[str, ...]] = ("u",)

    def rate(self, t, u, calculus):
        return u.value**2


def test_a_blow_up_names_its_time():
    with pytest.raises(
        FloatingPointError, match=r"stop at t = 0.(4999|5000)\d* of 1.2 after .* largest value is .*e\+0"
    ):
        evolve_moving(Explosion(), LINE, lambda x: 1 + bump(x), 6 * TIMES)
    marked = evolve_moving(Explosion(), LINE, lambda x: 1 + bump(x), 6 * TIMES, throw=False)
    assert abs(marked.stopped - 0.5) < 1e-3
    assert marked.certificates.converged.tolist() == [True, False, False]
    assert np.all(np.isfinite(marked.values))


def test_meshes_and_steps_are_judged():
    """On solutions made to be bad."""
    good = burgers(False)

    def names(solution):
        return solution.certificates.tangled, solution.certificates.smallest_corner

    tangled = eqx.tree_at(names, good, (jnp.array([0, 2, 0]), jnp.array([0.5, -0.1, 0.5])))
    with pytest.raises(
        MeshError, match=r"evolve_moving at t = 0.1: 2 of 32 cells are tangled.*Take more cells"
    ):
        check_solution(tangled, 1000)
    stopped = eqx.tree_at(lambda s: s.stopped, good, jnp.asarray(0.15))
    with pytest.raises(RuntimeError, match=r"stop at t = 0.15 of 0.2 after .* Raise max_steps=1,"):
        check_solution(stopped, 1)
    folding = eqx.tree_at(names, stopped, (jnp.zeros(3, int), jnp.array([0.5, 1e-4, 1e-4])))
    with pytest.raises(MeshError, match=r"stop at t = 0.15 .* about to fold"):
        check_solution(folding, 1000)


# Bad input.


SQUARE = Grid(Box((0.0, 0.0), (1.0, 1.0)), (8, 8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": SQUARE.box}, "takes the Grid that is to be moved; got Box"),
        ({"grid": Grid(Box((0.0,) * 3, (1.0,) * 3), (4, 4, 4))}, "1 or 2 dimensions; the grid has 3"),
        ({"times": [0.0]}, "at least 2 entries"),
        ({"times": [0.0, 1.0, 1.0]}, r"increase strictly; got \[0.0, 1.0, 1.0\]"),
        ({"relaxation_time": 0.0}, "relaxation_time must be positive and finite; got 0.0"),
        ({"monitor": bump}, "FunctionMonitor"),
        ({"initial": lambda x: x[0]}, r"got \(8, 8\). A single channel is u\[None\]"),
        ({"initial": jnp.zeros((8, 8))}, r"channel axis is missing: write u\[None\]"),
        ({"initial": jnp.full((1, 8, 8), jnp.nan)}, "initial must be finite"),
        ({"initial": jnp.zeros((2, 8, 8))}, "got values with 2"),
        (
            {"law": Heat(jnp.ones((8, 8)))},
            r"Heat.diffusivity is given at the points of a grid, shape \(8, 8\)",
        ),
        (
            {"grid": Grid(Box((0.0, 0.0), (1.0, 1.0), Dirichlet(jnp.ones(8))), (8, 8))},
            "Dirichlet on axis 0 is given at points along the wall",
        ),
        ({"law": NavierStokes(1e-2)}, "non-local operator"),
        ({"start": uniform(LINE)}, r"potential \(8, 8\) at the vertices .* got \(32,\)"),
        ({"controller": diffrax.ConstantStepSize()}, "needs dt0"),
    ],
)
def test_bad_input(arguments, message):
    defaults = {
        "law": Heat(0.1),
        "grid": SQUARE,
        "initial": lambda x: jnp.cos(2 * jnp.pi * x[:1]),
        "times": TIMES,
    }
    with pytest.raises(ValueError, match=message):
        evolve_moving(**{**defaults, **arguments})
