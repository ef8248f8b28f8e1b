"""The inputs of a search: the user's, those made from the model, or both."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.driver.kept_inputs import num_windows, sampled, synthesized
from jgaprune.inputs import UNLIKE, can_invert, gaussian_noise, unlikeness, writes_text
from jgaprune.model import Model
from jgaprune.types import Array, Key, Repair

NUM_INPUTS = 512
"""Inputs that a search should see: on half of them it fits what is odd about them."""
_FEWEST_MADE = 256
_HELD_OUT = 8
"""One input of so many is held out."""


class Inputs(NamedTuple):
    """The inputs of a search.

    Attributes:
      all: `[N, ...]`, what the objective looks at.
      num_for_repair: so many of them, from the first, are what the repair works on.
      origin: where they come from.
      warnings: what a reader should know of them.
      held_out: `[M, ...]`, others like them, which neither search nor repair sees; may be none.
    """

    all: Array
    num_for_repair: int
    origin: str
    warnings: tuple[str, ...] = ()
    held_out: Array | tuple[()] = ()

    @property
    def for_repair(self) -> Array:
        """Those that the repair works on."""
        return self.all[: self.num_for_repair]


def make_inputs(
    model: Model,
    given: Array | np.ndarray | None,
    repair: str | Repair,
    key: Key,
    *,
    supplement: bool,
    num_inputs: int | None = None,
) -> Inputs:
    """The inputs of the search.

    Those made to match statistics that are stored join given ones, and the repair works on them
    alone: on given ones that are unlike the training data it does worse. Those made without
    statistics are further from the training data, and replace nothing that is given.

    Args:
      model: the dense network.
      given: by the user, or None.
      repair: its name, or the caller's own, whose inputs serve where none are given.
      key: of the inputs that are made.
      supplement: whether made ones may join given ones.
      num_inputs: how many to make; by default `num_made`.
    """
    if given is None and not isinstance(repair, str):
        return Inputs(repair.inputs, len(repair.inputs), "those of the repair")
    shown = None if given is None else jnp.asarray(given, model.spec.shape_of_inputs(1).dtype)
    number = num_inputs or num_made(0 if shown is None else len(shown))
    if shown is None:
        return made_inputs(model, key, num_inputs)
    if supplement and model.shows_norms:
        made = synthesized(model, key, number)
        both = jnp.concatenate([made, shown])
        return Inputs(both, len(made), "given and synthesised", _doubts(model, shown))
    return Inputs(shown, len(shown), "given", _doubts(model, shown))


def _doubts(model: Model, given: Array) -> tuple[str, ...]:
    """A sentence where given inputs are unlike the training data."""
    away = unlikeness(model, given)
    if away is None or away < UNLIKE:
        return ()
    return (
        f"The given inputs are unlike what {model.spec.name} was trained on: at its batch-norm "
        f"layers they are {away:.2g} away from what these have stored, other images of the same "
        "kind 0.1 or less. What is found on them may be of no use: see that they are normalised "
        "as in training, or leave them out, for inputs can be synthesised.",
    )


def made_inputs(model: Model, key: Key, num_inputs: int | None = None) -> Inputs:
    """Inputs from the model alone: from its statistics, else its weights, else noise.

    A language model writes text; another model that takes tokens gets any of them.
    """
    origin, number = origin_of_made(model), num_inputs or usual_number(model)
    if origin == "sampled":
        return Inputs(sampled(model, key, number), number, origin)
    if origin != "noise":
        return Inputs(synthesized(model, key, number), number, origin)
    name = model.spec.name
    warning = (
        f"{name} takes tokens and writes none: the search used random ones, which no text looks "
        "like. Pass unlabelled inputs if you have any."
        if model.spec.vocabulary is not None
        else f"{name} has no batch-norm layers and no classes to synthesise inputs from: the "
        "search used Gaussian noise, on which it can fool itself. Pass unlabelled inputs if you "
        "have any."
    )
    return Inputs(gaussian_noise(model.spec, key, number), number, origin, (warning,))


def origin_of_made(model: Model) -> str:
    """What inputs from the model alone are: sampled, synthesised, inverted, or noise."""
    if writes_text(model.spec):
        return "sampled"
    if model.spec.vocabulary is not None:
        return "noise"
    if model.shows_norms:
        return "synthesised"
    return "inverted" if can_invert(model) else "noise"


def usual_number(model: Model) -> int:
    """Of inputs made where there are no others."""
    return num_windows(model.spec) if writes_text(model.spec) else NUM_INPUTS


def num_made(num_given: int) -> int:
    """Inputs to synthesise beside so many given ones.

    >>> num_made(0), num_made(200), num_made(10_000)
    (512, 312, 256)
    """
    return max(_FEWEST_MADE, NUM_INPUTS - num_given)


def hold_out(inputs: Inputs, key: Key) -> Inputs:
    """Holds out an eighth of the inputs, of those for the repair and of the others alike."""
    parts = jnp.split(jnp.arange(len(inputs.all)), [inputs.num_for_repair])
    divided = [_divided(part, one) for part, one in zip(parts, jax.random.split(key), strict=True)]
    kept, held_out = (jnp.concatenate(one) for one in zip(*divided, strict=True))
    return inputs._replace(
        all=inputs.all[kept],
        num_for_repair=len(divided[0][0]),
        held_out=inputs.all[held_out],
    )


def alternating(inputs: Array, variations: Array) -> Array:
    """Every other input gives way to its variation.

    Masks trained on variations need the statistics of some; one-shot masks do as well with them.

    Args:
      inputs: `[N, ...]`.
      variations: of them, `[N, ...]`.
    """
    is_odd = jnp.arange(len(inputs)) % 2 == 1
    return jnp.where(is_odd.reshape(-1, *(1,) * (inputs.ndim - 1)), variations, inputs)


def _divided(indices: Array, key: Key) -> tuple[Array, Array]:
    """Most of the indices in their order, and a random few."""
    few = len(indices) // _HELD_OUT
    drawn = jax.random.permutation(key, len(indices))
    return indices[jnp.sort(drawn[few:])], indices[drawn[:few]]
