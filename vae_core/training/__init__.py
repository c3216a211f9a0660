"""Training: snapshot in, model out."""

from vae_core.training.loop import TrainingResult, fit
from vae_core.training.stage import train

__all__ = ["TrainingResult", "fit", "train"]
