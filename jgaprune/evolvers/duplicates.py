"""Children that are no news: mutated once more, before anything is spent on their evaluation.

What is known of a genome is its fingerprint, made where the genome is made and carried along.
"""

import jax
import jax.numpy as jnp

from jgaprune.packed import fingerprint
from jgaprune.types import Array, Genomes, Key, MaskSpace


def without_duplicates(
    space: MaskSpace, key: Key, children: Genomes, prints: Array, known: Array, strength: Array
) -> tuple[Genomes, Array]:
    """The children, those mutated again that are like a known genome or an earlier child.

    Args:
      space: mutates.
      key: PRNG key.
      children: leading axis `P`.
      prints: `uint32 [P]`, their fingerprints.
      known: `uint32 [Q]`, fingerprints of genomes that were evaluated before.
      strength: `float32 [P]`, of their mutations.

    Returns:
      The children and their fingerprints. Some may still be like others: nobody tries a third time.
    """
    earlier = jnp.tri(prints.size, k=-1, dtype=bool)
    repeated = jnp.any(prints[:, None] == known, axis=1)
    repeated |= jnp.any((prints[:, None] == prints) & earlier, axis=1)

    def again(carry: tuple[Genomes, Array, Array]) -> tuple[Genomes, Array, Array]:
        children, prints, repeated = carry
        row = jnp.argmax(repeated)
        child = jax.tree.map(lambda leaf: leaf[row], children)
        child = space.mutate(jax.random.fold_in(key, row), child, strength[row])
        children = jax.tree.map(lambda leaf, one: leaf.at[row].set(one), children, child)
        return children, prints.at[row].set(fingerprint(child)), repeated.at[row].set(False)

    # One after another: mostly there are none, and then this costs nothing.
    carry = (children, prints, repeated)
    children, prints, _ = jax.lax.while_loop(lambda carry: jnp.any(carry[2]), again, carry)
    return children, prints
