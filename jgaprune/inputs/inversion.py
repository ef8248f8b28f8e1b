"""Inputs synthesised from a classifier's weights alone, for networks without batch-norm.

For each input a mixture of classes is drawn, in which classes that the last layer weighs alike
occur together, and the input is optimised until the network sees that mixture. Alone, this finds
noise that fools the network. So inputs stay near zero, which is the mean of normalised images and
black in others, and smooth; and together they have to move every hidden unit about as much as the
others of its layer, as real data does: units that the data never moved would not have been learnt.

Class mixtures: Nayak et al., "Zero-shot knowledge distillation in deep networks", ICML 2019.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jgaprune.inputs.pixels import pixel_range, roll, roughness, smooth_noise
from jgaprune.model import Model
from jgaprune.ops import Both, Product, Rules, in_lockstep
from jgaprune.types import Array, Key

_START = 0.1
"""Deviation of the inputs at the start, in quarters of the range of pixels."""
_STANDARDISED = 3.0
"""Largest value of a standardised feature."""
_LEAST_MOVED = 1e-3
"""Relative variance below which a unit counts as dead."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class Inversion:
    """Settings of the optimisation; the weights are relative to the cross-entropy.

    Attributes:
      steps: Adam steps.
      learning_rate: of Adam at the start, in quarters of the range of pixels; it decays to zero
        along a cosine.
      temperature: that logits are divided by: the higher it is, the surer the network becomes.
      concentrations: of the mixtures, one drawn per input: the smaller, the purer they are.
      smoothness_weight: of the squared difference between neighbouring pixels.
      zero_weight: of the distance from zero.
      spread_weight: of the log-variance that hidden units lack of the mean of their layer.
      max_roll: largest random shift of the images in each step, in pixels.
    """

    steps: int = 200
    learning_rate: float = 0.1
    temperature: float = 4.0
    concentrations: tuple[float, ...] = (1.0, 0.1)
    smoothness_weight: float = 0.1
    zero_weight: float = 0.25
    spread_weight: float = 0.1
    max_roll: int = 2


class _Seen(NamedTuple):
    """One forward pass: logits `[N, C]`, and what enters every product, with its weights."""

    logits: Array
    activations: list[Array]
    weights: list[Array]


def invert(model: Model, key: Key, num_inputs: int, settings: Inversion = Inversion()) -> Array:
    """Inputs on which the network is sure of mixtures of classes.

    Args:
      model: a classifier; whether it has batch-norm makes no difference.
      key: PRNG key.
      num_inputs: how many, `N`; they are optimised together.
      settings: steps and weights of the loss.

    Returns:
      Model inputs `float32 [N, ...]`, inside the range that the preprocessing makes of uint8
      images where that is known, else in -3..3.

    Raises:
      ValueError: the model has a single output, so there are no classes.
    """
    if model.spec.num_outputs < 2:
        raise ValueError(
            f"{model.spec.name} has {model.spec.num_outputs} output, so there are no classes to "
            "be sure of; pass inputs=..., or use gaussian_noise."
        )
    start_key, target_key, roll_key = jax.random.split(key, 3)
    low, high = _bounds(model)
    noise = smooth_noise(start_key, num_inputs, model.spec)
    inputs = jnp.clip(_START * (high - low) / 4 * noise, low, high)
    targets = _mixtures(target_key, model, num_inputs, settings)
    state = _optimizer(settings).init(inputs)
    # One program per step, not one scan: see `synthesis`.
    for step_key in jax.random.split(roll_key, settings.steps):
        inputs, state = _improve(inputs, state, model, targets, settings, step_key)
    return inputs


def can_invert(model: Model) -> bool:
    """Whether the model has classes, and gradients with respect to its inputs.

    A network that rounds its inputs or takes them for numbers of words has none.
    """
    if model.spec.num_outputs < 2:
        return False
    inputs = smooth_noise(jax.random.key(0), 2, model.spec)
    try:
        gradient = jax.jit(jax.grad(_sureness))(inputs, model)
    except (TypeError, ValueError):
        return False
    return bool(jnp.all(jnp.isfinite(gradient)) & jnp.any(gradient != 0))


def _sureness(inputs: Array, model: Model) -> Array:
    logits = model.apply(model.params, model.buffers, inputs)
    return jnp.sum(jax.nn.log_softmax(logits)[:, 0])


def _optimizer(settings: Inversion) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(settings.learning_rate, settings.steps))


@partial(jax.jit, static_argnames=("settings",), donate_argnames=("inputs", "state"))
def _improve(
    inputs: Array, state, model: Model, targets: Array, settings: Inversion, key: Key
) -> tuple[Array, optax.OptState]:
    """One Adam step, back into the range of real pixels."""
    gradient = jax.grad(_loss)(inputs, model, targets, settings, key)
    updates, state = _optimizer(settings).update(gradient, state)
    low, high = _bounds(model)
    return jnp.clip(inputs + (high - low) / 4 * updates, low, high), state


def _loss(inputs: Array, model: Model, targets: Array, settings: Inversion, key: Key) -> Array:
    low, high = _bounds(model)
    seen = _see(model, roll(key, inputs, settings.max_roll, model.spec))
    scaled = inputs / ((high - low) / 4)
    return (
        optax.softmax_cross_entropy(seen.logits / settings.temperature, targets).mean()
        + settings.smoothness_weight * roughness(scaled, model.spec)
        + settings.zero_weight * jnp.mean(jnp.abs(scaled))
        + settings.spread_weight * sum(map(_unmoved, seen.activations[1:]), jnp.float32(0))
    )


def _unmoved(activations: Array) -> Array:
    """How far the logarithms of the units' variances are below that of their mean, on average.

    Every place of a feature map is a unit: which axis holds the channels, a program doesn't say.
    """
    var = jnp.var(activations, axis=0)
    share = var / (jnp.mean(var) + jnp.finfo(jnp.float32).tiny)
    return -jnp.mean(jnp.log(share + _LEAST_MOVED))


def _see(model: Model, inputs: Array) -> _Seen:
    activations, weights = [], []

    def note(name: str, product: Product, inputs: Both, leaf: Both) -> Array:
        activations.append(inputs.dense)
        weights.append(product.matrix(leaf.dense))
        return leaf.pruned

    rules = Rules(note, lambda name, sums, bias: bias.pruned, lambda batch, stored: stored.pruned)
    rest = (model.buffers, inputs)
    logits, _ = in_lockstep(model.apply, rules, model.params, model.params, Both(rest, rest))
    return _Seen(logits, activations, weights)


def _mixtures(key: Key, model: Model, num_inputs: int, settings: Inversion) -> Array:
    """Class probabilities `[N, C]`: every class the centre of about as many as any other."""
    class_key, choice_key, mixture_key = jax.random.split(key, 3)
    alike = _likeness(model)
    centres = jax.random.permutation(class_key, jnp.arange(num_inputs) % len(alike))
    concentrations = jnp.array(settings.concentrations)
    concentration = jax.random.choice(choice_key, concentrations, (num_inputs, 1))
    return jax.random.dirichlet(mixture_key, concentration * alike[centres] + 1e-3)


@jax.jit
def _likeness(model: Model) -> Array:
    """How alike the last layer weighs each two classes, `[C, C]`, in every row from 0 to 1.

    Where the last layer can't be seen, classes are like themselves only.
    """
    num_classes = model.spec.num_outputs
    seen = _see(model, jnp.zeros((1, *model.spec.input_shape)))
    if not seen.weights or seen.weights[-1].shape[0] != 1:
        return jnp.eye(num_classes)
    last = seen.weights[-1][0].astype(jnp.float32)
    if last.shape[1] != num_classes:
        return jnp.eye(num_classes)
    last = last / (jnp.linalg.norm(last, axis=0) + jnp.finfo(jnp.float32).tiny)
    cosine = last.T @ last
    lowest = jnp.min(cosine, axis=1, keepdims=True)
    highest = jnp.max(cosine, axis=1, keepdims=True)
    return (cosine - lowest) / jnp.maximum(highest - lowest, jnp.finfo(jnp.float32).tiny)


def _bounds(model: Model) -> tuple[Array, Array]:
    """Smallest and largest value of an input.

    A model from a file takes uint8 images as its architecture says, without a mean too; of other
    models without one nothing is known, and standardised features are assumed.
    """
    unknown = _STANDARDISED if model.spec.source is None else None
    return pixel_range(model.spec, unknown)
