"""By which penalty an experiment trains: the methods that are compared, on the same solver at the same tolerance."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from .. import diffeqs

Method = Literal[
    "vanilla",
    "steer",
    "taynode",
    "rnode",
    "er",
    "er2",
    "sr",
    "er-sr",
    "local-uniform",
    "local-steps",
    "local-hairer",
    "budget",
]


@dataclasses.dataclass(frozen=True)
class Regularization:
    """A penalty on how hard a model is to solve, and its weight."""

    method: Method = "vanilla"
    """vanilla: none. er, er2, sr: solver error, its square, stiffness (ERNODE, SRNODE). local-uniform, local-steps: one
    of the solver's steps drawn at random, weighted so that its mean is er (LRNDE); local-hairer: LRNDE as published.
    budget: er2 with a weight that adapts. steer, taynode, rnode: the comparators."""
    coefficient: float | None = None
    """The weight of the penalty; by default the experiment's, chosen on validation data. Where the experiment lets
    weights grow, that at the end."""
    final_coefficient: float | None = None
    """The weight at the end, to which it falls or grows exponentially from coefficient."""
    evaluations: float | None = None
    """budget: so many evaluations of the field; by default half of what vanilla takes."""
    loss_limit: float | None = None
    """budget: the largest training loss that is still accepted."""
    taylor_order: int = 2
    """taynode: which derivative of the solution is penalized."""
    steer_width: float = 0.5
    """steer: by how much the end time varies, or the part of a gap by which times of observation do."""

    def __post_init__(self):
        weights = [name for name in ("coefficient", "final_coefficient") if getattr(self, name) is not None]
        if self.method in ("vanilla", "steer") and weights:
            raise ValueError(
                f"{self.method} has no penalty, and {weights[0]} was given; expected none. Choose a method with a "
                "penalty, such as --method er."
            )
        for name in ("evaluations", "loss_limit"):
            if self.method != "budget" and getattr(self, name) is not None:
                raise ValueError(
                    f"{name} belongs to a budget, and the method is {self.method}. Use --method budget."
                )
        if self.method == "budget" and self.final_coefficient is not None:
            raise ValueError(
                "budget adapts the weight, and final_coefficient prescribes it; expected one of them. Leave "
                "final_coefficient out, or choose --method er2."
            )

    @property
    def label(self) -> str:
        """The method, and what was set by hand."""
        label = self.method
        if self.coefficient is not None:
            label += f"-{self.coefficient:g}"
        if self.final_coefficient is not None:
            label += f"-to-{self.final_coefficient:g}"
        return label if self.evaluations is None else f"{label}-of-{self.evaluations:g}"

    def build(
        self, *, stochastic: bool, select: Callable[[Any], Any] | None = None
    ) -> tuple[diffeqs.AbstractRegularizer, ...]:
        """The penalties, to be added up.

        **Arguments:**

        - `stochastic`: whether the equation is.
        - `select`: `select(y)`, the part of the state that TayNODE and RNODE look at; the whole, if not given.

        **Returns:** none, one or two regularizers.

        **Raises:** `ValueError` for a method that is for ordinary equations only.
        """
        if stochastic and self.method in ("taynode", "rnode", "sr", "er-sr", "local-hairer"):
            raise ValueError(
                f"{self.method} is for ordinary differential equations; this experiment's is stochastic, and its "
                "solver shows no stiffness. Expected vanilla, steer, er, er2, local-uniform, local-steps or budget."
            )
        look = {} if select is None else {"select": select}
        error, squared = diffeqs.ErrorEstimate(), diffeqs.ErrorEstimate(power=2, scaled=False)
        own = {"step": diffeqs.SolverStep(), "weighted": True}
        return {
            "vanilla": lambda: (),
            "steer": lambda: (),
            "taynode": lambda: (diffeqs.TaylorDerivative(self.taylor_order, **look),),
            "rnode": lambda: (diffeqs.KineticEnergy(**look), diffeqs.JacobianNorm(**look)),
            "er": lambda: (error,),
            "er2": lambda: (squared,),
            "budget": lambda: (squared,),
            "sr": lambda: (diffeqs.StiffnessEstimate(),),
            "er-sr": lambda: (error, diffeqs.StiffnessEstimate(relative=True)),
            "local-uniform": lambda: (diffeqs.LocalErrorEstimate(**own),),
            "local-steps": lambda: (diffeqs.LocalErrorEstimate(sampling=diffeqs.SolverSteps(), **own),),
            "local-hairer": lambda: (diffeqs.LocalErrorEstimate(),),
        }[self.method]()

    def schedule(
        self, default: float, growth: float, evaluations: float, steps: int
    ) -> diffeqs.AbstractCoefficient:
        """How the weight moves during training.

        **Arguments:**

        - `default`: the experiment's weight for this method, at the end.
        - `growth`: by how much the weight grows in the first half of training, if it is not prescribed.
        - `evaluations`: the experiment's budget.
        - `steps`: of the optimizer.

        **Returns:** the coefficient.

        **Raises:** `ValueError` for a weight that is negative or not finite.
        """
        initial = default if self.coefficient is None else self.coefficient
        if self.method == "budget":
            target = evaluations if self.evaluations is None else self.evaluations
            return diffeqs.StepBudget(target, initial=initial, loss_limit=self.loss_limit)
        if self.final_coefficient is not None:
            return diffeqs.ExponentialAnnealing(initial, self.final_coefficient, steps)
        if growth != 1 and initial > 0:
            return diffeqs.ExponentialAnnealing(initial / growth, initial, max(1, steps // 2))
        return diffeqs.Constant(initial)
