"""One small network and one table per protocol, so that every law runs over every member."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jgaprune as jp
from jgaprune import evolvers, objectives, repair, saliency, spaces
from jgaprune.masks import kept_for
from jgaprune.model import Model
from jgaprune.types import Array, Evolver, MaskSpace, Objective

SPARSITY = 0.75


class SmallNet(nnx.Module):
    """Two convolutions with batch-norm and a dense layer: 8x8x2 inputs, 5 logits."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(2, 6, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(6, rngs=rngs)
        self.conv2 = nnx.Conv(6, 8, (3, 3), strides=2, padding=1, use_bias=False, rngs=rngs)
        self.bn2 = nnx.BatchNorm(8, rngs=rngs)
        self.linear = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = nnx.relu(self.bn2(self.conv2(x)))
        return self.linear(x.mean(axis=(1, 2)))


def small_model(seed: int = 0) -> Model:
    """A `SmallNet` whose statistics are those of standard normal inputs."""
    model = Model.from_nnx(SmallNet(nnx.Rngs(seed)), (8, 8, 2))
    inputs = jax.random.normal(jax.random.key(seed + 100), (64, 8, 8, 2))
    _, records = model.observe(
        model.params, model.buffers, inputs, lambda name, batch, stored: batch
    )
    buffers = dict(model.buffers)
    for name, record in records.items():
        buffers[f"{name}.mean"], buffers[f"{name}.var"] = record.used
    return model._replace(buffers=buffers)


def inputs_for(model: Model, num_inputs: int = 16, seed: int = 1) -> Array:
    return jax.random.normal(jax.random.key(seed), (num_inputs, *model.spec.input_shape))


MODEL = small_model()
LAYOUT = MODEL.layout
BUDGET = kept_for(SPARSITY, LAYOUT.num_weights)
INPUTS = inputs_for(MODEL)

SALIENCIES: dict[str, Callable] = {
    "erk": saliency.erk,
    "lamp": saliency.lamp,
    "magnitude": saliency.magnitude,
    "uniform_magnitude": saliency.uniform_magnitude,
}
"""Those that order each layer by magnitude."""


def base(sparsity: float = SPARSITY):
    """Magnitude with every layer's minimum protected."""
    scores = saliency.magnitude(MODEL.params, LAYOUT, sparsity)
    return saliency.protect(scores, LAYOUT, kept_for(sparsity, LAYOUT.num_weights))


OTHER_SALIENCIES: dict[str, Callable] = {
    "exact_obs": lambda sparsity: saliency.exact_obs(MODEL, INPUTS, sparsity),
    "gradual": lambda sparsity: saliency.gradual(MODEL, RECONSTRUCT, sparsity, rounds=4),
    "lookahead": lambda sparsity: saliency.lookahead(MODEL.params, LAYOUT, sparsity),
    "obs": lambda sparsity: saliency.obs(MODEL, INPUTS, sparsity),
    "row_magnitude": lambda sparsity: saliency.row_magnitude(MODEL.params, LAYOUT, sparsity),
    "synflow": lambda sparsity: saliency.synflow(MODEL, sparsity, rounds=10),
    "wanda": lambda sparsity: saliency.wanda(MODEL, INPUTS, sparsity),
}
"""Those with an order of their own, by sparsity."""


class SpaceCase(NamedTuple):
    """A space and the number of weights that each of its genomes keeps."""

    space: MaskSpace
    budget: int


def _paper_budget(sparsity: float) -> int:
    return sum(size - int(sparsity * size) for size in LAYOUT.sizes)


def _bases() -> MaskSpace:
    others = [base(), *(OTHER_SALIENCIES[name](SPARSITY) for name in ("lookahead", "wanda"))]
    return spaces.bases([saliency.protect(one, LAYOUT, BUDGET) for one in others], LAYOUT, SPARSITY)


RECONSTRUCT = repair.reconstruct(MODEL, INPUTS)
SPACES: dict[str, SpaceCase] = {
    "bases": SpaceCase(_bases(), BUDGET),
    "levels": SpaceCase(spaces.levels(base(), LAYOUT, SPARSITY), BUDGET),
    "offsets": SpaceCase(spaces.offsets(base(), LAYOUT, SPARSITY), BUDGET),
    **{
        f"offsets_{detail}": SpaceCase(
            spaces.offsets(base(), LAYOUT, SPARSITY, detail=detail), BUDGET
        )
        for detail in ("block", "input_channel", "output_channel")
    },
    "scores": SpaceCase(spaces.scores(MODEL, SPARSITY), _paper_budget(SPARSITY)),
    "weights": SpaceCase(spaces.weights(base(), LAYOUT, SPARSITY), BUDGET),
    "weights_near": SpaceCase(spaces.weights(base(), LAYOUT, SPARSITY, near=0.1), BUDGET),
    "weights_two_point": SpaceCase(
        spaces.weights(base(), LAYOUT, SPARSITY, crossover="two_point"), BUDGET
    ),
}

REPAIR = repair.batch_norm_delta(MODEL, INPUTS)
LABELS = jnp.argmax(MODEL.apply(MODEL.params, MODEL.buffers, INPUTS), axis=-1)
"""What the dense network says."""
OBJECTIVES: dict[str, Objective] = {
    "accuracy": objectives.accuracy(MODEL, LABELS, repair=REPAIR),
    "agreement": objectives.agreement(MODEL, repair=REPAIR),
    "cross_entropy": objectives.cross_entropy(MODEL, LABELS, repair=REPAIR),
    "feature_distance": objectives.feature_distance(MODEL, repair=REPAIR),
    "kl": objectives.kl(MODEL, repair=REPAIR),
    "kl_top": objectives.kl(MODEL, repair=REPAIR, top=2),
    "output_distance": objectives.output_distance(MODEL, repair=REPAIR),
    "reverse_kl": objectives.reverse_kl(MODEL, repair=REPAIR),
    "reverse_kl_top": objectives.reverse_kl(MODEL, repair=REPAIR, top=2),
    "total_variation": objectives.total_variation(MODEL, repair=REPAIR),
    "logit_cosine": objectives.logit_cosine(MODEL, repair=REPAIR),
    "logit_mse": objectives.logit_mse(MODEL, repair=REPAIR),
    "weighted_sum": objectives.weighted_sum(
        [
            (objectives.feature_distance(MODEL, repair=REPAIR), 0.5),
            (objectives.kl(MODEL, repair=REPAIR), 2.0),
        ]
    ),
}


def tiny_schedule() -> evolvers.Schedule:
    """The paper's form with a population that changes on the way."""
    return evolvers.Schedule(((0.0, 6, 0.2), (0.5, 9, 0.1)))


EVOLVERS: dict[str, Callable[[MaskSpace], tuple[Evolver, int]]] = {
    "genetic": lambda space: (jp.evolvers.genetic(space, population=6), 6),
    "level_switch": lambda space: (jp.evolvers.level_switch(space, population=6), 6),
    "paper": lambda space: (
        evolvers.paper(space, strategy=4, schedule=tiny_schedule(), quality=evolvers.reciprocal),
        6,
    ),
    "random_search": lambda space: (evolvers.random_search(space, population=6), 6),
    "from_evosax": lambda space: (
        evolvers.from_evosax(evolvers.evosax_algorithm("CMA_ES"), space, population=6),
        6,
    ),
}


def count(masks) -> int:
    return sum(int(np.asarray(mask).sum()) for mask in masks.values())


def trees_equal(first, second) -> bool:
    """Whether two pytrees have the same structure and bits."""
    if jax.tree.structure(first) != jax.tree.structure(second):
        return False
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(_same(one, other) for one, other in pairs)


def _same(one, other) -> bool:
    if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
        one, other = jax.random.key_data(one), jax.random.key_data(other)
    return bool(np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True))
