"""Evolvers: how a population changes. evosax's verbs, `init`, `ask`, `tell`."""

from jgaprune.evolvers.genetic import genetic

__all__ = ["genetic"]
