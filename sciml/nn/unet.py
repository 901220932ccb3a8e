"""A U-Net: residual blocks at halved and halved again resolutions, joined by skip connections."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._checks import check_dimensions, check_field, check_positive
from ._layers import ChannelLinear, scan_layers, stack_layers
from .convolution import Convolution, Padding, ResidualBlock


class UNet(eqx.Module):
    """A U-Net of residual blocks: level `l` works at `1 / 2**l` of the resolution with `width * 2**l` channels.

    Going down, the `2**d` points of each cell become channels and are mixed; going up, the reverse, and the field of
    the same level is appended. So no resampling looks beyond a cell, and boundaries matter to convolutions only.

    **Arguments:**

    - `num_spatial_dims`: 1, 2 or 3.
    - `in_channels`, `out_channels`: the numbers of channels.
    - `width`: the channels of the finest level; `match_width` finds the one for a wanted size.
    - `levels`: how often the resolution is halved; every axis must be divisible by `2**levels`.
    - `depth`: the residual blocks per level and direction.
    - `kernel_size`: an odd number of points.
    - `padding`: one `Padding` for all axes, or one per axis.
    - `normalize`: whether blocks normalize over channels and points.
    - `activation`, `unroll`: as for `FNO`. The compile time grows with `levels`, not with `depth`.
    - `key`: a random key.

    **Raises:** `ValueError` for a bad size or an unknown padding.

    **Reference:** O. Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015,
    arXiv:1505.04597; for PDEs, J. Gupta and J. Brandstetter, Towards Multi-spatiotemporal-scale Generalized PDE
    Modeling, 2022, arXiv:2209.15616.
    """

    lift: Convolution
    down_blocks: tuple[ResidualBlock, ...]
    down: tuple[ChannelLinear, ...]
    bottom: ResidualBlock
    up: tuple[ChannelLinear, ...]
    merge: tuple[ChannelLinear, ...]
    up_blocks: tuple[ResidualBlock, ...]
    project: ChannelLinear
    activation: Callable[[Array], Array] = eqx.field(static=True)
    unroll: int = eqx.field(static=True)

    def __init__(
        self,
        num_spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 16,
        levels: int = 3,
        depth: int = 1,
        kernel_size: int = 3,
        padding: Padding | tuple[Padding, ...] = Padding.PERIODIC,
        normalize: bool = True,
        activation: Callable[[Array], Array] = jax.nn.gelu,
        unroll: int = 1,
        key: PRNGKeyArray,
    ):
        check_dimensions("UNet", num_spatial_dims)
        check_positive(
            "UNet", out_channels=out_channels, width=width, levels=levels, depth=depth, unroll=unroll
        )
        cell = 2**num_spatial_dims
        channels = [width * 2**level for level in range(levels + 1)]
        keys = iter(jax.random.split(key, 5 * levels + 3))

        def blocks(size):
            return stack_layers(
                lambda k: ResidualBlock(
                    num_spatial_dims,
                    size,
                    kernel_size=kernel_size,
                    padding=padding,
                    normalize=normalize,
                    activation=activation,
                    key=k,
                ),
                depth,
                next(keys),
            )

        self.lift = Convolution(
            num_spatial_dims, in_channels, width, kernel_size=kernel_size, padding=padding, key=next(keys)
        )
        fine, coarse = channels[:-1], channels[1:]
        self.down_blocks = tuple(blocks(size) for size in fine)
        self.down = tuple(ChannelLinear(cell * f, c, key=next(keys)) for f, c in zip(fine, coarse))
        self.bottom = blocks(channels[-1])
        self.up = tuple(ChannelLinear(c, cell * f, key=next(keys)) for f, c in zip(fine, coarse))
        self.merge = tuple(ChannelLinear(2 * size, size, key=next(keys)) for size in fine)
        self.up_blocks = tuple(blocks(size) for size in fine)
        self.project = ChannelLinear(width, out_channels, key=next(keys))
        self.activation = activation
        self.unroll = unroll

    def __call__(self, x: Float[Array, "in_channel *space"]) -> Float[Array, "out_channel *space"]:
        """Apply the network.

        **Arguments:**

        - `x`: a field `(in_channel, *space)`.

        **Returns:** a field `(out_channel, *space)`.

        **Raises:** `ValueError` for a wrong shape, a batch axis, or an axis that cannot be halved `levels` times.
        """
        check_field("UNet", x, self.lift.weight.shape[1], len(self.lift.padding))
        self._check_divisible(x.shape[1:])
        x = self.lift(x)
        skips = []
        for blocks, down in zip(self.down_blocks, self.down):
            x = scan_layers(blocks, x, self.unroll)
            skips.append(x)
            x = down(_gather_cells(x))
        x = scan_layers(self.bottom, x, self.unroll)
        for skip, up, merge, blocks in reversed(list(zip(skips, self.up, self.merge, self.up_blocks))):
            x = merge(jnp.concatenate([skip, _scatter_cells(up(x))]))
            x = scan_layers(blocks, x, self.unroll)
        return self.project(self.activation(x))

    def _check_divisible(self, shape: tuple[int, ...]) -> None:
        levels = len(self.down)
        step = 2**levels
        for axis, n in enumerate(shape):
            if n % step:
                below, above = n - n % step, n + step - n % step
                raise ValueError(
                    f"UNet halves every axis levels={levels} times, but axis {axis} has {n} points, which {step} does "
                    f"not divide; use {f'{below} or ' if below else ''}{above} points, or fewer levels."
                )


def _gather_cells(x: Float[Array, "channel *space"]) -> Float[Array, "cell_channel *coarse"]:
    channels, *shape = x.shape
    dims = len(shape)
    x = x.reshape(channels, *(size for n in shape for size in (n // 2, 2)))
    x = jnp.moveaxis(x, [2 * axis + 2 for axis in range(dims)], range(dims))
    return x.reshape(-1, *(n // 2 for n in shape))


def _scatter_cells(x: Float[Array, "cell_channel *coarse"]) -> Float[Array, "channel *space"]:
    _, *shape = x.shape
    dims = len(shape)
    x = x.reshape(*(2,) * dims, -1, *shape)
    x = jnp.moveaxis(x, range(dims), [2 * axis + 2 for axis in range(dims)])
    return x.reshape(-1, *(2 * n for n in shape))
