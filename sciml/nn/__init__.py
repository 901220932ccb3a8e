"""Networks that know nothing of PDEs: arrays in, arrays out, no batch axis (use `jax.vmap`).

Every leaf of a model is an array: activations and sizes are static fields. So models are arguments that `jax.jit`,
`jax.grad`, `jax.tree.map` and optax take as they are. To compile a model by itself write `eqx.filter_jit(model)`:
`jax.jit(model)` wants a hashable function, which no module with arrays is. `eqx.filter_jit` and `eqx.filter_grad` also
take models that mix in modules such as `eqx.nn.MLP`, whose activation is a leaf; prefer them in code for any model.
"""

from .convnet import ConvNet
from .convolution import Convolution, Padding
from .deeponet import DeepONet
from .fno import FNO
from .graph_unet import GraphHierarchy, GraphLevel, GraphUNet, coarsen_graph
from .interpolation import AbsoluteInterpolation, AbstractLearnedInterpolation, RelativeInterpolation
from .message_passing import Aggregation, MessagePassing
from .neighbors import measure_displacements, nearest_neighbors, nearest_points
from .sizes import count_parameters, match_width
from .spectral_conv import SpectralConv
from .unet import UNet

__all__ = [
    "FNO",
    "AbsoluteInterpolation",
    "AbstractLearnedInterpolation",
    "Aggregation",
    "ConvNet",
    "Convolution",
    "DeepONet",
    "GraphHierarchy",
    "GraphLevel",
    "GraphUNet",
    "MessagePassing",
    "Padding",
    "RelativeInterpolation",
    "SpectralConv",
    "UNet",
    "coarsen_graph",
    "count_parameters",
    "match_width",
    "measure_displacements",
    "nearest_neighbors",
    "nearest_points",
]
