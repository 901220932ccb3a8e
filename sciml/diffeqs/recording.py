"""How `solve` listens to diffrax's solver.

An adjoint in diffrax runs the loop over the steps. The one here runs the user's adjoint, with the solver replaced by
one that hands each step to the regularizers. What they hold travels in the solver's state, and not in the controller's,
since diffrax takes the solver's back when a step is rejected. Nothing of it is left in what diffrax returns but an
entry of `stats`, from which `solve` takes the penalties.
"""

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from .evaluations import find_cost
from .frozen_steps import FrozenSteps
from .regularizers import AbstractRegularizer
from .steps import Problem, Step, Tolerances

ENTRY = "sciml.diffeqs"
"""The name under which the penalties travel in `stats`."""

_FOLLOWED = (diffrax.RecursiveCheckpointAdjoint, diffrax.DirectAdjoint, diffrax.ForwardMode, FrozenSteps)


class RecordingAdjoint(diffrax.AbstractAdjoint):
    """Another adjoint, with regularizers that see its steps.

    **Arguments:**

    - `adjoint`: the one that differentiates the solve.
    - `regularizers`: what sees the steps.
    - `keys`: a random key for each, or `None`.
    """

    adjoint: diffrax.AbstractAdjoint
    regularizers: tuple[AbstractRegularizer, ...]
    keys: tuple[PRNGKeyArray | None, ...]

    def __check_init__(self):
        through = [r for r in self.regularizers if r.differentiates_steps()]
        if through and type(self.adjoint) not in _FOLLOWED:
            raise ValueError(_refuse(type(self.adjoint).__name__, through[0]))

    def loop(self, *, args, terms, solver, stepsize_controller, init_state, t0, t1, **kwargs):
        """As `diffrax.AbstractAdjoint.loop`, called by diffrax.

        **Arguments:**

        - `args`, `terms`, `solver`, `stepsize_controller`, `init_state`, `t0`, `t1`, `kwargs`: diffrax's own.

        **Returns:** the final state, and what is to go into the statistics.
        """
        solver = set_scan_kind(solver, self.adjoint)
        problem = _pose(args, terms, solver, stepsize_controller, init_state, t0, t1)
        for regularizer in self.regularizers:
            regularizer.check(problem)
        start = (t0, t1, init_state.y)
        if type(self.adjoint) not in _FOLLOWED:
            # To such an adjoint a solver is a constant; no penalty it may have depends on the start by its steps.
            start = jax.lax.stop_gradient(start)
        recorder = _Recorder(solver, self.regularizers, self.keys, problem.tolerances, start)
        # A list, as eqx.tree_at, by which diffrax cuts gradients, puts objects of its own in the place of empty tuples.
        held = [regularizer.begin(problem) for regularizer in self.regularizers]
        counting, inner_state = stepsize_controller, init_state.controller_state
        fresh = _FIRST
        if kwargs["passed_solver_state"]:  # then the last stage of the solve before can be used
            fresh = jnp.where(init_state.made_jump, _JUMPED, _USUAL)
        if isinstance(stepsize_controller, diffrax.AbstractAdaptiveStepSizeController):
            counting, inner_state = _Counting(stepsize_controller), (inner_state, fresh, 0, 0)
        state = dataclasses.replace(
            init_state, solver_state=(init_state.solver_state, held, 0), controller_state=inner_state
        )
        adjoint = _plain_backwards(self.adjoint, solver, stepsize_controller)
        final, aux = adjoint.loop(
            args=args,
            terms=terms,
            solver=recorder,
            stepsize_controller=counting,
            init_state=state,
            t0=t0,
            t1=t1,
            **kwargs,
        )
        solver_state, held, _ = final.solver_state
        controller_state = final.controller_state
        starts, jumps = (jnp.where(fresh == k, 1, 0) for k in (_FIRST, _JUMPED))
        if counting is not stepsize_controller:
            controller_state, _, starts, jumps = controller_state
        final = dataclasses.replace(final, solver_state=solver_state, controller_state=controller_state)
        penalties = tuple(
            regularizer.end(one, problem, key)
            for regularizer, one, key in zip(self.regularizers, held, self.keys, strict=True)
        )
        evaluations = _count(problem, final, starts, jumps)
        return final, {**aux, ENTRY: (penalties, *evaluations)}


class _Recorder(diffrax.AbstractWrappedSolver):
    """A solver that hands each of its steps to the regularizers, and is otherwise the one it wraps."""

    solver: diffrax.AbstractSolver
    regularizers: tuple[AbstractRegularizer, ...]
    keys: tuple[PRNGKeyArray | None, ...]
    tolerances: Tolerances
    start: tuple[Any, Any, PyTree]

    @property
    def term_structure(self):
        return self.solver.term_structure

    @property
    def term_compatible_contr_kwargs(self):
        return self.solver.term_compatible_contr_kwargs

    @property
    def interpolation_cls(self):
        return self.solver.interpolation_cls

    @property
    def scan_kind(self):
        return self.solver.scan_kind

    @property
    def root_finder(self):
        return self.solver.root_finder

    @property
    def root_find_max_steps(self):
        return self.solver.root_find_max_steps

    def order(self, terms):
        return self.solver.order(terms)

    def strong_order(self, terms):
        return self.solver.strong_order(terms)

    def error_order(self, terms):
        return self.solver.error_order(terms)

    def func(self, terms, t0, y0, args):
        return self.solver.func(terms, t0, y0, args)

    def init(self, terms, t0, t1, y0, args):
        raise RuntimeError("The state of a recorded solve is made before its loop.")

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        inner, held, index = solver_state
        y1, error, dense, inner, result = self.solver.step(terms, t0, t1, y0, args, inner, made_jump)
        problem = Problem(
            terms,
            self.solver,
            args,
            *self.start,
            self.tolerances,
            error is not None,
            jax.tree.structure(dense),
        )
        step = Step(problem, t0, t1, y0, y1, error, dense, index)
        held = [
            regularizer.see(one, step, key)
            for regularizer, one, key in zip(self.regularizers, held, self.keys, strict=True)
        ]
        return y1, error, dense, (inner, held, index + 1), result


# What a step comes after: another step, the start, a jump.
_USUAL, _FIRST, _JUMPED = 0, 1, 2


class _Counting(diffrax.AbstractAdaptiveStepSizeController):
    """A controller that counts how often a step was tried that could use no stage of the one before.

    It is counted here since diffrax does not take the state of a controller back when a step is rejected.
    """

    controller: diffrax.AbstractAdaptiveStepSizeController

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
        return _Counting(self.controller.wrap(direction))

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        tnext, state = self.controller.init(terms, t0, t1, y0, dt0, args, func, error_order)
        return tnext, (state, _FIRST, 0, 0)

    def adapt_step_size(self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state):
        inner, fresh, starts, jumps = controller_state
        keep, t0, t1, jump, inner, result = self.controller.adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error, error_order, inner
        )
        # By `where`, as sums of numbers and truths are refused under jax_numpy_dtype_promotion=strict.
        starts, jumps = (n + jnp.where(fresh == k, 1, 0) for n, k in ((starts, _FIRST), (jumps, _JUMPED)))
        fresh = jnp.where(keep, jnp.where(jump, _JUMPED, _USUAL), fresh)
        return keep, t0, t1, jump, (inner, fresh, starts, jumps), result


def set_scan_kind(solver: diffrax.AbstractSolver, adjoint: diffrax.AbstractAdjoint) -> diffrax.AbstractSolver:
    """Tell a solver by which kind of loop its stages must run.

    diffrax does this itself for the solvers it knows, but not for those within another one.

    **Arguments:**

    - `solver`: a solver.
    - `adjoint`: what differentiates it.

    **Returns:** the solver.
    """
    if isinstance(adjoint, FrozenSteps):
        return set_scan_kind(solver, adjoint.adjoint)
    kinds = {diffrax.DirectAdjoint: "bounded", diffrax.ForwardMode: "lax"}
    kind = kinds.get(type(adjoint))
    if kind is None:
        return solver
    if hasattr(type(solver), "scan_kind") or "scan_kind" in getattr(type(solver), "__dataclass_fields__", {}):
        return solver if solver.scan_kind is not None else dataclasses.replace(solver, scan_kind=kind)
    if isinstance(getattr(solver, "solver", None), diffrax.AbstractSolver):
        return dataclasses.replace(solver, solver=set_scan_kind(solver.solver, adjoint))
    return solver


def _pose(args, terms, solver, controller, state, t0, t1) -> Problem:
    """The problem, and what one step of it leaves."""
    adaptive = isinstance(controller, diffrax.AbstractAdaptiveStepSizeController)
    tolerances = (
        Tolerances(controller.rtol, controller.atol, controller.norm) if adaptive else Tolerances(None, None)
    )
    _, error, dense, *_ = eqx.filter_eval_shape(
        solver.step, terms, state.tprev, state.tnext, state.y, args, state.solver_state, state.made_jump
    )
    return Problem(
        terms, solver, args, t0, t1, state.y, tolerances, error is not None, jax.tree.structure(dense)
    )


def _plain_backwards(adjoint, solver, controller) -> diffrax.AbstractAdjoint:
    """Let `BacksolveAdjoint` solve its own equation, in which there is nothing to record, with the plain solver."""
    if type(adjoint) is not diffrax.BacksolveAdjoint:
        return adjoint
    return diffrax.BacksolveAdjoint(**{"solver": solver, "stepsize_controller": controller, **adjoint.kwargs})


def _count(problem: Problem, state: Any, starts: Any, jumps: Any) -> tuple[Array | None, Array | None]:
    """Evaluations of the field and of the diffusion, as far as they are known."""
    leaves = jax.tree.leaves(problem.terms, is_leaf=lambda x: isinstance(x, diffrax.AbstractBrownianPath))
    noisy = any(isinstance(leaf, diffrax.AbstractBrownianPath) for leaf in leaves)
    expensive = False
    if isinstance(problem.terms, diffrax.AbstractTerm):
        expensive = problem.terms.is_vf_expensive(problem.t0, problem.t1, problem.y0, problem.args)
    cost = find_cost(problem.solver, problem.terms, expensive, noisy)
    return (None, None) if cost is None else cost.count(state.num_steps, starts, jumps)


def _refuse(adjoint: str, regularizer: AbstractRegularizer) -> str:
    name = type(regularizer).__name__
    other = "use sciml.diffeqs.LocalErrorEstimate(), which any adjoint can follow"
    if hasattr(regularizer, "detach_state"):
        other = f"leave {name}(detach_state=True), which any adjoint can follow"
    return (
        f"{name} is a function of the solver's own steps, and {adjoint} does not differentiate those: its "
        "gradient would silently be 0, or wrong. Use adjoint=diffrax.RecursiveCheckpointAdjoint() (the default), "
        f"DirectAdjoint(), ForwardMode() or sciml.diffeqs.FrozenSteps(); or keep the adjoint and {other}."
    )
