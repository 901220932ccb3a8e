"""Boxes that do not divide a grid: every point in one box and counted once (exact), and the solve it makes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.constraints import (
    Coupled,
    Experts,
    HardConstraint,
    NonDimensional,
    OwnRows,
    UniformPoints,
    WeightedStart,
)
from sciml.constraints.partitions import Partition, find_interfaces, make_partition

from .problems import BURGERS, fixed, make_network, make_start, periodic

PARTITIONS = [
    Partition((1, 5), (3, 24)),
    Partition((2, 3), (7, 10)),
    Partition((2, 2), (6, 8)),
    Partition((2, 3, 2), (5, 7, 4)),
]


@pytest.mark.parametrize(
    "partition", PARTITIONS, ids=lambda partition: f"{partition.counts}-{partition.shape}"
)
def test_every_point_is_in_one_box(partition):
    points = int(np.prod(partition.shape))
    values = np.arange(2 * points).reshape(points, 2)
    split = np.asarray(partition.split(values))
    assert split.shape == (partition.boxes, int(np.prod(partition.sizes)), 2)
    assert np.array_equal(partition.join(split), values)
    assert sorted(split[partition.owned][:, 0].tolist()) == values[:, 0].tolist()
    places = np.indices(partition.shape).reshape(len(partition.shape), -1).T
    owner = partition.find_owner(places)
    boxes = np.repeat(np.arange(partition.boxes), split.shape[1]).reshape(split.shape[:2])
    assert np.array_equal(owner[split[partition.owned][:, 0] // 2], boxes[partition.owned])
    counts = partition.owned.sum(axis=1)
    assert counts.max() <= np.prod(partition.sizes)
    assert counts.min() >= np.prod([n // k for n, k in zip(partition.shape, partition.counts, strict=True)])


def test_interfaces_lie_between_the_boxes():
    """Rows of values on a periodic line of 10 points in 3 boxes are between points 2 and 3, 5 and 6, 9 and 0."""
    domain = periodic(10, 7)
    partition = make_partition((2, 3), domain)
    assert partition.edges(1).tolist() == [0, 3, 6, 10]
    t, x = np.meshgrid(*domain.axes, indexing="ij")
    values = jnp.asarray(np.stack([np.cos(2 * np.pi * x) + t, t], -1)).reshape(-1, 1, 2)
    faces = {(face.axis, face.order): face for face in find_interfaces(partition, domain, values)}
    across = np.asarray(faces[1, 0].matrix)  # (pair, row, basis): three cuts, each of two boxes of time
    cuts = np.repeat((partition.edges(1)[1:] - 0.5) / 10, 2)
    owned = np.arange(4)[None] < np.tile([3, 4], 3)[:, None]  # times of the first box are 3, of the second 4
    times = np.asarray(domain.times)
    for row, cut, mask, own in zip(across, cuts, owned, np.tile([0, 1], 3), strict=True):
        there = times[[0, 1, 2]] if own == 0 else times[[3, 4, 5, 6]]
        assert np.allclose(row[mask][:, 1], there)
        assert np.allclose(row[mask][:, 0] - there, np.cos(2 * np.pi * cut), atol=0.02)
        assert np.all(row[~mask] == 0)


@pytest.mark.slow
@pytest.mark.parametrize("coupling", [OwnRows(), Coupled()], ids=["own", "coupled"])
def test_an_uneven_solve_is_optimal(coupling):
    """For the rows as they are without boxes, where every point counts once, in the box that owns it.

    Coupled boxes have the rows where they meet as well; without these they are no optimum, which is checked, too.
    """
    domain = periodic(13, 9)
    network = fixed(jax.random.normal(jax.random.key(0), (3, *domain.shape)))
    constraint = HardConstraint(network, BURGERS, domain, start=WeightedStart())
    layer, start = Experts(constraint, (2, 3), coupling), make_start(domain)
    partition = make_partition((2, 3), domain)
    owner = partition.find_owner(np.indices(domain.shape).reshape(2, -1).T)

    @eqx.filter_jit
    def both(start):
        field = layer(start, throw=False)
        system, scales = constraint.make_system(start)

        def rows(weights):
            terms = system.offset + jnp.einsum("ptn,pn->pt", system.tables, weights[owner])
            of_start = jnp.einsum("rn,rn->r", system.start.matrix, weights[owner[:13]]) + system.start.offset
            law = jax.vmap(constraint.residual_of())(terms)
            return jnp.concatenate([law.ravel(), scales.start * of_start, 1e-6 * weights.ravel()])

        def jumps(weights):
            found = []
            for face in find_interfaces(partition, domain, system.tables[:, :1]):
                jump = jnp.einsum("irn,in->ir", face.matrix, weights[face.first] - weights[face.second])
                # Averaged over the rows, and slopes made values by the width of a box.
                length = domain.box.lengths[0] / 3 if face.order else 1.0
                found.append(length * scales.jumps * jump.ravel() / jump.size**0.5)
            return jnp.concatenate(found)

        def objective(weights, coupled):
            return 0.5 * (jnp.sum(rows(weights) ** 2) + coupled * jnp.sum(jumps(weights) ** 2))

        slopes = [jnp.max(jnp.abs(jax.grad(objective)(field.weights, coupled))) for coupled in (0.0, 1.0)]
        return field, objective(field.weights, float(isinstance(coupling, Coupled))), slopes

    field, objective, slopes = both(start)
    assert field.certificate.converged
    assert objective == pytest.approx(float(field.certificate.objective), rel=1e-6)
    own, other = slopes if isinstance(coupling, OwnRows) else slopes[::-1]
    assert own < 1e-5 < 1e-3 < other


@pytest.mark.slow
def test_uneven_boxes_are_sampled_and_coupled():
    domain = periodic()
    constraint = HardConstraint(
        make_network(domain), BURGERS, domain, scaling=NonDimensional(jumps=1e3, slopes=1e3)
    )
    start = make_start(domain)
    answer = eqx.filter_jit(lambda layer, key: layer(start, key=key, throw=False).certificate)
    jumps = [
        float(answer(Experts(constraint, (1, 5), coupling), None).value_jump)
        for coupling in (OwnRows(), Coupled())
    ]
    assert jumps[1] < 0.1 * jumps[0]
    sampled = eqx.tree_at(lambda c: c.sampling, constraint, UniformPoints(30))
    certificate = answer(Experts(sampled, (1, 5), OwnRows()), jax.random.key(0))
    assert certificate.converged
    assert certificate.held_out_rms > 0
