"""Stages: one search after another, from a coarse space to finer ones, as one run.

What was found best so far comes first in generation 0 of the next stage, before its other
survivors. The budget is shared out, numbers go on, and the best of all stages is what counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune import spaces
from jgaprune.driver.budget import Budget
from jgaprune.driver.choices import protected
from jgaprune.driver.keep import NOTHING_KEPT, Keep
from jgaprune.driver.loop import AccuracyOf, go_on, run_search
from jgaprune.driver.measure import decoded
from jgaprune.driver.plan import Choices, Plan, name_of
from jgaprune.driver.progress import OnRecord, Progress
from jgaprune.driver.progression import Progression
from jgaprune.driver.snapshot import Found, unpack
from jgaprune.driver.stopwatch import Stopwatch
from jgaprune.driver.wiring import Ready, same_masks
from jgaprune.engine import Strategy, refine, survivors_of
from jgaprune.model import Model
from jgaprune.report import History
from jgaprune.types import Genomes, Key, Masks, MaskSpace, Scores


class Stage(NamedTuple):
    """One of them, ready to run."""

    plan: Plan
    ready: Ready


class Outcome(NamedTuple):
    """What a run found.

    Attributes:
      done: how far it came.
      initial: size of generation 0.
      notes: what each stage spent, for the settings.
      warnings: what the spaces could not express.
    """

    done: Progression
    initial: int
    notes: list[dict[str, Any]]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Stages:
    """What the stages of a run share.

    Attributes:
      model: the dense network.
      choices: of the caller; their spaces are the stages.
      sparsity: fraction to remove.
      scores: saliencies by name.
      build_plan: `stage=, order=, masks= -> plan`.
      prepare: `plan, key=, survivors=, strategy=, seeds= -> ready`.
      budget: of the run.
      key: of the first stage's search.
      watch: of the run.
      first: what evolves in the first stage.
    """

    model: Model
    choices: Choices
    sparsity: float
    scores: dict[str, Scores]
    build_plan: Callable[..., Plan]
    prepare: Callable[..., Ready]
    budget: Budget
    key: Key
    watch: Stopwatch
    first: Plan

    def follow(self, index: int, last: MaskSpace, done: Progression) -> tuple[Stage, str | None]:
        """A later one, and a warning where it has no genome for the best so far.

        Args:
          index: which one, from 1 up.
          last: space of the stage before.
          done: by all before; is told of the masks that the stage begins with.
        """
        masks = decoded(done.space, done.genome)
        done.entries.append(masks)
        plan = self.plan_at(index, done.entries)
        survivors = handed_over(done, last, plan)
        best = jax.tree.map(lambda leaf: leaf[0], survivors)
        warning = None
        if not same_masks(decoded(plan.space, best), masks):
            warning = (
                f"The space {name_of(self.choices.spaces[index])} has no genome for the best masks "
                "of the stages before: it started from the nearest that it has. The best of all "
                "stages is kept."
            )
        return Stage(plan, self.prepare(plan, key=self.key_of(index), survivors=survivors)), warning

    def plan_at(self, index: int, entries: list[Masks]) -> Plan:
        """What evolves in a stage, after those before have found these masks."""
        if index == 0:
            return self.first
        names, masks = self.choices.spaces, entries[index - 1]
        known = self.scores if "bases" in names[:index] else None
        saliencies = protected(known, self.model, self.sparsity)
        order = spaces.order_of(saliencies, self.model.layout, self.sparsity, masks)
        return self.build_plan(stage=index, order=order, masks=masks)

    def key_of(self, index: int) -> Key:
        """What a stage's search begins with."""
        return jax.random.fold_in(self.key, index) if index else self.key

    def again(self, found: Found) -> tuple[Stage, Progression]:
        """The stage that was at work when a run was stopped, and how far it had come."""
        told, plan = found.document, self.plan_at(found.stage, found.entries)
        key = self.key_of(found.stage)
        ready = self.prepare(plan, key=key, strategy=Strategy(**told["strategy"]), seeds={})
        ready = ready._replace(num_handed_over=told["handed_over"], num_seeds=told["seeds"])
        if ready.strategy != Strategy(**told["strategy"]):
            ready.fitting.warnings.append(
                f"The device has room for {ready.strategy} only, where the run had "
                f"{Strategy(**told['strategy'])}: from here on it rounds differently."
            )
        is_best = found.best_stage == found.stage
        best = plan if is_best else self.plan_at(found.best_stage, found.entries)
        return Stage(plan, ready), unpack(found, best.space, ready.search, key)


def run_stages(
    stages: Stages,
    accuracy_of: AccuracyOf,
    tell: OnRecord,
    keep: Keep = NOTHING_KEPT,
    found: Found | None = None,
) -> Outcome:
    """Runs all of them; an interrupt ends the run with what there is.

    Args:
      stages: what they share.
      accuracy_of: of a genome.
      tell: what the run is watched by.
      keep: what keeps it on the disk.
      found: where it goes on; None to begin.

    Raises:
      KeyboardInterrupt: before generation 0 of the first is evaluated.
    """
    names = stages.choices.spaces
    stage, done, notes, warnings = _first(stages, found)
    stages.watch.lap("compile")
    keep.begin(done.history if done else History())
    for index in range(done.stage if done else 0, len(names)):
        limit, goes_on = stages.budget.until(index, len(names)), found is not None
        try:
            if done is not None and not goes_on:
                tell(Progress("compile"))
                stage, warning = stages.follow(index, stage.plan.space, done)
                warnings += (*stage.ready.warnings, *([warning] if warning else []))
                stages.watch.lap("compile")
            keep.stage(partial(_told, stage.ready, list(notes), warnings))
            space, search = stage.plan.space, stage.ready.search
            listeners = limit, accuracy_of, tell
            if goes_on:
                assert done is not None
                done, found = go_on(search, space, *listeners, done, keep), None
            else:
                done = run_search(search, space, stages.key_of(index), *listeners, done, keep)
        except KeyboardInterrupt:
            if done is None:
                raise
            done.interrupted = True
            break
        stages.watch.lap("search")
        notes.append(_note(name_of(names[index]), stage.ready, done))
        warnings += tuple(stage.ready.fitting.warnings)
        if not done.interrupted:
            keep.ended(done)
        if done.interrupted or stages.budget.is_good_enough(done.best):
            break
    assert done is not None  # there is at least one stage
    return Outcome(done, stage.plan.initial, notes, warnings)


def _first(
    stages: Stages, found: Found | None
) -> tuple[Stage, Progression | None, list[dict[str, Any]], tuple[str, ...]]:
    """The stage to run first, how far it had come, and the notes and warnings of those before."""
    if found is not None:
        told = found.document
        return *stages.again(found), told["notes"], tuple(told["warnings"])
    plan = stages.plan_at(0, [])
    stage = Stage(plan, stages.prepare(plan, key=stages.key))
    return stage, None, [], stage.ready.warnings


def handed_over(done: Progression, last: MaskSpace, plan: Plan) -> Genomes:
    """The best so far, then the last stage's survivors, fittest first, as genomes of a next stage.

    As many as fit into its generation 0, none of them twice.
    """
    best = jax.tree.map(lambda leaf: leaf[None], done.genome)
    refined = refine(done.space, plan.space, best)
    if done.state and (members := survivors_of(done.state)):
        order = jnp.argsort(members["fitness"], stable=True)
        fittest = jax.tree.map(lambda leaf: leaf[order], members["genomes"])
        others = refine(last, plan.space, fittest)
        refined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), refined, others)
    rows = np.concatenate(
        [np.asarray(leaf).reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(refined)], axis=1
    )
    _, first = np.unique(rows, axis=0, return_index=True)
    chosen = np.sort(first)[: plan.places]
    return jax.tree.map(lambda leaf: leaf[chosen], refined)


def _note(name: str, ready: Ready, done: Progression) -> dict[str, Any]:
    """What a stage spent, and how it ended."""
    return {
        "space": name,
        "evaluations": done.evaluations - done.before.evaluations,
        "generations": done.generation - done.before.generations,
        "handed_over": ready.num_handed_over,
        "seeds": ready.num_seeds,
        "best": done.best,
        "strategy": str(ready.strategy),
        "chunk": ready.strategy.chunk,
    }


def _told(ready: Ready, notes: list[dict[str, Any]], warnings: tuple[str, ...]) -> dict[str, Any]:
    """What a stage that goes on has to know, as JSON values."""
    return {
        "strategy": vars(ready.strategy),
        "handed_over": ready.num_handed_over,
        "seeds": ready.num_seeds,
        "notes": notes,
        "warnings": [*warnings, *ready.fitting.warnings],
    }
