"""What `prune` does by default with what it is not told: keys, repair, judge, search."""

import math
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.driver.choices import REFITTING, choose_objective
from jgaprune.driver.devices import ONE_DEVICE, Devices
from jgaprune.driver.inputs import Inputs, alternating
from jgaprune.driver.measure import EvaluationData, Judge, decoded, encoded
from jgaprune.driver.plan import Choices, Plan
from jgaprune.driver.room import fitted
from jgaprune.driver.strategy import choose_strategy
from jgaprune.engine import Fitting, Screen, Search, Strategy, as_pytree, build_search
from jgaprune.model import Model
from jgaprune.repair import batch_norm_delta, reconstruct
from jgaprune.report import LABELLED_OBJECTIVES
from jgaprune.types import Array, Genomes, Key, Masks, MaskSpace, Objective, Repair


class Ready(NamedTuple):
    """A search ready to run, with what was chosen for it.

    Attributes:
      fitting: the search, compiled, in chunks that fit.
      num_handed_over: genomes of the stage before in generation 0.
      num_seeds: one-shot masks in generation 0.
      warnings: what the space has no genome for.
    """

    fitting: Fitting
    num_handed_over: int
    num_seeds: int
    warnings: tuple[str, ...]

    @property
    def search(self) -> Search:
        """To run."""
        return self.fitting.search

    @property
    def strategy(self) -> Strategy:
        """Of evaluation, as it is now."""
        return self.fitting.strategy


class Keys(NamedTuple):
    """The keys of a run."""

    root: Key
    inputs: Key
    scores: Key
    search: Key
    choice: Key
    masks: Key
    weights: Key
    unseen: Key
    around: Key


def split_key(key: int | Key) -> Keys:
    """The keys of a run from a whole number, a typed or an old-style key."""
    if not isinstance(key, jax.Array):
        key = jax.random.key(operator.index(key))
    elif not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key) if key.shape else jax.random.key(key)
    own = jax.random.split(key, 3)
    return Keys(key, *own, *jax.random.split(jax.random.fold_in(key, 3), 5))


def choose_repair(repair: str | Repair, choices: Choices, origin: str) -> str | Repair:
    """What "auto" stands for.

    Weights are refitted where the space has seeds that were made so, and where inputs are of use
    for it. The paper's own setting, and what is evaluated by the thousand, is left with the
    statistics.
    """
    if repair != "auto":
        return repair
    _, objective, evolver = choices.names()
    unlabelled = origin != "noise" and objective not in LABELLED_OBJECTIVES
    refits = "bases" in choices.spaces and unlabelled
    return "distil" if refits and not evolver.startswith("paper") else "batch_norm_delta"


def make_repair(
    model: Model, inputs: Inputs, repair: str | Repair, shown: Array | None = None
) -> Repair | None:
    """The repair by name, none, or the caller's own.

    Args:
      model: the dense network.
      inputs: of the run.
      repair: its name, or the repair.
      shown: variations of all inputs: fitness is measured on them where weights are refitted to
        the inputs; where only statistics move, every other input gives way to its own, unless
        it is noise; by default the inputs themselves.
    """
    if not isinstance(repair, str):
        return as_pytree(repair)
    if repair == "none":
        return None
    if repair in REFITTING:
        everything = inputs.all if shown is None else shown
        return reconstruct(model, inputs.for_repair, shown=everything)
    everything = inputs.all
    if shown is not None and model.spec.norms and inputs.origin != "noise":
        everything = alternating(everything, shown)
    first, rest = jnp.split(everything, [inputs.num_for_repair])
    delta = batch_norm_delta(model, first, shown=rest if len(rest) else None)
    return delta._replace(inputs=everything)


def inputs_to_score(inputs: Inputs, repair: str | Repair, made: Repair | None) -> Array:
    """What the objective looks at: what a repair of ours shows it, else the run's inputs."""
    return made.inputs if made is not None and isinstance(repair, str) else inputs.all


def repair_name(model: Model, repair: str | Repair) -> str | None:
    """The repair's name for the settings; None where nothing is repaired."""
    if not isinstance(repair, str):
        return "custom"
    without_effect = repair == "batch_norm_delta" and not model.spec.norms
    return None if repair == "none" or without_effect else repair


def make_judge(
    model: Model,
    objective: str | Objective,
    inputs: Array,
    labels: Array | np.ndarray | None,
    repair: Repair | None,
    key: Key,
    data: EvaluationData | None,
) -> Judge:
    """What measures masks, with and without the repair."""
    targets = None if labels is None else jnp.asarray(labels)
    repaired_objective = choose_objective(objective, model, inputs, targets, repair)
    raw = None
    if isinstance(objective, str):
        raw = choose_objective(objective, model, inputs, targets, None)
    return Judge(model, repair, repaired_objective, raw, key, data)


def build_ready(
    plan: Plan,
    *,
    objective: Objective,
    seeds: dict[str, Masks],
    fitness: dict[str, float | None],
    strategy: str | Strategy,
    chunk: int | str,
    expected_seconds: float,
    trial_seconds: float,
    key: Key,
    screens: tuple[Screen, ...] = (),
    survivors: Genomes | None = None,
    devices: Devices = ONE_DEVICE,
    limit: int | None = None,
    shrinks: bool = True,
    num_inputs: int = 0,
) -> Ready:
    """Wires a plan, an objective and seeds into a compiled search.

    Args:
      plan: what evolves.
      objective: of the run.
      seeds: one-shot masks for generation 0, by name.
      fitness: of the repaired seeds, by name.
      strategy: that the caller asked for, or "auto".
      chunk: candidates per pass, or "auto".
      expected_seconds: of the search, candidate by candidate.
      trial_seconds: of compiling an evaluation, and running it a few times.
      key: of the kind that the search will be started with.
      screens: how children are looked at before they are evaluated; none to evaluate them all.
      survivors: of the stage before, for the first places of generation 0.
      devices: on which it runs, and on how many islands.
      limit: bytes that it may take of a device; None for what that has.
      shrinks: whether smaller chunks may be taken unasked.
      num_inputs: of the run, for advice where it does not fit.

    Raises:
      ValueError: it does not fit.
    """
    space, evolver, initial, _ = plan
    taken = 0 if survivors is None else jax.tree.leaves(survivors)[0].shape[0]
    genomes, warnings = _encode(space, seeds, fitness, plan.places - taken)
    genomes = _joined(survivors, genomes)
    task = space, objective, key, devices.share_of(initial)
    strategy = choose_strategy(strategy, chunk, *task, expected_seconds, trial_seconds)

    def build(strategy: Strategy) -> Search:
        return build_search(
            space,
            objective,
            evolver,
            population=initial,
            seeds=genomes,
            strategy=strategy,
            screen=screens,
            **devices.options(),
        ).compile(key)

    fitting = fitted(build, strategy, limit=limit, shrinks=shrinks, num_inputs=num_inputs)
    placed = 0 if genomes is None else jax.tree.leaves(genomes)[0].shape[0]
    return Ready(fitting, taken, placed - taken, warnings)


def _encode(
    space: MaskSpace, seeds: dict[str, Masks], fitness: dict[str, float | None], places: int
) -> tuple[Genomes | None, tuple[str, ...]]:
    """The seeds as genomes, the best of them where not all fit, and what was lost on the way."""
    if not seeds or not places:
        return None, ()
    if space.encode is None:
        return None, ("The space cannot express masks: generation 0 has no one-shot masks.",)
    best = sorted(seeds, key=lambda name: _worst_if_unknown(fitness[name]))[:places]
    names = [name for name in seeds if name in best]
    genomes = {name: encoded(space, seeds[name]) for name in names}
    altered = [name for name in names if not same_masks(decoded(space, genomes[name]), seeds[name])]
    warnings = (
        (
            f"The space has no genome for the masks of {', '.join(altered)}: generation 0 holds "
            "the nearest that it has, so the result may be worse than they are.",
        )
        if altered
        else ()
    )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *genomes.values()), warnings


def _joined(first: Genomes | None, second: Genomes | None) -> Genomes | None:
    if first is None or second is None:
        return second if first is None else first
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), first, second)


def _worst_if_unknown(fitness: float | None) -> float:
    return math.inf if fitness is None or math.isnan(fitness) else fitness


def same_masks(first: Masks, second: Masks) -> bool:
    """Whether they keep the same weights."""
    return all(bool(jnp.array_equal(first[name], second[name])) for name in second)
