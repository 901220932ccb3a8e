"""Neural differential equations as small modules that show how they are solved, and take a regularizer."""

from .ffjord import FFJORD, AbstractTrace, ExactTrace, HutchinsonTrace
from .fields import BatchField, ConcatSquash, Each, Perceptron, TanhStack, TimeMLP, identity
from .latent_ode import BackwardEncoder, LatentODE, Reconstruction, anneal_kl, build_latent_ode, masked_mean
from .neural_ode import NeuralODE
from .neural_sde import NeuralSDE

__all__ = [
    "FFJORD",
    "AbstractTrace",
    "BackwardEncoder",
    "BatchField",
    "ConcatSquash",
    "Each",
    "ExactTrace",
    "HutchinsonTrace",
    "LatentODE",
    "NeuralODE",
    "NeuralSDE",
    "Perceptron",
    "Reconstruction",
    "TanhStack",
    "TimeMLP",
    "anneal_kl",
    "build_latent_ode",
    "identity",
    "masked_mean",
]
