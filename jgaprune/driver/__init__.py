"""`prune()`: from a model and a sparsity to a report, with every default wired."""

from jgaprune.driver.choices import EVOLVERS, OBJECTIVES, SPACES
from jgaprune.driver.progress import Progress
from jgaprune.driver.prune import prune

__all__ = ["EVOLVERS", "OBJECTIVES", "SPACES", "Progress", "prune"]
