"""Searches as `prune` wires them, for benchmarks that look into them.

On the embedded digits network, on the weights that are given, or on a tiny network on noise.
"""

import argparse
from typing import NamedTuple

import jax
import numpy as np
from subjects import NUM_GIVEN, tiny

import jgaprune as jp
from jgaprune import demo
from jgaprune.driver.baselines import magnitude_scores, one_shot_masks
from jgaprune.driver.inputs import Inputs, make_inputs
from jgaprune.driver.measure import EvaluationData, Judge
from jgaprune.driver.plan import Choices, Plan, plan_search
from jgaprune.driver.racing import Looks, make_screens
from jgaprune.driver.wiring import (
    Ready,
    build_ready,
    make_judge,
    make_repair,
    split_key,
)
from jgaprune.inputs.files import read_evaluation_data, read_inputs

REPAIR = "batch_norm_delta"
OBJECTIVE = "output_distance"


class Subject(NamedTuple):
    """A network, the inputs of its searches, and labelled data that only the result sees."""

    model: jp.Model
    inputs: Inputs
    data: EvaluationData | None


class Task(NamedTuple):
    """A subject, and what evolves there and is minimised."""

    subject: Subject
    sparsity: float
    plan: Plan
    judge: Judge


def choose_subject(arguments: argparse.Namespace) -> Subject:
    """What the arguments of `subjects.parser` ask for; the embedded network by default."""
    if arguments.smoke:
        model, data, inputs = tiny()
        return Subject(model, Inputs(inputs, len(inputs), "noise"), data)
    weights = arguments.weights
    model = jp.converters.load(arguments.arch, weights) if weights else demo.load_demo()
    labelled = arguments.eval_data or (None if weights else demo.TEST_IMAGES)
    data = read_evaluation_data(labelled, model.spec) if labelled else None
    given = None
    if arguments.inputs:
        shown = read_inputs(arguments.inputs, model.spec)
        order = np.random.default_rng(arguments.key).permutation(len(shown))
        given = shown[order[:NUM_GIVEN]]
    inputs = make_inputs(model, given, REPAIR, split_key(arguments.key).inputs, supplement=True)
    return Subject(model, inputs, data)


def make_task(on: Subject, space: str, arguments: argparse.Namespace) -> Task:
    """A search of a space by name with the default evolver, objective and repair."""
    size, sparsity = arguments.population, arguments.sparsity
    choices = Choices(space, OBJECTIVE, "genetic")
    plan = plan_search(on.model, choices, sparsity=sparsity, population=size, initial=size)
    repair = make_repair(on.model, on.inputs, REPAIR)
    key = split_key(arguments.key).scores
    judge = make_judge(on.model, OBJECTIVE, on.inputs.all, None, repair, key, on.data)
    return Task(on, sparsity, plan, judge)


def screens_of(task: Task, racing: Looks) -> tuple[jp.Screen, ...]:
    """The screens of the search, as `prune` makes them."""
    on = task.subject
    return make_screens(on.model, racing, task.plan, OBJECTIVE, on.inputs, None, REPAIR)


def ready_search(task: Task, racing: Looks) -> Ready:
    """The search that `prune` would run, compiled."""
    model = task.subject.model
    scores = magnitude_scores(model.params, model.layout, task.sparsity)
    seeds = one_shot_masks(scores, model.layout, task.sparsity)
    return build_ready(
        task.plan,
        objective=task.judge.repaired,
        seeds=seeds,
        fitness=dict.fromkeys(seeds),
        strategy="auto",
        chunk="auto",
        expected_seconds=0.0,
        trial_seconds=0.0,
        key=jax.random.key(0),
        screens=screens_of(task, racing),
    )
