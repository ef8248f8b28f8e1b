"""Dense products for populations of masks: mask bits are unpacked beside the matmul tile.

For one candidate it is the plain product. For a population every candidate has weights of its
own, 32 bits each where a mask has one, and with few inputs reading them is the whole cost. This
kernel reads the bits, and the weights that all candidates share. Packing the bits comes before:
whether it pays is measured (`engine.tuning`), and nowhere assumed.

Bits lie along the rows. A word holds 32 planes: bit `j` of the words `[R, O]` is the mask of the
rows `j R .. (j + 1) R` of the weights. So a tile of words unpacks by one shift that is the same
for all of its elements into the mask of a tile of weights: no gather, no concatenation, no change
of shape, none of which both compilers have.
https://github.com/jax-ml/jax/issues/24292, https://docs.jax.dev/en/latest/pallas/tpu/details.html

GPUs go through Triton, which takes every card since Ampere; Pallas' other compiler for them needs
Hopper, and kernels of its own kind. JAX 0.12 announces the end of that route: where it is gone, the
kernel fails to compile, and tuning leaves it out.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.experimental import pallas as pl

from jgaprune.masks import WORD_BITS, jgaprune_masked
from jgaprune.types import Array

_MOST_ELEMENTS = 2**31 - 1


class Tiling(NamedTuple):
    """How a product `[M, K] x [K, O]` is cut. Static.

    Attributes:
      inputs: rows of `x` per tile.
      rows: rows of the weights per plane.
      outputs: columns of the weights per tile.
      planes: bits in use of a word; the rows of a slab are `planes * rows`.
      slabs: parts of `K` whose products are added up afterwards.
    """

    inputs: int
    rows: int
    outputs: int
    planes: int
    slabs: int

    @property
    def depth(self) -> int:
        """`K` with padding."""
        return self.slabs * self.planes * self.rows


def masked_product(x: Array, weights: Array, mask: Array, precision: Any = None) -> Array:
    """`x @ where(mask, weights, 0)`, which `vmap` over masks turns into one kernel.

    Args:
      x: `[M, K]`, float32 or bfloat16; `vmap` may map over it or not.
      weights: `[K, O]`, of the same type; shared by all candidates.
      mask: `bool [K, O]`.
      precision: of the product, as for `jnp.matmul`.

    Returns:
      `float32 [M, O]`.
    """

    def plain(x: Array, weights: Array, mask: Array) -> Array:
        kept = jgaprune_masked(weights, mask)
        return jnp.matmul(x, kept, precision=precision, preferred_element_type=jnp.float32)

    product = custom_vmap(plain)

    @product.def_vmap
    def _batched(
        size: int, batched: list[bool], x: Array, weights: Array, mask: Array
    ) -> tuple[Array, bool]:
        _, weights_batched, mask_batched = batched
        if mask_batched and not weights_batched:
            return population_product(x, weights, mask, precision), True
        axes = tuple(0 if one else None for one in batched)
        return jax.vmap(plain, in_axes=axes)(x, weights, mask), True

    return product(x, weights, mask)


def masked_dot(x: Array, weights: Array, mask: Array, **parameters: Any) -> Array:
    """A rule (`ops.rewrite`) for `dot_general` of inputs and masked weights.

    Args:
      x: `[..., K]`.
      weights: `[K, O]`; other contractions and types are computed as they are.
      mask: bool, of the same shape.
      **parameters: those of the primitive `dot_general`.

    Returns:
      `[..., O]`, equal up to rounding to what the primitive returns.
    """
    last_with_first = (((x.ndim - 1,), (0,)), ((), ()))
    ordinary = weights.ndim == 2 and parameters["dimension_numbers"] == last_with_first
    if not ordinary or x.dtype != weights.dtype or x.dtype not in (jnp.float32, jnp.bfloat16):
        return jax.lax.dot_general_p.bind(x, jgaprune_masked(weights, mask), **parameters)
    rows = x.reshape(-1, x.shape[-1])
    y = masked_product(rows, weights, mask, parameters["precision"])
    dtype = parameters["preferred_element_type"] or x.dtype
    return y.reshape(*x.shape[:-1], weights.shape[-1]).astype(dtype)


def population_product(
    x: Array, weights: Array, masks: Array, precision: Any = None, *, backend: str | None = None
) -> Array:
    """The masked products of a population, by the kernel.

    Args:
      x: `[M, K]` for all candidates, or `[P, M, K]`; float32 or bfloat16.
      weights: `[K, O]`, of the same type.
      masks: `bool [P, K, O]`.
      precision: of the product, as for `jnp.matmul`; sums are float32 in any case.
      backend: static; "gpu" and "tpu" compile the kernel, any other interprets it as ordinary
        operations. By default the one in use.

    Returns:
      `float32 [P, M, O]`.

    Raises:
      ValueError: an operand of the population or the result has more elements than int32 counts.
    """
    backend = backend or jax.default_backend()
    tiling = tiling_for(x.shape[-2], *weights.shape, backend=backend)
    words = pack_planes(masks, tiling)
    return _packed_product(x, weights, words, tiling, precision, backend)


def tiling_for(num_inputs: int, depth: int, num_outputs: int, *, backend: str) -> Tiling:
    """Tiles that the backend's compiler takes.

    Triton wants powers of two from 16 on; registers hold a tile of words, one of weights and the
    sums. Mosaic on TPU wants the last two sizes in multiples of 8 (16 for bfloat16) and 128, and
    a slab of 32 planes of each operand in its vector memory.
    """
    if backend == "tpu":
        inputs, rows, outputs = _power_of_two(num_inputs, 16, 128), 128, 128
    else:
        inputs, outputs = _power_of_two(num_inputs, 16, 64), _power_of_two(num_outputs, 16, 64)
        rows = _power_of_two(pl.cdiv(depth, WORD_BITS), 16, 64)
    slabs = pl.cdiv(depth, WORD_BITS * rows)
    return Tiling(inputs, rows, outputs, pl.cdiv(depth, slabs * rows), slabs)


def pack_planes(masks: Array, tiling: Tiling) -> Array:
    """Packs `bool [P, K, O]` into `uint32 [P, slabs * rows, O]`, padded as the kernel needs it."""
    masks = _padded(masks, tiling.depth, tiling.outputs)
    shape = (masks.shape[0], tiling.slabs, tiling.planes, tiling.rows, masks.shape[-1])
    planes = masks.reshape(shape)
    # A sum over shifted planes would have XLA on TPU write 32 bits for each of them.
    words = jnp.zeros((), jnp.uint32)
    for plane in range(tiling.planes):
        words |= planes[:, :, plane].astype(jnp.uint32) << plane
    return words.reshape(masks.shape[0], tiling.slabs * tiling.rows, masks.shape[-1])


def _packed_product(
    x: Array, weights: Array, words: Array, tiling: Tiling, precision: Any, backend: str
) -> Array:
    """`population_product` of masks that `pack_planes` has packed."""
    num_inputs, num_outputs = x.shape[-2], weights.shape[-1]
    if x.dtype == jnp.bfloat16:
        precision = None  # its products are exact in float32, and Mosaic refuses to be told more
    x = _padded(x, tiling.inputs, tiling.depth)
    weights = _padded(weights, tiling.depth, tiling.outputs)
    population, _, columns = words.shape
    slab = tiling.planes * tiling.rows
    # On TPU the last axis is the innermost loop: the weights' tile stays while candidates change.
    grid = (tiling.slabs, columns // tiling.outputs, x.shape[-2] // tiling.inputs, population)
    result = jax.ShapeDtypeStruct((tiling.slabs, population, x.shape[-2], columns), jnp.float32)
    _check_sizes(x, words, result)
    product = pl.pallas_call(
        partial(_kernel, tiling=tiling, precision=precision),
        grid=grid,
        in_specs=[
            _inputs_spec(x.ndim == 3, tiling.inputs, slab),
            pl.BlockSpec((slab, tiling.outputs), lambda s, o, m, p: (s, o)),
            pl.BlockSpec((None, tiling.rows, tiling.outputs), lambda s, o, m, p: (p, s, o)),
        ],
        out_specs=pl.BlockSpec(
            (None, None, tiling.inputs, tiling.outputs), lambda s, o, m, p: (s, p, m, o)
        ),
        out_shape=result,
        compiler_params=_compiler_params(backend),
        interpret=backend not in ("gpu", "tpu"),
        name="masked_product",
    )(x, weights, words)
    return jnp.sum(product, axis=0)[:, :num_inputs, :num_outputs]


def _check_sizes(*arrays: Any) -> None:
    """Triton's addresses are int32, and would silently overflow."""
    largest = max(arrays, key=lambda array: array.size)
    if largest.size > _MOST_ELEMENTS:
        raise ValueError(
            f"the kernel for masked products takes arrays of at most {_MOST_ELEMENTS} elements,"
            f" got {largest.shape}. Evaluate fewer candidates per pass: a smaller chunk."
        )


def _compiler_params(backend: str) -> Any:
    """Those that choose Triton on GPU."""
    if backend != "gpu":
        return None
    from jax.experimental.pallas import triton  # jaxlib has it where there may be a GPU

    return triton.CompilerParams()


def _inputs_spec(per_candidate: bool, inputs: int, slab: int) -> pl.BlockSpec:
    if per_candidate:
        return pl.BlockSpec((None, inputs, slab), lambda s, o, m, p: (p, m, s))
    return pl.BlockSpec((inputs, slab), lambda s, o, m, p: (m, s))


def _kernel(
    x_ref: Any, weights_ref: Any, words_ref: Any, out_ref: Any, *, tiling: Tiling, precision: Any
) -> None:
    """One tile of one candidate's product, plane by plane."""
    words = words_ref[...]

    def add_plane(plane: Array, total: Array) -> Array:
        here = pl.ds(pl.multiple_of(plane * tiling.rows, tiling.rows), tiling.rows)
        kept = (words >> plane.astype(jnp.uint32)) & 1
        weights = weights_ref[here, :]
        weights = jnp.where(kept != 0, weights, jnp.zeros_like(weights))
        return total + jnp.dot(
            x_ref[:, here], weights, precision=precision, preferred_element_type=jnp.float32
        )

    nothing = jnp.zeros((tiling.inputs, tiling.outputs), jnp.float32)
    out_ref[...] = jax.lax.fori_loop(0, tiling.planes, add_plane, nothing)


def _padded(array: Array, rows: int, columns: int) -> Array:
    """With zeros, so that the last two axes are multiples of these sizes."""
    missing = [(-size) % part for size, part in zip(array.shape[-2:], (rows, columns), strict=True)]
    if not any(missing):
        return array
    return jnp.pad(array, [(0, 0)] * (array.ndim - 2) + [(0, size) for size in missing])


def _power_of_two(size: int, lowest: int, highest: int) -> int:
    """The next one, within bounds."""
    return min(max(pl.next_power_of_2(size), lowest), highest)
