"""Local regularization: look at one step only, drawn at random, instead of at all of them.

A step is drawn while the equation is solved, in memory that does not grow, and made once more after the solve; only
this one step is differentiated. So any adjoint will do, also those that do not differentiate the solver's own steps.

The text of 2023 draws a time uniformly, and makes from the solution there a step of the length that the automatic
choice of Hairer and Wanner gives. This is the default. `step=SolverStep()` makes the very step that the solver made
there; then with `weighted=True` the penalty is an unbiased estimate of the global one, `sum_j E_j h_j`:

| sampling | probability of step `j` of `N` | weight |
|---|---|---|
| `UniformTime()` | `h_j / T` | `T / h_j` |
| `SolverSteps()` | `1 / N` | `N` |

Steps are drawn one after the other: step `n` takes the place of the one held with probability `1 / n` (or `h_n` over
the time since the start), so that neither their number nor the end need be known before.

Reference: A. Pal, A. Edelman, C. Rackauckas, "Locally Regularized Neural Differential Equations: Some Black Boxes Were
Meant to Remain Closed!", ICML 2023, arXiv:2303.02262; the drawing: J. Vitter, "Random Sampling with a Reservoir", 1985,
doi:10.1145/3147.3165.
"""

import abc
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from .regularizers import (
    AbstractRegularizer,
    check_error,
    check_power,
    check_stages,
    check_tolerances,
    measure_error,
    measure_stiffness,
)
from .steps import Problem, Step


class AbstractSampling(eqx.Module):
    """How a step is drawn."""

    @abc.abstractmethod
    def probability(self, step: Step) -> Float[Array, ""]:
        """With which probability a step takes the place of the one that is held.

        **Arguments:**

        - `step`: the step.

        **Returns:** a scalar, 1 for the first step.
        """

    @abc.abstractmethod
    def draw_time(self, step: Step, key: PRNGKeyArray) -> Float[Array, ""]:
        """Draw where in the step to look.

        **Arguments:**

        - `step`: the step.
        - `key`: a random key.

        **Returns:** a time of the step, a scalar.
        """

    @abc.abstractmethod
    def weigh(self, drawn: "Drawn", h: Float[Array, ""]) -> Float[Array, ""]:
        """One over the probability of what was drawn.

        **Arguments:**

        - `drawn`: the step that was drawn.
        - `h`: the length of the step that is made there, a scalar.

        **Returns:** a scalar.
        """


class UniformTime(AbstractSampling):
    """A time drawn uniformly over what was solved: long steps are drawn more often. Called unbiased in 2023."""

    def probability(self, step):
        """The length of the step over the time since the start."""
        elapsed = step.t1 - step.problem.t0
        return jnp.where(elapsed > 0, (step.t1 - step.t0) / jnp.where(elapsed > 0, elapsed, 1), 1)

    def draw_time(self, step, key):
        """Anywhere in the step."""
        return step.t0 + (step.t1 - step.t0) * jax.random.uniform(key, (), jnp.result_type(step.t0))

    def weigh(self, drawn, h):
        """The time solved over the length of the step."""
        return jnp.where(h > 0, drawn.elapsed / jnp.where(h > 0, h, 1), 0)


class SolverSteps(AbstractSampling):
    """One of the solver's steps, each with the same probability, looked at from its start. Called biased in 2023."""

    def probability(self, step):
        """One over the number of steps."""
        return 1 / (step.index + 1)

    def draw_time(self, step, key):
        """At its start."""
        return step.t0

    def weigh(self, drawn, h):
        """The number of steps."""
        return drawn.count


class AbstractLocalStep(eqx.Module):
    """Which step is made where one was drawn."""

    @abc.abstractmethod
    def check(self, owner: str, problem: Problem) -> None:
        """Refuse a problem in which there is no such step.

        **Arguments:**

        - `owner`: the regularizer.
        - `problem`: what is to be solved.

        **Raises:** `ValueError`.
        """

    @abc.abstractmethod
    def place(self, step: Step, time: Float[Array, ""]) -> tuple[Float[Array, ""], PyTree]:
        """Where the step begins.

        **Arguments:**

        - `step`: the solver's step that was drawn.
        - `time`: the time that was drawn in it, a scalar.

        **Returns:** a time, a scalar, and the state there, a pytree of arrays `(...)`.
        """

    @abc.abstractmethod
    def measure_length(self, drawn: "Drawn", problem: Problem) -> Float[Array, ""]:
        """How long it is.

        **Arguments:**

        - `drawn`: what was drawn.
        - `problem`: what was solved.

        **Returns:** a scalar.
        """


class HairerStep(AbstractLocalStep):
    """A fresh start at the time that was drawn, of the length that Hairer and Wanner's automatic first step has.

    For one ordinary differential equation. It calls the field twice more.

    Reference: E. Hairer, S. Nørsett, G. Wanner, "Solving Ordinary Differential Equations I", 1993, section II.4.
    """

    def check(self, owner, problem):
        """It must be one ordinary differential equation."""
        if not problem.is_ordinary():
            raise ValueError(
                f"{owner}(step=HairerStep()) chooses the length of a step as for one ordinary differential equation, "
                "and these terms are another kind. Use step=SolverStep(), which makes the solver's own step once more, "
                "for a stochastic equation on the same path of the noise."
            )

    def place(self, step, time):
        """The solution at that time."""
        return time, step.interpolate(time)

    def measure_length(self, drawn, problem):
        """Two evaluations of the field, by diffrax's own routine; no longer than to the end of what was solved."""
        field = problem.terms
        direction = getattr(field, "direction", 1)
        # diffrax takes its chosen first step for a bare ODETerm only, and a fixed one for the term as it wraps it.
        bare = diffrax.ODETerm(
            lambda t, y, args: jax.tree.map(lambda rate: direction * rate, field.vf(t, y, args))
        )
        tolerances = problem.tolerances
        controller = diffrax.PIDController(
            rtol=tolerances.rtol,
            atol=tolerances.atol,
            norm=tolerances.norm,
            error_order=problem.solver.error_order(problem.terms),
        )
        end, _ = controller.init(
            bare,
            drawn.time,
            problem.t1,
            drawn.state,
            None,
            problem.args,
            lambda terms, t, y, args: terms.vf(t, y, args),
            None,
        )
        return jnp.minimum(jax.lax.stop_gradient(end - drawn.time), drawn.last - drawn.time)


class SolverStep(AbstractLocalStep):
    """The solver's own step once more, from its own start; for a stochastic equation on the same path of the noise."""

    def check(self, owner, problem):
        """There always is one."""

    def place(self, step, time):
        """The start of the step."""
        return step.t0, step.y0

    def measure_length(self, drawn, problem):
        """That of the solver's step."""
        return drawn.length


class Drawn(eqx.Module):
    """The step that is held.

    **Arguments:**

    - `time`, `state`: where to make it, a scalar and a pytree of arrays `(...)`.
    - `length`: of the solver's step there, a scalar.
    - `count`: how many steps there were, a scalar.
    - `elapsed`: how much time was solved, a scalar.
    - `last`: the end of what was solved, a scalar.
    """

    time: Float[Array, ""]
    state: PyTree[Float[Array, "..."]]
    length: Float[Array, ""]
    count: Float[Array, ""]
    elapsed: Float[Array, ""]
    last: Float[Array, ""]


class _AbstractLocal(AbstractRegularizer):
    """Draws a step, makes it once more, and measures something of it."""

    sampling: eqx.AbstractVar[AbstractSampling]
    step: eqx.AbstractVar[AbstractLocalStep]
    detach_state: eqx.AbstractVar[bool]
    weighted: eqx.AbstractVar[bool]
    scaled: eqx.AbstractVar[bool]
    power: eqx.AbstractVar[int]
    needs_key: ClassVar[bool] = True

    @abc.abstractmethod
    def measure(self, step: Step) -> Float[Array, ""]:
        """What is penalized, without the length of the step.

        **Arguments:**

        - `step`: the step that was made once more.

        **Returns:** a scalar.
        """

    def differentiates_steps(self):
        """Only if the state is not detached."""
        return not self.detach_state

    def begin(self, problem):
        """No step, and the start in its place."""
        zero = jnp.zeros_like(problem.t0)
        return Drawn(
            _cut(problem.t0), _keep(problem.y0, self.detach_state), zero, zero, zero, _cut(problem.t0)
        )

    def see(self, held, step, key):
        """Hold this step instead, or not."""
        choose, place = jax.random.split(jax.random.fold_in(key, step.index))
        taken = jax.random.uniform(choose, (), jnp.result_type(step.t0)) < self.sampling.probability(step)
        time, state = self.step.place(step, self.sampling.draw_time(step, place))
        new = (_cut(time), _keep(state, self.detach_state), _cut(step.t1 - step.t0))
        old = (held.time, held.state, held.length)
        kept = jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, old)
        dtype = held.count.dtype
        elapsed = _cut(step.t1 - step.problem.t0)
        return Drawn(*kept, jnp.asarray(step.index + 1, dtype), elapsed, _cut(step.t1))

    def end(self, held, problem, key):
        """Make the step, and measure it."""
        h = _cut(self.step.measure_length(held, problem))
        t0, t1, y0 = held.time, held.time + h, held.state
        solver = problem.solver
        state = solver.init(problem.terms, t0, t1, y0, problem.args)
        y1, error, dense, *_ = solver.step(problem.terms, t0, t1, y0, problem.args, state, False)
        number = self.measure(Step(problem, t0, t1, y0, y1, error, dense, 0)) ** self.power
        number = number * h if self.scaled else number
        return number * _cut(self.sampling.weigh(held, h)) if self.weighted else number


class LocalErrorEstimate(_AbstractLocal):
    """The error the solver estimates in one step, drawn at random: LRNDE.

        penalty = (E h)(t),    t drawn at random

    where the state there is a constant and so is the step, unless told otherwise, and all stages of the step are
    differentiated. (The released code does not differentiate the first stage.)

    **Arguments:**

    - `sampling`: `UniformTime()` or `SolverSteps()`.
    - `step`: `HairerStep()`, or `SolverStep()`, the one for stochastic equations.
    - `detach_state`: whether the state there is a constant. If not, the adjoint must differentiate the solver's steps.
    - `weighted`: whether to divide by the probability of what was drawn. With `SolverStep()` the penalty is then an
        unbiased estimate of `ErrorEstimate(power, Sum(), scaled)`.
    - `power`, `scaled`, `rtol`, `atol`: as for `ErrorEstimate`.

    **Raises:** `ValueError` as `ErrorEstimate`; in a solve, without a key.

    Reference: A. Pal, A. Edelman, C. Rackauckas, 2023, arXiv:2303.02262.
    """

    sampling: AbstractSampling = UniformTime()
    step: AbstractLocalStep = HairerStep()
    detach_state: bool = eqx.field(default=True, static=True)
    weighted: bool = eqx.field(default=False, static=True)
    power: int = eqx.field(default=1, static=True)
    scaled: bool = eqx.field(default=True, static=True)
    rtol: float | None = None
    atol: float | None = None

    def __check_init__(self):
        _check_parts("LocalErrorEstimate", self.sampling, self.step)
        check_power("LocalErrorEstimate", self.power)
        check_tolerances("LocalErrorEstimate", self.rtol, self.atol)

    def check(self, problem):
        """The solver must estimate its error, and a tolerance must be known."""
        check_error("LocalErrorEstimate", problem, self.rtol, self.atol)
        self.step.check("LocalErrorEstimate", problem)

    def end(self, held, problem, key):
        """Make the step in the tolerances given, and measure it."""
        tolerances = problem.tolerances.override(self.rtol, self.atol)
        problem = eqx.tree_at(lambda p: p.tolerances, problem, tolerances)
        return super().end(held, problem, key)

    def measure(self, step):
        """Its error."""
        return measure_error(step, None, None, 1)


class LocalStiffnessEstimate(_AbstractLocal):
    """The stiffness of one step, drawn at random; in 2023 it "did not yield positive results".

        penalty = (S h)(t),    t drawn at random

    **Arguments:**

    - `sampling`, `step`, `detach_state`, `weighted`: as for `LocalErrorEstimate`. `HairerStep()` needs a controller
        with tolerances.
    - `power`, `scaled`, `relative`: as for `StiffnessEstimate`.

    **Raises:** `ValueError` as `StiffnessEstimate`; in a solve, without a key.

    Reference: A. Pal, A. Edelman, C. Rackauckas, 2023, arXiv:2303.02262.
    """

    sampling: AbstractSampling = UniformTime()
    step: AbstractLocalStep = HairerStep()
    detach_state: bool = eqx.field(default=True, static=True)
    weighted: bool = eqx.field(default=False, static=True)
    power: int = eqx.field(default=1, static=True)
    scaled: bool = eqx.field(default=True, static=True)
    relative: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        _check_parts("LocalStiffnessEstimate", self.sampling, self.step)
        check_power("LocalStiffnessEstimate", self.power)

    def check(self, problem):
        """The solver must have two stages at the same time."""
        check_stages("LocalStiffnessEstimate", problem, self.relative)
        self.step.check("LocalStiffnessEstimate", problem)
        if isinstance(self.step, HairerStep) and problem.tolerances.rtol is None:
            raise ValueError(
                "LocalStiffnessEstimate(step=HairerStep()) chooses a step by the controller's tolerances, and it has "
                "none. Use step=SolverStep(), or diffrax.PIDController(rtol=..., atol=...)."
            )

    def measure(self, step):
        """Its stiffness."""
        return measure_stiffness(step, self.relative)


def _check_parts(owner: str, sampling: Any, step: Any) -> None:
    if not isinstance(sampling, AbstractSampling):
        raise ValueError(
            f"{owner} got sampling={sampling!r}; expected UniformTime() or SolverSteps(), with the parentheses."
        )
    if not isinstance(step, AbstractLocalStep):
        raise ValueError(
            f"{owner} got step={step!r}; expected HairerStep() or SolverStep(), with the parentheses."
        )


def _cut(x: Array) -> Array:
    return jax.lax.stop_gradient(x)


def _keep(state: PyTree, detached: bool) -> PyTree:
    return jax.tree.map(_cut, state) if detached else state
