"""Data-free movers as methods of an experiment: which network, and how it is trained."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from .. import nn
from ..meshes import (
    AbstractMonitor,
    AbstractSensors,
    BranchTrunkPotential,
    ByDensity,
    DataFreeMover,
    DenseBranch,
    FieldBranch,
    JitteredLattice,
    LogarithmicResidual,
    PhysicsLoss,
    RelativeResidual,
    SpectralPotential,
    describe_family,
)
from ..pdes import Grid

Method = Literal["spectral", "branch-trunk"]


@dataclasses.dataclass(frozen=True)
class MoverNetwork:
    """Which potential, and how large."""

    method: Method = "spectral"
    """Ours, with exact walls; or the published one, with a penalty for them."""
    modes: int = 48
    """Of the spectral one: basis functions per axis; odd on periodic axes."""
    width: int = 128
    """Of hidden layers: of the branch, if it is dense; of an FNO a sixth of it."""
    depth: int = 2
    """Their number."""
    trunk_width: int = 32
    """Of the published one: the hidden layer of the trunk."""
    features: int = 64
    """Of the published one: what branch and trunk return each, and the head's width."""

    def build(
        self,
        sensors: AbstractSensors,
        monitor: AbstractMonitor,
        seen: Float[Array, "sample channel *sensor"],
        unseen: Float[Array, "other channel *sensor"],
        *,
        equivariant: bool,
        seed: int,
    ) -> DataFreeMover:
        """The mover with its initial weights.

        **Arguments:**

        - `sensors`: what it sees.
        - `monitor`: of its densities.
        - `seen`, `unseen`: of the training and the validation set, `(sample, channel, *sensor)`.
        - `equivariant`: whether the branch is an FNO, which commutes with translations, and not a perceptron.
        - `seed`: of the weights.

        **Returns:** the mover.
        """
        grid = sensors.grid
        family = describe_family(seen, unseen)
        one, two = jax.random.split(jax.random.key(seed))
        if self.method == "branch-trunk":
            branch = DenseBranch(
                sensors.shape, self.features, width=self.width, depth=self.depth, activation=jnp.tanh, key=one
            )
            potential = BranchTrunkPotential(
                grid.box,
                branch,
                trunk_width=self.trunk_width,
                trunk_features=self.features,
                head_width=self.features,
                key=two,
            )
        else:
            potential = SpectralPotential(
                grid.box, self._branch(sensors, grid, equivariant, one, two), self.modes
            )
        return DataFreeMover(potential, sensors, family, monitor)

    def _branch(self, sensors: AbstractSensors, grid: Grid, equivariant: bool, one, two):
        if not equivariant:
            count = self.modes**grid.dimensions
            return DenseBranch(sensors.shape, count, width=self.width, depth=self.depth, key=one)
        hidden = max(2, self.width // 6)
        network = nn.FNO(
            grid.dimensions,
            sensors.channels,
            hidden,
            width=hidden,
            modes=max(2, min(grid.shape) // 2 - 1),
            depth=self.depth,
            residual=True,
            unroll=self.depth,
            key=one,
        )
        return FieldBranch(network, hidden, grid, self.modes, key=two)


@dataclasses.dataclass(frozen=True)
class MoverTraining:
    """How to train a data-free mover."""

    steps: int = 3000
    """Steps of Adam."""
    batch_size: int = 8
    """Solutions per step."""
    learning_rate: float = 3e-3
    """The largest learning rate, reached after 50 steps; it falls to a hundredth of that, as a cosine."""
    lattice: int = 64
    """Points per axis at which the equation is taken; of the published loss, a sixteenth of its square in all."""
    clip: float = 1.0
    """The largest gradient norm."""
    rounds: int = 0
    """Batches on which the last layer is trained by L-BFGS afterwards."""
    published: bool = False
    """Whether the loss is the published one: relative residual, points by density, diagonal entries."""
    wall_weight: float = 1000.0
    """Of the penalty for walls, where a potential does not keep them."""

    def loss(self) -> PhysicsLoss:
        """What to minimize.

        **Returns:** the loss.
        """
        if self.published:
            count = max(16, self.lattice**2 // 16)
            return PhysicsLoss(ByDensity(count), RelativeResidual(), self.wall_weight, diagonal=True)
        return PhysicsLoss(JitteredLattice(self.lattice), LogarithmicResidual(), self.wall_weight)

    def optimizer(self) -> optax.GradientTransformation:
        """Adam with its schedule.

        **Returns:** a transformation of optax.
        """
        rate, warmup = self.learning_rate, min(50, max(1, self.steps // 4))
        return optax.adam(optax.warmup_cosine_decay_schedule(0.0, rate, warmup, self.steps, rate / 100))
