"""How a population is evaluated: the same fitness, by different device code.

Which strategy is fastest depends on the network, the number of inputs and the machine; nothing
else in the library knows of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jgaprune.ops import (
    Rule,
    hoisted,
    lowered,
    lowered_rules,
    masked_dot,
    matmul_convolution,
    rewrite,
)

FORMS = ("sequential", "vmap", "matmul", "kernel", "unrolled")
DTYPES = ("float32", "bfloat16")


@jax.tree_util.register_static
@dataclass(frozen=True)
class Strategy:
    """How the candidates of a population are evaluated. Static: hashes by value.

    Attributes:
      form: "sequential", one candidate after another; "vmap", chunks of a population in one
        batched pass, as XLA batches it; "matmul", the same with convolutions as batched matrix
        products; "kernel", that with dense products in a kernel that unpacks the masks itself;
        "unrolled", the candidates of a chunk side by side in one program.
      chunk: candidates per pass; memory grows with it. "sequential" has 1.
      dtype: of the operands of matrix products and convolutions; everything else, and their
        sums, is float32, and so is what is the same for all candidates and computed once.

    Raises:
      ValueError: a field is none of these.
    """

    form: str = "sequential"
    chunk: int = 1
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, got {self.form!r}.")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}.")
        if self.chunk < 1 or (self.form == "sequential" and self.chunk != 1):
            raise ValueError(f"chunk must be at least 1 (sequential: 1), got {self.chunk}.")

    def __str__(self) -> str:
        """For reports: form, chunk and dtype, without what goes without saying."""
        chunk = "" if self.form == "sequential" else f" of {self.chunk}"
        return f"{self.form}{chunk}" + ("" if self.dtype == "float32" else f", {self.dtype}")


SEQUENTIAL = Strategy()


def map_population(strategy: Strategy, score: Callable[[Any], Any], genomes: Any) -> Any:
    """`score` of every genome; the one place where a population is mapped over.

    Args:
      strategy: how.
      score: of one genome.
      genomes: pytree with leading axis `P`.

    Returns:
      What `score` returns, with leading axis `P`.
    """
    score = hoisted(score, jax.tree.map(_one_of, genomes))
    rules, masked_rules = _rules(strategy), _masked_rules(strategy)
    if rules or masked_rules:
        score = rewrite(score, rules, masked_rules)
    if strategy.chunk == 1:
        return jax.lax.map(score, genomes)
    if strategy.form != "unrolled":
        return jax.lax.map(score, genomes, batch_size=strategy.chunk)
    return _unrolled(score, genomes, strategy.chunk)


def _one_of(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)


def _rules(strategy: Strategy) -> dict[str, Rule]:
    """What the strategy changes in the program of one candidate."""
    rules = lowered_rules(strategy.dtype)
    if strategy.form in ("matmul", "kernel"):
        low = strategy.dtype != "float32"
        convolve = lowered(matmul_convolution, strategy.dtype) if low else matmul_convolution
        rules["conv_general_dilated"] = convolve
    return rules


def _masked_rules(strategy: Strategy) -> dict[str, Rule]:
    """Likewise, where the second operand is masked weights."""
    if strategy.form != "kernel":
        return {}
    low = strategy.dtype != "float32"
    return {"dot_general": lowered(masked_dot, strategy.dtype) if low else masked_dot}


def _unrolled(score: Callable[[Any], Any], genomes: Any, chunk: int) -> Any:
    """Chunks one after another; the candidates of a chunk have no order among them."""
    population = jax.tree.leaves(genomes)[0].shape[0]
    whole = population - population % chunk

    def several(members: Any, count: int) -> Any:
        one_by_one = [score(jax.tree.map(lambda leaf, i=i: leaf[i], members)) for i in range(count)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *one_by_one)

    parts = []
    if whole:
        chunks = jax.tree.map(
            lambda leaf: leaf[:whole].reshape(-1, chunk, *leaf.shape[1:]), genomes
        )
        done = jax.lax.map(partial(several, count=chunk), chunks)
        parts.append(jax.tree.map(lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), done))
    if whole < population:
        rest = jax.tree.map(lambda leaf: leaf[whole:], genomes)
        parts.append(several(rest, population - whole))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
