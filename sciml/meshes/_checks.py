"""Checks of what users give to movers."""


def check_positive(owner: str, name: str, value: float) -> None:
    """Refuse a number that is not positive and finite, if it is known.

    **Arguments:**

    - `owner`, `name`: what it is called, for the message.
    - `value`: the number.

    **Raises:** `ValueError` with the value.
    """
    if isinstance(value, (int, float)) and not 0 < value < float("inf"):
        raise ValueError(f"{owner}.{name} must be positive and finite; got {value}.")
