"""Lookahead: the magnitude of a weight together with the weights before and behind it.

Park et al., "Lookahead: a far-sighted alternative of magnitude-based pruning", ICLR 2020.
"""

import jax.numpy as jnp

from jgaprune.masks import Layout
from jgaprune.types import Array, Params, Scores


def lookahead(params: Params, layout: Layout, sparsity: float) -> Scores:
    """Square times the squares of all weights into its input and out of its output.

    Layers follow each other as in the layout; between branches that is a guess. A layer before or
    behind does not count where its channels don't divide this one's, or where either of them is a
    vector. Args and result as in `magnitude`.

    >>> params = {"a": jnp.array([[1.0, 2.0]]), "b": jnp.array([[3.0], [1.0]])}
    >>> lookahead(params, Layout(("a", "b"), ((1, 2), (2, 1))), 0.5)["a"].tolist()
    [[9.0, 4.0]]
    """
    leaves = [jnp.square(params[name].astype(jnp.float32)) for name in layout.names]
    scores = {}
    for place, (name, squares) in enumerate(zip(layout.names, leaves, strict=True)):
        into = _into(leaves[place - 1], squares) if place else None
        out_of = _out_of(leaves[place + 1], squares) if leaves[place + 1 :] else None
        if into is not None:
            squares = squares * into[:, None]
        scores[name] = squares if out_of is None else squares * out_of
    return scores


def _into(before: Array, squares: Array) -> Array | None:
    """Sum of the squares that make each input; a flattened image repeats its channels."""
    if min(before.ndim, squares.ndim) < 2:
        return None
    sums = before.reshape(-1, before.shape[-1]).sum(0)
    repeats, rest = divmod(squares.shape[-2], sums.shape[0])
    return None if rest else jnp.tile(sums, repeats)


def _out_of(behind: Array, squares: Array) -> Array | None:
    """Sum of the squares that use each output."""
    if min(behind.ndim, squares.ndim) < 2:
        return None
    num_outputs = squares.shape[-1]
    sums = jnp.moveaxis(behind, -2, 0).reshape(behind.shape[-2], -1).sum(1)
    repeats, rest = divmod(sums.shape[0], num_outputs)
    return None if rest else sums.reshape(repeats, num_outputs).sum(0)
