"""Exact tests of the reader of PhysioNet 2012 and of masked series, on records of the true layout written here."""

import numpy as np
import pytest

from sciml.data import MaskedSeries, Scale, read_physionet
from sciml.data.physionet import CHANNELS

HEADER = "Time,Parameter,Value"
OUTCOMES = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"
# The first rows of a record as they are published, then rows for every rule of the reader.
FIRST = """\
00:00,RecordID,132539
00:00,Age,54
00:00,Gender,0
00:00,Height,-1
00:00,ICUType,4
00:00,Weight,-1
00:07,GCS,15
00:07,HR,73
00:07,NIDiasABP,65
00:07,NIMAP,92.33
00:37,HR,77
01:37,HR,60
02:30,HR,88
01:40,HR,70
02:20,HR,65
03:10,,-1
47:37,Urine,200"""
SECOND = """\
00:00,RecordID,132540
00:00,Age,76
00:00,Gender,1
00:00,Height,175.3
00:00,ICUType,2
00:00,Weight,80.6
00:25,Weight,81.6
48:00,Temp,37.2"""


def write_record(folder, name, body, header=HEADER):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_text(f"{header}\n{body}\n")
    return folder


@pytest.fixture
def folder(tmp_path):
    write_record(tmp_path / "set-a", 132540, SECOND)
    return write_record(tmp_path / "set-a", 132539, FIRST)


def test_channels_are_the_37_of_the_published_preparation():
    assert len(CHANNELS) == len(set(CHANNELS)) == 37
    assert CHANNELS[:4] == ("Weight", "Albumin", "ALP", "ALT")
    assert CHANNELS[-2:] == ("Urine", "WBC")


def test_records_become_hourly_series_with_masks(folder):
    data = read_physionet(folder)
    assert data.values.shape == (2, 49, 37)
    assert data.values.dtype == np.float32
    assert np.array_equal(data.times, np.arange(49))
    assert data.ids.tolist() == [132539, 132540]
    seen = {
        (int(data.ids[i]), int(hour), CHANNELS[c]): float(data.values[i, hour, c])
        for i, hour, c in np.argwhere(data.mask)
    }
    expected = {
        (132539, 0, "GCS"): 15.0,
        (132539, 0, "HR"): 73.0,
        (132539, 0, "NIDiasABP"): 65.0,
        (132539, 0, "NIMAP"): float(np.float32(92.33)),
        (132539, 1, "HR"): 77.0,  # 00:37
        (132539, 2, "HR"): (60 + 88 + 70 + 65)
        / 4,  # 01:37, 01:40, 02:20, and 02:30, as half goes to the even hour
        (132539, 48, "Urine"): 200.0,
        (132540, 0, "Weight"): float(np.float32((80.6 + 81.6) / 2)),
        (132540, 48, "Temp"): float(np.float32(37.2)),
    }
    assert seen == expected
    assert np.all(data.values[~data.mask] == 0)


def test_descriptors_and_outcomes_are_attributes(folder, tmp_path):
    (tmp_path / "Outcomes-a.txt").write_text(
        f"{OUTCOMES}\n132539,6,1,5,-1,0\n132540,16,8,8,3,1\n132541,1,1,1,1,1\n"
    )
    data = read_physionet(folder, tmp_path / "Outcomes-a.txt")
    np.testing.assert_equal(data.attributes["Height"], [np.nan, 175.3])
    assert data.attributes["Age"].tolist() == [54, 76]
    assert data.attributes["In-hospital_death"].tolist() == [0, 1]
    assert data.attributes["Survival"].tolist() == [-1, 3]
    second = data[data.ids == 132540]
    assert second.attributes["Age"].tolist() == [76]
    assert np.array_equal(second.values[0], data.values[1])


def test_several_sets_are_one(folder, tmp_path):
    other = write_record(tmp_path / "set-b", 142675, FIRST.replace("132539", "142675"))
    data = read_physionet([other, folder])
    assert data.ids.tolist() == [132539, 132540, 142675]
    assert np.array_equal(data.values[0], data.values[2])


def series(values, mask=None):
    values = np.asarray(values, float)
    mask = np.ones(values.shape, bool) if mask is None else np.asarray(mask, bool)
    times, channels = np.arange(float(values.shape[1])), tuple("abcdefg"[: values.shape[2]])
    return MaskedSeries(values * mask, mask, times, channels, np.arange(values.shape[0]))


def test_normalizing_divides_as_published_or_by_the_range():
    """Exact: by hand; a value that is not observed counts for nothing, nor does a channel that is never observed."""
    data = series(
        [[[2.0, 0.0, 9.0], [8.0, 0.0, 9.0]], [[5.0, 0.0, 9.0], [100.0, 0.0, 9.0]]],
        [[[1, 1, 0], [1, 1, 0]], [[1, 1, 0], [0, 1, 0]]],
    )
    published = data.normalize()
    assert published.values[..., 0].tolist() == [[0.0, 0.75], [0.375, 0.0]]
    assert not published.values[..., 1:].any()
    assert data.normalize(scale=Scale.RANGE).values[..., 0].tolist() == [[0.0, 1.0], [0.5, 0.0]]
    of_first = data.normalize(data[:1], scale=Scale.RANGE)
    assert of_first.values[..., 0].tolist() == [[0.0, 1.0], [0.5, 0.0]]
    assert np.array_equal(published.mask, data.mask)


def test_a_split_holds_every_series_once():
    data = series(np.arange(30.0).reshape(10, 3, 1))
    train, test = data.split(0.3, seed=1)
    assert (len(train), len(test)) == (7, 3)
    assert sorted([*train.ids, *test.ids]) == list(range(10))
    assert np.array_equal(test.ids, data.split(0.3, seed=1)[1].ids)
    assert repr(test).startswith("MaskedSeries((3, 3, 1) (series, time, channel), float64, 100.0% observed")


def _write_first(old, new):
    def write(folder):
        write_record(folder, 132539, FIRST.replace(old, new))
        return folder

    return write


def _with_outcomes(content):
    def write(folder):
        write_record(folder, 132539, FIRST)
        path = folder.parent / "Outcomes-a.txt"
        path.write_text(content)
        return folder, path

    return write


BAD = {
    "header": (
        lambda folder: write_record(folder, 1, FIRST, "RecordID,Age"),
        r"1.txt begins with 'RecordID,Age'; expected 'Time,Parameter,Value'",
    ),
    "parameter": (_write_first("GCS", "Gcs"), r"line 8: 'Gcs' is no parameter of PhysioNet 2012; expected RecordID"),
    "number": (_write_first("GCS,15", "GCS,x"), r"line 8: '00:07,GCS,x' is not a row of a record; expected HH:MM"),
    "nan": (_write_first("GCS,15", "GCS,nan"), r"line 8: '00:07,GCS,nan' is not a row of a record"),
    "columns": (_write_first("GCS,15", "GCS,15,1"), r"line 8: '00:07,GCS,15,1' is not a row"),
    "time": (_write_first("47:37", "48:37"), r"line 18: '48:37,Urine,200' .* with a time up to 48:00"),
    "no record": (_write_first("00:00,RecordID,132539\n", ""), r"has no row '00:00,RecordID,...'"),
    "twice": (lambda folder: [write_record(folder, 132539, FIRST)] * 2, r"Record 132539 is there twice"),
    "outcomes": (_with_outcomes("a,b\n"), r"begins with 'a,b'; expected 'RecordID,SAPS-I,SOFA,"),
    "outcome": (_with_outcomes(f"{OUTCOMES}\n132539,1\n"), r"line 2: '132539,1' is not a row of outcomes; expected 6"),
    "missing": (_with_outcomes(f"{OUTCOMES}\n1,1,1,1,1,1\n"), r"no outcome for record 132539, and for 0 others"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_a_set_is_named_by_file_and_line(tmp_path, case):
    write, message = BAD[case]
    given = write(tmp_path / "set-a")
    arguments = given if isinstance(given, tuple) else (given,)
    with pytest.raises(ValueError, match=message):
        read_physionet(*arguments)


def test_a_folder_without_records_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"set-a is not a folder\. Unpack a set"):
        read_physionet(tmp_path / "set-a")
    with pytest.raises(FileNotFoundError, match=r"holds no records; expected files such as 132539.txt"):
        read_physionet(tmp_path)


ONES = np.ones((2, 3, 1))
WRONG = {
    "mask": (
        lambda: MaskedSeries(ONES, ONES[:1] > 0, np.arange(3.0), ("a",), np.arange(2)),
        r"mask has shape \(1, 3, 1\); expected \(2, 3, 1\) for 2 ids, 3 times and 1 channels",
    ),
    "attributes": (
        lambda: MaskedSeries(ONES, ONES > 0, np.arange(3.0), ("a",), np.arange(2), {"Age": np.ones(3)}),
        r"attributes\['Age'\] has shape \(3,\); expected \(2,\)",
    ),
    "times": (
        lambda: MaskedSeries(ONES, ONES > 0, np.zeros(3), ("a",), np.arange(2)),
        r"times=\[0. 0. 0.\] must increase",
    ),
    "nan": (lambda: series(ONES * np.nan), r"The value of a at time 0 of series 0 is not finite"),
    "index": (lambda: series(ONES)[0], r"data\[0\] is not a choice of series"),
    "split": (lambda: series(ONES).split(0.0), r"test_fraction=0.0 would test on 0 of 2 series"),
    "channels": (
        lambda: series(ONES).normalize(series(np.ones((2, 3, 2)))),
        r"The reference has the channels \('a', 'b'\); expected \('a',\)",
    ),
    "negative": (
        lambda: series(-ONES).normalize(),
        r"The largest value of a is -1: .* Use scale=Scale.RANGE",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_series_that_do_not_fit_are_refused(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        call()
