"""Docstrings say what the signatures mean: every parameter, and the shape of every array.

A parameter is documented by an entry of a list, such as

    - `u`, `v`: two fields `(channel, *space)`.

and an array by a shape in it whose number of axes agrees with the annotation: `Float[Array, "channel *space"]` is
matched by `(channel, *space)` or by `(channel, x, y)`, but not by `(channel,)` for `Float[Array, "channel x"]`. What is
not annotated is a fault too, so there is no way around saying it.
"""

import ast
import enum
import inspect
import itertools
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
from jaxtyping import AbstractArray, PRNGKeyArray

_SIZE = r"(?:\.\.\.|\*?\w+(?:\s?(?://|[-+*/=])\s?\w+)*)"
SHAPE = re.compile(rf"\((?:{_SIZE}(?:,\s*{_SIZE})*,?)?\)")
SCALAR = re.compile(r"\bscalars?\b|\bnumbers?\b", re.IGNORECASE)
SAME_SHAPE = re.compile(r"\bsame shape\b", re.IGNORECASE)
ANY_SHAPE = re.compile(r"\b(?:any|same) shape\b", re.IGNORECASE)
ARRAY_WORD = re.compile(r"\ban array\b", re.IGNORECASE)

_EMPTY = inspect.Parameter.empty


@dataclass(frozen=True)
class Axes:
    """The axes of an array: how many are fixed, and whether any number may join them."""

    fixed: int
    variadic: bool

    def agree(self, written: "Axes") -> bool:
        """Whether a shape written in a docstring can be one of these axes."""
        if self.variadic:
            return written.fixed >= self.fixed
        return written.fixed <= self.fixed if written.variadic else written.fixed == self.fixed

    def agree_in_words(self, text: str) -> bool:
        """Whether a text says it without writing a shape: a scalar, or any shape at all."""
        words = {Axes(0, False): SCALAR, Axes(0, True): ANY_SHAPE}.get(self)
        return bool(words and words.search(text))


def faults(room: types.ModuleType) -> list[str]:
    """Find the public names of a module whose docstrings do not say what their signatures mean."""
    found = []
    if not room.__doc__:
        found.append(f"{room.__name__} has no docstring")
    if not getattr(room, "__all__", None):
        return [*found, f"{room.__name__} has no __all__, so nothing says what is public"]
    for name in room.__all__:
        if not hasattr(room, name):
            found.append(f"{room.__name__}.{name} is in __all__ but does not exist")
            continue
        value = getattr(room, name)
        where = f"{room.__name__}.{name}"
        if inspect.isclass(value):
            found += _class_faults(where, value)
        elif inspect.isroutine(inspect.unwrap(value)) if callable(value) else False:
            found += _callable_faults(where, value, inspect.getdoc(value) or "")
    return found


def _class_faults(where: str, cls: type) -> list[str]:
    if not cls.__dict__.get("__doc__") or cls.__doc__.startswith(f"{cls.__name__}("):
        return [f"{where} has no docstring"]  # a dataclass without one is given its signature for one
    found = _opening_faults(where, cls.__doc__)
    if _is_called_by_users(cls):
        found += _parameter_faults(where, cls, f"{inspect.getdoc(cls)}\n\n{_attribute_entries(cls)}")
    for name in vars(cls):
        if name.startswith("_") and name != "__call__":
            continue
        static = inspect.getattr_static(cls, name)
        documents = "\n\n".join(_documents(cls, name))
        if isinstance(static, property):
            found += _property_faults(f"{where}.{name}", static, documents)
        elif inspect.isroutine(getattr(cls, name, None)):
            method, overridden = getattr(cls, name), [getattr(base, name, None) for base in cls.__mro__[1:]]
            found += _callable_faults(f"{where}.{name}", method, documents, inspect.getdoc(cls), overridden)
    return found


def _attribute_entries(cls: type) -> str:
    """The docstrings that stand below the fields of a class, where tyro reads them, as the entries of a list."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    except OSError:  # made by a call
        return ""
    entries = []
    for field, text in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            entries.append(f"- `{field.target.id}`: {text.value.value}")
    return "\n".join(entries)


def _is_called_by_users(cls: type) -> bool:
    if issubclass(cls, BaseException) and "__init__" not in vars(cls):
        return False
    return not inspect.isabstract(cls) and not issubclass(cls, enum.Enum)


def _documents(cls: type, name: str) -> Iterator[str]:
    """What a class and its bases say of a method: an override need only say what it does differently."""
    for base in cls.__mro__:
        if base.__module__.split(".")[0] == cls.__module__.split(".")[0] and name in vars(base):
            value = vars(base)[name]
            yield inspect.getdoc(getattr(value, "fget", None) or getattr(base, name)) or ""


def _property_faults(where: str, static: property, document: str) -> list[str]:
    returned = inspect.signature(static.fget, eval_str=True).return_annotation
    return _opening_faults(where, document) + _shape_faults(f"{where}: what it returns", returned, document)


def _opening_faults(where: str, document: str) -> list[str]:
    opening = document.strip().split("\n\n")[0]
    if not opening:
        return [f"{where} has no docstring"]
    if opening.startswith(("**", "- ")) or not opening.endswith((".", ":", "`", "!")):
        return [f"{where}: its docstring does not open with a sentence: {opening[:60]!r}"]
    return []


def _callable_faults(
    where: str, value: Callable, document: str, context: str = "", overridden: Sequence[Callable | None] = ()
) -> list[str]:
    found = _opening_faults(where, document)
    found += _parameter_faults(where, value, f"{document}\n\n{context}", overridden)
    returned = _annotation("return", value, overridden)
    if returned is _EMPTY:
        return [*found, f"{where}: what it returns is not annotated"]
    sections = re.findall(r"\*\*Returns:\*\*.*?(?=\n\n\*\*|\Z)", f"{document}\n\n{context}", re.DOTALL)
    if list(_arrays(returned)) and not sections:
        return [*found, f"{where} returns an array, but has no **Returns:**"]
    return found + _shape_faults(f"{where}: what it returns", returned, "\n".join(sections), document)


def _parameter_faults(
    where: str, value: Callable, document: str, overridden: Sequence[Callable | None] = ()
) -> list[str]:
    found, entries = [], _entries(document)
    for name in inspect.signature(value).parameters:
        if name == "self" or name.startswith("_"):
            continue
        if name not in entries:
            found.append(
                f"{where}: the parameter {name!r} is not in its docstring (an entry '- `{name}`: ...')"
            )
            continue
        annotation = _annotation(name, value, overridden)
        if annotation is _EMPTY:
            found.append(f"{where}: the parameter {name!r} is not annotated")
        else:
            found += _shape_faults(f"{where}: the parameter {name!r}", annotation, entries[name], document)
    return found


def _annotation(name: str, value: Callable, overridden: Sequence[Callable | None]) -> object:
    """The annotation of a parameter, or of "return": an override's is that of what it overrides, if it says none.

    Where a class' `__init__` says none, it is that of the field which the parameter fills.
    """
    for function in (value, *filter(callable, overridden)):
        signature = inspect.signature(function, eval_str=True)
        parameter = signature.parameters.get(name)
        annotation = (
            signature.return_annotation if name == "return" else getattr(parameter, "annotation", _EMPTY)
        )
        if annotation is not _EMPTY:
            return annotation
    for base in getattr(value, "__mro__", ()):
        fields = inspect.get_annotations(base, eval_str=True)
        if name in fields:
            return fields[name]
    return _EMPTY


def _shape_faults(where: str, annotation: object, text: str, document: str = "") -> list[str]:
    arrays = list(_arrays(annotation))
    meant = document if SAME_SHAPE.search(text) else text  # "the same shape" is one that stands beside it
    written = [_written_axes(match[0]) for match in SHAPE.finditer(meant)]
    if not arrays:
        if ARRAY_WORD.search(text) and not written:
            return [f"{where} is said to be an array, but no shape such as `(channel, *space)` is given"]
        return []
    for axes in arrays:
        if axes is None and written:
            return []
        if axes is not None and (any(map(axes.agree, written)) or axes.agree_in_words(text)):
            return []
    return [
        f"{where} is an array, {annotation}, but its docstring gives no shape of so many axes: {text[:90]!r}"
    ]


def _arrays(annotation: object) -> Iterator[Axes | None]:
    """The axes of every array in an annotation; None for an array that does not say its axes."""
    if annotation == PRNGKeyArray:
        return
    if isinstance(annotation, type) and issubclass(annotation, AbstractArray):
        names = annotation.dim_str.split()
        variadic = [name for name in names if "..." in name or name.lstrip("#?").startswith("*")]
        yield Axes(len(names) - len(variadic), bool(variadic))
    elif annotation is jax.Array:
        yield None
    elif typing.get_origin(annotation) in (
        typing.Union,
        types.UnionType,
        tuple,
        list,
        dict,
        typing.Annotated,
    ):
        # The key's own union is flattened into a larger one, as in `PRNGKeyArray | None`.
        parts = [part for part in typing.get_args(annotation) if part not in typing.get_args(PRNGKeyArray)]
        for part in parts:
            yield from _arrays(part)


def _written_axes(shape: str) -> Axes:
    names = [name.strip() for name in shape.strip("()").split(",") if name.strip()]
    variadic = [name for name in names if name == "..." or name.startswith("*")]
    return Axes(len(names) - len(variadic), bool(variadic))


def _entries(document: str) -> dict[str, str]:
    """The list entries of a docstring by the names they open with, "- `a`, `b`: text"."""
    entries: dict[str, str] = {}
    pattern = re.compile(r"^[ ]*- ((?:`\*{0,2}\w+`(?:,? and |, )?)+)(.*?)(?=^[ ]*- `|^[ ]*$|\Z)", re.M | re.S)
    for match in pattern.finditer(document):
        for name in re.findall(r"`\*{0,2}(\w+)`", match[1]):
            entries[name] = f"{entries.get(name, '')} {match[2]}"
    return entries
