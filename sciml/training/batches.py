"""Minibatches: the batch of step `s` is a pure function of `(seed, s)`; a resumed run needs no iterator state.

Each epoch visits the samples in an order that the counter-based generator Philox makes from `(seed, epoch)`;
a remainder smaller than a batch is left out of that epoch, and another remainder of the next. Within a batch
the samples are sorted, so that a file is read forwards.

Where the data lies decides where it is gathered: a NumPy array on the host, a `jax.Array` on its device (put
small data there with `jax.device_put`), and anything else with a shape and slices, such as an
`h5py.Dataset`, is read sample by sample, so that the file may be larger than memory.
"""

import abc
import functools
import operator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree, Shaped


class AbstractBatches(eqx.Module):
    """A source of minibatches: called with a step, counted from 0, it returns that step's batch."""

    @abc.abstractmethod
    def __call__(self, step: int) -> PyTree:
        """Return the batch of a step.

        **Arguments:**

        - `step`: the step, counted from 0.

        **Returns:** a pytree of arrays `(batch, ...)`, the same at every call with the same step.
        """

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what fixes these batches, for the check that a resumed run is the same run.

        **Returns:** a dictionary that JSON can hold: sizes, seed and the shapes of the data, not its values.
        """


class Batches(AbstractBatches):
    """Minibatches of samples: rows of arrays that share one leading axis.

    **Arguments:**

    - `data`: a pytree of arrays `(sample, ...)`, in memory, on a device or in a file.
    - `batch_size`: the number of samples in a batch.
    - `seed`: the seed of the epochs' orders, from 0 to 2**64 - 1.

    **Returns:** (of a call) the pytree with leaves `(batch, ...)`.

    **Raises:** `ValueError` if the data is empty, its leading axes differ, or a batch is larger than the
    data.
    """

    data: PyTree
    batch_size: int
    seed: int
    samples: int

    def __init__(self, data: PyTree, batch_size: int, *, seed: int):
        leading = _leading_axes(data, ("sample",))
        self.data = data
        self.samples = leading[0]
        self.batch_size = _check_batch_size(batch_size, self.samples, "samples")
        self.seed = _check_seed(seed)

    def __call__(self, step: int) -> PyTree:
        """Return the batch of a step; see `AbstractBatches`.

        **Arguments:**

        - `step`: the step, counted from 0.

        **Returns:** a pytree of arrays `(batch, ...)`.
        """
        rows = _choose(step, self.seed, self.samples, self.batch_size)
        return _gather(self.data, (rows,), lambda leaf, i: leaf[int(rows[i])], self.batch_size)

    def describe(self) -> dict[str, Any]:
        """Return sizes, seed and shapes; see `AbstractBatches`.

        **Returns:** a dictionary that JSON can hold.
        """
        return {
            "kind": "Batches",
            "batch_size": self.batch_size,
            "seed": self.seed,
            "data": _shapes(self.data),
        }


class Windows(AbstractBatches):
    """Minibatches of windows in time, cut from trajectories.

    Sample `k` is trajectory `k // windows`, from time index `stride * (k % windows)`, with
    `windows = (time - length) // stride + 1`.

    **Arguments:**

    - `trajectories`: a pytree of arrays `(trajectory, time, ...)`, in memory, on a device or in a file.
    - `length`: the number of times in a window, both ends counted: a loss over `n` model steps needs `n + 1`.
    - `batch_size`: the number of windows in a batch.
    - `seed`: the seed of the epochs' orders, from 0 to 2**64 - 1.
    - `stride`: the number of times between the starts of neighboring windows.

    **Returns:** (of a call) the pytree with leaves `(batch, time=length, ...)`.

    **Raises:** `ValueError` if a window is longer than the trajectories or a batch is larger than the number
    of windows.
    """

    trajectories: PyTree
    length: int
    batch_size: int
    seed: int
    stride: int
    windows: int
    samples: int

    def __init__(self, trajectories: PyTree, length: int, batch_size: int, *, seed: int, stride: int = 1):
        count, times = _leading_axes(trajectories, ("trajectory", "time"))
        self.length = _check_positive(length, "length")
        self.stride = _check_positive(stride, "stride")
        if self.length > times:
            raise ValueError(
                f"A window of length={self.length} does not fit in trajectories of {times} times. Choose a "
                f"length of at most {times}, or give longer trajectories with axes (trajectory, time, ...)."
            )
        self.trajectories = trajectories
        self.windows = (times - self.length) // self.stride + 1
        self.samples = count * self.windows
        self.batch_size = _check_batch_size(batch_size, self.samples, "windows")
        self.seed = _check_seed(seed)

    def __call__(self, step: int) -> PyTree:
        """Return the batch of a step; see `AbstractBatches`.

        **Arguments:**

        - `step`: the step, counted from 0.

        **Returns:** a pytree of arrays `(batch, time=length, ...)`.
        """
        chosen = _choose(step, self.seed, self.samples, self.batch_size)
        rows, starts = np.divmod(chosen, self.windows)
        starts = starts * self.stride
        times = starts[:, None] + np.arange(self.length)
        return _gather(
            self.trajectories,
            (rows[:, None], times),
            lambda leaf, i: leaf[int(rows[i]), int(starts[i]) : int(starts[i]) + self.length],
            self.batch_size,
        )

    def describe(self) -> dict[str, Any]:
        """Return sizes, seed and shapes; see `AbstractBatches`.

        **Returns:** a dictionary that JSON can hold.
        """
        return {
            "kind": "Windows",
            "length": self.length,
            "stride": self.stride,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "data": _shapes(self.trajectories),
        }


def _gather(data: PyTree, indices: tuple[np.ndarray, ...], read: Any, batch_size: int) -> PyTree:
    leaves, structure = jax.tree.flatten(data)
    on_device = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]
    gathered = iter(_gather_on_device(on_device, indices) if on_device else ())
    batch = []
    for leaf in leaves:
        if isinstance(leaf, jax.Array):
            batch.append(next(gathered))
        elif isinstance(leaf, np.ndarray):
            batch.append(np.asarray(leaf[indices]))
        else:
            batch.append(np.stack([np.asarray(read(leaf, i)) for i in range(batch_size)]))
    return jax.tree.unflatten(structure, batch)


@jax.jit
def _gather_on_device(
    leaves: list[Shaped[Array, "sample ..."]], indices: tuple[Int[Array, "..."], ...]
) -> list[Shaped[Array, "batch ..."]]:
    # The indices are in range by construction: no need for XLA to test them.
    return [jnp.asarray(leaf).at[indices].get(mode="promise_in_bounds") for leaf in leaves]


def _choose(step: int, seed: int, samples: int, batch_size: int) -> Int[np.ndarray, " batch"]:
    try:
        step = operator.index(step)
    except TypeError:
        step = -1
    if step < 0:
        raise ValueError(
            "A batch is asked for by its step: an integer from 0 on. Call batches(0), batches(1), ..."
        )
    epoch, position = divmod(step, samples // batch_size)
    order = _permute(seed, epoch, samples)
    return np.sort(order[position * batch_size : (position + 1) * batch_size])


@functools.lru_cache(maxsize=4)
def _permute(seed: int, epoch: int, samples: int) -> Int[np.ndarray, " sample"]:
    # The raw bits of Philox are fixed for good; NumPy may change `Generator.permutation` in any release.
    bits = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)).random_raw(samples)
    return np.argsort(bits, kind="stable")


def _leading_axes(data: PyTree, names: tuple[str, ...]) -> tuple[int, ...]:
    axes = ", ".join((*names, "..."))
    leaves = jax.tree_util.tree_leaves_with_path(data)
    if not leaves:
        raise ValueError(
            f"The data holds no arrays. Give an array, or a pytree of arrays, with axes ({axes})."
        )
    found = {}
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path) or "the data"
        shape = getattr(leaf, "shape", None)
        if shape is None or not hasattr(leaf, "__getitem__"):
            raise ValueError(
                f"{name} is of type {type(leaf).__name__}, which has no shape and slices. Give arrays with axes "
                f"({axes}): NumPy, JAX or h5py; np.asarray turns a list into one."
            )
        if len(shape) < len(names):
            raise ValueError(
                f"{name} has shape {tuple(shape)}; expected axes ({axes}). Add the missing axis."
            )
        found[name] = tuple(int(size) for size in shape[: len(names)])
    sizes = set(found.values())
    if len(sizes) > 1:
        listed = ", ".join(f"{name}: {size}" for name, size in found.items())
        raise ValueError(
            f"The arrays disagree about their leading axes ({', '.join(names)}): {listed}. Give every array "
            "the same ones; repeat what all samples share, or close over it in the loss."
        )
    leading = sizes.pop()
    if 0 in leading:
        raise ValueError(
            f"The data is empty: its leading axes ({', '.join(names)}) are {leading}. Give at least one."
        )
    return leading


def _shapes(data: PyTree) -> dict[str, str]:
    return {
        jax.tree_util.keystr(path) or "data": f"{np.dtype(leaf.dtype)}{list(map(int, leaf.shape))}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(data)
    }


def _check_positive(value: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name}={value!r} must be an integer of at least 1.")
    return int(value)


def _check_batch_size(batch_size: int, samples: int, noun: str) -> int:
    batch_size = _check_positive(batch_size, "batch_size")
    if batch_size > samples:
        raise ValueError(
            f"batch_size={batch_size} is more than the {samples} {noun} there are. Choose a batch_size of at "
            f"most {samples}, or give more data."
        )
    return batch_size


def _check_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
        raise ValueError(f"seed={seed!r} must be an integer from 0 to 2**64 - 1.")
    return int(seed)
