"""A network that works at half the resolution, on cells of points: cheaper, and nothing is averaged away."""

import equinox as eqx
from jaxtyping import Array, Float

from .unet import gather_cells, scatter_cells


class Patched(eqx.Module):
    """The `2^d` points of each cell become channels, go through a network, and become points again.

    Nothing is averaged: a cell's values are all there. The network's convolutions are `2^d` times fewer.

    **Arguments:**

    - `network`: `(2^d in_channel, *half) -> (2^d out_channel, *half)`.
    """

    network: eqx.Module

    def __call__(self, x: Float[Array, "in_channel *space"]) -> Float[Array, "out_channel *space"]:
        """Apply the network.

        **Arguments:**

        - `x`: a field `(in_channel, *space)`.

        **Returns:** a field `(out_channel, *space)`.

        **Raises:** `ValueError` for an odd number of points along an axis.
        """
        if any(n % 2 for n in x.shape[1:]):
            raise ValueError(
                f"Patched joins the points of an axis in pairs; got {x.shape[1:]} points. Use even numbers."
            )
        return scatter_cells(self.network(gather_cells(x)))
