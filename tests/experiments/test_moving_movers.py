"""Neural movers in the published form: what is trained, and movers that do not fit (property; bad input)."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml import nn, training
from sciml.experiments.base import find_experiment
from sciml.experiments.moving_movers import DrivenSolver, load_mover
from sciml.experiments.runs import read_table, write_config


def smoke(**settings):
    return dataclasses.replace(find_experiment("burgers2d-mmpde").sized("smoke"), **settings)


def test_frozen_only_the_solver_is_trained_and_jointly_the_potential_too():
    """Property: of the mover's leaves none, or those of its network; never what it knows of its family."""
    seen = jnp.asarray(np.random.default_rng(0).normal(size=(4, 1, 12, 12)))
    mover = find_experiment("burgers2d-mover").sized("smoke").build(seen, seen)
    model = DrivenSolver(smoke(method="published")._build(np.ones((1, 2, 1, 16, 16))), mover)
    frozen, joint = model.trainable(False), model.trainable(True)
    assert not any(jax.tree.leaves(frozen.mover))
    assert any(jax.tree.leaves(frozen.solver))
    assert any(jax.tree.leaves(joint.mover.potential))
    assert not any(jax.tree.leaves((joint.mover.family, joint.mover.monitor)))


@pytest.mark.slow
@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("kind", ["neural", "joint"])
def test_the_weights_of_a_mover_change_only_where_it_is_trained_along(tmp_path, kind):
    experiment = smoke(method="published", mover=kind)
    folder = tmp_path / "run"
    folder.mkdir()
    write_config(folder, experiment, "smoke")
    experiment.train(folder, progress=False)
    experiment.evaluate(folder, progress=False)
    numbers = {row["metric"]: float(row["value"]) for row in read_table(folder / "metrics.csv")}
    assert numbers["invalid_meshes"] == 0
    parts = experiment._load(folder, None, False)
    like = experiment._build_mover(folder, parts)
    before = training.load_model(folder / "mover" / "best.eqx", like)
    model = DrivenSolver(experiment._build(np.ones((1, 2, 1, 16, 16))), like)
    after = training.load_model(folder / "best.eqx", model).mover
    same = [bool(jnp.all(a == b)) for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True)]
    assert all(same) == (kind == "neural")
    assert nn.count_parameters(eqx.filter(after.potential, eqx.is_array)) > 0


def write_mover(folder, name="burgers2d-mover", **settings):
    experiment = dataclasses.replace(find_experiment(name).sized("smoke"), **settings)
    folder.mkdir()
    write_config(folder, experiment, "smoke")
    return folder


MISFITS = {
    "of another law": ({"name": "ring-mover"}, "holds a mover of ring-mover, trained on another law"),
    "of another viscosity": (
        {"viscosity": 0.5, "cells": 16},
        "trained on another law: viscosity is 0.5 there, and 0.002",
    ),
    "of another grid": (
        {"viscosity": 2e-3, "cells": 12},
        "trained on another grid: nodes is 12 there, and 16",
    ),
    "not trained": ({"viscosity": 2e-3, "cells": 16}, "holds no trained mover yet"),
}


@pytest.mark.parametrize("name", list(MISFITS))
def test_a_mover_that_does_not_fit_is_refused(tmp_path, name):
    settings, message = MISFITS[name]
    with pytest.raises(ValueError) as caught:
        load_mover(write_mover(tmp_path / "run", **settings), smoke())
    assert message in str(caught.value)


def test_a_mover_for_a_method_without_one_is_refused():
    with pytest.raises(ValueError, match=r"mover=neural is for method=published.*got method=moving"):
        smoke(mover="neural")
    with pytest.raises(ValueError, match=r"mover_run=runs/x names a neural mover, but mover is classical"):
        smoke(method="published", mover_run="runs/x")
