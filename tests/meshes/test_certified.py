"""Propose and certify: whatever the network proposes, the mesh is the classical mover's (exact), a proposal saves
steps, and gradients are the classical ones (gradient)."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.meshes import Certified, MeshError, MongeAmpere, uniform_mesh
from sciml.pdes import FiniteVolume

from ._rings import FINE, GRID, MONITOR, exaggerate, ring, trained

U = ring(0.27)
SHORT = MongeAmpere(max_relaxations=1, max_newtons=2, rounds=1)


def certified(mover=None, fallback=None, accept=0.0):
    """With an array for the number, so that all of them share one program."""
    mover = trained() if mover is None else mover
    return Certified(mover, MongeAmpere() if fallback is None else fallback, jnp.asarray(accept))


@pytest.fixture(scope="module")
def classical():
    return MongeAmpere().move(MONITOR.density(U, FINE), GRID)


def test_a_proposal_is_polished_to_the_classical_mesh(classical):
    """Exact: to the tolerance of both, without a relaxation and with fewer steps than from zero."""
    moved = certified().move(U, GRID)
    found = moved.certificate
    assert found.valid
    assert found.residual <= 1e-10
    np.testing.assert_allclose(moved.mesh.vertices, classical.mesh.vertices, atol=1e-8)
    np.testing.assert_allclose(
        moved.potential - jnp.mean(moved.potential),
        classical.potential - jnp.mean(classical.potential),
        atol=1e-8,
    )
    counts = {name: int(value) for name, value in found.details.items() if value.dtype.kind == "i"}
    assert (counts["accepted"], counts["polished"], counts["fell_back"], counts["relaxations"]) == (
        0,
        1,
        0,
        0,
    )
    assert counts["newtons"] == counts["polishing"] == found.iterations
    assert classical.certificate.details["relaxations"] > 0
    # Started from zero and not from the proposal.
    zero = exaggerate(trained(), 0.0)
    assert counts["newtons"] < certified(zero).move(U, GRID).certificate.details["polishing"]


@pytest.mark.parametrize("factor", [8.0, -3.0])
def test_a_proposal_that_is_no_use_costs_only_time(factor, classical):
    """Exact: folded, or not a number: the classical mover makes the mesh, and says so."""
    moved = certified(exaggerate(trained(), factor)).move(U, GRID)
    assert moved.certificate.valid
    assert moved.certificate.details["fell_back"] == 1
    assert moved.certificate.details["polished"] == 0
    np.testing.assert_allclose(moved.mesh.vertices, classical.mesh.vertices, atol=1e-8)


def test_a_proposal_that_is_not_a_number_is_taken_for_zero(classical):
    """Exact: from where Newton's method may get along without a relaxation."""
    for factor in (np.nan, np.inf):
        moved = certified(exaggerate(trained(), factor)).move(U, GRID)
        assert moved.certificate.valid
        np.testing.assert_allclose(moved.mesh.vertices, classical.mesh.vertices, atol=1e-8)


def test_a_solution_far_from_the_family_is_served_all_the_same():
    u = ring(0.3, shift=0.15)
    moved = certified().move(u, GRID)
    assert moved.certificate.valid
    assert moved.certificate.details["family_distance"] > trained().farthest
    direct = MongeAmpere().move(MONITOR.density(u, FINE), GRID)
    np.testing.assert_allclose(moved.mesh.vertices, direct.mesh.vertices, atol=1e-8)


def test_a_proposal_that_is_good_enough_is_returned_as_it_is():
    proposal = trained().move(U, GRID)
    limit = float(proposal.certificate.variation)
    for accept, accepted in ((1.01 * limit, 1), (0.99 * limit, 0)):
        moved = certified(accept=accept).move(U, GRID)
        assert moved.certificate.valid
        assert moved.certificate.details["accepted"] == accepted
        assert (moved.certificate.iterations == 0) == accepted
        if accepted:
            np.testing.assert_allclose(moved.certificate.residual, proposal.certificate.residual, rtol=1e-9)
        same = bool(jnp.all(moved.mesh.vertices == proposal.mesh.vertices))
        assert same == accepted
    # However much is allowed, a folded one is not, nor one from far outside.
    for mover, u in ((exaggerate(trained(), 8.0), U), (trained(), ring(0.3, shift=0.15))):
        found = certified(mover, accept=1e6).move(u, GRID).certificate
        assert found.valid
        assert found.details["accepted"] == 0


@pytest.mark.slow
def test_no_network_makes_a_tangled_mesh():
    """Property: random weights of all sizes, random solutions, few steps allowed; what is not valid is refused."""
    rng = np.random.default_rng(0)
    last = trained().potential.last_layer
    marks = []
    for _ in range(40):
        size = 10 ** rng.uniform(-2, 1.5)
        layer = eqx.tree_at(lambda x: x.weight, last, last.weight * size * rng.normal(size=last.weight.shape))
        potential = trained().potential.replace_last_layer(layer)
        mover = eqx.tree_at(lambda m: m.potential, trained(), potential)
        u = U + rng.uniform() * rng.normal(size=U.shape)
        moved = certified(mover, SHORT, 0.3).move(u, GRID, throw=False)
        found = moved.certificate
        marks.append(bool(found.valid))
        assert sum(int(found.details[name]) for name in ("accepted", "polished", "fell_back")) == 1
        assert jnp.min(moved.mesh.corner_jacobians) > 0
        if not marks[-1]:
            with pytest.raises(MeshError, match=r"Certified: "):
                certified(mover, SHORT, 0.3).move(u, GRID)
    assert any(marks)
    assert not all(marks)


@pytest.mark.slow
def test_where_nothing_helps_what_is_returned_is_marked_and_not_tangled():
    """A density that no mesh of this size carries, with few steps allowed; and one that is not a number."""

    def density(x, height):
        return 1 + height * jnp.exp(-jnp.sum((x - 0.47) ** 2, axis=0) / 3e-3)

    mover = exaggerate(trained(), 8.0)
    for height in (1e6, jnp.nan):
        given = functools.partial(density, height=jnp.asarray(height))
        moved = certified(mover, SHORT).move_for(U, given, GRID, throw=False)
        assert not moved.certificate.valid
        assert moved.certificate.tangled == 0
        assert np.all(np.isfinite(moved.mesh.vertices))
        if moved.certificate.details["gave_up"]:
            np.testing.assert_array_equal(moved.mesh.vertices, uniform_mesh(GRID).vertices)
        with pytest.raises((MeshError, ValueError), match=r"Certified: |density"):
            certified(mover, SHORT).move_for(U, given, GRID)


@pytest.mark.slow
def test_a_batch_by_vmap_is_one_after_another():
    """Exact: one of the batch falls back, the others do not notice."""
    batch = jnp.stack([U, ring(0.3, shift=0.15), ring(0.22)])
    factors = jnp.array([1.0, 8.0, 1.0])
    params, static = eqx.partition(certified(), eqx.is_array)

    @jax.jit
    @jax.vmap
    def together(u, factor):
        changed = exaggerate(eqx.combine(params, static).mover, factor)
        return certified(changed).move(u, GRID, throw=False)

    moved = together(batch, factors)
    assert list(moved.certificate.details["fell_back"]) == [0, 1, 0]
    assert np.all(moved.certificate.valid)
    for index, u in enumerate(batch):
        alone = certified(exaggerate(trained(), float(factors[index]))).move(u, GRID)
        np.testing.assert_allclose(moved.mesh.vertices[index], alone.mesh.vertices, atol=1e-8)
        assert moved.certificate.iterations[index] == alone.certificate.iterations


@pytest.mark.slow
def test_the_gradient_with_respect_to_the_solution_is_that_of_finite_differences():
    """Gradient: through the polished mesh, by the implicit function theorem."""

    @jax.jit
    @jax.value_and_grad
    def functional(size):
        vertices = certified().move(U + size * ring(0.24), GRID, throw=False).mesh.vertices
        return jnp.sum(jnp.sin(5 * vertices[0]) * vertices[1])

    step = 1e-5
    numeric = (functional(step)[0] - functional(-step)[0]) / (2 * step)
    np.testing.assert_allclose(functional(0.0)[1], numeric, rtol=1e-5)


def test_bad_parts_are_refused():
    with pytest.raises(ValueError, match="Certified takes a DataFreeMover first; got MongeAmpere"):
        Certified(MongeAmpere())
    with pytest.raises(ValueError, match="falls back on MongeAmpere"):
        Certified(trained(), trained())
    with pytest.raises(ValueError, match=r"accept must be a variation .* got -1"):
        Certified(trained(), accept=-1.0)
    with pytest.raises(ValueError, match="give both the same"):
        Certified(trained(), MongeAmpere(discretize=FiniteVolume))
    with pytest.raises(ValueError, match="trained on solutions of shape"):
        Certified(trained()).move(U[:, :16], GRID)
