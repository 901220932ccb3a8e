"""By which penalty an experiment trains: the methods that are compared, on the same solver at the same tolerance."""

import dataclasses
from typing import Literal

from .. import diffeqs

Method = Literal["vanilla", "steer", "taynode", "rnode", "er", "er2", "sr", "er-sr", "local", "local-steps"]


@dataclasses.dataclass(frozen=True)
class Regularization:
    """A penalty on how hard a model is to solve, and its weight."""

    method: Method = "vanilla"
    """vanilla: none. er, er2, sr: solver error, its square, stiffness (ERNODE, SRNODE). local: one step drawn at
    random (LRNDE). steer, taynode, rnode: the comparators."""
    coefficient: float | None = None
    """The weight of the penalty; by default the experiment's, chosen on validation data."""
    final_coefficient: float | None = None
    """The weight at the end, to which it falls or grows exponentially; by default it stays."""
    evaluations: float | None = None
    """A budget: adapt the weight until a solve takes so many evaluations of the field."""
    loss_limit: float | None = None
    """With a budget: the largest training loss that is still accepted."""
    taylor_order: int = 2
    """taynode: which derivative of the solution is penalized."""
    steer_width: float = 0.5
    """steer: by how much the end time varies, or the part of a gap by which times of observation do."""

    def __post_init__(self):
        plain = self.method in ("vanilla", "steer")
        given = {"coefficient", "final_coefficient", "evaluations"} - {
            name
            for name in ("coefficient", "final_coefficient", "evaluations")
            if getattr(self, name) is None
        }
        if plain and given:
            raise ValueError(
                f"{self.method} has no penalty, and {sorted(given)[0]} was given; expected none. Choose a method "
                "with a penalty, such as --method er."
            )
        if self.evaluations is not None and self.final_coefficient is not None:
            raise ValueError(
                "evaluations adapts the weight, final_coefficient prescribes it; expected one of them. Leave one out."
            )
        if self.loss_limit is not None and self.evaluations is None:
            raise ValueError("loss_limit belongs to a budget, and there is none. Give evaluations, too.")

    @property
    def label(self) -> str:
        """The method, and what was set by hand."""
        label = self.method
        if self.coefficient is not None:
            label += f"-{self.coefficient:g}"
        if self.final_coefficient is not None:
            label += f"-to-{self.final_coefficient:g}"
        return label if self.evaluations is None else f"{label}-budget-{self.evaluations:g}"

    def build(self, *, stochastic: bool, select=None) -> tuple[diffeqs.AbstractRegularizer, ...]:
        """The penalties, to be added up.

        **Arguments:**

        - `stochastic`: whether the equation is.
        - `select`: `select(y)`, the part of the state that TayNODE and RNODE look at; the whole, if not given.

        **Returns:** none, one or two regularizers.

        **Raises:** `ValueError` for a method that is for ordinary equations only.
        """
        if stochastic and self.method in ("taynode", "rnode", "sr", "er-sr"):
            raise ValueError(
                f"{self.method} is for ordinary differential equations; this experiment's is stochastic, and its "
                "solver shows no stiffness. Expected vanilla, steer, er, er2, local or local-steps."
            )
        look = {} if select is None else {"select": select}
        error, squared = diffeqs.ErrorEstimate(), diffeqs.ErrorEstimate(power=2, scaled=False)
        # The solver's own step where there is noise, on the same path of it.
        step = diffeqs.SolverStep() if stochastic else diffeqs.HairerStep()
        return {
            "vanilla": lambda: (),
            "steer": lambda: (),
            "taynode": lambda: (diffeqs.TaylorDerivative(self.taylor_order, **look),),
            "rnode": lambda: (diffeqs.KineticEnergy(**look), diffeqs.JacobianNorm(**look)),
            "er": lambda: (error,),
            "er2": lambda: (squared,),
            "sr": lambda: (diffeqs.StiffnessEstimate(),),
            "er-sr": lambda: (error, diffeqs.StiffnessEstimate(relative=True)),
            "local": lambda: (diffeqs.LocalErrorEstimate(step=step),),
            "local-steps": lambda: (diffeqs.LocalErrorEstimate(sampling=diffeqs.SolverSteps(), step=step),),
        }[self.method]()

    def schedule(self, default: float, steps: int) -> diffeqs.AbstractCoefficient:
        """How the weight moves during training.

        **Arguments:**

        - `default`: the experiment's weight for this method.
        - `steps`: of the optimizer.

        **Returns:** the coefficient.

        **Raises:** `ValueError` for a weight that is negative or not finite.
        """
        initial = default if self.coefficient is None else self.coefficient
        if self.evaluations is not None:
            return diffeqs.StepBudget(self.evaluations, initial=initial, loss_limit=self.loss_limit)
        if self.final_coefficient is not None:
            return diffeqs.ExponentialAnnealing(initial, self.final_coefficient, steps)
        return diffeqs.Constant(initial)
