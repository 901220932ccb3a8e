"""`solve`: `diffrax.diffeqsolve`, with penalties on how hard the solver had to work."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from .recording import ENTRY, RecordingAdjoint
from .regularizers import AbstractRegularizer


class RegularizedSolution(diffrax.Solution):
    """A `diffrax.Solution` with a penalty.

    Besides diffrax's own entries `stats` has `num_evaluations`, how often the field (the drift, if there is noise) was
    called in the solve, rejected steps and first stages counted, and `num_diffusion_evaluations`. They are `None` for
    implicit solvers, since diffrax does not say how often their root finders call the field, and for solvers that are
    not diffrax's or ours. What a penalty calls on its own is not in them.

    **Arguments:**

    - `penalty`: a scalar for one regularizer; for a tuple of regularizers a tuple of scalars.
    - `t0`, `t1`, `made_jump`, `event_mask`: as for `diffrax.Solution`, scalars.
    - `ts`, `ys`, `interpolation`, `stats`, `result`, `solver_state`, `controller_state`: as for `diffrax.Solution`.
    """

    penalty: Float[Array, ""] | tuple[Float[Array, ""], ...]


def solve(
    terms: PyTree[diffrax.AbstractTerm],
    solver: diffrax.AbstractSolver,
    t0: float | Float[Array, ""],
    t1: float | Float[Array, ""],
    dt0: float | Float[Array, ""] | None,
    y0: PyTree[Any],
    args: PyTree[Any] = None,
    *,
    regularizer: AbstractRegularizer | tuple[AbstractRegularizer, ...] | None = None,
    key: PRNGKeyArray | None = None,
    saveat: diffrax.SaveAt = diffrax.SaveAt(t1=True),  # noqa: B008
    stepsize_controller: diffrax.AbstractStepSizeController = diffrax.ConstantStepSize(),  # noqa: B008
    adjoint: diffrax.AbstractAdjoint = diffrax.RecursiveCheckpointAdjoint(),  # noqa: B008
    event: diffrax.Event | None = None,
    max_steps: int | None = 4096,
    throw: bool = True,
    progress_meter: diffrax.AbstractProgressMeter = diffrax.NoProgressMeter(),  # noqa: B008
    solver_state: PyTree[Any] | None = None,
    controller_state: PyTree[Any] | None = None,
    made_jump: Any = None,
    discrete_terminating_event: Any = None,
) -> diffrax.Solution:
    """Solve a differential equation, and say what its solver found hard, as penalties to train with.

        solution = solve(terms, Tsit5(), 0, 1, None, y0, regularizer=ErrorEstimate(), stepsize_controller=...)
        loss = task(solution.ys) + coefficient * solution.penalty

    Without a regularizer this is `diffrax.diffeqsolve`, and what it returns is diffrax's. With one, the solution, its
    steps and its gradient are the same, and the penalty comes with them. `regularizer=()` has no penalty, but counts
    evaluations. It works under `jit`, `vmap` (one penalty and one count for each sample; a batch that is *one* state
    has one of each) and `scan`.

    The gradient of a penalty is that along the steps which were made: the sizes of the steps are constants in it, as in
    diffrax. Compare it with finite differences along fixed steps (`diffrax.StepTo`), or they will not agree.

    **Day to day:**

    - `terms`, `solver`, `y0`, `args`, `saveat`, `stepsize_controller`: as for `diffrax.diffeqsolve`.
    - `t0`, `t1`, `dt0`: the interval and the first step, scalars. With `dt0=None` diffrax 0.7 begins with a step of
        0.01, whatever the tolerance.
    - `regularizer`: one, such as `ErrorEstimate()`, or a tuple of them, made in the same solve.
    - `key`: a random key, for regularizers that sample.

    **The rest:**

    - `adjoint`: as for `diffrax.diffeqsolve`. Penalties on the solver's own steps need one that differentiates those;
        the others are refused. `FrozenSteps()` is for fields that are not defined everywhere.
    - `event`, `max_steps`, `throw`, `progress_meter`, `solver_state`, `controller_state`, `made_jump`: as for
        `diffrax.diffeqsolve`.
    - `discrete_terminating_event`: as for `diffrax.diffeqsolve`, where it is deprecated. Where an event ends the solve
        within a step, penalties count the whole step.

    **Returns:** without a regularizer a `diffrax.Solution`; with one a `RegularizedSolution`: also its `penalty`, a
    scalar or a tuple of scalars, and the number of evaluations in `stats`.

    **Raises:** what `diffrax.diffeqsolve` raises; `ValueError` for a regularizer that the solver, the controller or the
    adjoint does not support, or that samples and is given no key. Where `throw=False` and `max_steps` was reached,
    `solution.result` says so, and the penalty is that of the steps which were made.
    """
    passed = {
        "saveat": saveat,
        "stepsize_controller": stepsize_controller,
        "event": event,
        "max_steps": max_steps,
        "throw": throw,
        "progress_meter": progress_meter,
        "solver_state": solver_state,
        "controller_state": controller_state,
        "made_jump": made_jump,
        "discrete_terminating_event": discrete_terminating_event,
    }
    if regularizer is None:
        return diffrax.diffeqsolve(terms, solver, t0, t1, dt0, y0, args, adjoint=adjoint, **passed)
    several = isinstance(regularizer, tuple)
    regularizers = regularizer if several else (regularizer,)
    keys = _deal(regularizers, key)
    recording = RecordingAdjoint(adjoint, regularizers, keys)
    solution = diffrax.diffeqsolve(terms, solver, t0, t1, dt0, y0, args, adjoint=recording, **passed)
    stats = dict(solution.stats)
    penalties, evaluations, diffusions = stats.pop(ENTRY)
    stats |= {"num_evaluations": evaluations, "num_diffusion_evaluations": diffusions}
    fields = {name: getattr(solution, name) for name in diffrax.Solution.__dataclass_fields__}
    return RegularizedSolution(**{**fields, "stats": stats}, penalty=penalties if several else penalties[0])


def is_finished(solution: diffrax.Solution) -> Bool[Array, ""]:
    """Whether a solve came to its end, or all solves of a `vmap` did: for training with `throw=False`.

    **Arguments:**

    - `solution`: what `solve` or `diffrax.diffeqsolve` returned.

    **Returns:** a scalar. It is false where `max_steps` was reached, or the controller gave up.
    """
    return jnp.all(diffrax.is_okay(solution.result))


def _deal(
    regularizers: tuple[AbstractRegularizer, ...], key: PRNGKeyArray | None
) -> tuple[PRNGKeyArray | None, ...]:
    """A key for each regularizer."""
    for regularizer in regularizers:
        if not isinstance(regularizer, AbstractRegularizer):
            raise ValueError(
                f"solve got regularizer={regularizer!r}; expected one such as sciml.diffeqs.ErrorEstimate(), with the "
                "parentheses, or a tuple of them."
            )
        if regularizer.needs_key and key is None:
            raise ValueError(
                f"{type(regularizer).__name__} draws at random, and key is None; expected a key, a new one for each "
                "training step. Pass solve(..., key=...)."
            )
    if key is None:
        return (None,) * len(regularizers)
    return tuple(jax.random.fold_in(key, i) for i in range(len(regularizers)))
