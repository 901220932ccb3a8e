"""What can be seen in the text of a file: its length, its spelling, what it must not contain."""

import ast
import re
from pathlib import Path

MOST_LINES = 500
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
# Stems, so that every ending is found. Words that are also names in our dependencies' interfaces are spelled further
# than their stem (`optimistix`, `optimistix.minimise`, `equinox.tree_serialise_leaves`).
BRITISH = re.compile(
    r"""regularis|normalis|penalis|stabilis|generalis|characteris|organis[ei]|recognis|discretis|initialis|vectoris
    |linearis|parametris|parameteris|summaris|visualis|utilis|optimis(?:e|ing|ation)|analyse[ds]?\b|analysing
    |neighbour|behaviour|colour|favour|honour|labell|modell|cancell(?:ed|ing)|centre|metre|grey|artefact|catalogue""",
    re.IGNORECASE | re.VERBOSE,
)


def faults(package: Path) -> list[str]:
    """Find files that are too long, unfinished, spelled in British English or that turn on float64."""
    found = []
    for path in sorted(package.rglob("*.py")):
        name, text = path.relative_to(package), path.read_text()
        lines = text.splitlines()
        if len(lines) > MOST_LINES:
            found.append(f"{name}: {len(lines)} lines, more than {MOST_LINES}: is it one idea?")
        for number, line in enumerate(lines, 1):
            if match := UNFINISHED.search(line):
                found.append(f"{name}:{number}: {match[0]} is left in it")
            if match := BRITISH.search(line):
                found.append(f"{name}:{number}: {match[0]!r} is British; the package's spelling is American")
        found += [f"{name}:{line}: sets jax_enable_x64, which is the user's" for line in _x64_updates(text)]
    return found


def _x64_updates(text: str) -> list[int]:
    """The lines that set the flag: by `update("jax_enable_x64", ...)`, by assignment, or through the environment."""
    lines = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("update", "setdefault"):
            values = [a.value for a in node.args if isinstance(a, ast.Constant)]
            if {"jax_enable_x64", "JAX_ENABLE_X64"} & set(values):
                lines.append(node.lineno)
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(re.search(r"jax_enable_x64", ast.unparse(target), re.IGNORECASE) for target in targets):
                lines.append(node.lineno)
    return lines
