"""Times: compilation apart from the run, medians of several runs, and two alternatives taken turn by turn."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax


@dataclass(frozen=True)
class Timing:
    """How long something takes.

    **Arguments:**

    - `compile_seconds`: how much longer the first call took than the median of the later ones: tracing, compilation.
    - `run_seconds`: the median of the later calls.
    - `samples`: the seconds of each of the later calls.
    - `output`: what the last call returned.
    """

    compile_seconds: float
    run_seconds: float
    samples: tuple[float, ...]
    output: Any


@dataclass(frozen=True)
class Comparison:
    """How long two things take, measured turn by turn.

    **Arguments:**

    - `first`, `second`: their times.
    - `ratio`: the first's time in units of the second's, the median over the rounds.
    """

    first: Timing
    second: Timing
    ratio: float


def measure(function: Callable[[], Any], *, repeats: int = 5) -> Timing:
    """Time a function, its first call apart.

    **Arguments:**

    - `function`: called without arguments; what it returns is waited for.
    - `repeats`: how many calls to take the median of, after the first.

    **Returns:** its times.

    **Raises:** `ValueError` for less than one repeat.
    """
    _check(repeats)
    first, _ = _call(function)
    samples, output = [], None
    for _ in range(repeats):
        seconds, output = _call(function)
        samples.append(seconds)
    return _summarize(first, samples, output)


def compare(first: Callable[[], Any], second: Callable[[], Any], *, repeats: int = 7) -> Comparison:
    """Time two functions in one run, turn by turn, so that whatever slows the machine slows both.

    Who goes first changes every round. The ratio is the median of the rounds' ratios, which a pause in one round does
    not move.

    **Arguments:**

    - `first`, `second`: called without arguments; what they return is waited for.
    - `repeats`: how many rounds.

    **Returns:** the times of both and their ratio.

    **Raises:** `ValueError` for less than one round.
    """
    _check(repeats)
    functions = (first, second)
    starts = [_call(function)[0] for function in functions]
    samples: tuple[list[float], list[float]] = ([], [])
    outputs = [None, None]
    for turn in range(repeats):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            seconds, outputs[which] = _call(functions[which])
            samples[which].append(seconds)
    timings = [_summarize(*parts) for parts in zip(starts, samples, outputs, strict=True)]
    ratio = statistics.median(a / b for a, b in zip(*samples, strict=True))
    return Comparison(*timings, ratio)


def _call(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    output = jax.block_until_ready(function())
    return time.perf_counter() - start, output


def _summarize(first: float, samples: list[float], output: Any) -> Timing:
    median = statistics.median(samples)
    return Timing(max(0.0, first - median), median, tuple(samples), output)


def _check(repeats: int) -> None:
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1; got {repeats}.")
