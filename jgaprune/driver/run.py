"""One run: inputs, seeds, searches and the result, from the beginning or from where it stood."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from jgaprune.agreement import together
from jgaprune.driver.budget import Budget
from jgaprune.driver.call import Call
from jgaprune.driver.devices import Devices
from jgaprune.driver.finish import finish_run
from jgaprune.driver.ground import Ground, make_ground
from jgaprune.driver.keep import NOTHING_KEPT
from jgaprune.driver.keeper import Keeper
from jgaprune.driver.looks import screens_of
from jgaprune.driver.outcome import accuracy_of, make_report
from jgaprune.driver.plan import Choices, Plan, initial_of_stages, plan_search
from jgaprune.driver.prepared import Prepared
from jgaprune.driver.presets import PRESETS
from jgaprune.driver.progress import OnRecord, Progress, ended
from jgaprune.driver.progression import Progression
from jgaprune.driver.room import check_least, room_of
from jgaprune.driver.seeding import Seeding, make_seeds
from jgaprune.driver.settings import describe_run
from jgaprune.driver.snapshot import Found
from jgaprune.driver.stages import Outcome, Stages, run_stages
from jgaprune.driver.stopwatch import Stopwatch
from jgaprune.driver.train import choose_swaps
from jgaprune.driver.trust import examine, unseen_by
from jgaprune.driver.wiring import Keys, build_ready, repair_name, split_key
from jgaprune.engine import Screen
from jgaprune.report import Report, Trust
from jgaprune.types import Genome


class _Task(NamedTuple):
    """What all parts of a run know: what was asked for, with what it stands for."""

    call: Call
    choices: Choices
    keys: Keys
    devices: Devices
    watch: Stopwatch
    tell: OnRecord


class _Ready(NamedTuple):
    """What the searches of a run begin with."""

    ground: Ground
    prepared: Prepared
    budget: Budget
    gradient_swaps: bool
    warnings: tuple[str, ...]

    @property
    def start(self) -> Seeding:
        """One-shot masks, and what they reach."""
        return self.prepared.start


def run(call: Call, asked: Budget, keeper: Keeper | None, *, trust: bool, tell: OnRecord) -> Report:
    """Does what `prune` was asked for.

    Args:
      call: checked.
      asked: by the caller.
      keeper: of the run, or None; what it knows already is not worked out again.
      trust: whether the report looks closer at how far fitness can be trusted.
      tell: what the run is watched by.
    """
    choices = Choices(call.space, call.objective, call.evolver).as_pytrees()
    task = _Task(call, choices, split_key(call.key), call.devices.made(), Stopwatch(), tell)
    build_plan = partial(
        plan_search,
        call.model,
        choices,
        sparsity=call.sparsity,
        population=call.population,
        islands=task.devices.islands,
    )
    _check_plans(task, asked, build_plan)
    layout = call.model.layout
    known = keeper.prepared(layout, call.sparsity) if keeper else None
    found = keeper.found(layout) if keeper and known else None

    ground, prepared, budget = _prepare(task, asked, known)
    if keeper and not known:
        keeper.prepare(prepared)
    if found is not None and keeper and keeper.further:
        budget = _further(budget, found)
    tell(Progress("compile"))
    swaps, warnings = None, tuple[str, ...]()
    if call.gradient_swaps and call.train_steps != 0:
        about = ground.repair, ground.inputs, ground.refits
        swaps, warnings = choose_swaps(call.model, choices, *about)
    ready = _Ready(ground, prepared, budget, swaps is not None, warnings)
    scores = prepared.start.scores
    build_plan = partial(build_plan, initial=prepared.initial, scores=scores, swaps=swaps)
    stages, screens = _stages(task, ready, build_plan)
    outcome = run_stages(stages, accuracy_of(ground.judge), tell, keeper or NOTHING_KEPT, found)
    report = _finish(task, ready, outcome, screens, keeper, trust=trust)
    tell(ended(report))
    return report


def _check_plans(task: _Task, asked: Budget, build_plan: Callable[..., Plan]) -> None:
    """Raises the errors of every stage before anything is computed."""
    call, choices = task.call, task.choices
    initial = initial_of_stages(call.model, choices, call.population, asked, task.devices.islands)
    for stage in range(len(choices.spaces)):
        plan = build_plan(initial=initial, stage=stage)
        if call.population is not None:  # the usual ones are small
            check = partial(check_least, plan, call.model, call.devices, call.memory_limit)
            together(check)


def _stages(
    task: _Task, ready: _Ready, build_plan: Callable[..., Plan]
) -> tuple[Stages, tuple[Screen, ...]]:
    """The searches, ready to run one after another, and how their children are looked at."""
    call, choices, watch = task.call, task.choices, task.watch
    ground, start, budget = ready.ground, ready.start, ready.budget
    plan = build_plan()
    screens = screens_of(call, plan, ground)
    each = ground.judge.seconds_per_evaluation(start.masks["lamp"])
    expected_seconds = budget.expected_seconds(plan.places, each)
    prepare = partial(
        build_ready,
        objective=ground.judge.repaired,
        seeds=start.masks if _is_seeded(call, choices) else {},
        fitness={name: one.repaired.fitness for name, one in start.baselines.items()},
        strategy=call.strategy,
        chunk=call.chunk,
        expected_seconds=expected_seconds / len(choices.spaces),
        trial_seconds=watch.seconds["baselines"],
        screens=screens,
        devices=task.devices,
        limit=_limit(call),
        shrinks=call.leaves_chunk_open,
        num_inputs=len(ground.inputs.all),
    )
    built = choices, call.sparsity, start.scores, build_plan, prepare, budget, task.keys.search
    return Stages(call.model, *built, watch, plan), screens


def _finish(
    task: _Task,
    ready: _Ready,
    outcome: Outcome,
    screens: tuple[Screen, ...],
    keeper: Keeper | None,
    *,
    trust: bool,
) -> Report:
    """Makes the network of the best masks, and says how it was found."""
    call, ground, start, done = task.call, ready.ground, ready.start, outcome.done
    result = finish_run(
        *(ground, start, call.objective, done, task.keys.weights),
        with_seeds=_is_seeded(call, task.choices) and ground.refits is not None,
        tell=task.tell,
    )
    task.watch.lap("finish")
    settings = describe_run(
        call,
        task.choices,
        ground.inputs,
        outcome,
        repair=repair_name(call.model, ground.repair),
        train_steps=start.steps._asdict(),
        distilled_from=result.distilled_from,
        gradient_swaps=ready.gradient_swaps,
        screens=screens,
        budget=ready.budget,
        devices=task.devices,
        key=task.keys.root,
    )
    warnings = (
        *(*ground.inputs.warnings, *start.warnings, *ready.warnings, *outcome.warnings),
        *(*result.warnings, *(keeper.warnings if keeper else ())),
    )
    ending = result, done, start.baselines, settings, warnings, task.watch
    return make_report(ground.judge, call.sparsity, *ending, _look(task, ready, done, trust))


def _prepare(task: _Task, asked: Budget, known: Prepared | None) -> tuple[Ground, Prepared, Budget]:
    """Inputs, seeds and the budget; what is known already is taken as it is."""
    call, choices, keys, watch = task.call, task.choices, task.keys, task.watch
    task.tell(Progress("inputs"))
    ground = make_ground(
        call.model,
        choices,
        keys,
        inputs=call.inputs,
        labels=call.labels,
        supplement=call.supplement,
        num_inputs=call.num_inputs,
        repair=call.repair,
        evaluation_data=call.evaluation_data,
        known=None if known is None else (known.inputs, known.varied),
    )
    watch.lap("inputs")
    effort, refitting = PRESETS[call.preset], ground.refits is not None
    islands = task.devices.islands
    generation = islands * len(choices.spaces) * (call.population or 0)
    budget = effort.budget(asked, refitting, generation)
    if known is not None:
        watch.seconds.update(known.seconds)
        return ground, known, budget
    initial = initial_of_stages(call.model, choices, call.population, budget, islands)
    start = make_seeds(
        call.model,
        ground,
        choices,
        call.sparsity,
        keys.masks,
        usual_steps=effort.steps_within(budget, refitting, islands * initial),
        asked_steps=call.train_steps,
        watch=watch,
        tell=task.tell,
        given=call.given_masks,
    )
    prepared = Prepared(ground.inputs, ground.varied, start, initial, dict(watch.seconds))
    return ground, prepared, budget


def _further(budget: Budget, found: Found) -> Budget:
    """As much more, from where the run stands."""
    evaluations = int(found.arrays["history.evaluations"][-1])
    return budget.after(evaluations, found.document["generation"], found.document["seconds"])


def _limit(call: Call) -> int | None:
    """The caller's, where the device has more: what it has depends on what else lies there."""
    return call.memory_limit if room_of(call.memory_limit) == call.memory_limit else None


def _is_seeded(call: Call, choices: Choices) -> bool:
    """Whether one-shot masks are in generation 0; the paper's evolvers start without."""
    return call.seeds and not choices.names()[-1].startswith("paper")


def _look(
    task: _Task, ready: _Ready, done: Progression, trust: bool
) -> Callable[[Genome, float], Trust]:
    """What says how far the fitness of the best can be trusted."""
    call, keys, ground, start = task.call, task.keys, ready.ground, ready.start
    about = call.model, call.objective, ground.inputs, ground.repair, ground.fitted
    unseen = unseen_by(*about, keys.unseen, fresh=trust)
    around = keys.around if trust else None
    return examine(ground.judge, done.space, unseen, start.masks, start.baselines, around)
