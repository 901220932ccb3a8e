"""Every class is abstract or final, and has its fields and its `__init__` in one place."""

import ast
import enum
import importlib
import inspect
import pkgutil
import textwrap
from types import ModuleType


def modules(package: str) -> list[ModuleType]:
    """Import a package and everything in it."""
    root = importlib.import_module(package)
    names = [info.name for info in pkgutil.walk_packages(root.__path__, prefix=f"{package}.")]
    return [root, *(importlib.import_module(name) for name in names)]


def classes(package: str) -> list[type]:
    """The classes that a package defines, private ones too."""
    found = {
        value
        for module in modules(package)
        for value in vars(module).values()
        if isinstance(value, type) and _ours(value, package)
    }
    return sorted(found, key=lambda cls: (cls.__module__, cls.__qualname__))


def faults(package: str) -> list[str]:
    """Find classes that are neither abstract nor final, or that spread their fields over their bases.

    Abstract: named `Abstract...` (or `_Abstract...`) and with an abstract method or attribute left to fill in, which
    is what keeps it from being instantiated. Final: anything else; no class of the package inherits from it.
    """
    found = []
    for cls in classes(package):
        name = f"{cls.__module__}.{cls.__qualname__}"
        named, abstract = cls.__name__.lstrip("_").startswith("Abstract"), bool(_missing(cls))
        if named and not abstract:
            found.append(f"{name} is named abstract, but leaves nothing to fill in")
        if abstract and not named:
            found.append(f"{name} is final by its name, but leaves {sorted(_missing(cls))} to fill in")
        for base in cls.__bases__:
            if _ours(base, package) and not base.__name__.lstrip("_").startswith("Abstract"):
                found.append(f"{name} inherits from {base.__qualname__}, which is final")
        holders = [c for c in cls.__mro__ if _ours(c, package) and _holds_state(c)]
        if len(holders) > 1:
            found.append(
                f"{name} has fields or an __init__ in {[c.__qualname__ for c in holders]}, not in one class"
            )
    return found


def _ours(cls: type, package: str) -> bool:
    return cls.__module__ == package or cls.__module__.startswith(f"{package}.")


def _missing(cls: type) -> frozenset[str]:
    """The abstract methods, properties, and equinox's abstract variables that are left to fill in."""
    names = ("__abstractmethods__", "__abstractvars__", "__abstractclassvars__")
    return frozenset().union(*(getattr(cls, name, frozenset()) for name in names))


def _holds_state(cls: type) -> bool:
    """Whether the body of a class, as written, has fields with storage or an `__init__`."""
    if issubclass(cls, enum.Enum):
        return False
    try:
        source = inspect.getsource(cls)
    except OSError:  # made by a call, such as `enum.Enum("Name", ...)`
        return False
    for node in ast.parse(textwrap.dedent(source)).body[0].body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return True
        if isinstance(node, ast.AnnAssign):
            annotation = ast.unparse(node.annotation)
            if not any(word in annotation for word in ("AbstractVar", "AbstractClassVar", "ClassVar")):
                return True
    return False
