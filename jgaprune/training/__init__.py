"""Gradient descent on label-free losses: mask scores, and the weights that are kept."""

from jgaprune.training.descent import Loss, Training, Vary
from jgaprune.training.distil import distil
from jgaprune.training.imitation import imitation
from jgaprune.training.straight_through import Trained, straight_through

__all__ = [
    "Loss",
    "Trained",
    "Training",
    "Vary",
    "distil",
    "imitation",
    "straight_through",
]
