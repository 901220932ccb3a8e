"""A step of a solution that lives on a moving mesh, by any network on the grid of indices.

What a coarse fixed mesh never saw cannot be won back by moving its nodes. So here the solution is at the moved nodes
from the first frame to the last. One step goes from the nodes of one mesh to those of the next:

    u_{t+1}(new nodes) = R u_t + change * network(u_t, R u_t, gradient of R u_t, geometry)

with `R` the cubic interpolation from the old mesh to the new one. A structured mesh that has moved is still a grid of
indices, on which any convolutional or Fourier network works; the geometry tells it where nodes are: how far they have
moved from the regular grid, how far the new ones are from the old ones, and the sizes of cells, all in units of regular
cells. Where the mesh has not moved the geometry is zero and `R` the identity: the same network is its own control.

Where the law is known, a classical step may take the place of `R`, and the network corrects what that gets wrong.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import Grid
from .structured import StructuredMesh
from .transfer import Cubic, interpolate
from .volume_step import check_between


class MovingStep(eqx.Module):
    """One step of a solution from the nodes of one structured mesh to those of another.

    **Arguments:**

    - `network`: `(MovingStep.count_features(channels, dim), *space) -> (channel, *space)`.
    - `size`: the root mean square of each channel, `(channel,)`; not trained.
    - `change`: that of what the network adds, `(channel,)`; not trained.
    - `offset`: the mean of each channel, `(channel,)`; not trained.
    - `prior`: what the network corrects, `(u, old mesh, new mesh) -> u` such as `VolumeStep`; not trained. By default
        the interpolation `R`.

    **Raises:** `ValueError` for scales of different shapes.
    """

    network: eqx.Module
    size: Float[Array, " channel"]
    change: Float[Array, " channel"]
    offset: Float[Array, " channel"]
    prior: Callable[[Array, StructuredMesh, StructuredMesh], Array] | None = None

    def __check_init__(self):
        check_scales(self)

    @staticmethod
    def count_features(channels: int, dimensions: int) -> int:
        """How many channels the network sees.

        **Arguments:**

        - `channels`: of the solution.
        - `dimensions`: of space.

        **Returns:** the number.
        """
        return (2 + dimensions) * channels + 2 * dimensions + 1

    def __call__(
        self,
        u: Float[Array, "channel *space"],
        old: StructuredMesh,
        new: StructuredMesh,
        carried: Float[Array, "channel *space"] | None = None,
    ) -> Float[Array, "channel *space"]:
        """Step.

        **Arguments:**

        - `u`: the solution at the points of the old mesh, `(channel, *space)`.
        - `old`: where the solution is.
        - `new`: where it is wanted one step later.
        - `carried`: what the prior, or the interpolation to the new mesh, makes of the solution, `(channel, *space)`,
            where that is known already.

        **Returns:** the solution one step later at the points of the new mesh, `(channel, *space)`.

        **Raises:** `ValueError` for meshes of two grids, or values of another shape.
        """
        u = check_between("MovingStep", u, old, new)
        if len(u) != len(self.size):
            raise ValueError(
                f"MovingStep was made for {len(self.size)} channels; got a solution of {len(u)}. Make one for these."
            )
        if carried is None:
            carried = self._carry(u, old, new)
        column = (-1,) + (1,) * (u.ndim - 1)
        size, change, offset = (
            jax.lax.stop_gradient(x).reshape(column).astype(u.dtype)
            for x in (self.size, self.change, self.offset)
        )
        scaled = (carried - offset) / size
        seen = [(u - offset) / size, scaled, _slopes(scaled, new), _describe(old, new).astype(u.dtype)]
        return carried + change * self.network(jnp.concatenate(seen)).astype(u.dtype)

    def _carry(self, u: Array, old: StructuredMesh, new: StructuredMesh) -> Array:
        if self.prior is None:
            return interpolate(u, old, new.coordinates, Cubic())
        return freeze(self.prior)(u, old, new).astype(u.dtype)


def freeze(function: Callable) -> Callable:
    """The same function with its arrays out of reach of an optimizer.

    **Arguments:**

    - `function`: a pytree that can be called, or a plain function.

    **Returns:** it, with the gradients of its arrays stopped.
    """
    arrays, rest = eqx.partition(function, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(arrays), rest)


def check_scales(step: eqx.Module) -> None:
    """Refuse a step whose scales are not one number per channel each.

    **Arguments:**

    - `step`: has `size`, `change` and `offset`, `(channel,)`.

    **Raises:** `ValueError` for scales of different shapes.
    """
    shapes = {name: jnp.shape(getattr(step, name)) for name in ("size", "change", "offset")}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(
            f"{type(step).__name__} has one size, change and offset per channel; got shapes {shapes}."
        )


def _slopes(values: Array, mesh: StructuredMesh) -> Array:
    """The gradient, per regular cell: `(channel dim, *space)`."""
    column = (-1,) + (1,) * len(mesh.grid.shape)
    spacing = jnp.asarray(mesh.grid.spacing, values.dtype).reshape(column)
    return (mesh.gradient(mesh.known(values)) * spacing).reshape(-1, *mesh.grid.shape)


def _describe(old: StructuredMesh, new: StructuredMesh) -> Array:
    """Where nodes are, in units of regular cells: `(2 dim + 1, *space)`."""
    grid: Grid = new.grid
    column = (-1,) + (1,) * grid.dimensions
    spacing = jnp.asarray(grid.spacing).reshape(column)
    moved = (new.coordinates - jnp.asarray(grid.coordinates)) / spacing
    motion = (new.coordinates - old.coordinates) / spacing
    volumes = jnp.log(jnp.maximum(new.volumes / np.prod(grid.spacing), 1e-3))
    return jnp.concatenate([moved, motion, volumes[None]])
