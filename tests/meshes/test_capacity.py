"""What a density asks of a mesh, and the size that could carry it."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from sciml.meshes import Bell, Ring
from sciml.meshes.capacity import check_capacity, describe_capacity, estimate_demand
from sciml.pdes import Box, Grid, Neumann

LINE = Grid(Box(0.0, 2.0, Neumann(0.0)), 20)
RING = Ring(20.0, 200.0, 0.4, (0.5, 0.5))


def square(n):
    """The unit square with walls."""
    return Grid(Box((0.0, 0.0), (1.0, 1.0), Neumann(0.0)), (n, n))


def test_the_demand_of_an_exponential_is_known():
    """Exact: `exp(k x)` on a line of length 2 is steepest at its foot."""
    k = 3.0
    demand = estimate_demand(lambda x: jnp.exp(k * x[0]), LINE)
    x = 2 * (np.arange(80) + 0.5) / 80
    mean = np.exp(k * x).mean()
    assert float(demand.steepness) == pytest.approx(0.1 * k * mean / math.exp(k * x[0]), rel=1e-12)
    assert float(demand.share) == pytest.approx(1 - math.exp(k * x[0]) / mean, rel=1e-12)


def test_steepness_falls_as_one_over_the_cells_and_sees_no_factor():
    """Property."""
    coarse, fine = (float(estimate_demand(RING, square(n)).steepness) for n in (32, 64))
    assert coarse / fine == pytest.approx(2, rel=0.02)
    scaled = estimate_demand(lambda x: 1e200 * RING(x), square(32))
    assert float(scaled.steepness) == pytest.approx(coarse, rel=1e-12)


def test_what_failed_before_is_refused_and_the_size_that_is_named_is_not():
    """Exact: the demo ring on 32 x 32 cells, of which the exact mover makes 16 concave ones; it needs 52 x 52."""
    with pytest.raises(
        ValueError,
        match=r"too steep for 32 x 32 cells.*changes by 4.8.* 52 x 52 cells could carry it.*smooth",
    ):
        check_capacity(RING, square(32))
    assert check_capacity(RING, square(64)) is RING
    assert describe_capacity(RING, square(64)).startswith("The density is not too steep for 64 x 64 cells")


def test_too_much_mass_in_a_peak_is_named():
    """Exact."""
    everywhere = Bell(500.0, 20.0, (0.5, 0.5))
    with pytest.raises(ValueError, match=r"9\d(\.\d)? % of the density's mass.*cap=0.8.*lower its weight"):
        check_capacity(everywhere, square(64))


def test_a_density_without_a_derivative_is_named():
    """Exact."""
    with pytest.raises(ValueError, match="cannot be differentiated everywhere"):
        check_capacity(lambda x: jnp.where(x[0] > 0.5, jnp.nan, 1.0), square(8))
