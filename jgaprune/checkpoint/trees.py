"""Trees of arrays on disk, through Orbax."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jgaprune.checkpoint.alone import alone

_NAME = "tree"


def save_tree(path: str | Path, tree: Any) -> None:
    """Writes a pytree of arrays into a new folder; Orbax renames it into place at the end.

    Of several processes, the one that calls it writes, and waits for no other.

    Raises:
      ValueError: the folder exists.
    """
    if jax.process_count() > 1:  # where Orbax takes no array that lies on one process's device
        tree = jax.tree.map(np.asarray, tree)
    with ocp.StandardCheckpointer(multiprocessing_options=alone(_NAME)) as checkpointer:
        checkpointer.save(Path(path).absolute(), tree)
