"""The layer: exact where its basis holds the solution, conditions met, gradients right, one expert no expert."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.constraints import (
    Clock,
    Coupled,
    DiscretizedWalls,
    Experts,
    HardConstraint,
    Independent,
    LiftedWalls,
    NonDimensional,
    Overlapping,
    OwnRows,
    PublishedRows,
    ResidualPoints,
    SoftConstraint,
    SpaceTimeGrid,
    UniformPoints,
    WeightedStart,
    WeightedWalls,
)
from sciml.constraints.levenberg_marquardt import LevenbergMarquardt
from sciml.meshes import uniform_mesh
from sciml.pdes import (
    AbstractPDE,
    Box,
    Burgers,
    Dirichlet,
    FiniteDifference,
    Grid,
    Neumann,
    Outflow,
    Spectral,
)

from .problems import BURGERS, fixed, make_network, make_start, periodic, walled

COUPLINGS = {"coupled": Coupled(), "own": OwnRows(), "published": Independent(), "overlapping": Overlapping()}


@eqx.filter_jit
def answer(layer, start, key=None):
    return layer(start, key=key, throw=False)


def cole_hopf(domain, nu):
    """A solution of Burgers' equation with period 1, and its start: from heat modes by Cole and Hopf."""
    t, x = np.meshgrid(*domain.axes, indexing="ij")
    k = 2 * np.pi
    decay = np.exp(-nu * k**2 * t)
    return 2 * nu * k * decay * np.sin(k * x) / (2 + decay * np.cos(k * x))


def test_a_basis_that_holds_the_solution_gives_the_solution():
    """Exact but for the order-4 differences in time: Burgers by Cole and Hopf, among functions that do not help."""
    errors = []
    for times in (12, 24):
        domain = SpaceTimeGrid(Spectral(Grid(Box(0.0, 1.0), 32), dealias=1.0), np.linspace(0, 0.3, times))
        truth = jnp.asarray(cole_hopf(domain, 0.05))
        clock = domain.clock(np.asarray(domain.times))[:, None]
        wanted = jnp.where(clock > 0, (truth - truth[0]) / jnp.where(clock > 0, clock, 1), 0.0)
        others = jax.random.normal(jax.random.key(0), (3, *domain.shape))
        basis = jnp.concatenate([0.5 * wanted[None] + others[:1], others])
        found = answer(HardConstraint(fixed(basis), BURGERS, domain), truth[:1])
        assert found.certificate.converged
        errors.append(float(jnp.max(jnp.abs(found.value[:, 0] - truth))))
    assert errors[1] < 1e-4
    assert np.log(errors[0] / errors[1]) / np.log(23 / 11) > 2.75  # of order 4 less one at one-sided ends


def test_the_start_is_met_exactly_and_by_rows_nearly():
    domain = periodic()
    start = make_start(domain)
    network = make_network(domain)
    assert answer(HardConstraint(network, BURGERS, domain), start).certificate.start_violation < 1e-14
    missed = []
    for weight in (1e3, 1e-3):
        scaling = NonDimensional(start=jnp.asarray(weight))
        layer = HardConstraint(network, BURGERS, domain, start=WeightedStart(), scaling=scaling)
        missed.append(float(answer(layer, start).certificate.start_violation))
    assert 0 < missed[0] < missed[1]


@pytest.mark.parametrize(
    "walls",
    [
        (Dirichlet(0.0), Dirichlet(1.0)),
        pytest.param((Neumann(0.0), Outflow(0.3)), marks=pytest.mark.slow),
        pytest.param((Neumann(1.0), Neumann(1.0)), marks=pytest.mark.slow),
    ],
    ids=["values", "flow", "slopes"],
)
def test_lifted_walls_are_met_exactly(walls):
    domain = walled(walls=walls)
    x = domain.calculus.coordinates
    layer = HardConstraint(
        make_network(domain), Burgers(0.1), domain, start=WeightedStart(), walls=LiftedWalls()
    )
    certificate = answer(layer, x).certificate
    assert certificate.wall_violation < 1e-10
    loose = eqx.tree_at(lambda c: c.walls, layer, WeightedWalls())
    assert answer(loose, x).certificate.wall_violation > 1e-6


@pytest.mark.slow
def test_lifting_start_and_walls_together_needs_that_they_agree():
    domain = walled()
    layer = HardConstraint(make_network(domain), Burgers(0.1), domain, walls=LiftedWalls())
    agreeing = jnp.sin(jnp.pi * domain.calculus.coordinates)
    certificate = answer(layer, agreeing).certificate
    assert certificate.start_violation < 1e-3
    assert certificate.wall_violation < 1e-10
    with pytest.raises(Exception, match="initial condition contradicts a wall"):
        jax.block_until_ready(answer(layer, jnp.full_like(agreeing, 0.1)).value)


@pytest.mark.parametrize("coupling", COUPLINGS.values(), ids=COUPLINGS)
def test_one_expert_is_no_expert(coupling):
    """Exactly: the same bits."""
    domain = periodic()
    constraint = HardConstraint(make_network(domain), BURGERS, domain, start=WeightedStart())
    start = make_start(domain)
    one, none = answer(Experts(constraint, (1, 1), coupling), start), answer(constraint, start)
    assert jnp.array_equal(one.value, none.value)
    assert jnp.array_equal(one.weights, none.weights)
    assert jnp.array_equal(one.loss, none.loss)


@pytest.mark.slow
def test_coupling_closes_what_independent_experts_leave_open():
    domain = periodic()
    constraint = HardConstraint(
        make_network(domain), BURGERS, domain, scaling=NonDimensional(jumps=1e3, slopes=1e3)
    )
    start = make_start(domain)
    jumps = {
        name: answer(Experts(constraint, (2, 4), coupling), start).certificate.value_jump
        for name, coupling in COUPLINGS.items()
    }
    assert jumps["coupled"] < 0.1 * jumps["own"]
    assert jumps["overlapping"] == 0  # there is no interface
    whole = answer(constraint, start).certificate
    own = answer(Experts(constraint, (2, 4), OwnRows()), start).certificate
    assert own.objective < whole.objective  # more weights, and nothing that ties them


@pytest.mark.slow
def test_own_experts_solve_their_own_box():
    """Property: what happens in one box does not change another."""
    domain = periodic()
    start, network = make_start(domain), make_network(domain)
    basis = eqx.filter_jit(network)(domain.encode(start))
    other = basis.at[:, :, 18:].multiply(2.0).at[:, :, 18:].add(0.1)
    law = Burgers(0.05)
    grid = SpaceTimeGrid(FiniteDifference(domain.calculus.grid), domain.times)
    weights = [
        answer(Experts(HardConstraint(fixed(b), law, grid), (1, 4), OwnRows()), start).weights
        for b in (basis, other)
    ]
    assert jnp.allclose(weights[0][1], weights[1][1], atol=1e-9)
    assert not jnp.allclose(weights[0][3], weights[1][3], atol=1e-3)


@pytest.mark.parametrize(
    "name",
    [
        "coupled",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("none", "own", "published", "overlapping")),
    ],
)
def test_the_gradient_is_that_of_finite_differences(name):
    """Of the loss and of a supervised one, in the network's parameters, along a random direction."""
    domain = periodic(16, 8)
    tight = LevenbergMarquardt(tolerance=1e-15, max_steps=200)
    start, towards = make_start(domain), make_network(domain, 4, seed=3)
    network = make_network(domain, 4)

    def score(step):
        moved = jax.tree.map(lambda p, d: p + step * d, network, towards)
        layer = HardConstraint(moved, BURGERS, domain, solver=tight, start=WeightedStart())
        if name != "none":
            layer = Experts(layer, (1, 2), COUPLINGS[name])
        field = layer(start, throw=False)
        return jnp.sqrt(field.loss) + jnp.mean((field.value - 1.0) ** 2)

    value = jax.jit(score)
    step = 1e-4
    numerical = (value(step) - value(-step)) / (2 * step)
    assert jax.jit(jax.grad(score))(0.0) == pytest.approx(float(numerical), rel=1e-4)


@pytest.mark.slow
def test_a_law_can_be_learned_through_the_layer():
    """The gradient in a parameter of the law, against finite differences."""
    domain = periodic(16, 8)
    network, start = make_network(domain, 4), make_start(domain)

    def score(viscosity):
        layer = HardConstraint(network, Burgers(viscosity), domain, solver=LevenbergMarquardt(1e-15, 200))
        return jnp.mean(layer(start, throw=False).value ** 2)

    value = jax.jit(score)
    numerical = (value(0.0501) - value(0.0499)) / 2e-4
    assert jax.jit(jax.grad(score))(0.05) == pytest.approx(float(numerical), rel=1e-4)


class Grown(AbstractPDE):
    net: eqx.nn.MLP
    channels: ClassVar = ("u",)

    def rate(self, t, u, calculus):
        return calculus.laplacian(u) + jax.vmap(self.net, -1, -1)(u.value)


def test_a_law_may_hold_a_network():
    """Whose activation is no array: the layer and its gradient can be traced. The last example uses their values."""
    domain = periodic(16, 8)
    basis, start = fixed(jax.random.normal(jax.random.key(0), (3, *domain.shape))), make_start(domain)
    law = Grown(eqx.nn.MLP(1, 1, 2, 1, jnp.tanh, key=jax.random.key(1)))

    def score(law):
        return jnp.sum(HardConstraint(basis, law, domain, frozen=0)(start, throw=False).value ** 2)

    gradient = eqx.filter_eval_shape(eqx.filter_grad(score), law)
    assert gradient.net.layers[0].weight.shape == (2, 1)


@pytest.mark.parametrize("walls", [DiscretizedWalls(), WeightedWalls()], ids=["in the rows", "as rows"])
def test_an_answer_is_compared_with_the_constant_field_on_the_same_rows(walls):
    """Exact: a network of zeros is the field that stays at the start, whatever rows there are."""
    domain = walled(walls=(Dirichlet(1.0), Outflow(0.01)), until=5.0)
    start = jnp.full((1, 24), 0.1)
    layer = HardConstraint(lambda x: jnp.zeros((1, *x.shape[1:])), Burgers(1e-3), domain, walls=walls)
    found = answer(SoftConstraint(layer), start).certificate
    assert found.constant_objective > 0
    np.testing.assert_allclose(found.objective, found.constant_objective, rtol=1e-12)


@pytest.mark.slow
def test_held_out_points_are_counted_where_there_are_some():
    domain = periodic()
    constraint = HardConstraint(make_network(domain), BURGERS, domain)
    start, key = make_start(domain), jax.random.key(2)
    whole = answer(constraint, start).certificate
    assert jnp.isnan(whole.held_out_rms)
    for sampling in (UniformPoints(60), ResidualPoints(60)):
        few = answer(dataclasses.replace(constraint, sampling=sampling), start, key).certificate
        assert few.held_out_rms > 0
        assert few.held_out_rms < 3 * whole.equation_rms
    all_of_them = dataclasses.replace(constraint, sampling=UniformPoints(int(np.prod(domain.shape))))
    same = answer(all_of_them, start, key)
    assert jnp.allclose(same.value, answer(constraint, start).value, atol=1e-7)


@pytest.mark.slow
def test_a_coarse_guess_leads_to_the_same_minimum():
    domain = periodic()
    constraint = HardConstraint(make_network(domain), BURGERS, domain)
    start = make_start(domain)
    direct = answer(constraint, start)
    guessed = answer(dataclasses.replace(constraint, coarse=8), start)
    assert jnp.allclose(direct.value, guessed.value, atol=1e-4)
    assert guessed.certificate.converged


@pytest.mark.slow
def test_published_rows_are_another_problem_than_those_without_units():
    domain = walled(walls=(Dirichlet(1.0), Outflow(0.01)), until=50.0)
    start = jnp.full((1, 24), 0.1)
    network = make_network(domain)
    fields = [
        answer(
            HardConstraint(
                network, Burgers(1e-3), domain, start=WeightedStart(), walls=WeightedWalls(), scaling=scaling
            ),
            start,
        )
        for scaling in (PublishedRows(), NonDimensional())
    ]
    assert fields[1].certificate.equation_rms < fields[0].certificate.equation_rms


def test_a_soft_constraint_is_its_network_and_has_the_same_loss():
    domain = periodic()
    network, start = make_network(domain, 1), make_start(domain)
    soft = answer(SoftConstraint(HardConstraint(network, BURGERS, domain)), start)
    hard = answer(HardConstraint(network, BURGERS, domain), start)
    clock = jnp.asarray(domain.clock(np.asarray(domain.times)))[:, None, None]
    raw = domain.evaluate_basis(network, start)[0]
    assert jnp.allclose(soft.value, domain.calculus.project(start) + clock * raw, atol=1e-12)
    assert hard.loss <= soft.loss  # its one weight is the best one
    assert not soft.certificate.converged
    assert jnp.isnan(soft.certificate.gradient_norm)


@pytest.mark.slow
def test_thrown_and_marked():
    domain = periodic()
    short = HardConstraint(
        make_network(domain), BURGERS, domain, solver=LevenbergMarquardt(max_steps=1), frozen=0
    )
    start = make_start(domain)
    assert not answer(short, start).certificate.converged
    with pytest.raises(Exception, match="did not converge within max_steps"):
        jax.block_until_ready(eqx.filter_jit(lambda s: short(s).value)(start))


def _dependent(domain):
    return fixed(jnp.ones((3, *domain.shape)) * jnp.arange(1.0, 4.0)[:, None, None])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda d: HardConstraint(_dependent(d), BURGERS, d, regularization=0.0),
            "basis are that is dependent",
        ),
        (lambda d: HardConstraint(fixed(jnp.full((2, *d.shape), jnp.nan)), BURGERS, d), "not finite"),
        (lambda d: HardConstraint(fixed(jnp.ones((400, *d.shape))), BURGERS, d), "at least as many rows"),
        (lambda d: HardConstraint(fixed(jnp.ones((2, 3, 3))), BURGERS, d), "The network must give"),
        (
            lambda d: HardConstraint(make_network(d), BURGERS, d, sampling=UniformPoints(9)),
            "needs a key",
        ),
        (
            lambda d: HardConstraint(make_network(d), BURGERS, d, sampling=UniformPoints(10**6)),
            "is not possible",
        ),
        (lambda d: Experts(HardConstraint(make_network(d), BURGERS, d), (1, 0)), "one number of boxes"),
        (lambda d: Experts(HardConstraint(make_network(d), BURGERS, d), (4,)), "one number of boxes"),
        (lambda d: Experts(HardConstraint(make_network(d), BURGERS, d), (12, 1)), "leave 1 points"),
        (lambda d: HardConstraint(make_network(d), BURGERS, d, coarse=0), "coarse is a whole number"),
        (lambda d: Overlapping(0.7), "at most 1/2"),
        (lambda d: SoftConstraint(HardConstraint(make_network(d), BURGERS, d)), "gives the field itself"),
        (lambda d: SpaceTimeGrid(d.calculus, [0.0, 0.2, 0.1, 0.3, 0.4]), "must increase"),
        (lambda d: SpaceTimeGrid(uniform_mesh(walled().calculus.grid), np.arange(9.0)), "Between walls"),
        (lambda d: SpaceTimeGrid(d.calculus, [0.0, 0.2, 0.3]), "at least 5 times"),
        (lambda d: SpaceTimeGrid(d.calculus, np.arange(9.0), clock=Clock(1.0)), "must agree"),
    ],
)
def test_bad_input_is_named(make, message):
    domain = periodic()

    def use():
        layer = make(domain)
        jax.block_until_ready(eqx.filter_jit(lambda s: layer(s).value)(make_start(domain)))

    with pytest.raises(Exception, match=message):
        use()
