"""The solver of weights: against scipy (exact), its derivatives against finite differences (gradient), its refusals."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from sciml.constraints import RESULTS, ExactDerivative, LevenbergMarquardt
from sciml.constraints.blocks import BlockProblem, solve_blocks

SOLVER = LevenbergMarquardt(tolerance=1e-16, max_steps=200)


class Bent(eqx.Module):
    strength: jax.Array

    def __call__(self, v):
        return jnp.stack([v[0] + self.strength * v[0] * v[1], jnp.sin(v[1]) - 0.3])


def make_problem(blocks=2, points=30, basis=3, seed=0):
    keys = jax.random.split(jax.random.key(seed), 4)
    tables = jax.random.normal(keys[0], (blocks, points, 2, basis))
    offset = jax.random.normal(keys[1], (blocks, points, 2))
    matrix = jax.random.normal(keys[2], (4, blocks * basis))
    return BlockProblem(tables, offset, matrix, jax.random.normal(keys[3], (4,)))


@eqx.filter_jit
def solve(function, problem, ridge=1e-3):
    return solve_blocks(
        function,
        problem,
        jnp.zeros((problem.tables.shape[0], problem.tables.shape[-1])),
        solver=SOLVER,
        derivative=ExactDerivative(),
        ridge=ridge,
    )


def rows_of(function, problem, ridge, w):
    weights = w.reshape(problem.tables.shape[0], -1)
    terms = problem.offset + jnp.einsum("kptn,kn->kpt", problem.tables, weights)
    rows = jax.vmap(jax.vmap(function))(terms).ravel()
    return jnp.concatenate([rows, problem.matrix @ w - problem.data, ridge * w])


def test_it_finds_the_minimum_that_scipy_finds():
    function, problem = Bent(jnp.array(0.3)), make_problem()
    found = solve(function, problem)
    rows = jax.jit(lambda w: rows_of(function, problem, 1e-3, w))
    theirs = scipy.optimize.least_squares(rows, np.zeros(6), method="lm", xtol=1e-14, ftol=1e-14)
    assert found.result == RESULTS.successful
    assert found.objective == pytest.approx(theirs.cost, rel=1e-10)
    assert np.allclose(found.value.ravel(), theirs.x, atol=1e-6)
    assert found.gradient_norm < 1e-6


def test_blocks_without_common_rows_are_separate_solves():
    problem = make_problem()._replace(matrix=jnp.zeros((0, 6)), data=jnp.zeros(0))
    function = Bent(jnp.array(0.3))
    together = solve(function, problem).value
    for k in range(2):
        part = BlockProblem(
            problem.tables[k : k + 1], problem.offset[k : k + 1], jnp.zeros((0, 3)), problem.data
        )
        assert jnp.allclose(solve(function, part).value[0], together[k], atol=1e-7)


def test_its_derivative_is_that_of_finite_differences():
    """In every kind of input, reverse and forward; the residual at the minimum is large, so Gauss-Newton would fail."""
    problem, towards = make_problem(), make_problem(seed=5)
    weigh = jax.random.normal(jax.random.key(9), (2, 3))

    def score(step):
        moved = jax.tree.map(lambda x, d: x + step * d, problem, towards)
        return jnp.sum(weigh * solve(Bent(0.3 + step), moved).value)

    step = 1e-4
    numerical = (score(jnp.array(step)) - score(jnp.array(-step))) / (2 * step)
    backward = jax.jit(jax.grad(score))(0.0)
    forward = jax.jit(jax.jacfwd(score))(0.0)
    assert backward == pytest.approx(float(numerical), rel=1e-5)
    assert forward == pytest.approx(float(backward), rel=1e-10)


def test_float32_data_is_summed_in_float64():
    problem = make_problem()
    single = jax.tree.map(lambda x: x.astype(jnp.float32), problem)
    found = solve(Bent(jnp.array(0.3, jnp.float32)), single)
    assert found.value.dtype == jnp.float32
    assert found.smallest_eigenvalue.dtype == jnp.float64
    assert jnp.allclose(
        found.value, solve(Bent(jnp.array(0.3)), problem).value, atol=3e-4
    )  # the root of the precision


@pytest.mark.parametrize(
    ("change", "result"),
    [
        (
            lambda p: p._replace(tables=p.tables.at[..., 1].set(p.tables[..., 0]), matrix=p.matrix * 0),
            RESULTS.dependent,
        ),
        (lambda p: p._replace(tables=p.tables.at[..., 1].set(0.0), matrix=p.matrix * 0), RESULTS.dependent),
        (lambda p: p._replace(offset=p.offset.at[0, 0, 0].set(jnp.nan)), RESULTS.nonfinite),
    ],
)
def test_what_is_wrong_has_a_name(change, result):
    found = solve(Bent(jnp.array(0.3)), change(make_problem()), 0.0)
    assert found.result == result


def test_too_few_steps_are_not_success():
    few = LevenbergMarquardt(max_steps=1)
    problem = make_problem()
    found = eqx.filter_jit(solve_blocks)(
        Bent(jnp.array(3.0)), problem, jnp.ones((2, 3)), solver=few, derivative=ExactDerivative(), ridge=1e-3
    )
    assert found.result == RESULTS.max_steps
    assert found.iterations == 1
