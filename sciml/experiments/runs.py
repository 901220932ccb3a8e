"""The folder of a run: its configuration, its tables, and where its data is cached."""

import csv
import dataclasses
import io
import json
import pathlib
from typing import Any

import jax

from .. import __version__
from ..training.files import write_atomically
from .base import AbstractExperiment, find_experiment


def write_config(folder: pathlib.Path, experiment: AbstractExperiment, size: str) -> None:
    """Write `config.json`, from which the run can be read back.

    **Arguments:**

    - `folder`: the run.
    - `experiment`: what to write.
    - `size`: the size its fields started from.
    """
    content = {
        "experiment": experiment.name,
        "size": size,
        "fields": dataclasses.asdict(experiment),
        "sciml": __version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }
    write_text(folder / "config.json", json.dumps(content, indent=2) + "\n")


def read_config(folder: pathlib.Path) -> tuple[AbstractExperiment, str]:
    """Read a run's experiment back.

    **Arguments:**

    - `folder`: the run.

    **Returns:** the experiment and its size.

    **Raises:** `ValueError` when the folder is not a run, or is one of another version's fields.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise ValueError(f"{folder} is not a run: it holds no config.json. `sciml train` makes runs.")
    content = json.loads(file.read_text(encoding="utf-8"))
    cls = find_experiment(content["experiment"])
    try:
        return _from_fields(cls, content["fields"]), content["size"]
    except TypeError as error:
        raise ValueError(
            f"{file} has other fields than this version's {content['experiment']} ({error}); it was written by sciml "
            f"{content.get('sciml')}. Train it again, or use that version."
        ) from error


def _from_fields(cls: type, fields: dict[str, Any]):
    kinds = {field.name: field.type for field in dataclasses.fields(cls)}
    values = {}
    for name, value in fields.items():
        kind = kinds.get(name)
        if dataclasses.is_dataclass(kind) and isinstance(value, dict):
            value = _from_fields(kind, value)
        values[name] = tuple(value) if isinstance(value, list) else value  # JSON has no tuples
    return cls(**values)


def write_table(file: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Write tidy rows as CSV, atomically.

    **Arguments:**

    - `file`: where to.
    - `rows`: dictionaries with the same keys.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())


def read_table(file: pathlib.Path) -> list[dict[str, str]]:
    """Read a table that `write_table` wrote.

    **Arguments:**

    - `file`: the CSV file.

    **Returns:** one dictionary per row; values are text.

    **Raises:** `ValueError` when there is none, saying how to make it.
    """
    if not file.is_file():
        raise ValueError(
            f"{file.parent} has no {file.name}: it is not evaluated. Run: sciml evaluate {file.parent}"
        )
    with open(file, newline="") as handle:
        return list(csv.DictReader(handle))


def write_text(file: pathlib.Path, text: str) -> None:
    """Write a text file atomically.

    **Arguments:**

    - `file`: where to.
    - `text`: its content.
    """
    write_atomically(file, text.encode())
