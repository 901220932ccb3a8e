"""Placing a training run: on one device, or the batch cut over several with everything else on each."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import PyTree


class Placement:
    """Where the arrays of a training run lie.

    **Arguments:**

    - `devices`: the devices to train on; `None` for all local ones. With several, the leading axis of every
        array of a batch is cut over them, and XLA adds the collectives that keep the mathematics the same.

    **Raises:** `ValueError` if there are no devices, or the same one twice.
    """

    def __init__(self, devices: Sequence[Any] | None = None):
        chosen = list(jax.local_devices() if devices is None else devices)
        if not chosen or len(set(chosen)) != len(chosen):
            raise ValueError(
                f"devices={chosen} must be different devices, at least one. Leave devices=None for all local "
                "ones, or give a part of jax.local_devices()."
            )
        several = len(chosen) > 1
        self.mesh = (
            jax.make_mesh((len(chosen),), ("batch",), axis_types=(AxisType.Auto,), devices=chosen)
            if several
            else None
        )
        # One device by default means the default device, wherever the user has set it to be.
        self.device = chosen[0] if devices is not None and not several else None

    def replicate(self, tree: PyTree) -> PyTree:
        """Put a copy of every array on each device.

        **Arguments:**

        - `tree`: a pytree of arrays.

        **Returns:** the same pytree of `jax.Array`s.
        """
        return jax.device_put(
            tree, self.device if self.mesh is None else NamedSharding(self.mesh, PartitionSpec())
        )

    def outputs(self) -> dict[str, Any]:
        """Return the arguments of `jax.jit` that keep what it returns on every device.

        **Returns:** a dictionary with `out_shardings`, empty on one device.
        """
        return {} if self.mesh is None else {"out_shardings": NamedSharding(self.mesh, PartitionSpec())}

    def shard(self, batch: PyTree) -> PyTree:
        """Cut a batch over the devices.

        **Arguments:**

        - `batch`: a pytree of arrays `(batch, ...)`; scalars are given to every device.

        **Returns:** the same pytree, placed.

        **Raises:** `ValueError` if the batch axis of an array does not divide evenly.
        """
        if self.mesh is None:
            return batch if self.device is None else jax.device_put(batch, self.device)
        return jax.tree_util.tree_map_with_path(self._cut, batch)

    def _cut(self, path: Any, leaf: Any) -> jax.Array:
        count = self.mesh.size
        shape = np.shape(leaf)
        if not shape:
            return jax.device_put(leaf, NamedSharding(self.mesh, PartitionSpec()))
        if shape[0] % count:
            raise ValueError(
                f"The batch{jax.tree_util.keystr(path)} of shape {shape} does not divide evenly over {count} "
                f"devices. Choose a batch size that is a multiple of {count}, or fewer devices, such as "
                "devices=jax.local_devices()[:1]."
            )
        return jax.device_put(leaf, NamedSharding(self.mesh, PartitionSpec("batch")))
