"""Scikit-learn's handwritten digits: a data set that is on the machine as soon as scikit-learn is."""

import numpy as np

from .._optional import require
from .images import LabeledImages


def load_digits(*, test_fraction: float = 0.2, seed: int = 0) -> tuple[LabeledImages, LabeledImages]:
    """Load 1797 handwritten digits of 8 by 8 pixels, split into training and test.

    The split is drawn within each class, so that both parts hold the ten digits alike. Who wrote a digit is not known,
    so one hand may be in both parts: accuracies are higher than on hands never seen.

    **Arguments:**

    - `test_fraction`: the part of the images to test on, between 0 and 1.
    - `seed`: the seed of the split.

    **Returns:** the images `(image, 1, 8, 8)` to train on and those to test on, pixels from 0 to 1 in float32.

    **Raises:** `ValueError` for a fraction that leaves one part empty; `ImportError` without scikit-learn.

    Reference: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
    1998, doi:10.24432/C50P49 (its test part).
    """
    datasets = require("sklearn.datasets", extra="data")
    bunch = datasets.load_digits()
    labels = np.asarray(bunch.target, np.int32)
    test = choose_within_classes(labels, test_fraction, seed)
    images = np.asarray(bunch.images, np.float32)[:, None] / np.float32(16)
    data = LabeledImages(images, labels)
    return data[~test], data[test]


def choose_within_classes(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Choose at random the same fraction of every class.

    **Arguments:**

    - `labels`: classes `(image,)`.
    - `fraction`: which part to choose, between 0 and 1.
    - `seed`: the seed of the choice.

    **Returns:** a mask, true for what is chosen `(image,)`.

    **Raises:** `ValueError` for a fraction that chooses none or all of a class.
    """
    chosen = np.zeros(labels.shape, bool)
    rng = np.random.default_rng(seed)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = round(fraction * members.size) if np.isfinite(fraction) else 0
        if not 0 < count < members.size:
            raise ValueError(
                f"test_fraction={fraction!r} would test on {count} of the {members.size} images of class {label}; "
                "expected at least one image to train and one to test on. Choose a fraction such as 0.2."
            )
        chosen[rng.permutation(members)[:count]] = True
    return chosen
