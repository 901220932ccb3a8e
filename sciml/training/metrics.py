"""How far a predicted trajectory is from the truth.

Fields are `(channel, *space)`, trajectories `(time, channel, *space)`; over many trajectories use `jax.vmap`.
"""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = [
    "correlation",
    "correlation_time",
    "energy_spectrum",
    "nrmse",
    "residual_error",
    "rollout_error",
    "spectral_error",
]

Trajectory = Float[Array, "time channel *space"]


def nrmse(prediction: Float[Array, "..."], truth: Float[Array, "..."]) -> Float[Array, ""]:
    """Return the normalized root mean square error of a field or a whole trajectory.

    `nrmse = sqrt(sum |prediction - truth|^2 / sum |truth|^2)`, both sums over every axis. Zero is exact;
    predicting zero everywhere gives one. It is not finite where the truth is zero everywhere.

    **Arguments:**

    - `prediction`: a field `(channel, *space)` or a trajectory `(time, channel, *space)`.
    - `truth`: the same shape and unit.

    **Returns:** a scalar `()`, without unit.

    **Raises:** `ValueError` if the shapes differ.
    """
    _check_shapes(prediction, truth)
    return jnp.sqrt(_energy(prediction - truth) / _energy(truth))


def rollout_error(prediction: Trajectory, truth: Trajectory) -> Float[Array, " time"]:
    """Return the nRMSE at each time: `e_n = sqrt(sum |prediction_n - truth_n|^2 / sum |truth_n|^2)`.

    **Arguments:**

    - `prediction`: a trajectory `(time, channel, *space)`.
    - `truth`: the same shape and unit.

    **Returns:** one error per time, `(time,)`, without unit.

    **Raises:** `ValueError` if the shapes differ.
    """
    _check_shapes(prediction, truth)
    return jax.vmap(nrmse)(prediction, truth)


def correlation(prediction: Trajectory, truth: Trajectory) -> Float[Array, " time"]:
    """Return Pearson's correlation of prediction and truth at each time, over channels and space together.

    **Arguments:**

    - `prediction`: a real trajectory `(time, channel, *space)`.
    - `truth`: the same shape and unit.

    **Returns:** one number from -1 to 1 per time, `(time,)`; NaN where a field is constant or not finite.

    **Raises:** `ValueError` if the shapes differ.
    """
    _check_shapes(prediction, truth)
    a = prediction.reshape(prediction.shape[0], -1)
    b = truth.reshape(truth.shape[0], -1)
    a = a - jnp.mean(a, axis=1, keepdims=True)
    b = b - jnp.mean(b, axis=1, keepdims=True)
    return jnp.sum(a * b, axis=1) / jnp.sqrt(jnp.sum(a * a, axis=1) * jnp.sum(b * b, axis=1))


def correlation_time(
    prediction: Trajectory, truth: Trajectory, times: Float[Array, " time"], *, threshold: float = 0.8
) -> Float[Array, ""]:
    """Return the first time at which the correlation of prediction and truth is below a threshold.

    A prediction that is not finite counts as below. Infinity says that the correlation never fell within the
    times given; `jnp.minimum(result, times[-1])` makes that a lower bound that can be averaged.

    **Arguments:**

    - `prediction`: a real trajectory `(time, channel, *space)`.
    - `truth`: the same shape and unit.
    - `times`: the time of each field, `(time,)`.
    - `threshold`: the correlation that still counts as right.

    **Returns:** a scalar `()` in the unit of `times`.

    **Raises:** `ValueError` if the shapes differ.

    Reference: Kochkov, Smith, Alieva, Wang, Brenner, Hoyer, Machine learning-accelerated computational fluid
    dynamics, 2021, doi:10.1073/pnas.2101784118; the threshold is that of Lippe, Veeling, Perdikaris, Turner,
    Brandstetter, PDE-Refiner, 2023, arXiv:2308.05732.
    """
    times = jnp.asarray(times)
    if times.shape != (prediction.shape[0],):
        raise ValueError(
            f"times has shape {times.shape}; expected one time per field, ({prediction.shape[0]},), as the "
            f"trajectory has shape {prediction.shape} with axes (time, channel, *space)."
        )
    lost = ~(correlation(prediction, truth) >= threshold)
    return jnp.min(jnp.where(lost, times.astype(jnp.result_type(float)), jnp.inf))


def spectral_error(
    prediction: Float[Array, "channel *space"],
    truth: Float[Array, "channel *space"],
    *,
    edges: tuple[int, ...] = (0, 5, 13),
) -> Float[Array, " band"]:
    """Return how much of the nRMSE lies in each band of wavenumbers, for a field on a periodic uniform grid.

    `E_b = sqrt(sum_{k in b} |F(prediction - truth)_k|^2 / sum_k |F(truth)_k|^2)`, `F` the discrete Fourier
    transform over space, summed over channels. A wavenumber counts periods per domain; its band is that of the
    nearest integer to `|k|`. By Parseval's theorem `sum_b E_b^2 = nrmse^2` when the first edge is zero.

    **Arguments:**

    - `prediction`: a field `(channel, *space)`.
    - `truth`: the same shape and unit.
    - `edges`: the lowest wavenumber of each band, increasing; a band ends where the next begins, the last
        one never. By default low 0-4, middle 5-12 and high from 13 on.

    **Returns:** one error per band, `(band,)`, without unit.

    **Raises:** `ValueError` if the shapes differ, there is no space axis, or the edges do not increase.

    Reference (of the bands): Takamoto et al., PDEBench: An Extensive Benchmark for Scientific Machine
    Learning, 2022, arXiv:2210.07182.
    """
    _check_shapes(prediction, truth)
    if not edges or any(low >= high for low, high in itertools.pairwise(edges)) or edges[0] < 0:
        raise ValueError(f"edges={edges} must be wavenumbers from 0 on that increase, such as (0, 5, 13).")
    spectrum = energy_spectrum(prediction - truth)
    band = np.searchsorted(np.asarray(edges), np.arange(spectrum.shape[0]), side="right") - 1
    inside = band >= 0
    sums = jnp.zeros(len(edges), spectrum.dtype).at[band[inside]].add(spectrum[inside])
    return jnp.sqrt(sums / jnp.sum(energy_spectrum(truth)))


def energy_spectrum(field: Float[Array, "channel *space"]) -> Float[Array, " wavenumber"]:
    """Return the energy of a field on a periodic uniform grid by wavenumber.

    `S_m = sum over |k| nearest to m of |F(field)_k|^2 / N^2`, summed over channels, `F` the discrete Fourier
    transform over the `N` points of space, so that `sum_m S_m` is the mean over space of `|field|^2`.

    **Arguments:**

    - `field`: `(channel, *space)`.

    **Returns:** `(wavenumber,)`, from 0 to the corner of the spectrum, in the unit of the field squared.

    **Raises:** `ValueError` if there is no space axis.
    """
    space = field.shape[1:]
    if not space:
        raise ValueError(f"A field of shape {field.shape} has no space axis; expected (channel, *space).")
    transform = jnp.fft.fftn(field, axes=tuple(range(1, field.ndim))) / np.prod(space)
    waves = np.meshgrid(*[np.fft.fftfreq(size, 1.0 / size) for size in space], indexing="ij")
    shell = np.rint(np.sqrt(sum(wave**2 for wave in waves))).astype(int)
    energy = jnp.sum(jnp.abs(transform) ** 2, axis=0)
    return jnp.zeros(int(shell.max()) + 1, energy.dtype).at[shell].add(energy)


def residual_error(
    residual: Callable[[Trajectory], Float[Array, "..."]], trajectory: Trajectory
) -> Float[Array, ""]:
    """Return the root mean square of an equation's residual on a trajectory: `sqrt(mean
    |residual(trajectory)|^2)`.

    **Arguments:**

    - `residual`: takes a trajectory `(time, channel, *space)` to the residual at any set of points, such as
        `du/dt - rate(u)` at inner times.
    - `trajectory`: `(time, channel, *space)`.

    **Returns:** a scalar `()`, in the unit of the residual.
    """
    return jnp.sqrt(jnp.mean(jnp.abs(residual(trajectory)) ** 2))


def _energy(values: Float[Array, "..."]) -> Float[Array, ""]:
    return jnp.sum(jnp.abs(values) ** 2)


def _check_shapes(prediction: Array, truth: Array) -> None:
    if prediction.shape != truth.shape:
        raise ValueError(
            f"prediction has shape {prediction.shape} and truth {truth.shape}; expected the same. Compare "
            "what `rollout(model, u[0], steps)` returns with u[1:], as it leaves the initial field out."
        )
