"""The methods that constraint experiments compare: which layer, over which network, trained how."""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from .. import nn
from ..constraints import (
    AbstractStart,
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
from ..pdes import AbstractPDE, channel_names

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
    pretraining: float = 0.0
    """The share of the time, below 1, in which a method with a solve has its weights fixed to 1, which is cheap."""

    def stages(self, method: str, pace: dict[str, float]) -> list["Stage"]:
        """What is trained in turn, for about the same time with every method.

        **Arguments:**

        - `method`: one of `Method`.
        - `pace`: how many steps a method takes in the time of one of a single constraint; 1 where not said.

        **Returns:** one or two stages.
        """
        share = 0.0 if method in ONE_FIELD else self.pretraining
        first = Stage(max(1, round(self.steps * share * pace["soft"])), self.learning_rate, True)
        rate = self.learning_rate / 3 if share else self.learning_rate  # what was found is not to be lost
        last = Stage(max(1, round(self.steps * (1 - share) * pace.get(method, 1.0))), rate, False)
        return [first, last] if share else [last]

    def optimizer(self, stage: "Stage") -> optax.GradientTransformation:
        """The optimizer.

        **Arguments:**

        - `stage`: one of `stages`.

        **Returns:** a transformation of optax.
        """
        return optax.adam(optax.cosine_decay_schedule(stage.learning_rate, stage.steps))


class Stage(NamedTuple):
    """A part of a training.

    **Arguments:**

    - `steps`: how many.
    - `learning_rate`: the first.
    - `fixed`: whether the weights of the basis functions are 1 rather than solved for.
    """

    steps: int
    learning_rate: float
    fixed: bool


class Summed(eqx.Module):
    """The field that a basis gives with all weights 1.

    **Arguments:**

    - `network`: proposes a basis.
    - `channels`: of the unknown.
    """

    network: Callable
    channels: int = eqx.field(static=True)

    def __call__(self, inputs: Float[Array, "in_channel time *space"]) -> Float[Array, "channel time *space"]:
        """Evaluate.

        **Arguments:**

        - `inputs`: `(in_channel, time, *space)`.

        **Returns:** `(channel, time, *space)`.
        """
        basis = self.network(inputs)
        return jnp.sum(basis.reshape(-1, self.channels, *basis.shape[1:]), axis=0)


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
    penalty: float,
    fixed: bool,
    published_start: AbstractStart,
) -> Callable:
    """The layer of a method around a network.

    Published methods meet the conditions and weigh rows as their code does. All others have rows without units; they
    start from the initial condition exactly and take the walls from the calculus, or have both as weighted rows.

    **Arguments:**

    - `method`: one of `Method`, but `constant`.
    - `network`: what `ConstraintNetwork.build` made.
    - `law`: the equation.
    - `domain`: the grid.
    - `partition`: the boxes of experts, time first.
    - `elapsed`: whether the equation is weighed by the time since the start, as `NonDimensional` explains.
    - `jumps`: the weight of jumps between coupled experts.
    - `regularization`: of the weights, but for published methods, which have their own.
    - `penalty`: the weight of initial condition and walls as rows, but for published methods; 0 for neither as rows.
    - `fixed`: whether the weights are 1 rather than solved for.
    - `published_start`: how the initial condition is met by published methods.

    **Returns:** a function from a start `(channel, *space)` to a `ConstrainedField`.
    """
    if fixed:
        network = Summed(network, len(channel_names(law, domain.dimensions)))
    if method in PUBLISHED:
        constraint = HardConstraint(
            network,
            law,
            domain,
            start=published_start,
            walls=WeightedWalls(),
            scaling=PublishedRows(),
            regularization=1e-4,  # theirs
        )
    else:
        by_rows = penalty > 0
        weights = {"start": penalty, "walls": penalty} if by_rows else {}
        constraint = HardConstraint(
            network,
            law,
            domain,
            start=WeightedStart() if by_rows else LiftedStart(),
            walls=WeightedWalls() if by_rows else DiscretizedWalls(),
            scaling=NonDimensional(elapsed=elapsed, jumps=jumps, slopes=jumps, **weights),
            regularization=regularization,
        )
    if fixed or method in ONE_FIELD:
        return SoftConstraint(constraint)
    if method == "hard":
        return constraint
    return Experts(constraint, partition, COUPLINGS[method])
