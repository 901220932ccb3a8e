"""A convolution that knows what lies beyond each end of each axis, and the residual block made of it."""

import enum
import itertools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._checks import check_dimensions, check_field, check_positive, spread


class Padding(enum.Enum):
    """What a convolution sees beyond the two ends of an axis.

    - `PERIODIC`: the other end.
    - `ZEROS`: zeros.
    - `REFLECT`: the mirror image in the wall, half a cell beyond the outermost centers (an even function there).
    """

    PERIODIC = "wrap"
    ZEROS = "constant"
    REFLECT = "symmetric"


class Convolution(eqx.Module):
    """A convolution (cross-correlation) over a field, of the same size as the field.

        y_o(x) = b_o + sum_i sum_{|s| <= r} W_oi(s) u_i(x + s),     kernel_size = 2 r + 1

    **Arguments:**

    - `num_spatial_dims`: 1, 2 or 3.
    - `in_channels`, `out_channels`: the numbers of channels.
    - `kernel_size`: an odd number of points, the same on every axis.
    - `padding`: one `Padding` for all axes, or one per axis.
    - `key`: a random key.

    **Raises:** `ValueError` for a bad size or an unknown padding.
    """

    weight: Float[Array, "out_channel in_channel *kernel"]
    bias: Float[Array, " out_channel"]
    padding: tuple[Padding, ...] = eqx.field(static=True)

    def __init__(
        self,
        num_spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        padding: Padding | tuple[Padding, ...] = Padding.PERIODIC,
        key: PRNGKeyArray,
    ):
        check_dimensions("Convolution", num_spatial_dims)
        check_positive(
            "Convolution", in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size
        )
        if kernel_size % 2 == 0:
            raise ValueError(
                f"Convolution got kernel_size={kernel_size}; expected an odd number, so that it has a center."
            )
        self.padding = spread("Convolution", "padding", padding, num_spatial_dims)
        for choice in self.padding:
            if not isinstance(choice, Padding):
                raise ValueError(
                    f"Convolution got padding={choice!r}; expected Padding.PERIODIC, Padding.ZEROS or Padding.REFLECT."
                )
        bound = 1 / math.sqrt(in_channels * kernel_size**num_spatial_dims)
        shape = (out_channels, in_channels) + (kernel_size,) * num_spatial_dims
        self.weight = jax.random.uniform(key, shape, minval=-bound, maxval=bound)
        self.bias = jnp.zeros(out_channels)

    def __call__(self, x: Float[Array, "in_channel *space"]) -> Float[Array, "out_channel *space"]:
        """Apply the convolution.

        **Arguments:**

        - `x`: a field `(in_channel, *space)`.

        **Returns:** a field `(out_channel, *space)`.

        **Raises:** `ValueError` for a wrong shape or a batch axis.
        """
        check_field("Convolution", x, self.weight.shape[1], len(self.padding))
        radius = self.weight.shape[-1] // 2
        for axis, choice in enumerate(self.padding, start=1):
            widths = [(0, 0)] * x.ndim
            widths[axis] = (radius, radius)
            x = jnp.pad(x, widths, mode=choice.value)
        # On a CPU, XLA's convolution falls back to plain loops inside `lax.scan` (ten times slower) and its gradient
        # is slow anywhere; products of shifted arrays are not. Both give the same numbers, so the choice may be made
        # while tracing.
        correlate = _correlate_by_products if jax.default_backend() == "cpu" else _correlate
        return correlate(self.weight, x) + self.bias.reshape((-1,) + (1,) * (x.ndim - 1))


def _correlate(weight: Array, x: Array) -> Array:
    strides = (1,) * (x.ndim - 1)
    return jax.lax.conv_general_dilated(x[None], weight, strides, "VALID")[0]


def _correlate_by_products(weight: Array, x: Array) -> Array:
    # The shifts along the last axis become channels, those along the others are summed: the copy is only
    # `kernel_size` times the field, and the inner dimension of the products is long enough to be fast.
    size = weight.shape[-1]
    shape = tuple(n - size + 1 for n in x.shape[1:])
    stacked = jnp.concatenate([x[..., shift : shift + shape[-1]] for shift in range(size)])
    matrices = jnp.moveaxis(weight, -1, 1)
    total = 0
    for shifts in itertools.product(range(size), repeat=len(shape) - 1):
        window = stacked[(slice(None), *(slice(s, s + n) for s, n in zip(shifts, shape, strict=False)))]
        matrix = matrices[(slice(None),) * 3 + shifts].reshape(weight.shape[0], -1)
        total = total + jnp.einsum("oi,i...->o...", matrix, window)
    return total


class ResidualBlock(eqx.Module):
    """Two convolutions around the identity: `x + C2 act(N C1 act(N x))`, with `N` a normalization or the identity.

    **Arguments:**

    - `num_spatial_dims`: 1, 2 or 3.
    - `channels`: the number of channels, in and out.
    - `kernel_size`, `padding`: as for `Convolution`.
    - `normalize`: whether to normalize over all channels and points before each activation.
    - `activation`: the pointwise nonlinearity, a static field.
    - `key`: a random key.
    """

    norms: tuple[eqx.nn.GroupNorm, ...]
    convolutions: tuple[Convolution, Convolution]
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        num_spatial_dims: int,
        channels: int,
        *,
        kernel_size: int,
        padding: Padding | tuple[Padding, ...],
        normalize: bool,
        activation: Callable[[Array], Array],
        key: PRNGKeyArray,
    ):
        # One group, so that every width will do.
        self.norms = tuple(eqx.nn.GroupNorm(1, channels) for _ in range(2)) if normalize else ()
        self.convolutions = tuple(
            Convolution(num_spatial_dims, channels, channels, kernel_size=kernel_size, padding=padding, key=k)
            for k in jax.random.split(key)
        )
        self.activation = activation

    def __call__(self, x: Float[Array, "channel *space"]) -> Float[Array, "channel *space"]:
        """Apply the block.

        **Arguments:**

        - `x`: a field `(channel, *space)`.

        **Returns:** a field `(channel, *space)`.
        """
        y = x
        for index, convolution in enumerate(self.convolutions):
            if self.norms:
                y = self.norms[index](y)
            y = convolution(self.activation(y))
        return x + y
