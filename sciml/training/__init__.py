"""One loop for all: a model, a loss, batches; exact resume, keep the best, log, metrics."""

from sciml.training import metrics
from sciml.training.batches import AbstractBatches, Batches, Windows
from sciml.training.logs import JsonLines
from sciml.training.loop import FitResult, FitStats, NonFiniteError, fit
from sciml.training.losses import UnrolledLoss, mean_square_error, one_step_loss, rollout
from sciml.training.models import load_model, save_model
from sciml.training.optimizers import muon

__all__ = [
    "AbstractBatches",
    "Batches",
    "FitResult",
    "FitStats",
    "JsonLines",
    "NonFiniteError",
    "UnrolledLoss",
    "Windows",
    "fit",
    "load_model",
    "mean_square_error",
    "metrics",
    "muon",
    "one_step_loss",
    "rollout",
    "save_model",
]
