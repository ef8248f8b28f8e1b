"""Evolvers: how a population changes. evosax's verbs, `init`, `ask`, `tell`.

A new evolver is a file here with a builder that returns an `Evolver`, one export, and one row in
the tests' table.
"""

from jgaprune.evolvers.from_evosax import evosax_algorithm, from_evosax
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
from jgaprune.evolvers.to_evosax import to_evosax

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
