"""Optimizers that optax has, told which arrays of an Equinox module are matrices."""

import jax
import optax
from optax.contrib import MuonDimensionNumbers


def muon(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Muon for the matrices of an Equinox module, Adam with Nesterov's momentum for all else; `optax.contrib.muon`.

    Steps of a matrix are made orthogonal, so that no direction of it is left behind. A matrix is the last two axes of
    an array: an axis before those numbers layers that are stacked, as `jax.lax.scan` takes them. Matrices with a side
    of two or less, such as a last layer's, are left to Adam. Steps of the others have a root mean square of one and a
    half times the learning rate, so that a rate at which Adam is stable is a good one here.

    Weights of convolutions along a line, which have three axes, would be taken for stacked matrices: this is for
    networks of linear layers.

    **Reference:** Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; Liu et al., "Muon is
    scalable for LLM training", 2025, arXiv:2502.16982, for the size of the steps.

    **Arguments:**

    - `learning_rate`: a number `()`, or a schedule, which takes the number of the step.

    **Returns:** the optimizer.
    """
    return optax.contrib.muon(
        learning_rate,
        muon_weight_dimension_numbers=_list_matrices,
        consistent_rms=1.5,
        adam_learning_rate=learning_rate,
    )


def _list_matrices(params):
    def name(array):
        if array.ndim not in (2, 3) or min(array.shape[-2:]) <= 2:
            return None
        return MuonDimensionNumbers(reduction_axis=array.ndim - 1, output_axis=array.ndim - 2)

    return jax.tree.map(name, params)
