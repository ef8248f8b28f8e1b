"""Model inputs: the user's files, and inputs made from the model alone."""

from jgaprune.inputs.images import prepare
from jgaprune.inputs.noise import gaussian_noise
from jgaprune.inputs.synthesis import Synthesis, synthesize
from jgaprune.inputs.text import sample_tokens
from jgaprune.inputs.variation import vary

__all__ = ["Synthesis", "gaussian_noise", "prepare", "sample_tokens", "synthesize", "vary"]
