"""How many candidates share one vmapped forward pass.

On CPU one candidate at a time is fastest: a vmap over convolution weights becomes a grouped
convolution there, about five times slower than the plain ones in turn. On accelerators the
batched form wins, and the chunk is what fits into memory.
"""

import jax

from jgaprune.types import Key, MaskSpace, Objective

_MEMORY_SHARE = 0.5
"""Share of the device memory that one chunk may use; the rest is for the population."""


def auto_chunk(space: MaskSpace, objective: Objective, population: int) -> int:
    """Candidates per forward pass for the default device, between 1 and `population`.

    On accelerators it is read off the compiled program of a single candidate: its temporary
    memory against the device's limit.
    """
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return 1
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if not limit:
        return min(population, 8)
    analysis = _compile_one(space, objective).memory_analysis()
    per_candidate = max(analysis.temp_size_in_bytes + analysis.output_size_in_bytes, 1)
    return max(1, min(population, int(_MEMORY_SHARE * limit) // per_candidate))


def _compile_one(space: MaskSpace, objective: Objective):
    def one(space: MaskSpace, objective: Objective, key: Key):
        return objective(key, space.decode(space.sample(key)))

    return jax.jit(one).lower(space, objective, jax.random.key(0)).compile()
