"""A law on a moving mesh as an ordinary differential equation, for one step in which the mesh has one velocity.

Every step starts anew: from the solution at the nodes, the potential of the mesh, and a velocity for the step.
"""

import abc
from collections.abc import Callable

import diffrax
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..pdes import AbstractPDE
from .motion import Motion
from .structured import StructuredMesh
from .volumes import MeshFiniteVolume


class AbstractForm(eqx.Module):
    """What is integrated in time.

    The state is a dictionary: `u`, the `potential` of the mesh, and what else a form needs.
    """

    law: eqx.AbstractVar[AbstractPDE]
    motion: eqx.AbstractVar[Motion]

    @abc.abstractmethod
    def open(self, u: Float[Array, "channel *space"], potential: Float[Array, "*vertex"]) -> dict[str, Array]:
        """The state at the start of a step.

        **Arguments:**

        - `u`: the solution `(channel, *space)`.
        - `potential`: of the mesh `(*vertex,)`.

        **Returns:** the state, arrays `(...)`.
        """

    @abc.abstractmethod
    def hold(
        self, state: dict[str, Array], drift: Float[Array, "*vertex"]
    ) -> Callable[[Float[Array, ""], dict[str, Array]], dict[str, Array]]:
        """The right-hand side for one step.

        **Arguments:**

        - `state`: at the start of the step, arrays `(...)`.
        - `drift`: the rate of change of the potential during the step `(*vertex,)`.

        **Returns:** a function of time and state, arrays `(...)`. It gives NaN on a mesh that is tangled, so that the
            step is rejected.
        """

    @abc.abstractmethod
    def solution(self, state: dict[str, Array]) -> Float[Array, "channel *space"]:
        """The solution of a state, anywhere in a step.

        **Arguments:**

        - `state`: arrays `(...)`.

        **Returns:** values `(channel, *space)`.
        """


class PointwiseForm(AbstractForm):
    """`du/dt = rate(u) + w . grad u` at nodes that move by `w`.

    **Arguments:**

    - `law`: the equation.
    - `motion`: what moves the mesh.
    """

    law: AbstractPDE
    motion: Motion

    def open(self, u, potential):
        """See `AbstractForm.open`."""
        return {"u": u, "potential": potential}

    def hold(self, state, drift):
        """See `AbstractForm.hold`."""
        velocity = self.motion.to_points(self.motion.lattice.gradient(drift))

        def rate(t, state):
            mesh = self.motion.mesh(state["potential"])
            field = mesh.field(state["u"])
            carried = jnp.sum(mesh.gradient(field) * velocity, axis=1)
            change = self.law.rate(t, field, mesh) + carried
            return {"u": _if_untangled(mesh, change).astype(field.value.dtype), "potential": drift}

        return rate

    def solution(self, state):
        """See `AbstractForm.solution`."""
        return state["u"]


class ConservativeForm(AbstractForm):
    """`d(V u)/dt = V rate(u) + sum_f u w . n` for averages over cells of volume `V` with moving faces.

    The state has `V u` and `V`, both over `V` at the start of the step: so errors are measured in units of the
    solution, whatever the size of a cell. `V` is integrated beside `V u`, and not taken from the mesh, as the two must
    agree within a step, too, for a constant to stay constant.

    **Arguments:**

    - `law`: the equation.
    - `motion`: what moves the mesh.
    """

    law: AbstractPDE
    motion: Motion

    def open(self, u, potential):
        """See `AbstractForm.open`."""
        return {"u": u, "potential": potential, "volume": jnp.ones(u.shape[1:], u.dtype)}

    def hold(self, state, drift):
        """See `AbstractForm.hold`."""
        velocity = self.motion.lattice.gradient(drift)
        unit = MeshFiniteVolume(self.motion.mesh(state["potential"])).volumes

        def rate(t, state):
            mesh = self.motion.mesh(state["potential"])
            calculus = MeshFiniteVolume(mesh, velocity)
            field = calculus.field(self.solution(state))
            # The volume by which the calculus divided, so that what leaves one cell enters the next.
            change = (calculus.volumes * self.law.rate(t, field, calculus) + calculus.sweep(field)) / unit
            return {
                "u": _if_untangled(mesh, change).astype(field.value.dtype),
                "potential": drift,
                "volume": (calculus.growth / unit).astype(field.value.dtype),
            }

        return rate

    def solution(self, state):
        """See `AbstractForm.solution`."""
        return state["u"] / state["volume"]


class HeldMotion(diffrax.AbstractWrappedSolver):
    """A solver in whose steps the velocity of the mesh is held.

    Its methods are those of `diffrax.AbstractSolver`, and take

    - `terms`: of which the structure is used; each step makes its own.
    - `t0`, `t1`: where the step starts and ends, scalars `()`.
    - `y0`: the state of a form.
    - `args`: the form.
    - `solver_state`, `made_jump`: the solver's; the latter a scalar `()`.

    **Arguments:**

    - `solver`: takes the steps.
    """

    solver: diffrax.AbstractSolver

    @property
    def term_structure(self):
        """That of the solver."""
        return self.solver.term_structure

    @property
    def interpolation_cls(self):
        """That of the solver."""
        return self.solver.interpolation_cls

    @property
    def scan_kind(self):
        """That of the solver, which adjoints set."""
        return self.solver.scan_kind

    @property
    def root_finder(self):
        """That of the solver, which takes its tolerances from the controller."""
        return self.solver.root_finder

    def order(self, terms):
        """That of the solver, which takes the path of the mesh as it is given."""
        return self.solver.order(terms)

    def strong_order(self, terms):
        """That of the solver."""
        return self.solver.strong_order(terms)

    def error_order(self, terms):
        """That of the solver."""
        return self.solver.error_order(terms)

    def init(self, terms, t0, t1, y0, args):
        """That of the solver; arrays are `(...)`."""
        return self.solver.init(terms, t0, t1, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        """One step; arrays are `(...)`."""
        drift = args.motion.velocity(args.solution(y0), y0["potential"], t1 - t0)
        rate = args.hold(y0, drift)
        term = diffrax.ODETerm(lambda t, y, _: rate(t, y))
        # The velocity jumps between steps: the last stage of the one before is not the first of this one.
        y1, *rest = self.solver.step(term, t0, t1, y0, args, solver_state, made_jump=True)
        return args.open(args.solution(y1), y1["potential"]), *rest

    def func(self, terms, t0, y0, args):
        """The rate of change on a mesh at rest; arrays are `(...)`."""
        return terms.vf(t0, y0, args)


def rate_at_rest(t: Float[Array, ""], state: dict[str, Array], form: AbstractForm) -> dict[str, Array]:
    """The right-hand side on a mesh that does not move.

    **Arguments:**

    - `t`: time, a scalar.
    - `state`: of the form, arrays `(...)`.
    - `form`: what is integrated.

    **Returns:** per time, arrays `(...)`.
    """
    return form.hold(state, jnp.zeros_like(state["potential"]))(t, state)


def _if_untangled(mesh: StructuredMesh, values: Array) -> Array:
    return jnp.where(jnp.min(mesh.corner_jacobians) > 0, values, jnp.nan)
