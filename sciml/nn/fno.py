"""The Fourier neural operator in one, two and three dimensions."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._checks import check_dimensions, check_field, check_positive, spread
from ._layers import ChannelLinear, scan_layers, stack_layers
from .spectral_conv import SpectralConv, check_modes


class FNO(eqx.Module):
    r"""A Fourier neural operator: a field in, a field out, on any grid that resolves its modes.

        v <- P u;   `depth` times: v <- activation(K v + W v + b);   y = Q2 activation(Q1 v)

    with `K` a `SpectralConv` and `P, W, Q1, Q2` maps of the channels at each point; with `residual`, each layer is
    `v <- v + activation(K v + W v + b)` instead. On an axis that is not periodic the
    field `v` is continued by zeros before the layers and cut back after them, so that the two ends do not touch.

    **Arguments:**

    - `num_spatial_dims`: 1, 2 or 3.
    - `in_channels`, `out_channels`: the numbers of channels.
    - `width`: the channels of `v`.
    - `modes`: wavenumbers `0, ..., modes - 1` of both signs are kept; one number, or one per axis. They refer to the
      padded axis where there is padding.
    - `depth`: the number of layers.
    - `periodic`: whether an axis is periodic; one value, or one per axis.
    - `padding`: the length of the continuation of each axis that is not periodic, as a fraction of that axis; a
      fraction, so that it means the same at every resolution.
    - `activation`: the pointwise nonlinearity. It is a static field, so that all leaves are arrays, and `jax.jit`,
      `jax.grad` and `optax` take the model as it is; `eqx.filter_jit` does too, and also takes models that are not so.
    - `coordinates`: whether to append the position to the input channels: `x` in (0, 1), taken at cell centers
      `(i + 1/2) / n`, on an axis with walls; `cos 2 pi x, sin 2 pi x` with `x = i / n` on a periodic one.
    - `residual`: whether each layer adds to `v` in place of replacing it. The paper replaces.
    - `unroll`: layers laid out per turn of `lax.scan`. With 1 the compile time does not grow with `depth`; on a CPU,
      where XLA runs a loop's body on one thread, `unroll=depth` can take half the time per step.
    - `key`: a random key.

    **Raises:** `ValueError` for a bad size.

    **Reference:** Z. Li et al., Fourier Neural Operator for Parametric Partial Differential Equations, 2020,
    arXiv:2010.08895; for the residual form, A. Tran et al., Factorized Fourier Neural Operators, 2021,
    arXiv:2111.13802.
    """

    lift: ChannelLinear
    layers: "FourierLayer"
    widen: ChannelLinear
    project: ChannelLinear
    in_channels: int = eqx.field(static=True)
    modes: tuple[int, ...] = eqx.field(static=True)
    periodic: tuple[bool, ...] = eqx.field(static=True)
    padding: tuple[float, ...] = eqx.field(static=True)
    coordinates: bool = eqx.field(static=True)
    activation: Callable[[Array], Array] = eqx.field(static=True)
    unroll: int = eqx.field(static=True)

    def __init__(
        self,
        num_spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 32,
        modes: int | tuple[int, ...] = 16,
        depth: int = 4,
        periodic: bool | tuple[bool, ...] = True,
        padding: float | tuple[float, ...] = 0.25,
        activation: Callable[[Array], Array] = jax.nn.gelu,
        coordinates: bool = False,
        residual: bool = False,
        unroll: int = 1,
        key: PRNGKeyArray,
    ):
        check_dimensions("FNO", num_spatial_dims)
        check_positive(
            "FNO", in_channels=in_channels, out_channels=out_channels, width=width, depth=depth, unroll=unroll
        )
        self.in_channels = in_channels
        self.modes = spread("FNO", "modes", modes, num_spatial_dims)
        self.periodic = spread("FNO", "periodic", periodic, num_spatial_dims)
        self.padding = spread("FNO", "padding", padding, num_spatial_dims)
        if not all(0 <= fraction <= 1 for fraction in self.padding):
            raise ValueError(
                f"FNO got padding={padding!r}; expected a fraction of the axis between 0 and 1, such as 0.25."
            )
        self.coordinates = coordinates
        self.activation = activation
        self.unroll = unroll
        features = in_channels
        if coordinates:
            features += sum(2 if wraps else 1 for wraps in self.periodic)
        lift, layers, widen, project = jax.random.split(key, 4)
        self.lift = ChannelLinear(features, width, key=lift)
        self.layers = stack_layers(
            lambda k: FourierLayer(
                num_spatial_dims, width, modes=self.modes, activation=activation, residual=residual, key=k
            ),
            depth,
            layers,
        )
        self.widen = ChannelLinear(width, 2 * width, key=widen)
        self.project = ChannelLinear(2 * width, out_channels, key=project)

    def __call__(self, x: Float[Array, "in_channel *space"]) -> Float[Array, "out_channel *space"]:
        """Apply the operator.

        **Arguments:**

        - `x`: a field `(in_channel, *space)`.

        **Returns:** a field `(out_channel, *space)`.

        **Raises:** `ValueError` for a wrong shape, a batch axis, or a grid too coarse for the modes.
        """
        check_field("FNO", x, self.in_channels, len(self.modes))
        shape = x.shape[1:]
        extra = tuple(
            0 if wraps else math.ceil(fraction * n)
            for n, wraps, fraction in zip(shape, self.periodic, self.padding, strict=True)
        )
        check_modes("FNO", self.modes, tuple(n + more for n, more in zip(shape, extra, strict=True)))
        if self.coordinates:
            x = jnp.concatenate([x, compute_coordinates(shape, self.periodic).astype(x.dtype)])
        v = jnp.pad(self.lift(x), ((0, 0), *((0, more) for more in extra)))
        v = scan_layers(self.layers, v, self.unroll)
        v = v[(slice(None), *(slice(n) for n in shape))]
        return self.project(self.activation(self.widen(v)))


class FourierLayer(eqx.Module):
    """One layer of an `FNO`: `v <- activation(K v + W v + b)`, or with `residual` `v <- v + activation(K v + W v + b)`.

    **Arguments:**

    - `num_spatial_dims`: 1, 2 or 3.
    - `width`: the number of channels.
    - `modes`, `activation`, `residual`, `key`: as for `FNO`.
    """

    spectral: SpectralConv
    local: ChannelLinear
    activation: Callable[[Array], Array] = eqx.field(static=True)
    residual: bool = eqx.field(static=True)

    def __init__(
        self,
        num_spatial_dims: int,
        width: int,
        *,
        modes: int | tuple[int, ...],
        activation: Callable[[Array], Array],
        residual: bool = False,
        key: PRNGKeyArray,
    ):
        spectral, local = jax.random.split(key)
        self.spectral = SpectralConv(num_spatial_dims, width, width, modes=modes, key=spectral)
        self.local = ChannelLinear(width, width, key=local)
        self.activation = activation
        self.residual = residual

    def __call__(self, v: Float[Array, "channel *space"]) -> Float[Array, "channel *space"]:
        """Apply the layer.

        **Arguments:**

        - `v`: a field `(channel, *space)`.

        **Returns:** a field `(channel, *space)`.
        """
        change = self.activation(self.spectral(v) + self.local(v))
        return v + change if self.residual else change


def compute_coordinates(shape: tuple[int, ...], periodic: tuple[bool, ...]) -> Float[Array, "feature *space"]:
    """Compute the position of every grid point of the unit box, as channels that suit the boundaries.

    **Arguments:**

    - `shape`: the number of points per axis.
    - `periodic`: whether each axis is periodic.

    **Returns:** `(feature, *space)`: `cos 2 pi i / n, sin 2 pi i / n` for a periodic axis, `(i + 1/2) / n` for another.
    """
    features = []
    for axis, (n, wraps) in enumerate(zip(shape, periodic, strict=True)):
        index = jnp.arange(n).reshape((-1,) + (1,) * (len(shape) - 1 - axis))
        if wraps:
            features += [jnp.cos(2 * jnp.pi * index / n), jnp.sin(2 * jnp.pi * index / n)]
        else:
            features.append((index + 0.5) / n)
    return jnp.stack([jnp.broadcast_to(feature, shape) for feature in features])
