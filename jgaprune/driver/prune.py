"""`prune()`: the whole way from a model to a report; and what it would need of memory."""

import inspect
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jgaprune.agreement import together
from jgaprune.driver.alike import check_alike
from jgaprune.driver.call import as_asked
from jgaprune.driver.check import check_call
from jgaprune.driver.checkpoints import Checkpoints, as_checkpoints
from jgaprune.driver.forecast import Forecast, forecast
from jgaprune.driver.keeper import opened
from jgaprune.driver.measure import EvaluationData
from jgaprune.driver.plan import Spaces
from jgaprune.driver.progress import OnRecord, audience
from jgaprune.driver.racing import Looks
from jgaprune.driver.run import run
from jgaprune.engine import Strategy
from jgaprune.model import Model
from jgaprune.report import Report
from jgaprune.types import Array, Evolver, Key, Masks, Objective, Repair


def prune(
    model: Model,
    *,
    sparsity: float,
    inputs: Array | np.ndarray | None = None,
    supplement: bool = True,
    num_inputs: int | None = None,
    labels: Array | np.ndarray | None = None,
    space: Spaces = "bases",
    objective: str | Objective = "output_distance",
    evolver: str | Evolver = "genetic",
    repair: bool | str | Repair = "auto",
    preset: str = "default",
    train_steps: int | None = None,
    gradient_swaps: bool = True,
    racing: Looks = False,
    seeds: bool = True,
    seed_masks: Masks | Sequence[Masks] | None = None,
    evaluations: int | None = None,
    generations: int | None = None,
    seconds: float | None = None,
    target_fitness: float | None = None,
    patience: int | None = None,
    population: int | None = None,
    key: int | Key = 0,
    chunk: int | str = "auto",
    strategy: str | Strategy = "auto",
    mesh: Mesh | str | None = None,
    islands: int = 1,
    migrate_every: int = 10,
    migrants: int = 1,
    memory_limit: int | None = None,
    evaluation_data: EvaluationData | None = None,
    trust: bool = False,
    checkpoint_dir: str | Path | Checkpoints | None = None,
    on_record: OnRecord | Sequence[OnRecord] | None = None,
) -> Report:
    """Prunes a pre-trained network by evolving masks; no labels, and no data, needed.

    Args:
      model: the dense network.
      sparsity: fraction of the prunable weights to remove, in (0, 1); met to the weight, but
        for the space "scores", which rounds it in every tensor as the paper does.
      inputs: unlabelled model inputs `[N, ...]`, preprocessed; by default 512 are synthesised
        from the model's batch-norm statistics, or from its weights where it has none; a language
        model writes some 32 000 tokens itself; noise where there are no classes or gradients.
      supplement: whether synthesised inputs join the given ones where the model has batch-norm
        and the search needs no labels: they keep it honest when the given ones are few, or
        unlike the training data. The repair then works on the synthesised ones alone.
      num_inputs: how many are synthesised; by default 512, or where they join given ones as many
        as make 512 of both, at least 256.
      labels: `int [N]`, for the objectives "accuracy" and "cross_entropy" only: the paper's
        setting.
      space: "bases", "levels", "offsets" (one per layer), "blocks", "channels", "input_channels",
        "weights", "scores", or a `MaskSpace`; "blocks", "channels" and "input_channels" add
        offsets for groups of weights, which are still removed one by one. Or several, coarse
        first, such as "bases,weights": searches on equal shares of the budget, each from what the
        one before found.
      objective: "output_distance", "total_variation", "logit_cosine", "logit_mse", "kl",
        "reverse_kl", "agreement", "feature_distance", "accuracy", "cross_entropy", a weighted sum
        such as "kl+0.1*feature_distance", or an `Objective`.
      evolver: "genetic", "level_switch", "random_search", "paper1" to "paper5", "evosax:NAME",
        or an `Evolver`.
      repair: what is done to what is left, in every evaluation and in the result. "reconstruct"
        refits kept weights, biases and batch-norm statistics, layer by layer; "distil" does so
        too, and trains the weights of the result further, to imitate the dense network, from
        those that were trained along with masks where they are fitter; "batch_norm_delta" corrects
        the statistics, in the space "bases" on inputs of which every other one is varied; or
        "none", or a `Repair`. "auto" (or True) distils in the space "bases", unless inputs are
        noise, the objective needs labels or the evolver is the paper's; there, and in other
        spaces, it corrects the statistics. Where weights are refitted, an eighth of the inputs is
        held out for the choice at the end.
      preset: "fast", "default" or "thorough": a third, one or four times the usual effort, for
        evaluations and training.
      train_steps: of gradient training, of masks before the search in the space "bases" and of
        weights after it with the repair "distil"; 0 for none, and no `gradient_swaps` either. By
        default 1200 times the preset's effort, fewer where the budget is below the usual.
      gradient_swaps: whether half of the mutations in the space "weights" swap what a gradient on
        64 inputs says; each counts as three forward passes over these. With the evolvers
        "genetic" and "level_switch" only, and not where inputs are noise, labels are needed,
        nothing is repaired, or the objective or the repair is your own.
      racing: whether children are looked at on an eighth of the inputs, and only the best quarter
        of them evaluated in full; or a `Racing` with other shares; or several of them, looks one
        after another, on growing shares of the inputs and with falling shares of the children.
        A look counts as its share of an evaluation. Not with an objective or a repair of your
        own, nor with "paper1" to "paper5".
      seeds: whether the one-shot masks are put into generation 0, so that the result is never
        worse than the best of them where the space can express them; "paper1" to "paper5" are
        never seeded.
      seed_masks: masks by leaf name, or several of them, from another run for example, to start
        from beside the one-shot masks. At another sparsity they are grown or thinned by magnitude.
        They are baselines, too, named "given".
      evaluations: budget in candidates, generation 0 included; by default 120 where weights are
        refitted, else 1000, times the preset's effort, and never less than four generations of a
        `population` that is given.
      generations: budget in generations.
      seconds: budget in seconds of search.
      target_fitness: of the objective, at which the search ends.
      patience: generations without a better mask, after which the search of a stage ends.
      population: candidates per generation; by default 16, or less for a budget below 480
        evaluations; the paper's schedule for its evolvers; the size of generation 0 for an
        evolver of your own.
      key: a whole number or a PRNG key; same key, same machine and strategy, same masks.
      chunk: candidates per batched pass; "auto" leaves it to the strategy.
      strategy: how the population is evaluated: a `Strategy`, or the name of its form; "auto" is
        what the machine runs well, which long searches measure first. It changes the speed, and
        the result by rounding only.
      mesh: devices that share the work, such as `pop=8` or `pop=4,inputs=2`, or a mesh with these
        axes: the masks of a generation, or islands, over `pop`, without changing a bit of what
        "sequential" finds; the inputs over `inputs`, which rounds differently. By default one
        device, or where there are several processes all devices of all.
      islands: populations that evolve apart, each of `population`; the budget is that of all. A
        multiple of `pop` where there is a mesh; with "genetic" and "level_switch" only.
      migrate_every: generations from one exchange between islands to the next.
      migrants: that go from every island to the next one, and take the places of worse ones.
      memory_limit: bytes that the search may take of a device, by default all that it has. Chunks
        are chosen to fit; what cannot fit is refused with what would. Where memory runs out all the
        same, the search goes on in chunks half as large, unless it has several processes.
      evaluation_data: `(inputs, labels)` that only the report sees, never the search; for a
        language model `(tokens, next tokens)`, both `[N, L]`, which give perplexity as well.
      trust: whether the report looks closer at how far fitness can be trusted: on freshly
        synthesised inputs, where it else varies those of the run, and with `evaluation_data` by
        the rank correlation of fitness and accuracy around the result. Takes some minutes.
      checkpoint_dir: folder that keeps the run, so that the same call can go on with it after it
        was stopped in any way, to the same masks; or `Checkpoints`, with how often, and whether
        a run in the folder is to be gone on with. The folder also receives `history.jsonl`.
      on_record: called with a `Progress` between blocks of generations and at the end; or several,
        called in their order, such as the logs of `jgaprune.telemetry`. What one raises ends the
        run, on all processes if there are several; where it is kept, that is up to the last
        generation.

    Returns:
      The pruned and repaired weights, the masks, and how they compare with one-shot pruning.

    Raises:
      ValueError: the call cannot work; every fault is named. Or it goes on with a run that was
        begun with other settings or another model; every difference is named.
      OSError: the folder for checkpoints is in use by another run, or can't be written.
      KeyboardInterrupt: before there was anything to return. Later ones end the search, or what
        comes after it, early, and the report says so.
    """
    call, budget = as_asked(locals())
    checkpoints = as_checkpoints(checkpoint_dir)
    together(partial(check_call, call, budget, checkpoints))
    kept = None if checkpoints is None else checkpoints.interval()
    check_alike(model, call.for_all() | vars(budget) | {"trust": trust, "checkpoints": kept})
    with (
        opened(checkpoints, model, call.decisive()) as keeper,
        audience(on_record, keeper.run if keeper else None) as tell,
    ):
        return run(call, budget, keeper, trust=trust, tell=tell)


def plan_memory(model: Model, *, sparsity: float, **options: Any) -> Forecast:
    """What a call of `prune` would need of a device's memory; nothing is run.

    The programs of its searches are compiled, for stand-ins of its inputs and scores, and asked.
    What comes before and after the searches evaluates one set of masks at a time.

    Args:
      model: the dense network.
      sparsity: fraction to remove.
      options: others of `prune`.

    Raises:
      TypeError: `prune` has no such option.
      ValueError: the call cannot work; every fault is named. What doesn't fit is no error.
    """
    given = inspect.signature(prune).bind(model, sparsity=sparsity, **options)
    given.apply_defaults()
    call, budget = as_asked(given.arguments)
    check_call(call, budget, None)
    return forecast(call, budget)
