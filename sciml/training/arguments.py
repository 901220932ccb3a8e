"""What the arguments of `fit` must be, and what of them fixes a run."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Intervals:
    """The number of steps, and the steps between what is not done at each; zero for never.

    **Arguments:**

    - `steps`: the number of steps.
    - `validate`, `save`, `log`: steps between validations, checkpoints and records.
    """

    steps: int
    validate: int
    save: int
    log: int

    def due(self, step: int, every: int) -> bool:
        """Return whether something is to be done after a step; what is done at all is done after the last.

        **Arguments:**

        - `step`: the step, counted from 1.
        - `every`: one of the intervals.

        **Returns:** true or false.
        """
        return every > 0 and (step % every == 0 or step == self.steps)


def check_counts(required: dict[str, Any], optional: dict[str, Any]) -> None:
    """Refuse what is not a positive integer.

    **Arguments:**

    - `required`: values by name.
    - `optional`: values by name that may be `None`, too.

    **Raises:** `ValueError` that names the first one that is not.
    """
    for name, value in {**required, **optional}.items():
        if value is None and name in optional:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            also = ", or None" if name in optional else ""
            raise ValueError(f"{name}={value!r} must be an integer of at least 1{also}.")


def check_functions(batches: Any, validate: Any, key: Any) -> None:
    """Refuse batches and validation that cannot be called, and a key that is none.

    **Arguments:**

    - `batches`, `validate`, `key`: as `fit` takes them.

    **Raises:** `ValueError`.
    """
    if not callable(batches):
        raise ValueError(
            f"batches is of type {type(batches).__name__}; expected a function of the step, so that a run can be "
            "resumed: sciml.training.Batches(data, batch_size, seed=0), Windows(...), or your own."
        )
    if validate is not None and not callable(validate):
        raise ValueError(
            f"validate is of type {type(validate).__name__}; expected a function of the model, lower is better, "
            "or None."
        )
    try:
        shape = jax.random.key_data(key).shape
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"key is of type {type(key).__name__}; expected a PRNG key, such as jax.random.key(0)."
        ) from error
    if len(shape) != 1:
        raise ValueError("key is an array of keys; expected one PRNG key, such as jax.random.key(0).")


def check_combinations(
    validate: Any, validate_every: Any, patience: Any, folder: Any, save_every: Any, resume: bool, clip: Any
) -> None:
    """Refuse arguments without effect, as they are mistakes, and a norm that is not positive.

    **Arguments:**

    - `validate`, `validate_every`, `patience`: the last two need the first.
    - `folder`, `save_every`, `resume`: likewise.
    - `clip`: a positive number or `None`.

    **Raises:** `ValueError`.
    """
    given = [name for name, value in (("patience", patience), ("validate_every", validate_every)) if value]
    if validate is None and given:
        raise ValueError(
            f"{' and '.join(given)} without `validate`: nothing is validated. Give a function of the model, lower "
            f"is better, or leave out {' and '.join(given)}."
        )
    given = [name for name, value in (("resume", resume), ("save_every", save_every)) if value]
    if folder is None and given:
        raise ValueError(
            f"{' and '.join(given)} without `folder`: no run is kept. Give a folder for the run, or leave out "
            f"{' and '.join(given)}."
        )
    if clip is not None and not 0 < clip < float("inf"):
        raise ValueError(f"clip={clip!r} must be a positive number, or None for no clipping.")


def to_json(configuration: Any) -> Any:
    """Turn a configuration into what JSON gives back for it.

    **Arguments:**

    - `configuration`: a dictionary or a dataclass of plain values, or `None`.

    **Returns:** dictionaries, lists, numbers and strings.

    **Raises:** `ValueError` that names the fields that JSON cannot hold.
    """
    if dataclasses.is_dataclass(configuration) and not isinstance(configuration, type):
        configuration = dataclasses.asdict(configuration)
    if configuration is None:
        return None
    if not isinstance(configuration, Mapping):
        raise ValueError(
            f"configuration is of type {type(configuration).__name__}; expected a dictionary or a dataclass of plain "
            "values, or None."
        )
    plain, bad = {}, {}
    for name, value in configuration.items():
        try:
            plain[name] = json.loads(json.dumps(value, default=_to_number))
        except (TypeError, ValueError):
            bad[name] = type(value).__name__
    if bad:
        raise ValueError(
            f"configuration holds what JSON cannot: {bad}. Give plain numbers, strings, lists and dictionaries, "
            "such as the name of a thing in place of the thing."
        )
    return plain


def _to_number(value: Any) -> Any:
    if isinstance(value, np.generic) or (hasattr(value, "item") and getattr(value, "size", 0) == 1):
        return value.item()
    if isinstance(value, pathlib.PurePath):
        return str(value)
    raise TypeError
