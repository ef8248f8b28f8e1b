"""Model inputs: the user's files, and inputs made from the model alone."""

from jgaprune.inputs.noise import gaussian_noise
from jgaprune.inputs.synthesis import synthesize

__all__ = ["gaussian_noise", "synthesize"]
