"""Stages: one search after another, from a coarse space to finer ones, as one run.

What was found best so far comes first in generation 0 of the next stage, before its other
survivors. The budget is shared out, numbers go on, and the best of all stages is what counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune import spaces
from jgaprune.driver.budget import Budget
from jgaprune.driver.choices import protected
from jgaprune.driver.loop import AccuracyOf, Progression, run_search
from jgaprune.driver.measure import decoded
from jgaprune.driver.plan import Choices, Plan, name_of
from jgaprune.driver.progress import OnRecord, Progress
from jgaprune.driver.stopwatch import Stopwatch
from jgaprune.driver.wiring import Ready, same_masks
from jgaprune.engine import refine, survivors_of
from jgaprune.model import Model
from jgaprune.types import Genomes, Key, MaskSpace, Scores


class Stage(NamedTuple):
    """One of them, ready to run."""

    plan: Plan
    ready: Ready


@dataclass(frozen=True)
class Stages:
    """What the stages of a run share.

    Attributes:
      model: the dense network.
      choices: of the caller; their spaces are the stages.
      sparsity: fraction to remove.
      scores: saliencies by name.
      build_plan: `stage=, order=, masks= -> plan`.
      prepare: `plan, key=, survivors= -> ready`.
      budget: of the run.
      key: of the first stage's search.
      watch: of the run.
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

    def follow(self, index: int, last: MaskSpace, done: Progression) -> tuple[Stage, str | None]:
        """A later one, and a warning where it has no genome for the best so far.

        Args:
          index: which one, from 1 up.
          last: space of the stage before.
          done: by all before.
        """
        names, masks = self.choices.spaces, decoded(done.space, done.genome)
        known = self.scores if "bases" in names[:index] else None
        saliencies = protected(known, self.model, self.sparsity)
        order = spaces.order_of(saliencies, self.model.layout, self.sparsity, masks)
        plan = self.build_plan(stage=index, order=order, masks=masks)
        survivors = handed_over(done, last, plan)
        best = jax.tree.map(lambda leaf: leaf[0], survivors)
        warning = None
        if not same_masks(decoded(plan.space, best), masks):
            warning = (
                f"The space {name_of(names[index])} has no genome for the best masks of the stages "
                "before: it started from the nearest that it has. The best of all stages is kept."
            )
        key = jax.random.fold_in(self.key, index)
        return Stage(plan, self.prepare(plan, key=key, survivors=survivors)), warning


def run_stages(
    stages: Stages, stage: Stage, accuracy_of: AccuracyOf, tell: OnRecord
) -> tuple[Progression, list[dict[str, object]], tuple[str, ...]]:
    """Runs all of them; an interrupt ends the run with what there is.

    Args:
      stages: what they share.
      stage: the first one.
      accuracy_of: of a genome.
      tell: what the run is watched by.

    Returns:
      What the run found, what each stage spent for the settings, and warnings.

    Raises:
      KeyboardInterrupt: before generation 0 of the first is evaluated.
    """
    names, notes, warnings = stages.choices.spaces, [], stage.ready.warnings
    done: Progression | None = None
    for index, name in enumerate(names):
        limit = stages.budget.until(index, len(names))
        key = jax.random.fold_in(stages.key, index) if index else stages.key
        try:
            if done is not None:
                tell(Progress("compile"))
                stage, warning = stages.follow(index, stage.plan.space, done)
                warnings += (*stage.ready.warnings, *([warning] if warning else []))
                stages.watch.lap("compile")
            before = (done.evaluations, done.generation) if done else (0, 0)
            space, search = stage.plan.space, stage.ready.search
            done = run_search(search, space, key, limit, accuracy_of, tell, done)
        except KeyboardInterrupt:
            if done is None:
                raise
            done.interrupted = True
            break
        stages.watch.lap("search")
        notes.append(_note(name_of(name), stage.ready, done, before))
        if done.interrupted:
            break
    assert done is not None  # there is at least one stage
    return done, notes, warnings


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


def _note(name: str, ready: Ready, done: Progression, before: tuple[int, int]) -> dict[str, object]:
    """What a stage spent, and how it ended."""
    evaluations, generation = before
    return {
        "space": name,
        "evaluations": done.evaluations - evaluations,
        "generations": done.generation - generation,
        "handed_over": ready.num_handed_over,
        "seeds": ready.num_seeds,
        "best": done.best,
        "strategy": str(ready.strategy),
    }
