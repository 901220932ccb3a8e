"""The deep operator network: values at fixed sensors in, a function that can be evaluated anywhere out."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._checks import check_positive, spread
from ._layers import Perceptron


class DeepONet(eqx.Module):
    r"""A deep operator network: a basis of functions from the trunk, their coefficients from the branch.

        y_c(x) = bias_c + latent^(-1/2) sum_j branch_cj(values) trunk_j(x)

    **Arguments:**

    - `sensors`: the shape of the sensor values, `(channel, *sensor)`; a whole field on its grid will do.
    - `num_coordinates`: the number of coordinates of a point; time can be one of them.
    - `out_channels`: the number of output channels.
    - `width`, `depth`: the width and the number of hidden layers of branch and trunk.
    - `latent`: the number of basis functions.
    - `periods`: per coordinate its period, a length, or None for one that is not periodic; one value for all, or one
      per coordinate. A periodic coordinate enters the trunk as `cos 2 pi k x / period` and `sin 2 pi k x / period`
      for `k = 1, ..., harmonics`, which makes the output periodic exactly.
    - `harmonics`: see `periods`.
    - `activation`, `unroll`: as for `FNO`.
    - `key`: a random key.

    **Raises:** `ValueError` for a bad size or period.

    **Reference:** L. Lu et al., Learning nonlinear operators via DeepONet, 2021, arXiv:1910.03193; periodic features as
    in L. Lu et al., A comprehensive and fair comparison of two neural operators, 2022, arXiv:2111.05512.
    """

    branch: Perceptron
    trunk: Perceptron
    bias: Float[Array, " out_channel"]
    sensors: tuple[int, ...] = eqx.field(static=True)
    periods: tuple[float | None, ...] = eqx.field(static=True)
    harmonics: int = eqx.field(static=True)

    def __init__(
        self,
        sensors: tuple[int, ...],
        num_coordinates: int,
        out_channels: int,
        *,
        width: int = 64,
        depth: int = 3,
        latent: int = 64,
        periods: float | tuple[float | None, ...] | None = None,
        harmonics: int = 4,
        activation: Callable[[Array], Array] = jax.nn.gelu,
        unroll: int = 1,
        key: PRNGKeyArray,
    ):
        check_positive(
            "DeepONet",
            num_coordinates=num_coordinates,
            out_channels=out_channels,
            width=width,
            depth=depth,
            latent=latent,
            harmonics=harmonics,
            unroll=unroll,
        )
        if not isinstance(sensors, tuple) or len(sensors) < 2:
            raise ValueError(
                f"DeepONet got sensors={sensors!r}; expected the shape (channel, *sensor) of the sensor values, such "
                "as (1, 128)."
            )
        check_positive("DeepONet", **{f"sensors[{axis}]": n for axis, n in enumerate(sensors)})
        self.sensors = sensors
        self.periods = spread("DeepONet", "periods", periods, num_coordinates)
        if any(period is not None and not period > 0 for period in self.periods):
            raise ValueError(
                f"DeepONet got periods={periods!r}; expected a positive length, or None for no period."
            )
        self.harmonics = harmonics
        features = sum(1 if period is None else 2 * harmonics for period in self.periods)
        branch, trunk = jax.random.split(key)
        shared = {"width": width, "depth": depth, "activation": activation, "unroll": unroll}
        self.branch = Perceptron(math.prod(sensors), out_channels * latent, **shared, key=branch)
        self.trunk = Perceptron(features, latent, **shared, key=trunk)
        self.bias = jnp.zeros(out_channels)

    def __call__(
        self, values: Float[Array, "channel *sensor"], points: Float[Array, "point dim"]
    ) -> Float[Array, "out_channel point"]:
        """Evaluate the output function.

        **Arguments:**

        - `values`: the input function at the sensors `(channel, *sensor)`.
        - `points`: where to evaluate `(point, dim)`.

        **Returns:** `(out_channel, point)`.

        **Raises:** `ValueError` for a wrong shape or a batch axis.
        """
        if values.shape != self.sensors:
            batch = values.shape[1:] == self.sensors
            cure = "write jax.vmap(model)(batch, points)" if batch else "pass the values at the same sensors"
            raise ValueError(
                f"DeepONet got sensor values of shape {values.shape}; it was built for {self.sensors}; {cure}."
            )
        if points.ndim != 2 or points.shape[1] != len(self.periods):
            raise ValueError(
                f"DeepONet got points of shape {points.shape}; expected (point, {len(self.periods)}), one row per "
                "point; write points[None] for a single point, jax.vmap(model) for a batch."
            )
        trunk = self.trunk(self._embed(points))
        branch = self.branch(values.reshape(-1)).reshape(len(self.bias), -1)
        return branch @ trunk.T / math.sqrt(trunk.shape[-1]) + self.bias[:, None]

    def _embed(self, points: Float[Array, "point dim"]) -> Float[Array, "point feature"]:
        features = []
        for axis, period in enumerate(self.periods):
            x = points[:, axis, None]
            if period is None:
                features.append(x)
            else:
                angle = 2 * jnp.pi / period * x * jnp.arange(1, self.harmonics + 1)
                features += [jnp.cos(angle), jnp.sin(angle)]
        return jnp.concatenate(features, axis=-1)
