"""Exact tests of the coefficients of SRI methods: Rößler's 25 conditions for strong order 1.5, and their reach."""

import dataclasses

import numpy as np
import pytest

from sciml.diffeqs.sri_tableaus import SOSRI2_TABLEAU, SOSRI_TABLEAU, SRIW1_TABLEAU

TABLEAUS = {"SRIW1": SRIW1_TABLEAU, "SOSRI": SOSRI_TABLEAU, "SOSRI2": SOSRI2_TABLEAU}


def residuals(t):
    """Left minus right side of each condition of Rößler (2010), integral by integral."""
    e = np.ones(t.stages)
    a0, a1, b0, b1 = t.a0 @ e, t.a1 @ e, t.b0 @ e, t.b1 @ e
    weights = np.stack(t.betas)
    columns = [
        weights @ e - [1, 0, 0, 0],
        weights @ b1 - [0, 1, 0, 0],
        weights @ a1 - [1, 0, -1, 0],
        weights @ b1**2 - [1, 0, -1, 2],
        weights @ (t.b1 @ b1) - [0, 0, 0, 1],
    ]
    drift = [t.alpha @ e - 1, t.alpha @ a0 - 1 / 2, t.alpha @ b0 - 1, t.alpha @ b0**2 - 3 / 2]
    mixed = t.beta1 @ (t.a1 @ b0) / 2 + t.beta3 @ (t.a1 @ b0) / 3
    return np.concatenate([*columns, drift, [mixed]])


@pytest.mark.parametrize("name", TABLEAUS)
def test_the_conditions_for_strong_order_one_and_a_half_hold(name):
    """To 2e-13: SOSRI2's optimizer left some conditions at 1e-13; fractions and SOSRI hold to rounding."""
    found = residuals(TABLEAUS[name])
    assert found.size == 25
    assert np.max(np.abs(found)) < (2e-13 if name == "SOSRI2" else 1e-15)


def entries(t):
    for field in dataclasses.fields(t):
        shape = getattr(t, field.name).shape
        yield from ((field.name, i) for i in np.ndindex(shape) if len(i) == 1 or i[0] > i[1])


@pytest.mark.parametrize("name", ["SOSRI", "SOSRI2"])
def test_every_coefficient_is_checked_by_some_condition(name):
    """Moving any one of the 44 coefficients by 1e-6 breaks a condition by far more than they are broken by."""
    tableau = TABLEAUS[name]
    checked = 0
    for field, index in entries(tableau):
        moved = getattr(tableau, field).copy()
        moved[index] += 1e-6
        broken = np.max(np.abs(residuals(dataclasses.replace(tableau, **{field: moved}))))
        assert broken > 1e-9, (field, index)
        checked += 1
    assert checked == 4 * 6 + 5 * 4


@pytest.mark.parametrize("name", TABLEAUS)
def test_methods_are_explicit_and_take_the_drift_where_they_use_it(name):
    tableau = TABLEAUS[name]
    for matrix in (tableau.a0, tableau.a1, tableau.b0, tableau.b1):
        assert np.array_equal(matrix, np.tril(matrix, -1))
    assert tableau.drift_stages == ((0, 1) if name == "SRIW1" else (0, 1, 2, 3))


def test_the_last_two_drifts_of_sosri2_are_taken_at_the_end_of_the_step():
    """What its estimate of stiffness rests on; and no two of SOSRI's are taken at one time, so it has none."""
    assert np.allclose(SOSRI2_TABLEAU.c0[2:], 1, rtol=0, atol=2e-15)
    assert np.min(np.abs(np.diff(np.sort(SOSRI_TABLEAU.c0)))) > 0.04
