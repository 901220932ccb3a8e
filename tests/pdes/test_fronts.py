"""Nagumo's equation and spots: against what is known of fronts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.data import evolve
from sciml.pdes import Box, Grid, Nagumo, Spectral, Spots


def test_front_keeps_its_profile_and_has_its_speed():
    """A plane front `1 / (1 + exp((x - c t) / l))` advances at `sqrt(D r / 2) (1 - 2 a)`."""
    diffusivity, reaction, threshold = 1e-3, 20.0, 0.3
    length = (2 * diffusivity / reaction) ** 0.5
    speed = (diffusivity * reaction / 2) ** 0.5 * (1 - 2 * threshold)
    grid = Grid(Box(0.0, 2.0), 256)
    x = grid.coordinates[0]

    def pair(t):
        return jax.nn.sigmoid((x - 0.5 + speed * t) / length) - jax.nn.sigmoid((x - 1.5 - speed * t) / length)

    law = Nagumo(diffusivity, reaction, threshold)
    times = jnp.array([0.0, 2.0])
    found = evolve(law, Spectral(grid, dealias=0.5), pair(0.0)[None], times)[0]
    assert abs(speed * 2.0) > 0.05
    np.testing.assert_allclose(found[-1, 0], pair(2.0), atol=6e-3)


def test_spots_are_the_same_on_every_grid():
    box = Box((0.0, 0.0), (1.0, 1.0))
    spots = Spots(count=(2, 3), low=(1.0, 0.0), high=(0.5, 0.25))
    coarse, fine = (spots(Grid(box, (n, n)), key=jax.random.key(3)) for n in (16, 32))
    assert coarse.shape == (2, 16, 16)
    np.testing.assert_allclose(coarse, fine[:, ::2, ::2], atol=1e-5)
    assert float(jnp.max(coarse[0])) <= 1.0
    assert float(jnp.min(coarse[0])) >= 0.5
    assert float(jnp.max(coarse[1])) > 0.2


def test_ring_is_highest_on_its_circle():
    grid = Grid(Box((0.0, 0.0), (1.0, 1.0)), (64, 64))
    ring = Spots(count=(1, 1), radii=(0.2, 0.2), edge=0.02, shape="ring")(grid, key=jax.random.key(0))[0]
    highest = ring > 0.9
    area = float(jnp.mean(highest))
    # Where exp(-s^2 / 2) > 0.9, |s| < 0.459: a band of width 0.0184 along 2 pi 0.2.
    assert area == pytest.approx(2 * 0.459 * 0.02 * 2 * np.pi * 0.2, rel=0.15)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": (2, 1)}, "count is a range"),
        ({"radii": (0.3, 0.1)}, "radii is a range"),
        ({"edge": 0.0}, "edge is a length"),
        ({"low": (0.0, 1.0)}, "one value for each channel"),
        ({"shape": "square"}, "'disc' or 'ring'"),
    ],
)
def test_spots_refuse(settings, message):
    with pytest.raises(ValueError, match=message):
        Spots(**settings)


def test_nagumo_refuses_a_negative_rate():
    with pytest.raises(ValueError, match="reaction"):
        Nagumo(1.0, -1.0)
