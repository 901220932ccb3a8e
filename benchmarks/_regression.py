"""Least-squares problems no one here wrote: NIST's nonlinear regressions, and some of More, Garbow and Hillstrom's.

`nist.json` holds the data, both starts and the certified values of the 27 sets of the Statistical Reference Datasets of
the National Institute of Standards and Technology, which are in the public domain. The other problems are those of
"Testing unconstrained optimization software", 1981, doi:10.1145/355934.355936, from their standard starts.
"""

import json
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from benchmarks._session import ROOT

FILE = ROOT / "benchmarks" / "nist.json"


class Regression(NamedTuple):
    """One problem from one start.

    `rows` maps unknowns `(unknown,)` to rows; `certified` is the minimum, or None where only its `objective`, half the
    sum of squares, is known.
    """

    name: str
    rows: Callable
    start: np.ndarray
    certified: np.ndarray | None
    objective: float


def _exponentials(b, x):
    return b[0] * jnp.exp(-b[1] * x) + b[2] * jnp.exp(-b[3] * x) + b[4] * jnp.exp(-b[5] * x)


def _two_bumps(b, x):
    bumps = b[2] * jnp.exp(-(((x - b[3]) / b[4]) ** 2)) + b[5] * jnp.exp(-(((x - b[6]) / b[7]) ** 2))
    return b[0] * jnp.exp(-b[1] * x) + bumps


def _rational(above, below):
    def model(b, x):
        top = sum(b[i] * x**i for i in range(above + 1))
        return top / (1 + sum(b[above + i] * x**i for i in range(1, below + 1)))

    return model


def _seasons(b, x):
    def wave(one, two, period):
        return one * jnp.cos(2 * jnp.pi * x / period) + two * jnp.sin(2 * jnp.pi * x / period)

    return b[0] + wave(b[1], b[2], 12.0) + wave(b[4], b[5], b[3]) + wave(b[7], b[8], b[6])


def _rising(b, x):
    return b[0] * (1 - jnp.exp(-b[1] * x))


def _decaying(b, x):
    return jnp.exp(-b[0] * x) / (b[1] + b[2] * x)


MODELS = {
    "Bennett5": lambda b, x: b[0] * (b[1] + x) ** (-1 / b[2]),
    "BoxBOD": _rising,
    "Chwirut1": _decaying,
    "Chwirut2": _decaying,
    "DanWood": lambda b, x: b[0] * x ** b[1],
    "ENSO": _seasons,
    "Eckerle4": lambda b, x: b[0] / b[1] * jnp.exp(-0.5 * ((x - b[2]) / b[1]) ** 2),
    "Gauss1": _two_bumps,
    "Gauss2": _two_bumps,
    "Gauss3": _two_bumps,
    "Hahn1": _rational(3, 3),
    "Kirby2": _rational(2, 2),
    "Lanczos1": _exponentials,
    "Lanczos2": _exponentials,
    "Lanczos3": _exponentials,
    "MGH09": lambda b, x: b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3]),
    "MGH10": lambda b, x: b[0] * jnp.exp(b[1] / (x + b[2])),
    "MGH17": lambda b, x: b[0] + b[1] * jnp.exp(-x * b[3]) + b[2] * jnp.exp(-x * b[4]),
    "Misra1a": _rising,
    "Misra1b": lambda b, x: b[0] * (1 - (1 + b[1] * x / 2) ** -2),
    "Misra1c": lambda b, x: b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5),
    "Misra1d": lambda b, x: b[0] * b[1] * x / (1 + b[1] * x),
    "Nelson": lambda b, x, z: b[0] - b[1] * x * jnp.exp(-b[2] * z),
    "Rat42": lambda b, x: b[0] / (1 + jnp.exp(b[1] - b[2] * x)),
    "Rat43": lambda b, x: b[0] / (1 + jnp.exp(b[1] - b[2] * x)) ** (1 / b[3]),
    "Roszman1": lambda b, x: b[0] - b[1] * x - jnp.arctan(b[2] / (x - b[3])) / jnp.pi,
    "Thurber": _rational(3, 3),
}


def load_regressions() -> list[Regression]:
    """NIST's problems, each from both starts.

    **Returns:** the problems.
    """
    found = []
    for name, given in json.loads(FILE.read_text()).items():
        y, *x = np.array(given["data"]).T
        y = np.log(y) if name == "Nelson" else y

        def rows(b, y=y, x=tuple(x), model=MODELS[name]):
            return y - model(b, *x)

        for number, start in enumerate(given["starts"], start=1):
            certified = np.array(given["certified"])
            found.append(
                Regression(f"{name}, start {number}", rows, np.array(start), certified, given["rss"] / 2)
            )
    return found


def _helical(x):
    turn = jnp.arctan2(x[1], x[0]) / (2 * jnp.pi)
    return jnp.array([10 * (x[2] - 10 * turn), 10 * (jnp.hypot(x[0], x[1]) - 1), x[2]])


def _bard(x):
    u = jnp.arange(1, 16.0)
    v = 16 - u
    y = [0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39]
    return jnp.array(y) - (x[0] + u / (v * x[1] + jnp.minimum(u, v) * x[2]))


def _gaussian(x):
    y = [0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521, 0.3989]
    t = (8 - jnp.arange(1, 16.0)) / 2
    return x[0] * jnp.exp(-x[1] * (t - x[2]) ** 2 / 2) - jnp.array(y + y[-2::-1])


def _kowalik(x):
    y = [0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246]
    u = jnp.array([4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])
    return jnp.array(y) - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


def _brown_dennis(x):
    t = jnp.arange(1, 21.0) / 5
    return (x[0] + t * x[1] - jnp.exp(t)) ** 2 + (x[2] + x[3] * jnp.sin(t) - jnp.cos(t)) ** 2


def _box(x):
    t = 0.1 * jnp.arange(1, 11.0)
    return jnp.exp(-t * x[0]) - jnp.exp(-t * x[1]) - x[2] * (jnp.exp(-t) - jnp.exp(-10 * t))


def _wood(x):
    ten = jnp.sqrt(10.0)
    return jnp.array(
        [
            10 * (x[1] - x[0] ** 2),
            1 - x[0],
            jnp.sqrt(90.0) * (x[3] - x[2] ** 2),
            1 - x[2],
            ten * (x[1] + x[3] - 2),
            (x[1] - x[3]) / ten,
        ]
    )


def _powell_singular(x):
    return jnp.array(
        [
            x[0] + 10 * x[1],
            jnp.sqrt(5.0) * (x[2] - x[3]),
            (x[1] - 2 * x[2]) ** 2,
            jnp.sqrt(10.0) * (x[0] - x[3]) ** 2,
        ]
    )


def _beale(x):
    powers = jnp.arange(1, 4)
    return jnp.array([1.5, 2.25, 2.625]) - x[0] * (1 - x[1] ** powers)


def _freudenstein(x):
    return jnp.array(
        [-13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1], -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1]]
    )


def _jennrich(x):
    i = jnp.arange(1, 11.0)
    return 2 + 2 * i - (jnp.exp(i * x[0]) + jnp.exp(i * x[1]))


CLASSICS = (
    ("Rosenbrock", lambda x: jnp.array([10 * (x[1] - x[0] ** 2), 1 - x[0]]), [-1.2, 1.0], [1.0, 1.0], 0.0),
    ("Freudenstein and Roth", _freudenstein, [0.5, -2.0], None, 48.98425367924),
    ("Beale", _beale, [1.0, 1.0], [3.0, 0.5], 0.0),
    ("Jennrich and Sampson", _jennrich, [0.3, 0.4], None, 124.362182355615),
    ("helical valley", _helical, [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], 0.0),
    ("Bard", _bard, [1.0, 1.0, 1.0], None, 8.21487730657898e-3),
    ("Gaussian", _gaussian, [0.4, 1.0, 0.0], None, 1.12793276961912e-8),
    ("Box, three-dimensional", _box, [0.0, 10.0, 20.0], None, 0.0),
    ("Powell, singular", _powell_singular, [3.0, -1.0, 0.0, 1.0], None, 0.0),
    ("Wood", _wood, [-3.0, -1.0, -3.0, -1.0], [1.0, 1.0, 1.0, 1.0], 0.0),
    ("Kowalik and Osborne", _kowalik, [0.25, 0.39, 0.415, 0.39], None, 3.07505603849238e-4),
    ("Brown and Dennis", _brown_dennis, [25.0, 5.0, -5.0, -1.0], None, 85822.2016263563),
)


def load_classics() -> list[Regression]:
    """Problems of More, Garbow and Hillstrom, with the sums of squares they give.

    **Returns:** the problems.
    """
    return [
        Regression(name, rows, np.array(start), None if best is None else np.array(best), total / 2)
        for name, rows, start, best, total in CLASSICS
    ]
