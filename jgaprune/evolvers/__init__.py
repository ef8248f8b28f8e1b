"""Evolvers: how a population changes. evosax's verbs, `init`, `ask`, `tell`.

A new evolver is a file here with a builder that returns an `Evolver`, one export, and one row in
the tests' table.

What needs evosax is imported when it is asked for: importing evosax computes arrays, after which
a process can no longer be connected with others (`jgaprune.distributed`).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jgaprune.evolvers.genetic import genetic
from jgaprune.evolvers.level_switch import level_switch
from jgaprune.evolvers.paper import complement, paper, reciprocal
from jgaprune.evolvers.random_search import random_search
from jgaprune.evolvers.schedule import (
    CIFAR10_SCHEDULE,
    MNIST_SCHEDULE,
    Schedule,
    initial_population,
    schedule_named,
)

if TYPE_CHECKING:
    from jgaprune.evolvers.evosax_class import to_evosax
    from jgaprune.evolvers.evosax_evolver import evosax_algorithm, from_evosax

__all__ = [
    "CIFAR10_SCHEDULE",
    "MNIST_SCHEDULE",
    "Schedule",
    "complement",
    "evosax_algorithm",
    "from_evosax",
    "genetic",
    "initial_population",
    "level_switch",
    "paper",
    "random_search",
    "reciprocal",
    "schedule_named",
    "to_evosax",
]

_LATER = {
    "evosax_algorithm": "evosax_evolver",
    "from_evosax": "evosax_evolver",
    "to_evosax": "evosax_class",
}


def __getattr__(name: str) -> Any:
    """What needs evosax."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
