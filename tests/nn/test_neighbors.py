"""Nearest neighbors against sorting all distances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.nn import measure_displacements, nearest_neighbors, nearest_points


def _distances(points, periods):
    """All distances by hand; in a box the shortest over the neighboring images."""
    offsets = points[:, None] - points[None]
    squares = 0
    for axis, period in enumerate(periods):
        images = [0.0] if period is None else [-period, 0.0, period]
        squares = squares + np.min([(offsets[..., axis] + shift) ** 2 for shift in images], axis=0)
    return np.sqrt(squares)


@pytest.mark.parametrize("periods", [None, (1.0, None), (1.0, 2.0)])
@pytest.mark.parametrize("chunk", [1, 7, 256])
def test_equals_sorting_all_distances(key, periods, chunk):
    """Exact: no ties among random points, so the indices agree; chunks that do not divide the points included."""
    points = jax.random.uniform(key, (40, 2)) * jnp.array([1.0, 2.0])
    distances = _distances(np.asarray(points), periods or (None, None))
    expected = np.argsort(distances + np.diag([np.inf] * 40), axis=1)[:, :6]
    found = jax.jit(lambda p: nearest_neighbors(p, 6, periods=periods, chunk=chunk))(points)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("periods", [None, (1.0, 2.0)])
def test_displacements_have_the_length_of_the_distances(key, periods):
    """Exact: in both forms of a graph."""
    points = jax.random.uniform(key, (20, 2)) * jnp.array([1.0, 2.0])
    distances = _distances(np.asarray(points), periods or (None, None))
    senders = nearest_neighbors(points, 5, periods=periods)
    dense = measure_displacements(points, senders, periods=periods)
    np.testing.assert_allclose(
        jnp.linalg.norm(dense, axis=-1), np.take_along_axis(distances, np.asarray(senders), 1), atol=1e-14
    )
    receivers = jnp.repeat(jnp.arange(20), 5)
    flat = measure_displacements(points, senders.reshape(-1), receivers, periods=periods)
    np.testing.assert_array_equal(flat, dense.reshape(-1, 2))


def test_coinciding_points_are_neighbors_but_a_point_is_not_its_own():
    """Property: distance zero is no reason to leave a point out, being the same index is."""
    found = nearest_neighbors(jnp.zeros((4, 2)), 3)
    for index, row in enumerate(found):
        assert set(row.tolist()) == set(range(4)) - {index}


def test_under_vmap_and_grad(key):
    """Property: batches of points give batches of graphs; indices are constant, displacements are not."""
    batch = jax.random.uniform(key, (3, 10, 2))
    found = jax.vmap(lambda p: nearest_neighbors(p, 4))(batch)
    for points, rows in zip(batch, found, strict=True):
        np.testing.assert_array_equal(nearest_neighbors(points, 4), rows)

    def stretch(points):
        return jnp.sum(measure_displacements(points, nearest_neighbors(points, 4)) ** 2)

    gradient = jax.jit(jax.grad(stretch))(batch[0])
    assert jnp.all(jnp.isfinite(gradient))
    assert jnp.max(jnp.abs(gradient)) > 0.1


def test_a_chunk_bounds_the_memory():
    """Property: distances of `chunk` points at a time, not of all."""

    def temporaries(chunk):
        find = jax.jit(lambda p: nearest_neighbors(p, 3, chunk=chunk))
        return find.lower(jnp.zeros((2000, 2))).compile().memory_analysis()

    if temporaries(10) is None:
        pytest.skip("this backend reports no memory")
    assert temporaries(10).temp_size_in_bytes < 0.1 * temporaries(2000).temp_size_in_bytes


@pytest.mark.parametrize("periods", [None, (1.0, 2.0)])
def test_points_of_another_set(key, periods):
    """Exact: as among the nodes of both sets together."""
    points = jax.random.uniform(key, (30, 2)) * jnp.array([1.0, 2.0])
    queries, others = points[:8], points[8:]
    expected = np.argsort(_distances(np.asarray(points), periods or (None, None))[:8, 8:], axis=1)[:, :5]
    found = jax.jit(lambda q, p: nearest_points(q, p, 5, periods=periods, chunk=3))(queries, others)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="k=23 for 22 points"):
        nearest_points(queries, others, 23)
    with pytest.raises(ValueError, match="queries in 1 dimensions"):
        nearest_points(queries[:, :1], others, 2)
