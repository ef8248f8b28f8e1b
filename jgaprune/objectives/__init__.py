"""Objectives: how good one set of masks is. Lower fitness is better.

The label-free ones compare the masked (and repaired) network with the dense one on the same
inputs. `cross_entropy` and `accuracy` use labels: the paper's setting, never the default. A new
objective is a function `logits, reference -> (fitness, loss)` and a builder in a file here, one
export, and one row in the tests' table.
"""

from jgaprune.objectives.divergence import (
    compare_distributions,
    compare_distributions_reversed,
    compare_top,
    compare_top_reversed,
    kl,
    reverse_kl,
    top_outputs,
)
from jgaprune.objectives.features import (
    Features,
    compare_features,
    feature_distance,
    features_of,
)
from jgaprune.objectives.labels import accuracy, compare_labels, compare_likelihood, cross_entropy
from jgaprune.objectives.outputs import (
    agreement,
    compare_decisions,
    compare_directions,
    compare_logits,
    compare_outputs,
    compare_probabilities,
    logit_cosine,
    logit_mse,
    output_distance,
    total_variation,
)
from jgaprune.objectives.weighted import weighted_sum

__all__ = [
    "Features",
    "accuracy",
    "agreement",
    "compare_decisions",
    "compare_directions",
    "compare_distributions",
    "compare_distributions_reversed",
    "compare_features",
    "compare_labels",
    "compare_likelihood",
    "compare_logits",
    "compare_outputs",
    "compare_probabilities",
    "compare_top",
    "compare_top_reversed",
    "cross_entropy",
    "feature_distance",
    "features_of",
    "kl",
    "logit_cosine",
    "logit_mse",
    "output_distance",
    "reverse_kl",
    "top_outputs",
    "total_variation",
    "weighted_sum",
]
