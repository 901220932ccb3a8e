"""The measurements behind the claims: tidy tables, one row per measurement, in `results/*.csv`."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks._session import current_session
from sciml.training.files import write_atomically

GIVEN = ("seed", "dtype", "compile_seconds", "run_seconds", "evaluations", "error")
COLUMNS = ("seed", "commit", "device", "dtype", "compile_seconds", "run_seconds", "evaluations", "error")


def write_results(name: str, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write the measurements of a benchmark to `results/NAME.csv`, in place of those of its last run.

    **Arguments:**

    - `name`: the name of the table, in lower case.
    - `rows`: one dictionary per measurement, with `seed`, `dtype`, `compile_seconds`, `run_seconds`, `evaluations`
      and `error` (`None` where there is none to give) and any further columns, the same in every row. The columns
      `commit` and `device` are filled in; a row may give its own, as one that was measured before must.

    **Returns:** the file.

    **Raises:** `ValueError` for no rows, rows without those columns or with different ones, or a bad name;
    `RuntimeError` if no benchmark is running.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise ValueError(f"The table's name {name!r} must be lower-case letters, digits, '-' and '_'.")
    if not rows:
        raise ValueError(f"The table {name!r} has no rows; give one dictionary per measurement.")
    session = current_session()
    further = [column for column in rows[0] if column not in COLUMNS]
    for number, row in enumerate(rows):
        missing = [column for column in GIVEN if column not in row]
        if missing:
            raise ValueError(
                f"Row {number} of {name!r} lacks {missing}; give None where there is none to give."
            )
        if [column for column in row if column not in COLUMNS] != further:
            raise ValueError(
                f"Row {number} of {name!r} has the columns {list(row)}, row 0 has {list(rows[0])}."
            )
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, (*COLUMNS, *further), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({"device": session.device, "commit": session.commit, **row})
    path = session.folder / "results" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, text.getvalue().encode())
    return path
