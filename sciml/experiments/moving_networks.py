"""The models of the moving-mesh experiments: on the grid of indices, on fixed grids, and on graphs."""

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import nn
from ..meshes import GraphStep, MovingMeshSolver, MovingStep, SolverPlan, VolumeStep
from ..pdes import Grid
from .surrogate import make_surrogate

Method = Literal[
    "moving",
    "identity",
    "corrected",
    "corrected-identity",
    "published",
    "published-identity",
    "gnn",
    "gnn-big",
    "cnn",
    "unet",
    "fno",
    "persistence",
    "classical",
    "classical-volumes",
    "classical-moving",
]
ON_MESHES = ("moving", "identity", "corrected", "corrected-identity")
CORRECTED = ("corrected", "corrected-identity")
ON_GRIDS = ("cnn", "unet", "fno")
BRANCHES = ("published", "published-identity")
NEAR = 12  # nodes that an interpolated value of the published form is made of


@dataclasses.dataclass(frozen=True)
class Networks:
    """Sizes of the networks."""

    kind: Literal["fno", "unet"] = "unet"
    """Of the network on the grid of indices."""
    width: int = 16
    """Its channels; other networks on grids get as many parameters."""
    modes: int = 12
    """Of the Fourier operator, per axis."""
    levels: int = 2
    """How often the U-Net halves the resolution."""
    normalize: bool = False
    """Whether the U-Net normalizes over all channels and points, which makes every point depend on all others."""
    neighbors: int = 8
    """How many nodes a node of a graph hears from."""
    graph_width: int = 32
    """Of a network of messages; the bigger one has as many parameters as two of them."""
    graph_depth: int = 3
    """Its layers."""
    interpolation: Literal["relative", "absolute"] = "relative"
    """Of the published form: with weights that sum to one and see relative positions only, or as it was published."""


def build_model(
    method: Method,
    sizes: Networks,
    grid: Grid,
    u: Float[np.ndarray, "trajectory time channel *space"],
    ahead: Float[np.ndarray, "trajectory time channel *space"] | None = None,
    *,
    seed: int,
    prior: VolumeStep | None = None,
    change: Float[Array, " channel"] | None = None,
) -> eqx.Module:
    """A method's model with its initial weights, and the scales of its samples.

    **Arguments:**

    - `method`: which.
    - `sizes`: of its networks.
    - `grid`: of its nodes.
    - `u`, `ahead`: what it trains on, `(trajectory, time, channel, *space)`, for the scales.
    - `seed`: of the weights.
    - `prior`: what a network corrects, for those that do.
    - `change`: how far that is off, `(channel,)`.

    **Returns:** a module.
    """
    channels, dims = u.shape[2], grid.dimensions
    key = jax.random.key(seed)
    padding = tuple(nn.Padding.PERIODIC if wraps else nn.Padding.REFLECT for wraps in grid.box.periodic)

    def build_unet(inputs, width):
        return nn.UNet(
            dims,
            inputs,
            channels,
            width=width,
            levels=sizes.levels,
            padding=padding,
            normalize=sizes.normalize,
            key=key,
        )

    def build_moving(width):
        features = MovingStep.count_features(channels, dims)
        if sizes.kind == "fno":
            return nn.FNO(
                dims,
                features,
                channels,
                width=width,
                modes=min(sizes.modes, grid.shape[0] // 2),
                depth=4,
                periodic=grid.box.periodic,
                residual=True,
                key=key,
            )
        return build_unet(features, width)

    if method in ON_MESHES:
        size, moved, offset = measure_scales(u, ahead)
        return MovingStep(build_moving(sizes.width), size, moved if change is None else change, offset, prior)
    if method in ON_GRIDS:
        wanted = nn.count_parameters(eqx.filter_eval_shape(build_moving, sizes.width))
        build = {
            "unet": lambda w: build_unet(channels, w),
            "cnn": lambda w: nn.ConvNet(dims, channels, channels, width=w, depth=6, padding=padding, key=key),
            "fno": lambda w: nn.FNO(
                dims,
                channels,
                channels,
                width=w,
                modes=min(sizes.modes, grid.shape[0] // 2),
                depth=4,
                periodic=grid.box.periodic,
                residual=True,
                key=key,
            ),
        }[method]
        return make_surrogate(build(nn.match_width(build, wanted)), u)
    return _build_graphs(method, sizes, grid, channels, key)


def _build_graphs(method: Method, sizes: Networks, grid: Grid, channels: int, key) -> eqx.Module:
    dims = grid.dimensions
    periods = tuple(
        length if wraps else None for length, wraps in zip(grid.box.lengths, grid.box.periodic, strict=True)
    )
    keys = jax.random.split(key, 5)

    def build_branch(width, key):
        return GraphStep(
            channels,
            dims,
            grid.spacing[0],
            neighbors=sizes.neighbors,
            width=width,
            depth=sizes.graph_depth,
            periods=periods,
            key=key,
        )

    def interpolation(key):
        if sizes.interpolation == "absolute":
            return nn.AbsoluteInterpolation(dims, neighbors=NEAR, periods=periods, key=key)
        return nn.RelativeInterpolation(dims, neighbors=NEAR, width=16, periods=periods, key=key)

    both = MovingMeshSolver(
        build_branch(sizes.graph_width, keys[0]),
        build_branch(sizes.graph_width, keys[1]),
        interpolation(keys[2]),
        interpolation(keys[3]),
        _Cut(nn.ConvNet(dims, channels, channels, width=8, depth=2, key=keys[4]), grid.shape),
    )
    if method in BRANCHES:
        return both
    width = sizes.graph_width
    if method == "gnn-big":
        width = nn.match_width(lambda w: build_branch(w, keys[0]), nn.count_parameters(both))
    return SingleBranch(build_branch(width, keys[0]))


class _Cut(eqx.Module):
    """The solution itself and a convolution of it, `(channel, node)` to the same."""

    network: nn.ConvNet
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, u):
        return u + self.network(u.reshape(len(u), *self.shape)).reshape(u.shape)


class SingleBranch(eqx.Module):
    """One branch of messages with a skip connection, called as two would be.

    **Arguments:**

    - `branch`: the branch.
    """

    branch: GraphStep

    def __call__(
        self,
        u: Float[Array, "channel node"],
        nodes: Float[Array, "node dim"],
        moved: Float[Array, "other dim"],
        plan: SolverPlan | None = None,
    ) -> Float[Array, "channel node"]:
        """One step.

        **Arguments:**

        - `u`: the solution `(channel, node)`.
        - `nodes`: where it is, `(node, dim)`.
        - `moved`: not looked at, `(other, dim)`.
        - `plan`: that of these meshes, where it is known already.

        **Returns:** the solution one step later, `(channel, node)`.
        """
        return u + self.branch(u, nodes, senders=None if plan is None else plan.fixed)

    def plan(self, nodes: Float[Array, "node dim"], moved: Float[Array, "other dim"]) -> SolverPlan:
        """As `MovingMeshSolver.plan`: one search.

        **Arguments:**

        - `nodes`: `(node, dim)`.
        - `moved`: not looked at, `(other, dim)`.

        **Returns:** the plan.
        """
        return SolverPlan(*[self.branch.find(nodes)] * 4)


def measure_scales(u: np.ndarray, ahead: np.ndarray | None = None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Size, change and mean of each channel of `(trajectory, time, channel, *space)`.

    On moving meshes the change is that at a node that stays.

    **Arguments:**

    - `u`: the solution `(trajectory, time, channel, *space)`.
    - `ahead`: the next frame at the same nodes, of the same shape; by default the next of `u`.

    **Returns:** three arrays `(channel,)`.
    """
    axes = (0, 1, *range(3, u.ndim))
    ahead = u[:, 1:] if ahead is None else ahead[:, :-1]
    change = np.sqrt(np.mean((ahead - u[:, :-1]) ** 2, axis=axes, dtype=np.float64))
    found = np.std(u, axis=axes, dtype=np.float64), change, np.mean(u, axis=axes, dtype=np.float64)
    return tuple(jnp.asarray(x, jnp.float32) for x in found)
