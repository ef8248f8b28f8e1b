"""Handing a population over from one space to another: from coarse to fine, mostly.

A search over few genes finds the right budget per layer soon and then has nothing more to say. Its
population, in a space with more genes, is where the next search starts.
"""

import jax
from jax.tree_util import Partial

from jgaprune.engine.search import as_pytree
from jgaprune.types import Genome, Genomes, MaskSpace


def refine(coarse: MaskSpace, fine: MaskSpace, genomes: Genomes) -> Genomes:
    """The genomes of another space for the masks of a population; seeds of its search.

    The masks stay the same where the fine space has genomes for them: from `levels` to `offsets`,
    on to finer offsets and to `weights`, if all are built on one saliency and for one sparsity.
    Otherwise they are the nearest that it has.

    Args:
      coarse: the space of `genomes`.
      fine: a space for the same network.
      genomes: of the coarse space, with leading axis `P`; those of a finished search are in its
        evolver's state, `state.evolver.genomes`.

    Returns:
      Genomes of the fine space, in the same order.

    Raises:
      ValueError: the fine space cannot express masks, or is for another network.

    >>> from jgaprune.masks import Layout
    >>> from jgaprune.spaces import offsets, weights
    >>> layout, scores = Layout(("w",), ((4,),)), {"w": jnp.arange(4.0)}
    >>> coarse, fine = (build(scores, layout, 0.5) for build in (offsets, weights))
    >>> refine(coarse, fine, jnp.zeros((1, 1))).tolist()
    [[12]]
    """
    if fine.encode is None:
        raise ValueError(
            "the fine space has no genomes for given masks, as its `encode` is None. Use one that "
            "has, or start its search from its own samples."
        )
    expected, found = (_shapes(space) for space in (fine, coarse))
    if expected != found:
        raise ValueError(
            f"the coarse space has masks for {found}, the fine one for {expected}. Build both "
            "from one model's layout."
        )
    return _refined(as_pytree(coarse.decode), as_pytree(fine.encode), genomes)


def _shapes(space: MaskSpace) -> dict[str, tuple[int, ...]]:
    """Shape of each leaf's mask."""
    masks = jax.eval_shape(lambda key: space.decode(space.sample(key)), jax.random.key(0))
    return {name: mask.shape for name, mask in masks.items()}


@jax.jit
def _refined(decode: Partial, encode: Partial, genomes: Genomes) -> Genomes:
    def one(genome: Genome) -> Genome:
        return encode(decode(genome))

    return jax.lax.map(one, genomes)
