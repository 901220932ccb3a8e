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
from jaxtyping import Array, Float, PRNGKeyArray

from ..pdes import AbstractPDE
from .certificate import Certificate
from .conditions import (
    AbstractStart,
    AbstractWalls,
    DiscretizedWalls,
    LiftedStart,
    LiftedWalls,
    check_corners,
)
from .grids import SpaceTimeGrid
from .levenberg_marquardt import LevenbergMarquardt
from .partitions import Partition
from .sampling import AbstractSampling, AllPoints
from .scaling import AbstractScaling, NonDimensional, RowScales
from .solving import AbstractSpread, Independent, Together, solve_system
from .systems import Conditions, System, join_conditions
from .terms import LawResidual, find_terms

TOGETHER = Together()


class ConstrainedField(eqx.Module):
    """An answer and what it is worth.

    **Arguments:**

    - `value`: the field `(time, channel, *space)`.
    - `weights`: those of the basis functions, `(expert, basis)`.
    - `residual`: `(u_t - rate) duration / size` at every point, without units, `(time, channel, *space)`.
    - `loss`: the sum of squares of all weighted rows, at all points and over all interfaces, a scalar. It needs no
      data; train on its root.
    - `certificate`: see [`Certificate`][sciml.constraints.Certificate].
    """

    value: Float[Array, "time channel *space"]
    weights: Float[Array, "expert basis"]
    residual: Float[Array, "time channel *space"]
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
      `(basis * channel, time, *space)`.
    - `law`: the equation.
    - `domain`: the grid in space and time.
    - `start`: how the initial condition is met, exactly by default.
    - `walls`: how the walls are met, by the calculus by default.

    **The rest:**

    - `scaling`: how rows are weighed.
    - `sampling`: at which points the law is enforced.
    - `coarse`: solve on every so-many-th point first, and start from there; 1 for not.
    - `frozen`: so many solves first with the values of the field frozen where the law uses them beside its operators.
      For a law linear in its derivatives each is a linear problem, without local minima.
    - `solver`: of the least-squares problem.
    - `regularization`: added to the rows as `regularization * w`.

    **Raises:** `TypeError` or `ValueError` for a law that cannot be tabulated.
    """

    network: Callable
    law: AbstractPDE
    domain: SpaceTimeGrid
    start: AbstractStart = LiftedStart()
    walls: AbstractWalls = DiscretizedWalls()
    scaling: AbstractScaling = NonDimensional()
    sampling: AbstractSampling = AllPoints()
    coarse: int = eqx.field(static=True, default=1)
    frozen: int = eqx.field(static=True, default=2)
    solver: LevenbergMarquardt = LevenbergMarquardt()
    regularization: float = 1e-6

    def __check_init__(self):
        find_terms(self.law, self.domain.calculus.dimensions)
        if not isinstance(self.coarse, int) or self.coarse < 1:
            raise ValueError(f"coarse is a whole number of at least 1; got {self.coarse}.")

    def __call__(
        self,
        start: Float[Array, "channel *space"],
        *,
        key: PRNGKeyArray | None = None,
        throw: bool = True,
        spread: AbstractSpread = TOGETHER,
    ) -> ConstrainedField:
        """The field from a given start.

        **Arguments:**

        - `start`: the initial values `(channel, *space)`.
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
        return LawResidual(self.law, find_terms(self.law, self.domain.calculus.dimensions))

    def make_system(
        self,
        start: Float[Array, "channel *space"],
        windows: Float[Array, "expert time *space"] | None = None,
    ) -> tuple[System, RowScales]:
        """Tabulate the law and its conditions for the basis that the network proposes.

        **Arguments:**

        - `start`: the initial values `(channel, *space)`.
        - `windows`: functions each basis function is multiplied by in turn, `(expert, time, *space)`.

        **Returns:** the system and the scales of its rows.
        """
        residual = self.residual_of()
        expected = (residual.terms.channels, *self.domain.space)
        if start.shape != expected:
            raise ValueError(
                f"The start must be (channel, *space) = {expected}; got {start.shape}. Map over a batch with jax.vmap."
            )
        if isinstance(self.start, LiftedStart) and isinstance(self.walls, LiftedWalls):
            start = check_corners(self.domain, start)
        basis = self.domain.evaluate_basis(self.network, start)
        if windows is not None:
            basis = (windows[:, None, :, None] * basis[None]).reshape(-1, *basis.shape[1:])
        basis, lift = self.start.apply(self.domain, basis, start)
        basis, lift = self.walls.apply(self.domain, basis, lift)
        scales = self.scaling(self.domain, start)
        tables, offset = self.domain.tabulate(
            residual.terms, basis, lift, scales.equation, conditioned=self.walls.conditioned
        )
        wall_rows = (
            self.domain.wall_conditions(basis, lift)
            if self.domain.walls()
            else join_conditions([], basis.shape[0], len(self.domain.shape))
        )
        start_rows: Conditions = self.domain.start_conditions(basis, lift, start)
        return System(tables, offset, start_rows, wall_rows), scales
