"""A search in chunks that the memory of a device has room for, also where that was misjudged.

A compiler says what its programs need, but not what else lies in a device's memory, and programs
of others may share it. So a search that runs out of memory all the same is built again with half
the chunk, and goes on from the generation before.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.agreement import largest
from jgaprune.engine.memory import Need, in_words, memory_limit, most_of, need_of, ran_out_of_memory
from jgaprune.engine.search import Search
from jgaprune.engine.state import Record, SearchState
from jgaprune.engine.strategy import Strategy
from jgaprune.types import Key

Build = Callable[[Strategy], Search]
"""A compiled search whose population is evaluated so."""


class TooLargeError(ValueError):
    """Even one candidate at a time needs more memory than there is.

    Attributes:
      strategy: that was tried last.
      need: of the most demanding program; None if it could not even be compiled.
      limit: bytes that there are; None if not known.
    """

    def __init__(self, strategy: Strategy, need: Need | None, limit: int | None):
        self.strategy, self.need, self.limit = strategy, need, limit
        needs = "more than can be compiled for" if need is None else in_words(need.total)
        there = "" if limit is None else f", of the {in_words(limit)} that there are"
        parts = ""
        if need is not None:
            held, made, temporary = map(in_words, need)
            parts = (
                f": {held} for weights, inputs and genomes, {made} for new ones, {temporary} for "
                "masks, masked weights and activations"
            )
        super().__init__(f"the search ({strategy}) needs {needs}{there}{parts}")


class Fitting:
    """A search that is built again with smaller chunks when memory runs out.

    Attributes:
      search: to run.
      strategy: that it has now.
      warnings: what was changed while it ran.
    """

    def __init__(
        self, build: Build, strategy: Strategy, limit: int | None, *, shrinks: bool = True
    ):
        """Builds it.

        Args:
          build: makes it.
          strategy: with the largest chunk that is to be tried.
          limit: bytes of a device; None for what it has.
          shrinks: whether smaller chunks are tried before there is an error.

        Raises:
          TooLargeError: it does not fit.
        """
        self._build, self._limit, self._shrinks = build, limit, shrinks
        self.warnings: list[str] = []
        self.strategy = strategy
        self._search = self._fitted()
        self.search = self._search._replace(init=self._init, step=self._step, run=self._run)

    def _fitted(self) -> Search:
        while True:
            search, need, room = self._tried()
            has_room = search is not None and (need is None or room is None or need.total <= room)
            # Processes, which may differ in room, must run the same program.
            if not largest(int(not has_room)):
                assert search is not None
                return search
            if self.strategy.chunk == 1 or not self._shrinks:
                raise TooLargeError(self.strategy, need, room)
            next_one = self.strategy if has_room else smaller(self.strategy, need, room)
            self.strategy = replace(self.strategy, chunk=-largest(-next_one.chunk))

    def _tried(self) -> tuple[Search | None, Need | None, int | None]:
        """The search, what it needs and what there is; None where there was no room to compile."""
        try:
            search = self._build(self.strategy)
        except Exception as error:  # compilers measure on the device, too
            if not ran_out_of_memory(error):
                raise
            return None, None, self._limit
        room = _room(search) if self._limit is None else self._limit
        return search, most_of(search.programs), room

    def _init(self, key: Key) -> tuple[SearchState, Record]:
        return self._trying(lambda search, key: search.init(key), key)

    def _step(self, state: SearchState) -> tuple[SearchState, Record]:
        return self._trying(lambda search, state: search.step(state), state)

    def _run(self, state: SearchState, generations: int) -> tuple[SearchState, Record]:
        return self._trying(lambda search, state: search.run(state, generations), state)

    def _trying(self, act: Callable[[Search, Any], Any], given: Any) -> Any:
        """Acts on a state or a key, of which there is a copy as long as chunks can get smaller."""
        while self.strategy.chunk > 1 and jax.process_count() == 1:
            kept = jax.tree.map(_on_host, given)
            try:
                return jax.block_until_ready(act(self._search, given))
            except Exception as error:  # allocators have many kinds of them
                if not ran_out_of_memory(error):
                    raise
                self._halve()  # before what was kept takes room again
                given = jax.tree.map(_back, kept, given)
        return act(self._search, given)

    def _halve(self) -> None:
        before, self.strategy = self.strategy, smaller(self.strategy)
        self._shrinks = True  # what was asked for has failed
        self._search = self._fitted()
        self.warnings.append(
            f"The device ran out of memory with {before}: the search went on with {self.strategy}, "
            "from the generation before."
        )


def smaller(strategy: Strategy, need: Need | None = None, room: int | None = None) -> Strategy:
    """The same with half the chunk; with less, where it is known that half would not fit.

    What lies between arguments and results grows with the chunk, nearly in proportion.
    """
    half = strategy.chunk // 2
    if need is not None and room is not None:
        left = room - need.held - need.made
        half = min(half, strategy.chunk * left // max(1, need.temporary))
    return replace(strategy, chunk=max(1, half))


def _room(search: Search) -> int | None:
    """What a device has for the programs of a search, beside what else lies there.

    The first program's arguments lie there already.
    """
    limit, first = memory_limit(), need_of(search.programs[0]) if search.programs else None
    stats = jax.local_devices()[0].memory_stats() or {}
    if limit is None or first is None:
        return limit
    others = max(0, stats.get("bytes_in_use", first.held) - first.held)
    return limit - others


def _on_host(leaf: Any) -> np.ndarray:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.array(jax.random.key_data(leaf) if is_key else leaf)


def _back(host: np.ndarray, was: Any) -> Any:
    """An array like the one that this was copied from, which may be gone."""
    if jnp.issubdtype(was.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(host), impl=jax.random.key_impl(was))
    return jnp.asarray(host)
