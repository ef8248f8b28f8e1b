"""Shared types: array aliases, shape letters and the protocols that parts meet at.

Shape letters used in every docstring:
`P` population, `G` genes, `W` words of a packed genome, `T` generations, `N` inputs,
`C` classes, `L` tokens of a window, `V` tokens of a vocabulary.

A bundle of functions here is also a pytree. Its functions are `jax.tree_util.Partial`s of
module-level functions: the arrays that a function needs are leaves, and everything static
hashes by value. So weights and inputs are arguments of a compiled program, never constants
in it, and two equal searches share one program.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Array = jax.Array
Key = jax.Array
"""A typed PRNG key, `jax.random.key(seed)`."""

Params = dict[str, Array]
"""Parameters by leaf name (`layer1.0.conv1.kernel`), in Flax layout."""
Buffers = dict[str, Array]
"""Non-trained state by leaf name; a batch-norm `bn1` owns `bn1.mean` and `bn1.var`."""
Masks = dict[str, Array]
"""Boolean masks of the prunable leaves, shaped like them; True where the weight stays."""
Scores = dict[str, Array]
"""One float per prunable weight, shaped like the leaf; a larger score is kept longer."""

Genome = Any
"""What evolution changes for one candidate: `uint32 [W]`, `int32 [G]` or `float32 [G]`."""
Genomes = Any
"""A population of genomes: the same with a leading axis `P`."""
Fitness = Array
"""`float32 [P]`; lower is better."""


class Norm(NamedTuple):
    """Statistics of one normalisation layer.

    Attributes:
      mean: `float32 [channels]`.
      var: `float32 [channels]`, biased variance.
    """

    mean: Array
    var: Array


class NormRecord(NamedTuple):
    """What one normalisation layer saw and used in one forward pass."""

    batch: Norm
    used: Norm


NormRule = Callable[[str, Norm, Norm], Norm]
"""`rule(name, batch, stored) -> used`: the statistics a normalisation layer shall use."""


class MaskSpace(NamedTuple):
    """What a genome means. Every genome decodes to masks of exactly the same budget.

    Attributes:
      sample: `key -> genome`, a random legal genome.
      decode: `genome -> masks`.
      encode: `masks -> genome`, exact where the masks have a genome, else the nearest one;
        None where the space cannot express masks at all.
      mutate: `key, genome, strength -> genome`; strength `float32 []` in 0..1.
      cross: `key, genome, genome -> genome`, a child of two parents.
      strength: the smallest and the largest mutation strength that suit the space.
      mutation_cost: evaluations that one mutation costs on average, 0 where it evaluates nothing.
        A search counts it for every child, rounded up per generation; a number, never traced.
    """

    sample: Callable[[Key], Genome]
    decode: Callable[[Genome], Masks]
    encode: Callable[[Masks], Genome] | None
    mutate: Callable[[Key, Genome, Array], Genome]
    cross: Callable[[Key, Genome, Genome], Genome]
    strength: tuple[float, float] = (0.02, 0.5)
    mutation_cost: float = 0.0


class Score(NamedTuple):
    """What an objective says of one candidate.

    Attributes:
      fitness: `float32 []`, what is minimised.
      loss: `float32 []`, the same quantity in the objective's natural unit and sign.
      kept: `int32 []`, number of weights the masks keep.
    """

    fitness: Array
    loss: Array
    kept: Array


Objective = Callable[[Key, Masks], Score]
"""Scores one candidate; repair, if any, happens inside."""


class Repair(NamedTuple):
    """What is done to a masked model, without data, before it is used.

    Attributes:
      inputs: `[N, ...]`, the model inputs whose logits `fit` returns; it works on them or on
        some of them.
      fit: `masked params, buffers -> (logits [N, C] on these inputs, params, buffers)`.
    """

    inputs: Array
    fit: Callable[[Params, Buffers], tuple[Array, Params, Buffers]]


class Evolver(NamedTuple):
    """An evolutionary algorithm: evosax's verbs and order, for whole populations.

    A state that is a NamedTuple with the fields `genomes` and `fitness` of the members that it
    keeps, and `traits` if more belongs to each of them, lets these members go on elsewhere: in
    the next stage of a run, or on another island.

    Attributes:
      init: `key, genomes, fitness -> state` from an evaluated population.
      ask: `key, state -> (genomes, state)`, the candidates to evaluate next.
      tell: `key, genomes, fitness, state -> state`.
      restage: `state -> evolver` for the next generation, decided on the host; None for an
        evolver that never changes its population or settings.
    """

    init: Callable[[Key, Genomes, Fitness], Any]
    ask: Callable[[Key, Any], tuple[Genomes, Any]]
    tell: Callable[[Key, Genomes, Fitness, Any], Any]
    restage: Callable[[Any], "Evolver"] | None = None
