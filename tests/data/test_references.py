"""Simulations against solutions that no code of ours made (exact tests; the bounds are those of the claims)."""

import pytest

from benchmarks import _references as references


@pytest.mark.parametrize(
    ("solve", "bound"),
    [
        (references.burgers_cole_hopf, 1e-6),
        (references.navier_stokes_taylor_green, 1e-8),
        (references.navier_stokes_exponax, 1e-5),
        (references.kuramoto_sivashinsky_exponax, 1e-5),
        (references.burgers2d_exponax, 1e-5),
    ],
)
def test_solutions_from_elsewhere(solve, bound):
    assert solve() <= bound


@pytest.mark.slow
def test_diffusion_sorption_against_scipy_and_its_order():
    errors, order = references.diffusion_sorption_scipy()
    assert errors[-1] <= 1e-4
    assert abs(order - 2) <= 0.25


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("derivative", [1, 2, 3, 4])
@pytest.mark.parametrize("wall", list(references.WALLS))
def test_order_of_finite_differences(order, derivative, wall):
    """Order: within a quarter of the nominal, in the largest error, walls included."""
    assert references.finite_difference_order(order, derivative, wall) >= order - 0.25
