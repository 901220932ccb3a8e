"""Property tests of `Trajectories`: what it keeps, how it is cut and joined, and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.data.trajectories import UNRECORDED, Trajectories, concatenate

RNG = np.random.default_rng(0)
LAW = {"name": "Burgers", "parameters": {"viscosity": 0.01}}


def make(count=6, *, seeds=range(6), **changes):
    arguments = {
        "values": RNG.normal(size=(count, 4, 2, 8, 5)),
        "times": np.linspace(0.0, 0.3, 4),
        "coordinates": (np.arange(8) / 8, np.arange(5) / 5),
        "channels": ("u", "v"),
        "law": LAW,
        "seeds": seeds,
        "metadata": {"solver": "Tsit5", "rtol": 1e-6},
    }
    return Trajectories(**(arguments | changes))


def test_it_keeps_what_it_is_given_and_cannot_be_changed():
    values = RNG.normal(size=(6, 4, 2, 8, 5)).astype(np.float32)
    data = make(values=values)
    assert len(data) == 6
    assert data.values.dtype == np.float32
    assert np.array_equal(data.values, values)
    assert data.channels == ("u", "v")
    with pytest.raises(ValueError, match="read-only"):
        data.values[0] = 0.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.times = data.times[::-1]
    values[0] = 1.0  # the caller's own array stays writable


def test_jax_arrays_and_lists_are_taken_and_what_is_not_given_is_filled_in():
    data = Trajectories(jnp.ones((3, 2, 2)), [0, 1], ())
    assert isinstance(data.values, np.ndarray)
    assert data.times.dtype == np.float64
    assert data.channels == ("u0", "u1")
    assert data.seeds.tolist() == [UNRECORDED] * 3
    assert data.law == {"name": "unknown", "parameters": {}}
    assert data.metadata == {}
    assert Trajectories(np.ones((3, 2, 1)), [0, 1], ()).channels == ("u",)


def test_records_become_plain_python():
    field = jnp.arange(3.0)
    law = {
        "name": "Heat",
        "parameters": {"k": np.float32(0.1), "field": field, "shape": (2, 3), "n": np.int64(3)},
    }
    parameters = make(law=law).law["parameters"]
    assert type(parameters["k"]) is float
    assert parameters["k"] == np.float32(0.1).item()
    assert type(parameters["n"]) is int
    assert parameters["shape"] == [2, 3]
    assert np.array_equal(parameters["field"], field)


@pytest.mark.parametrize(
    "choice", [slice(1, 4), slice(None, None, 2), [4, 0, 4], np.array([True, False] * 3)]
)
def test_trajectories_are_chosen_together_with_their_seeds(choice):
    data = make()
    part = data[choice]
    assert np.array_equal(part.values, data.values[choice])
    assert np.array_equal(part.seeds, data.seeds[choice])
    assert part.law == data.law


def test_split_is_disjoint_and_concatenate_undoes_it():
    data = make()
    train, test = data.split(4, 2)
    assert (len(train), len(test)) == (4, 2)
    assert not set(train.seeds.tolist()) & set(test.seeds.tolist())
    joined = concatenate([train, test])
    assert np.array_equal(joined.values, data.values)
    assert np.array_equal(joined.seeds, data.seeds)
    assert len(data.split(2)[0]) == 2  # what is left over is in no part


def test_concatenate_keeps_the_metadata_that_all_agree_on():
    first = make(metadata={"solver": "Tsit5", "seconds": 1.0, "grid": np.arange(3)})
    second = make(metadata={"solver": "Tsit5", "seconds": 2.0, "grid": np.arange(3)})
    assert concatenate([first, second]).metadata.keys() == {"solver", "grid"}


def test_subsample_thins_values_times_and_coordinates_alike():
    data = make()
    part = data.subsample(time=slice(1, None), space=(2, slice(0, 3)))
    assert np.array_equal(part.values, data.values[:, 1:, :, ::2, :3])
    assert np.array_equal(part.times, data.times[1:])
    assert [axis.size for axis in part.coordinates] == [4, 3]
    assert data.subsample(space=4).values.shape == (6, 4, 2, 2, 2)


def test_its_repr_says_what_is_in_it():
    text = repr(make())
    for piece in (
        "(6, 4, 2, 8, 5)",
        "float64",
        "0 ... 0.3 (4)",
        "u, v",
        "Burgers(viscosity=0.01)",
        "0 ... 5 (6)",
        "rtol",
    ):
        assert piece in text


def broken(index):
    values = np.ones((6, 4, 2, 8, 5))
    values[index] = np.nan
    return values


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"values": np.ones((4, 2, 8, 5))},
            r"shape \(4, 2, 8, 5\), 4 axes; expected 5: .*pass values\[None\]",
        ),
        ({"values": np.ones((6, 4, 8, 5))}, r"if it has no channel axis .*values\[:, :, None\]"),
        ({"values": np.ones((6, 4, 2, 8, 5, 3))}, "6 axes; expected 5: .* one array of coordinates for each"),
        (
            {"values": np.ones((6, 4, 2, 5, 8))},
            r"coordinates\[0\] has 8 points where values has 5; .* order of the axes",
        ),
        (
            {"values": np.ones((6, 4, 2, 8, 5), int)},
            "dtype int64; expected float32 or float64. Cast it with astype",
        ),
        ({"values": np.ones((6, 4, 2, 8, 5), np.float16)}, "dtype float16; expected float32 or float64"),
        ({"values": np.ones((0, 4, 2, 8, 5))}, "is empty; expected at least one"),
        (
            {"values": broken((3, 2, 1))},
            r"Trajectory 3 \(seed 3\) is not finite: 40 of its 320 .* first at time index 2",
        ),
        ({"times": [0.0, 0.1, 0.1, 0.2]}, r"times must increase, but times\[2\]=0.1 follows times\[1\]=0.1"),
        ({"times": [0.3, 0.2, 0.1, 0.0]}, r"times\[1\]=0.2 follows times\[0\]=0.3. Sort"),
        ({"times": [0.0, 0.1, 0.2]}, "times has 3 entries, but values has 4 along its time axis"),
        ({"times": [0.0, np.inf, 1.0, 2.0]}, r"times\[1\] is not finite"),
        ({"times": np.ones((4, 1))}, r"times has shape \(4, 1\) and dtype float64; expected numbers"),
        (
            {"coordinates": np.arange(8)},
            "coordinates is a ndarray; expected a tuple .* write coordinates=.x,.",
        ),
        (
            {"coordinates": (np.arange(8), ["a"] * 5)},
            r"coordinates\[1\] has shape \(5,\) and dtype <U1; expected numbers",
        ),
        ({"channels": "uv"}, "channels='uv' must be a tuple of names"),
        ({"channels": ("u",)}, "must be 2 different names"),
        ({"channels": ("u", "u")}, "must be 2 different names"),
        ({"seeds": range(5)}, r"seeds has shape \(5,\) and dtype int64; expected 6 integers"),
        ({"seeds": np.arange(6.0)}, r"dtype float64; expected 6 integers"),
        (
            {"seeds": jax.random.split(jax.random.key(0), 6)},
            r"dtype key<fry>; .* the integers that the keys were made from",
        ),
        ({"law": "burgers"}, "law='burgers' must be a description such as .*sciml.pdes.describe"),
        ({"law": {"name": "Burgers"}}, "must be a description such as"),
        (
            {"law": {"name": "B", "parameters": {"f": [1, np.sin]}}},
            r"law\['parameters'\]\['f'\]\[1\] is a ufunc, which a file",
        ),
        ({"metadata": [1]}, "metadata is a list; expected a dictionary"),
        ({"metadata": {3: 1}}, "metadata has the key 3; a key must be text"),
        ({"metadata": {"$array": 1}}, r"metadata has the key '\$array'"),
        (
            {"metadata": {"when": np.datetime64("2022-10-13")}},
            r"metadata\['when'\] is a datetime64, which a file",
        ),
    ],
)
def test_bad_input_is_refused_with_a_cure(changes, message):
    changes = {"seeds": np.arange(6)} | changes
    with pytest.raises(ValueError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (
            lambda data: data[2],
            r"data\[2\] is not a choice of trajectories.*data\[3:4\] is a data set of one",
        ),
        (lambda data: data[:, 0], "is not a choice of trajectories"),
        (lambda data: data[6:], "is empty; expected at least one"),
        (lambda data: data.split(), "needs sizes"),
        (lambda data: data.split(3, 0), "needs sizes that are integers of at least 1"),
        (lambda data: data.split(0.8, 0.2), "needs sizes that are integers of at least 1"),
        (lambda data: data.split(5, 2), "asks for 7 trajectories; there are 6"),
        (lambda data: concatenate([data, data]).split(6, 6), "trajectories of the same seed 0 in two parts"),
        (lambda data: data.subsample(time=-1), "time=-1 must be a slice that runs forwards"),
        (lambda data: data.subsample(time=slice(None, None, -1)), "must be a slice that runs forwards"),
        (lambda data: data.subsample(time=slice(4, None)), "is empty"),
        (lambda data: data.subsample(space=(1, "2")), r"space\[1\]='2' must be a slice"),
        (lambda data: data.subsample(space=(1,)), "has 1 entries, but there are 2 space axes"),
        (lambda data: concatenate([]), "nothing to join"),
        (lambda data: concatenate([data, data.values]), "Part 1 is a ndarray; expected Trajectories"),
        (
            lambda data: concatenate([data, data.subsample(time=2)]),
            "Part 1 has other times: 0 ... 0.2 .2. instead of 0 ... 0.3",
        ),
        (lambda data: concatenate([data, data.subsample(space=2)]), "Part 1 has other coordinates"),
        (
            lambda data: concatenate([data, make(channels=("v", "u"))]),
            r"other channels: \('v', 'u'\) instead of",
        ),
        (
            lambda data: concatenate([data, make(law=None)]),
            "Part 1 has other law: .*unknown.* instead of .*Burgers",
        ),
        (
            lambda data: concatenate([data, make(values=data.values.astype(np.float32))]),
            "holds float32 instead of float64",
        ),
    ],
)
def test_a_wrong_cut_or_join_is_refused_with_a_cure(action, message):
    with pytest.raises(ValueError, match=message):
        action(make())


def test_unrecorded_seeds_do_not_stop_a_split():
    assert len(make(seeds=None).split(3, 3)) == 2
