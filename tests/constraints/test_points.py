"""Scattered points: exact where the basis holds the solution, tables as the law, conditions met, gradients right."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.constraints import (
    AllPoints,
    Clock,
    Experts,
    HardConstraint,
    LiftedWalls,
    ResidualPoints,
    SoftConstraint,
    SpaceTimePoints,
    UniformPoints,
    WeightedStart,
    WeightedWalls,
    evaluate_field,
    scatter_points,
)
from sciml.constraints.levenberg_marquardt import LevenbergMarquardt
from sciml.constraints.terms import LawResidual, find_terms
from sciml.nn import DeepONet
from sciml.pdes import (
    AbstractPDE,
    Autodiff,
    Box,
    Burgers,
    Dirichlet,
    Heat,
    NavierStokes,
    Neumann,
    Robin,
)

from .problems import BURGERS

SQUARE = Box((0.0, 0.0), (2.0, 1.0))
LINE = Box(0.0, 1.0)
WARM = Box(0.0, 1.0, [(Dirichlet(1.0), Robin(1.0, 0.5, 2.0))])


def periodic(points=200, box=LINE, until=0.3, **more):
    return scatter_points(box, (0.0, until), points=points, starts=20, key=jax.random.key(0), **more)


def walled(box=WARM):
    return scatter_points(box, (0.0, 0.3), points=150, starts=16, walls=12, key=jax.random.key(0))


def make_network(domain, basis=5, seed=1):
    return DeepONet(
        (1, len(domain.starts)),
        domain.count_inputs(),
        basis,
        width=8,
        depth=1,
        latent=8,
        key=jax.random.key(seed),
    )


def wave(x):
    return jnp.sin(2 * jnp.pi * x[:1])


def bump(x):
    return 1 + x[:1] ** 2 * (3 - 2 * x[:1])


@eqx.filter_jit
def answer(layer, start, key=None):
    return layer(start, key=key, throw=False)


def cole_hopf(t, x, nu=0.05):
    """A solution of Burgers' equation with period 1, from heat modes by Cole and Hopf."""
    k = 2 * jnp.pi
    decay = jnp.exp(-nu * k**2 * t)
    return 2 * nu * k * decay * jnp.sin(k * x) / (2 + decay * jnp.cos(k * x))


def test_a_basis_that_holds_the_solution_gives_the_solution():
    """Exact to the solver's tolerance: nothing is discretized. Also between the points, and from few of them."""
    domain = periodic(60)

    def start(x):
        return cole_hopf(0.0, x[:1])

    def network(values, places):
        clock, cosine, sine = places.T
        x = jnp.arctan2(sine, cosine) / (2 * jnp.pi)
        wanted = (cole_hopf(0.3 * clock, x) - cole_hopf(0.0, x)) / clock
        return jnp.stack([0.5 * wanted + cosine, cosine, clock * sine, jnp.sin(clock)])

    layer = HardConstraint(network, BURGERS, domain, solver=LevenbergMarquardt(tolerance=1e-12))
    found = answer(layer, start)
    assert found.certificate.converged
    assert found.certificate.equation_max < 1e-7
    anywhere = jax.random.uniform(jax.random.key(5), (30, 2)) * jnp.array([0.3, 1.0])
    there = eqx.filter_jit(evaluate_field)(layer, start, found.weights, anywhere)
    for value, places in ((found.value, domain.points), (there, anywhere)):
        assert jnp.max(jnp.abs(value[0] - cole_hopf(places[:, 0], places[:, 1]))) < 1e-8


class Twisted(AbstractPDE):
    """Of everything a law may ask for: time, place, mixed derivatives, two unknowns."""

    channels: ClassVar = ("u", "v")

    def rate(self, t, u, calculus):
        twisted = calculus.derivative(u, (1, 1)) * u.value[::-1] + jnp.sin(t) * calculus.laplacian(u)
        return twisted + calculus.coordinates[:1] * calculus.partial(u, 1)


def test_tables_are_the_law():
    """For random weights, against the law on the calculus of the whole function."""
    domain, law = periodic(7, SQUARE), Twisted()
    weights = jax.random.normal(jax.random.key(3), (3,))
    network = DeepONet((2, 20), domain.count_inputs(), 6, width=8, depth=1, latent=8, key=jax.random.key(0))

    def start(x):
        return jnp.stack([jnp.sin(jnp.pi * x[0]), jnp.cos(2 * jnp.pi * x[1])])

    @jax.jit
    def both():
        layer = HardConstraint(network, law, domain)
        system, scales = layer.make_system(start)
        tabulated = jax.vmap(LawResidual(law, find_terms(law, 2)))(system.contract(weights))
        basis, lift = layer.propose(start)

        def direct(place, scale):
            t, x = place[0], place[1:]

            def function(t, x):
                place = jnp.concatenate([t[None], x])
                return lift(place) + weights @ basis(place)

            slope = jax.jvp(lambda t: function(t, x), (t,), (jnp.ones(()),))[1]
            calculus = Autodiff(x[None])
            return scale * (slope - law.rate(t, calculus.field(lambda x: function(t, x)), calculus)[:, 0])

        return tabulated, jax.vmap(direct)(domain.points, scales.equation)

    tabulated, direct = both()
    assert jnp.max(jnp.abs(tabulated - direct)) < 1e-12 * jnp.max(jnp.abs(direct))


def test_lifted_walls_are_met_by_every_function():
    domain = walled()

    def network(values, places):
        return jnp.stack([places[:, 0] + places[:, 1], jnp.sin(3 * places[:, 1])])

    def rows(walls):
        layer = HardConstraint(network, Heat(0.1), domain, start=WeightedStart(), walls=walls)
        return domain.wall_conditions(*layer.propose(bump))[:2]

    lifted, loose = jax.jit(lambda: (rows(LiftedWalls()), rows(WeightedWalls())))()
    for parts, limits in ((lifted, (0, 1e-12)), (loose, (1e-2, np.inf))):
        for part in parts:
            assert limits[0] <= jnp.max(jnp.abs(part)) <= limits[1]


@pytest.mark.slow
@pytest.mark.parametrize("walls", [WeightedWalls(), LiftedWalls()], ids=["rows", "lifted"])
def test_walls_are_met(walls):
    """By lifting to rounding, by rows nearly; the wall's data and its normal are those of the box."""
    domain = walled()
    layer = HardConstraint(
        make_network(domain), Heat(0.1), domain, start=WeightedStart(), walls=walls, regularization=1e-8
    )
    field = answer(layer, bump)
    missed = field.certificate.wall_violation
    assert missed < (1e-12 if isinstance(walls, LiftedWalls) else 0.5)

    @eqx.filter_jit
    def by_hand(weights):
        def value(place):
            return evaluate_field(layer, bump, weights, place[None])[0, 0]

        left, right = domain.on_walls
        slope = jax.vmap(jax.grad(value))(right)[:, 1]
        at_left, at_right = jax.vmap(value)(left) - 1.0, jax.vmap(value)(right) + 0.5 * slope - 2.0
        return jnp.maximum(jnp.max(jnp.abs(at_left)), jnp.max(jnp.abs(at_right)))

    assert by_hand(field.weights) == pytest.approx(float(missed), rel=1e-6, abs=1e-12)


@pytest.mark.slow
def test_a_start_that_agrees_is_lifted_with_the_walls_and_another_refused():
    domain = walled(Box(0.0, 1.0, [(Dirichlet(1.0), Neumann(0.0))]))
    layer = HardConstraint(make_network(domain), Heat(0.1), domain, walls=LiftedWalls())
    certificate = answer(layer, bump).certificate
    assert certificate.start_violation < 1e-12
    assert certificate.wall_violation < 1e-12
    with pytest.raises(Exception, match="initial condition contradicts a wall"):
        jax.block_until_ready(answer(layer, wave).value)


@pytest.mark.slow
def test_points_are_sampled_and_the_others_held_out():
    domain = periodic()
    start, key = wave, jax.random.key(2)
    fields = {}
    for sampling in (AllPoints(), UniformPoints(80), ResidualPoints(80)):
        layer = HardConstraint(make_network(domain), BURGERS, domain, sampling=sampling)
        fields[type(sampling)] = answer(layer, start, key)
    whole, uniform, chosen = (fields[kind].certificate for kind in (AllPoints, UniformPoints, ResidualPoints))
    assert jnp.isnan(whole.held_out_rms)
    assert whole.start_violation < 1e-14
    for few in (uniform, chosen):
        assert 0.5 * whole.equation_rms < few.held_out_rms < 3 * whole.equation_rms
    assert not jnp.allclose(fields[UniformPoints].value, fields[ResidualPoints].value)


@pytest.mark.slow
def test_the_gradient_is_that_of_finite_differences():
    """Of the loss and of a supervised one, in the network's parameters, along a random direction."""
    domain = periodic(40)
    tight = LevenbergMarquardt(tolerance=1e-15, max_steps=200)
    network, towards = make_network(domain, 4), make_network(domain, 4, seed=3)

    def score(step):
        moved = jax.tree.map(lambda p, d: p + step * d, network, towards)
        field = HardConstraint(moved, BURGERS, domain, solver=tight)(wave, throw=False)
        return jnp.sqrt(field.loss) + jnp.mean((field.value - 1.0) ** 2)

    value = jax.jit(score)
    numerical = (value(1e-4) - value(-1e-4)) / 2e-4
    assert jax.jit(jax.grad(score))(0.0) == pytest.approx(float(numerical), rel=1e-4)


@pytest.mark.slow
def test_a_soft_constraint_is_its_network_there_too():
    domain = periodic(50)
    network = make_network(domain, 1)
    soft = answer(SoftConstraint(HardConstraint(network, BURGERS, domain)), wave)
    values = jax.vmap(wave)(domain.starts).T
    raw = network(values, jax.vmap(domain.encode)(domain.points))
    expected = jax.vmap(lambda x: wave(x[1:]))(domain.points).T + domain.points[:, 0] / 0.3 * raw
    assert jnp.allclose(soft.value, expected, atol=1e-12)


class Scaled(eqx.Module):
    size: jax.Array

    def __call__(self, x):
        return self.size * jnp.sin(2 * jnp.pi * x[:1])


@pytest.mark.slow
def test_a_batch_of_functions_is_mapped_over():
    domain = periodic(50)
    layer = HardConstraint(make_network(domain), BURGERS, domain)
    sizes = jnp.array([0.5, 1.0])
    batch = eqx.filter_jit(eqx.filter_vmap(lambda start: layer(start, throw=False).value))(Scaled(sizes))
    one = answer(layer, Scaled(sizes[1])).value
    assert jnp.allclose(batch[1], one, atol=1e-9)


INSIDE = np.array([[0.1, 0.2], [0.2, 0.9]])
STARTS = np.array([[0.2], [0.4]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: HardConstraint(make_network(walled()), Heat(0.1), walled()),
            "no grid here that would discretize",
        ),
        (lambda: HardConstraint(lambda v, p: jnp.ones((3, 2)), BURGERS, periodic()), "The network must give"),
        (lambda: HardConstraint(make_network(periodic(3), 5), BURGERS, periodic(3)), "at least as many rows"),
        (
            lambda: HardConstraint(
                make_network(periodic(box=SQUARE)), NavierStokes(0.1), periodic(box=SQUARE)
            ),
            "non-local operator",
        ),
        (
            lambda: Experts(HardConstraint(make_network(periodic()), BURGERS, periodic()), (1, 2)),
            "share a grid",
        ),
        (lambda: SpaceTimePoints(LINE, (0.0, 0.3), INSIDE[:, :1], starts=STARTS), "time first"),
        (lambda: SpaceTimePoints(LINE, (0.0, 0.15), INSIDE, starts=STARTS), "1 of 2 points are outside"),
        (lambda: SpaceTimePoints(LINE, (0.3, 0.3), INSIDE, starts=STARTS), "a later last one"),
        (lambda: SpaceTimePoints(LINE, (0.0, 0.3), INSIDE, starts=INSIDE), "without a time"),
        (lambda: SpaceTimePoints(WARM, (0.0, 0.3), INSIDE, starts=STARTS), "2 walls"),
        (
            lambda: SpaceTimePoints(WARM, (0.0, 0.3), INSIDE, starts=STARTS, on_walls=(INSIDE, INSIDE)),
            "must have the coordinate 0.0",
        ),
        (
            lambda: SpaceTimePoints(LINE, (0.1, 0.3), INSIDE, starts=STARTS, clock=Clock(0.1, 0.2, 0.5)),
            "no point may be at the first time",
        ),
        (
            lambda: HardConstraint(
                make_network(walled()),
                Heat(0.1),
                walled(Box(0.0, 1.0, [(Dirichlet(jnp.ones((1, 3))), Dirichlet(0.0))])),
                walls=WeightedWalls(),
            ),
            "vary along it",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(Exception, match=message):
        eqx.filter_eval_shape(make(), wave)


@pytest.mark.parametrize(
    ("start", "message"), [(jnp.ones((1, 20)), "is a function"), (lambda x: x, "it gives")]
)
def test_a_start_that_is_no_function_to_the_unknowns_is_named(start, message):
    domain = periodic(box=SQUARE)
    layer = HardConstraint(make_network(domain), Burgers(0.1), domain)
    with pytest.raises(ValueError, match=message):
        layer.domain.sample(start, 1)
