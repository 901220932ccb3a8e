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
    Moved,
    certify,
    evolve_moving,
    interpolate,
    uniform_mesh,
)
from sciml.meshes._moving_checks import check_solution
from sciml.meshes.forms import ConservativeForm, PointwiseForm
from sciml.meshes.motion import Motion
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
# Steps of which the stability is known: where there is no error, the usual ones grow until rounding does.
STEPS = {"controller": diffrax.ConstantStepSize(), "dt0": 4e-3}
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


@FORMS
def test_a_constant_stays_constant_on_a_moving_mesh(conservative):
    solution = evolve_moving(
        Burgers(5e-3),
        LINE,
        jnp.full((1, 32), 0.7),
        TIMES,
        monitor=FunctionMonitor(in_the_middle),
        start=uniform(LINE),
        conservative=conservative,
        **STEPS,
    )
    np.testing.assert_allclose(solution.values, 0.7, atol=1e-12)
    assert jnp.max(abs(solution.vertices[-1] - solution.vertices[0])) > 0.05
    np.testing.assert_allclose(solution.totals, 0.7, atol=1e-12)


@FORMS
def test_a_constant_has_no_rate_in_two_dimensions(conservative):
    """Not even within a step, where the volume that is integrated is not that of the mesh."""
    grid = Grid(Box((0.0, 0.0), (1.0, 1.0), [(Periodic(), Periodic()), (Neumann(), Neumann())]), (8, 9))
    form, state, drift = prescribe(grid, conservative, lambda x: 3.0 + 0 * x[:1])
    change = eqx.filter_jit(lambda: form.hold(state, drift)(0.0, state))()
    if conservative:
        np.testing.assert_allclose(change["u"][0], 3.0 * change["volume"], atol=1e-12)
        assert jnp.max(abs(change["volume"])) > 0.1
    else:
        np.testing.assert_allclose(change["u"], 0, atol=1e-12)


def test_a_linear_profile_is_carried_exactly():
    """Between walls that give its slope: moving nodes see it change linearly in time."""
    law = AdvectionDiffusion([0.3], 0.01)
    grid = Grid(Box(0.0, 1.0, [(Neumann(-2.0), Neumann(2.0))]), 32)
    monitor = FunctionMonitor(in_the_middle)
    solution = evolve_moving(law, grid, lambda x: 2 * x, TIMES, monitor=monitor, start=uniform(grid), **STEPS)
    for index, t in enumerate(TIMES):
        x = solution.mesh(index).coordinates
        np.testing.assert_allclose(solution.values[index], 2 * (x - 0.3 * t), atol=1e-11)
    assert jnp.max(abs(solution.vertices[-1] - solution.vertices[0])) > 0.05


def test_mass_is_conserved_to_rounding():
    solution = burgers(True)
    np.testing.assert_allclose(solution.totals / solution.totals[0], 1, rtol=1e-13)
    # The other form conserves it to its order only.
    assert jnp.max(abs(burgers(False).totals / solution.totals[0] - 1)) > 1e-7


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


def prescribe(grid, conservative, function):
    """A form, its state on a smooth mesh, and a smooth velocity."""
    motion = Motion(grid, HessianMonitor(), jnp.asarray(1.0), FiniteDifference)
    x = motion.lattice.reference
    wave = jnp.prod(jnp.cos(2 * jnp.pi * x), axis=0)
    potential, drift = 0.006 * wave, 0.01 * jnp.cos(2 * jnp.pi * x[0]) - 0.007 * wave
    law = AdvectionDiffusion(jnp.arange(1.0, grid.dimensions + 1), 0.1)
    form = (ConservativeForm if conservative else PointwiseForm)(law, motion)
    u = function(motion.mesh(potential).coordinates)
    return form, form.open(u, potential), drift


@FORMS
@pytest.mark.parametrize("dimensions", [1, 2])
def test_the_order_on_a_prescribed_moving_mesh(dimensions, conservative):
    """Order two, of the rate along the paths of the nodes, in the largest error and for averages in the mean one."""
    k = 2 * jnp.pi

    def function(x):
        return jnp.sum(jnp.sin(k * x), axis=0, keepdims=True)

    def error(n):
        grid = Grid(Box((0.0,) * dimensions, (1.0,) * dimensions), (n,) * dimensions)

        @jax.jit
        def rate():
            form, state, drift = prescribe(grid, conservative, function)
            change = form.hold(state, drift)(0.0, state)
            x, w = form.motion.mesh(state["potential"]).coordinates, form.motion.lattice.gradient(drift)
            speed = jnp.arange(1.0, dimensions + 1).reshape((-1,) + (1,) * dimensions)
            slope = k * jnp.cos(k * x)
            exact = jnp.sum((w - speed) * slope - 0.1 * k**2 * jnp.sin(k * x), axis=0)
            found = change["u"][0]
            if conservative:
                # d(V u)/dt = V du/dt + u dV/dt
                found = found - state["u"][0] * change["volume"]
            return abs(found - exact)

        return float(jnp.mean(rate()) if conservative else jnp.max(rate()))

    coarse, fine = error(32), error(64)
    assert abs(np.log2(coarse / fine) - 2) < 0.25


# Against fixed meshes.


def wave(t, x):
    """Burgers' traveling wave, from 1 to 0, with a width of a few hundredths."""
    return (0.5 - 0.5 * jnp.tanh((x[0] - 0.3 - t / 2) / (4 * 2e-3)))[None]


def test_a_steep_front_is_better_than_on_four_times_the_nodes():
    """Burgers' traveling wave at nu = 2e-3: errors at the nodes, in the mean square over the domain."""
    walls = [(Dirichlet(1.0), Dirichlet(0.0))]
    grid, fine = Grid(Box(0.0, 1.0, walls), 32), Grid(Box(0.0, 1.0, walls), 128)
    times = jnp.array([0.0, 0.2, 0.4])
    start = functools.partial(wave, 0.0)
    solution = evolve_moving(Burgers(2e-3), grid, start, times, conservative=True)
    mesh = solution.mesh(-1)
    moved = jnp.sqrt(jnp.sum(mesh.volumes * (solution.values[-1] - wave(0.4, mesh.coordinates))[0] ** 2))
    for fixed in (FiniteDifference(fine), FiniteVolume(fine)):
        values, _ = evolve(Burgers(2e-3), fixed, start(fine.coordinates), times)
        error = jnp.sqrt(jnp.mean((values[-1] - wave(0.4, fine.coordinates)) ** 2))
        assert moved < error / 3
    # Nodes travel with the front: where they are closest is where it is.
    tight = mesh.coordinates[0, jnp.argmin(mesh.volumes)]
    assert abs(tight - 0.5) < 0.02
    assert np.all(solution.certificates.valid)
    assert solution.statistics["evaluations"] == 7 * solution.statistics["steps"]


# Property.


def test_a_solve_goes_on_from_where_one_ended():
    """To the tolerance of the solver, as steps differ."""
    first = evolve_moving(Burgers(5e-3), LINE, bump, TIMES / 2, relaxation_time=2e-3)
    second = evolve_moving(
        Burgers(5e-3), LINE, first.values[-1], TIMES / 2, relaxation_time=2e-3, start=first.moved(-1)
    )
    np.testing.assert_allclose(on_a_line(second), on_a_line(burgers(False)), atol=5e-3)
    assert second.statistics["relaxations"] == 0


def test_values_on_the_grid_serve_as_a_function_does():
    found = evolve_moving(Burgers(5e-3), LINE, bump(LINE.coordinates), TIMES)
    np.testing.assert_allclose(on_a_line(found), on_a_line(burgers(False)), atol=2e-2)


def test_in_single_precision(float32):
    solution = evolve_moving(Burgers(5e-3), LINE, bump, np.array([0.0, 0.1, 0.2]))
    assert solution.values.dtype == solution.potentials.dtype == jnp.float32
    np.testing.assert_allclose(solution.totals[-1], 0.1 * np.sqrt(2 * np.pi), rtol=1e-2)


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

    at, h = jnp.asarray(5e-3), 1e-5
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
        FloatingPointError, match=r"stop at t = 0.4999\d+ of 1 after .* largest value is .*e\+0"
    ):
        evolve_moving(Explosion(), LINE, lambda x: 1 + bump(x), 5 * TIMES)
    marked = evolve_moving(Explosion(), LINE, lambda x: 1 + bump(x), 5 * TIMES, throw=False)
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
