"""Records: JSON-like trees with arrays in them, kept exactly.

A law's parameters and a run's metadata are records. As text a record is JSON in which the array number `k` stands as
`{"$array": k}`; Python's JSON writes the shortest decimal that reads back as the same float64, so numbers survive.
"""

import json

import numpy as np

_MARK = "$array"
_NUMERIC = "?bBhHiIlLqQefdFD"  # what every machine stores alike: no long doubles, no objects


def normalize(value, where: str):
    """Turn a tree into a record: plain Python numbers, lists, dictionaries and read-only NumPy arrays.

    **Arguments:**

    - `value`: a tree of `dict` (with text keys), `list`, `tuple`, `str`, `bool`, `int`, `float`, `None`, and arrays of
      any shape.
    - `where`: the name of the value, for errors.

    **Returns:** the record; tuples have become lists, array scalars Python numbers, other arrays NumPy arrays.

    **Raises:** `ValueError` naming the first entry a file could not hold.
    """
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        value = value.item()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key == _MARK:
                raise ValueError(
                    f"{where} has the key {key!r}; a key must be text other than {_MARK!r}. Rename it."
                )
        return {key: normalize(entry, f"{where}[{key!r}]") for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [normalize(entry, f"{where}[{i}]") for i, entry in enumerate(value)]
    if hasattr(value, "__array__") and np.asarray(value).dtype.char in _NUMERIC:
        array = np.asarray(value)
        if array.ndim == 0 and array.dtype.kind != "c":
            return array.item()
        if array.flags.writeable:
            array = array.copy()
            array.setflags(write=False)
        return array
    raise ValueError(
        f"{where} is a {type(value).__name__}, which a file cannot hold. Give text, numbers, True, False, None, "
        f"numeric arrays, or lists and dictionaries of those; repr() or str() makes text of anything else."
    )


def encode(*records) -> tuple[list[str], list[np.ndarray]]:
    """Write records as JSON texts and the arrays they name.

    **Arguments:**

    - `records`: what `normalize` returned.

    **Returns:** a text for each record, and the arrays of all in the order of their numbers, of any shape.
    """
    arrays = []

    def replace(value):
        if isinstance(value, dict):
            return {key: replace(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [replace(entry) for entry in value]
        if isinstance(value, np.ndarray):
            arrays.append(value)
            return {_MARK: len(arrays) - 1}
        return value

    return [json.dumps(replace(record)) for record in records], arrays


def decode(text: str, arrays: list[np.ndarray]):
    """Read a record back from its text and arrays.

    **Arguments:**

    - `text`: the JSON text that `encode` wrote.
    - `arrays`: its arrays, each of its own shape.

    **Returns:** the record.
    """
    return json.loads(text, object_hook=lambda entry: arrays[entry[_MARK]] if _MARK in entry else entry)


def equal(first, second) -> bool:
    """Whether two records are the same to the last bit, the order of keys aside.

    **Arguments:**

    - `first`, `second`: records.

    **Returns:** `True` if every key, number and array agrees; two NaNs agree.
    """
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return (
            first.dtype == second.dtype
            and first.shape == second.shape
            and first.tobytes() == second.tobytes()
        )
    return type(first) is type(second) and (first == second or (first != first and second != second))


def intersect(first: dict, second: dict) -> dict:
    """Keep the entries on which two records agree.

    **Arguments:**

    - `first`, `second`: records that are dictionaries.

    **Returns:** the entries of `first` that `second` has too, with the same value.
    """
    return {key: value for key, value in first.items() if key in second and equal(value, second[key])}
