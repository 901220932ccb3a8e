"""A residual convolutional network at one resolution: the plain baseline."""

from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from ._checks import check_field, check_positive
from ._layers import ChannelLinear, scan_layers, stack_layers
from .convolution import Convolution, Padding, ResidualBlock


class ConvNet(eqx.Module):
    """A residual convolutional network: a convolution, `depth` residual blocks of two each, a map of the channels.

    Each output point sees `(1 + 2 * depth) * (kernel_size // 2)` points to each side.

    **Arguments:**

    - `num_spatial_dims`: 1, 2 or 3.
    - `in_channels`, `out_channels`: the numbers of channels.
    - `width`: the channels inside; `match_width` finds the one for a wanted size.
    - `depth`: the number of residual blocks.
    - `kernel_size`: an odd number of points.
    - `padding`: one `Padding` for all axes, or one per axis.
    - `normalize`: whether blocks normalize over channels and points.
    - `activation`, `unroll`: as for `FNO`.
    - `key`: a random key.

    **Raises:** `ValueError` for a bad size or an unknown padding.

    **Reference:** K. He et al., Identity Mappings in Deep Residual Networks, 2016, arXiv:1603.05027.
    """

    lift: Convolution
    blocks: ResidualBlock
    project: ChannelLinear
    activation: Callable[[Array], Array] = eqx.field(static=True)
    unroll: int = eqx.field(static=True)

    def __init__(
        self,
        num_spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 32,
        depth: int = 6,
        kernel_size: int = 3,
        padding: Padding | tuple[Padding, ...] = Padding.PERIODIC,
        normalize: bool = False,
        activation: Callable[[Array], Array] = jax.nn.gelu,
        unroll: int = 1,
        key: PRNGKeyArray,
    ):
        check_positive("ConvNet", out_channels=out_channels, width=width, depth=depth, unroll=unroll)
        lift, blocks, project = jax.random.split(key, 3)
        self.lift = Convolution(
            num_spatial_dims, in_channels, width, kernel_size=kernel_size, padding=padding, key=lift
        )
        self.blocks = stack_layers(
            lambda k: ResidualBlock(
                num_spatial_dims,
                width,
                kernel_size=kernel_size,
                padding=padding,
                normalize=normalize,
                activation=activation,
                key=k,
            ),
            depth,
            blocks,
        )
        self.project = ChannelLinear(width, out_channels, key=project)
        self.activation = activation
        self.unroll = unroll

    def __call__(self, x: Float[Array, "in_channel *space"]) -> Float[Array, "out_channel *space"]:
        """Apply the network.

        **Arguments:**

        - `x`: a field `(in_channel, *space)`.

        **Returns:** a field `(out_channel, *space)`.

        **Raises:** `ValueError` for a wrong shape or a batch axis.
        """
        check_field("ConvNet", x, self.lift.weight.shape[1], len(self.lift.padding))
        x = scan_layers(self.blocks, self.lift(x), self.unroll)
        return self.project(self.activation(x))
