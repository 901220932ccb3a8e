"""What the words of the command line do. Fields of an experiment become options through tyro."""

import dataclasses
import pathlib
import shutil
from typing import Annotated

from .._optional import require
from .base import SIZES, AbstractExperiment, find_experiment, list_experiments, suggest
from .comparison import compare
from .report import make_table
from .runs import read_config, read_table, write_config


@dataclasses.dataclass(frozen=True)
class _Generate:
    out: pathlib.Path
    """The HDF5 file to write."""
    overwrite: bool = False
    """Replace a file that exists."""


@dataclasses.dataclass(frozen=True)
class _Train:
    out: pathlib.Path | None = None
    """The run's folder; by default runs/EXPERIMENT-METHOD-SIZE-SEED."""
    resume: pathlib.Path | None = None
    """Go on with this run."""
    data: pathlib.Path | None = None
    """A file that `sciml generate` wrote; by default the data is simulated once and cached beside the runs."""
    quiet: bool = False
    """No progress bars."""


@dataclasses.dataclass(frozen=True)
class _Evaluate:
    data: pathlib.Path | None = None
    """As for `sciml train`."""
    quiet: bool = False
    """No progress bars."""


def list_all(words: list[str]) -> None:
    """`sciml list`: every experiment, its methods and sizes.

    **Arguments:**

    - `words`: none.
    """
    _refuse_words("list", words)
    for name, cls in list_experiments().items():
        print(f"{name:24} {cls.summary}")
    print(f"\nSizes: {', '.join(SIZES)}. Options of one: sciml train {next(iter(list_experiments()))} --help")


def generate(words: list[str]) -> None:
    """`sciml generate EXPERIMENT --out FILE`: simulate an experiment's data.

    **Arguments:**

    - `words`: the experiment and options.
    """
    name, words = _first("generate", "an experiment", words)
    cls = find_experiment(name)
    size, words = _take_size(words)
    options, experiment = _parse(f"sciml generate {name}", _Generate, cls.sized(size), words)
    _check_free(options.out, options.overwrite)
    experiment.generate(options.out, overwrite=options.overwrite)
    print(f"wrote {options.out}")


def train(words: list[str]) -> None:
    """`sciml train EXPERIMENT`: train, then evaluate.

    **Arguments:**

    - `words`: the experiment and options.
    """
    name, words = _first("train", "an experiment", words)
    cls = find_experiment(name)
    size, words = _take_size(words, default=None)
    resumed = _peek(words, "--resume")
    default = cls.sized(size or "laptop")
    if resumed is not None:
        default, size = _read_resumed(name, pathlib.Path(resumed), size, default)
    size = size or "laptop"
    options, experiment = _parse(f"sciml train {name}", _Train, default, words)
    if options.resume is not None and options.out is not None:
        raise ValueError("--resume RUN goes on in RUN; --out names a new run. Give one of them.")
    folder = options.resume or options.out
    if folder is None:
        folder = pathlib.Path("runs") / f"{name}-{experiment.label}-{size}-{experiment.seed}"
    if options.resume is None:
        _prepare(folder, experiment, size)
    progress = not options.quiet
    experiment.train(folder, resume=options.resume is not None, data=options.data, progress=progress)
    experiment.evaluate(folder, data=options.data, progress=progress)
    _show_run(folder)


def evaluate(words: list[str]) -> None:
    """`sciml evaluate RUN`: measure a trained run anew.

    **Arguments:**

    - `words`: the run and options.
    """
    run, words = _first("evaluate", "a run", words)
    folder = pathlib.Path(run)
    experiment, _ = read_config(folder)
    options = require("tyro", extra="train").cli(_Evaluate, args=words, prog="sciml evaluate RUN")
    experiment.evaluate(folder, data=options.data, progress=not options.quiet)
    _show_run(folder)


def compare_runs(words: list[str]) -> None:
    """`sciml compare RUN RUN ...`: a table and a plot.

    **Arguments:**

    - `words`: the runs, and `--out FOLDER`.
    """
    out = _peek(words, "--out")
    runs = [
        word
        for i, word in enumerate(words)
        if not word.startswith("--") and (i == 0 or words[i - 1] != "--out")
    ]
    unknown = [w.split("=")[0] for w in words if w.startswith("--") and w.split("=")[0] != "--out"]
    if unknown:
        raise ValueError(suggest("option of compare", unknown[0], ["--out"]))
    if not runs:
        raise ValueError("compare needs runs: sciml compare runs/A runs/B")
    folder = pathlib.Path(out) if out else pathlib.Path(runs[0]).parent / "comparison"
    print(compare([pathlib.Path(run) for run in runs], folder))
    print(f"\nwrote {folder}/comparison.md, with its table and picture")


def _parse(prog: str, options: type, default: AbstractExperiment, words: list[str]):
    """The command's own options and the experiment's fields, from one list of words."""
    tyro = require("tyro", extra="train")
    conf = tyro.conf
    flat = Annotated[type(default), conf.arg(name="")]
    fields = [("options", Annotated[options, conf.arg(name="")]), ("experiment", flat, default)]
    both = dataclasses.make_dataclass("Options", fields)
    both.__doc__ = f"{default.name}: {default.summary}."
    parsed = tyro.cli(both, args=words, prog=prog, config=(conf.OmitArgPrefixes,))
    return parsed.options, parsed.experiment


def _first(verb: str, noun: str, words: list[str]) -> tuple[str, list[str]]:
    if not words or words[0].startswith("-"):
        known = f" There are: {', '.join(list_experiments())}." if noun == "an experiment" else ""
        raise ValueError(f"{verb} needs {noun} first: sciml {verb} {noun.split()[-1].upper()}.{known}")
    return words[0], words[1:]


def _refuse_words(verb: str, words: list[str]) -> None:
    if words:
        raise ValueError(f"{verb} takes nothing more; got {' '.join(words)!r}.")


def _take_size(words: list[str], default: str | None = "laptop") -> tuple[str | None, list[str]]:
    size = _peek(words, "--size")
    if size is None:
        return default, words
    if size not in SIZES:
        raise ValueError(suggest("size", size, SIZES))
    kept = []
    skip = False
    for word in words:
        if skip or word.startswith("--size="):
            skip = False
        elif word == "--size":
            skip = True
        else:
            kept.append(word)
    return size, kept


def _peek(words: list[str], option: str) -> str | None:
    for i, word in enumerate(words):
        if word == option and i + 1 < len(words):
            return words[i + 1]
        if word.startswith(option + "="):
            return word.split("=", 1)[1]
    return None


def _read_resumed(name: str, folder: pathlib.Path, size: str | None, default: AbstractExperiment):
    if not folder.exists():
        raise ValueError(f"There is no run {folder} to resume. Leave --resume out to start one.")
    experiment, written = read_config(folder)
    if experiment.name != name:
        raise ValueError(f"{folder} is a run of {experiment.name}, not of {name}.")
    if size is not None and size != written:
        raise ValueError(f"{folder} was started at size {written}; it cannot be resumed at size {size}.")
    return experiment, written


def _prepare(folder: pathlib.Path, experiment: AbstractExperiment, size: str) -> None:
    if (folder / "config.json").is_file():
        raise ValueError(
            f"{folder} holds a run already; it is not overwritten. Go on with it by --resume {folder}, or name another "
            f"by --out."
        )
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(
            f"{folder} exists and is not a run; nothing is written into it. Name another by --out."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, experiment, size)


def _check_free(file: pathlib.Path, overwrite: bool) -> None:
    """Refuse before simulating for minutes what could not be written."""
    if file.exists() and not overwrite:
        raise ValueError(
            f"{file} exists; it is not overwritten. Pass --overwrite to replace it, or name another."
        )
    if not file.parent.exists():
        raise ValueError(f"There is no folder {file.parent} to write {file.name} into. Make it first.")


def _show_run(folder: pathlib.Path) -> None:
    width = shutil.get_terminal_size().columns
    rows = [{**row, "value": float(row["value"])} for row in read_table(folder / "metrics.csv")]
    for row in rows:
        if row["metric"] == "parameters":
            row["value"] = int(row["value"])
    print("-" * min(width, 80))
    print(make_table(rows))
    print(f"\nreport: {folder / 'report.md'}")
