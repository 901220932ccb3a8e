"""The methods that constraint experiments compare: which layer, over which network, trained how."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
import optax

from .. import nn
from ..constraints import (
    Coupled,
    DiscretizedWalls,
    Experts,
    HardConstraint,
    Independent,
    LiftedStart,
    NonDimensional,
    Overlapping,
    OwnRows,
    PublishedRows,
    SoftConstraint,
    SpaceTimeGrid,
    WeightedStart,
    WeightedWalls,
)
from ..pdes import AbstractPDE

Method = Literal[
    "soft",
    "soft-published",
    "hard",
    "experts",
    "experts-own",
    "experts-coupled",
    "experts-overlapping",
    "supervised",
    "constant",
]
COUPLINGS = {
    "experts": Independent(),
    "experts-own": OwnRows(),
    "experts-coupled": Coupled(),
    "experts-overlapping": Overlapping(),
}
PUBLISHED = ("soft-published", "experts")
ONE_FIELD = ("soft", "soft-published", "supervised")


@dataclasses.dataclass(frozen=True)
class ConstraintNetwork:
    """A Fourier neural operator over time and space that proposes basis functions."""

    basis: int = 16
    """Basis functions; methods without a solve give the field itself."""
    width: int = 16
    """Channels."""
    modes: int = 8
    """Fourier modes per axis, time included."""
    depth: int = 3
    """Layers."""

    def build(self, domain: SpaceTimeGrid, channels: int, method: str, *, seed: int) -> nn.FNO:
        """The network with its initial weights.

        **Arguments:**

        - `domain`: where it is to work.
        - `channels`: of the unknown.
        - `method`: one of `Method`.
        - `seed`: of the weights.

        **Returns:** `(in_channel, time, *space) -> (basis * channel, time, *space)`.
        """
        # From the first time to the last are `count - 1` steps: continued to 5/4 of them.
        count = len(domain.times)
        extra = max((count - 1) // 4 - 1, 0)
        return nn.FNO(
            len(domain.shape),
            domain.count_inputs(channels),
            channels * (1 if method in ONE_FIELD else self.basis),
            width=self.width,
            modes=self.modes,
            depth=self.depth,
            periodic=domain.periodic,
            padding=(max(extra - 0.5, 0) / count, *[0.25] * len(domain.space)),
            residual=True,
            unroll=self.depth,
            key=jax.random.key(seed),
        )


@dataclasses.dataclass(frozen=True)
class ConstraintTraining:
    """Adam with a cosine decay to nothing, for about the same time with every method."""

    steps: int = 1500
    """Steps of one constraint on the whole domain; other methods take more or fewer, by what a step of theirs costs."""
    batch_size: int = 4
    """Starts per step."""
    learning_rate: float = 3e-3
    """The first learning rate."""
    clip: float = 1.0
    """The largest gradient norm."""

    def optimizer(self, steps: int) -> optax.GradientTransformation:
        """The optimizer.

        **Arguments:**

        - `steps`: how many.

        **Returns:** a transformation of optax.
        """
        return optax.adam(optax.cosine_decay_schedule(self.learning_rate, steps))


def build_layer(
    method: str,
    network: Callable,
    law: AbstractPDE,
    domain: SpaceTimeGrid,
    *,
    partition: tuple[int, ...],
    elapsed: bool,
    jumps: float,
    regularization: float,
) -> Callable:
    """The layer of a method around a network.

    Published methods meet the conditions by rows and weigh these as their code does; all others start from the initial
    condition exactly, take the walls from the calculus, and have rows without units.

    **Arguments:**

    - `method`: one of `Method`, but `constant`.
    - `network`: what `ConstraintNetwork.build` made.
    - `law`: the equation.
    - `domain`: the grid.
    - `partition`: the boxes of experts, time first.
    - `elapsed`: whether the equation is weighed by the time since the start, as `NonDimensional` explains.
    - `jumps`: the weight of jumps between coupled experts.
    - `regularization`: of the weights, but for published methods, which have their own.

    **Returns:** a function from a start `(channel, *space)` to a `ConstrainedField`.
    """
    if method in PUBLISHED:
        constraint = HardConstraint(
            network,
            law,
            domain,
            start=WeightedStart(),
            walls=WeightedWalls(),
            scaling=PublishedRows(),
            regularization=1e-4,  # theirs
        )
    else:
        constraint = HardConstraint(
            network,
            law,
            domain,
            start=LiftedStart(),
            walls=DiscretizedWalls(),
            scaling=NonDimensional(elapsed=elapsed, jumps=jumps, slopes=jumps),
            regularization=regularization,
        )
    if method in ONE_FIELD:
        return SoftConstraint(constraint)
    if method == "hard":
        return constraint
    return Experts(constraint, partition, COUPLINGS[method])
