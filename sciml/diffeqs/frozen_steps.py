"""Differentiate along the accepted steps only.

A field may be undefined where a step that is rejected has tried it: a square root of a negative number is NaN, and so
is the estimate of the step's error, which is why it is rejected. The solution is as it should be, but 0 times NaN is
NaN: the gradient through the loop is lost, although the rejected step has no part in the solution.

So the equation is solved once, for the times of the accepted steps, and then again along these, which is what is
differentiated. The solution is the same to the bit; it costs one more solve without rejected steps.
"""

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree


class FrozenSteps(diffrax.AbstractAdjoint):
    """An adjoint for fields that are not defined everywhere: no rejected step is in what it differentiates.

    For `solve` and for `diffrax.diffeqsolve`. The gradient is the one diffrax gives where no rejected step is in the
    way: that along fixed steps. Statistics are those of the first solve, with rejected steps.

    **Arguments:**

    - `adjoint`: what differentiates along the accepted steps.

    **Raises:** `ValueError` for an adjoint that does not differentiate the solver's steps; in a solve, without
    `max_steps`.
    """

    adjoint: diffrax.AbstractAdjoint = diffrax.RecursiveCheckpointAdjoint()

    def __check_init__(self):
        known = (diffrax.RecursiveCheckpointAdjoint, diffrax.DirectAdjoint, diffrax.ForwardMode)
        if not isinstance(self.adjoint, known):
            raise ValueError(
                f"FrozenSteps got adjoint={self.adjoint!r}; expected diffrax.RecursiveCheckpointAdjoint(), "
                "DirectAdjoint() or ForwardMode(), which differentiate the solver's own steps."
            )

    def loop(
        self,
        *,
        stepsize_controller: diffrax.AbstractStepSizeController,
        init_state: Any,
        max_steps: int | None,
        progress_meter: diffrax.AbstractProgressMeter,
        **kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]:
        """As `diffrax.AbstractAdjoint.loop`, called by diffrax.

        **Arguments:**

        - `stepsize_controller`, `init_state`, `max_steps`, `progress_meter`, `kwargs`: diffrax's own.

        **Returns:** the final state, and what is to go into the statistics.

        **Raises:** `ValueError` if `max_steps` is `None`.
        """
        kwargs = {**kwargs, "max_steps": max_steps}
        if not isinstance(stepsize_controller, diffrax.AbstractAdaptiveStepSizeController):
            return self.adjoint.loop(
                stepsize_controller=stepsize_controller,
                init_state=init_state,
                progress_meter=progress_meter,
                **kwargs,
            )
        if max_steps is None:
            raise ValueError(
                "FrozenSteps keeps the times of all steps, and max_steps is None; expected a number, such as 4096."
            )
        silent = diffrax.NoProgressMeter()
        first, _ = self.adjoint.loop(
            stepsize_controller=_Noting(stepsize_controller),
            init_state=dataclasses.replace(
                _cut(init_state),
                controller_state=(
                    _cut(init_state.controller_state),
                    _Steps.begin(max_steps, init_state.tprev),
                ),
                progress_meter_state=silent.init(),
            ),
            progress_meter=silent,
            **{name: _cut(value) for name, value in kwargs.items()},
        )
        controller_state, steps = _cut(first.controller_state)
        any_step = steps.count > 0
        state = dataclasses.replace(
            init_state,
            tnext=jnp.where(any_step, steps.ends[0], init_state.tnext),
            controller_state=0,
        )
        failed = jnp.logical_not(diffrax.is_okay(first.result))
        failure = diffrax.RESULTS.where(failed, _cut(first.result), diffrax.RESULTS.successful)
        final, aux = self.adjoint.loop(
            stepsize_controller=_Replaying(
                stepsize_controller, steps, failure, eqx.is_array(first.made_jump)
            ),
            init_state=state,
            progress_meter=progress_meter,
            **kwargs,
        )
        final = dataclasses.replace(
            final,
            controller_state=controller_state,
            made_jump=first.made_jump,
            num_steps=first.num_steps,
            num_accepted_steps=first.num_accepted_steps,
            num_rejected_steps=first.num_rejected_steps,
        )
        return final, aux


class _Steps(eqx.Module):
    """The accepted steps of a solve."""

    starts: Float[Array, " step"]
    ends: Float[Array, " step"]
    jumps: Bool[Array, " step"]
    count: Int[Array, ""]

    @classmethod
    def begin(cls, size: int, t0: Float[Array, ""]) -> "_Steps":
        times = jnp.zeros(size, jnp.result_type(t0))
        return cls(times, times, jnp.zeros(size, bool), jnp.zeros((), jnp.int32))


class _AbstractInstead(diffrax.AbstractAdaptiveStepSizeController):
    """A controller in the place of another one, with its tolerances."""

    controller: eqx.AbstractVar[diffrax.AbstractAdaptiveStepSizeController]

    @property
    def rtol(self):
        return self.controller.rtol

    @property
    def atol(self):
        return self.controller.atol

    @property
    def norm(self):
        return self.controller.norm

    def wrap(self, direction):
        raise RuntimeError("It is put in place after diffrax has settled the direction of time.")

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        raise RuntimeError("Its state is made before the loop.")


class _Noting(_AbstractInstead):
    """Does what another controller does, and notes the steps it accepts."""

    controller: diffrax.AbstractAdaptiveStepSizeController

    def adapt_step_size(self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state):
        inner, steps = controller_state
        keep, tprev, tnext, jump, inner, result = self.controller.adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error, error_order, inner
        )
        n = steps.count
        # A step that is rejected is overwritten by the one that takes its place.
        steps = _Steps(
            steps.starts.at[n].set(t0),
            steps.ends.at[n].set(t1),
            steps.jumps.at[n].set(jump),
            n + jnp.where(keep, 1, 0),
        )
        return keep, tprev, tnext, jump, (inner, steps), result


class _Replaying(_AbstractInstead):
    """Makes the steps that were noted, and ends as their solve ended."""

    controller: diffrax.AbstractAdaptiveStepSizeController
    steps: _Steps
    failure: diffrax.RESULTS
    jumps: bool = eqx.field(static=True)

    def adapt_step_size(self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state):
        index, steps = controller_state, self.steps
        keep, last = index < steps.count, index + 1 >= steps.count
        # Under vmap a solve that has ended goes on making steps that are forgotten: of no length, where it ended, since
        # a longer one might leave the field's domain.
        tprev = jnp.where(last, jnp.where(keep, t1, t0), steps.starts[index + 1])
        tnext = jnp.where(last, tprev, steps.ends[index + 1])
        result = diffrax.RESULTS.where(last, self.failure, diffrax.RESULTS.successful)
        # Where no controller ever jumps, diffrax compiles less if it knows.
        jump = steps.jumps[index] if self.jumps else False
        return keep, tprev, tnext, jump, index + 1, result


def _cut(tree: PyTree) -> Any:
    """Stop the gradient at every array."""
    return jax.tree.map(lambda x: jax.lax.stop_gradient(x) if eqx.is_inexact_array(x) else x, tree)
