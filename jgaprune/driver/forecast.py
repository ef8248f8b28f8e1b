"""What a run would need of a device's memory, read off its compiled programs without running them.

Inputs and scores are stand-ins of the shapes that they would have.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax

from jgaprune import spaces
from jgaprune.driver.baselines import blank_scores, given_scores, one_shot_masks
from jgaprune.driver.budget import Budget
from jgaprune.driver.call import Call
from jgaprune.driver.choices import REFITTING, protected
from jgaprune.driver.ground import Ground, make_ground
from jgaprune.driver.inputs import (
    Inputs,
    hold_out,
    num_made,
    origin_of_made,
    usual_number,
)
from jgaprune.driver.looks import screens_of
from jgaprune.driver.plan import Choices, Plan, initial_of_stages, name_of, plan_search
from jgaprune.driver.presets import PRESETS
from jgaprune.driver.room import NoRoomError, parts_of
from jgaprune.driver.train import choose_steps, choose_swaps
from jgaprune.driver.wiring import build_ready, choose_repair, split_key
from jgaprune.engine import memory_limit, most_of
from jgaprune.inputs import gaussian_noise, variation_of


class StageNeed(NamedTuple):
    """What the search in one space would need.

    Attributes:
      space: its name.
      population: masks of generation 0, on all islands.
      num_inputs: that each of them is evaluated on.
      strategy: how, in words; None where nothing fits.
      parts: bytes on a device, by what they are for; empty where nothing fits.
      fault: why nothing fits, and what would.
    """

    space: str
    population: int
    num_inputs: int
    strategy: str | None
    parts: dict[str, int]
    fault: str | None = None

    @property
    def total(self) -> int:
        """Bytes on a device."""
        return sum(self.parts.values())


class Forecast(NamedTuple):
    """What a run would need.

    Attributes:
      stages: its searches, one after another.
      limit: bytes that there are; None if not known.
    """

    stages: tuple[StageNeed, ...]
    limit: int | None

    @property
    def fits(self) -> bool:
        """Whether all of it does."""
        return all(stage.fault is None for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        stages = [{**stage._asdict(), "total": stage.total} for stage in self.stages]
        return {"limit": self.limit, "fits": self.fits, "stages": stages}


def forecast(call: Call, asked: Budget) -> Forecast:
    """Compiles the searches of a call, and runs none of them.

    Args:
      call: checked.
      asked: budget of the caller.
    """
    choices = Choices(call.space, call.objective, call.evolver).as_pytrees()
    ground = _ground(call, choices)
    plans = _plans(call, asked, choices, ground)
    needs = [
        _need(call, name_of(space), plan, ground)
        for space, plan in zip(choices.spaces, plans, strict=True)
    ]
    limit = memory_limit() if call.memory_limit is None else call.memory_limit
    return Forecast(tuple(needs), limit)


def _plans(call: Call, asked: Budget, choices: Choices, ground: Ground) -> list[Plan]:
    """What would evolve, in every stage."""
    model, sparsity, islands = call.model, call.sparsity, call.devices.islands
    generation = islands * len(choices.spaces) * (call.population or 0)
    budget = PRESETS[call.preset].budget(asked, ground.refits is not None, generation)
    initial = initial_of_stages(model, choices, call.population, budget, islands)
    scores = blank_scores(choices.spaces, model, sparsity, fitted=_fitted(call, choices, ground))
    scores |= given_scores(model.params, model.layout, call.given_masks)
    about = model, choices, ground.repair, ground.inputs
    swaps = None
    if call.gradient_swaps and call.train_steps != 0:
        swaps, _ = choose_swaps(*about, ground.refits)
    masks = one_shot_masks({"lamp": scores["lamp"]}, model.layout, sparsity)["lamp"]
    order = spaces.order_of(protected(scores, model, sparsity), model.layout, sparsity, masks)
    return [
        plan_search(
            model,
            choices,
            sparsity=sparsity,
            population=call.population,
            initial=initial,
            stage=stage,
            scores=scores,
            order=order if stage else None,
            masks=masks if stage else None,
            swaps=swaps,
            islands=islands,
        )
        for stage in range(len(choices.spaces))
    ]


def _fitted(call: Call, choices: Choices, ground: Ground) -> list[str]:
    """Scores that come from refitting and from training."""
    steps, _ = choose_steps(
        call.model,
        1,
        asked=call.train_steps,
        choices=choices,
        repair=ground.repair,
        inputs=ground.inputs,
    )
    names = {"gradual": ground.refits is not None, "straight_through": steps.masks > 0}
    return [name for name, there in names.items() if there]


def _need(call: Call, name: str, plan: Plan, ground: Ground) -> StageNeed:
    """Of the search in one space."""
    num_inputs = len(ground.inputs.all)
    about = name, plan.places, num_inputs
    screens = screens_of(call, plan, ground)
    try:
        ready = build_ready(
            plan,
            objective=ground.judge.repaired,
            seeds={},
            fitness={},
            strategy=call.strategy,
            chunk=call.chunk,
            expected_seconds=0.0,
            trial_seconds=0.0,
            key=split_key(call.key).search,
            screens=screens,
            devices=call.devices.made(),
            limit=call.memory_limit,
            shrinks=call.leaves_chunk_open,
            num_inputs=num_inputs,
        )
    except NoRoomError as fault:
        return StageNeed(*about, None, {}, str(fault))
    need = most_of(ready.search.programs)
    parts = {} if need is None else parts_of(need, plan, call.model, ready.strategy)
    return StageNeed(*about, str(ready.strategy), parts)


def _ground(call: Call, choices: Choices) -> Ground:
    """What a run stands on, on noise."""
    keys, model = split_key(call.key), call.model
    inputs = _stand_in(call)
    refits = choose_repair(call.repair, choices, inputs.origin) in REFITTING
    if refits and call.labels is None:
        inputs = hold_out(inputs, keys.choice)
    vary = variation_of(model.spec)
    varied = None if call.labels is not None else vary(keys.inputs, inputs.all)
    return make_ground(
        model,
        choices,
        keys,
        inputs=call.inputs,
        labels=call.labels,
        supplement=call.supplement,
        num_inputs=call.num_inputs,
        repair=call.repair,
        evaluation_data=None,
        known=(inputs, varied),
    )


def _stand_in(call: Call) -> Inputs:
    """Noise, as many and called as what the run would use."""
    model, given = call.model, call.inputs
    noise: Callable[[int], jax.Array] = partial(gaussian_noise, model.spec, jax.random.key(0))
    if given is None and not isinstance(call.repair, str):
        return Inputs(call.repair.inputs, len(call.repair.inputs), "those of the repair")
    if given is None:
        number = call.num_inputs or usual_number(model)
        return Inputs(noise(number), number, origin_of_made(model))
    number = len(given)
    if not call.supplement or call.labels is not None or not model.shows_norms:
        return Inputs(noise(number), number, "given")
    made = call.num_inputs or num_made(number)
    return Inputs(noise(made + number), made, "given and synthesised")
