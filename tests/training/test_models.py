"""Model files: whole, of the right model, or refused (exact tests and a table of bad files)."""

import json
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.training import load_model, save_model


class Mixed(eqx.Module):
    """All that a model may be made of."""

    weight: jax.Array
    spectral: jax.Array
    half: jax.Array
    table: np.ndarray
    empty: jax.Array
    key: jax.Array
    rate: float
    flag: bool
    activation: object = eqx.field(static=True)


def make(seed: int, size: int = 3) -> Mixed:
    return Mixed(
        weight=jax.random.normal(jax.random.key(seed), (size, 2)),
        spectral=jnp.array([1j * seed, 2.0]),
        half=jnp.array([seed, 1], jnp.bfloat16),
        table=np.arange(seed, seed + 3),
        empty=jnp.zeros((0, 4)),
        key=jax.random.key(seed),
        rate=0.5 + seed,
        flag=bool(seed),
        activation=jax.nn.gelu,
    )


def bits(tree):
    leaves = jax.tree.leaves(tree)
    return [
        np.asarray(jax.random.key_data(x) if jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key) else x)
        for x in leaves
    ]


@pytest.mark.parametrize("like", [make(0), eqx.filter_eval_shape(make, 0)], ids=["values", "shapes"])
def test_what_is_loaded_is_what_was_saved(tmp_path, like):
    save_model(tmp_path / "m.eqx", make(1))
    loaded = load_model(tmp_path / "m.eqx", like)
    for ours, theirs in zip(bits(loaded), bits(make(1)), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert type(loaded.rate) is float
    assert loaded.activation is jax.nn.gelu


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    save_model(tmp_path / "m.eqx", make(1))
    save_model(str(tmp_path / "m.eqx"), make(2))
    assert load_model(tmp_path / "m.eqx", make(0)).rate == 2.5
    assert os.listdir(tmp_path) == ["m.eqx"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    save_model(tmp_path / "m.eqx", make(1))

    def refuse(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(
        OSError, match=r"no space left \(No space left on device\) to write .*m.eqx.*unchanged"
    ) as error:
        save_model(tmp_path / "m.eqx", make(2))
    assert error.value.errno == 28
    assert load_model(tmp_path / "m.eqx", make(0)).rate == 1.5
    assert os.listdir(tmp_path) == ["m.eqx"]


def spoil(kind: str, whole: bytes) -> bytes:
    header, payload = whole.split(b"\n", 1)
    if kind == "bit":
        return header + b"\n" + payload[:200] + bytes([payload[200] ^ 1]) + payload[201:]
    if kind == "version":
        return json.dumps({**json.loads(header), "version": 9}).encode() + b"\n" + payload
    return {
        "half": whole[: len(whole) // 2 + 1],
        "all but one byte": whole[:-1],
        "header": header[:50],
        "empty": b"",
        "other": b"\x93NUMPY",
        "json": b"[1]\n",
        "longer": whole + b"x",
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("half", r"m.eqx is truncated: it holds \d+ bytes of leaves where \d+ were written"),
        ("all but one byte", "is truncated"),
        ("longer", "is damaged: it holds"),
        ("bit", "is damaged: its checksum does not fit"),
        ("version", "has version 9 of the format; this sciml reads version 1"),
        ("header", "is not a model that save_model wrote"),
        ("empty", "is not a model that save_model wrote"),
        ("other", "is not a model that save_model wrote"),
        ("json", "is not a model that save_model wrote"),
    ],
)
def test_bad_files(tmp_path, kind, message):
    save_model(tmp_path / "m.eqx", make(1))
    (tmp_path / "m.eqx").write_bytes(spoil(kind, (tmp_path / "m.eqx").read_bytes()))
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "m.eqx", make(0))


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (lambda: make(0, size=4), r"\.weight: float64\[3, 2\] -> float64\[4, 2\]"),
        (
            lambda: eqx.tree_at(lambda m: m.weight, make(0), np.zeros((3, 2), np.float32)),
            r"-> float32\[3, 2\]",
        ),
        (lambda: eqx.nn.MLP(1, 1, 1, 1, key=jax.random.key(0)), r"\.layers\[0\]\.weight: \(absent\) -> "),
    ],
)
def test_another_model_is_refused_with_the_leaves_that_differ(tmp_path, like, message):
    save_model(tmp_path / "m.eqx", make(1))
    with pytest.raises(ValueError, match=r"(?s)another model than `like` .*" + message):
        load_model(tmp_path / "m.eqx", like())


def test_paths_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*missing does not exist. Make it first"):
        save_model(tmp_path / "missing" / "m.eqx", make(0))
    with pytest.raises(IsADirectoryError, match=r"it is a folder. Give the name of a file in it"):
        save_model(tmp_path, make(0))
    with pytest.raises(FileNotFoundError, match=r"m.eqx"):
        load_model(tmp_path / "m.eqx", make(0))
