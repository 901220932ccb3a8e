"""Parts that experiments are made of: which seeds, how to optimize."""

import dataclasses
from typing import Literal, get_args

import optax

from .. import training

Optimizer = Literal["tuned", "adam", "muon"]


@dataclasses.dataclass(frozen=True)
class Split:
    """Which initial conditions are for what. Trajectory `i` of a part is drawn with the seed `first + i`."""

    train: int = 512
    """Trajectories to train on."""
    train_first: int = 0
    """The first training seed."""
    validation: int = 32
    """Trajectories to choose the best model by."""
    validation_first: int = 1_000_000
    """The first validation seed."""
    test: int = 100
    """Trajectories to report on; never used for a choice."""
    test_first: int = 2_000_000
    """The first test seed."""

    def __post_init__(self):
        parts = self.ranges()
        for name, seeds in parts.items():
            if len(seeds) < 1:
                raise ValueError(f"Split.{name} must be at least 1 trajectory; got {len(seeds)}.")
        names = list(parts)
        for i, one in enumerate(names):
            for other in names[i + 1 :]:
                low, high = max(parts[one].start, parts[other].start), min(parts[one].stop, parts[other].stop)
                if low < high:
                    raise ValueError(
                        f"Split: seeds {low} to {high - 1} are both {one} and {other}; a model would be measured on "
                        f"what it has seen. Move {other}_first."
                    )

    def ranges(self) -> dict[str, range]:
        """The seeds of each part.

        **Returns:** `{"train": range, "validation": range, "test": range}`.
        """
        return {
            "train": range(self.train_first, self.train_first + self.train),
            "validation": range(self.validation_first, self.validation_first + self.validation),
            "test": range(self.test_first, self.test_first + self.test),
        }


@dataclasses.dataclass(frozen=True)
class Optimization:
    """Adam with a warm-up and a cosine decay to nothing."""

    steps: int = 3000
    """Optimizer steps."""
    batch_size: int = 32
    """Windows per step."""
    learning_rate: float = 2e-3
    """The largest learning rate, reached after 5 % of the steps."""
    clip: float = 1.0
    """The largest gradient norm."""
    unroll: int = 1
    """How many of its own steps the model is fed in the loss."""
    pushforward: bool = False
    """Whether the gradient passes through the last of these steps only."""

    def __post_init__(self):
        if self.pushforward and self.unroll < 2:
            raise ValueError(
                f"pushforward trains on the model's own predictions and needs unroll of at least 2; got {self.unroll}."
            )


@dataclasses.dataclass(frozen=True)
class Steps:
    """How to train what steps a solution from mesh to mesh."""

    steps: int = 600
    """Optimizer steps of `moving`; other methods take as many as fit in about the same time."""
    batch_size: int = 4
    """Windows per step."""
    learning_rate: float = 1e-3
    """The largest, reached after 5 % of the steps; then it falls as a cosine."""
    clip: float = 1.0
    """The largest gradient norm."""
    optimizer: Optimizer = "tuned"
    """`tuned` is what the experiment has for the method; the learning rate is then multiplied by the method's factor.
    Muon is for networks of messages, whose layers are linear."""
    noise: float = 0.003
    """Added to the start of a window, over the size of the solution; on triangles not where a step is corrected."""
    unroll: int = 2
    """How many of its own steps a method is trained on."""
    pushforward: bool = False
    """Whether gradients stop between these steps: each then learns from what the ones before it made."""
    images: bool = True
    """Whether to train on mirror images, too, where the law has them."""
    round_trips: float = 0.1
    """The share of steps that train the interpolations of the published form first."""
    mover_steps: int = 1500
    """Steps that train a neural mover before."""

    def __post_init__(self):
        for name, least in (("steps", 1), ("batch_size", 1), ("unroll", 1), ("noise", 0), ("mover_steps", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"Steps.{name} is {least} or more; got {getattr(self, name)}.")
        if self.pushforward and self.unroll < 2:
            raise ValueError(
                f"Steps.pushforward stops gradients between steps and needs an unroll of at least 2; got {self.unroll}."
            )
        if self.optimizer not in get_args(Optimizer):
            raise ValueError(f"Steps.optimizer is tuned, adam or muon; got {self.optimizer!r}.")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Steps.{name} is more than 0; got {getattr(self, name)}.")
        if not 0 <= self.round_trips <= 1:
            raise ValueError(f"Steps.round_trips is a share, 0 to 1; got {self.round_trips}.")

    def make_optimizer(
        self, steps: int, best: str = "adam", factor: float = 1.0
    ) -> optax.GradientTransformation:
        """The optimizer with its schedule.

        **Arguments:**

        - `steps`: how many it will be.
        - `best`, `factor`: the optimizer and the factor of the learning rate where these are the tuned ones.

        **Returns:** the optimizer.
        """
        name, factor = (best, factor) if self.optimizer == "tuned" else (self.optimizer, 1.0)
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, factor * self.learning_rate, max(1, steps // 20), max(2, steps)
        )
        return training.muon(schedule) if name == "muon" else optax.adam(schedule)
