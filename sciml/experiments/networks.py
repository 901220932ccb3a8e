"""The networks that experiments compare: a Fourier neural operator, and others with as many parameters."""

import dataclasses
from typing import Literal

import equinox as eqx
import jax

from .. import nn
from ..pdes import Grid


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A Fourier neural operator with residual layers, or another network with as many parameters."""

    method: Literal["fno", "unet", "cnn"] = "fno"
    """The network; U-Net and CNN take the width that gives them as many parameters as the FNO."""
    width: int = 32
    """Channels of the FNO."""
    modes: int = 16
    """Fourier modes of the FNO per axis."""
    depth: int = 4
    """Layers of the FNO."""

    def build(self, grid: Grid, channels: int, *, seed: int) -> eqx.Module:
        """Make the network with its initial weights.

        **Arguments:**

        - `grid`: the grid of the fields.
        - `channels`: how many channels they have.
        - `seed`: of the weights.

        **Returns:** `(channel, *space) -> (channel, *space)`.
        """
        dimensions, periodic, key = grid.dimensions, grid.box.periodic, jax.random.key(seed)

        def build_operator(width):
            return nn.FNO(
                dimensions,
                channels,
                channels,
                width=width,
                modes=self.modes,
                depth=self.depth,
                periodic=periodic,
                residual=True,  # as the networks it is compared with
                unroll=self.depth,
                key=key,
            )

        if self.method == "fno":
            return build_operator(self.width)
        kind = {"unet": nn.UNet, "cnn": nn.ConvNet}[self.method]
        padding = tuple(nn.Padding.PERIODIC if wraps else nn.Padding.REFLECT for wraps in periodic)

        def build_other(width):
            return kind(dimensions, channels, channels, width=width, padding=padding, key=key)

        target = nn.count_parameters(eqx.filter_eval_shape(build_operator, self.width))
        return build_other(nn.match_width(build_other, target))
