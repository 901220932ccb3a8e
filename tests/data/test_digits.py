"""Exact and property tests of scikit-learn's digits as a data set, and of labeled images."""

import numpy as np
import pytest
import sklearn.datasets

from sciml.data import LabeledImages, load_digits


def test_both_parts_are_scikit_learn_s_digits_once_each():
    train, test = load_digits()
    bunch = sklearn.datasets.load_digits()
    assert train.images.shape == (1438, 1, 8, 8)
    assert test.images.shape == (359, 1, 8, 8)
    assert train.images.dtype == np.float32
    assert train.images.min() == 0
    assert train.images.max() == 1
    together = np.concatenate([train.images, test.images]).reshape(-1, 64) * 16
    labels = np.concatenate([train.labels, test.labels])
    rows = np.column_stack([together, labels])
    expected = np.column_stack([bunch.data, bunch.target])
    assert np.array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])


def test_every_class_is_split_alike_and_by_the_seed():
    train, test = load_digits(test_fraction=0.25, seed=3)
    part = np.bincount(test.labels) / (np.bincount(test.labels) + np.bincount(train.labels))
    assert np.all(np.abs(part - 0.25) < 0.005)  # half an image of 174
    assert np.array_equal(test.images, load_digits(test_fraction=0.25, seed=3)[1].images)
    assert not np.array_equal(test.images, load_digits(test_fraction=0.25, seed=4)[1].images)


def test_a_part_of_the_images_is_labeled_images():
    train, _ = load_digits()
    part = train[[3, 5]]
    assert len(part) == 2
    assert np.array_equal(part.images[1], train.images[5])
    assert np.array_equal(train[train.labels == 7].labels, np.full(np.sum(train.labels == 7), 7))
    assert repr(part).startswith(
        "LabeledImages((2, 1, 8, 8) (image, channel, height, width), float32, labels"
    )


BAD = {
    "none": (lambda: load_digits(test_fraction=0.0), r"test_fraction=0.0 would test on 0 of the 178 images"),
    "all": (lambda: load_digits(test_fraction=1.0), r"would test on 178 of the 178 images of class 0"),
    "nan": (lambda: load_digits(test_fraction=float("nan")), r"test_fraction=nan would test on 0"),
    "axes": (
        lambda: LabeledImages(np.zeros((3, 8, 8)), np.zeros(3, int)),
        r"images has shape \(3, 8, 8\) and labels \(3,\); expected \(image, channel, height, width\)",
    ),
    "labels": (
        lambda: LabeledImages(np.zeros((3, 1, 8, 8)), np.zeros(2, int)),
        r"labels \(2,\); expected .* Give one label for each image",
    ),
    "index": (lambda: load_digits()[0][2], r"data\[2\] is not a choice of images\. .* data\[:1\]"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
