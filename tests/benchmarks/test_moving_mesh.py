"""How the moving-mesh benchmark counts nodes."""

import math

import pytest

from benchmarks.moving_mesh import find_equivalent, judge_between


@pytest.mark.parametrize(
    ("wanted", "ratio"), [(0.5, 2.0**2), (0.25, 4.0**2), (0.5**1.5, 2.0**3), (0.01, 8.0**2)]
)
def test_nodes_are_counted_between_meshes_and_bounded_beyond_the_finest(wanted, ratio):
    """Exact: errors of first order, on 10 to 80 nodes."""
    found = find_equivalent(wanted, 10, [1.0, 0.5, 0.25, 0.125], [10, 20, 40, 80])
    assert found == pytest.approx(ratio)


def test_nothing_is_counted_where_the_coarsest_is_better_or_errors_do_not_fall():
    assert math.isnan(find_equivalent(1.1, 10, [1.0, 0.5], [10, 20]))
    assert math.isnan(find_equivalent(0.3, 10, [1.0, 0.2, 0.4], [10, 20, 40]))


@pytest.mark.parametrize(("points", "nodes"), [(192, (24, 32, 48, 64, 96)), (384, (32, 48, 64, 96, 128))])
def test_errors_are_measured_as_often_at_nodes_as_between(points, nodes):
    for count in nodes:
        assert math.gcd(judge_between(count, points), points // count) == 1
