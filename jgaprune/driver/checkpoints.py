"""Where and how often a run is kept on the disk."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Checkpoints:
    """Where a run keeps what it needs to go on after it was stopped, and how often.

    Attributes:
      folder: of the run's own; is made where it is missing.
      every: a whole number of generations, or a time such as "30s", "5m" or "2h". A run that ends,
        or is stopped by an exception, is kept at once.
      keep: checkpoints kept, the newest ones; older ones serve where a newer is damaged.
      resume: whether a run that is in the folder is gone on with; otherwise it is refused. In an
        empty folder a new one begins either way.
      further: whether budgets count from where the run stands, not from its beginning.
      command: what a program wants to find again in the folder, as JSON values.
    """

    folder: str | Path
    every: int | str = "60s"
    keep: int = 2
    resume: bool = False
    further: bool = False
    command: Mapping[str, object] | None = None

    def faults(self) -> list[str]:
        """What is wrong with it, in words.

        >>> Checkpoints("run", every="often").faults()
        ["checkpoints every 'often': expected generations, or a time such as 30s, 5m or 2h"]
        """
        faults = []
        try:
            self.interval()
        except ValueError as error:
            faults.append(str(error))
        if not isinstance(self.keep, int) or self.keep < 1:
            faults.append(f"checkpoints to keep must be at least 1, got {self.keep!r}")
        return faults

    def interval(self) -> tuple[int | None, float | None]:
        """Generations, or seconds.

        Raises:
          ValueError: it is neither.

        >>> Checkpoints("run", every="5m").interval(), Checkpoints("run", every=3).interval()
        ((None, 300.0), (3, None))
        """
        text = str(self.every).strip()
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
        number = float(found[1]) if found else 0.0
        if not found or number <= 0 or (not found[2] and number != int(number)):
            raise ValueError(
                f"checkpoints every {self.every!r}: expected generations, or a time such as 30s, "
                "5m or 2h"
            )
        if found[2]:
            return None, number * _SECONDS[found[2]]
        return int(number), None


def as_checkpoints(given: "str | Path | Checkpoints | None") -> Checkpoints | None:
    """What `prune` was given; a folder alone is kept in every minute."""
    return Checkpoints(given) if isinstance(given, str | Path) else given
