"""Random initial conditions: each draws a field from a key, and the same key gives the same field on every grid."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .domain import Grid


class AbstractInitialCondition(eqx.Module):
    """A distribution over fields `(channel, *space)`."""

    @abc.abstractmethod
    def __call__(self, grid: Grid, *, key: PRNGKeyArray) -> Float[Array, "channel *space"]:
        """Draw one field.

        **Arguments:**

        - `grid`: where its values are wanted.
        - `key`: a JAX random key; the same key gives the same function, whatever the grid.

        **Returns:** values `(channel, *space)`.
        """


class FourierSeries(AbstractInitialCondition):
    """A sum of all sines and cosines up to a cutoff, with random amplitudes, scaled to a largest absolute value.

    **Arguments:**

    - `cutoff`: the largest wavenumber per axis (periods per box), at least 1.
    - `channels`: the number of channels.
    - `maximum`: the largest absolute value of every channel after scaling, to about 3 %; the unit of `u`.
    - `decay`: amplitudes fall like `(1 + |k|)^-decay`.
    - `mean`: added after scaling; the unit of `u`.

    **Raises:** `ValueError` for a cutoff below 1.
    """

    cutoff: int = eqx.field(static=True, default=5)
    channels: int = eqx.field(static=True, default=1)
    maximum: float = 1.0
    decay: float = 0.0
    mean: float = 0.0

    def __check_init__(self):
        if self.cutoff < 1:
            raise ValueError(
                f"FourierSeries.cutoff is the largest wavenumber and must be at least 1; got {self.cutoff}."
            )

    def __call__(self, grid, *, key):
        """Draw values `(channel, *space)`."""
        norms = jnp.sqrt(sum(k**2 for k in _mode_numbers(grid.dimensions, self.cutoff)))
        amplitudes = jnp.where(norms == 0, 0.0, (1.0 + norms) ** -self.decay)
        values = _synthesize(grid, amplitudes, self.cutoff, self.channels, key)
        axes = tuple(range(1, grid.dimensions + 1))
        # The scale is taken from a fixed fine grid, so that it does not depend on where values are wanted.
        fine = _synthesize(
            _sampling_grid(grid, 12 * self.cutoff), amplitudes, self.cutoff, self.channels, key
        )
        return self.maximum * values / jnp.max(jnp.abs(fine), axis=axes, keepdims=True) + self.mean


class GaussianRandomField(AbstractInitialCondition):
    """A periodic Gaussian random field with a power-law covariance, of zero mean.

        covariance = variance (-lap + tau^2)^(-alpha)

    The defaults are those of the Fourier neural operator's Navier-Stokes data as its paper gives them:
    `7^(3/2) (-lap + 49)^(-2.5)` on the unit square.

    **Arguments:**

    - `alpha`: smoothness, above half the number of dimensions.
    - `tau`: the inverse correlation length.
    - `variance`: the factor in front; the unit of `u` squared, for the unit box.
    - `cutoff`: the largest wavenumber drawn per axis; a grid too coarse for it gets fewer.
    - `channels`: the number of independent channels.

    **Raises:** `ValueError` for a smoothness at which the field is not a function.

    **Reference:** Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations", 2020,
    arXiv 2010.08895.
    """

    alpha: float = 2.5
    tau: float = 7.0
    variance: float = 7.0**1.5
    cutoff: int = eqx.field(static=True, default=24)
    channels: int = eqx.field(static=True, default=1)

    def __call__(self, grid, *, key):
        """Draw values `(channel, *space)`."""
        if 2 * self.alpha <= grid.dimensions:
            raise ValueError(
                f"GaussianRandomField.alpha must exceed half the number of dimensions, {grid.dimensions / 2}; "
                f"got {self.alpha}: the field would not be a function."
            )
        numbers = _mode_numbers(grid.dimensions, self.cutoff)
        squared = sum(
            (2 * jnp.pi * k / length) ** 2 for k, length in zip(numbers, grid.box.lengths, strict=True)
        )
        deviations = jnp.sqrt(self.variance) * (squared + self.tau**2) ** (-self.alpha / 2)
        origin = sum(jnp.abs(k) for k in numbers) == 0
        limits = [min(self.cutoff, (n - 1) // 2) for n in grid.shape]
        resolved = jnp.ones_like(origin)
        for k, limit in zip(numbers, limits, strict=True):
            resolved = resolved & (jnp.abs(k) <= limit)
        volume = float(np.prod(grid.box.lengths))
        amplitudes = jnp.where(origin | ~resolved, 0.0, deviations) / jnp.sqrt(volume)
        return _synthesize(grid, amplitudes, self.cutoff, self.channels, key)


class PeriodicGaussian(AbstractInitialCondition):
    """A Gaussian field with the periodic kernel, of zero mean: smooth, with few waves.

        covariance(r) = variance prod_axis exp(-2 sin^2(pi r_axis / side_axis) / length^2)

    less its mean over the box.

    **Arguments:**

    - `length`: the length scale of the kernel, without unit.
    - `variance`: before the mean is taken off; the unit of `u` squared.
    - `cutoff`: the largest wavenumber drawn per axis.
    - `channels`: the number of independent channels.

    **Raises:** `ValueError` for a length that is not positive.

    **Reference:** Chalapathi, Du, Krishnapriyan, "Scaling physics-informed hard constraints with mixture-of-experts",
    2024, arXiv 2402.13412, whose Navier-Stokes flows start from it with length 0.8.
    """

    length: float = eqx.field(static=True, default=0.8)
    variance: float = 1.0
    cutoff: int = eqx.field(static=True, default=12)
    channels: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        if not self.length > 0:
            raise ValueError(f"PeriodicGaussian.length must be positive; got {self.length}.")

    def __call__(self, grid, *, key):
        """Draw values `(channel, *space)`."""
        count = 16 * self.cutoff
        kernel = np.exp(-2 * np.sin(np.pi * np.arange(count) / count) ** 2 / self.length**2)
        powers = np.maximum(np.fft.fft(kernel).real / count, 0.0)
        spectrum = 1.0
        for k in _mode_numbers(grid.dimensions, self.cutoff):
            spectrum = spectrum * jnp.asarray(powers, float)[jnp.abs(k).astype(int)]
        origin = sum(jnp.abs(k) for k in _mode_numbers(grid.dimensions, self.cutoff)) == 0
        amplitudes = jnp.where(origin, 0.0, jnp.sqrt(self.variance * spectrum))
        return _synthesize(grid, amplitudes, self.cutoff, self.channels, key)


class SumOfGaussians(AbstractInitialCondition):
    """A few Gaussian bumps at random places, of random signs and widths; wrapped around periodic axes.

    **Arguments:**

    - `count`: how many bumps.
    - `widths`: the range of their standard deviations, as fractions of the shortest side.
    - `amplitudes`: the range of their heights; the unit of `u`.
    - `signed`: whether half of them, at random, point down.
    - `channels`: the number of independent channels.

    **Raises:** `ValueError` for a range that is empty or a width that is not positive.
    """

    count: int = eqx.field(static=True, default=5)
    widths: tuple[float, float] = (0.05, 0.15)
    amplitudes: tuple[float, float] = (0.5, 1.0)
    signed: bool = eqx.field(static=True, default=True)
    channels: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        for name, (low, high) in (("widths", self.widths), ("amplitudes", self.amplitudes)):
            if isinstance(low, (int, float)) and not (low <= high and (name != "widths" or low > 0)):
                raise ValueError(
                    f"SumOfGaussians.{name} must be a range (low, high) with 0 < low <= high; got {(low, high)}."
                )

    def __call__(self, grid, *, key):
        """Draw values `(channel, *space)`."""
        shape = (self.channels, self.count)
        centers_key, widths_key, heights_key, signs_key = jax.random.split(key, 4)
        lower, lengths = jnp.asarray(grid.box.lower), jnp.asarray(grid.box.lengths)
        centers = lower + lengths * jax.random.uniform(centers_key, (*shape, grid.dimensions))
        widths = min(grid.box.lengths) * _uniform(widths_key, shape, self.widths)
        heights = _uniform(heights_key, shape, self.amplitudes)
        if self.signed:
            heights = heights * jax.random.rademacher(signs_key, shape).astype(heights.dtype)

        def bump(center, width, height):
            profile = 1.0
            for axis, points in enumerate(grid.axes):
                images = (-2, -1, 0, 1, 2) if grid.box.periodic[axis] else (0,)
                offsets = (
                    jnp.asarray(points)[None] - center[axis] + lengths[axis] * jnp.asarray(images)[:, None]
                )
                along = jnp.sum(jnp.exp(-0.5 * (offsets / width) ** 2), axis=0)
                profile = profile * along.reshape([-1 if a == axis else 1 for a in range(grid.dimensions)])
            return height * profile

        return jnp.sum(jax.vmap(jax.vmap(bump))(centers, widths, heights), axis=1)


class UniformConstant(AbstractInitialCondition):
    """A field that is constant in space, with a random value: PDEBench's start for diffusion-sorption.

    **Arguments:**

    - `low`, `high`: the range of the value; the unit of `u`.
    - `channels`: the number of independent channels.
    """

    low: float = 0.0
    high: float = 0.2
    channels: int = eqx.field(static=True, default=1)

    def __call__(self, grid, *, key):
        """Draw values `(channel, *space)`."""
        shape = (self.channels,) + (1,) * grid.dimensions
        return jnp.broadcast_to(_uniform(key, shape, (self.low, self.high)), (self.channels, *grid.shape))


def _uniform(key, shape, bounds):
    return jax.random.uniform(key, shape, minval=bounds[0], maxval=bounds[1])


def _mode_numbers(dimensions: int, cutoff: int) -> list[Array]:
    """Signed wavenumbers, broadcasting to `(2 cutoff + 1,) * dimensions`."""
    k = jnp.arange(-cutoff, cutoff + 1, dtype=float)
    return [k.reshape([-1 if a == axis else 1 for a in range(dimensions)]) for axis in range(dimensions)]


def _synthesize(grid: Grid, amplitudes: Array, cutoff: int, channels: int, key) -> Array:
    """`sum_k amplitude_k (a_k cos(k.x) + b_k sin(k.x))` with standard normal `a`, `b`: `(channel, *space)`.

    Evaluated one axis at a time as a product with `exp(i k x)`, so that any grid and any box will do.
    """
    cosines, sines = jax.random.normal(key, (2, channels, *amplitudes.shape))
    total = amplitudes * (cosines - 1j * sines)
    for axis, points in enumerate(grid.axes):
        fraction = (points - grid.box.lower[axis]) / grid.box.lengths[axis]
        waves = jnp.exp(
            2j * jnp.pi * jnp.arange(-cutoff, cutoff + 1)[:, None] * jnp.asarray(fraction, float)[None]
        )
        # Moves the next axis to the front of the remaining modes. Explicit precision: GPUs round float32 factors.
        total = jnp.tensordot(total, waves, axes=(1, 0), precision=jax.lax.Precision.HIGHEST)
    return jnp.real(total)


def _sampling_grid(grid: Grid, points: int) -> Grid:
    return Grid(grid.box, (points,) * grid.dimensions)
