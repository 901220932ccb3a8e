"""A step of a solution that lives on a moving triangle mesh, by a network on the edges of the mesh.

    u_{t+1}(new nodes) = R u_t + change * network(u_t, R u_t, gradient of R u_t, geometry, features)

with `R` the interpolation from the old mesh to the new one. Nodes move and edges stay, so the network is one on a fixed
graph, whose geometry tells it where nodes are. Where the mesh has not moved the geometry is at rest and `R` the
identity: the same network is its own control. See `moving_state.py` for structured meshes.

Where the law is known, a classical step on the new mesh, such as `FlowStep`, may follow on `R`, and the network
corrects what that gets wrong.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import nn
from ..pdes.calculus import check_values
from .moving_state import check_scales, freeze
from .triangle_transfer import plan_triangles
from .triangles import TriangleMesh


class TriangleStep(eqx.Module):
    """One step of a solution from the nodes of one triangle mesh to those of another with the same triangles.

    **Arguments:**

    - `network`: on the graph; node features as many as `TriangleStep.count_features` says, out the channels.
    - `hierarchy`: of the edges of the mesh.
    - `size`: the root mean square of each channel, `(channel,)`; not trained.
    - `change`: that of what the network adds, `(channel,)`; not trained.
    - `offset`: the mean of each channel, `(channel,)`; not trained.
    - `located`: whether the network sees where in the domain a node is, as it has to where a prior is wrong near open
        walls; one that does is of no use on another domain.
    - `prior`: what the network corrects, `(R u, new mesh, features) -> u`, a step later; not trained. By default `R u`.

    **Raises:** `ValueError` for scales of different shapes.
    """

    network: nn.GraphUNet
    hierarchy: nn.GraphHierarchy
    size: Float[Array, " channel"]
    change: Float[Array, " channel"]
    offset: Float[Array, " channel"]
    located: bool = eqx.field(static=True, default=False, kw_only=True)
    prior: Callable[[Array, TriangleMesh, Array | None], Array] | None = None

    def __check_init__(self):
        check_scales(self)

    @staticmethod
    def count_features(channels: int, walls: int, features: int = 0, *, located: bool = False) -> int:
        """How many numbers the network sees at a node.

        **Arguments:**

        - `channels`: of the solution.
        - `walls`: of the mesh.
        - `features`: further ones.
        - `located`: as for the step.

        **Returns:** the number.
        """
        return 4 * channels + 6 + walls + features + 2 * located

    def __call__(
        self,
        u: Float[Array, "channel node"],
        old: TriangleMesh,
        new: TriangleMesh,
        features: Float[Array, " feature"] | None = None,
        carried: Float[Array, "channel node"] | None = None,
    ) -> Float[Array, "channel node"]:
        """Step.

        **Arguments:**

        - `u`: the solution at the nodes of the old mesh, `(channel, node)`.
        - `old`: where the solution is.
        - `new`: where it is wanted one step later. Conditions at its walls are met.
        - `features`: numbers that hold everywhere, such as that of Reynolds, `(feature,)`.
        - `carried`: what interpolation to the new mesh, and the prior, make of the solution, `(channel, node)`, where
            that is known already.

        **Returns:** the solution one step later at the nodes of the new mesh, `(channel, node)`.

        **Raises:** `ValueError` for meshes of different triangles, or values of another shape.
        """
        u = check_values("TriangleStep", u, old.points.shape[1:])
        if new.points.shape != old.points.shape or new.triangles.shape != old.triangles.shape:
            sizes = [f"{m.points.shape[1]} nodes and {len(m.triangles)} triangles" for m in (old, new)]
            raise ValueError(
                f"TriangleStep goes from one mesh to another with the same triangles; got meshes of {sizes[0]} and of "
                f"{sizes[1]}. Interpolate the solution to the other mesh first."
            )
        if len(u) != len(self.size):
            raise ValueError(
                f"TriangleStep was made for {len(self.size)} channels; got a solution of {len(u)}. Make one for these."
            )
        if carried is None:
            carried = u if new is old else plan_triangles(old, new.points)(u, old)
            carried = self.predict(carried, new, features)
        size, change, offset = (
            jax.lax.stop_gradient(x)[:, None].astype(u.dtype) for x in (self.size, self.change, self.offset)
        )
        scaled = (carried - offset) / size
        spacing = jnp.sqrt(2 * new.domain_volume / len(new.triangles)).astype(u.dtype)
        slopes = new.gradient(new.known(scaled)).reshape(-1, u.shape[1]) * spacing
        seen = [(u - offset) / size, scaled, slopes, _describe(old, new, spacing).astype(u.dtype)]
        if self.located:
            low, high = (f(new.reference, axis=1, keepdims=True) for f in (jnp.min, jnp.max))
            seen.append(((2 * new.points - low - high) / (high - low)).astype(u.dtype))
        if features is not None:
            seen.append(jnp.broadcast_to(features[:, None].astype(u.dtype), (len(features), u.shape[1])))
        found = self.network(jnp.concatenate(seen).T, (new.points / spacing).T, self.hierarchy).T
        return new.field(carried + change * found.astype(u.dtype)).value

    def predict(
        self, u: Float[Array, "channel node"], mesh: TriangleMesh, features: Float[Array, " feature"] | None
    ) -> Float[Array, "channel node"]:
        """What the network corrects.

        **Arguments:**

        - `u`: the solution interpolated to the new mesh, `(channel, node)`.
        - `mesh`: the new mesh.
        - `features`: as for a step, `(feature,)`.

        **Returns:** the prior's solution one step later, or without one what was given, `(channel, node)`.
        """
        if self.prior is None:
            return u
        return freeze(self.prior)(u, mesh, features).astype(u.dtype)


def make_hierarchy(mesh: TriangleMesh, levels: int) -> nn.GraphHierarchy:
    """The graphs of the edges of a mesh.

    **Arguments:**

    - `mesh`: the mesh.
    - `levels`: how many coarser ones.

    **Returns:** the graphs.
    """
    return nn.coarsen_graph(mesh.connectivity.edges, mesh.points.shape[1], levels=levels)


def _describe(old: TriangleMesh, new: TriangleMesh, spacing: Array) -> Array:
    """Where nodes are, in units of edges, how their triangles are, and on which wall: `(6 + wall, node)`."""
    moved = (new.points - new.reference) / spacing
    motion = (new.points - old.points) / spacing
    zero = jnp.zeros_like(new.points[0])
    now, before = (
        zero.at[new.triangles].add(areas[:, None]) for areas in (new.volumes, new.reference_volumes)
    )
    stretch = jnp.log(jnp.maximum(now / before, 1e-3))
    shape = jnp.log(before / 6 / spacing**2)
    members = new.connectivity.members.astype(zero.dtype)
    return jnp.concatenate([moved, motion, jnp.stack([stretch, shape]), members])
