"""`with_strategy`: a function whose plain `jax.vmap` runs as a strategy says."""

from collections.abc import Callable
from typing import Any

import jax
from jax.custom_batching import custom_vmap

from jgaprune.engine.strategy import Strategy, map_population


def with_strategy(function: Callable[..., Any], strategy: Strategy) -> Callable[..., Any]:
    """The same function of one candidate; `jax.vmap` over it evaluates a population.

    For code of your own around a search: it keeps `vmap`, and the machine gets what it runs
    well, inside of `jit` and `scan`, too. Reverse-mode derivatives are lost.

    Args:
      function: arrays in pytrees to arrays in pytrees; what `vmap` does not map over is shared by
        all candidates.
      strategy: how a population is evaluated.

    >>> import jax.numpy as jnp
    >>> shifted = with_strategy(jnp.add, Strategy("unrolled", 2))
    >>> jax.vmap(shifted, in_axes=(0, None))(jnp.arange(3), 10).tolist()
    [10, 11, 12]
    """
    mapped = custom_vmap(function)

    @mapped.def_vmap
    def _population(size: int, batched: Any, *arguments: Any) -> tuple[Any, Any]:
        leaves, tree = jax.tree.flatten(arguments)
        is_member = jax.tree.leaves(tuple(batched))

        def one(members: list[Any]) -> Any:
            rest = iter(members)
            filled = [
                next(rest) if member else leaf
                for member, leaf in zip(is_member, leaves, strict=True)
            ]
            return function(*jax.tree.unflatten(tree, filled))

        members = [leaf for member, leaf in zip(is_member, leaves, strict=True) if member]
        results = map_population(strategy, one, members)
        return results, jax.tree.map(lambda leaf: True, results)

    return mapped
