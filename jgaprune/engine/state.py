"""What a search carries, and what the host sees of it: two different types."""

from typing import Any, NamedTuple

from jgaprune.types import Array, Genome, Key


class Best(NamedTuple):
    """The best candidate ever seen.

    Attributes:
      genome: one genome.
      fitness: `float32 []`.
    """

    genome: Genome
    fitness: Array


class SearchState(NamedTuple):
    """What is carried from generation to generation.

    Attributes:
      key: typed PRNG key of the generations to come.
      evolver: the evolver's own state.
      best: the best candidate ever seen.
      evaluations: `int32 []`, full evaluations counted so far; a look counts as its share.
      failures: `int32 []`, evaluations whose fitness was NaN.
    """

    key: Key
    evolver: Any
    best: Best
    evaluations: Array
    failures: Array


class Record(NamedTuple):
    """What the host sees of one generation; scalars, or `[T]` from `run`.

    Attributes:
      best: `float32 []`, best fitness ever.
      mean_fitness: `float32 []`, mean of this generation's finite fitness values.
      diversity: `float32 []`, mean distance between neighbours in the evaluated population:
        share of differing bits of packed genomes, absolute difference of levels and real genes.
      evaluations: `int32 []`, full evaluations counted so far; a look counts as its share.
    """

    best: Array
    mean_fitness: Array
    diversity: Array
    evaluations: Array
