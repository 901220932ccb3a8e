"""Optional packages: imported where they are used, with a one-line cure when they are missing."""

import importlib
from types import ModuleType


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional package, or say which extra installs it.

    **Arguments:**

    - `module`: the dotted name to import, such as `"h5py"` or `"matplotlib.pyplot"`.
    - `extra`: the extra of `sciml` that brings it, such as `"data"`.

    **Returns:** the imported module.

    **Raises:** `ImportError` naming the package and the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        root = module.split(".")[0]
        if error.name is None or error.name.split(".")[0] != root:
            raise
        raise ImportError(
            f"sciml needs the optional package {root!r} for this; it is not installed. "
            f"Install it with: pip install 'sciml[{extra}]'"
        ) from error
