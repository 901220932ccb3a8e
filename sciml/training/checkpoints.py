"""The folder of a run: what fixes it, its log, its checkpoints by orbax and its final models.

    fit.json      what fixes the run; written first, so that a resumed run is known to be the same
    log.jsonl     one record per logged step
    checkpoints/  the last two states; orbax writes each aside and renames it when it is whole
    last.eqx      the model after the last step, when the run is finished
    best.eqx      the model of the best validation, likewise

A run may be killed at any moment. What was not whole by then is never read: the run goes on from the newest
checkpoint that reads back with the checksum it was written with.
"""

import json
import os
import pathlib
import shutil
import warnings
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from sciml._optional import require
from sciml.training.files import explain_write_error, write_atomically
from sciml.training.logs import JsonLines
from sciml.training.models import compare, is_prng_key, save_model

_FORMAT = "sciml run"
_VERSION = 1
_OWN = ("log.jsonl", "checkpoints", "last.eqx", "best.eqx")


class RunFolder:
    """One run on disk, held by one process at a time.

    **Arguments:**

    - `path`: the folder; made if it does not exist.
    - `settings`: what fixes the run, field by field, as JSON can hold it.
    - `resume`: whether to go on with the run that the folder holds, if it holds one.

    **Raises:** `FileExistsError` if the folder holds a run and `resume` is false, or files of a run's names
    that are not from a run; `ValueError` if it holds another run than `settings`; `RuntimeError` if another
    process is training in it.
    """

    def __init__(self, path: str | os.PathLike[str], settings: dict[str, Any], *, resume: bool):
        self.path = pathlib.Path(path).absolute()
        self._ocp = require("orbax.checkpoint", extra="train")
        settings = json.loads(json.dumps(settings))
        existing = self._inspect()
        if existing is not None:
            if not resume:
                raise FileExistsError(
                    f"The folder {self.path} holds a {self._describe()}; it is not overwritten. Pass "
                    "resume=True to go on with it, or choose another folder."
                )
            _check_same(self.path, existing, settings)
        self._make(self.path)
        self._lock = _lock(self.path)
        try:
            if existing is None:
                # First of all files, so that whatever else is there can be told from a stranger's.
                marker = {"format": _FORMAT, "version": _VERSION, "settings": settings}
                write_atomically(self.path / "fit.json", json.dumps(marker, indent=1).encode() + b"\n")
            self._make(self.path / "checkpoints")
        except OSError:
            os.close(self._lock)
            raise
        for name in (*_OWN, "fit.json"):
            for litter in self.path.glob(f".{name}.*.tmp"):
                litter.unlink(missing_ok=True)
        self.log = JsonLines(self.path / "log.jsonl", append=True)
        self._manager = None

    def restore(self, like: PyTree) -> tuple[PyTree, dict[str, Any]] | None:
        """Read the newest checkpoint that is whole.

        Newer ones that are not are moved to `unreadable-checkpoints/`, with a warning.

        **Arguments:**

        - `like`: a pytree of arrays with the structure, shapes and dtypes that were saved.

        **Returns:** the pytree as saved and the counters saved with it; `None` if there is no checkpoint.
        """
        template = _flatten(like)
        found = None
        for step in self._list_steps():
            folder = self.path / "checkpoints" / str(step)
            try:
                arrays, counters = self._read(step, template)
            except Exception as error:
                # An older one that does not read is a deletion that was cut short.
                if found is None:
                    self._set_aside(folder, error)
                else:
                    shutil.rmtree(folder)
                continue
            if found is None:
                found = _unflatten(like, arrays), counters
        return found

    def save(self, step: int, tree: PyTree, counters: dict[str, Any]) -> None:
        """Write a checkpoint; the one before it is kept, older ones go.

        **Arguments:**

        - `step`: the number of steps done.
        - `tree`: a pytree of arrays.
        - `counters`: plain values, as JSON can hold them.

        **Raises:** `OSError` if it cannot be written, such as on a full disk; the checkpoints before are
        intact.
        """
        arrays = _flatten(tree)
        notes = {"counters": counters, "crc32": _checksum(arrays)}
        args = self._ocp.args
        try:
            self.log.sync()
            self._open_manager().save(
                step,
                args=args.Composite(state=args.StandardSave(arrays), config=args.JsonSave(notes)),
                force=True,
            )
        except Exception as error:
            for part in (self.path / "checkpoints").glob("*orbax-checkpoint-tmp*"):
                shutil.rmtree(part, ignore_errors=True)
            raise explain_write_error(
                error,
                self.path / "checkpoints" / str(step),
                "The checkpoints before it are intact; the same call with resume=True goes on from the "
                "newest.",
            ) from error

    def finish(self, last: PyTree, best: PyTree) -> None:
        """Write the final models, unless they are there.

        **Arguments:**

        - `last`: the model after the last step.
        - `best`: the model of the best validation.
        """
        for name, model in (("last.eqx", last), ("best.eqx", best)):
            if not (self.path / name).exists():
                save_model(self.path / name, model)

    def close(self) -> None:
        """Let go of the files and of the lock."""
        self.log.close()
        if self._manager is not None:
            self._manager.close()
        os.close(self._lock)

    def _inspect(self) -> dict[str, Any] | None:
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file; a run needs a folder. Choose another name.")
        marker = self.path / "fit.json"
        if not marker.exists():
            foreign = [name for name in _OWN if (self.path / name).exists()]
            if foreign:
                raise FileExistsError(
                    f"The folder {self.path} holds {', '.join(foreign)} but no fit.json, so they are not "
                    "from a run of sciml.training.fit; they are not overwritten. Choose another folder."
                )
            return None
        try:
            content = json.loads(marker.read_bytes())
            known = content["format"] == _FORMAT and isinstance(content["settings"], dict)
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise FileExistsError(
                f"{marker} is not from a run of sciml.training.fit; it is not overwritten. Choose another "
                "folder."
            )
        if content["version"] != _VERSION:
            raise ValueError(
                f"{marker} has version {content['version']}; this sciml reads version {_VERSION}. Go on with "
                "the sciml that began the run, or choose another folder."
            )
        return content["settings"]

    def _describe(self) -> str:
        if (self.path / "last.eqx").exists() and (self.path / "best.eqx").exists():
            return "finished run"
        steps = self._list_steps()
        return f"run with a checkpoint at step {steps[0]}" if steps else "run that has no checkpoint yet"

    def _make(self, folder: pathlib.Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_write_error(error, folder, "Choose a folder that you may write to.") from error

    def _list_steps(self) -> list[int]:
        folder = self.path / "checkpoints"
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def _open_manager(self) -> Any:
        # Opened late, as it lists what is there once: what is not whole has been set aside by then.
        if self._manager is None:
            for part in (self.path / "checkpoints").glob("*orbax-checkpoint-tmp*"):
                shutil.rmtree(part)
            self._manager = self._manage()
        return self._manager

    def _manage(self) -> Any:
        options = self._ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        return self._ocp.CheckpointManager(
            self.path / "checkpoints", options=options, item_names=("state", "config")
        )

    def _read(
        self, step: int, template: dict[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        args = self._ocp.args
        # A manager of its own, as one that is to write must first see what is left after the unreadable ones.
        with self._manage() as reader:
            saved = reader.restore(
                step, args=args.Composite(state=args.StandardRestore(template), config=args.JsonRestore())
            )
        if _checksum(saved.state) != saved.config["crc32"]:
            raise ValueError("its checksum does not fit")
        return saved.state, saved.config["counters"]

    def _set_aside(self, folder: pathlib.Path, error: Exception) -> None:
        aside = self.path / "unreadable-checkpoints"
        aside.mkdir(exist_ok=True)
        number = sum(1 for _ in aside.iterdir())
        target = aside / f"{folder.name}-{number}"
        folder.rename(target)
        first_line = (str(error).splitlines() or [""])[0][:200]
        warnings.warn(
            f"The checkpoint of step {folder.name} in {self.path} does not read ({type(error).__name__}: "
            f"{first_line}). It was moved to {target}, and the run goes on from the one before.",
            stacklevel=2,
        )


def _check_same(path: pathlib.Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    differences = compare(_flatten_fields(old), _flatten_fields(new))
    if differences:
        raise ValueError(
            f"The run in {path} was started with another configuration (field: then -> now):\n{differences}\n"
            "Go on with the old values, or start a new run in another folder."
        )


def _flatten_fields(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    fields = {}
    for name, inner in value.items():
        # The paths of leaves begin with their own punctuation: `model.layers[0].weight`.
        joined = f"{prefix}{name}" if not prefix or name[:1] in (".", "[") else f"{prefix}.{name}"
        fields.update(_flatten_fields(inner, joined))
    return fields


def _lock(path: pathlib.Path) -> int:
    descriptor = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        import fcntl

        # The kernel drops the lock with the process, however that ends.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (
        ImportError
    ):  # no such locks on this system: two processes in one folder are then the user's to avoid
        pass
    except BlockingIOError as error:
        os.close(descriptor)
        raise RuntimeError(
            f"Another process is training in {path}. Wait for it or stop it, or choose another folder."
        ) from error
    return descriptor


def _flatten(tree: PyTree) -> dict[str, np.ndarray]:
    arrays = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(jax.random.key_data(leaf) if is_prng_key(leaf) else leaf)
        # Orbax refuses arrays without entries, and there is nothing in them to save.
        if array.size:
            arrays[jax.tree_util.keystr(path)] = array
    return arrays


def _unflatten(like: PyTree, arrays: dict[str, np.ndarray]) -> PyTree:
    def fill(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path)
        if name not in arrays:
            return leaf
        if is_prng_key(leaf):
            return jax.random.wrap_key_data(jnp.asarray(arrays[name]), impl=jax.random.key_impl(leaf))
        return arrays[name]

    return jax.tree_util.tree_map_with_path(fill, like)


def _checksum(arrays: dict[str, np.ndarray]) -> int:
    total = 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total = zlib.crc32(f"{name} {array.dtype}{array.shape}".encode(), total)
        total = zlib.crc32(array.tobytes(), total)
    return total
