"""Penalties on what an adaptive solver already computes at each step: the error it estimates, and the stiffness.

A solver keeps the step it proposes if `E_j < 1`, with `E_j` its estimate of the step's error in units of the tolerance.
Two stages of some methods lie at the same time in different states, and the difference of the rates there over that of
the states, `S_j`, is an estimate of stiffness. Penalized in training, they make dynamics that are cheap to solve:

    penalty = sum_j E_j h_j    or    sum_j S_j h_j    over the accepted steps

where the gradient is that along the steps which were made: step sizes are constants in it, as in diffrax.

The text and the released code of 2021 differ; the defaults are the text's. `ErrorEstimate(reduction=Mean())` is the
code's error penalty, `StiffnessEstimate(reduction=Max(), scaled=False, relative=True)` its stiffness penalty.

**The penalty is not the cost.** The controller drives `E_j` to a set point, so that their sum hardly follows the number
of steps. What a model costs is `solution.stats["num_evaluations"]`.

Reference: A. Pal, Y. Ma, V. Shah, C. Rackauckas, "Opening the Blackbox: Accelerating Neural Differential Equations by
Regularizing Internal Solver Heuristics", ICML 2021, arXiv:2105.03918.
"""

import abc
import math
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from .reductions import AbstractReduction, Max, Mean, Sum
from .sri import SOSRI2
from .steps import Problem, Step, Tolerances, find_stage_pair, stage_weights

STABILITY_SIZES: dict[type, float] = {diffrax.Tsit5: 3.5068, SOSRI2: 10.6}
"""How far the region of stability reaches along the negative real axis, for the solvers it was published for."""


class AbstractRegularizer(eqx.Module):
    """A penalty that is made while an equation is solved.

    To write one: `begin` before the solve, `see` each step, `end` with a number. What `see` returns for a step that is
    then rejected is forgotten.
    """

    needs_key: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def differentiates_steps(self) -> bool:
        """Whether the gradient passes through the solver's own steps, which not every adjoint can follow.

        **Returns:** a Python boolean.
        """

    @abc.abstractmethod
    def check(self, problem: Problem) -> None:
        """Refuse what the penalty cannot be made of.

        **Arguments:**

        - `problem`: what is to be solved.

        **Raises:** `ValueError` that names the solver, what was expected, and the alternatives.
        """

    @abc.abstractmethod
    def begin(self, problem: Problem) -> Any:
        """What is held before the first step.

        **Arguments:**

        - `problem`: what is to be solved.

        **Returns:** a pytree of arrays, of a structure and shapes that stay.
        """

    @abc.abstractmethod
    def see(self, held: Any, step: Step, key: PRNGKeyArray | None) -> Any:
        """Take a step into account.

        **Arguments:**

        - `held`: what `begin` or `see` gave.
        - `step`: the step.
        - `key`: the same key at each step of a solve, or `None`.

        **Returns:** what to hold from now on.
        """

    @abc.abstractmethod
    def end(self, held: Any, problem: Problem, key: PRNGKeyArray | None) -> Float[Array, ""]:
        """The penalty.

        **Arguments:**

        - `held`: what `see` gave for the last accepted step.
        - `problem`: what was solved.
        - `key`: as for `see`.

        **Returns:** a scalar.
        """


class ErrorEstimate(AbstractRegularizer):
    """The error the solver estimates, summed over the accepted steps: ERNODE, and ERNSDE for stochastic equations.

        E_j = RMS(error_j / (atol + rtol max(|y_j|, |y_(j+1)|))),    penalty = sum_j E_j^power h_j

    with the norm of the controller. For any solver that estimates its error.

    **Arguments:**

    - `power`: 1 or 2.
    - `reduction`: `Sum()`, `Mean()` or `Max()` over the accepted steps.
    - `scaled`: whether each is multiplied by the length of its step. With `power=2, scaled=False` it is the squared
        penalty of the 2021 text.
    - `rtol`, `atol`: tolerances to measure the error in, numbers; those of the controller if not given. A controller
        without any, such as `StepTo`, needs them.

    **Raises:** `ValueError` for another power, or tolerances that are negative or not finite; in a solve, for a solver
    that does not estimate its error, or where no tolerance is known.

    Reference: A. Pal, Y. Ma, V. Shah, C. Rackauckas, 2021, arXiv:2105.03918.
    """

    power: int = eqx.field(default=1, static=True)
    reduction: AbstractReduction = Sum()
    scaled: bool = eqx.field(default=True, static=True)
    rtol: float | None = None
    atol: float | None = None
    needs_key: ClassVar[bool] = False

    def __check_init__(self):
        check_power("ErrorEstimate", self.power)
        check_reduction("ErrorEstimate", self.reduction)
        check_tolerances("ErrorEstimate", self.rtol, self.atol)

    def differentiates_steps(self):
        """It does."""
        return True

    def check(self, problem):
        """The solver must estimate its error, and a tolerance must be known."""
        check_error("ErrorEstimate", problem, self.rtol, self.atol)

    def begin(self, problem):
        """Nothing yet."""
        return self.reduction.begin(real_dtype(problem))

    def see(self, held, step, key):
        """Add the error of a step."""
        number = measure_error(step, self.rtol, self.atol, self.power)
        return self.reduction.take(held, number * (step.t1 - step.t0) if self.scaled else number)

    def end(self, held, problem, key):
        """The sum, mean or largest."""
        return self.reduction.end(held)


class StiffnessEstimate(AbstractRegularizer):
    """The stiffness that two stages of a method show, summed over the accepted steps: SRNODE.

        S_j = RMS(f(Y_b) - f(Y_a)) / RMS(Y_b - Y_a),    penalty = sum_j S_j^power h_j

    for two stages `a`, `b` at the same time. `S_j` estimates the largest rate at which the field pulls the state, in
    one over the unit of time. For Tsit5, Dopri5, Dopri8, Kvaerno3, Kvaerno4, Kvaerno5 and other Runge-Kutta methods
    with two such stages, and for the drift of SOSRI2.

    **Arguments:**

    - `power`: 1 or 2.
    - `reduction`: `Sum()`, `Mean()` or `Max()` over the accepted steps.
    - `scaled`: whether each is multiplied by the length of its step.
    - `relative`: whether `S_j` is divided by the reach of the method's region of stability, as the released code does;
        known for Tsit5 (3.5068) and SOSRI2 (10.6).

    **Raises:** `ValueError` for another power; in a solve, for a solver without two such stages, or one whose region of
    stability is not known, if `relative`.

    Reference: A. Pal, Y. Ma, V. Shah, C. Rackauckas, 2021, arXiv:2105.03918; the estimate: L. Shampine, "Stiffness and
    Nonstiff Differential Equation Solvers II: Detecting Stiffness with Runge-Kutta Methods", 1977,
    doi:10.1145/355719.355722.
    """

    power: int = eqx.field(default=1, static=True)
    reduction: AbstractReduction = Sum()
    scaled: bool = eqx.field(default=True, static=True)
    relative: bool = eqx.field(default=False, static=True)
    needs_key: ClassVar[bool] = False

    def __check_init__(self):
        check_power("StiffnessEstimate", self.power)
        check_reduction("StiffnessEstimate", self.reduction)

    def differentiates_steps(self):
        """It does."""
        return True

    def check(self, problem):
        """The solver must have two stages at the same time."""
        check_stages("StiffnessEstimate", problem, self.relative)

    def begin(self, problem):
        """Nothing yet."""
        return self.reduction.begin(real_dtype(problem))

    def see(self, held, step, key):
        """Add the stiffness of a step."""
        number = measure_stiffness(step, self.relative) ** self.power
        return self.reduction.take(held, number * (step.t1 - step.t0) if self.scaled else number)

    def end(self, held, problem, key):
        """The sum, mean or largest."""
        return self.reduction.end(held)


def measure_error(step: Step, rtol: float | None, atol: float | None, power: int) -> Float[Array, ""]:
    """The error of a step in units of the tolerance, to a power.

    **Arguments:**

    - `step`: the step.
    - `rtol`, `atol`: in the place of the controller's, or `None`.
    - `power`: 1 or 2.

    **Returns:** a scalar.
    """
    finite, (error, y1) = _guard((step.error, step.y1))
    number = step.problem.tolerances.override(rtol, atol).measure(error, step.y0, y1) ** power
    return jnp.where(finite, number, jnp.inf)


def measure_stiffness(step: Step, relative: bool) -> Float[Array, ""]:
    """The stiffness of a step; 0 where its two stages are in the same state.

    **Arguments:**

    - `step`: the step.
    - `relative`: whether in units of the method's region of stability.

    **Returns:** a scalar, in one over the unit of time.
    """
    solver = step.problem.solver
    if isinstance(solver, SOSRI2):
        apart, rates = step.dense["stage_difference"], step.dense["rate_difference"]
    else:
        a, b = find_stage_pair(solver, step.problem.terms)
        weights = stage_weights(solver.tableau, b) - stage_weights(solver.tableau, a)
        k = step.dense["k"]
        apart = jax.tree.map(lambda k: jnp.tensordot(jnp.asarray(weights, k.dtype), k, axes=1), k)
        rates = jax.tree.map(lambda k: k[b] - k[a], k)
    finite, (apart, rates) = _guard((apart, rates))
    below = optx.rms_norm(apart) * (step.t1 - step.t0)
    # A division by 0 that is not used would still turn the gradient into NaN.
    stiffness = jnp.where(below > 0, optx.rms_norm(rates) / jnp.where(below > 0, below, 1), 0)
    stiffness = jnp.where(finite, stiffness, jnp.inf)
    return stiffness / STABILITY_SIZES[type(solver)] if relative else stiffness


def _guard(tree: PyTree) -> tuple[Bool[Array, ""], PyTree]:
    """Whether all is finite, and the same with zeros in its place if not.

    Where a root finder fails, diffrax says that the error is infinite, and rejects the step. Its own gradient does not
    see that error; but ours would, and 0 times infinity is NaN, also if the step is forgotten.
    """
    finite = jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)], bool))
    return finite, jax.tree.map(lambda leaf: jnp.where(finite, leaf, jnp.zeros_like(leaf)), tree)


def real_dtype(problem: Problem) -> Any:
    """The precision of a penalty: that of the state, or of its parts if it is complex.

    **Arguments:**

    - `problem`: what is solved.

    **Returns:** a dtype.
    """
    dtype = jnp.result_type(problem.t0, *jax.tree.leaves(problem.y0))
    return jnp.finfo(dtype).dtype


def check_power(owner: str, power: int) -> None:
    """Refuse a power that is not 1 or 2.

    **Arguments:**

    - `owner`: the class that was built.
    - `power`: what it was given.

    **Raises:** `ValueError`.
    """
    if power not in (1, 2) or isinstance(power, bool):
        raise ValueError(f"{owner} got power={power!r}; expected 1 or 2 (Python integers).")


def check_reduction(owner: str, reduction: AbstractReduction) -> None:
    """Refuse what is not a reduction.

    **Arguments:**

    - `owner`: the class that was built.
    - `reduction`: what it was given.

    **Raises:** `ValueError`.
    """
    if not isinstance(reduction, (Sum, Mean, Max, AbstractReduction)):
        raise ValueError(
            f"{owner} got reduction={reduction!r}; expected Sum(), Mean() or Max() of sciml.diffeqs, with "
            "the parentheses."
        )


def check_tolerances(owner: str, rtol: float | None, atol: float | None) -> None:
    """Refuse tolerances that are negative or not finite, or both 0.

    **Arguments:**

    - `owner`: the class that was built.
    - `rtol`, `atol`: numbers or `None`.

    **Raises:** `ValueError`.
    """
    for name, value in {"rtol": rtol, "atol": atol}.items():
        if value is None or eqx.is_array(value):  # an array may be traced: it is taken at its word
            continue
        if not (isinstance(value, (int, float)) and math.isfinite(value) and value >= 0):
            raise ValueError(f"{owner} got {name}={value!r}; expected a finite number >= 0, such as 1e-6.")
    if rtol == 0 and atol == 0:
        raise ValueError(
            f"{owner} got rtol=0 and atol=0, in which no error can be measured; give one of them > 0."
        )


def check_error(owner: str, problem: Problem, rtol: float | None, atol: float | None) -> None:
    """Refuse a solver that does not estimate its error, and a solve without tolerances.

    **Arguments:**

    - `owner`: the regularizer.
    - `problem`: what is to be solved.
    - `rtol`, `atol`: the regularizer's own tolerances, or `None`.

    **Raises:** `ValueError`.
    """
    if not problem.has_error:
        name = type(problem.solver).__name__
        # diffrax refuses HalfSolver(Euler()) for noise, as its steps may not converge.
        halved = problem.is_ordinary() or not isinstance(problem.solver, diffrax.Euler)
        half = f", or diffrax.HalfSolver({name}()), at three times the cost" if halved else ""
        raise ValueError(
            f"{owner} penalizes the error that a solver estimates, and {name} estimates none. Use a solver that does "
            "(for ordinary equations diffrax.Tsit5() or Dopri5(), in the Ito sense sciml.diffeqs.SOSRI(), in the "
            f"Stratonovich sense diffrax.SPaRK()){half}."
        )
    tolerances = problem.tolerances.override(rtol, atol)
    missing = [name for name in ("rtol", "atol") if getattr(tolerances, name) is None]
    if missing:
        raise ValueError(
            f"{owner} measures errors in units of the tolerance, and the step size controller has no "
            f"{' and no '.join(missing)}. Give them: {owner}(rtol=1e-6, atol=1e-6), or use "
            "diffrax.PIDController(rtol=..., atol=...)."
        )


def check_stages(owner: str, problem: Problem, relative: bool) -> None:
    """Refuse a solver that shows no stiffness.

    **Arguments:**

    - `owner`: the regularizer.
    - `problem`: what is to be solved.
    - `relative`: whether the region of stability must be known.

    **Raises:** `ValueError`.
    """
    solver = problem.solver
    name = type(solver).__name__
    if not isinstance(solver, SOSRI2) and find_stage_pair(solver, problem.terms) is None:
        why = "has no two stages at the same time"
        if isinstance(getattr(solver, "tableau", None), diffrax.ButcherTableau) and not problem.is_ordinary():
            why = "is given more than one ordinary differential equation, in which its stages mix drift and noise"
        raise ValueError(
            f"{owner} compares two stages at the same time, and {name} {why}. Use diffrax.Tsit5(), Dopri5(), Dopri8(), "
            "Kvaerno3(), Kvaerno4() or Kvaerno5() for an ODETerm, sciml.diffeqs.SOSRI2() for a stochastic equation, or "
            "the regularizer ErrorEstimate(), which needs an estimate of the error only."
        )
    if relative and type(solver) not in STABILITY_SIZES:
        known = ", ".join(f"{cls.__name__} ({size})" for cls, size in STABILITY_SIZES.items())
        raise ValueError(
            f"{owner}(relative=True) divides by the reach of the region of stability, which is known for {known} and "
            f"not for {name}. Leave relative=False."
        )


__all__ = [
    "STABILITY_SIZES",
    "AbstractRegularizer",
    "ErrorEstimate",
    "StiffnessEstimate",
    "Tolerances",
]
