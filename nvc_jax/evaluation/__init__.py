"""From a work directory to a trained model, numbers, figures and a page."""

from nvc_jax.evaluation.results import evaluate
from nvc_jax.evaluation.trained import TrainedModel, load

__all__ = ["TrainedModel", "evaluate", "load"]
