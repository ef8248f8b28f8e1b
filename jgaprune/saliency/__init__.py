"""One-shot scores: the baselines, and the seeds and bases of a search.

A saliency is a function `params, layout, sparsity -> Scores`: one positive float per prunable
weight, such that ONE global threshold gives its mask. So every saliency has an exact budget and
can be the base of `spaces.offsets`. A new one is a function in a file here, one export, and one
row in the tests' table.
"""

from jgaprune.saliency.density import erk, uniform_magnitude
from jgaprune.saliency.magnitude import lamp, magnitude
from jgaprune.saliency.one_shot import minimum_per_layer, one_shot, protect

__all__ = [
    "erk",
    "lamp",
    "magnitude",
    "minimum_per_layer",
    "one_shot",
    "protect",
    "uniform_magnitude",
]
