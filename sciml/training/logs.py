"""What a run tells while it runs: lines of JSON in a file, and a progress bar."""

import json
import math
import os
import pathlib
import sys
from typing import Any

from sciml._optional import require
from sciml.training.files import explain_write_error


class JsonLines:
    """A log in a file: one line of JSON per record, `{"step": 10, "loss": 0.5, ...}`.

    A number that is not finite is written as `null`, which every JSON reader takes.

    **Arguments:**

    - `path`: the file; its folder must exist. It is opened when the first record comes.
    - `append`: whether to go on in a file that exists.

    **Raises:** `FileExistsError` if the file exists, is not empty and `append` is false.
    """

    def __init__(self, path: str | os.PathLike[str], *, append: bool = False):
        self.path = pathlib.Path(path)
        self._file = None
        if not append and self.path.exists() and self.path.stat().st_size:
            raise FileExistsError(
                f"The log {self.path} exists. Choose another name, or pass append=True to go on in it."
            )

    def __call__(self, step: int, metrics: dict[str, Any]) -> None:
        """Append a record.

        **Arguments:**

        - `step`: the step, counted from 1.
        - `metrics`: numbers by name.

        **Raises:** `OSError` that names the file if it cannot be written.
        """
        line = json.dumps({"step": step, **{name: to_plain(value) for name, value in metrics.items()}})
        try:
            if self._file is None:
                self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 (open as long as the run)
            # Unbuffered, so in one write but on a full disk: a killed process leaves whole lines, and at
            # most the last one torn.
            rest = line.encode() + b"\n"
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise explain_write_error(error, self.path, "The lines before are whole.") from error

    def rewind(self, step: int) -> list[dict[str, Any]]:
        """Cut the file after the last record of a step, as if the run had been stopped there.

        A torn line at the end, and all that follows it, is cut too.

        **Arguments:**

        - `step`: the last step to keep.

        **Returns:** the records kept, each with its `"step"`.
        """
        self.close()
        if not self.path.exists():
            return []
        kept, end = [], 0
        for line in self.path.read_bytes().splitlines(keepends=True):
            record = _parse(line)
            if record is None or record["step"] > step:
                break
            kept.append(record)
            end += len(line)
        os.truncate(self.path, end)
        return kept

    def sync(self) -> None:
        """Wait until all records are on the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; a further record opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


class ProgressBar:
    """A bar of tqdm on the standard error, shown once the first step is compiled, so that its estimate is
    right.

    **Arguments:**

    - `steps`: the step at which the run ends.
    - `shown`: whether to show anything; if not, tqdm is not needed.
    """

    def __init__(self, steps: int, *, shown: bool):
        self._tqdm = require("tqdm", extra="train").tqdm if shown else None
        self._steps = steps
        self._bar = None
        self._metrics: dict[str, str] = {}

    def announce(self) -> None:
        """Say that the first step is being compiled, which can take a minute without a sign."""
        if self._tqdm is not None:
            print("sciml: compiling the training step ...", file=sys.stderr, flush=True)

    def start(self, step: int) -> None:
        """Show the bar.

        **Arguments:**

        - `step`: the number of steps done.
        """
        if self._tqdm is not None:
            # In a file or a job's output every refresh is a line: make them few.
            interval = 0.2 if sys.stderr.isatty() else 10.0
            self._bar = self._tqdm(
                total=self._steps,
                initial=step,
                desc="training",
                unit="step",
                mininterval=interval,
                dynamic_ncols=True,
            )

    def show(self, metrics: dict[str, Any]) -> None:
        """Set what stands behind the bar.

        **Arguments:**

        - `metrics`: numbers by name; the seconds are left out, as the bar has its own.
        """
        if self._bar is not None:
            plain = {
                name: to_plain(value) for name, value in metrics.items() if name not in ("seconds", "step")
            }
            self._metrics.update({name: _shorten(value) for name, value in plain.items()})
            if self._metrics.get("skipped") == "0":
                del self._metrics["skipped"]
            self._bar.set_postfix(self._metrics, refresh=False)

    def advance(self) -> None:
        """Count one step."""
        if self._bar is not None:
            self._bar.update()

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def to_plain(value: Any) -> Any:
    """Turn a number of any library into one of Python, and one that is not finite into `None`.

    **Arguments:**

    - `value`: a number, an array with one entry, a string, a truth value or `None`.

    **Returns:** a value that JSON can hold.
    """
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shorten(value: Any) -> str:
    if value is None:
        return "not finite"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _parse(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None
