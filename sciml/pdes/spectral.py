"""Differentiation in Fourier space, for periodic boxes: exact for every resolved mode.

A product of two resolved fields holds modes the grid cannot, and those fold back onto resolved ones. With the default
`dealias=2/3` (Orszag's rule) only modes `|k| < n/3` are resolved, so that a quadratic product folds only onto modes
that are discarded. A cubic law wants `dealias=1/2`; `dealias=1` keeps all but
the Nyquist mode of odd derivatives.

**Reference:** Orszag, "On the Elimination of Aliasing in Finite-Difference Schemes by Filtering High-Wavenumber
Components", 1971, doi:10.1175/1520-0469(1971)028<1074:OTEOAI>2.0.CO;2.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .calculus import AbstractCalculus, Field, check_field, check_orders, check_values
from .domain import Box, Grid
from .law import AbstractPDE, AbstractSemilinearPDE, channel_names


class Spectral(AbstractCalculus):
    """The Fourier calculus of a periodic grid.

    **Arguments:**

    - `grid`: a `Grid` whose axes are all periodic.
    - `dealias`: the fraction of modes kept, in `(0, 1]`; 2/3 for quadratic laws, 1/2 for cubic ones.

    **Raises:** `ValueError` for a grid with walls or a fraction out of range.
    """

    grid: Grid
    dealias: float = eqx.field(static=True)

    def __init__(self, grid: Grid, *, dealias: float = 2 / 3):
        self.grid = grid
        self.dealias = float(dealias)

    def __check_init__(self):
        if not all(self.grid.box.periodic):
            walls = [axis for axis, periodic in enumerate(self.grid.box.periodic) if not periodic]
            raise ValueError(
                f"Spectral needs a periodic box; axes {walls} have walls. Use FiniteDifference(grid) instead."
            )
        if not 0.0 < self.dealias <= 1.0:
            raise ValueError(
                f"dealias is the fraction of modes kept and must be in (0, 1]; got {self.dealias}."
            )

    @property
    def coordinates(self):
        """The grid's points, `(dim, *space)`."""
        return self.grid.coordinates

    @property
    def dimensions(self) -> int:
        """The number of space axes."""
        return self.grid.dimensions

    @property
    def mode_shape(self) -> tuple[int, ...]:
        """The shape of the half spectrum of one channel."""
        return (*self.grid.shape[:-1], self.grid.shape[-1] // 2 + 1)

    def transform(self, values: Float[Array, "channel *space"]) -> Complex[Array, "channel *modes"]:
        """Values to Fourier coefficients, unresolved modes set to zero.

        The transform is scaled to keep the 2-norm (`norm="ortho"`).

        **Arguments:**

        - `values`: `(channel, *space)`.

        **Returns:** coefficients `(channel, *modes)`.
        """
        modes = jnp.fft.rfftn(values, axes=self._axes, norm="ortho")
        return modes if self.dealias == 1.0 else modes * _mask(self.grid, self.dealias)

    def inverse(self, modes: Complex[Array, "channel *modes"]) -> Float[Array, "channel *space"]:
        """Fourier coefficients to values.

        **Arguments:**

        - `modes`: coefficients `(channel, *modes)`.

        **Returns:** values `(channel, *space)`.
        """
        return jnp.fft.irfftn(modes, s=self.grid.shape, axes=self._axes, norm="ortho")

    def project(self, values: Float[Array, "channel *space"]) -> Float[Array, "channel *space"]:
        """Remove what is not resolved.

        **Arguments:**

        - `values`: `(channel, *space)`.

        **Returns:** the resolved part, `(channel, *space)`.
        """
        return self.inverse(self.transform(values))

    def field(self, u):
        """Wrap values `(channel, *space)`; their unresolved modes are dropped."""
        return self.resolved_field(self.transform(check_values("Spectral.field", u, self.grid.shape)))

    def resolved_field(self, modes: Complex[Array, "channel *modes"]) -> Field:
        """Wrap Fourier coefficients that are already known.

        **Arguments:**

        - `modes`: coefficients `(channel, *modes)`, unresolved ones zero.

        **Returns:** a field with values `(channel, *space)`.
        """
        return Field(self.inverse(modes), modes)

    def known(self, values):
        """Wrap a coefficient `(channel, *space)`, periodic like everything here."""
        return self.field(values)

    def derivative(self, u, orders):
        """Exact for resolved modes; see `AbstractCalculus.derivative` for shapes."""
        check_field(u)
        orders = check_orders(orders, self.dimensions)
        return self.inverse(u.source * _multiplier(self.grid, orders, u.source.dtype))

    def laplacian(self, u):
        """One inverse transform for all axes; `(channel, *space)`."""
        check_field(u)
        return self.inverse(u.source * -self._squared(u))

    def biharmonic(self, u):
        """One inverse transform for all axes; `(channel, *space)`."""
        check_field(u)
        return self.inverse(u.source * self._squared(u) ** 2)

    def rotational_velocity(self, vorticity, axis):
        """A Poisson solve in Fourier space; see `AbstractCalculus.rotational_velocity` for shapes."""
        check_field(vorticity)
        if self.dimensions != 2 or axis not in (0, 1):
            raise ValueError(
                f"rotational_velocity is defined on two axes, 0 and 1; got axis {axis} of {self.dimensions}."
            )
        squared = _squared_wavenumber(self.grid)
        inverse = np.where(squared == 0.0, 0.0, 1.0 / np.where(squared == 0.0, 1.0, squared))
        sign, other = (1.0, (0, 1)) if axis == 0 else (-1.0, (1, 0))
        modes = vorticity.source * jnp.asarray(sign * inverse, vorticity.value.dtype)
        return self.inverse(modes * _multiplier(self.grid, other, modes.dtype))

    def symbol(self, law: AbstractSemilinearPDE) -> Complex[Array, "channel *modes"]:
        """What the linear part of a law multiplies each Fourier mode by.

        **Arguments:**

        - `law`: a law that separates its linear part, with constant coefficients.

        **Returns:** the multipliers, `(channel, *modes)`.
        """
        channels = channel_names(law, self.dimensions)
        ones = Field(jnp.ones((len(channels), *self.mode_shape), dtype=complex), None)
        return law.linear(ones, _Multiplication(self.grid))

    def separates(self, law: AbstractPDE) -> bool:
        """Whether a law has a linear part with constant coefficients, so that `symbol` exists.

        **Arguments:**

        - `law`: any law.

        **Returns:** `False` for a law that does not split, whose coefficients vary over the grid `(*space,)`, or whose
        "linear" part mixes channels or does not vanish with the unknown.
        """
        if not isinstance(law, AbstractSemilinearPDE):
            return False
        # On a grid with one more point per axis no coefficient that varies over this grid, even along a single axis,
        # `(n, 1)`, broadcasts against (channel, *modes).
        other = Spectral(Grid(self.grid.box, tuple(n + 1 for n in self.grid.shape)))
        expected = (len(channel_names(law, self.dimensions)), *other.mode_shape)
        try:
            shape = eqx.filter_eval_shape(other.symbol, law).shape
        except (TypeError, ValueError):
            return False
        return shape == expected and _acts_on_channels_alone(law, self.grid.box)

    def _squared(self, u: Field) -> Array:
        return jnp.asarray(_squared_wavenumber(self.grid), u.value.dtype)

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-self.dimensions, 0))


class _Multiplication(AbstractCalculus):
    """The operators as multiplications of Fourier modes: what `Spectral.symbol` runs a law's linear part on."""

    grid: Grid

    @property
    def coordinates(self):
        """Refused: a linear part that depends on position is not a multiplication of modes."""
        raise ValueError(
            "The linear part of a law must have constant coefficients: it may not use the coordinates."
        )

    @property
    def dimensions(self) -> int:
        """The number of space axes."""
        return self.grid.dimensions

    def field(self, u):
        """Refused: modes are made by `Spectral.symbol`."""
        raise ValueError("The linear part of a law may only differentiate the unknown itself.")

    def known(self, values):
        """Refused: a coefficient that varies in space is not a multiplication of modes."""
        raise ValueError(
            "The linear part of a law must have constant coefficients; move the rest to `nonlinear`."
        )

    def derivative(self, u, orders):
        """Multiplication by `(i k)^orders`, `(channel, *modes)`."""
        return u.value * _multiplier(self.grid, check_orders(orders, self.dimensions), u.value.dtype)


def _acts_on_channels_alone(law: AbstractSemilinearPDE, box: Box) -> bool:
    """Whether each channel of the linear part depends on that channel only, and is zero with it.

    Tried on single modes of a tiny grid, with made-up coefficients, as those of the law may be traced.
    """
    calculus = _Multiplication(Grid(box, (4,) * box.dimensions))
    modes = Spectral(calculus.grid).mode_shape
    channels = len(channel_names(law, box.dimensions))
    arrays, rest = eqx.partition(law, eqx.is_array)
    with jax.ensure_compile_time_eval():
        leaves, structure = jax.tree.flatten(arrays)
        made_up = [jnp.full(leaf.shape, 0.5 + 0.01 * i, leaf.dtype) for i, leaf in enumerate(leaves)]
        law = eqx.combine(jax.tree.unflatten(structure, made_up), rest)
        # The last row is no unknown at all.
        for alone in np.eye(channels + 1, channels):
            value = jnp.asarray(alone.reshape(-1, *(1 for _ in modes)) * np.ones(modes), dtype=complex)
            out = np.asarray(law.linear(Field(value, None), calculus))
            if np.any(out[alone == 0.0] != 0.0):
                return False
    return True


def _wavenumbers(grid: Grid) -> list[np.ndarray]:
    """Integer wavenumbers per axis, shaped to broadcast over the half spectrum."""
    numbers = []
    for axis, n in enumerate(grid.shape):
        last = axis == grid.dimensions - 1
        k = np.fft.rfftfreq(n, 1 / n) if last else np.fft.fftfreq(n, 1 / n)
        numbers.append(k.reshape([-1 if a == axis else 1 for a in range(grid.dimensions)]))
    return numbers


def _mask(grid: Grid, fraction: float) -> np.ndarray:
    mask = np.ones((1,) * grid.dimensions, dtype=bool)
    for n, k in zip(grid.shape, _wavenumbers(grid), strict=True):
        # Strictly below: with |k| = n/3 kept, twice k would fold back exactly onto -k.
        mask = mask & (np.abs(k) < fraction * n / 2)
    return mask


def _multiplier(grid: Grid, orders: tuple[int, ...], dtype) -> Array:
    """`(i k)^orders`, in the precision of the modes: a NumPy complex128 would raise that of float32 runs."""
    product = np.ones((1,) * grid.dimensions, dtype=complex)
    for n, length, k, order in zip(grid.shape, grid.box.lengths, _wavenumbers(grid), orders, strict=True):
        if order == 0:
            continue  # so that the constant varies only along the axes it must
        factor = (2j * np.pi * k / length) ** order
        if order % 2 == 1 and n % 2 == 0:
            factor = np.where(np.abs(k) == n // 2, 0.0, factor)  # the Nyquist mode has no odd derivative
        product = product * factor
    return jnp.asarray(product, dtype)


def _squared_wavenumber(grid: Grid) -> np.ndarray:
    total = np.zeros((1,) * grid.dimensions)
    for length, k in zip(grid.box.lengths, _wavenumbers(grid), strict=True):
        total = total + (2 * np.pi * k / length) ** 2
    return total
