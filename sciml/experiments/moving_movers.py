"""Neural movers for the published form: a data-free mover, frozen or trained along, in the place of a classical one.

A mover is trained on the Monge-Ampere equation for the solutions that the solver is trained on, or read from a run of
`burgers2d-mover`. Frozen, it only moves nodes. Trained jointly, the solver's loss reaches it through the positions of
the nodes, and its own equation is added to that loss, without which meshes may fold.
"""

import pathlib
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .. import training
from ..meshes import (
    DataFreeMover,
    DensitySensors,
    Follower,
    JitteredLattice,
    MovingMeshSolver,
    PhysicsLoss,
    Samples,
    StructuredMesh,
    average_density,
    make_samples,
)
from ..meshes.structured import reference_vertices
from ..pdes import Grid
from .mover_methods import MoverNetwork, MoverTraining
from .moving_losses import Window, average, compare, disturb, hand_on
from .moving_steps import list_nodes
from .runs import read_config

MoverKind = Literal["classical", "neural", "joint"]
_OWN = 0.1  # of the mover's own loss, beside the solver's
_SOLUTIONS = 200  # that a mover is trained on, at most


class DrivenSolver(eqx.Module):
    """The two branches of the published form, and the network that moves the nodes of one of them.

    **Arguments:**

    - `solver`: the branches.
    - `mover`: moves the nodes.
    """

    solver: MovingMeshSolver
    mover: DataFreeMover

    def trainable(self, joint: bool) -> PyTree:
        """Which leaves to train, as `sciml.training.fit` takes it.

        **Arguments:**

        - `joint`: whether those of the mover are among them.

        **Returns:** the model with booleans for leaves.
        """
        mover = self.mover.trainable() if joint else jax.tree.map(lambda _: False, self.mover)
        return DrivenSolver(jax.tree.map(eqx.is_inexact_array, self.solver), mover)


class DrivenLoss(eqx.Module):
    """Of the published form whose nodes a network moves to what the solver sees; see `BranchLoss`.

    **Arguments:**

    - `follower`: looks at solutions; its mover is not used.
    - `noise`: over the size of the solution.
    - `unroll`: how many steps; 0 for the round trip.
    - `size`, `change`: those of the solution and of its change, `(channel,)`.
    - `joint`: whether the mover is trained along.
    - `pushforward`: whether gradients stop between steps.
    """

    follower: Follower
    noise: float
    unroll: int = eqx.field(static=True)
    size: Float[Array, " channel"]
    change: Float[Array, " channel"]
    joint: bool = eqx.field(static=True)
    pushforward: bool = eqx.field(static=True, default=False)

    def __call__(self, model, batch, *, key):
        """The mean over windows; see `measure` for one of the `(window, time, ...)`."""
        return average(self, model, batch, key)

    def measure(self, model: DrivenSolver, window: Window, key: PRNGKeyArray) -> Float[Array, ""]:
        """The loss of one window.

        **Arguments:**

        - `model`: the solver and its mover.
        - `window`: arrays of `sample_fixed`, `(time, ...)`.
        - `key`: of the noise.

        **Returns:** a scalar.
        """
        grid, shape = self.follower.grid, window["u"].shape[1:]
        nodes, solver = list_nodes(grid), model.solver
        noise, own = jax.random.split(key)
        u = disturb(self.noise, window["u"][0], self.size, noise)

        def place(u):
            seen = self.follower.look(jax.lax.stop_gradient(u), grid)
            density = self.follower.monitor.density(seen, self.follower.seen)
            vertices = reference_vertices(grid) + model.mover.propose(None, density, grid).gradient
            return list_nodes(StructuredMesh(grid, vertices)).astype(u.dtype), density

        if self.unroll == 0:
            found = solver.round_trip(u.reshape(shape[0], -1), nodes, place(u)[0])
            return compare(found.reshape(shape), window["u"][0], self.change)
        losses, first = [], None
        for k in range(self.unroll):
            moved, density = place(u)
            first = density if first is None else first
            u = solver(u.reshape(shape[0], -1), nodes, moved).reshape(shape)
            losses.append(compare(u, window["u"][k + 1], self.change))
            u = hand_on(u, self.pushforward)
        total = sum(losses) / len(losses)
        return total + _OWN * self._equation(model.mover, first, own) if self.joint else total

    def _equation(self, mover, density, key):
        mean = average_density(density, mover.potential.extent)
        samples = Samples(mover.sensors.see(None, density), density, mean)
        samples = jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, samples)
        loss = PhysicsLoss(JitteredLattice(self.follower.grid.shape[0]))
        return loss(mover, samples, key)[0]


def make_mover_samples(
    follower: Follower, parts: dict[str, Float[np.ndarray, "trajectory time channel *space"]]
) -> tuple[Samples, Samples]:
    """What a mover is trained on, and what it is chosen by.

    **Arguments:**

    - `follower`: looks at solutions, and its monitor makes densities of them.
    - `parts`: `train` and `validation` on the follower's grid, `(trajectory, time, channel, *space)`.

    **Returns:** both.
    """
    look = eqx.filter_jit(lambda u: jax.lax.map(lambda x: follower.look(x, follower.grid), u))
    found = []
    for name in ("train", "validation"):
        u = parts[name].reshape(-1, *parts[name].shape[2:])
        u = look(jnp.asarray(u[:: max(1, len(u) // _SOLUTIONS)]))
        found.append(make_samples(u, _make_sensors(follower.grid), follower.monitor))
    return tuple(found)


def build_mover(follower: Follower, samples: tuple[Samples, Samples], *, seed: int) -> DataFreeMover:
    """A mover with its initial weights.

    **Arguments:**

    - `follower`: whose grid it is for.
    - `samples`: of `make_mover_samples`, to describe what it knows.
    - `seed`: of the weights.

    **Returns:** the mover.
    """
    nodes = min(follower.grid.shape)
    network = MoverNetwork(modes=min(31, nodes - 1 + nodes % 2), width=96 if nodes >= 24 else 24, depth=4)
    seen, held = (part.seen for part in samples)
    sensors = _make_sensors(follower.grid)
    return network.build(sensors, follower.monitor, seen, held, equivariant=True, seed=seed)


def train_mover(
    follower: Follower,
    samples: tuple[Samples, Samples],
    *,
    seed: int,
    steps: int,
    folder: pathlib.Path,
    resume: bool,
    progress: bool,
) -> DataFreeMover:
    """Train a mover on solutions, by the Monge-Ampere equation.

    **Arguments:**

    - `follower`: whose grid it is for.
    - `samples`: of `make_mover_samples`.
    - `seed`: of weights and batches.
    - `steps`: of Adam.
    - `folder`, `resume`, `progress`: as for `sciml.training.fit`.

    **Returns:** the best by validation.
    """
    known, held = samples
    settings = MoverTraining(steps=steps, batch_size=min(8, len(known.seen)), lattice=follower.grid.shape[0])
    mover, loss = build_mover(follower, samples, seed=seed), settings.loss()
    measure = eqx.filter_jit(lambda mover: loss(mover, held, jax.random.key(0))[0])
    result = training.fit(
        mover,
        loss,
        training.Batches(known, settings.batch_size, seed=seed),
        optimizer=settings.optimizer(),
        steps=steps,
        key=jax.random.key(seed + 1),
        validate=measure,
        validate_every=max(1, steps // 10),
        clip=settings.clip,
        trainable=mover.trainable(),
        folder=folder,
        resume=resume,
        progress=progress,
    )
    return result.best


def load_mover(run: pathlib.Path, experiment) -> DataFreeMover:
    """Read the mover of a run of `burgers2d-mover`.

    **Arguments:**

    - `run`: the run.
    - `experiment`: whose meshes it is to move.

    **Returns:** the mover.

    **Raises:** `ValueError` for a mover that was trained on another law or for another grid, or no run.
    """
    other, _ = read_config(run)
    wanted = {name: getattr(experiment, name, None) for name in ("viscosity", "nodes")}
    found = {"viscosity": getattr(other, "viscosity", None), "nodes": getattr(other, "cells", None)}
    cure = "Leave mover_run out, and a mover is trained on the solver's own solutions"
    if experiment.name == "burgers2d-mmpde":
        cure += (
            f"; or train one by: sciml train burgers2d-mover --viscosity {wanted['viscosity']} --cells "
            f"{wanted['nodes']}"
        )
    if other.name != "burgers2d-mover" or experiment.name != "burgers2d-mmpde":
        raise ValueError(
            f"{run} holds a mover of {other.name}, trained on another law than {experiment.name} solves: only movers "
            f"of burgers2d-mover fit burgers2d-mmpde. {cure}"
        )
    for name, what in (("viscosity", "law"), ("nodes", "grid")):
        if found[name] != wanted[name]:
            raise ValueError(
                f"{run} holds a mover trained on another {what}: {name} is {found[name]} there, and {wanted[name]} in "
                f"{experiment.name}. {cure}"
            )
    file = pathlib.Path(run) / "best.eqx"
    if not file.is_file():
        raise ValueError(
            f"{run} holds no trained mover yet (best.eqx). Go on with: sciml train {other.name} --resume {run}"
        )
    parts = other._load(pathlib.Path(run), None, False)
    seen, held = (
        make_samples(parts[name]["u"], other.see(), other.monitor()).seen for name in ("train", "validation")
    )
    return training.load_model(file, other.build(seen, held))


def _make_sensors(grid: Grid) -> DensitySensors:
    return DensitySensors(Grid(grid.box, tuple(min(32, n) for n in grid.shape)))
