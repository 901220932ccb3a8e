"""PhysioNet 2012: the first 48 hours of stays in intensive care, as hourly series of 37 channels with masks.

A set is a folder with one text file for each stay, `132539.txt`:

    Time,Parameter,Value
    00:00,RecordID,132539
    00:00,Age,54
    ...
    00:07,HR,73

with times since admission, `HH:MM`. Its first rows describe the stay: `RecordID`, `Age`, `Gender`, `Height`, `ICUType`
and `Weight`, -1 where not known. Outcomes are in a file of their own, `Outcomes-a.txt`, one row for each stay.

What is done with it is what the preparation published with latent ODEs does (Y. Rubanova, R. Chen, D. Duvenaud, 2019,
arXiv:1907.03907, and the code of later papers): times go to the nearest full hour, repeated values are averaged, the
four descriptors that do not change are left out, which leaves 37 channels, of which `Weight` is one. Unlike there, -1
is not taken for a weight: it means that the weight is not known.

Reference: I. Silva, G. Moody, D. Scott, L. Celi, R. Mark, "Predicting In-Hospital Mortality of ICU Patients: The
PhysioNet/Computing in Cardiology Challenge 2012", Computing in Cardiology 39 (2012).
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .masked_series import MaskedSeries, Observations

HOURS = 49
DESCRIPTORS = ("Age", "Gender", "Height", "ICUType")
CHANNELS = (
    "Weight", "Albumin", "ALP", "ALT", "AST", "Bilirubin", "BUN", "Cholesterol", "Creatinine", "DiasABP", "FiO2", "GCS",
    "Glucose", "HCO3", "HCT", "HR", "K", "Lactate", "Mg", "MAP", "MechVent", "Na", "NIDiasABP", "NIMAP", "NISysABP",
    "PaCO2", "PaO2", "pH", "Platelets", "RespRate", "SaO2", "SysABP", "Temp", "TroponinI", "TroponinT", "Urine", "WBC",
)  # fmt: skip
HEADER = "Time,Parameter,Value"
OUTCOMES = ("RecordID", "SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death")
_INDEX = {name: i for i, name in enumerate(CHANNELS)}


def read_physionet(
    folder: str | os.PathLike | Sequence[str | os.PathLike],
    outcomes: str | os.PathLike | Sequence[str | os.PathLike] | None = None,
) -> MaskedSeries:
    """Read sets of PhysioNet 2012.

    **Arguments:**

    - `folder`: the folder of a set, such as `set-a`, or several. Nothing is downloaded.
    - `outcomes`: the file of outcomes of the set, such as `Outcomes-a.txt`, or several; they become attributes.

    **Returns:** the series `(series, 49, 37)`, float32, not normalized, by ascending record; times in hours; the
    descriptors as attributes, NaN where not known, and the outcomes as they are in their file.

    **Raises:** `FileNotFoundError`; `ValueError` naming the file and the line that cannot be read and what was
    expected, a record that is there twice, or one without an outcome.
    """
    files = [file for path in _as_list(folder) for file in _list_records(Path(path))]
    stays = sorted((_read_record(file) for file in files), key=lambda stay: stay[0])
    ids = np.array([record for record, _, _ in stays])
    twice = ids[1:][np.diff(ids) == 0]
    if twice.size:
        raise ValueError(f"Record {twice[0]} is there twice. Give each set once.")
    rows = [(i, *row) for i, (_, _, rows) in enumerate(stays) for row in rows]
    columns = zip(*rows, strict=True) if rows else [()] * 4
    series, minute, channel, value = (np.array(column) for column in columns)
    observed = Observations(series.astype(int), minute.astype(int), channel.astype(int), value.astype(float))
    values, mask = observed.average_hourly(ids.size, HOURS, len(CHANNELS))
    attributes = {
        name: np.array([descriptors.get(name, np.nan) for _, descriptors, _ in stays]) for name in DESCRIPTORS
    }
    if outcomes is not None:
        attributes |= _read_outcomes([Path(path) for path in _as_list(outcomes)], ids)
    return MaskedSeries(values, mask, np.arange(float(HOURS)), CHANNELS, ids, attributes)


def _as_list(paths) -> list[str | os.PathLike]:
    return [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)


def _list_records(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder. Unpack a set, and give the folder of its files.")
    files = sorted(file for file in folder.glob("*.txt") if file.stem.isdigit())
    if not files:
        raise FileNotFoundError(
            f"{folder} holds no records; expected files such as 132539.txt. Give the folder that has them: set-a, say."
        )
    return files


def _read_record(path: Path) -> tuple[int, dict[str, float], list[tuple[int, int, float]]]:
    """The record's number, what describes it, and its rows (minute, channel, value)."""
    lines = path.read_text().splitlines()
    if not lines or lines[0].strip() != HEADER:
        raise ValueError(
            f"{path} begins with {lines[0] if lines else ''!r}; expected {HEADER!r}. Is it a record of PhysioNet 2012?"
        )
    record, descriptors, rows = None, {}, []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        minute, parameter, value = _read_row(path, number, line)
        if parameter == "RecordID":
            record = int(value)
        elif parameter == "" or value == -1:
            continue  # said to be unknown
        elif parameter in DESCRIPTORS:
            descriptors[parameter] = value
        elif parameter in _INDEX:
            rows.append((minute, _INDEX[parameter], value))
        else:
            raise ValueError(
                f"{path}, line {number}: {parameter!r} is no parameter of PhysioNet 2012; expected RecordID, "
                f"{', '.join(DESCRIPTORS)} or one of the 37 channels in sciml.data.physionet.CHANNELS."
            )
    if record is None:
        raise ValueError(f"{path} has no row '00:00,RecordID,...'; expected one. Is the file complete?")
    return record, descriptors, rows


def _read_row(path: Path, number: int, line: str) -> tuple[int, str, float]:
    try:
        time, parameter, value = line.split(",")
        hour, minute = time.split(":")
        minutes, value = 60 * int(hour) + int(minute), float(value)
    except ValueError:
        minutes, value, parameter = -1, math.nan, ""
    if not (0 <= minutes <= 60 * (HOURS - 1)) or not math.isfinite(value):
        raise ValueError(
            f"{path}, line {number}: {line!r} is not a row of a record; expected HH:MM,Parameter,Value with a time up "
            f"to {HOURS - 1}:00 and a number, such as '00:07,HR,73'."
        )
    return minutes, parameter.strip(), value


def _read_outcomes(paths: list[Path], ids: np.ndarray) -> dict[str, np.ndarray]:
    table = {}
    for path in paths:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        if not lines or tuple(lines[0].strip().split(",")) != OUTCOMES:
            raise ValueError(
                f"{path} begins with {lines[0] if lines else ''!r}; expected {','.join(OUTCOMES)!r}. Is it a file of "
                "outcomes?"
            )
        for number, line in enumerate(lines[1:], 2):
            try:
                record, *numbers = (float(entry) for entry in line.split(","))
                table[int(record)] = dict(zip(OUTCOMES[1:], numbers, strict=True))
            except ValueError as error:
                raise ValueError(
                    f"{path}, line {number}: {line!r} is not a row of outcomes; expected {len(OUTCOMES)} numbers."
                ) from error
    missing = [record for record in ids.tolist() if record not in table]
    if missing:
        raise ValueError(
            f"{', '.join(map(str, paths))} has no outcome for record {missing[0]}, and for {len(missing) - 1} others. "
            "Give the outcomes of the same sets."
        )
    return {name: np.array([table[record][name] for record in ids.tolist()]) for name in OUTCOMES[1:]}
