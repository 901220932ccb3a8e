"""What an answer is worth: measured for every answer, whatever the solver said."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Certificate(eqx.Module):
    """How well a field meets its law and its conditions, and how well the solve went.

    Residuals are without units: `(u_t - rate) duration / size`, where `size` is the largest value of the start and the
    walls' data. Violations and jumps are in the unit of the field, slopes in that unit per length.

    **Arguments:**

    - `equation_rms`, `equation_max`: the residual at the points where it was enforced, scalars.
    - `held_out_rms`, `held_out_max`: at all others, scalars; not a number where there are none.
    - `start_violation`, `wall_violation`: the largest, scalars.
    - `value_jump`, `slope_jump`: the largest over interfaces of experts, scalars.
    - `gradient_norm`: of the solve's objective, the largest of the experts', a scalar; first-order optimality.
      Not a number, as the next one, where nothing was solved.
    - `smallest_eigenvalue`: of the normalized Gram matrix, the smallest of the experts', a scalar; near 0 the basis is
      dependent and the weights mean nothing.
    - `iterations`: of each solve, `(solve,)`.
    - `converged`: whether each solve converged, a scalar.
    - `objective`, `constant_objective`: half the sum of the squares of all rows, also of those that were held out,
      but of jumps between boxes that were solved alone; of the answer, and of a field that stays at the start. Scalars.
    """

    equation_rms: Float[Array, ""]
    equation_max: Float[Array, ""]
    held_out_rms: Float[Array, ""]
    held_out_max: Float[Array, ""]
    start_violation: Float[Array, ""]
    wall_violation: Float[Array, ""]
    value_jump: Float[Array, ""]
    slope_jump: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    smallest_eigenvalue: Float[Array, ""]
    iterations: Int[Array, " solve"]
    converged: Bool[Array, ""]
    objective: Float[Array, ""]
    constant_objective: Float[Array, ""]

    @property
    def beats_constant(self) -> Bool[Array, ""]:
        """Whether the objective is below that of the constant field, a scalar."""
        return self.objective < self.constant_objective

    @property
    def trusted(self) -> Bool[Array, ""]:
        """Whether the solve converged to something finite and better than the constant field, a scalar."""
        return self.converged & self.beats_constant & jnp.isfinite(self.equation_rms)

    def __str__(self) -> str:
        lines = [
            f"residual        {float(self.equation_rms):.2e} rms, {float(self.equation_max):.2e} largest",
            f"  held out      {float(self.held_out_rms):.2e} rms, {float(self.held_out_max):.2e} largest",
            f"start, walls    {float(self.start_violation):.2e}, {float(self.wall_violation):.2e}",
            f"jumps           {float(self.value_jump):.2e} in value, {float(self.slope_jump):.2e} in slope",
            f"solve           {'converged' if bool(self.converged) else 'NOT CONVERGED'} after "
            f"{self.iterations.tolist()} iterations, gradient {float(self.gradient_norm):.1e}, smallest eigenvalue "
            f"{float(self.smallest_eigenvalue):.1e}",
            f"constant field  {float(self.objective / self.constant_objective):.2e} of its objective",
        ]
        return "\n".join(lines)


def measure_residual(
    residual: Float[Array, "point channel"], mask: Bool[Array, " point"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The root mean square and the largest of a residual at some points.

    **Arguments:**

    - `residual`: `(point, channel)`.
    - `mask`: which points, `(point,)`.

    **Returns:** two scalars, not a number where there is no point.
    """
    size = jnp.where(mask[:, None], jnp.abs(residual), 0.0)
    count = jnp.sum(mask) * residual.shape[1]
    rms = jnp.sqrt(jnp.sum(size**2) / jnp.maximum(count, 1) + jnp.finfo(size.dtype).tiny)
    empty = count == 0
    return jnp.where(empty, jnp.nan, rms), jnp.where(empty, jnp.nan, jnp.max(size))
