"""One run: inputs, seeds, searches and the result, from the beginning or from where it stood."""

from collections.abc import Callable
from functools import partial

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
from jgaprune.driver.stages import Stages, run_stages
from jgaprune.driver.stopwatch import Stopwatch
from jgaprune.driver.train import choose_swaps
from jgaprune.driver.trust import examine, unseen_by
from jgaprune.driver.wiring import Keys, build_ready, repair_name, split_key
from jgaprune.engine import Screen
from jgaprune.report import Report, Trust
from jgaprune.types import Genome


def run(call: Call, asked: Budget, keeper: Keeper | None, *, trust: bool, tell: OnRecord) -> Report:
    """Does what `prune` was asked for.

    Args:
      call: checked.
      asked: by the caller.
      keeper: of the run, or None; what it knows already is not worked out again.
      trust: whether the report looks closer at how far fitness can be trusted.
      tell: what the run is watched by.
    """
    watch, devices = Stopwatch(), call.devices.made()
    choices = Choices(call.space, call.objective, call.evolver).as_pytrees()
    keys, layout = split_key(call.key), call.model.layout
    build_plan = partial(
        plan_search,
        call.model,
        choices,
        sparsity=call.sparsity,
        population=call.population,
        islands=devices.islands,
    )
    initial = initial_of_stages(call.model, choices, call.population, asked, devices.islands)
    for stage in range(len(choices.spaces)):  # their errors
        plan = build_plan(initial=initial, stage=stage)
        if call.population is not None:  # the usual ones are small
            check = partial(check_least, plan, call.model, call.devices, call.memory_limit)
            together(check)
    known = keeper.prepared(layout, call.sparsity) if keeper else None
    found = keeper.found(layout) if keeper and known else None

    ground, prepared, budget = _prepare(call, asked, choices, keys, known, watch, tell)
    if keeper and not known:
        keeper.prepare(prepared)
    if found is not None and keeper and keeper.further:
        budget = _further(budget, found)

    tell(Progress("compile"))
    swaps, warnings = None, tuple[str, ...]()
    if call.gradient_swaps and call.train_steps != 0:
        swaps, warnings = choose_swaps(
            call.model, choices, ground.repair, ground.inputs, ground.refits
        )
    start = prepared.start
    build_plan = partial(build_plan, initial=prepared.initial, scores=start.scores, swaps=swaps)
    plan = build_plan()
    stages, screens = _stages(
        call, choices, keys, ground, prepared, budget, devices, build_plan, plan, watch
    )
    outcome = run_stages(stages, accuracy_of(ground.judge), tell, keeper or NOTHING_KEPT, found)

    seeded = _is_seeded(call, choices) and ground.refits is not None
    task = ground, start, call.objective, outcome.done, keys.weights
    result = finish_run(*task, with_seeds=seeded, tell=tell)
    watch.lap("finish")
    settings = describe_run(
        choices,
        ground.inputs,
        outcome,
        sparsity=call.sparsity,
        supplement=call.supplement,
        repair=repair_name(call.model, ground.repair),
        preset=call.preset,
        train_steps=start.steps._asdict(),
        gradient_swaps=swaps is not None,
        screens=screens,
        budget=budget,
        population=call.population,
        devices=devices,
        key=keys.root,
    )
    warnings = (
        *(*ground.inputs.warnings, *start.warnings, *warnings, *outcome.warnings),
        *(*result.warnings, *(keeper.warnings if keeper else ())),
    )
    ending = result, outcome.done, start.baselines, settings, warnings, watch
    look = _look(call, ground, start, outcome.done, keys, trust)
    report = make_report(ground.judge, call.sparsity, *ending, look)
    tell(ended(report))
    return report


def _stages(
    call: Call,
    choices: Choices,
    keys: Keys,
    ground: Ground,
    prepared: Prepared,
    budget: Budget,
    devices: Devices,
    build_plan: Callable[..., Plan],
    plan: Plan,
    watch: Stopwatch,
) -> tuple[Stages, tuple[Screen, ...]]:
    """The searches, ready to run one after another, and how their children are looked at."""
    start = prepared.start
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
        devices=devices,
        limit=_limit(call),
        shrinks=call.leaves_chunk_open,
        num_inputs=len(ground.inputs.all),
    )
    built = choices, call.sparsity, start.scores, build_plan, prepare, budget, keys.search
    return Stages(call.model, *built, watch, plan), screens


def _limit(call: Call) -> int | None:
    """The caller's, where the device has more: what it has depends on what else lies there."""
    return call.memory_limit if room_of(call.memory_limit) == call.memory_limit else None


def _is_seeded(call: Call, choices: Choices) -> bool:
    """Whether one-shot masks are in generation 0; the paper's evolvers start without."""
    return call.seeds and not choices.names()[-1].startswith("paper")


def _look(
    call: Call, ground: Ground, start: Seeding, done: Progression, keys: Keys, trust: bool
) -> Callable[[Genome, float], Trust]:
    """What says how far the fitness of the best can be trusted."""
    about = call.model, call.objective, ground.inputs, ground.repair, ground.fitted
    unseen = unseen_by(*about, keys.unseen, fresh=trust)
    around = keys.around if trust else None
    return examine(ground.judge, done.space, unseen, start.masks, start.baselines, around)


def _prepare(
    call: Call,
    asked: Budget,
    choices: Choices,
    keys: Keys,
    known: Prepared | None,
    watch: Stopwatch,
    tell: OnRecord,
) -> tuple[Ground, Prepared, Budget]:
    """Inputs, seeds and the budget; what is known already is taken as it is."""
    tell(Progress("inputs"))
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
    islands = call.devices.islands
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
        tell=tell,
        given=call.given_masks,
    )
    prepared = Prepared(ground.inputs, ground.varied, start, initial, dict(watch.seconds))
    return ground, prepared, budget


def _further(budget: Budget, found: Found) -> Budget:
    """As much more, from where the run stands."""
    evaluations = int(found.arrays["history.evaluations"][-1])
    return budget.after(evaluations, found.document["generation"], found.document["seconds"])
