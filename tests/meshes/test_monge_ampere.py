"""Monge-Ampere movers: what they converge to, their certificates, their derivatives, and what they refuse."""

import equinox as eqx
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.meshes import (
    Bell,
    CellExactMongeAmpere,
    MeshError,
    MongeAmpere,
    Moved,
    ParabolicRelaxation,
    Ring,
    Uniform,
    follow,
    uniform_mesh,
)
from sciml.pdes import Box, Dirichlet, Grid

CENTER = (0.5, 0.5)
WALLS = Grid(Box((0, 0), (1, 1), Dirichlet(0.0)), (32, 32))
COARSE = Grid(Box((0, 0), (1, 1), Dirichlet(0.0)), (12, 12))
PERIODIC = Grid(Box((0, 0), (1, 1)), (20, 20))
# Amplitude, sharpness, radius: the rings and bells that movers are tested on.
PROBLEMS = {
    "movement's ring": (10.0, 200.0, 0.15),
    "movement's demo": (20.0, 200.0, 0.4),
    "bell": (50.0, 100.0, 0.0),
    "thin ring": (10.0, 800.0, 0.0156**0.5),
    "sharp bell": (50.0, 400.0, 0.0),
}


def ring(parameters, center=CENTER):
    return Ring(*(jnp.asarray(p) for p in parameters), jnp.asarray(center))


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_equation_is_solved_to_rounding(name):
    """Exact: on all five problems the residual falls below 1e-10, and no cell is tangled."""
    moved = MongeAmpere().move(ring(PROBLEMS[name]), WALLS)
    certificate = moved.certificate
    assert certificate.valid
    assert float(certificate.residual) <= 1e-10
    assert float(certificate.boundary_error) == 0
    assert float(certificate.area_error) < 1e-12
    # The mesh follows from the potential, and the certificate is that of the mesh.
    assert float(certificate.smallest_corner) == pytest.approx(float(jnp.min(moved.mesh.corner_jacobians)))
    masses = moved.mesh.masses(ring(PROBLEMS[name]), 6)
    assert float(certificate.variation) == pytest.approx(float(jnp.std(masses) / jnp.mean(masses)))


@pytest.mark.slow
def test_relaxation_alone_finds_the_same_mesh():
    """Exact: two methods for one equation."""
    density = ring(PROBLEMS["movement's ring"])
    slow = ParabolicRelaxation().move(density, WALLS)
    fast = MongeAmpere().move(density, WALLS)
    np.testing.assert_allclose(slow.mesh.vertices, fast.mesh.vertices, atol=1e-8)
    assert int(slow.certificate.details["newtons"]) == 0
    assert int(slow.certificate.iterations) > 3 * int(fast.certificate.iterations)


@pytest.mark.slow
def test_a_ring_across_the_seam_is_the_ring_moved():
    """Property: on a periodic box the mesh of a shifted density is the shifted mesh."""
    parameters = (10.0, 100.0, 0.2)
    at = [Ring(*parameters, jnp.asarray(c), (1.0, 1.0)) for c in ((0.5, 0.5), (0.95, 0.5))]
    middle, seam = (MongeAmpere().move(density, PERIODIC) for density in at)
    assert middle.certificate.valid
    assert seam.certificate.valid
    shifted = jnp.roll(middle.potential, 9, axis=0)
    np.testing.assert_allclose(seam.potential, shifted, atol=1e-10)


def test_in_one_dimension_the_map_inverts_the_distribution():
    """Order: against the exact map, whose error falls with the square of the spacing."""

    def density(x):
        return 1 + 3 * x[0] ** 2  # its integral up to x is x + x^3

    def error(n):
        grid = Grid(Box(0.0, 1.0, Dirichlet(0.0)), n)
        moved = MongeAmpere().move(density, grid)
        share = moved.mesh.vertices[0] + moved.mesh.vertices[0] ** 3
        return float(jnp.max(abs(share - 2 * np.linspace(0, 1, n + 1))))

    assert np.log2(error(16) / error(32)) == pytest.approx(2, abs=0.25)


@pytest.mark.slow
def test_cell_by_cell_masses_are_even():
    """Exact: by a finer formula than the solver's, where the equation at vertices leaves 15 %."""
    density = ring(PROBLEMS["bell"])
    nodal, exact = (mover.move(density, WALLS) for mover in (MongeAmpere(), CellExactMongeAmpere()))
    assert float(nodal.certificate.variation) > 0.1
    assert float(exact.certificate.variation) < 1e-3
    solver = exact.mesh.masses(density, 3)
    assert float(jnp.max(solver) / jnp.min(solver)) - 1 < 1e-9


def test_a_mesh_that_is_too_coarse_is_refused_by_name_of_the_cell_and_marked_without_throw():
    density = ring(PROBLEMS["movement's demo"])
    with pytest.raises(
        MeshError, match=r"CellExactMongeAmpere: 16 of 1024 cells.*worst is \(\d+, \d+\).*more cells"
    ):
        CellExactMongeAmpere().move(density, WALLS)
    moved = CellExactMongeAmpere().move(density, WALLS, throw=False)
    assert not moved.certificate.valid
    assert moved.certificate.converged
    assert int(moved.certificate.tangled) == 16


def test_too_few_steps_are_refused_and_marked():
    mover = ParabolicRelaxation(max_relaxations=5)
    with pytest.raises(MeshError, match=r"not converged after 5 iterations; the residual is"):
        mover.move(ring(PROBLEMS["bell"]), COARSE)
    assert not mover.move(ring(PROBLEMS["bell"]), COARSE, throw=False).certificate.valid


def test_under_jit_a_refusal_happens_at_run_time():
    mover = ParabolicRelaxation(max_relaxations=5)
    with pytest.raises(RuntimeError, match="did not converge"):
        # Though only the mesh is used, and not the certificate.
        jax.block_until_ready(jax.jit(lambda d: mover.move(d, COARSE).mesh.vertices)(ring(PROBLEMS["bell"])))


@eqx.filter_jit
def _move(grid, amplitude, sharpness, radius, center):
    mover = MongeAmpere(max_relaxations=100, max_newtons=6, rounds=1)
    return mover.move(Ring(amplitude, sharpness, radius, center), grid, throw=False)


RINGS = st.tuples(
    st.floats(0.0, 8.0), st.floats(5.0, 40.0), st.floats(0.0, 0.4), st.floats(0.2, 0.8), st.floats(0.2, 0.8)
)


@hypothesis.given(RINGS)
def test_area_is_conserved_and_a_mirrored_density_has_the_mirrored_mesh(drawn):
    """Property: for rings drawn at random."""
    *parameters, x, y = (jnp.asarray(number) for number in drawn)  # a bare float would be compiled in
    here = _move(COARSE, *parameters, jnp.array([x, y]))
    there = _move(COARSE, *parameters, jnp.array([1 - x, y]))
    hypothesis.assume(bool(here.certificate.converged))
    assert float(here.certificate.area_error) < 1e-12
    mirrored = (
        there.mesh.vertices[:, ::-1] * jnp.array([-1.0, 1.0])[:, None, None]
        + jnp.array([1.0, 0])[:, None, None]
    )
    np.testing.assert_allclose(here.mesh.vertices, mirrored, atol=1e-9)


@pytest.mark.parametrize(
    "mover",
    [MongeAmpere(), ParabolicRelaxation(), pytest.param(CellExactMongeAmpere(), marks=pytest.mark.slow)],
)
def test_a_uniform_density_leaves_the_mesh_alone(mover):
    """Property: without a single step."""
    moved = mover.move(ring((0.0, 40.0, 0.25)), COARSE)
    np.testing.assert_allclose(moved.mesh.coordinates, COARSE.coordinates, atol=1e-14)
    assert int(moved.certificate.iterations) == 0


def test_no_density_ever_yields_a_mesh_that_is_tangled_and_marked_valid():
    """Property: 1,000 densities, most too steep for so few cells; orientation is worked out anew, by triangles."""
    draws = np.random.default_rng(0)
    n = 1000
    amplitude = 10 ** draws.uniform(-1, 4, n)
    sharpness, radius = 10 ** draws.uniform(0, 4, n), draws.uniform(0, 0.6, n)
    center = draws.uniform(-0.1, 1.1, (n, 2))
    tiny = Grid(Box((0, 0), (1, 1), Dirichlet(0.0)), (8, 8))
    moved = jax.vmap(lambda *parameters: _move(tiny, *parameters))(amplitude, sharpness, radius, center)
    corners = np.asarray(moved.mesh.vertices)
    a, b = corners[:, :, :-1, :-1], corners[:, :, 1:, :-1]
    c, d = corners[:, :, :-1, 1:], corners[:, :, 1:, 1:]

    def area(p, q, r):
        return (q - p)[:, 0] * (r - p)[:, 1] - (q - p)[:, 1] * (r - p)[:, 0]

    triangles = np.stack([area(a, b, c), area(b, d, a), area(d, c, b), area(c, a, d)])
    folded = ~(triangles > 0).all(axis=(0, 2, 3))
    valid = np.asarray(jax.vmap(lambda c: c.valid)(moved.certificate))
    assert not (folded & valid).any()
    # The test would be empty if all were valid, or none.
    assert 100 < valid.sum() < 900
    assert folded.sum() > 50


@pytest.fixture(scope="module")
def energy():
    """An average over the mesh, as a function of amplitude, sharpness, radius and center."""
    mover = MongeAmpere(tolerance=1e-13)

    def functional(parameters):
        density = Ring(parameters[0], parameters[1], parameters[2], parameters[3:])
        vertices = mover.move(density, COARSE, throw=False).mesh.vertices
        return jnp.mean(jnp.sin(3 * vertices[0]) * vertices[1] ** 2 * 10)

    return functional


def test_implicit_gradient(energy):
    """Gradient: through the converged mesh, with respect to all parameters, against central differences."""
    point = jnp.array([5.0, 30.0, 0.25, 0.45, 0.6])
    found = jax.jit(jax.grad(energy))(point)
    value = jax.jit(energy)
    for i in range(5):
        step = 2e-3 * point[i] * jnp.eye(5)[i]
        near, far = (value(point + k * step) - value(point - k * step) for k in (1, 2))
        numeric = (8 * near - far) / (12 * step[i])
        assert float(found[i]) == pytest.approx(float(numeric), rel=1e-6)
    # Forwards, the same.
    direction = jnp.array([1.0, -2.0, 0.1, 0.05, -0.02])
    _, forward = jax.jit(lambda p, v: jax.jvp(energy, (p,), (v,)))(point, direction)
    assert float(forward) == pytest.approx(float(found @ direction), rel=1e-8)


@pytest.mark.slow
def test_second_derivative(energy):
    """Gradient: of the gradient through the mesh, against central differences of the gradient."""
    point = jnp.array([5.0, 30.0, 0.25, 0.45, 0.6])
    slope = jax.jit(lambda a: jax.grad(energy)(point.at[0].set(a))[0])
    second = jax.jit(jax.grad(lambda a: jax.grad(energy)(point.at[0].set(a))[0]))(point[0])
    near, far = (slope(point[0] + k * 1e-3) - slope(point[0] - k * 1e-3) for k in (1, 2))
    assert float(second) == pytest.approx(float((8 * near - far) / (12 * 1e-3)), rel=1e-5)


@pytest.mark.slow
def test_gradient_with_respect_to_what_a_function_is_closed_over():
    """Gradient: a lambda's captured values count, as an equinox module's leaves do."""
    mover = MongeAmpere(tolerance=1e-13)

    @jax.jit
    def first(amplitude):
        moved = mover.move(lambda x: 1 + amplitude * x[0] ** 2, COARSE, throw=False)
        return jnp.mean(moved.mesh.vertices[0])

    step = 1e-4
    numeric = (first(2.0 + step) - first(2.0 - step)) / (2 * step)
    assert float(jax.grad(first)(2.0)) == pytest.approx(float(numeric), rel=1e-6)


@pytest.mark.slow
def test_gradient_of_the_cell_exact_mesh():
    """Gradient: through Newton's method on masses."""
    mover = CellExactMongeAmpere(tolerance=1e-13)

    @jax.jit
    def first(amplitude):
        density = Bell(amplitude, 20.0, jnp.array([0.3, 0.4]))
        return jnp.mean(mover.move(density, COARSE, throw=False).mesh.vertices[0] ** 2)

    step = 1e-3
    numeric = (first(5.0 + step) - first(5.0 - step)) / (2 * step)
    assert float(jax.grad(first)(5.0)) == pytest.approx(float(numeric), rel=1e-6)


def test_mapped_over_densities():
    """Property: vmap gives each mesh by itself."""
    amplitude, sharpness, radii, center = (jnp.asarray(p) for p in (5.0, 40.0, [0.1, 0.3], CENTER))
    both = jax.vmap(lambda radius: _move(COARSE, amplitude, sharpness, radius, center))(radii)
    for i, radius in enumerate(radii):
        alone = _move(COARSE, amplitude, sharpness, radius, center)
        np.testing.assert_allclose(both.mesh.vertices[i], alone.mesh.vertices, atol=1e-9)


def test_single_precision_reaches_what_differences_can(float32):
    moved = MongeAmpere().move(ring((5.0, 40.0, 0.25)), COARSE)
    assert moved.mesh.vertices.dtype == jnp.float32
    assert moved.certificate.valid
    assert float(moved.certificate.residual) < 1e-4


def test_a_sequence_starts_from_the_mesh_before():
    """Property: with fewer iterations than from zero, to the same meshes."""
    densities = [ring((10.0, 100.0, 0.2 + 0.005 * i)) for i in range(3)]
    meshes = follow(MongeAmpere(), densities, WALLS, [0.0, 0.1, 0.2])
    alone = MongeAmpere().move(densities[-1], WALLS)
    np.testing.assert_allclose(meshes[-1].mesh.vertices, alone.mesh.vertices, atol=1e-9)
    assert int(meshes[-1].certificate.iterations) < int(alone.certificate.iterations) / 2


def test_a_mesh_that_lags_is_between_the_old_and_the_new():
    """Exact: after one lag a part 1/e of the way is left, and a long lag keeps the mesh."""
    densities = [ring((10.0, 100.0, r)) for r in (0.2, 0.25)]
    old, new = (MongeAmpere().move(d, WALLS).mesh.vertices for d in densities)
    lagged = follow(MongeAmpere(), densities, WALLS, [0.0, 1.0], lag=1.0)[-1]
    np.testing.assert_allclose(lagged.mesh.vertices, new + np.exp(-1) * (old - new), atol=1e-9)
    assert lagged.certificate.valid


BAD = {
    "a tolerance of zero": (
        lambda: MongeAmpere(tolerance=0.0),
        "MongeAmpere.tolerance must be positive.*0.0",
    ),
    "no density": (lambda: MongeAmpere().move(jnp.ones((12, 12)), COARSE), "function of positions"),
    "a density of another shape": (
        lambda: MongeAmpere().move(lambda x: 1 + x, COARSE),
        "one number for each position",
    ),
    "the start of another grid": (
        lambda: MongeAmpere().move(Uniform(), COARSE, start=Moved(None, None, jnp.zeros((20, 20)))),
        r"start must have been made on this grid.*\(13, 13\).*\(20, 20\)",
    ),
    "a moved mesh for a grid": (
        lambda: MongeAmpere().move(Uniform(), uniform_mesh(COARSE)),
        "moves the vertices of a Grid.*got StructuredMesh: .*give mesh.grid",
    ),
    "a mesh for a start": (
        lambda: MongeAmpere().move(Uniform(), COARSE, start=uniform_mesh(COARSE)),
        "start must be what a mover.*got StructuredMesh",
    ),
    "no steps": (
        lambda: MongeAmpere(rounds=0),
        "MongeAmpere.rounds must be a whole number, 1 or more; got 0",
    ),
    "no points": (lambda: CellExactMongeAmpere(points=0), "points must be a whole number"),
    "a first mover without a potential": (
        lambda: CellExactMongeAmpere(first=ParabolicRelaxation()),
        "first makes the mesh.*got ParabolicRelaxation",
    ),
    "a density that the box's period does not have": (
        lambda: MongeAmpere().move(lambda x: 1 + x[0], PERIODIC),
        r"Axis 0 of the box is periodic.*factor of up to 2.*periods=grid\.box\.lengths",
    ),
    "a mover that cannot be followed": (
        lambda: follow(CellExactMongeAmpere(), [Uniform()], COARSE, [0.0]),
        "follow needs a mover.*got CellExactMongeAmpere",
    ),
    "a negative density": (lambda: MongeAmpere().move(lambda x: x[0] - 0.5, COARSE), "-0.5 at x"),
    "a density that is NaN": (lambda: MongeAmpere().move(lambda x: 0 * x[0] / 0, COARSE), "nan at x"),
    "times that do not increase": (
        lambda: follow(MongeAmpere(), [Uniform()] * 2, COARSE, [1.0, 1.0]),
        "times must increase",
    ),
    "too few densities": (lambda: follow(MongeAmpere(), [Uniform()], COARSE, [0.0, 1.0]), "got 2 and 1"),
    "a negative lag": (
        lambda: follow(MongeAmpere(), [Uniform()], COARSE, [0.0], lag=-1.0),
        "lag must be positive",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input(what):
    act, message = BAD[what]
    with pytest.raises(ValueError, match=message):
        act()


def test_certificates_are_pytrees_of_arrays():
    """Under vmap and scan they stack."""
    certificate = MongeAmpere().move(ring(PROBLEMS["bell"]), WALLS).certificate
    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(certificate))
