"""Whether a search has room in a device's memory, and what would have if it hasn't."""

from dataclasses import replace
from typing import Any

import jax

from jgaprune.driver.devices import Devices
from jgaprune.driver.plan import Plan
from jgaprune.engine import (
    Build,
    Fitting,
    Need,
    Strategy,
    TooLargeError,
    in_words,
    memory_limit,
    num_shares,
    smaller,
)
from jgaprune.model import Model


class NoRoomError(ValueError):
    """A search does not fit into memory."""


def bytes_of(tree: Any) -> int:
    """Of all arrays in a pytree, or of what has their shapes; keys are small."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "nbytes")]
    return sum(int(leaf.nbytes) for leaf in leaves)


def bytes_of_genomes(plan: Plan) -> int:
    """Of all members of generation 0."""
    one = jax.eval_shape(plan.space.sample, jax.random.key(0))
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one)]
    return plan.places * sum(sizes)


def check_least(plan: Plan, model: Model, devices: Devices, limit: int | None) -> None:
    """Refuses, before anything is computed, what cannot fit however it is evaluated.

    Args:
      plan: what evolves.
      model: the dense network.
      devices: among which islands are shared out.
      limit: bytes of a device; None for what it has.

    Raises:
      NoRoomError: the genomes of a generation and the weights alone are too much.
    """
    limit = room_of(limit)
    shares = num_shares(devices.made().mesh) if plan.islands > 1 else 1  # type: ignore[arg-type]
    genomes, weights = bytes_of_genomes(plan) // shares, bytes_of(model.params)
    if limit is None or genomes + weights <= limit:
        return
    fits = (limit - weights) * plan.places // max(1, genomes)
    advice = (
        f"A population of {fits} at most would leave nothing for their evaluation"
        if fits > 1
        else "The network itself is too large"
    )
    raise NoRoomError(
        f"{plan.places} masks need {in_words(genomes)} of each device and the weights "
        f"{in_words(weights)}, of the {in_words(limit)} that there are. {advice}: pass a smaller "
        "population, a space with fewer genes, or use a larger device."
    )


def room_of(limit: int | None) -> int | None:
    """Bytes that a search may take: no more than the caller's limit, and than the device has."""
    there = memory_limit()
    return min((one for one in (limit, there) if one is not None), default=None)


def fitted(
    build: Build,
    strategy: Strategy,
    *,
    limit: int | None,
    shrinks: bool,
    num_inputs: int,
) -> Fitting:
    """A search that fits.

    Args:
      build: makes it, compiled.
      strategy: with the largest chunk to try.
      limit: bytes of a device; None for what it has.
      shrinks: whether smaller chunks may be taken unasked.
      num_inputs: of the run, for advice.

    Raises:
      NoRoomError: it doesn't; with what would fit.
    """
    try:
        return Fitting(build, strategy, limit, shrinks=shrinks)
    except TooLargeError as error:
        raise NoRoomError(f"{error}. {_advice(build, error, limit, num_inputs)}.") from error


def _advice(build: Build, error: TooLargeError, limit: int | None, num_inputs: int) -> str:
    """What would fit: a smaller chunk, products of two bytes each, fewer inputs."""
    if error.strategy.chunk > 1:
        try:
            fits = Fitting(build, smaller(error.strategy, error.need, error.limit), limit).strategy
        except TooLargeError as at_least:
            error = at_least
        else:
            return f"A chunk of {fits.chunk} fits: pass that, or leave chunk and strategy out"
    low = replace(error.strategy, chunk=1, dtype="bfloat16")
    if error.strategy != low and jax.default_backend() != "cpu" and _has_room(build, low, limit):
        return (
            f"In bfloat16 it fits: pass strategy=jgaprune.Strategy({low.form!r}, 1, 'bfloat16') in "
            "Python"
        )
    need, room = error.need, error.limit
    if need is None or room is None or (left := room - need.held - need.made) <= 0:
        return "Use a larger device, a smaller population or fewer inputs"
    fewer = max(1, num_inputs * left // max(1, need.temporary))
    return f"About {fewer} of the {num_inputs} inputs would fit: pass fewer, or --num-inputs"


def _has_room(build: Build, strategy: Strategy, limit: int | None) -> bool:
    try:
        Fitting(build, strategy, limit)
    except TooLargeError:
        return False
    return True


def parts_of(need: Need, plan: Plan, model: Model, strategy: Strategy) -> dict[str, int]:
    """Where the bytes of a search go, by name; what is in between is told apart by shapes.

    Args:
      need: of its most demanding program.
      plan: what evolves.
      model: the dense network.
      strategy: how a population is evaluated.
    """
    layout = model.layout
    masks = strategy.chunk * layout.num_weights
    masked = masks * (2 if strategy.dtype == "bfloat16" else 4)
    masks, masked = min(masks, need.temporary), min(masked, max(0, need.temporary - masks))
    genomes = min(bytes_of_genomes(plan), need.held)
    weights = min(bytes_of((model.params, model.buffers)), need.held - genomes)
    return {
        "weights and statistics": weights,
        "genomes": genomes,
        "inputs, targets and scores": need.held - genomes - weights,
        "children": need.made,
        "masks": masks,
        "masked weights": masked,
        "activations and the rest": need.temporary - masks - masked,
    }
