"""Import direction between the rooms of a package, read from the source."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

EVERYTHING = frozenset({"*"})
DYNAMIC = {"import_module", "__import__", "require"}


def faults(package: Path, rules: Mapping[str, frozenset[str]]) -> list[str]:
    """Find the imports that the rules do not allow, wherever in a file they stand.

    A file of a room may import its own room, the rooms that `rules` names for it, and the package's private root
    modules, which in turn may import no room. Nothing imports `__main__`, and only those who may import everything
    may import the package as a whole, through which everything can be reached.
    """
    found = []
    for path in sorted(package.rglob("*.py")):
        room = _room(path, package)
        if room == "__init__":
            continue  # the root offers every room, each when it is first used: tests/test_import.py
        if room not in rules and not room.startswith("_"):
            found.append(f"{path.relative_to(package)}: the room {room!r} is not in the table of rooms")
            continue
        allowed = rules.get(room, frozenset())
        for line, target in _targets(path, package):
            parts = target.split(".")
            if parts[0] != package.name or _permitted(parts, room, allowed):
                continue
            found.append(f"{path.relative_to(package)}:{line}: {room} may not import {target}")
    return found


def read_table(document: str) -> dict[str, frozenset[str]]:
    """Read the rules from the markdown table of rooms: `| rooms | holds | may import |`."""
    rules = {}
    for line in document.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("| `") or len(cells) != 3:
            continue
        named = frozenset(re.findall(r"`(\w+)`", cells[2]))
        if not named and cells[2] not in ("everything", "nothing of ours"):
            raise ValueError(
                f"cannot read {cells[2]!r}: name rooms in backticks, or 'everything', 'nothing of ours'"
            )
        for room in re.findall(r"`(\w+)`", cells[0]):
            rules[room] = EVERYTHING if cells[2] == "everything" else named
    return rules


def _permitted(parts: list[str], room: str, allowed: frozenset[str]) -> bool:
    if parts[1:2] == ["__main__"]:
        return False
    if allowed == EVERYTHING:
        return True
    if len(parts) == 1:
        return False
    return parts[1] == room or parts[1] in allowed or parts[1].startswith("_")


def _room(path: Path, package: Path) -> str:
    parts = path.relative_to(package).with_suffix("").parts
    return parts[0]


def _targets(path: Path, package: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, absolute, with the line it does so on."""
    here = [package.name, *path.relative_to(package).with_suffix("").parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else []
            base += node.module.split(".") if node.module else []
            # `from package import room` names a room; `from package.room import name` names it already.
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", None) == package.name:
            yield (
                node.lineno,
                f"{package.name}.{node.attr}",
            )  # rooms are attributes of the package, once it is there
        elif isinstance(node, ast.Call) and _called(node) in DYNAMIC:
            constants = [
                a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
            ]
            yield from ((node.lineno, name) for name in constants)


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))
