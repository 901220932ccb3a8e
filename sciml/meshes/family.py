"""The family of solutions that a mover was trained on, and how far from it a solution is.

Mean, principal components and their standard deviations are those of the training solutions. Distance is measured along
the components, in standard deviations, and away from them, by what they leave over. Each is divided by the largest of
members that the components were not made of. So one is as far as a member may be, and a solution at a distance of a
few is one that the network has not been trained for.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_KEPT = 0.999  # of the variance, by the components
_FLOOR = 1e-3  # of the size of what is seen: differences below count as none


class Family(eqx.Module):
    """What is known of the solutions a mover was trained on; nothing of it is trained.

    **Arguments:**

    - `mean`: of what sensors see, `(channel, *sensor)`.
    - `size`: the root mean square of each channel about its mean, `(channel,)`.
    - `components`: orthonormal, of what is seen, without mean and divided by the size, `(component, sensor)`.
    - `deviations`: along each of them, `(component,)`.
    - `along`, `away`: the largest distance along the components and away from them of members that did not make them,
        scalars.
    """

    mean: Float[Array, "channel *sensor"]
    size: Float[Array, " channel"]
    components: Float[Array, "component sensor"]
    deviations: Float[Array, " component"]
    along: Float[Array, ""]
    away: Float[Array, ""]

    def normalize(self, seen: Float[Array, "channel *sensor"]) -> Float[Array, "channel *sensor"]:
        """Without the mean, in units of the size.

        **Arguments:**

        - `seen`: what sensors see of a solution, `(channel, *sensor)`.

        **Returns:** the same shape, of size about one.
        """
        mean, size = (jax.lax.stop_gradient(x).astype(seen.dtype) for x in (self.mean, self.size))
        return (seen - mean) / size.reshape((-1,) + (1,) * (seen.ndim - 1))

    def measure_distance(self, seen: Float[Array, "channel *sensor"]) -> Float[Array, ""]:
        """How far a solution is from the family, in units of its own extent.

        **Arguments:**

        - `seen`: what sensors see of it, `(channel, *sensor)`.

        **Returns:** a scalar: about one at most for a member; infinite for what is not finite.
        """
        along, away = _split(self.normalize(seen).reshape(-1), self.components, self.deviations)
        distance = jnp.maximum(along / self.along, away / self.away)
        return jnp.where(jnp.isfinite(distance), distance, jnp.inf)


def describe_family(
    seen: Float[Array, "sample channel *sensor"], unseen: Float[Array, "other channel *sensor"] | None = None
) -> Family:
    """Describe the solutions that a mover is to be trained on.

    **Arguments:**

    - `seen`: what sensors see of each, `(sample, channel, *sensor)`.
    - `unseen`: the same of others of the family, such as the validation set, which say how far a member may be,
        `(other, channel, *sensor)`. Without them every second one of `seen` is kept for that.

    **Returns:** the family.

    **Raises:** `ValueError` for fewer than 4, or what is not finite.
    """
    seen = np.asarray(seen)
    dtype = seen.dtype
    if len(seen) < 4:
        raise ValueError(f"A family is described from at least 4 solutions; got {len(seen)}.")
    if not np.all(np.isfinite(seen)):
        bad = int(np.argwhere(~np.isfinite(seen))[0][0])
        raise ValueError(f"Solution {bad} is not finite at all sensors. Check the solve that made it.")
    seen = seen.astype(float)
    axes = (0, *range(2, seen.ndim))
    mean = seen.mean(axis=0)
    size = np.sqrt(np.mean((seen - mean) ** 2, axis=axes))
    scale = np.sqrt(np.mean(seen**2, axis=axes))
    size = np.maximum(size, np.maximum(_FLOOR * scale, np.finfo(dtype).tiny ** 0.5))

    def normalize(x):
        return ((x - mean) / size.reshape((-1,) + (1,) * (x.ndim - 2))).reshape(len(x), -1)

    flat = normalize(seen)
    made, held = flat[::2], flat[1::2]
    if unseen is not None:
        made, held = flat, normalize(np.asarray(unseen, float))
    _, singular, right = np.linalg.svd(made, full_matrices=False)
    share = np.cumsum(singular**2) / max(np.sum(singular**2), np.finfo(float).tiny)
    # More components than half of the samples would fit these, and leave nothing over.
    count = min(int(np.searchsorted(share, _KEPT)) + 1, max(1, len(made) // 2))
    components, deviations = right[:count], singular[:count] / np.sqrt(len(made))
    deviations = np.maximum(deviations, _FLOOR)
    along, away = (
        float(jnp.max(x)) for x in jax.vmap(lambda x: _split(x, components, deviations))(jnp.asarray(held))
    )
    numbers = (
        mean,
        size,
        components,
        deviations,
        max(along, 1.0),
        max(away, _FLOOR * np.sqrt(flat.shape[1])),
    )
    return Family(*(jnp.asarray(x, dtype) for x in numbers))


def _split(flat: Array, components: Array, deviations: Array) -> tuple[Array, Array]:
    places = components @ flat
    rest = flat - components.T @ places
    return jnp.sqrt(jnp.mean((places / deviations) ** 2)), jnp.sqrt(jnp.sum(rest**2))
