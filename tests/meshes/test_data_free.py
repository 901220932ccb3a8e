"""Data-free movers: their derivatives and walls (exact), their loss (exact, gradient), what they make of solutions that
were not trained on, what they say of those far away (property), and bad input as a table."""

import re

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from sciml import nn, training
from sciml.meshes import (
    BranchTrunkPotential,
    ByDensity,
    CloudSensors,
    ConvolutionBranch,
    DataFreeMover,
    DenseBranch,
    DensitySensors,
    Extent,
    FieldBranch,
    GridSensors,
    HessianMonitor,
    JitteredLattice,
    Lattice,
    LogarithmicResidual,
    MeshError,
    PhysicsLoss,
    PointCloud,
    RelativeResidual,
    Ring,
    Samples,
    Scattered,
    SpectralPotential,
    Uniform,
    average_density,
    certify,
    describe_family,
    make_samples,
    published_loss,
    refine_last_layer,
    uniform_mesh,
)
from sciml.pdes import Box, Grid, Neumann

from ._rings import BOX, FINE, GRID, MODES, MONITOR, SENSORS, exaggerate, ring, trained, untrained

KEY = jax.random.key(3)
INTERVAL = Box(-1.0, 1.0, Neumann(0.0))
CHANNEL = Box((0.0, 0.0), (1.0, 2.0), (Box(0.0, 1.0).boundaries[0], (Neumann(0.0), Neumann(0.0))))


def potentials(box):
    branch = DenseBranch((1, 5), 5**box.dimensions, width=8, key=KEY)
    spectral = SpectralPotential(box, branch, 5)
    large = spectral.replace_last_layer(jax.tree.map(lambda x: 30 * x, spectral.last_layer))
    small = DenseBranch((1, 5), 4, width=8, key=KEY)
    shared = {"trunk_width": 6, "trunk_features": 6, "head_width": 6, "head_depth": 2}
    return large, BranchTrunkPotential(box, small, **shared, key=KEY)


def test_derivatives_are_those_of_nested_differentiation():
    """Exact: gradient and Hessian of one forward pass, at scattered points and on a lattice; one axis is periodic."""
    box = CHANNEL
    seen = jax.random.normal(KEY, (1, 5))
    lengths = np.array(box.lengths)
    axes = tuple(jnp.array([0.0, 0.3, 0.9][: 3 - axis]) for axis in range(box.dimensions))
    points = jnp.asarray(np.stack(np.meshgrid(*axes, indexing="ij")).reshape(box.dimensions, -1))

    @eqx.filter_jit
    def look(potential):
        def phi(x):
            return potential.evaluate(seen, Scattered(x[:, None])).value[0]

        slopes, bends = jax.vmap(jax.grad(phi))(points.T), jax.vmap(jax.hessian(phi))(points.T)
        nested = (
            (slopes / lengths).T,
            tuple(bends[:, i, j] / lengths[i] / lengths[j] for i, j in ((0, 0), (1, 1), (0, 1))),
        )
        return potential.evaluate(seen, Scattered(points)), potential.evaluate(seen, Lattice(axes)), nested

    for potential in potentials(box):
        scattered, even, (slope, bend) = look(potential)
        np.testing.assert_allclose(scattered.gradient, slope, atol=1e-12)
        np.testing.assert_allclose(scattered.hessian, bend, atol=1e-11)
        for one, other in zip(jax.tree.leaves(scattered), jax.tree.leaves(even), strict=True):
            np.testing.assert_allclose(one.ravel(), other.ravel(), atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_spectral_potential_keeps_walls_exactly(dtype):
    """Exact: zero, not small, at any number of vertices, however large the coefficients; also for 48 modes."""
    branch = DenseBranch((1, 5), 48 * 48, width=8, key=KEY)
    potential = SpectralPotential(BOX, branch, 48)
    assert potential.keeps_walls
    weights = jax.tree.map(lambda x: (100 * x).astype(dtype), potential)
    evaluate = eqx.filter_jit(SpectralPotential.evaluate)
    for n in (7, 49):
        axis = jnp.asarray(np.arange(n + 1) / n, dtype)
        slope = evaluate(weights, jnp.ones((1, 5), dtype), Lattice((axis, axis))).gradient
        assert slope.dtype == dtype
        assert jnp.max(abs(slope)) > 0.1
        assert not np.any(slope[0, [0, -1]])
        assert not np.any(slope[1, :, [0, -1]])


def test_the_loss_is_zero_where_the_equation_holds():
    """Exact, in one dimension: the density `1 / (1 + phi'')` at `x = xi + phi'`, by inverting the map."""
    box = INTERVAL
    potential = potentials(box)[0]
    potential = potential.replace_last_layer(jax.tree.map(lambda x: 0.2 * x, potential.last_layer))
    sensors = GridSensors(Grid(box, 5), (5,))
    seen = jax.random.normal(KEY, (6, 1, 5))
    family = describe_family(seen)
    mover = DataFreeMover(potential, sensors, family)

    class Exact(eqx.Module):
        seen: jax.Array

        def __call__(self, x):
            def step(_, xi):
                found = self.evaluate(xi)
                return xi - (xi + found.gradient - x) / (1 + found.hessian[0])

            return 2.5 / (1 + self.evaluate(jax.lax.fori_loop(0, 40, step, x)).hessian[0])

        def evaluate(self, x):
            place = (x.reshape(1, -1) + 1) / 2
            found = potential.evaluate(self.seen, Scattered(place))
            return jax.tree.map(lambda y: y.reshape(x.shape if y.ndim > 1 else x.shape[1:]), found)

    @eqx.filter_jit
    def measure():
        densities = Exact(jax.vmap(family.normalize)(seen))
        mean = jax.vmap(lambda d: average_density(d, potential.extent, 256))(densities)
        losses = [
            PhysicsLoss(JitteredLattice(12), residual)
            for residual in (LogarithmicResidual(), RelativeResidual())
        ]
        return mean, [loss(mover, Samples(seen, densities, mean), KEY) for loss in losses]

    mean, found = measure()
    np.testing.assert_allclose(mean, 2.5, rtol=1e-9)  # the mean of 1 / x'(xi) over x is that of 1 over xi
    for loss, parts in found:
        assert loss < 1e-16
        assert parts["convexity"] == 0


def rings(count, sensors):
    """Samples with densities in closed form, which compile faster; what is seen of them does not matter."""
    seen = jax.random.normal(KEY, (count, *sensors.shape))
    radii = jnp.linspace(0.2, 0.3, count)
    densities = jax.vmap(lambda r: Ring(10.0, 60.0, r, (0.5, 0.5)))(radii)
    mean = jax.vmap(lambda d: average_density(d, Extent(BOX), 32))(densities)
    return Samples(seen, densities, mean)


def published_mover():
    branch = DenseBranch((1, 8, 8), 6, width=8, activation=jnp.tanh, key=KEY)
    potential = BranchTrunkPotential(BOX, branch, trunk_width=6, trunk_features=6, head_width=12, key=KEY)
    loss = eqx.tree_at(lambda one: one.sampling, published_loss(), ByDensity(60, 4))
    return untrained(potential), loss


@pytest.mark.parametrize("published", [False, True])
def test_the_gradient_of_the_loss_is_that_of_finite_differences(published):
    """Gradient: of both losses and both potentials, along a random direction; the map is folded at some points."""
    mover, loss = published_mover() if published else (untrained(), PhysicsLoss(JitteredLattice(6)))
    samples = rings(2, mover.sensors)
    mover = exaggerate(mover, 40.0)
    params, static = eqx.partition(mover, mover.trainable())
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    direction = jax.random.normal(KEY, flat.shape)

    @jax.jit
    @jax.value_and_grad
    def along(size):
        return loss(eqx.combine(unravel(flat + size * direction), static), samples, KEY)[0]

    value, slope = along(0.0)
    assert value > 1
    step = 1e-6
    np.testing.assert_allclose(slope, (along(step)[0] - along(-step)[0]) / (2 * step), rtol=1e-5)


def test_points_by_density_are_drawn_once_each_and_where_the_density_is():
    """Property."""
    density = Ring(50.0, 100.0, 0.25, (0.5, 0.5))
    points = jax.jit(lambda key: ByDensity(400, 20).draw(density, Extent(BOX), key=key))(KEY).positions
    assert len(np.unique(np.asarray(points[0]))) == 400
    even = jax.random.uniform(KEY, (2, 400))
    drawn, usual = jax.jit(jax.vmap(lambda x: jnp.mean(density(x))))(jnp.stack([points, even]))
    assert drawn > 3 * usual
    lattice = JitteredLattice(9).draw(density, Extent(BOX), key=KEY)
    for axis in lattice.axes:
        assert list(np.floor(np.asarray(axis) * 9)) == list(range(9))


def test_a_trained_mover_shares_the_mass_of_unseen_solutions_evenly():
    """Trained on the equation alone, for a second: the masses of the cells vary by less than a third of before."""
    measure = eqx.filter_jit(lambda density, mesh: certify(mesh, density))
    for radius in (0.23, 0.31):
        u = ring(radius)
        moved = trained().move(u, GRID)
        still = measure(MONITOR.density(u, FINE), uniform_mesh(GRID))
        found = moved.certificate
        assert found.valid
        assert found.variation < still.variation / 3
        assert found.boundary_error == 0
        assert found.details["family_distance"] < 1.5


def test_a_batch_by_vmap_is_one_after_another():
    """Exact, to rounding."""
    mover, batch = trained(), jax.vmap(ring)(jnp.array([0.22, 0.3]))
    together = eqx.filter_jit(jax.vmap(lambda u: mover.move(u, GRID, throw=False)))(batch)
    for index, u in enumerate(batch):
        alone = mover.move(u, GRID, throw=False)
        np.testing.assert_allclose(together.mesh.vertices[index], alone.mesh.vertices, atol=1e-13)
        np.testing.assert_allclose(together.potential[index], alone.potential, atol=1e-13)


def test_far_from_its_family_it_says_so():
    """Property: members are near, others far; refused with the distance, or returned and marked."""
    mover = trained()
    assert mover.move(ring(0.21), GRID).certificate.converged
    strange = {
        "a ring elsewhere": ring(0.25, shift=0.2),
        "a larger one": ring(0.5),
        "noise": jax.random.normal(KEY, (1, 32, 32)),
        "ten times as high": 10 * ring(0.25),
    }
    for name, u in strange.items():
        moved = mover.move(u, GRID, throw=False)
        distance = float(moved.certificate.details["family_distance"])
        assert distance > mover.farthest, name
        assert not moved.certificate.converged
        assert not moved.certificate.valid
        with pytest.raises(MeshError, match=re.escape(f"at a distance of {distance:.3g} from the family")):
            mover.move(u, GRID)


def test_a_folded_mesh_is_refused():
    with pytest.raises(MeshError, match=r"cells are tangled.*Certified"):
        exaggerate(trained(), 8.0).move(ring(0.25), GRID)


def test_it_is_saved_and_read_with_its_family(tmp_path):
    """Exact: bitwise."""
    training.save_model(tmp_path / "mover.eqx", trained())
    read = training.load_model(tmp_path / "mover.eqx", untrained(seed=7))
    u = ring(0.27)
    one, other = (mover.move(u, GRID, throw=False) for mover in (trained(), read))
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(x, y)


def test_only_the_potential_is_trained():
    before, after = untrained(), trained()
    unchanged = eqx.filter((before.family, before.monitor), eqx.is_array)
    for x, y in zip(
        jax.tree.leaves(unchanged),
        jax.tree.leaves(eqx.filter((after.family, after.monitor), eqx.is_array)),
        strict=True,
    ):
        np.testing.assert_array_equal(x, y)


def test_the_last_layer_alone_is_refined():
    """Property: the loss on the batch falls, and nothing else changes; a batch that is not finite changes nothing."""
    mover, loss = published_mover()
    samples = rings(4, mover.sensors)
    before = eqx.filter_jit(loss)(mover, samples, jax.random.fold_in(KEY, 0))[0]
    broken = eqx.tree_at(lambda s: s.mean, samples, samples.mean * jnp.nan)
    refined, losses = refine_last_layer(
        mover, loss, [samples, broken].__getitem__, key=KEY, rounds=2, steps=15
    )
    assert losses[0] < 0.9 * before
    assert np.isnan(losses[1])
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(refined.potential))
    restored = refined.potential.replace_last_layer(mover.potential.last_layer)
    for x, y in zip(jax.tree.leaves(restored), jax.tree.leaves(mover.potential), strict=True):
        np.testing.assert_array_equal(x, y)


def test_the_published_branch_sees_every_corner():
    """Property."""
    branch = ConvolutionBranch((1, 8, 8), 6, width=8, key=KEY)
    assert branch.features == 6
    look = jax.jit(lambda x: branch.finish(branch.prepare(x)))
    u = jax.random.normal(KEY, (1, 8, 8))
    for corner in ((0, 0), (0, 7), (7, 0), (7, 7)):
        assert np.all(look(u) != look(u.at[0, *corner].add(1)))


def test_a_field_branch_commutes_with_translations():
    """Exact: a density that is shifted by some sensors around a periodic box moves the same mesh, shifted."""
    box = Box((0.0, 0.0), (1.0, 1.0))
    sensors = DensitySensors(Grid(box, (8, 8)))
    network = nn.ConvNet(2, 1, 3, width=4, depth=1, key=KEY)
    potential = SpectralPotential(box, FieldBranch(network, 3, sensors.grid, 7, key=KEY), 7)
    densities = [Ring(5.0, 30.0, 0.2, (c, 0.4), box.lengths) for c in (0.3, 0.3 + 3 / 8)]
    family = describe_family(np.random.default_rng(0).normal(size=(4, *sensors.shape)))
    # The family's mean has a place of its own: without it.
    family = eqx.tree_at(lambda f: f.mean, family, jnp.zeros_like(family.mean))
    mover = DataFreeMover(potential, sensors, family)
    grid = Grid(box, (16, 16))
    propose = eqx.filter_jit(lambda density: mover.propose(None, density, grid).gradient)
    one, other = (propose(density) for density in densities)
    assert jnp.max(abs(one)) > 1e-4
    np.testing.assert_allclose(jnp.roll(one, 6, axis=1), other, atol=1e-12)
    assert mover.resolve(densities[0]) == (
        None,
        densities[0],
    )  # a density is taken, as they look at nothing else


def test_the_order_of_a_cloud_does_not_matter():
    """Property; and exact: a constant is seen as one, and a smooth field nearly as it is on the sensors."""
    sensors = CloudSensors(SENSORS)
    points = jax.random.uniform(KEY, (2, 900))
    values = jnp.sin(3 * points[:1]) * points[1:]
    order = jax.random.permutation(KEY, 900)
    see = jax.jit(lambda points, values: sensors.see(PointCloud(points, values), None))
    one = see(points, values)
    np.testing.assert_allclose(see(points[:, order], values[:, order]), one, atol=1e-13)
    np.testing.assert_allclose(see(points, jnp.ones((1, 900))), 1, atol=1e-13)
    x, y = SENSORS.coordinates
    np.testing.assert_allclose(one[0], jnp.sin(3 * x) * y, atol=0.12)


def test_a_mover_for_clouds():
    """A cloud of any size is taken; its density is that of what the sensors see."""
    sensors = CloudSensors(SENSORS)
    points = jax.random.uniform(KEY, (4, 2, 300))
    clouds = jax.vmap(lambda p: PointCloud(p, jnp.exp(-20 * jnp.sum((p - 0.5) ** 2, axis=0))[None]))(points)
    seen = jax.eval_shape(lambda: make_samples(clouds, sensors, HessianMonitor()).seen)
    assert seen.shape == (4, 1, 8, 8)
    family = describe_family(jax.vmap(lambda cloud: sensors.see(cloud, None))(clouds))
    branch = DenseBranch(sensors.shape, MODES**2, width=8, key=KEY)
    mover = DataFreeMover(SpectralPotential(BOX, branch, MODES), sensors, family)
    more = PointCloud(jnp.concatenate(list(points), axis=1), clouds.values.swapaxes(0, 1).reshape(1, -1))
    same, density = mover.resolve(more)
    assert same is more
    assert np.all(density(GRID.coordinates) > 0)
    proposed = eqx.filter_jit(mover.propose)(more, density, GRID)
    assert proposed.gradient.shape == (2, 17, 17)
    assert np.all(np.isfinite(proposed.value))


def test_a_family_is_calibrated_by_what_it_has_not_seen():
    """Property: random members of a linear family are near, what is not in its span is far."""
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(3, 1, 20))
    seen, unseen, test = (np.tensordot(rng.normal(size=(n, 3)), basis, 1) for n in (80, 40, 40))
    family = describe_family(seen, unseen)
    near = jax.vmap(family.measure_distance)(jnp.asarray(test))
    assert jnp.max(near) < 1.6
    assert jnp.median(near) < 1
    assert family.measure_distance(jnp.asarray(test[0] + 0.3 * rng.normal(size=(1, 20)))) > 5
    assert family.measure_distance(jnp.asarray(6 * test[0])) > family.measure_distance(jnp.asarray(test[0]))
    assert np.isinf(family.measure_distance(jnp.asarray(test[0] * np.nan)))


def _mover(**changes):
    mover = untrained()
    fields = {"potential": mover.potential, "sensors": mover.sensors, "family": mover.family} | changes
    return DataFreeMover(**fields)


PERIODIC = Grid(Box((0.0, 0.0), (1.0, 1.0)), (16, 16))
MISTAKES = {
    "coarser solution": (
        lambda: trained().move(ring(0.2)[:, ::2, ::2], GRID),
        "trained on solutions of shape (1, 32, 32)",
    ),
    "a batch": (lambda: trained().move(ring(0.2)[None], GRID), "for a batch write jax.vmap"),
    "channels": (lambda: trained().move(jnp.concatenate([ring(0.2)] * 2), GRID), "(2, 32, 32)"),
    "a cloud": (
        lambda: trained().move(PointCloud(jnp.zeros((2, 5)), jnp.zeros((1, 5))), GRID),
        "got a PointCloud",
    ),
    "a density": (lambda: trained().move(Uniform(), GRID), "train a mover with DensitySensors"),
    "another box": (lambda: trained().move(ring(0.2), PERIODIC), "Use a grid in that box"),
    "not finite": (lambda: trained().move(ring(0.2).at[0, 3, 4].set(jnp.nan), GRID), "must be finite"),
    "sensors elsewhere": (
        lambda: _mover(sensors=GridSensors(Grid(Box((0.0, 0.0), (1.0, 1.0)), (8, 8)), (32, 32))),
        "The sensors are in",
    ),
    "family of other sensors": (
        lambda: _mover(sensors=GridSensors(Grid(BOX, (16, 16)), (32, 32))),
        "The family was seen by sensors",
    ),
    "features": (
        lambda: SpectralPotential(BOX, DenseBranch((1, 4), 9, key=KEY), 4),
        "needs a branch with 16 features",
    ),
    "even modes": (
        lambda: SpectralPotential(PERIODIC.box, DenseBranch((1, 4), 16, key=KEY), 4),
        "an odd number of at least 3 on a periodic axis",
    ),
    "modes per axis": (
        lambda: SpectralPotential(BOX, DenseBranch((1, 4), 16, key=KEY), (4, 2, 2)),
        "one entry per axis",
    ),
    "more modes than sensors": (
        lambda: FieldBranch(nn.ConvNet(2, 1, 3, width=4, depth=1, key=KEY), 3, SENSORS, 9, key=KEY),
        "more than its 8 sensors",
    ),
    "blocks": (lambda: GridSensors(SENSORS, (30, 32)), "must be a multiple of (8, 8)"),
    "convolutions": (lambda: ConvolutionBranch((1, 6, 8), 4, key=KEY), "divisible by 4"),
    "cloud's shapes": (lambda: PointCloud(jnp.zeros((2, 5)), jnp.zeros((1, 6))), "points (dim, node)"),
    "not a cloud": (lambda: CloudSensors(SENSORS).see(ring(0.2), None), "Write PointCloud(points, values)"),
    "few solutions": (lambda: describe_family(np.zeros((3, 1, 4))), "at least 4"),
    "broken solution": (
        lambda: describe_family(np.where(np.arange(5) == 2, np.nan, 1.0)[:, None, None]),
        "Solution 2 is not finite",
    ),
    "three dimensions": (
        lambda: SpectralPotential(Box((0.0,) * 3, (1.0,) * 3), DenseBranch((1, 4), 27, key=KEY), 3),
        "1 and 2 dimensions",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_explained(name):
    make, message = MISTAKES[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_a_mover_that_looks_at_densities_wants_the_one_of_a_cloud():
    sensors = DensitySensors(SENSORS)
    family = describe_family(np.random.default_rng(0).normal(size=(4, *sensors.shape)))
    mover = DataFreeMover(untrained().potential, sensors, family)
    cloud = PointCloud(jnp.zeros((2, 5)), jnp.zeros((1, 5)))
    with pytest.raises(ValueError, match="or give its density"):
        mover.move(cloud, GRID)
    density = Uniform()
    assert mover.resolve(cloud, density) == (cloud, density)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JitteredLattice(1), r"JitteredLattice.points must be a whole number, 2 or more; got 1"),
        (lambda: ByDensity(120, 0), r"ByDensity.candidates must be a whole number, 1 or more; got 0"),
        (
            lambda: PhysicsLoss(wall_weight=-1.0),
            r"PhysicsLoss.wall_weight must be 0 or more, and finite; got -1",
        ),
        (
            lambda: PhysicsLoss(convexity_weight=np.nan),
            "convexity_weight must be 0 or more, and finite; got nan",
        ),
        (lambda: CloudSensors(GRID, width=0.0), r"CloudSensors.width must be positive and finite; got 0.0"),
        (lambda: certify(GRID, lambda x: x[0]), r"certify measures a mesh; got Grid. .* uniform_mesh"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
