"""Whether all processes of a run were asked for the same, or else would wait for each other."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax

from jgaprune.agreement import shared, together
from jgaprune.driver.manifest import changed_surroundings, differences, manifest_of
from jgaprune.model import Model


def check_alike(model: Model, call: Mapping[str, Any]) -> None:
    """Compares this process's call with that of the first.

    Args:
      model: the dense network.
      call: what decides the result, and how long it takes.

    Raises:
      ValueError: on all processes, if one of them was asked for something else.
    """
    if jax.process_count() == 1:
        return
    own = manifest_of(model, call, None)
    first = json.loads(shared(json.dumps(own).encode()))
    together(partial(_compare, first, own))


def _compare(first: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    if found := [*differences(first, own), *changed_surroundings(first, own)]:
        raise ValueError(
            f"another run than that of process 0 was asked for: {'; '.join(found)}. All processes "
            "make the same call, with the same files and versions, on machines of one kind."
        )
