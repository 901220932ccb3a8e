"""A weight that is adapted during training, until a solve takes as many evaluations of the field as the user wants.

    log c  <-  log c + P (e_n - e_(n-1)) + I e_n,    e_n = log(smoothed evaluations / target)

a proportional-integral controller of the weight's logarithm `log c`, in increments: at a bound nothing is wound up that
would have to be unwound. The number of evaluations answers to the weight slowly, by whole steps of the solver, with
noise from batch to batch; an untrained model takes few of them, and more as it learns.

How the gains were chosen. Simulated plants: log evaluations fall as `-s log(1 + c / c0)`, with `s` from 0.1 to 0.6
and `c0` from 0.03 to 10 times `initial`, after a first-order lag of 20, 100 or 300 updates. Without a penalty they grow
from 13 to 49 or 199 with a time constant of 30 or 200 updates, and by another 35 % over the run. Noise is 5 %, and
counts are rounded to `6 n + 1`. The target is half of 49 or 199. On how many of these 144 plants, with `largest` out of
the way, the mean of the last tenth of a run is further than 10 % from the target; and, with a dead time of 10 updates,
slopes up to 1 and noise up to 15 %, on how many of 216 plants after 1000 updates:

    ===============================  ====  ====  ====  =========
    updates                          600   1000  3000  dead time
    ===============================  ====  ====  ====  =========
    P = 6, I = 0.1, over 20          25    0     0     0
    P = 8, I = 0.1, over 30: chosen  23    0     0     0
    P = 8, I = 0.075, over 40        31    3     0     0
    P = 10, I = 0.1, over 20         19    0     0     4
    P = 10, I = 0.1, over 40         21    0     0     0
    ===============================  ====  ====  ====  =========

So 600 updates are too few for a model that is slow to grow (20 of the 23) or hardly answers (16 have the slope 0.1),
with any of these gains. Higher ones begin to swing.

With a limit on the loss: 54 such plants, whose loss grows by half the square of the reduction and passes the limit well
before the target. After 3000 updates the loss was below 1.1 times the limit on all, after 1500 above it on up to 9 % of
them, after 600 on up to 30 %.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .coefficients import AbstractCoefficient, check_coefficient

_REACHED = 0.1
"""How far from the target, relative to it, is still reached."""
_MEMORY = 4
"""Over how many times more updates than the evaluations the share of those is smoothed in which a limit held."""
_SHARE = 0.25
"""Held by the largest weight: for more than this share. Held by the loss for more than it, the weight is not raised."""
_TRACE = 0.02
"""Held by the loss: for more than this share, since the weight then stays below the limit for long."""
_RETREAT = 1.0
"""While the loss is too high, the weight falls as if log(evaluations / target) were minus this."""


class BudgetResult(eqx.Enumeration):
    """What became of a budget; `BudgetResult[result]` is a text that says so, and what to do."""

    reached = "The evaluations are within 10 % of the target."
    limited_by_loss = (
        "The evaluations stay above the target, since the loss rises above loss_limit before they reach it. Raise "
        "target_evaluations or loss_limit, train longer, or loosen the tolerance of the solver."
    )
    limited_by_largest = (
        "The evaluations stay above the target with the largest coefficient. Raise largest if the loss allows it; or "
        "raise target_evaluations, loosen the tolerance of the solver, or take another regularizer, as the solver may "
        "need so many for any model."
    )
    below = (
        "The evaluations are below the target with the smallest coefficient: the model does not need so many. Lower "
        "target_evaluations, or leave the penalty out."
    )
    adapting = (
        "The coefficient is still moving. Train for more steps, or begin with an initial coefficient that is nearer to "
        "the one reported."
    )


class BudgetReport(eqx.Module):
    """How a budget was kept; `str(report)` says it in a line.

    **Arguments:**

    - `evaluations`: smoothed over the last updates, a scalar; NaN before the first.
    - `target`: what they should be, a scalar.
    - `coefficient`: the weight now, a scalar.
    - `loss`: smoothed likewise, a scalar; NaN before the first that was finite.
    - `result`: one of `BudgetResult`, whose text is the message.
    """

    evaluations: Float[Array, ""]
    target: Float[Array, ""]
    coefficient: Float[Array, ""]
    loss: Float[Array, ""]
    result: BudgetResult

    def __str__(self):
        return (
            f"{float(self.evaluations):.4g} evaluations for a target of {float(self.target):.4g}, with coefficient "
            f"{float(self.coefficient):.3g} and loss {float(self.loss):.4g}. {BudgetResult[self.result]}"
        )


class StepBudgetState(eqx.Module):
    """What a `StepBudget` remembers from update to update.

    **Arguments:**

    - `log_coefficient`: the logarithm of the weight, a scalar.
    - `evaluations`, `loss`: smoothed, scalars; NaN before the first that was finite.
    - `count`: the number of updates, a scalar.
    - `held_by_loss`, `held_by_largest`: for which share of the last updates the weight could not be raised though the
        evaluations were above the target, scalars.
    """

    log_coefficient: Float[Array, ""]
    evaluations: Float[Array, ""]
    loss: Float[Array, ""]
    count: Int[Array, ""]
    held_by_loss: Float[Array, ""]
    held_by_largest: Float[Array, ""]


class StepBudget(AbstractCoefficient):
    """A weight that adapts until a solve takes `target_evaluations` of the field.

        budget = StepBudget(25, initial=0.1, loss_limit=0.2)
        result = fit(..., loss_state=budget.init())    # the loss calls budget.value and budget.update
        print(budget.report(result.loss_state))        # whether it was reached, and if not, what to do

    Where the evaluations are above the target the weight grows, where they are below it falls. With a `loss_limit` it
    is not raised while the smoothed loss is above that, and falls instead, and is raised again slowly: accuracy goes
    before cost. The loss answers as slowly as the evaluations, so it may still be above the limit for a while.

    **Arguments:**

    - `target_evaluations`: how many evaluations of the field a solve may take, a number >= 1. A solver counts by whole
        steps: with 6 for each, a target of 22 is kept on average only.
    - `initial`: the weight to begin with, a number > 0.
    - `largest`, `smallest`: the bounds of the weight, numbers > 0; `1e4 initial` and `initial / 100` if not given.
    - `loss_limit`: the largest loss of the task that is still accepted, a number, such as 1.05 times that of a model
        without the penalty; none if not given.
    - `proportional`, `integral`: the gains `P` and `I`, numbers > 0. Lower both if the evaluations swing about the
        target; the file's docstring says how they were chosen.
    - `smoothing`: over how many updates evaluations and loss are averaged, a number >= 1.
    - `rate`: by how much the logarithm of the weight may change in an update, a number > 0.

    **Raises:** `ValueError` for a weight, a gain or a target that is not a positive, finite number, bounds that do not
    hold `initial`, or a limit that is not finite.
    """

    target_evaluations: float
    initial: float = eqx.field(default=1.0, kw_only=True)
    largest: float | None = eqx.field(default=None, kw_only=True)
    smallest: float | None = eqx.field(default=None, kw_only=True)
    loss_limit: float | None = eqx.field(default=None, kw_only=True)
    proportional: float = eqx.field(default=8.0, kw_only=True)
    integral: float = eqx.field(default=0.1, kw_only=True)
    smoothing: float = eqx.field(default=30.0, kw_only=True)
    rate: float = eqx.field(default=0.1, kw_only=True)

    def __check_init__(self):
        cure = "stats['num_evaluations'] of a model that was trained without a penalty says what there is to save."
        _check_number("target_evaluations", self.target_evaluations, 1, cure)
        check_coefficient("StepBudget", "initial", self.initial, positive=True)
        for name in ("largest", "smallest"):
            if getattr(self, name) is not None:
                check_coefficient("StepBudget", name, getattr(self, name), positive=True)
        smallest, largest = self._bounds()
        if not smallest <= self.initial <= largest:
            raise ValueError(
                f"StepBudget got initial={self.initial!r}, which is not from smallest={smallest!r} to "
                f"largest={largest!r}. Move the bound, or leave it out."
            )
        if self.loss_limit is not None:
            _check_number("loss_limit", self.loss_limit, -math.inf, "For no limit leave it out.")
        for name in ("proportional", "integral", "rate"):
            check_coefficient("StepBudget", name, getattr(self, name), positive=True)
        _check_number("smoothing", self.smoothing, 1, "1 takes each update for itself.")

    def init(self):
        """The initial weight, and nothing seen."""
        zero = jnp.zeros((), float)
        start = jnp.log(jnp.asarray(self.initial, float))
        return StepBudgetState(start, zero + jnp.nan, zero + jnp.nan, jnp.zeros((), jnp.int32), zero, zero)

    def value(self, state):
        """The weight now."""
        return jnp.exp(state.log_coefficient)

    def update(self, state, *, evaluations, loss):
        """Move the weight; a number that is not finite is passed over."""
        if evaluations is None:
            raise ValueError(
                "StepBudget was given evaluations=None, as stats['num_evaluations'] is for an implicit solver; "
                "expected a number. Budget its steps: give stats['num_steps'], and the target in steps."
            )
        count = (state.count + 1).astype(state.evaluations.dtype)
        weight = jnp.maximum(1 / count, 1 / self.smoothing)
        seen = _smooth(state.evaluations, evaluations, weight)
        risk = _smooth(state.loss, loss, weight)
        error = jnp.nan_to_num(jnp.log(seen / self.target_evaluations))
        before = jnp.where(
            jnp.isnan(state.evaluations), error, jnp.log(state.evaluations / self.target_evaluations)
        )
        change = self.proportional * (error - before) + self.integral * error
        too_high = jnp.asarray(False) if self.loss_limit is None else risk > self.loss_limit
        # Raised again the more carefully, the more it had to be lowered of late: the loss answers slowly, too.
        care = jnp.clip(1 - state.held_by_loss / _SHARE, 0.0, 1.0)
        careful = jnp.where(change > 0, care * change, change)
        change = jnp.where(too_high, jnp.minimum(change, -_RETREAT * self.integral), careful)
        smallest, largest = (jnp.log(jnp.asarray(bound, change.dtype)) for bound in self._bounds())
        moved = state.log_coefficient + jnp.clip(change, -self.rate, self.rate)
        long = jnp.maximum(1 / count, 1 / (_MEMORY * self.smoothing))
        new = StepBudgetState(
            jnp.clip(moved, smallest, largest),
            seen,
            risk,
            state.count + 1,
            _smooth(state.held_by_loss, (error > 0) & too_high, long),
            _smooth(state.held_by_largest, (error > 0) & (moved >= largest), long),
        )
        return jax.lax.stop_gradient(jax.tree.map(lambda a, b: a.astype(b.dtype), new, state))

    def report(self, state: StepBudgetState) -> BudgetReport:
        """Say whether the target was reached, and if not, why.

        **Arguments:**

        - `state`: what `init` or `update` gave.

        **Returns:** the report.
        """
        ratio = state.evaluations / self.target_evaluations
        over, under = ratio > 1 + _REACHED, ratio < 1 - _REACHED
        idle = state.log_coefficient <= math.log(self._bounds()[0]) + 1e-3
        result = BudgetResult.adapting
        for condition, item in (
            (under & idle, BudgetResult.below),
            (over & (state.held_by_largest > _SHARE), BudgetResult.limited_by_largest),
            (over & (state.held_by_loss > _TRACE), BudgetResult.limited_by_loss),
            (jnp.abs(ratio - 1) <= _REACHED, BudgetResult.reached),
            (state.count < self.smoothing, BudgetResult.adapting),
        ):
            result = BudgetResult.where(condition, item, result)
        target = jnp.asarray(self.target_evaluations, state.evaluations.dtype)
        return BudgetReport(state.evaluations, target, self.value(state), state.loss, result)

    def _bounds(self) -> tuple[float, float]:
        smallest = self.initial / 100 if self.smallest is None else self.smallest
        return smallest, 1e4 * self.initial if self.largest is None else self.largest


def _smooth(old: Array, new: Array, weight: Array) -> Array:
    """A running mean, which begins with the first finite number and passes over those that are not."""
    number = jnp.mean(jnp.asarray(new, old.dtype))
    mean = jnp.where(jnp.isnan(old), number, old + weight * (number - old))
    return jnp.where(jnp.isfinite(number), mean, old)


def _check_number(name: str, value: float, least: float, cure: str) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < least:
        bound = "" if least == -math.inf else f" >= {least:g}"
        raise ValueError(f"StepBudget got {name}={value!r}; expected a finite number{bound}. {cure}")
