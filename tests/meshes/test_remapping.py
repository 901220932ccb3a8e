"""Conservative remapping: mass and constants to rounding, no new extrema, second order, exact for linear fields."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciml.meshes import MeshError, StructuredMesh, remap, uniform_mesh
from sciml.pdes import Box, Grid
from tests.meshes.maps import (
    LINES,
    SIDES,
    find_averages,
    find_corners,
    find_volumes,
    make_grid,
    move,
    tangle,
)

MIXED = make_grid((12, 10), SIDES["mixed"])
seeds = st.integers(0, 2**16)


def masses(values, mesh):
    return np.sum(np.asarray(values) * find_volumes(mesh), axis=tuple(range(1, values.ndim)))


def wave(x):
    return np.sin(2 * np.pi * x[0] / 1.5 + 0.4) * np.cos(
        2 * np.pi * x[-1] / (1.2 if len(x) == 2 else 1.5) + 0.4
    )


def check_transfer(grid, seed, strength):
    """Conserved to 1e-13, constants kept, no new extrema; between two random meshes, random averages."""
    old, new = move(grid, seed, strength), move(grid, seed + 1, strength, shift=0.1)
    values = np.random.default_rng(seed).standard_normal((2, *grid.shape))
    values[1] = 3.0
    found = np.asarray(remap(values, old, new))
    np.testing.assert_allclose(masses(found, new), masses(values, old), atol=1e-13)
    np.testing.assert_allclose(found[1], 3.0, rtol=1e-13)
    assert found[0].max() < values[0].max() + 1e-12
    assert found[0].min() > values[0].min() - 1e-12


@settings(max_examples=10)
@given(seed=seeds, strength=st.floats(0.1, 0.6))
def test_what_is_kept(seed, strength):
    """Property: in two dimensions."""
    check_transfer(MIXED, seed, strength)


@pytest.mark.parametrize("sides", LINES.values(), ids=LINES)
@given(seed=seeds, strength=st.floats(0.0, 0.95))
def test_what_is_kept_in_one_dimension(sides, seed, strength):
    """Property."""
    check_transfer(make_grid((16,), sides), seed, strength)


@pytest.mark.parametrize("sides", LINES.values(), ids=LINES)
def test_intervals_against_their_overlaps(sides):
    """Exact: the new averages are integrals over overlaps, which NumPy measures on a grid a thousand times finer."""
    grid = make_grid((16,), sides)
    old, new = move(grid, 1, 0.8), move(grid, 2, 0.8, shift=0.4)
    values = np.random.default_rng(0).standard_normal((2, 16))
    fine, step = np.linspace(-2.0, 2.5, 4_500_000, endpoint=False, retstep=True)
    fine += step / 2
    x, y = find_corners(old)[0], find_corners(new)[0]
    inside = (x[0] + np.mod(fine - x[0], 1.5)) if grid.box.periodic[0] else fine
    cell = np.clip(np.searchsorted(x, inside, side="right") - 1, 0, 15)
    middle, width = (x[1:] + x[:-1]) / 2, np.diff(x)
    # The reconstruction, written again.
    near = np.pad(values[0], 1, mode="wrap" if grid.box.periodic[0] else "edge")
    apart = np.pad(middle, 1, mode="wrap" if grid.box.periodic[0] else "edge")
    if grid.box.periodic[0]:
        apart += 1.5 * np.pad(np.zeros(16), 1, constant_values=(-1, 1))
    below, above = np.diff(near)[:-1], np.diff(near)[1:]
    central = (near[2:] - near[:-2]) / (apart[2:] - apart[:-2])
    slopes = np.sign(central) * np.minimum(abs(central), 2 * np.minimum(abs(below), abs(above)) / width)
    slopes[below * above <= 0] = 0
    samples = values[0, cell] + slopes[cell] * (inside - middle[cell])
    owner = np.searchsorted(y, fine, side="right") - 1
    expected = [samples[owner == k].mean() for k in range(16)]
    np.testing.assert_allclose(remap(values, old, new)[0], expected, atol=1e-4)


def test_linear_fields_are_exact_without_bounds():
    """Exact: there and back between meshes with walls, in two dimensions and in one."""
    for grid in (make_grid((12, 10), SIDES["walls"]), make_grid((16,), LINES["line"])):
        meshes = move(grid, 1, 0.6), move(grid, 2, 0.6)
        averages = [
            find_averages(lambda x: 1 + 2 * x[0] - 3 * x[-1] * (len(x) == 2), mesh) for mesh in meshes
        ]
        for a, b in ((0, 1), (1, 0)):
            found = remap(averages[a], meshes[a], meshes[b], bounded=False)
            np.testing.assert_allclose(found, averages[b], atol=1e-13)


SLOW = functools.partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "bounded"),
    [
        ("line", True),
        ("circle", False),
        SLOW("line", False),
        SLOW("circle", True),
        SLOW("mixed", True),
        SLOW("mixed", False),
    ],
)
def test_order(name, bounded):
    """Order: two, in the mean of the error; bounds cost accuracy at extrema and walls only."""
    errors, sizes = [], (40, 80) if name in LINES else (24, 48)
    for n in sizes:
        grid = make_grid((n,) * (1 if name in LINES else 2), (LINES | SIDES)[name])
        old, new = move(grid, 1, 0.4), move(grid, 2, 0.4, shift=0.1)
        off = np.asarray(remap(find_averages(wave, old), old, new, bounded=bounded)) - find_averages(
            wave, new
        )
        errors.append(masses(abs(off), new)[0])
    assert np.log2(errors[0] / errors[1]) > 1.75, errors


@pytest.mark.parametrize("name", ["circle", pytest.param("mixed", marks=pytest.mark.slow)])
def test_gradient(name):
    """Gradient: with respect to averages and both meshes, against central differences; in 2-D with given steps."""
    grid = make_grid((6,), LINES[name]) if name in LINES else make_grid((5, 6), SIDES[name])
    old, new = move(grid, 1, 0.3), move(grid, 2, 0.3, shift=0.05)
    rng = np.random.default_rng(0)
    at = (rng.standard_normal((1, *grid.shape)), old.vertices, new.vertices)
    weights = rng.standard_normal((1, *grid.shape))

    def measure(values, before, after):
        meshes = StructuredMesh(grid, before), StructuredMesh(grid, after)
        return jnp.sum(weights * remap(values, *meshes, bounded=False, steps=3) ** 2)

    differentiate = jax.jit(jax.value_and_grad(measure, (0, 1, 2)))
    direction = [rng.standard_normal(x.shape) for x in at]
    if not grid.box.periodic[0]:
        for moved in direction[1:]:
            moved[0, [0, -1]] = 0
    step = 1e-6
    ends = [differentiate(*(x + sign * step * d for x, d in zip(at, direction)))[0] for sign in (1, -1)]
    found = sum(float(jnp.sum(g * d)) for g, d in zip(differentiate(*at)[1], direction))
    assert found == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=1e-6)


def test_single_precision_stays():
    """Property: averages in float32 stay in float32, on a mesh in float64, too."""
    values = np.random.default_rng(0).standard_normal((2, 16)).astype(np.float32)
    grid = make_grid((16,), LINES["circle"])
    assert remap(values, move(grid, 1), move(grid, 2)).dtype == np.float32


# What is refused.


def twist(turns, n=24):
    """A mesh turned around its middle; its walls and what is near them stay."""
    grid = make_grid((n, n), SIDES["torus"])
    mesh = uniform_mesh(grid)
    middle = np.array([0.25, 1.6])[:, None, None]
    x, y = np.asarray(mesh.vertices) - middle
    angle = 2 * np.pi * turns * np.cos(np.pi / 2 * np.minimum(np.hypot(x, y) / 0.58, 1)) ** 2
    c, s = np.cos(angle), np.sin(angle)
    return StructuredMesh(grid, jnp.asarray(middle + np.stack([c * x - s * y, s * x + c * y])))


def test_a_way_between_meshes_that_is_tangled_is_refused():
    """Two meshes, turned either way, are fine; halfway along straight lines a ring of their cells is turned over."""
    ends = twist(-0.3), twist(0.3)
    assert all(float(mesh.corner_jacobians.min()) > 0.05 for mesh in ends)
    values = np.ones((1, 24, 24))
    with pytest.raises(
        MeshError, match=r"on the straight way .* a cell is turned over. Remap to a mesh in between"
    ):
        remap(values, *ends)
    halves = ends[0], twist(-0.1), twist(0.1), ends[1]
    for old, new in itertools.pairwise(halves):
        values = remap(values, old, new)
    np.testing.assert_allclose(values, 1, rtol=1e-12)


UNIFORM, LINE = uniform_mesh(MIXED), uniform_mesh(make_grid((16,), LINES["line"]))
OFF_WALL = StructuredMesh(LINE.grid, LINE.vertices.at[0, 0].add(0.01))


@pytest.mark.parametrize(
    ("arguments", "steps", "error", "message"),
    [
        ((np.ones((1, 12, 10)), UNIFORM, MIXED), None, ValueError, "two StructuredMeshes; got Grid"),
        (
            (np.ones((12, 10)), UNIFORM, UNIFORM),
            None,
            ValueError,
            r"remap expected .* The channel axis is missing",
        ),
        (
            (np.ones((1, 13, 10)), UNIFORM, UNIFORM),
            None,
            ValueError,
            r"\(channel, 12, 10\); got \(1, 13, 10\)",
        ),
        ((np.ones((1, 16)), LINE, UNIFORM), None, ValueError, r"two meshes of one grid; got \(16,\) cells"),
        (
            (np.ones((1, 16)), LINE, uniform_mesh(Grid(Box(0.0, 1.0), 16))),
            None,
            ValueError,
            r"periodic along \(False,\) and \(True,\). Use resample",
        ),
        ((np.ones((1, 12, 10)), UNIFORM, UNIFORM), 0, ValueError, "steps >= 1, or None; got 0"),
        ((np.ones((1, 12, 10)), UNIFORM, tangle(UNIFORM)), None, MeshError, "remap .* tangled, the worst is"),
        (
            (np.ones((1, 16)), LINE, OFF_WALL),
            None,
            MeshError,
            r"one domain; their cells add up to 1.5 and 1.49",
        ),
    ],
)
def test_bad_input(arguments, steps, error, message):
    with pytest.raises(error, match=message):
        remap(*arguments, steps=steps)
