"""Training: from labelled pictures to a model file."""

from onelook.training.settings import Settings
from onelook.training.train import Result, resume, train

__all__ = ["Result", "Settings", "resume", "train"]
