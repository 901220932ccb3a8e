"""`python -m benchmarks`: list the benchmarks, run one, or put the table of claims into README.md."""

import ast
import difflib
import importlib
import inspect
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import jax
import tyro

from benchmarks._claims import insert_table, make_table, read_claims
from benchmarks._session import FOLDER, ROOT, open_session
from sciml.training.files import write_atomically


class UsageError(Exception):
    """A command that cannot be carried out as it was typed."""


def list_benchmarks(folder: Path = FOLDER) -> dict[str, str]:
    """Find the benchmarks, without importing them.

    **Arguments:**

    - `folder`: where they are.

    **Returns:** the first line of each one's docstring, by name.

    **Raises:** `UsageError` naming a module that is no benchmark, and what makes it one.
    """
    found = {}
    for path in sorted(folder.glob("[!_]*.py")):
        tree = ast.parse(path.read_text())
        runs = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run"]
        names = [argument.arg for run in runs for argument in (*run.args.args, *run.args.kwonlyargs)]
        document = ast.get_docstring(tree)
        if not document or names != ["quick"]:
            raise UsageError(
                f"{path.name} is no benchmark: it needs a docstring and a function run(quick: bool). "
                f"If it only helps others, let its name start with an underscore."
            )
        found[path.stem] = inspect.cleandoc(document).splitlines()[0]
    return found


def run_benchmark(name: str, *, quick: bool = False, out: Path | None = None) -> Path:
    """Run one benchmark.

    **Arguments:**

    - `name`: its name.
    - `quick`: run it small; what it records goes into a temporary folder, never among the claims.
    - `out`: the folder to record into instead.

    **Returns:** the folder it recorded into.

    **Raises:** `UsageError` for a name that is not there, with what it may have meant, and for a quick run into the
    folder of the claims.
    """
    known = list_benchmarks()
    name = name.replace("-", "_")
    if name not in known:
        near = difflib.get_close_matches(name, [*known, "table"], n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join([*known, 'table'])}."
        raise UsageError(f"There is no benchmark {name!r}. {hint}")
    if quick and out is not None and out.resolve() == FOLDER:
        raise UsageError(
            "A quick run measures nothing worth claiming: give --out another folder than benchmarks/."
        )
    # A compilation that is read from a cache would be timed as one that took no time.
    jax.config.update("jax_enable_compilation_cache", False)
    folder = out or (Path(tempfile.mkdtemp(prefix="sciml-benchmarks-")) if quick else FOLDER)
    command = f"python -m benchmarks {name}" + (" --quick" if quick else "")
    with open_session(folder, command):
        importlib.import_module(f"benchmarks.{name}").run(quick=quick)
    return folder


def update_table(readme: Path = ROOT / "README.md", claims: Path = FOLDER / "claims.csv") -> str:
    """Put the table of claims between the markers of README.md.

    **Arguments:**

    - `readme`: the document, with the markers.
    - `claims`: the claims.

    **Returns:** the table.

    **Raises:** `UsageError` if the markers are missing, or the claims cannot be read.
    """
    document = readme.read_text(encoding="utf-8")
    try:
        table = make_table(read_claims(claims))
        updated = insert_table(document, table)
    except ValueError as error:
        raise UsageError(f"{readme.name} is left as it was. {error}") from error
    if updated != document:
        write_atomically(readme, updated.encode())
    return table


def dispatch(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="a benchmark, or `table`")] = "",
    quick: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help="run it small, keep nothing")
    ] = False,
    out: Annotated[Path | None, tyro.conf.arg(help="record into this folder, not into benchmarks/")] = None,
) -> None:
    """List the benchmarks, run the one that is named, or put the `table` of claims into README.md."""
    if name == "table":
        print(update_table())
    elif name:
        print(f"recorded in {run_benchmark(name, quick=quick, out=out)}")
    else:
        known = list_benchmarks()
        width = max(map(len, known), default=0)
        for benchmark, line in known.items():
            print(f"{benchmark:{width}}  {line}")
        print("Run one with `python -m benchmarks NAME`, small with --quick; `table` updates README.md.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    **Arguments:**

    - `arguments`: what was typed after `python -m benchmarks`; by default, that of this process.

    **Returns:** the exit status.
    """
    try:
        tyro.cli(dispatch, args=arguments, prog="python -m benchmarks")
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
