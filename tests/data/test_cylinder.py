"""Flow past a cylinder: order and exactness of its parts, boundary layers, symmetry, shedding frequency, storage."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.data import (
    CylinderFlow,
    Wakes,
    load_wakes,
    measure_strouhal,
    sample_wake,
    save_wakes,
    simulate_cylinder,
    simulate_wakes,
)
from sciml.data.log_polar import LogPolarGrid, Tridiagonal, numerov_mean, numerov_rows

SAMPLE = jax.jit(sample_wake)
COARSE = {"points": (80, 48), "extent": 30.0}


@pytest.fixture(scope="module")
def wakes():
    return simulate_wakes([100.0, 80.0], seeds=[3, 4], frames=3, interval=0.2, spin_up=0.5, **COARSE)


def williamson(reynolds):
    """Of parallel shedding, Re 49 to 178: "Defining a universal and continuous Strouhal-Reynolds number relationship",
    1988, doi:10.1063/1.866978."""
    return -3.3265 / reynolds + 0.1816 + 1.6e-4 * reynolds


def test_compact_differences_are_of_fourth_order():
    """Order: `f'' = a f + b` with values given at both ends, a different `a` for each mode."""

    def error(intervals):
        grid = LogPolarGrid(intervals, 12, 0.5, 10.0)
        xi, k = jnp.asarray(grid.xi)[:, None], jnp.arange(1.0, grid.modes + 1)
        exact = jnp.sin(k * xi / 2) + jnp.cos(xi)
        a = k**2 * (1 + xi)
        b = -((k / 2) ** 2) * jnp.sin(k * xi / 2) - jnp.cos(xi) - a * exact
        one, zero = jnp.ones_like(exact[:1]), jnp.zeros_like(exact[:1])
        rows = [
            jnp.concatenate([end, row, end])
            for end, row in zip((zero, one, zero), numerov_rows(a, grid.spacing))
        ]
        right = jnp.concatenate([exact[:1], grid.spacing**2 * numerov_mean(b), exact[-1:]])
        solved = Tridiagonal.factor(*rows).solve(right)
        slope = -k * 0 + k / 2 * jnp.cos(k * xi / 2) - jnp.sin(xi)
        return jnp.stack([jnp.max(abs(solved - exact)), jnp.max(abs(grid.slope(exact) - slope))])

    coarse, fine = (np.asarray(jax.jit(error, static_argnums=0)(n)) for n in (24, 48))
    np.testing.assert_allclose(np.log2(coarse / fine), 4, atol=0.25)


def test_modes_and_values_are_the_same_field():
    """Exact: what has few modes is known by them, and so is its derivative by the angle."""
    grid = LogPolarGrid(8, 24, 0.5, 2.0)
    values = np.cos(3 * grid.theta) - 2 * np.sin(8 * grid.theta) + 0.5 + 0 * grid.xi[:, None]
    turned = -3 * np.sin(3 * grid.theta) - 16 * np.cos(8 * grid.theta) + 0 * grid.xi[:, None]

    @jax.jit
    def there_and_back(values):
        modes = grid.to_modes(values)
        return grid.to_values(modes), grid.to_values(grid.turn(modes))

    found = there_and_back(values)
    np.testing.assert_allclose(found, (values, turned), atol=1e-12)


def test_sampling_is_of_fourth_order_up_to_the_wall():
    """Order: a smooth function of x and y, at points between circles, at the wall, and across the cut of the angle."""
    rng = np.random.default_rng(0)
    radii = np.concatenate([rng.uniform(0.5, 3.9, 500), np.full(20, 0.5)])
    angles = rng.uniform(-np.pi, np.pi, len(radii))
    points = radii * np.stack([np.cos(angles), np.sin(angles)])

    def function(x, y):
        return np.stack([np.sin(x) * np.exp(y / 3), np.cos(x - y)])

    def error(n):
        grid = LogPolarGrid(n, 2 * n, 0.5, 4.0)
        values = function(
            *(grid.radii[:, None] * np.stack([np.cos(grid.theta), np.sin(grid.theta)])[:, None])
        )
        return np.max(abs(SAMPLE(values, grid.spacing, points) - function(*points)), axis=1)

    np.testing.assert_allclose(np.log2(error(48) / error(96)), 4, atol=0.25)


def test_samples_inside_the_cylinder_are_those_of_its_wall_and_beyond_the_reach_there_are_none(wakes):
    """Property: no slip at the wall; and the oncoming flow ahead."""
    wall = np.array([[0.1, 0.0, 0.5], [0.0, -0.3, 0.0]])
    np.testing.assert_allclose(wakes.sample(0, 1, wall)[:2], 0, atol=1e-6)
    far = np.array([[-6.0, 10 * wakes.reach], [0.0, 0.0]])
    found = np.asarray(SAMPLE(wakes.values[0, 1], wakes.spacing, far))
    assert abs(found[0, 0] - 1) < 0.02
    assert np.isnan(found[:, 1]).all()
    with pytest.raises(ValueError, match=r"up to a radius of .* got a point at 9[0-9]"):
        wakes.sample(0, 1, far)
    with pytest.raises(ValueError, match=r"points \(2, \*points\); got an array \(3, 2\)"):
        wakes.sample(0, 1, np.zeros((3, 2)))


def test_drag_of_a_cylinder_set_in_motion_is_that_of_the_boundary_layer():
    """Exact but for a constant as time goes to zero: friction and pressure are each `2 sqrt(pi / (Re t))`. No lift."""
    flow = CylinderFlow(100.0, points=(300, 24), step=2e-4, extent=5.0, sponge=4.0)
    _, forces = simulate_cylinder(flow, 0.02, 2, interval=0.02, trip=0.0)
    expected = 4 * np.sqrt(np.pi / (100.0 * np.array([0.02, 0.04])))
    # The constant, from the curvature of the wall, is of order 1 / sqrt(Re) of it here; what follows is a percent.
    np.testing.assert_allclose(forces[0, 0] - forces[1, 0], expected[0] - expected[1], rtol=0.01)
    np.testing.assert_allclose(forces[:, 0], expected, rtol=0.05)
    np.testing.assert_allclose(forces[:, 1], 0, atol=1e-10)


def test_wakes_are_what_was_asked_for_and_survive_a_file(wakes, tmp_path):
    """Property: shapes, provenance, and the same bytes read back."""
    assert wakes.values.shape == (2, 3, 3, 58, 48)
    assert wakes.values.dtype == np.float32
    assert wakes.settings["points"] == [80, 48]
    np.testing.assert_allclose(wakes.times, [0, 0.2, 0.4])
    save_wakes(tmp_path / "wakes.npz", wakes)
    again = load_wakes(tmp_path / "wakes.npz")
    assert isinstance(again, Wakes)
    for name in ("values", "forces", "reynolds", "seeds", "times"):
        np.testing.assert_array_equal(getattr(again, name), getattr(wakes, name))
    assert (again.spacing, again.settings) == (wakes.spacing, wakes.settings)
    with pytest.raises(FileExistsError, match="not overwritten"):
        save_wakes(tmp_path / "wakes.npz", wakes)
    (tmp_path / "wakes.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match="holds no wakes, or is damaged"):
        load_wakes(tmp_path / "wakes.npz")


def test_the_frequency_is_that_of_the_lift():
    """Exact for a sine but for its interpolation between times."""
    times = np.arange(0, 40, 0.375)
    assert abs(measure_strouhal(times, 0.1 + np.sin(2 * np.pi * 0.164 * times)) - 0.164) < 2e-4
    with pytest.raises(ValueError, match="does so 1 times"):
        measure_strouhal(times[:20], np.sin(2 * np.pi * 0.1 * times[:20] - 0.2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CylinderFlow(-1.0), r"reynolds must be a positive, finite number; got -1\.0"),
        (lambda: CylinderFlow(points=(8, 8)), r"at least 16 intervals .* got \(8, 8\)"),
        (lambda: CylinderFlow(points=(64, 96)), r"64 intervals .* Pass points=\((7[0-9]), 96\)"),
        (lambda: CylinderFlow(step="fast"), "step must be a positive, finite number; got 'fast'"),
        (lambda: CylinderFlow(sponge=50.0), "sponge 50 and extent 40"),
        (lambda: simulate_wakes([100.0], seeds=[1, 2]), "1 Reynolds numbers and 2 seeds"),
        (lambda: simulate_wakes([100.0], seeds=[1], reach=20.0), "got 20. Choose a smaller window"),
        (lambda: simulate_cylinder(CylinderFlow(), 1.0, 0, interval=0.1), "frames .* at least 1; got 0"),
        (lambda: simulate_cylinder(CylinderFlow(), 1.0, 2, interval=-1), "interval must be a positive"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_flow_that_blows_up_says_when_and_what_to_do():
    with pytest.raises(FloatingPointError, match=r"blew up before time .* Pass step=0\.12"):
        simulate_wakes([100.0], seeds=[3], frames=3, interval=2.0, spin_up=5.0, step=0.25, **COARSE)


@pytest.mark.slow
@pytest.mark.parametrize("reynolds", [80.0, 100.0, 120.0])
def test_the_shedding_frequency_is_the_published_one(reynolds):
    """Against experiments, whose formula is good to about one percent."""
    flow = CylinderFlow(reynolds, points=(128, 128))
    _, forces = simulate_cylinder(flow, 80.0, 200, interval=0.125)
    strouhal = measure_strouhal(0.125 * np.arange(200), forces[:, 1])
    assert abs(strouhal / williamson(reynolds) - 1) < 0.02
