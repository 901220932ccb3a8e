"""A law as the last layer of a network: the network proposes basis functions, a solve weighs them.

    u(t, x) = lift(t, x) + sum_i w_i b_i(t, x),    w = argmin |rows(w)|^2

where the rows are the residual of the law at points of a space-time grid, and the initial and boundary conditions as
far as they are not met by construction. The linear operators the law applies to `u` are tabulated once per basis
function, so the solve contracts tables and never differentiates in space or time. The answer is differentiable in the
network through the optimality of the weights, exactly.

**References:** Negiar, Mahoney, Krishnapriyan, "Learning differentiable solvers for systems with hard constraints",
2023, arXiv 2207.08675; Chalapathi, Du, Krishnapriyan, "Scaling physics-informed hard constraints with
mixture-of-experts", 2024, arXiv 2402.13412.
"""

from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..pdes import AbstractPDE
from .backends import AbstractBackend
from .certificate import Certificate
from .conditions import (
    AbstractStart,
    AbstractWalls,
    DiscretizedWalls,
    LiftedStart,
    LiftedWalls,
    check_corners,
)
from .couplings import AbstractSpread, Independent, Together
from .domains import AbstractDomain
from .implicit import AbstractDerivative, ExactDerivative
from .levenberg_marquardt import LevenbergMarquardt
from .partitions import Partition
from .sampling import AbstractSampling, AllPoints
from .scaling import AbstractScaling, NonDimensional, RowScales
from .solving import solve_system
from .systems import System
from .terms import LawResidual, find_terms

TOGETHER = Together()


class ConstrainedField(eqx.Module):
    """An answer and what it is worth.

    **Arguments:**

    - `value`: the field `(time, channel, *space)`; at scattered points `(channel, point)`.
    - `weights`: those of the basis functions, `(expert, basis)`.
    - `residual`: `(u_t - rate) duration / size` at every point, without units, the shape of `value`.
    - `loss`: the sum of squares of all weighted rows, at all points and over all interfaces, a scalar. It needs no
      data; train on its root.
    - `certificate`: see [`Certificate`][sciml.constraints.Certificate].
    """

    value: Float[Array, "..."]
    weights: Float[Array, "expert basis"]
    residual: Float[Array, "..."]
    loss: Float[Array, ""]
    certificate: Certificate


class HardConstraint(eqx.Module):
    """A network whose answers obey a law.

    ```python
    grid = SpaceTimeGrid(Spectral(Grid(Box(0.0, 1.0), 64)), jnp.linspace(0.0, 0.5, 33))
    network = FNO(2, grid.count_inputs(1), 16, periodic=(False, True), key=jax.random.key(0))
    field = HardConstraint(network, Burgers(0.02), grid)(start)
    ```

    **Day to day:**

    - `network`: any callable that maps `(in_channel, time, *space)`, as `SpaceTimeGrid.encode` makes it, to
      `(basis * channel, time, *space)`; or for `SpaceTimePoints` a function of coordinates, as is said there.
    - `law`: the equation.
    - `domain`: a grid in space and time, or scattered points.
    - `start`: how the initial condition is met, exactly by default.
    - `walls`: how the walls are met, by the calculus by default.

    **The rest:**

    - `scaling`: how rows are weighed.
    - `sampling`: at which points the law is enforced.
    - `coarse`: solve on every so-many-th point first, and start from there; 1 for not.
    - `frozen`: so many solves first with the values of the field frozen where the law uses them beside its operators.
      For a law linear in its derivatives each is a linear problem, without local minima.
    - `solver`: of the least-squares problem, as for [`least_squares`][sciml.constraints.least_squares]: ours, or
        `Optimistix()` or `Jaxopt()`.
    - `derivative`: what the derivative of the weights is taken to be: `ExactDerivative()`, or `GaussNewtonDerivative()`
        or `StopGradient()`, which cost less and may mislead training.
    - `regularization`: added to the rows as `regularization * w`.

    **Raises:** `TypeError` or `ValueError` for a law that cannot be tabulated.
    """

    network: Callable
    law: AbstractPDE
    domain: AbstractDomain
    start: AbstractStart = LiftedStart()
    walls: AbstractWalls = DiscretizedWalls()
    scaling: AbstractScaling = NonDimensional()
    sampling: AbstractSampling = AllPoints()
    coarse: int = eqx.field(static=True, default=1)
    frozen: int = eqx.field(static=True, default=2)
    solver: LevenbergMarquardt | AbstractBackend = LevenbergMarquardt()
    derivative: AbstractDerivative = ExactDerivative()
    regularization: float = 1e-6

    def __check_init__(self):
        find_terms(self.law, self.domain.dimensions)
        if not isinstance(self.coarse, int) or self.coarse < 1:
            raise ValueError(f"coarse is a whole number of at least 1; got {self.coarse}.")

    def __call__(
        self,
        start: PyTree,
        *,
        key: PRNGKeyArray | None = None,
        throw: bool = True,
        spread: AbstractSpread = TOGETHER,
    ) -> ConstrainedField:
        """The field from a given start.

        **Arguments:**

        - `start`: the initial condition: values `(channel, *space)` on a grid, a function `(dim,) -> (channel,)` at
            scattered points.
        - `key`: a random key, for samplings that are random.
        - `throw`: whether a solve that did not converge is an error; otherwise the certificate says so.
        - `spread`: how solves are laid out over devices; `OnDevices` sees to it.

        **Returns:** the field with its certificate.

        **Raises:** `ValueError` for a start of another shape and for fewer rows than weights; a `RuntimeError` when run
        for a solve that did not converge.
        """
        whole = Partition((1,) * len(self.domain.shape), self.domain.shape)
        system, scales = self.make_system(start)
        return solve_system(self, system, scales, whole, Independent(), start, key, throw, spread)

    def residual_of(self) -> LawResidual:
        """The law as a function of its terms."""
        return LawResidual(self.law, find_terms(self.law, self.domain.dimensions))

    def propose(
        self, start: PyTree, windows: Float[Array, "expert time *space"] | None = None
    ) -> tuple[PyTree, PyTree]:
        """The basis that the network proposes, with the conditions that are met by construction.

        **Arguments:**

        - `start`: the initial condition.
        - `windows`: as for `make_system`, `(expert, time, *space)`.

        **Returns:** the basis, and the field it is added to.
        """
        basis = self.domain.evaluate_basis(self.network, start)
        if windows is not None:
            basis = (windows[:, None, :, None] * basis[None]).reshape(-1, *basis.shape[1:])
        return self.walls.apply(self.domain, *self.start.apply(self.domain, basis, start))

    def make_system(
        self, start: PyTree, windows: Float[Array, "expert time *space"] | None = None
    ) -> tuple[System, RowScales]:
        """Tabulate the law and its conditions for the basis that the network proposes.

        **Arguments:**

        - `start`: the initial condition.
        - `windows`: functions each basis function is multiplied by in turn, `(expert, time, *space)`.

        **Returns:** the system and the scales of its rows.
        """
        residual = self.residual_of()
        values = self.domain.sample(start, residual.terms.channels)
        if isinstance(self.start, LiftedStart) and isinstance(self.walls, LiftedWalls):
            values = check_corners(self.domain, start, values)
        basis, lift = self.propose(start, windows)
        scales = self.scaling(self.domain, values)
        tables, offset = self.domain.tabulate(
            residual.terms, basis, lift, scales.equation, conditioned=self.walls.conditioned
        )
        start_rows = self.domain.start_conditions(basis, lift, start)
        wall_rows = self.domain.wall_conditions(basis, lift)
        return System(tables, offset, start_rows, wall_rows), scales


def evaluate_field(
    constraint: HardConstraint,
    start: PyTree,
    weights: Float[Array, "expert basis"],
    points: Float[Array, "place axis"],
) -> Float[Array, "channel place"]:
    """A field at places where nothing was solved.

    **Arguments:**

    - `constraint`: on `SpaceTimePoints`.
    - `start`: the initial condition of the field.
    - `weights`: those of the field, `(expert, basis)` with one expert.
    - `points`: where, time first, `(place, axis)`.

    **Returns:** values `(channel, place)`.
    """
    basis, lift = constraint.propose(start)
    return jax.vmap(lambda place: lift(place) + weights[0] @ basis(place))(points).T
