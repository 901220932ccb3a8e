"""What a constraint solve is made of: tables of linear terms at points, and rows of linear conditions."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Conditions(NamedTuple):
    """Linear conditions on the weights of a basis: `violation = matrix @ weights + offset`, in the unit of the field.

    **Arguments:**

    - `matrix`: `(row, basis)`.
    - `offset`: `(row,)`.
    - `places`: the grid point of each row, `(row, 1 + dim)`; `None` for points that are no grid.
    """

    matrix: Float[Array, "row basis"]
    offset: Float[Array, " row"]
    places: np.ndarray | None = None

    def violation(self, weights: Float[Array, " basis"]) -> Float[Array, " row"]:
        """By how much each condition is missed.

        **Arguments:**

        - `weights`: `(basis,)`.

        **Returns:** `(row,)`.
        """
        return self.matrix @ weights + self.offset


class System(NamedTuple):
    """A law and its conditions for the weights of one basis.

    **Arguments:**

    - `tables`: every linear term of every basis function, `(point, term, basis)`; see `LawResidual` for the terms.
    - `offset`: the same of the field the basis is added to, with the weight of the row, the time and the coordinates,
      `(point, term)`.
    - `start`: the initial condition.
    - `walls`: the conditions on the walls.
    """

    tables: Float[Array, "point term basis"]
    offset: Float[Array, "point term"]
    start: Conditions
    walls: Conditions

    def contract(self, weights: Float[Array, " basis"]) -> Float[Array, "point term"]:
        """The terms of the field with given weights.

        **Arguments:**

        - `weights`: `(basis,)`.

        **Returns:** `(point, term)`.
        """
        return self.offset + self.tables @ weights


def join_conditions(parts: list[Conditions], basis: int, axes: int | None) -> Conditions:
    """Put conditions below one another.

    **Arguments:**

    - `parts`: any number of them.
    - `basis`: the number of basis functions.
    - `axes`: the number of axes of the places; `None` where there are none.

    **Returns:** one set of conditions.
    """
    if not parts:
        places = None if axes is None else np.zeros((0, axes), int)
        return Conditions(jnp.zeros((0, basis)), jnp.zeros((0,)), places)
    places = None if axes is None else np.concatenate([part.places for part in parts])
    return Conditions(
        jnp.concatenate([part.matrix for part in parts]),
        jnp.concatenate([part.offset for part in parts]),
        places,
    )
