"""A finished model in one file: a line of JSON on what is in it, then its leaves as Equinox writes them."""

import io
import json
import os
import pathlib
import zlib
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sciml.training.files import write_atomically

Model = TypeVar("Model")
_FORMAT = "sciml model"
_VERSION = 1


def save_model(path: str | os.PathLike[str], model: PyTree) -> None:
    """Write a model to a file, whole or not at all; a file of that name is replaced.

    Arrays, PRNG keys and numbers are stored. What a model is made of besides (its class, its activation
    functions) is not: `load_model` takes it from a model of the same build.

    **Arguments:**

    - `path`: the file, by convention ending in `.eqx`.
    - `model`: any pytree.

    **Raises:** `OSError` if the file cannot be written.
    """
    stream = io.BytesIO()
    eqx.tree_serialise_leaves(stream, model, filter_spec=_write_leaf)
    payload = stream.getvalue()
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "bytes": len(payload),
        "crc32": zlib.crc32(payload),
        "leaves": describe_leaves(model),
    }
    write_atomically(path, json.dumps(header).encode() + b"\n" + payload)


def load_model(path: str | os.PathLike[str], like: Model) -> Model:
    """Read a model that `save_model` wrote.

    **Arguments:**

    - `path`: the file.
    - `like`: a model of the same build: same class, sizes and dtypes, any values. `eqx.filter_eval_shape`
        makes one without spending memory.

    **Returns:** `like` with the arrays, PRNG keys and numbers of the file.

    **Raises:** `ValueError` if the file is truncated, damaged, not a model, or of a model of another build,
    then with the leaves that differ.
    """
    path = pathlib.Path(path)
    first, _, payload = path.read_bytes().partition(b"\n")
    header = _read_header(path, first)
    if len(payload) != header["bytes"]:
        state = "truncated" if len(payload) < header["bytes"] else "damaged"
        raise ValueError(
            f"{path} is {state}: it holds {len(payload)} bytes of leaves where {header['bytes']} were written. "
            "Copy it again from where it came from."
        )
    if zlib.crc32(payload) != header["crc32"]:
        raise ValueError(
            f"{path} is damaged: its checksum does not fit. Copy it again from where it came from."
        )
    differences = compare(header["leaves"], describe_leaves(like))
    if differences:
        raise ValueError(
            f"{path} holds another model than `like` (leaf: in the file -> in `like`):\n{differences}\n"
            "Build `like` as the saved model was built."
        )
    return eqx.tree_deserialise_leaves(io.BytesIO(payload), _fill_keys(like), filter_spec=_read_leaf)


def describe_leaves(tree: PyTree) -> dict[str, str]:
    """Return path and type of each leaf that a file would hold.

    **Arguments:**

    - `tree`: any pytree; leaves that are not arrays, keys or numbers are left out.

    **Returns:** a dictionary such as `{".layers[0].weight": "float32[8, 3]"}`.
    """
    described = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if isinstance(leaf, (bool, int, float, complex)):
            described[jax.tree_util.keystr(path)] = type(leaf).__name__
        elif eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct):
            described[jax.tree_util.keystr(path)] = f"{leaf.dtype}{list(leaf.shape)}"
    return described


def compare(old: dict[str, Any], new: dict[str, Any], *, limit: int = 12) -> str:
    """Return the lines `field: old -> new` for all fields that differ, or an empty string.

    **Arguments:**

    - `old`, `new`: dictionaries of plain values.
    - `limit`: the number of lines after which the rest is counted only.

    **Returns:** the lines, each indented by two spaces.
    """
    absent = object()
    names = [name for name in {**old, **new} if old.get(name, absent) != new.get(name, absent)]
    lines = [f"  {name}: {old.get(name, '(absent)')} -> {new.get(name, '(absent)')}" for name in names]
    if len(lines) > limit:
        lines = [*lines[:limit], f"  ... and {len(lines) - limit} more"]
    return "\n".join(lines)


def is_prng_key(leaf: Any) -> bool:
    """Return whether a leaf is a typed PRNG key, whose bits have to be taken out before they are stored.

    **Arguments:**

    - `leaf`: anything.

    **Returns:** true for what `jax.random.key` makes.
    """
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _read_header(path: pathlib.Path, first: bytes) -> dict[str, Any]:
    try:
        header = json.loads(first)
        known = header["format"] == _FORMAT
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise ValueError(
            f"{path} is not a model that save_model wrote: it does not begin with the header of one. Give a "
            "file that does; one written with eqx.tree_serialise_leaves is read with "
            "eqx.tree_deserialise_leaves."
        )
    if header["version"] != _VERSION:
        raise ValueError(
            f"{path} has version {header['version']} of the format; this sciml reads version {_VERSION}. "
            "Read it with the sciml that wrote it."
        )
    return header


def _write_leaf(file: Any, leaf: Any) -> None:
    if is_prng_key(leaf):
        np.save(file, np.asarray(jax.random.key_data(leaf)))
    else:
        eqx.default_serialise_filter_spec(file, leaf)


def _read_leaf(file: Any, like: Any) -> Any:
    if is_prng_key(like):
        return jax.random.wrap_key_data(jnp.asarray(np.load(file)), impl=jax.random.key_impl(like))
    return eqx.default_deserialise_filter_spec(file, like)


def _fill_keys(like: PyTree) -> PyTree:
    """Make keys of the mere shapes of keys, as equinox compares the types of leaves."""

    def fill(leaf: Any) -> Any:
        mere = isinstance(leaf, jax.ShapeDtypeStruct) and is_prng_key(leaf)
        return jnp.zeros(leaf.shape, leaf.dtype) if mere else leaf

    return jax.tree.map(fill, like)
