"""Trees of arrays on disk, through Orbax; the only place that imports it."""

from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp


def save_tree(path: str | Path, tree: Any) -> None:
    """Writes a pytree of arrays into a new folder; Orbax renames it into place at the end.

    Raises:
      ValueError: the folder exists.
    """
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path(path).absolute(), tree)
