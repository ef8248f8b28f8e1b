"""`prune()`: from a model and a sparsity to a report, with every default wired."""

from jgaprune.driver.checkpoints import Checkpoints
from jgaprune.driver.choices import EVOLVERS, OBJECTIVES, REPAIRS, SPACES
from jgaprune.driver.forecast import Forecast, StageNeed
from jgaprune.driver.progress import Progress
from jgaprune.driver.prune import plan_memory, prune
from jgaprune.driver.racing import Looks, Racing
from jgaprune.driver.run_folder import MANIFEST

__all__ = [
    "EVOLVERS",
    "MANIFEST",
    "OBJECTIVES",
    "REPAIRS",
    "SPACES",
    "Checkpoints",
    "Forecast",
    "Looks",
    "Progress",
    "Racing",
    "StageNeed",
    "plan_memory",
    "prune",
]
