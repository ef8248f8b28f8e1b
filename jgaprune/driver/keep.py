"""What a loop tells of itself to what keeps the run on the disk; here, nothing does."""

from collections.abc import Callable
from typing import Any, Protocol

from jgaprune.driver.progression import Progression
from jgaprune.report import History


class Keep(Protocol):
    """What keeps a run."""

    def begin(self, history: History) -> None:
        """Before anything else: what the run has done already."""

    def block(self, done: Progression) -> None:
        """After every block of generations, and after generation 0."""

    def stopped(self, done: Progression) -> None:
        """When the run ends early."""

    def stage(self, told: Callable[[], dict[str, Any]]) -> None:
        """When a search begins: what says, at any time, what is to be known of it, as JSON."""

    def ended(self, done: Progression) -> None:
        """When a search has used its budget."""

    def generations_left(self, done: Progression) -> int:
        """Until it wants to keep the run again, if it counts generations."""


class _NothingKept:
    def begin(self, history: History) -> None:
        pass

    def block(self, done: Progression) -> None:
        pass

    def stopped(self, done: Progression) -> None:
        pass

    def stage(self, told: Callable[[], dict[str, Any]]) -> None:
        pass

    def ended(self, done: Progression) -> None:
        pass

    def generations_left(self, done: Progression) -> int:
        return 2**20


NOTHING_KEPT = _NothingKept()
