"""`prune()`: from a model and a sparsity to a report, with every default wired."""

from jgaprune.driver.choices import EVOLVERS, OBJECTIVES, REPAIRS, SPACES
from jgaprune.driver.progress import Progress
from jgaprune.driver.prune import prune
from jgaprune.driver.racing import Looks, Racing

__all__ = [
    "EVOLVERS",
    "OBJECTIVES",
    "REPAIRS",
    "SPACES",
    "Looks",
    "Progress",
    "Racing",
    "prune",
]
