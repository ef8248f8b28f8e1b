"""Model inputs: the user's files, and inputs made from the model alone."""

from jgaprune.inputs.images import prepare
from jgaprune.inputs.inversion import Inversion, can_invert, invert
from jgaprune.inputs.likeness import UNLIKE, unlikeness
from jgaprune.inputs.noise import gaussian_noise
from jgaprune.inputs.synthesis import Synthesis, synthesize
from jgaprune.inputs.text import sample_tokens, writes_text
from jgaprune.inputs.variation import variation_of, vary

__all__ = [
    "UNLIKE",
    "Inversion",
    "Synthesis",
    "can_invert",
    "gaussian_noise",
    "invert",
    "prepare",
    "sample_tokens",
    "synthesize",
    "unlikeness",
    "variation_of",
    "vary",
    "writes_text",
]
