"""Experts and batches on many devices: three roads, the same numbers.

| road | what it is | experts that stop early |
|---|---|---|
| `ShardMap()` | `jax.shard_map`: each device runs by itself | wait for nobody on other devices |
| `Pmap()` | `jax.pmap`, the old way, over one axis of the mesh | wait for nobody on other devices |
| `Compiler()` | `jax.jit` with sharded arrays | wait for the slowest: all agree on the loop's end |

The network is on every device, and every device that shares a start evaluates it. A device solves for its own experts,
without any exchange inside the loop; then the weights are gathered, and the answer is made of them.
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray

from .backends import Optimistix
from .couplings import AbstractSpread, Coupled, Overlapping, Together
from .experts import Experts
from .hard import ConstrainedField, HardConstraint

BATCH, EXPERT = "batch", "expert"


def make_device_mesh(*, expert: int = 1, batch: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of devices with the axes `batch` and `expert`.

    **Arguments:**

    - `expert`: devices that share the experts of one start.
    - `batch`: devices that share the starts.
    - `devices`: which; all of every process by default.

    **Returns:** the mesh.

    **Raises:** `ValueError` when there are not as many devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    if expert < 1 or batch < 1 or expert * batch != len(devices):
        raise ValueError(
            f"A mesh of batch={batch} times expert={expert} needs {expert * batch} devices; there are {len(devices)}. "
            f"Change one of them, or give a part of jax.devices(). For simulated devices start Python with "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={max(expert * batch, 1)}."
        )
    # Explicit axes, the default of make_mesh, would refuse arrays that are not placed yet.
    return jax.make_mesh((batch, expert), (BATCH, EXPERT), axis_types=(AxisType.Auto,) * 2, devices=devices)


class _OwnExperts(AbstractSpread):
    """Inside a program that runs on every device of an axis: solve this device's share, then gather."""

    axis: str = eqx.field(static=True)
    devices: int = eqx.field(static=True)

    def map(self, solve, problems):
        """See `AbstractSpread.map`."""
        share = len(problems[0].data) // self.devices
        first = jax.lax.axis_index(self.axis) * share
        own = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, share), problems)
        return jax.lax.all_gather(jax.vmap(solve)(*own), self.axis, tiled=True)


class _Constrained(AbstractSpread):
    """Ask the compiler to lay the solves out over the axis of experts."""

    mesh: Mesh = eqx.field(static=True)

    def map(self, solve, problems):
        """See `AbstractSpread.map`."""
        sharding = NamedSharding(self.mesh, PartitionSpec(EXPERT))

        def lay(x):
            return jax.lax.with_sharding_constraint(x, sharding) if eqx.is_inexact_array(x) else x

        return jax.vmap(solve)(*jax.tree.map(lay, problems))


class AbstractRoad(eqx.Module):
    """How a program is spread over devices."""

    @abc.abstractmethod
    def run(
        self,
        layer: Callable,
        mesh: Mesh,
        starts: Float[Array, "batch channel *space"],
        keys: PRNGKeyArray | None,
    ) -> ConstrainedField:
        """Run a layer on a batch.

        **Arguments:**

        - `layer`: a `HardConstraint` or `Experts`.
        - `mesh`: of `make_device_mesh`.
        - `starts`: `(batch, channel, *space)`.
        - `keys`: one random key per start, or none.

        **Returns:** fields with a leading axis `batch`.
        """


class ShardMap(AbstractRoad):
    """By `jax.shard_map`: every device runs by itself. The one to take."""

    def run(self, layer, mesh, starts, keys):
        """See `AbstractRoad.run`; starts `(batch, channel, *space)`."""
        arrays, rest = eqx.partition(layer, eqx.is_array)
        spread = _spread(mesh.shape[EXPERT])

        def local(arrays, starts, keys):
            return _map_batch(eqx.combine(arrays, rest), starts, keys, spread)

        specs = (PartitionSpec(), PartitionSpec(BATCH), PartitionSpec(BATCH))
        return jax.shard_map(
            local, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(BATCH), check_vma=False
        )(arrays, starts, keys)


class Pmap(AbstractRoad):
    """By `jax.pmap`, over one axis of the mesh; the other must have one device."""

    def run(self, layer, mesh, starts, keys):
        """See `AbstractRoad.run`; starts `(batch, channel, *space)`."""
        batch, expert = mesh.shape[BATCH], mesh.shape[EXPERT]
        if batch > 1 and expert > 1:
            raise ValueError(
                f"jax.pmap runs over one axis; this mesh has batch={batch} and expert={expert}. Take ShardMap()."
            )
        arrays, rest = eqx.partition(layer, eqx.is_array)
        spread = _spread(expert)

        def local(arrays, starts, keys):
            return _map_batch(eqx.combine(arrays, rest), starts, keys, spread)

        devices = mesh.devices.ravel().tolist()
        if batch == 1:
            # pmap wants something to map over; the place of a device will do.
            fields = jax.pmap(
                lambda place, *args: local(*args), EXPERT, in_axes=(0, None, None, None), devices=devices
            )(jnp.arange(expert), arrays, starts, keys)
            return jax.tree.map(lambda x: x[0], fields)

        def cut(x):
            return x.reshape(batch, len(x) // batch, *x.shape[1:])

        fields = jax.pmap(local, BATCH, in_axes=(None, 0, 0), devices=devices)(
            arrays, *jax.tree.map(cut, (starts, keys))
        )
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), fields)


class Compiler(AbstractRoad):
    """By `jax.jit` and shardings: the compiler adds the exchanges, one of them in the solver's loop."""

    def run(self, layer, mesh, starts, keys):
        """See `AbstractRoad.run`; starts `(batch, channel, *space)`."""
        starts = jax.lax.with_sharding_constraint(starts, NamedSharding(mesh, PartitionSpec(BATCH)))
        spread = _Constrained(mesh) if mesh.shape[EXPERT] > 1 else Together()
        return _map_batch(layer, starts, keys, spread, BATCH)


class OnDevices(eqx.Module):
    """A constraint or its experts on a mesh of devices, for batches of starts.

    Call it under `eqx.filter_jit`. Its gradient in the network is that of one device, on every road.

    **Arguments:**

    - `layer`: `HardConstraint` or `Experts`.
    - `mesh`: of `make_device_mesh`. Coupled and overlapping experts are found together, so that only the axis `batch`
      may have several devices for them.
    - `road`: `ShardMap()`, `Pmap()` or `Compiler()`.

    **Raises:** `ValueError` for experts that do not divide over the devices, or that are not separate, and for a solver
    that does not run there.
    """

    layer: HardConstraint | Experts
    mesh: Mesh = eqx.field(static=True)
    road: AbstractRoad = ShardMap()

    def __check_init__(self):
        if tuple(self.mesh.axis_names) != (BATCH, EXPERT):
            raise ValueError(
                f"The mesh must have the axes ('batch', 'expert'), as make_device_mesh makes them; got "
                f"{self.mesh.axis_names}."
            )
        constraint = getattr(self.layer, "constraint", self.layer)
        if isinstance(constraint.solver, Optimistix) and not isinstance(self.road, Compiler):
            raise ValueError(
                "Optimistix does not run inside jax.shard_map and jax.pmap. Take LevenbergMarquardt() or Jaxopt(), or "
                "the road Compiler()."
            )
        devices = self.mesh.shape[EXPERT]
        if devices == 1:
            return
        coupling = getattr(self.layer, "coupling", None)
        if coupling is None or isinstance(coupling, (Coupled, Overlapping)):
            kind = "One constraint is" if coupling is None else f"{type(coupling).__name__} experts are"
            raise ValueError(
                f"{kind} one solve, which cannot be cut over expert={devices} devices. Give the devices to the axis "
                f"`batch`, or take OwnRows() or Independent()."
            )
        experts = int(np.prod(self.layer.partition))
        if experts % devices:
            raise ValueError(
                f"{experts} experts do not divide over expert={devices} devices. Choose a partition with a multiple of "
                f"{devices} boxes, or another mesh."
            )

    def __call__(
        self,
        starts: Float[Array, "batch channel *space"],
        *,
        key: PRNGKeyArray | None = None,
        throw: bool = True,
    ) -> ConstrainedField:
        """The fields from a batch of starts.

        **Arguments:**

        - `starts`: `(batch, channel, *space)`.
        - `key`: a random key, for samplings that are random.
        - `throw`: whether a solve that did not converge is an error.

        **Returns:** fields whose every array has a leading axis `batch`.

        **Raises:** `ValueError` for starts that are no array, or a batch that does not divide over the devices.
        """
        devices = self.mesh.shape[BATCH]
        if not eqx.is_array_like(starts) or jnp.ndim(starts) < 2:
            raise ValueError(
                f"OnDevices cuts a batch of starts, one array (batch, channel, ...); got {starts!r}. A layer that "
                "takes functions as starts, as one at SpaceTimePoints does, has to be called without OnDevices."
            )
        if len(starts) % devices:
            raise ValueError(
                f"A batch of {len(starts)} starts does not divide over batch={devices} devices; give a multiple."
            )
        keys = None if key is None else jax.random.split(key, len(starts))
        fields = self.road.run(self.layer, self.mesh, starts, keys)
        if not throw:
            return fields
        # Through a scalar: an error thread through a sharded array would gather it.
        zero = eqx.error_if(
            jnp.zeros((), fields.value.dtype),
            ~jnp.all(fields.certificate.converged),
            "The weights of a constraint were not found for some start of the batch. Call with throw=False and look at "
            "the certificates.",
        )
        # Whatever is read of the fields: a check on what is not used is dropped.
        return eqx.tree_at(_read, fields, [x + zero.astype(x.dtype) for x in _read(fields)])


def _read(fields):
    return fields.value, fields.weights, fields.residual, fields.loss


def _spread(devices: int) -> AbstractSpread:
    return _OwnExperts(EXPERT, devices) if devices > 1 else Together()


def _map_batch(layer, starts, keys, spread, axis=None):
    def one(start, key):
        return layer(start, key=key, throw=False, spread=spread)

    return jax.vmap(one, spmd_axis_name=axis)(starts, keys)
