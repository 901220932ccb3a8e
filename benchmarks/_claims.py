"""Claims: a measured value against a target, one row each in `claims.csv`, and the table of them in README.md."""

import contextlib
import csv
import io
import math
import operator
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks._session import current_session
from sciml.training.files import write_atomically

COLUMNS = ("claim", "value", "target", "met", "seeds", "device", "commit", "command")
GROUPS = ("foundation", "regularization", "meshes", "moving-mesh", "constraints")
NAME = re.compile(rf"(?:{'|'.join(GROUPS)})/[a-z0-9][a-z0-9./-]*")
BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"

_COMPARATORS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq, "<": operator.lt, ">": operator.gt}
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_COMPARISON = re.compile(rf"(<=|>=|==|<|>)\s*({_NUMBER})")
_NEARNESS = re.compile(rf"within\s+({_NUMBER})\s+of\s+({_NUMBER})")


def record_claim(
    *,
    claim: str,
    value: float,
    target: str,
    seeds: Sequence[int] = (),
    device: str | None = None,
    commit: str | None = None,
    command: str | None = None,
) -> bool:
    """Keep one claim as its row of `claims.csv`, in place of the row it had.

    Whether the target is met is worked out here, from the value.

    **Arguments:**

    - `claim`: its name, a group and a name such as `"foundation/cole-hopf"`.
    - `value`: what was measured, a number; over several seeds, the one that the target speaks of (the worst, the mean).
    - `target`: `"<= 1e-6"`, with any of `<= >= < > ==`; `"within 0.25 of 2"`; or `"report"`, which asks for no more.
    - `seeds`: the seeds it was measured over; none if nothing in it is random.
    - `device`: the device; by default, the one that JAX computes on.
    - `commit`: the code that was measured; by default, the code that is running.
    - `command`: what a reader types to get it; by default, the command of the benchmark that is running.

    **Returns:** whether the target is met.

    **Raises:** `ValueError` for a name of no group, a value that is no number, or a target that cannot be read;
    `RuntimeError` if no benchmark is running.
    """
    if not NAME.fullmatch(claim):
        raise ValueError(
            f"The claim {claim!r} must be named GROUP/NAME in lower case, GROUP one of {', '.join(GROUPS)}."
        )
    try:
        value = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"The value of {claim!r} must be one number; got {value!r}.") from error
    met = evaluate_target(target, value)
    session = current_session()
    row = {
        "claim": claim,
        "value": repr(value),
        "target": target,
        "met": met,
        "seeds": " ".join(str(int(seed)) for seed in seeds),
        "device": device or session.device,
        "commit": commit or session.commit,
        "command": command or session.command,
    }
    path = session.folder / "claims.csv"
    with _locked(session.folder):
        rows = {old["claim"]: old for old in read_claims(path)}
        rows[claim] = row
        write_atomically(path, _to_csv(sorted(rows.values(), key=_order)).encode())
    print(f"{claim}: {value:.4g}, target {target}, met: {met}")
    return met != "no"


def evaluate_target(target: str, value: float) -> str:
    """Say whether a value meets a target.

    **Arguments:**

    - `target`: as for `record_claim`.
    - `value`: a number; one that is not finite meets nothing.

    **Returns:** `"yes"`, `"no"`, or `"reported"` where the target is only to report.

    **Raises:** `ValueError` for a target that cannot be read.
    """
    test = _read_target(target)
    if not math.isfinite(value):
        return "no"
    return "reported" if test is None else "yes" if test(value) else "no"


def read_claims(path: Path) -> list[dict[str, str]]:
    """Read the rows of a `claims.csv`.

    **Arguments:**

    - `path`: the file; one that is not there has no rows.

    **Returns:** one dictionary of text per row.

    **Raises:** `ValueError` if the columns are others.
    """
    if not path.exists():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(
                f"{path} must have the columns {', '.join(COLUMNS)}; it has {reader.fieldnames}."
            )
        return list(reader)


def make_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Make the markdown table of claims, misses included.

    **Arguments:**

    - `rows`: as `read_claims` returns them.

    **Returns:** markdown.
    """
    if not rows:
        return "No claim has been measured yet."
    missed = sum(row["met"] == "no" for row in rows)
    lines = [
        f"{len(rows)} claims measured, {missed} of them missed.",
        "",
        "| claim | value | target | met | seeds | device | commit | command |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        met = {"no": "**no**"}.get(row["met"], row["met"])
        cells = (row["claim"], f"{float(row['value']):.3g}", f"`{row['target']}`", met, row["seeds"] or "-")
        lines.append(_to_line(*cells, row["device"], row["commit"], f"`{row['command']}`"))
    return "\n".join(lines)


def insert_table(document: str, table: str) -> str:
    """Put a table between the markers of a document, in place of what stands there.

    **Arguments:**

    - `document`: markdown with the lines `<!-- claims:begin -->` and `<!-- claims:end -->`.
    - `table`: markdown.

    **Returns:** the document with the table.

    **Raises:** `ValueError` if the markers are not there once each, in order.
    """
    start, stop = document.find(BEGIN), document.find(END)
    if not 0 <= start < stop or document.count(BEGIN) + document.count(END) != 2:
        raise ValueError(
            f"The document needs one line {BEGIN} and, after it, one line {END} for the table of claims."
        )
    return f"{document[: start + len(BEGIN)]}\n{table}\n{document[stop:]}"


def _read_target(target: str) -> Callable[[float], bool] | None:
    if target == "report":
        return None
    if match := _COMPARISON.fullmatch(target.strip()):
        compare, bound = _COMPARATORS[match[1]], float(match[2])
        return lambda value: compare(value, bound)
    if match := _NEARNESS.fullmatch(target.strip()):
        distance, middle = float(match[1]), float(match[2])
        return lambda value: abs(value - middle) <= distance
    raise ValueError(
        f"The target {target!r} cannot be read: write a comparison such as '<= 1e-6', 'within 0.25 of 2', or 'report'."
    )


def _order(row: Mapping[str, str]) -> tuple[int, str]:
    return GROUPS.index(row["claim"].split("/")[0]), row["claim"]


def _to_csv(rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _to_line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time change the claims, so that two benchmarks that end together lose no row."""
    import fcntl  # not on Windows, where benchmarks can be listed and timed but not recorded

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
