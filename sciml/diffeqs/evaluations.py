"""How often a solver calls the vector field: known for each method, and counted from the steps it made.

A method that keeps the last stage of a step as the first of the next (FSAL) calls the field once less each step, but
not in a first step, after a jump, and when either of these was rejected and is tried again.
"""

from typing import NamedTuple

import diffrax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from .sri import SOSRI, SOSRI2, SRIW1

_Count = int | Int[Array, ""]


class Cost(NamedTuple):
    """Evaluations of the field (the drift, in a stochastic equation) and of the diffusion.

    **Arguments:**

    - `drift`, `diffusion`: for each step, accepted or not.
    - `first_drift`, `first_diffusion`: more of them where the last stage of the step before cannot be used.
    - `starts_once`: whether a first step that is rejected and tried again need not begin anew.
    - `begins`: how often a step that begins anew does so.
    """

    drift: int
    diffusion: int = 0
    first_drift: int = 0
    first_diffusion: int = 0
    starts_once: bool = False
    begins: int = 1

    def count(self, steps: _Count, starts: _Count, jumps: _Count) -> tuple[_Count, _Count]:
        """What a solve has cost.

        **Arguments:**

        - `steps`: all steps, a scalar.
        - `starts`: how often the first step was tried, a scalar.
        - `jumps`: how often a step just after a jump was tried, a scalar.

        **Returns:** the evaluations of the field and those of the diffusion, scalars.
        """
        begun = self.begins * jumps + (jnp.minimum(starts, 1) if self.starts_once else self.begins * starts)
        return (
            self.drift * steps + self.first_drift * begun,
            self.diffusion * steps + self.first_diffusion * begun,
        )


def find_cost(solver: diffrax.AbstractSolver, terms: PyTree, expensive: bool, noisy: bool) -> Cost | None:
    """What a step of a solver costs.

    **Arguments:**

    - `solver`: the solver.
    - `terms`: what it solves.
    - `expensive`: whether the term says that its field is expensive; diffrax then keeps no stage.
    - `noisy`: whether there is a Brownian motion in the terms.

    **Returns:** the cost, or `None` where it is not known: for implicit methods, as diffrax does not say how often
    their root finders call the field, and for solvers that are not listed here.
    """
    if isinstance(solver, diffrax.HalfSolver):
        inner = find_cost(solver.solver, terms, expensive, noisy)
        # The two half steps and the whole one; the second half can use the last stage of the first.
        return inner and inner._replace(drift=3 * inner.drift, diffusion=3 * inner.diffusion, begins=2)
    if isinstance(solver, diffrax.AbstractImplicitSolver):
        return None
    if isinstance(solver, diffrax.AbstractERK):
        kept = 1 if solver.tableau.fsal and not expensive else 0
        stages = solver.tableau.num_stages - kept
        return Cost(stages, stages if noisy else 0, kept, kept if noisy else 0)
    if isinstance(solver, diffrax.AbstractSRK):
        return _count_srk(solver.tableau)
    if isinstance(solver, (SOSRI, SOSRI2, SRIW1)):
        return Cost(len(solver.tableau.drift_stages), solver.tableau.stages)
    for kind, cost in _ONE_BY_ONE.items():
        if type(solver) is kind:
            return cost if noisy else cost._replace(diffusion=0, first_diffusion=0)
    return None


_ONE_BY_ONE: dict[type, Cost] = {
    diffrax.Euler: Cost(1, 1),
    diffrax.EulerHeun: Cost(1, 2),
    # Once for its value, and once more with its derivative.
    diffrax.ItoMilstein: Cost(1, 2),
    diffrax.StratonovichMilstein: Cost(1, 2),
    diffrax.LeapfrogMidpoint: Cost(1),
    diffrax.SemiImplicitEuler: Cost(1),
    diffrax.ReversibleHeun: Cost(1, 1, 1, 1, starts_once=True),
}


def _count_srk(tableau) -> Cost:
    stages = len(tableau.b_sol)
    ignored_f = 0 if tableau.ignore_stage_f is None else int(sum(tableau.ignore_stage_f))
    ignored_g = 0 if tableau.ignore_stage_g is None else int(sum(tableau.ignore_stage_g))
    # Noise that is additive is evaluated at both ends of the step, and nowhere else. For other noise diffrax asks once
    # for each of the step's integrals, at the same point, which counts as one.
    return Cost(stages - ignored_f, 2 if tableau.is_additive_noise() else stages - ignored_g)
