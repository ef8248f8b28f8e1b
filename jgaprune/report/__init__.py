"""What a run found, as numbers, text, plots and files."""

from jgaprune.report.evaluation import Run, accuracy, load_run, perplexity
from jgaprune.report.folder import SaveError, check_out, save_folder
from jgaprune.report.report import (
    LABELLED_OBJECTIVES,
    Baseline,
    History,
    LayerCount,
    Measure,
    Report,
)
from jgaprune.report.text import choice, comparison
from jgaprune.report.trust import Fitness, HeldOut, RankCorrelation, Trust

__all__ = [
    "LABELLED_OBJECTIVES",
    "Baseline",
    "Fitness",
    "HeldOut",
    "History",
    "LayerCount",
    "Measure",
    "RankCorrelation",
    "Report",
    "Run",
    "SaveError",
    "Trust",
    "accuracy",
    "check_out",
    "choice",
    "comparison",
    "load_run",
    "perplexity",
    "save_folder",
]
