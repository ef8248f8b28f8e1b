"""One-shot scores: the baselines, and the seeds and bases of a search.

A saliency is a function `params, layout, sparsity -> Scores`, or of a model and what it sees: one
score per prunable weight, not negative, such that ONE global threshold gives its mask. So every
saliency has an exact budget and can be a base of `spaces.offsets` and `spaces.bases`. A new one is
a function in a file here, one export, and one row in the tests' table.
"""

from jgaprune.saliency.activations import obs, wanda
from jgaprune.saliency.density import erk, row_magnitude, uniform_magnitude
from jgaprune.saliency.exact_obs import MOST_INPUTS, exact_obs
from jgaprune.saliency.gradual import gradual
from jgaprune.saliency.lookahead import lookahead
from jgaprune.saliency.magnitude import lamp, magnitude
from jgaprune.saliency.one_shot import minimum_per_layer, one_shot, protect, ranked
from jgaprune.saliency.sparse_gpt import sparse_gpt
from jgaprune.saliency.synflow import synflow

__all__ = [
    "MOST_INPUTS",
    "erk",
    "exact_obs",
    "gradual",
    "lamp",
    "lookahead",
    "magnitude",
    "minimum_per_layer",
    "obs",
    "one_shot",
    "protect",
    "ranked",
    "row_magnitude",
    "sparse_gpt",
    "synflow",
    "uniform_magnitude",
    "wanda",
]
