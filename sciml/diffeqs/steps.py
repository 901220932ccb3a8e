"""What a regularizer sees of a solve: its terms and tolerances at first, and then one step after the other."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float, PyTree


class Tolerances(eqx.Module):
    """What an error is measured in: `RMS(error / (atol + rtol max(|y0|, |y1|)))`.

    **Arguments:**

    - `rtol`, `atol`: scalars, or `None` where the controller has none.
    - `norm`: of a pytree of arrays `(...)`, the controller's own.
    """

    rtol: float | Float[Array, ""] | None
    atol: float | Float[Array, ""] | None
    norm: Callable[[PyTree], Float[Array, ""]] = eqx.field(static=True, default=optx.rms_norm)

    def override(self, rtol: float | None, atol: float | None) -> "Tolerances":
        """Put others in the place of the controller's.

        **Arguments:**

        - `rtol`, `atol`: scalars, or `None` to leave them.

        **Returns:** the tolerances.
        """
        return Tolerances(self.rtol if rtol is None else rtol, self.atol if atol is None else atol, self.norm)

    def measure(self, error: PyTree, y0: PyTree, y1: PyTree) -> Float[Array, ""]:
        """The norm of an error in units of the tolerance: a step is accepted if it is below 1.

        **Arguments:**

        - `error`: the estimate of a step's error, a pytree of arrays `(...)`.
        - `y0`, `y1`: the states before and after it `(...)`.

        **Returns:** a scalar.
        """

        def scale(e, a, b):
            return e / (self.atol + self.rtol * jnp.maximum(jnp.abs(a), jnp.abs(b)))

        return self.norm(jax.tree.map(scale, error, y0, y1))


class Problem(eqx.Module):
    """What is solved. Time runs forwards, also where the solve was asked to run backwards.

    **Arguments:**

    - `terms`: as diffrax hands them to the solver.
    - `solver`: the solver.
    - `args`: of the terms.
    - `t0`, `t1`: the interval, scalars.
    - `y0`: the state at `t0`, a pytree of arrays `(...)`.
    - `tolerances`: of the controller.
    - `has_error`: whether the solver's steps come with an estimate of their error.
    - `dense`: the structure of what they leave for the interpolation.
    """

    terms: PyTree
    solver: diffrax.AbstractSolver
    args: PyTree
    t0: Float[Array, ""]
    t1: Float[Array, ""]
    y0: PyTree[Float[Array, "..."]]
    tolerances: Tolerances
    has_error: bool = eqx.field(static=True)
    dense: PyTree = eqx.field(static=True)

    def is_ordinary(self) -> bool:
        """Whether it is one ordinary differential equation.

        **Returns:** a Python boolean.
        """
        return isinstance(_unwrap(self.terms), diffrax.ODETerm)


class Step(eqx.Module):
    """One step that the solver proposes. What a regularizer makes of one that is rejected is forgotten.

    **Arguments:**

    - `problem`: what is solved.
    - `t0`, `t1`: the ends of the step, scalars.
    - `y0`, `y1`: the states there, pytrees of arrays `(...)`.
    - `error`: the estimate of its error `(...)`, or `None`.
    - `dense`: what the solver leaves for the interpolation.
    - `index`: how many steps were accepted before, a scalar.
    """

    problem: Problem
    t0: Float[Array, ""]
    t1: Float[Array, ""]
    y0: PyTree[Float[Array, "..."]]
    y1: PyTree[Float[Array, "..."]]
    error: PyTree[Float[Array, "..."]] | None
    dense: PyTree
    index: Any

    def interpolate(self, t: Float[Array, ""]) -> PyTree[Float[Array, "..."]]:
        """The state in between.

        **Arguments:**

        - `t`: a time of the step, a scalar.

        **Returns:** a pytree of arrays `(...)`.
        """
        solver = self.problem.solver
        return solver.interpolation_cls(t0=self.t0, t1=self.t1, **self.dense).evaluate(t)


def find_stage_pair(solver: diffrax.AbstractSolver, terms: PyTree) -> tuple[int, int] | None:
    """Two stages of a Runge-Kutta method at the same time in different states, from which stiffness is estimated.

    **Arguments:**

    - `solver`: any solver.
    - `terms`: what it solves.

    **Returns:** the last two such stages, counted from 0, or `None` if there are none.
    """
    tableau = getattr(solver, "tableau", None)
    if not isinstance(tableau, diffrax.ButcherTableau) or not isinstance(_unwrap(terms), diffrax.ODETerm):
        return None
    times = np.concatenate([[0.0 if tableau.c1 is None else tableau.c1], tableau.c])
    for last in range(len(times) - 1, 0, -1):
        if np.isclose(times[last], times[last - 1], rtol=0, atol=1e-12):
            return last - 1, last
    return None


def stage_weights(tableau: diffrax.ButcherTableau, stage: int) -> Float[np.ndarray, " stage"]:
    """A stage's row of the tableau: its state is `y0 + sum_j a_j h k_j`.

    **Arguments:**

    - `tableau`: of the method.
    - `stage`: counted from 0.

    **Returns:** the row `(stage,)`.
    """
    row = np.zeros(tableau.num_stages)
    if stage > 0:
        row[:stage] = tableau.a_lower[stage - 1]
    if tableau.a_diagonal is not None:
        row[stage] = tableau.a_diagonal[stage]
    return row


def _unwrap(terms: PyTree) -> PyTree:
    """The user's term: diffrax wraps it to reverse time, and names no public way to look inside."""
    return getattr(terms, "term", terms) if type(terms).__name__ == "WrapTerm" else terms
