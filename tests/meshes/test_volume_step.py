"""Finite volumes from mesh to mesh, alone and under a network that corrects them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.data import evolve
from sciml.meshes import MeshFiniteVolume, MovingStep, StructuredMesh, VolumeStep, uniform_mesh
from sciml.pdes import AdvectionDiffusion, Box, Burgers, FiniteVolume, Grid, Heat

GRID = Grid(Box((0.0, 0.0), (1.0, 1.0)), (16, 16))
TURN = 2 * jnp.pi
SMOOTH = (1.3 + jnp.sin(TURN * GRID.coordinates[0]) * jnp.cos(TURN * GRID.coordinates[1]))[None]


def bend(amount, grid=GRID):
    """A mesh that has moved smoothly."""
    rest = uniform_mesh(grid)
    x, y = TURN * rest.vertices
    return StructuredMesh(
        grid, rest.vertices + amount * jnp.stack([jnp.sin(x) * jnp.cos(y), jnp.sin(y + 1.0)])
    )


OLD, NEW = bend(0.01), bend(-0.02)


def total(u, mesh):
    return float(jnp.sum(u * MeshFiniteVolume(mesh).volumes))


@pytest.mark.parametrize("stages", [3, 6])
def test_a_constant_stays_and_mass_is_kept(stages):
    """Exact: to rounding, however the mesh moves, and however many stages a small step has."""
    step = eqx.filter_jit(VolumeStep(Burgers(2e-3), 0.02, 3, stages))
    np.testing.assert_allclose(step(jnp.full((1, 16, 16), 0.7), OLD, NEW), 0.7, atol=1e-13)
    after = step(SMOOTH, OLD, NEW)
    assert total(after, NEW) == pytest.approx(total(SMOOTH, OLD), abs=1e-13)
    assert float(jnp.max(abs(after - SMOOTH))) > 0.01


def test_on_a_regular_grid_it_solves_what_finite_volumes_solve():
    """Against `evolve` on `FiniteVolume` at a small tolerance: the error falls with the square of the small step."""
    law, rest = Burgers(5e-3), uniform_mesh(GRID)
    truth = evolve(law, FiniteVolume(GRID), SMOOTH, jnp.array([0.0, 0.05]))[0][-1]
    errors = []
    for substeps in (4, 8, 32):
        found = eqx.filter_jit(VolumeStep(law, 0.05, substeps))(SMOOTH, rest, rest)
        errors.append(float(jnp.max(abs(found - truth))))
    assert errors[0] < 0.02
    # The limiter has kinks: between first order and second.
    assert errors[0] / errors[1] > 3
    assert errors[2] < errors[0] / 30


def test_a_wave_is_carried_whatever_the_mesh_does():
    """Against the exact solution, on a mesh that moves and on one that stays."""
    grid = Grid(GRID.box, (48, 48))
    law, old, new = AdvectionDiffusion((0.5, 0.25), 1e-3), bend(0.01, grid), bend(-0.02, grid)

    def wave(mesh, time):
        x, y = mesh.coordinates - time * jnp.array([0.5, 0.25])[:, None, None]
        return (jnp.sin(TURN * x) * jnp.sin(TURN * y) * jnp.exp(-2 * TURN**2 * 1e-3 * time))[None]

    step = eqx.filter_jit(VolumeStep(law, 0.1, 8))
    stayed, moved = (jnp.max(abs(step(wave(a, 0), a, b) - wave(b, 0.1))) for a, b in ((old, old), (old, new)))
    assert float(stayed) < 0.02
    assert float(moved) < 0.02
    assert float(jnp.max(abs(wave(new, 0.1) - wave(new, 0.0)))) > 0.2


@pytest.mark.parametrize("stages", [3, 5, 9])
def test_diffusion_is_stable_as_far_as_is_said(stages):
    """Property: a checkerboard shrinks with a small step at the limit, and grows with one a tenth beyond it."""
    rest = uniform_mesh(GRID)
    rough = jnp.asarray((-1.0) ** np.add.outer(np.arange(16), np.arange(16)))[None]
    limit = (stages**2 + stages - 2) / 16 / 16**2
    for longer, grows in ((0.999, False), (1.1 if stages > 3 else 1.4, True)):
        # With an even number of stages a step this long also turns signs; an odd one does not.
        found = eqx.filter_jit(VolumeStep(Heat(1.0), 8 * longer * limit, 8, stages))(rough, rest, rest)
        assert (float(jnp.max(abs(found))) > 1) == grows


def test_the_precision_is_that_of_the_values():
    """Exact: values in single precision stay so on meshes in double precision."""
    u = SMOOTH.astype(jnp.float32)
    assert OLD.vertices.dtype == jnp.float64
    found = eqx.filter_jit(VolumeStep(Burgers(2e-3), 0.02, 2))(u, OLD, NEW)
    assert found.dtype == jnp.float32


@pytest.mark.slow
def test_gradients_go_through():
    """Against central differences, through values and through both meshes."""
    step = VolumeStep(Burgers(2e-3), 0.02, 2)

    @jax.jit
    def loss(s):
        old, new = (
            StructuredMesh(GRID, m.vertices * (1 + s * 1e-2 * k)) for m, k in ((OLD, 1.0), (NEW, -1.0))
        )
        return jnp.sum(step(SMOOTH * (1 + 0.3 * s), old, new) ** 3)

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(0.0), slope, rtol=1e-4)


def test_a_network_corrects_the_step_and_does_not_train_it():
    """Exact: a network that says 0 leaves the step as it is; its law gets no gradient, the network does."""
    one, prior = jnp.ones(1), VolumeStep(Burgers(jnp.asarray(2e-3)), 0.02, 2)
    network = eqx.nn.Conv2d(9, 1, 1, key=jax.random.key(0))
    silent = eqx.tree_at(lambda c: (c.weight, c.bias), network, (0 * network.weight, 0 * network.bias))
    corrected = MovingStep(silent, one, 0.1 * one, 0 * one, prior)

    @eqx.filter_jit
    def both(model):
        gradients = eqx.filter_grad(lambda m: jnp.sum(m(SMOOTH, OLD, NEW) ** 2))(model)
        return model(SMOOTH, OLD, NEW), prior(SMOOTH, OLD, NEW), gradients

    found, alone, gradients = both(corrected)
    np.testing.assert_array_equal(found, alone)
    assert float(gradients.prior.law.viscosity) == 0
    assert float(jnp.max(abs(gradients.network.weight))) > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: VolumeStep(Burgers(0.1), -1.0), "duration must be positive and finite; got -1.0"),
        (lambda: VolumeStep(Burgers(0.1), 1.0, 0), "substeps is a whole number, 1 or more; got 0"),
        (lambda: VolumeStep(Burgers(0.1), 1.0, True), "substeps is a whole number, 1 or more; got True"),
        (lambda: VolumeStep(Burgers(0.1), 1.0, 2, 2), "stages is a whole number, 3 or more; got 2"),
        (
            lambda: VolumeStep(Burgers(0.1), 1.0)(SMOOTH, OLD, uniform_mesh(Grid(GRID.box, (8, 8)))),
            r"of the same grid; got \(16, 16\) points .* and \(8, 8\) points",
        ),
        (
            lambda: VolumeStep(Burgers(0.1), 1.0)(
                SMOOTH, OLD, uniform_mesh(Grid(Box((0, 0), (3, 3)), (16, 16)))
            ),
            r"of the same grid; got .* and \(16, 16\) points from \(0.0, 0.0\) to \(3.0, 3.0\)",
        ),
        (lambda: VolumeStep(Burgers(0.1), 1.0)(SMOOTH[:, :5], OLD, NEW), r"\(channel, 16, 16\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
