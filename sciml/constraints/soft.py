"""The comparator: the same law, conditions and rows as a penalty on a network's own field, without a solve."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .answers import answer
from .hard import ConstrainedField, HardConstraint
from .least_squares import LeastSquaresSolution
from .levenberg_marquardt import RESULTS
from .partitions import Partition


class SoftConstraint(eqx.Module):
    """A network that gives the field itself, for a loss of the kind of physics-informed networks.

    The field is `lift + network`, with the lifts, the rows and the scaling of the constraint it is made of, so that it
    differs from the hard constraint in nothing but the solve. Its loss is that of the answer.

    **Arguments:**

    - `constraint`: a `HardConstraint` whose network gives one function, `(channel, time, *space)`.
    """

    constraint: HardConstraint

    def __call__(
        self,
        start: Float[Array, "channel *space"],
        *,
        key: PRNGKeyArray | None = None,
        throw: bool = True,
    ) -> ConstrainedField:
        """The field from a given start.

        **Arguments:**

        - `start`: the initial values `(channel, *space)`.
        - `key`, `throw`: not used; as for `HardConstraint`.

        **Returns:** the field with its certificate, in which nothing was solved and nothing converged.

        **Raises:** `ValueError` for a network that gives more than one function.
        """
        constraint = self.constraint
        whole = Partition((1,) * len(constraint.domain.shape), constraint.domain.shape)
        system, scales = constraint.make_system(start)
        count = system.tables.shape[-1]
        if count != 1:
            channels = constraint.residual_of().terms.channels
            raise ValueError(
                f"A soft constraint takes a network that gives the field itself, {channels} channel(s); this one gives "
                f"{count} basis functions."
            )
        weights = jnp.ones((1, 1), system.tables.dtype)
        unknown = jnp.full((1,), jnp.nan, weights.dtype)  # nothing was solved
        solution = LeastSquaresSolution(
            weights, unknown, unknown, unknown, jnp.zeros((1,), int), RESULTS.max_steps
        )
        points = jnp.ones((1, system.tables.shape[0]), bool)
        return answer(
            constraint, system, scales, whole, (), weights, solution, jnp.zeros((), bool), points, start
        )
