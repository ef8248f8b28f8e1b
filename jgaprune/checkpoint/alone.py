"""Orbax on one of several processes: by default it waits for all of them to do the same."""

import jax
from orbax.checkpoint.options import MultiprocessingOptions


def alone(name: str) -> MultiprocessingOptions:
    """Options for what this process writes and reads alone, told apart by a name."""
    own = jax.process_index()
    return MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=name
    )
