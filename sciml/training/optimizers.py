"""Optimizers that optax has, told which arrays of an Equinox module are matrices."""

import equinox as eqx
import jax
import optax
from optax.contrib import MuonDimensionNumbers


def muon(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Muon for the matrices of an Equinox module, Adam with Nesterov's momentum for all else; `optax.contrib.muon`.

    Steps of a matrix are made orthogonal, so that no direction of it is left behind. Matrices are the weights of
    `eqx.nn.Linear`; an axis before their two numbers layers that are stacked, as `jax.lax.scan` takes them. Those with
    a side of two or less, such as a last layer's, are left to Adam. Steps of the others have a root mean square of one
    and a half times the learning rate, so that a rate at which Adam is stable is a good one here.

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
    def name(leaf):
        if not isinstance(leaf, eqx.nn.Linear):
            return None
        weight, rest = leaf.weight, jax.tree.map(lambda _: None, leaf)
        if not hasattr(weight, "shape") or min(weight.shape[-2:]) <= 2:  # optax masks what is Adam's
            return rest
        dimensions = MuonDimensionNumbers(reduction_axis=weight.ndim - 1, output_axis=weight.ndim - 2)
        return eqx.tree_at(lambda linear: linear.weight, rest, dimensions, is_leaf=lambda x: x is None)

    return jax.tree.map(name, params, is_leaf=lambda x: isinstance(x, eqx.nn.Linear))
