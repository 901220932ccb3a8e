"""Small images with labels."""

import dataclasses
from collections.abc import Sequence
from typing import final

import numpy as np
from jaxtyping import Float, Int


@final
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LabeledImages:
    """Images of one size, each with the number of its class.

    `data[10:20]`, `data[[3, 5]]` and `data[mask]` choose images and give `LabeledImages` again. An image is a field
    `(channel, height, width)`; a network that takes vectors gets `image.reshape(-1)`.

    **Arguments:**

    - `images`: values from 0 to 1 `(image, channel, height, width)`.
    - `labels`: classes, from 0 `(image,)`.

    **Raises:** `ValueError` if there are not as many labels as images.
    """

    images: Float[np.ndarray, "image channel height width"]
    labels: Int[np.ndarray, " image"]

    def __post_init__(self):
        if self.images.ndim != 4 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"images has shape {self.images.shape} and labels {self.labels.shape}; expected "
                "(image, channel, height, width) and (image,). Give one label for each image."
            )

    def __len__(self) -> int:
        return self.labels.size

    def __getitem__(self, selection: slice | Sequence[int] | np.ndarray) -> "LabeledImages":
        if isinstance(selection, tuple) or (not isinstance(selection, slice) and np.ndim(selection) != 1):
            raise ValueError(
                f"data[{selection!r}] is not a choice of images. Give a slice, a list of indices or a mask: "
                "for the first image, data[:1] or data.images[0]."
            )
        return LabeledImages(self.images[selection], self.labels[selection])

    def __repr__(self) -> str:
        return (
            f"LabeledImages({self.images.shape} (image, channel, height, width), {self.images.dtype}, labels "
            f"{self.labels.min(initial=0)} to {self.labels.max(initial=0)})"
        )
