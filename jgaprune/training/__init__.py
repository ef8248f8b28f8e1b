"""Gradients of label-free losses: mask scores and kept weights trained, swaps proposed."""

from jgaprune.training.descent import Loss, OnStep, Training, Vary
from jgaprune.training.distil import distil
from jgaprune.training.gradient import gradient_of
from jgaprune.training.imitation import imitation
from jgaprune.training.straight_through import Trained, straight_through
from jgaprune.training.swaps import gradient_swaps

__all__ = [
    "Loss",
    "OnStep",
    "Trained",
    "Training",
    "Vary",
    "distil",
    "gradient_of",
    "gradient_swaps",
    "imitation",
    "straight_through",
]
