"""Least squares against scipy, optimistix and jaxopt (independent solvers); its derivative against central differences
(gradient); devices against one (exact); and bad input as a table."""

import functools
import os
import subprocess
import sys
import textwrap

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from sciml.constraints import (
    RESULTS,
    ExactDerivative,
    GaussNewtonDerivative,
    Jaxopt,
    LevenbergMarquardt,
    Optimistix,
    PointwiseResiduals,
    StopGradient,
    least_squares,
)

POINTS, TERMS, UNKNOWNS = 60, 3, 4


def law(terms):
    """A residual like that of a PDE: `u_t + u u_x - 1 + 0.1 u^3`."""
    u, u_t, u_x = terms
    return u_t + u * u_x - 1 + 0.1 * u**3


@functools.cache
def problem(seed=0):
    """Tables, offset and constant rows; the residual does not vanish."""
    one, two, three, four = jax.random.split(jax.random.key(seed), 4)
    tables = jax.random.normal(one, (POINTS, TERMS, UNKNOWNS))
    offset = 0.1 * jax.random.normal(two, (POINTS, TERMS))
    constant = (jax.random.normal(three, (5, UNKNOWNS)), jax.random.normal(four, (5,)))
    return tables, offset, constant


def rows(value, args):
    tables, offset = args
    return jax.vmap(law)(offset + tables @ value)


START = jnp.full(UNKNOWNS, 0.3)


@eqx.filter_jit
def solve(tables, offset, constant, residuals=rows, **options):
    return least_squares(residuals, START, (tables, offset), constant=constant, **{"throw": False, **options})


def test_both_forms_agree_with_scipy():
    """Against an independent solver, to its tolerance; both kinds of rows, the constant ones and the ridge included."""
    tables, offset, (matrix, data) = problem()

    def stacked(value):
        parts = (rows(value, (tables, offset)), matrix @ value - data, 0.1 * value)
        return np.concatenate([np.asarray(part) for part in parts])

    exact = scipy.optimize.least_squares(stacked, START, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    for residuals in (rows, PointwiseResiduals(law)):
        found = solve(tables, offset, (matrix, data), residuals, regularization=0.1)
        np.testing.assert_allclose(found.value, exact.x, atol=1e-7)
        np.testing.assert_allclose(found.objective, exact.cost, rtol=1e-10)
        assert found.result == RESULTS.successful
        assert found.gradient_norm < 1e-4
        assert 0 < found.smallest_eigenvalue < 1


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param(Optimistix(), id="qr"),
        pytest.param(Optimistix(normal=True), id="normal", marks=pytest.mark.slow),
        pytest.param(Jaxopt(), id="jaxopt", marks=pytest.mark.slow),
    ],
)
def test_other_libraries_find_the_same_and_have_our_derivative(backend):
    pytest.importorskip("jaxopt" if isinstance(backend, Jaxopt) else "optimistix")
    tables, offset, constant = problem()

    def value(offset, **options):
        return solve(tables, offset, constant, **options).value

    np.testing.assert_allclose(value(offset, solver=backend), value(offset), atol=1e-7)
    ours, theirs = (
        jax.jit(jax.grad(lambda o, options=options: jnp.sum(jnp.sin(value(o, **options)))))(offset)
        for options in ({}, {"solver": backend})
    )
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


@pytest.mark.parametrize(
    "residuals",
    [
        pytest.param(rows, id="function", marks=pytest.mark.slow),
        pytest.param(PointwiseResiduals(law), id="pointwise"),
    ],
)
def test_derivatives_are_those_of_central_differences(residuals):
    """Gradient: with respect to tables, offset and constant rows, along random directions, in both modes."""
    tables, offset, constant = problem()

    def functional(args):
        found = solve(*args, residuals, solver=LevenbergMarquardt(1e-14))
        return jnp.sum(jnp.sin(3 * found.value))

    args = (tables, offset, constant)
    gradient = jax.jit(jax.grad(functional))(args)
    for seed in range(2):
        direction = jax.tree.map(lambda x, s=seed: jax.random.normal(jax.random.key(s), x.shape), args)
        moved = (jax.tree.map(lambda x, d, h=h: x + h * d, args, direction) for h in (1e-5, -1e-5))
        ahead, behind = (functional(x) for x in moved)
        numeric = (ahead - behind) / 2e-5
        along = sum(jnp.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
        np.testing.assert_allclose(along, numeric, rtol=1e-6)
        forward = jax.jit(lambda a, d: jax.jvp(functional, (a,), (d,))[1])(args, direction)
        np.testing.assert_allclose(forward, along, rtol=1e-9)


def test_derivatives_that_are_named_for_what_they_leave_out():
    """Exact where rows vanish, for Gauss and Newton's; the other is zero."""
    tables, offset, _ = problem()
    truth = jnp.array([0.2, -0.4, 0.3, 0.1])
    shift = rows(truth, (tables, offset))

    def consistent(value, args):
        return rows(value, args[:2]) - args[2]

    def gradient(derivative, shift):
        def functional(offset):
            found = least_squares(
                consistent, START, (tables, offset, shift), derivative=derivative, throw=False
            )
            return jnp.sum(jnp.sin(3 * found.value))

        return jax.jit(jax.grad(functional))(offset)

    exact, newton = (gradient(d, shift) for d in (ExactDerivative(), GaussNewtonDerivative()))
    np.testing.assert_allclose(newton, exact, atol=1e-7)
    far = 0.0 * shift
    exact, newton = (gradient(d, far) for d in (ExactDerivative(), GaussNewtonDerivative()))
    assert jnp.linalg.norm(newton - exact) > 1e-2 * jnp.linalg.norm(exact)
    assert not jnp.any(gradient(StopGradient(), far))


def test_a_batch_is_one_after_another():
    """Exact: problems that are done are held while others go on."""
    tables, offset, constant = problem()
    scales = jnp.array([0.1, 1.0, 6.0])

    def one(scale):
        found = solve(tables, scale * offset, constant, PointwiseResiduals(law))
        return found.value, found.iterations

    values, counts = jax.jit(jax.vmap(one))(scales)
    for index, scale in enumerate(scales):
        value, count = one(scale)
        np.testing.assert_allclose(values[index], value, atol=1e-9)
        assert counts[index] == count
    assert len(set(counts.tolist())) > 1


def test_single_precision_rows_are_summed_in_double():
    """A Gram matrix whose condition is beyond single precision: rows of it are enough, sums are not."""
    tables, offset, _ = problem()
    near = tables.at[:, :, 1].set(tables[:, :, 0] + 1e-4 * tables[:, :, 1]).astype(jnp.float32)
    found = solve(near, offset.astype(jnp.float32), None, PointwiseResiduals(law))
    assert found.value.dtype == START.dtype
    exact = solve(near.astype(float), offset.astype(jnp.float32).astype(float), None, PointwiseResiduals(law))
    np.testing.assert_allclose(found.objective, exact.objective, rtol=1e-4)
    assert 0 < found.smallest_eigenvalue < 1e-7


def test_a_step_in_which_an_unknown_loses_its_effect_is_refused():
    """Exact: NIST's BoxBOD from its far start, from where a full step makes `exp(-b x)` vanish, to certified values."""
    x, y = jnp.array([1.0, 2, 3, 5, 7, 10]), jnp.array([109.0, 149, 149, 191, 213, 224])

    @jax.jit
    def fit(start):
        return least_squares(lambda b, _: y - b[0] * (1 - jnp.exp(-b[1] * x)), start, throw=False)

    found = fit(jnp.array([1.0, 1.0]))
    np.testing.assert_allclose(found.value, [213.80940889, 0.54723748542], rtol=1e-8)
    assert found.result == RESULTS.successful
    assert found.gradient_norm < 1e-4


@pytest.mark.parametrize(
    "rows",
    [
        lambda w, _: jnp.stack([jnp.abs(w[0] - 1) + 1, w[1] - 2, w[0] * w[1] / 10]),
        lambda w, _: jnp.stack([jnp.where(w[0] < 1, jnp.nan, w[0]), w[1] - 2, w[1] + 2]),
    ],
    ids=["a kink", "a wall behind which rows are not finite"],
)
def test_a_solve_that_is_stuck_does_not_count_as_converged(rows):
    """Both are least at `w[0] = 1`, where the derivative is not zero, so that it has no implicit derivative."""
    patient = LevenbergMarquardt(max_steps=1000)
    found = jax.jit(lambda w: least_squares(rows, w, solver=patient, throw=False))(jnp.array([3.0, 1.0]))
    assert found.result == RESULTS.stalled
    assert found.gradient_norm > 0.1
    np.testing.assert_allclose(found.value[0], 1, atol=1e-2)
    with pytest.raises(RuntimeError, match=r"kink.*Smooth the"):
        jax.block_until_ready(least_squares(rows, jnp.array([3.0, 1.0]), solver=patient).value)


def test_a_result_says_what_went_wrong():
    tables, offset, constant = problem()
    short = solve(tables, offset, None, solver=LevenbergMarquardt(max_steps=1))
    assert short.result == RESULTS.max_steps
    dependent = solve(tables.at[:, :, 1].set(tables[:, :, 0]), offset, None)
    assert dependent.result == RESULTS.dependent
    assert np.all(np.isfinite(dependent.value))
    broken = solve(tables.at[0].set(jnp.nan), offset, constant)
    assert broken.result == RESULTS.nonfinite
    # A derivative is finite, too, so that a batch with one such member is not lost.
    gradient = jax.jit(jax.grad(lambda t: jnp.sum(solve(t, offset, None).value)))
    assert jnp.all(jnp.isfinite(gradient(tables.at[:, :, 1].set(tables[:, :, 0]))))


DEVICES = textwrap.dedent("""
    import jax, jax.numpy as jnp, numpy as np, re
    from jax.sharding import AxisType, PartitionSpec as P
    jax.config.update("jax_enable_x64", True)
    from tests.constraints.test_least_squares import law, problem, START, PointwiseResiduals, least_squares

    tables, offset, constant = problem()
    scales = jnp.array([0.1, 1.0, 3.0, 6.0])

    def one(scale, offset):
        found = least_squares(PointwiseResiduals(law), START, (tables, scale * offset), constant=constant, throw=False)
        return found.value, found.iterations

    def loss(run):
        return lambda offset: jnp.sum(jnp.sin(run(scales, offset)[0]))

    many = jax.vmap(one, in_axes=(0, None))
    mesh = jax.make_mesh((4,), ("expert",), axis_types=(AxisType.Auto,))
    roads = {"pmap": jax.pmap(one, in_axes=(0, None))}
    for check in (True, False):
        shard = lambda s, o: jax.tree.map(lambda x: x[None], one(s[0], o))
        roads[f"shard_map, check_vma={check}"] = jax.jit(
            jax.shard_map(shard, mesh=mesh, in_specs=(P("expert"), P()), out_specs=P("expert"), check_vma=check)
        )
    expected, counts = jax.jit(many)(scales, offset)
    slope = jax.jit(jax.grad(loss(many)))(offset)
    for name, road in roads.items():
        values, found = road(scales, offset)
        np.testing.assert_allclose(values, expected, atol=1e-12, err_msg=name)
        np.testing.assert_array_equal(found, counts, err_msg=name)
        np.testing.assert_allclose(jax.grad(loss(road))(offset), slope, atol=1e-10, err_msg=name)
        if "shard" in name:
            text = road.lower(scales, offset).compile().as_text()
            assert " while(" in text
            assert not re.search("all-reduce|all-gather|collective|all-to-all", text), name
    print("agreed on", len(jax.devices()), "devices")
""")


@pytest.mark.slow  # the constraint that is made of it is tested on four devices by default
def test_on_four_devices():
    """Exact: `jax.shard_map` with and without its check and `jax.pmap`, values and gradients; no device waits."""
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-c", DEVICES], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "agreed on 4 devices" in done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"residuals": 3}, r"needs a function \(unknowns, args\) -> rows"),
        ({"initial": jnp.zeros((2, 4))}, r"shape \(2, 4\). If the first axis is a batch, use jax.vmap"),
        ({"initial": jnp.zeros(4, int)}, "starts from real unknowns"),
        ({"initial": jnp.full(4, jnp.nan)}, "initial must be finite"),
        ({"args": (jnp.ones((3, TERMS, 4)), jnp.ones((3, TERMS)))}, "3 rows for 4 unknowns"),
        ({"args": jnp.ones(3)}, r"args=\(tables, offset\)"),
        ({"constant": (jnp.ones((2, 3)), jnp.ones(2))}, r"matrix \(row, 4\)"),
        ({"solver": "lm"}, "Optimistix"),
        ({"derivative": "exact"}, "GaussNewtonDerivative"),
        ({"regularization": -1.0}, "0 or more, and finite; got -1.0"),
    ],
)
def test_bad_input(change, message):
    tables, offset, _ = problem()
    given = {"residuals": PointwiseResiduals(law), "initial": START, "args": (tables, offset)} | change
    residuals, initial, args = (given.pop(name) for name in ("residuals", "initial", "args"))
    with pytest.raises(ValueError, match=message):
        least_squares(residuals, initial, args, **given)


def test_numbers_of_the_solver_are_checked():
    for options, message in (
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"max_steps": 0}, "max_steps"),
    ):
        with pytest.raises(ValueError, match=message):
            LevenbergMarquardt(**options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.at[0].set(jnp.nan), "not finite"),
        (lambda t: t.at[:, :, 1].set(t[:, :, 0]), "dependent"),
    ],
)
def test_what_did_not_converge_is_an_error(change, message):
    tables, offset, _ = problem()
    with pytest.raises(eqx.EquinoxRuntimeError, match=message):
        least_squares(PointwiseResiduals(law), START, (change(tables), offset))
